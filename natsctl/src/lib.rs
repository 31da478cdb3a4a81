//! natsctl: one command from nothing to a proven NATS cluster, and drills that tell what a
//! failure does to clients.
//!
//! The way of a node in `natsctl up`: `Node` (cluster.yaml) -> `Step` (plan) -> `Machine`
//! (provider) -> `Remote` (reached) -> in service (deploy) -> `Verdict` (verify). Each stage
//! makes a new value and never edits an earlier one.

pub mod apply;
pub mod cli;
pub mod clients;
pub mod commands;
pub mod deploy;
pub mod drill;
pub mod failure;
pub mod monitor;
pub mod observe;
pub mod plan;
pub mod provider;
pub mod remote;
pub mod report;
pub mod state;
pub mod topology;
pub mod verify;
