//! Queues that a connection touched and that its turn was too short to write.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::desk;
use crate::outbound::Outbound;
use crate::router::TURN;

/// What is still to be written before the connection is read again. Nobody else writes these
/// queues, so whatever becomes of the connection they are written.
///
/// Measured, two cores, how long another client waits at most while one publishes 1 MB to 300
/// receivers: 59 to 74 ms, which was 122 to 155 (nats-server 38 to 133; `bench/neighbour`).
#[derive(Default)]
pub(super) struct Owed(VecDeque<Arc<Outbound>>);

impl Owed {
    pub(super) fn add(&mut self, unwritten: Vec<Arc<Outbound>>) {
        self.0.extend(unwritten);
    }

    /// Writes all, in turns.
    pub(super) async fn pay(&mut self) {
        poll_fn(|cx| self.poll_pay(cx)).await;
    }

    /// Writes for one turn; ready when nothing is left.
    pub(super) fn poll_pay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_empty() {
            return Poll::Ready(());
        }
        let begun = Instant::now();
        while let Some(outbound) = self.0.pop_front() {
            outbound.flush();
            if begun.elapsed() >= TURN {
                break;
            }
        }
        desk::with(|desk| desk.turns.give_way(cx))
    }
}

/// The task may be ended in the middle.
impl Drop for Owed {
    fn drop(&mut self) {
        for outbound in self.0.drain(..) {
            outbound.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::outbound::Sink;
    use crate::router::Publisher;

    /// Takes a millisecond for each write.
    #[derive(Default)]
    struct Slow(AtomicUsize);

    impl Sink for Slow {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }
    }

    /// What a turn left of writes to so many receivers, and the writes that were made.
    fn left_of(receivers: u64) -> (Owed, Arc<Slow>) {
        let writes = Arc::new(Slow::default());
        let mut publisher = Publisher::new(1);
        for id in 0..receivers {
            let sink = Arc::clone(&writes) as Arc<dyn Sink>;
            publisher.send(&Arc::new(Outbound::new(id, sink, 1 << 20)), b"PONG\r\n");
        }
        let mut owed = Owed::default();
        owed.add(publisher.flush_some());
        assert!(publisher.flush_some().is_empty(), "it is in one place only");
        (owed, writes)
    }

    #[test]
    fn what_a_turn_is_too_short_for_is_written_in_later_ones() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut owed, writes) = left_of(30);
        let at_first = writes.0.load(Ordering::Relaxed);
        assert!((4..30).contains(&at_first), "{at_first}");
        let mut turns = 0;
        runtime.block_on(poll_fn(|cx| {
            turns += 1;
            owed.poll_pay(cx)
        }));
        assert_eq!(writes.0.load(Ordering::Relaxed), 30);
        assert!(turns > 3, "{turns}");
    }

    #[test]
    fn a_connection_that_ends_leaves_nothing_unwritten() {
        let (owed, writes) = left_of(30);
        drop(owed);
        assert_eq!(writes.0.load(Ordering::Relaxed), 30);
    }

    #[test]
    fn a_few_are_written_at_once() {
        let (_owed, writes) = left_of(4);
        assert_eq!(writes.0.load(Ordering::Relaxed), 4);
    }
}
