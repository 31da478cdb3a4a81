//! natsd: a NATS server.
pub mod config;
