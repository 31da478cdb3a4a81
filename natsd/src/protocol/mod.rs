//! The wire: bytes to ops, ops to bytes, and the texts of INFO, CONNECT and `-ERR`.
//!
//! Pure functions over byte slices: no socket, no lock, no clock, no tokio. What a peer may
//! do is decided elsewhere; here only what its bytes mean. Nothing a peer sends can panic.
//! Sources: the client protocol and cluster protocol pages of the NATS documentation, and
//! nats-server 2.15.1 as observed (`tests/wire`).

pub mod args;
pub mod client;
pub mod error;
pub mod go_json;
pub mod headers;
pub mod info;
pub mod line;
pub mod message;
pub mod route;
pub mod stash;
mod usual;
