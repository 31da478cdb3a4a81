//! Real machines: systemd, sshd, cloud-init, and a Multipass played after its recordings.
//!
//! Every test here needs root and the lab; `tests/lab/run` runs them all.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a failed step is a failed test, and one that takes seconds says what it is at"
)]

#[path = "lab/changes.rs"]
mod changes;
#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/hosts.rs"]
mod hosts;
#[path = "lab/multipass.rs"]
mod multipass;
#[path = "lab/said.rs"]
mod said;
#[path = "lab/ssh.rs"]
mod ssh;
#[path = "lab/trouble.rs"]
mod trouble;
#[path = "lab/walkthrough.rs"]
mod walkthrough;
