//! natsd: a NATS server.
pub mod close;
pub mod config;
pub mod interest;
pub mod outbound;
pub mod protocol;
pub mod subject;
