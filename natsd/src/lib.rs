//! natsd: a NATS server.
pub mod account;
pub mod client;
pub mod close;
pub mod config;
pub mod discovery;
pub mod heartbeat;
pub mod interest;
pub mod log;
pub mod net;
pub mod node;
pub mod outbound;
pub mod protocol;
pub mod registry;
pub mod router;
pub mod subject;
