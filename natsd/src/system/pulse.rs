//! When the server reports unasked. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The first report comes soon, so that tools know a new server at once.
const FIRST: Duration = Duration::from_millis(250);
/// The second comes after this, and then the gap doubles.
const SECOND: Duration = Duration::from_secs(1);
/// Up to this.
const MOST: Duration = Duration::from_secs(10);
/// How often an account's number of clients is repeated.
const CONNECTIONS: Duration = Duration::from_secs(30);

/// The times of the next reports.
#[derive(Debug)]
pub(super) struct Pulse {
    stats: Instant,
    gap: Duration,
    connections: Instant,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { stats: now + FIRST, gap: SECOND, connections: now + CONNECTIONS }
    }

    pub(super) const fn next_stats(&self) -> Instant {
        self.stats
    }

    pub(super) fn stats_sent(&mut self) {
        self.stats = Instant::now() + self.gap;
        self.gap = (self.gap * 2).min(MOST);
    }

    pub(super) const fn next_connections(&self) -> Instant {
        self.connections
    }

    pub(super) fn connections_sent(&mut self) {
        self.connections = Instant::now() + CONNECTIONS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_heartbeat_slows_down_to_one_in_ten_seconds() {
        let start = Instant::now();
        let mut pulse = Pulse::new();
        let mut at = Vec::new();
        for _ in 0..7 {
            tokio::time::sleep_until(pulse.next_stats()).await;
            at.push(start.elapsed().as_millis());
            pulse.stats_sent();
        }
        assert_eq!(at, [250, 1_250, 3_250, 7_250, 15_250, 25_250, 35_250]);
    }
}
