//! How much a queue may hold, and how long its producers pause before that.

use std::time::Duration;

use tokio::time::Instant;

/// A client's queue above three quarters of `max_pending` slows its producers down (nats-server).
const QUARTERS_FREE: usize = 3;
/// nats-server cuts routes off by time only, and their queues grow meanwhile as fast as producers
/// can fill them. Here they may hold so many times what a client's queue may...
const ROUTE_SHARE: usize = 4;
/// ...and this much in any case: a small `max_pending` is meant for clients.
const ROUTE_LEAST: usize = 64 * 1024 * 1024;

/// A producer of a receiver that cannot keep up pauses this long after a batch. nats-server
/// stalls 2 to 5 ms a message and 10 ms a read; here only this producer's reading pauses, no
/// thread does.
const FIRST_PAUSE_MILLIS: u16 = 5;
/// So often the pause doubles on the way to the bound, up to 320 ms: hundreds of producers
/// together are slowed down to what one receiver can take.
const DOUBLINGS: usize = 6;

/// How much a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// Above this the peer is cut off.
    pub(super) cut_above: usize,
    /// Above this producers pause.
    pub(super) pause_above: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    Route,
}

/// A client that gave no sign of reading for this long may have stopped: no pause is made for it at
/// the cost of receivers that keep up, unless the machine is crowded, where it may be waiting for
/// its turn. Measured: of 15 runs with four publishers and eight subscribers on two cores three lost
/// a subscriber that was silent for longer.
const SILENT: Duration = Duration::from_millis(100);
/// What a socket takes is a sign only beyond this: the kernel of a peer that does not read keeps so
/// much (the most that `tcp_rmem` allows by default, tcp(7)). Measured: it took 2.8 MB 85 ms after
/// the socket had been full. With this, beside one that stopped reading 128 B messages, a healthy
/// subscriber has less than half of its rate for 20 to 30 ms instead of 120 to 140.
const UNREAD_MAX: usize = 6 * 1024 * 1024;
/// A client that took no byte for this long has stopped reading, wherever it is.
const STOPPED: Duration = Duration::from_millis(400);

/// Since when there is no sign that a peer reads, whose socket was full and still is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    since: Instant,
    /// Bytes that its socket took since.
    taken: usize,
}

/// How long a peer that is behind has done nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    /// Its socket took nothing.
    pub(super) silent: Duration,
    /// There was no sign that it reads.
    pub(super) unread: Duration,
}

/// How long the producers of a queue should pause; the default is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause {
    millis: u16,
    /// Nobody should who also has receivers that keep up, on a machine that is not crowded.
    is_vain: bool,
}

/// How long the producer of a batch should pause for all its receivers.
#[derive(Debug, Default)]
pub struct Pauses {
    millis: u16,
    vain_millis: u16,
    /// Some receiver keeps up.
    spares: bool,
}

impl Bound {
    pub(super) const fn of_client(max_pending: usize) -> Self {
        let pause_above = max_pending / 4 * QUARTERS_FREE;
        Self { cut_above: max_pending, pause_above, kind: Kind::Client }
    }

    pub(super) const fn of_route(max_pending: usize) -> Self {
        let share = max_pending.saturating_mul(ROUTE_SHARE);
        let cut_above = if share > ROUTE_LEAST { share } else { ROUTE_LEAST };
        let pause_above = cut_above / ROUTE_SHARE / 4 * QUARTERS_FREE;
        Self { cut_above, pause_above, kind: Kind::Route }
    }

    /// How long producers should pause at so many pending bytes of a peer.
    ///
    /// A client that has stopped reading is beyond help: pausing for it would punish the healthy
    /// receivers of the same messages. A server that has stopped may be about to go on, and much
    /// is lost with it: for it the shortest pause is made, as nats-server does.
    pub(super) fn pause(&self, pending: usize, idle: Idle) -> Pause {
        let doublings = match self.kind {
            Kind::Client if idle.silent >= STOPPED => return Pause::GIVEN_UP,
            Kind::Route if idle.silent >= SILENT => 0,
            Kind::Client | Kind::Route => self.doublings(pending),
        };
        let is_vain = self.kind == Kind::Client && idle.unread >= SILENT;
        Pause { millis: FIRST_PAUSE_MILLIS << doublings, is_vain }
    }

    fn doublings(&self, pending: usize) -> usize {
        let beyond = pending.saturating_sub(self.pause_above);
        let step = (self.cut_above - self.pause_above) / (DOUBLINGS + 1);
        (beyond / step.max(1)).min(DOUBLINGS)
    }
}

impl Doubt {
    pub(super) const fn begin(now: Instant) -> Self {
        Self { since: now, taken: 0 }
    }

    /// Its socket took so much.
    pub(super) const fn note(&mut self, taken: usize, now: Instant) {
        self.taken += taken;
        if self.taken > UNREAD_MAX {
            *self = Self::begin(now);
        }
    }

