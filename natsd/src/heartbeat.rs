//! When to ask a connection for a sign of life, and when to give it up. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// The first PING comes early, so that round trips are known soon.
const FIRST_CLIENT_PING: Duration = Duration::from_secs(2);
/// On routes earlier still.
const FIRST_ROUTE_PING: Duration = Duration::from_secs(1);
/// A busy connection is asked at least this often, to know its round trip.
const RTT_MAX_AGE: Duration = Duration::from_secs(3600);

/// PING keeping of one connection.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    unanswered_max: u32,
    unanswered: u32,
    next: Instant,
    /// When the PING was sent whose PONG is awaited.
    asked: Option<Instant>,
    measured: Option<Instant>,
    heard: Instant,
    /// Traffic may stand for an answer (clients); on routes it never does.
    traffic_counts: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Nothing,
    /// Send a PING.
    Ping,
    /// Give the connection up.
    Stale,
}

impl Heartbeat {
    /// For a client.
    #[must_use]
    pub fn of_client(now: Instant, interval: Duration, unanswered_max: u32) -> Self {
        let first = jitter(interval.min(FIRST_CLIENT_PING));
        Self::new(now, first, interval, unanswered_max, true)
    }

    /// For a route.
    #[must_use]
    pub fn of_route(now: Instant, interval: Duration, unanswered_max: u32) -> Self {
        let first = jitter(interval.min(FIRST_ROUTE_PING));
        Self::new(now, first, interval, unanswered_max, false)
    }

    fn new(
        now: Instant,
        first: Duration,
        interval: Duration,
        unanswered_max: u32,
        traffic_counts: bool,
    ) -> Self {
        Self {
            interval,
            unanswered_max,
            unanswered: 0,
            next: now + first,
            asked: None,
            measured: None,
            heard: now,
            traffic_counts,
        }
    }

    /// When [`Self::beat`] wants to be called.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Says what is due now.
    pub fn beat(&mut self, now: Instant) -> Beat {
        if now < self.next {
            return Beat::Nothing;
        }
        self.next = now + self.interval;
        if self.unanswered >= self.unanswered_max {
            return Beat::Stale;
        }
        let rtt_known = self.measured.is_some_and(|at| now - at < RTT_MAX_AGE);
        if self.traffic_counts && rtt_known && now - self.heard < self.interval {
            return Beat::Nothing;
        }
        self.unanswered += 1;
        self.asked = Some(now);
        Beat::Ping
    }

    /// Something arrived.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A PING is sent out of turn.
    pub fn asked_now(&mut self, now: Instant) {
        self.unanswered += 1;
        self.asked = Some(now);
    }

    /// A PONG arrived; returns the round trip if it was measured.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.unanswered = 0;
        let rtt = now.checked_duration_since(self.asked.take()?)?;
        self.measured = Some(now);
        Some(rtt)
    }
}

/// Adds up to a fifth, so that many connections do not beat together.
fn jitter(duration: Duration) -> Duration {
    duration.mul_f64(1.0 + rand::random::<f64>() * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up_after_the_last_unanswered_ping() {
        let start = Instant::now();
        let mut heart = Heartbeat::of_client(start, SECOND, 2);
        let mut beats = Vec::new();
        for _ in 0..3 {
            beats.push(heart.beat(heart.next()));
        }
        assert_eq!(beats, [Beat::Ping, Beat::Ping, Beat::Stale]);
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_stands_for_an_answer_on_clients_only() {
        for (traffic_counts, expected) in [(true, Beat::Nothing), (false, Beat::Ping)] {
            let start = Instant::now();
            let mut heart = Heartbeat::new(start, SECOND, SECOND, 2, traffic_counts);
            assert_eq!(heart.beat(heart.next()), Beat::Ping);
            assert!(heart.answered(heart.next()).is_some());
            heart.heard(heart.next());
            assert_eq!(heart.beat(heart.next()), expected);
        }
    }
}
