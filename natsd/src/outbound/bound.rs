//! How much a queue may hold, and how long its producers pause before that.

use std::time::Duration;

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

/// How long the producers of a queue should pause; the default is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause {
    millis: u16,
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

    /// How long producers should pause at so many pending bytes.
    ///
    /// A client that has stopped reading is beyond help: pausing for it would punish the healthy
    /// receivers of the same messages. A server that has stopped may be about to go on, and much
    /// is lost with it: for it the shortest pause is made, as nats-server does.
    pub(super) fn pause(&self, pending: usize, still_reads: bool) -> Pause {
        let doublings = match (self.kind, still_reads) {
            (Kind::Client, false) => return Pause::default(),
            (Kind::Route, false) => 0,
            (Kind::Client | Kind::Route, true) => self.doublings(pending),
        };
        Pause { millis: FIRST_PAUSE_MILLIS << doublings }
    }

    fn doublings(&self, pending: usize) -> usize {
        let beyond = pending.saturating_sub(self.pause_above);
        let step = (self.cut_above - self.pause_above) / (DOUBLINGS + 1);
        (beyond / step.max(1)).min(DOUBLINGS)
    }
}

impl Pause {
    /// Its length; `None` is no pause.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        (self.millis > 0).then(|| Duration::from_millis(self.millis.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn millis(bound: &Bound, pending: usize, still_reads: bool) -> u128 {
        bound.pause(pending, still_reads).duration().unwrap_or_default().as_millis()
    }

    #[test]
    fn producers_of_a_client_pause_only_while_it_reads() {
        let bound = Bound::of_client(64 * MIB);
        assert_eq!((bound.pause_above, bound.cut_above), (48 * MIB, 64 * MIB));
        let pauses: Vec<_> = [49, 52, 63].map(|n| millis(&bound, n * MIB, true)).into();
        assert_eq!(pauses, [5, 10, 320]);
        assert_eq!(millis(&bound, 63 * MIB, false), 0);
    }

    #[test]
    fn producers_of_a_route_pause_the_longer_the_more_waits() {
        let bound = Bound::of_route(64 * MIB);
        assert_eq!((bound.pause_above, bound.cut_above), (48 * MIB, 256 * MIB));
        let pauses: Vec<_> =
            [49, 80, 110, 140, 170, 200, 256].map(|n| millis(&bound, n * MIB, true)).into();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320]);
        assert_eq!(millis(&bound, 200 * MIB, false), 5);
    }

    #[test]
    fn a_small_max_pending_is_meant_for_clients() {
        assert_eq!(Bound::of_route(MIB).cut_above, 64 * MIB);
        assert_eq!(Bound::of_route(MIB).pause_above, 12 * MIB);
        assert_eq!(Bound::of_route(usize::MAX).cut_above, usize::MAX);
    }
}
