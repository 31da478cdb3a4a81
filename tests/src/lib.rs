//! The harness of the black-box tests: real processes, real sockets, deadlines on everything.
//!
//! Nothing here knows natsd from the inside. [`server`] starts a server process and finds its
//! ports, [`cluster`] starts several of them in any mix and any order, [`exercise`] asks everything
//! of these, [`wire`] holds a raw TCP
//! conversation, [`websocket`] one in frames, [`transcript`] plays the golden files of `tests/wire/`, [`shape`] compares JSON
//! documents key by key, [`random_config`] makes up configuration files, [`ctl`] runs natsctl, [`lab`] boots guests.
//!
//! A harness has nobody to hand an error to: what goes wrong here is a failed test, so it panics
//! with a text that says what was waited for and what came instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    clippy::print_stderr,
    reason = "a harness: a failed step is a failed test"
)]

pub mod cluster;
pub mod ctl;
pub mod exercise;
pub mod lab;
pub mod operator;
pub mod random_config;
pub mod server;
pub mod shape;
pub mod transcript;
pub mod websocket;
pub mod wire;

use std::time::Duration;

/// How long anything may take before a test gives up on it.
///
/// Far above what is ever needed (milliseconds), so that a busy machine fails no test.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Polls `condition` until it gives a value.
///
/// # Panics
/// When [`DEADLINE`] passes first; the text names `what` was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, &mut condition).await
}

/// As [`eventually`], with a deadline of its own.
///
/// # Panics
/// When `deadline` passes first.
pub async fn eventually_within<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
