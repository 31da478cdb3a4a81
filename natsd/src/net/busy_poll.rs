//! When a thread asks its readiness loop again and again instead of going to sleep.
//!
//! A request and its answer are four wake-ups of cores that had just gone to sleep, two of them the
//! server's; where the machine is virtual they take most of the time. So a thread that is part of a
//! conversation with one thing in flight polls, but only where it sees that it helps: it compares
//! how soon the next thing to do comes with polling and without, and lets it be for a while where
//! that is not twice as soon. Traffic that comes when it comes is not any sooner because
//! somebody looks out for it, so but for a short trial now and then it is not polled for.
//!
//! Measured, one request in flight (2 virtual cores of an AMD EPYC): 48 us instead of 160 with a
//! core for the server alone and two thirds of the CPU per request, 31 instead of 101 without and
//! as much CPU. Where clients and servers share the cores, or need more than they are, it changes
//! nothing; a trial that asked for a quarter sooner cost three servers on two cores a tenth.

use std::time::{Duration, Instant};

/// So many small turns in a row are a conversation ..
const CONVERSATION_TURNS: usize = 16;
/// .. if each comes within this time after the last.
const CONVERSATION_GAP: Duration = Duration::from_micros(250);
/// What comes later than this is never polled for.
const WINDOW: Duration = Duration::from_micros(100);
/// So many turns with polling are a trial ..
const TRIAL_TURNS: u32 = 64;
/// .. which fails when more than so many of them came no sooner.
const LATE_MAX: u32 = TRIAL_TURNS / 4;
/// How long no trial follows one that failed; twice as long after each further one ..
const BARRED_MIN: Duration = Duration::from_millis(50);
/// .. but never longer than this, for which also a comparison stands.
const VERDICT: Duration = Duration::from_secs(1);

/// What a thread did since it last asked its readiness loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing was there to do.
    Empty,
    /// At most one message was carried.
    Small,
    /// More: what counts then is how much is done at once, not how soon.
    Large,
}

/// The judgement of one thread.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// When the last small turn ended, if the one after it is to be compared.
    last: Option<Instant>,
    mode: Mode,
    /// After what times small turns came while it slept.
    gaps: [Duration; CONVERSATION_TURNS],
    /// How long it is let be if the next trial does not help.
    bar: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Sleeps, and has noted so many gaps.
    Sleep { turns: usize },
    /// Polls.
    Poll(Trial),
    /// Sleeps, because polling did not help.
    Barred { until: Instant },
}

/// One trial after the other, as long as they do not fail.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: Instant,
    /// A turn that comes later than this is not helped; it is not polled for any longer.
    soon: Duration,
    turns: u32,
    late: u32,
}

impl Mode {
    const ASLEEP: Self = Self::Sleep { turns: 0 };
}

impl Default for BusyPoll {
    fn default() -> Self {
        let gaps = [Duration::ZERO; CONVERSATION_TURNS];
        Self { last: None, mode: Mode::ASLEEP, gaps, bar: BARRED_MIN }
    }
}

impl BusyPoll {
    /// Whether to poll now instead of sleeping, after such a turn. The clock is not asked where
    /// much is going on.
    pub(super) fn wanted(&mut self, turn: Turn, now: impl FnOnce() -> Instant) -> bool {
        match (turn, &self.mode) {
            (Turn::Small, _) => {
                let now = now();
                if let Some(last) = self.last.replace(now) {
                    self.note(now - last, now);
                }
                matches!(self.mode, Mode::Poll(_))
            }
            (Turn::Empty, Mode::Poll(trial)) => {
                self.last.is_some_and(|last| now() - last < trial.soon)
            }
            (Turn::Empty, _) => false,
            (Turn::Large, mode) => {
                self.last = None;
                if !matches!(mode, Mode::Barred { .. }) {
                    self.mode = Mode::ASLEEP;
                }
                false
            }
        }
    }

    /// A small turn came so long after the last.
    fn note(&mut self, gap: Duration, now: Instant) {
        self.mode = match self.mode {
            Mode::Sleep { turns } => self.after_sleep(turns, gap, now),
            Mode::Poll(trial) => self.after_poll(trial, gap, now),
            Mode::Barred { until } if now < until => return,
            Mode::Barred { .. } => Mode::ASLEEP,
        }
    }

