//! natsd: a NATS server, a drop-in for nats-server on the client port and on the route port.
//!
//! The life of a PUB: [`net`] reads bytes into a buffer of its thread and hands them to a
//! [`client`], which takes ops out of them ([`protocol`]), checks what it may ([`auth`]), and
//! asks its [`account`] who listens ([`interest`]). The [`router`] queues the message on every
//! receiver's [`outbound`]; peers get it once ([`route`]). At the end of the batch the same
//! thread writes each queue that was touched, once. Nothing awaits between bytes and queue.
//!
//! `ARCHITECTURE.md` lists the rooms and what each may know of the others.

pub mod account;
pub mod auth;
pub mod claims;
pub mod client;
pub mod close;
pub mod config;
pub mod discovery;
pub mod errand;
pub mod heartbeat;
pub mod interest;
pub mod jwt;
pub mod log;
pub mod monitor;
pub mod net;
pub mod node;
pub mod outbound;
pub mod ports_file;
pub mod post;
pub mod protocol;
pub mod registry;
mod reload;
pub mod resolver;
pub mod route;
pub mod router;
pub mod server;
pub mod signal;
pub mod subject;
pub mod system;
pub mod table;
pub mod throttle;
pub mod tls;
pub mod trust;
pub mod verifier;
pub mod websocket;