    pub(super) fn lasts(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Pause {
    /// None is made for a receiver that does not keep up.
    const GIVEN_UP: Self = Self { millis: 0, is_vain: true };

    /// No pause: the receiver keeps up, or is given up.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.millis == 0
    }
}

impl Pauses {
    /// Adds what a receiver wants.
    pub const fn add(&mut self, pause: Pause) {
        let Pause { millis, is_vain } = pause;
        let longest = if is_vain { &mut self.vain_millis } else { &mut self.millis };
        if millis > *longest {
            *longest = millis;
        }
        self.spares |= millis == 0 && !is_vain;
    }

    /// The longest that is worth it, and forgets all; `None` is no pause. `is_crowded` says
    /// whether the machine has more to do than it can; it is asked if there is any pause.
    pub fn take(&mut self, is_crowded: impl FnOnce() -> bool) -> Option<Duration> {
        let Self { millis, vain_millis, spares } = std::mem::take(self);
        if millis.max(vain_millis) == 0 {
            return None;
        }
        let counts_all = is_crowded() || !spares;
        let longest = if counts_all { millis.max(vain_millis) } else { millis };
        (longest > 0).then(|| Duration::from_millis(longest.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    const NOW: Idle = Idle { silent: Duration::ZERO, unread: Duration::ZERO };
    const SILENT: Idle = Idle { silent: super::SILENT, unread: super::SILENT };
    const UNREAD: Idle = Idle { silent: Duration::ZERO, unread: super::SILENT };
    const STOPPED: Idle = Idle { silent: super::STOPPED, unread: super::STOPPED };

    fn millis(bound: &Bound, pending: usize, idle: Idle) -> u16 {
        bound.pause(pending, idle).millis
    }

    #[test]
    fn producers_of_a_client_pause_only_while_it_reads() {
        let bound = Bound::of_client(64 * MIB);
        assert_eq!((bound.pause_above, bound.cut_above), (48 * MIB, 64 * MIB));
        let pauses: Vec<_> = [49, 52, 63].map(|n| millis(&bound, n * MIB, NOW)).into();
        assert_eq!(pauses, [5, 10, 320]);
        assert!(bound.pause(63 * MIB, STOPPED).is_none());
    }

    #[test]
    fn producers_of_a_route_pause_the_longer_the_more_waits() {
        let bound = Bound::of_route(64 * MIB);
        assert_eq!((bound.pause_above, bound.cut_above), (48 * MIB, 256 * MIB));
        let pauses: Vec<_> =
            [49, 80, 110, 140, 170, 200, 256].map(|n| millis(&bound, n * MIB, NOW)).into();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320]);
        assert_eq!(millis(&bound, 200 * MIB, SILENT), 5);
    }

    /// The pause for receivers of which each has so much pending and was silent for so long.
    fn pause_for(bound: &Bound, receivers: &[(usize, Idle)], is_crowded: bool) -> Option<u128> {
        let mut pauses = Pauses::default();
        for (pending, idle) in receivers {
            pauses.add(if *pending > bound.pause_above {
                bound.pause(*pending, *idle)
            } else {
                Pause::default()
            });
        }
        let taken = pauses.take(|| is_crowded);
        assert_eq!(pauses.take(|| is_crowded), None, "it is taken once");
        taken.map(|pause| pause.as_millis())
    }

    #[test]
    fn nobody_who_keeps_up_pays_for_one_that_takes_nothing() {
        let bound = Bound::of_client(64 * MIB);
        let (fast, late, silent) = ((0, NOW), (49 * MIB, NOW), (51 * MIB, SILENT));
        let pause = |receivers: &[_]| pause_for(&bound, receivers, false);
        assert_eq!(pause(&[silent]), Some(10), "nobody else is there");
        assert_eq!(pause(&[silent, fast]), None);
        let unread = (51 * MIB, UNREAD);
        assert_eq!((pause(&[unread]), pause(&[unread, fast])), (Some(10), None));
        assert_eq!(pause(&[fast, late, silent]), Some(5), "one of them still reads");
        assert_eq!(pause(&[late, silent]), Some(10));
        let stopped = (63 * MIB, STOPPED);
        assert_eq!(pause(&[stopped, silent]), Some(10), "who has stopped does not keep up");
        assert_eq!(pause(&[stopped, fast]), None);
        assert_eq!(pause(&[fast]), None);
        assert_eq!(pause_for(&bound, &[silent, fast], true), Some(10), "it may wait for its turn");
        let route = Bound::of_route(64 * MIB);
        assert_eq!(pause_for(&route, &[fast, silent], false), Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_kernel_may_keep_is_no_sign_of_reading() {
        let mut doubt = Doubt::begin(Instant::now());
        tokio::time::advance(super::SILENT).await;
        doubt.note(UNREAD_MAX, Instant::now());
        assert_eq!(doubt.lasts(), super::SILENT);
        doubt.note(1, Instant::now());
        assert_eq!(doubt.lasts(), Duration::ZERO);
    }

    #[test]
    fn a_small_max_pending_is_meant_for_clients() {
        assert_eq!(Bound::of_route(MIB).cut_above, 64 * MIB);
        assert_eq!(Bound::of_route(MIB).pause_above, 12 * MIB);
        assert_eq!(Bound::of_route(usize::MAX).cut_above, usize::MAX);
    }
}