    fn after_sleep(&mut self, turns: usize, gap: Duration, now: Instant) -> Mode {
        let place = self.gaps.get_mut(turns).filter(|_| gap < CONVERSATION_GAP);
        let Some(place) = place else { return Mode::ASLEEP };
        *place = gap;
        let turns = turns + 1;
        if turns < CONVERSATION_TURNS {
            return Mode::Sleep { turns };
        }
        let soon = (median(&mut self.gaps) / 2).min(WINDOW);
        Mode::Poll(Trial { since: now, soon, turns: 0, late: 0 })
    }

    fn after_poll(&mut self, trial: Trial, gap: Duration, now: Instant) -> Mode {
        let (turns, late) = (trial.turns + 1, trial.late + u32::from(gap >= trial.soon));
        if late > LATE_MAX {
            let until = now + self.bar;
            self.bar = (self.bar * 2).min(VERDICT);
            return Mode::Barred { until };
        }
        if turns < TRIAL_TURNS {
            return Mode::Poll(Trial { turns, late, ..trial });
        }
        self.bar = (self.bar / 2).max(BARRED_MIN);
        if now - trial.since >= VERDICT {
            return Mode::ASLEEP; // to be compared anew
        }
        Mode::Poll(Trial { turns: 0, late: 0, ..trial })
    }
}

fn median(gaps: &mut [Duration; CONVERSATION_TURNS]) -> Duration {
    *gaps.select_nth_unstable(CONVERSATION_TURNS / 2).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_micros(80);
    const QUICK: Duration = Duration::from_micros(30);

    /// A thread, its clock, and how often it polled or slept after small turns.
    struct Thread {
        poll: BusyPoll,
        now: Instant,
        polled: u32,
        slept: u32,
    }

    impl Thread {
        fn new() -> Self {
            Self { poll: BusyPoll::default(), now: Instant::now(), polled: 0, slept: 0 }
        }

        fn turn(&mut self, turn: Turn, after: Duration) -> bool {
            self.now += after;
            self.poll.wanted(turn, || self.now)
        }

        /// Small turns; the next comes so soon after one that polled or slept.
        fn converse(&mut self, turns: u32, polled: Duration, slept: Duration) {
            let mut polls = false;
            for _ in 0..turns {
                polls = self.turn(Turn::Small, if polls { polled } else { slept });
                *(if polls { &mut self.polled } else { &mut self.slept }) += 1;
            }
        }
    }

    #[test]
    fn a_conversation_that_polling_makes_quicker_is_polled_for() {
        let mut thread = Thread::new();
        thread.converse(10_000, QUICK, SLOW);
        assert_eq!(thread.slept, 16, "the first tells when it began");
    }

    #[test]
    fn it_is_compared_anew_every_second() {
        let mut thread = Thread::new();
        thread.converse(100_000, QUICK, SLOW); // three seconds
        assert!((2..=4).contains(&(thread.slept / 16)), "{}", thread.slept);
    }

    #[test]
    fn traffic_that_comes_no_sooner_is_let_be_after_a_trial() {
        let mut thread = Thread::new();
        thread.converse(125_000, SLOW, SLOW); // ten seconds: 5 trials in the first, then one each
        let trials = thread.polled / LATE_MAX;
        assert!((10..=16).contains(&trials), "{trials} trials");
    }

    #[test]
    fn what_comes_at_random_is_let_be() {
        let mut thread = Thread::new();
        let mut seed = 1_u64;
        let mut polled = 0;
        for _ in 0..100_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let part = ((seed >> 33) as f64 + 0.5) / f64::from(1_u32 << 31);
            let gap = Duration::from_secs_f64(-part.ln() * 20e-6); // 50,000 a second
            polled += u32::from(thread.turn(Turn::Small, gap));
        }
        assert!((1..=12 * TRIAL_TURNS).contains(&polled), "{polled} of 100,000, two seconds");
    }

    #[test]
    fn rare_turns_and_large_ones_are_slept_for() {
        let mut thread = Thread::new();
        thread.converse(1_000, QUICK, CONVERSATION_GAP);
        assert_eq!(thread.polled, 0);
        for _ in 0..1_000 {
            assert!(!thread.turn(Turn::Small, QUICK));
            assert!(!thread.turn(Turn::Large, QUICK));
        }
    }

    #[test]
    fn it_sleeps_when_the_window_is_over_and_goes_on_with_the_next_turn() {
        let mut thread = Thread::new();
        thread.converse(100, QUICK, SLOW);
        assert!(thread.turn(Turn::Empty, SLOW / 4));
        assert!(!thread.turn(Turn::Empty, SLOW / 4));
        assert!(thread.turn(Turn::Small, Duration::from_secs(1)));
        assert!(!thread.turn(Turn::Large, QUICK));
        assert!(!thread.turn(Turn::Empty, QUICK));
    }
}
