//! How long one connection may keep a thread that serves many.
//!
//! A read may bring 16,000 messages; with 1,000 receivers each that is a second of work. So the
//! clock is looked at now and then, and when the turn is over what is left waits for the next one.
//!
//! Measured, two cores, how long another client waits for its own message at most while one
//! publishes 16 B as fast as it can: to 10 receivers 11 ms instead of 99, to 100 15 instead of 700,
//! to 1,000 96 instead of 4,900 (nats-server 11, 13 and 39; `bench/neighbour`). It costs a tenth more
//! CPU where 100 receive 128 B, and nothing that could be measured to 10, or to 100 of 1 KiB.

use std::time::{Duration, Instant};

/// A turn takes no longer than this ..
pub const TURN: Duration = Duration::from_millis(2);
/// .. and this for each receiver: at the end of a turn each one is written to, which takes about as
/// long.
const TURN_PER_RECEIVER: Duration = Duration::from_micros(10);
/// The clock is looked at after so many ops and deliveries, 50 to 500 us.
const STEP: usize = 1024;

/// What was done in one turn.
#[derive(Debug, Default)]
pub(super) struct Stint {
    /// Ops and deliveries since the clock was looked at.
    done: usize,
    /// When the clock was first looked at.
    since: Option<Instant>,
    /// How much of the turn was used up then.
    used: Used,
    /// Receivers that were written to at once.
    receivers: usize,
    /// They were, and what comes next is the first for them again.
    has_written: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    /// Less than half of it.
    #[default]
    Little,
    /// Enough to end when nothing waits to be written.
    Half,
    /// All.
    All,
}

impl Stint {
    /// Notes deliveries.
    pub(super) const fn note(&mut self, deliveries: usize) {
        self.done += deliveries;
    }

    /// Notes that so many receivers are written to.
    pub(super) fn note_writes(&mut self, receivers: usize) {
        self.receivers = self.receivers.max(receivers);
        self.has_written = true;
        self.done = STEP;
    }

    /// Notes an op, and says whether the turn is over. So many receivers are still to be written
    /// to.
    pub(super) fn is_over(&mut self, receivers: usize) -> bool {
        self.done += 1;
        self.done >= STEP && self.is_late(receivers, Instant::now())
    }

    /// When the turn is over. So many receivers are still to be written to.
    pub(super) fn end(&mut self, receivers: usize) -> Instant {
        self.receivers = self.receivers.max(receivers);
        *self.since.get_or_insert_with(Instant::now) + turn_with(self.receivers)
    }

    /// Whether half of the turn was left.
    pub(super) fn was_easy(&self) -> bool {
        self.used == Used::Little
    }

    #[cold]
    fn is_late(&mut self, receivers: usize, now: Instant) -> bool {
        self.done = 0;
        self.receivers = self.receivers.max(receivers);
        let since = *self.since.get_or_insert(now);
        let turn = turn_with(self.receivers);
        self.used = match now.saturating_duration_since(since) {
            took if took >= turn => Used::All,
            took if took >= turn / 2 => Used::Half,
            _ => Used::Little,
        };
        let has_written = std::mem::take(&mut self.has_written);
        self.used == Used::All || self.used == Used::Half && has_written
    }
}

/// How long a turn takes at most.
pub(super) fn turn_with(receivers: usize) -> Duration {
    let receivers = u32::try_from(receivers).unwrap_or(u32::MAX);
    TURN + TURN_PER_RECEIVER.saturating_mul(receivers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_with_many_receivers_is_longer() {
        let begun = Instant::now();
        let late = |receivers, millis| {
            let mut stint = Stint::default();
            stint.note_writes(receivers);
            assert!(!stint.is_late(0, begun));
            stint.is_late(1, begun + Duration::from_millis(millis))
        };
        assert!(!late(0, 1) && late(1, 3) && !late(100, 2) && late(100, 3) && !late(1000, 11));
    }

    #[test]
    fn a_turn_ends_sooner_when_all_is_written() {
        let begun = Instant::now();
        let mut stint = Stint::default();
        assert!(!stint.is_late(0, begun));
        assert!(!stint.is_late(0, begun + TURN / 3) && stint.was_easy());
        assert!(!stint.is_late(0, begun + TURN / 2) && !stint.was_easy());
        stint.note_writes(1);
        assert_eq!(stint.done, STEP, "the clock is looked at next");
        assert!(stint.is_late(1, begun + TURN * 2 / 3));
        assert!(!stint.is_late(1, begun + TURN * 2 / 3), "there is something to write again");
    }

    #[test]
    fn the_clock_is_seldom_looked_at() {
        let mut stint = Stint::default();
        assert!((0..STEP - 1).all(|_| !stint.is_over(0)) && stint.since.is_none());
        assert!(!stint.is_over(0) && stint.since.is_some());
        stint.note(STEP);
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            std::hint::spin_loop();
        }
        assert!(stint.is_over(0), "deliveries count as well");
    }
}
