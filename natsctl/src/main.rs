//! natsctl: one command from nothing to a proven NATS cluster.
mod provider;
mod remote;
mod topology;
fn main() {}
