//! Signs of life of one connection. Noted by its own task, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// When a connection came, when it was last heard of, and how far away its peer is.
#[derive(Debug)]
pub struct Vitals {
    /// When it came.
    pub started: Timestamp,
    /// The same, on the clock that never jumps.
    pub started_at: Instant,
    /// Last activity, in milliseconds after `started_at`.
    activity_millis: AtomicU64,
    /// Last measured round trip, in nanoseconds; 0 is unknown.
    rtt_nanos: AtomicU64,
}

impl Vitals {
    /// Of a connection that has just come.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            started: Timestamp::now(),
            started_at: Instant::now(),
            activity_millis: AtomicU64::new(0),
            rtt_nanos: AtomicU64::new(0),
        }
    }

    /// Notes that the peer was heard of.
    pub fn note_activity(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.started_at).as_millis();
        self.activity_millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Milliseconds between its start and the last activity.
    #[must_use]
    pub fn activity_millis(&self) -> u64 {
        self.activity_millis.load(Ordering::Relaxed)
    }

    /// Whether the peer was heard of within this time.
    #[must_use]
    pub fn heard_within(&self, time: Duration) -> bool {
        let age = self.started_at.elapsed().as_millis();
        age.saturating_sub(self.activity_millis().into()) < time.as_millis()
    }

    /// Notes a round trip.
    pub fn note_rtt(&self, rtt: Duration) {
        let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.rtt_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Last round trip in nanoseconds; 0 is unknown.
    #[must_use]
    pub fn rtt_nanos(&self) -> u64 {
        self.rtt_nanos.load(Ordering::Relaxed)
    }
}
