//! What a reading thread has on its desk: one read buffer and one publisher for all its
//! connections. An idle connection owns neither.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::busy_poll::{BusyPoll, Turn};
use super::workers::Turns;
use crate::outbound::{LENT_BODY_BYTES, Outbound};
use crate::router::Publisher;

/// Bytes read at most at once. Measured on one core: each write wakes the receiver, so half as
/// much costs a quarter more at 1 and 8 KiB; twice as much changes nothing.
pub(super) const READ_BYTES: usize = 512 * 1024;

/// Encrypted bytes read at most at once; what they hold always fits into the read buffer.
pub(super) const CIPHER_BYTES: usize = 64 * 1024;

/// So many small batches wait at most for those of other connections.
const UNWRITTEN_MAX: u8 = 32;

pub(super) struct Desk {
    pub(super) buffer: ReadBuffer,
    /// Encrypted bytes; empty on a thread that has seen none.
    pub(super) cipher: Vec<u8>,
    pub(super) publisher: Publisher,
    pub(super) turns: Turns,
    /// Batches since the thread last waited; `None` where nobody says when it does.
    batches: Option<u8>,
    busy_poll: BusyPoll,
    /// Wakes [`sleepless`].
    bell: Arc<Notify>,
}

impl Desk {
    /// Begins a batch of so many bytes: small ones never wait for a large one.
    pub(super) fn begin_batch(&mut self, bytes: usize) {
        self.publisher.begin_turn();
        if bytes >= LENT_BODY_BYTES {
            self.write_all();
        }
    }

    /// Ends a batch of so many bytes and writes what it touched. A small one that is not the first
    /// since the thread waited leaves that to the end of its turn: what several connections that
    /// are ready at the same time queued for one receiver is one write. Measured, 16 publishers of
    /// 1,000 messages/s each: a third less CPU; were the first to wait as well, a request and its
    /// answer would take 6 % longer. No queue has parts of the read buffer after less than
    /// [`LENT_BODY_BYTES`]. Returns what the connection still has to write.
    #[must_use]
    pub(super) fn end_batch(&mut self, bytes: usize) -> Vec<Arc<Outbound>> {
        let waits = match &mut self.batches {
            Some(batches) => {
                *batches += 1;
                *batches > 1 && *batches < UNWRITTEN_MAX && bytes < LENT_BODY_BYTES
            }
            None => false,
        };
        if waits { Vec::new() } else { self.write_some() }
    }

    /// Writes every queue that was touched, as far as a turn goes; returns the others.
    #[must_use]
    pub(super) fn write_some(&mut self) -> Vec<Arc<Outbound>> {
        self.batches = self.batches.map(|_| 1);
        self.publisher.flush_some()
    }

    /// Writes every queue that was touched.
    pub(super) fn write_all(&mut self) {
        self.publisher.flush();
        self.batches = self.batches.map(|_| 1);
    }

    /// What the thread did since it last asked its readiness loop.
    fn take_turn(&mut self) -> Turn {
        match (self.batches.replace(0), self.publisher.take_carried()) {
            (None | Some(0), 0) => Turn::Empty,
            (_, 0 | 1) => Turn::Small,
            _ => Turn::Large,
        }
    }
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk {
        buffer: ReadBuffer::default(),
        cipher: Vec::new(),
        publisher: Publisher::new(rand::random()),
        turns: Turns::default(),
        batches: None,
        busy_poll: BusyPoll::default(),
        bell: Arc::default(),
    });
}

/// To be called whenever the thread is about to wait: writes what has waited for this, and keeps
/// the thread awake if it should poll.
pub(super) fn before_rest() {
    // There is no desk any more when the thread ends.
    let _ended = DESK.try_with(|desk| {
        let mut desk = desk.borrow_mut();
        let turn = desk.take_turn();
        desk.turns = Turns::default();
        desk.publisher.flush();
        if desk.busy_poll.wanted(turn, Instant::now) {
            desk.bell.notify_one();
        }
    });
}

/// A task that keeps this thread awake by having something to do, which is nothing: as long as a
/// task wants to run the readiness loop is asked without waiting.
pub(super) async fn sleepless() {
    let bell = with(|desk| Arc::clone(&desk.bell));
    loop {
        bell.notified().await;
    }
}

/// What was read last. While it is worked on queues may hold parts of it.
#[derive(Default)]
pub(super) struct ReadBuffer(BytesMut);

impl ReadBuffer {
    /// As much of the buffer, to be read into.
    pub(super) fn first(&mut self, most: usize) -> &mut [u8] {
        self.bytes().get_mut(..most).unwrap_or_default()
    }

    /// The whole buffer.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = BytesMut::zeroed(READ_BYTES);
        }
        &mut self.0
    }

    /// Gives it away.
    pub(super) fn lend(&mut self) -> Bytes {
        std::mem::take(&mut self.0).freeze()
    }

    /// Takes it back, unless another thread is still writing from it.
    pub(super) fn take_back(&mut self, buffer: Bytes) {
        if let Ok(buffer) = buffer.try_into_mut() {
            self.0 = buffer;
        }
    }
}

/// Lets a function use the desk of this thread. It must not call back into itself.
pub(super) fn with<R>(work: impl FnOnce(&mut Desk) -> R) -> R {
    DESK.with_borrow_mut(work)
}

/// Lets a function queue bytes from outside any conversation, and writes what it touched.
pub fn with_publisher<R>(work: impl FnOnce(&mut Publisher) -> R) -> R {
    with(|desk| {
        let result = work(&mut desk.publisher);
        desk.publisher.flush();
        result
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::runtime::Handle;

    use super::super::workers::{Workers, serving_runtime};
    use super::*;
    use crate::outbound::Sink;

    /// Counts writes.
    #[derive(Default)]
    struct Writes(AtomicUsize);

    impl Sink for Writes {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }
    }

    /// Batches of connections that are all ready at once, for one receiver; how many writes.
    async fn writes_of(batches: usize, bytes: usize) -> usize {
        let writes = Arc::new(Writes::default());
        let receiver = Arc::new(Outbound::new(1, Arc::clone(&writes) as Arc<dyn Sink>, 1 << 20));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let tasks = (0..batches).map(|_| {
            let receiver = Arc::clone(&receiver);
            tokio::spawn(async move {
                with(|desk| {
                    desk.publisher.send(&receiver, b"PONG\r\n");
                    assert!(desk.end_batch(bytes).is_empty());
                });
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            task.await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(receiver.delivered().pending_bytes, 0, "nothing is left behind");
        writes.0.load(Ordering::Relaxed)
    }

    #[test]
    fn small_batches_of_connections_that_are_ready_at_once_share_a_write() {
        let runtime = serving_runtime().unwrap();
        assert_eq!(runtime.block_on(writes_of(1, 10)), 1);
        assert_eq!(runtime.block_on(writes_of(10, 10)), 2, "the first does not wait");
        assert_eq!(runtime.block_on(writes_of(10, LENT_BODY_BYTES)), 10);
        let many = runtime.block_on(writes_of(3 * usize::from(UNWRITTEN_MAX), 10));
        assert!((4..=6).contains(&many), "{many} writes");
    }

    /// How often a thread went to sleep within 50 ms, after a conversation that is quicker with
    /// polling or is not.
    fn rests(quicker: bool) -> u64 {
        let runtime = serving_runtime().unwrap();
        runtime.block_on(async {
            let _workers = Workers::start(Handle::current(), 1).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            let metrics = Handle::current().metrics();
            let before = metrics.worker_park_count(0);
            // Its last turn is yet to come, so that the wait for the next is a long one.
            let mut now = Instant::now() + Duration::from_secs(1);
            with(|desk| {
                desk.busy_poll = BusyPoll::default();
                for _ in 0..100 {
                    let polls = desk.busy_poll.wanted(Turn::Small, || now);
                    now += Duration::from_micros(if polls && quicker { 10 } else { 80 });
                }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            metrics.worker_park_count(0) - before
        })
    }

    #[test]
    fn a_thread_that_should_poll_does_not_sleep() {
        assert_eq!(rests(true), 0);
        assert!(rests(false) > 0);
    }

    #[tokio::test]
    async fn where_nobody_says_when_a_thread_waits_every_batch_is_written() {
        assert_eq!(writes_of(10, 10).await, 10);
    }

    #[test]
    fn the_read_buffer_is_the_same_again_unless_part_of_it_is_still_held() {
        let mut buffer = ReadBuffer::default();
        let first = buffer.bytes().as_ptr();
        let lent = buffer.lend();
        drop(lent.slice(10..20));
        buffer.take_back(lent);
        assert_eq!((buffer.bytes().as_ptr(), buffer.bytes().len()), (first, READ_BYTES));
        let lent = buffer.lend();
        let held = lent.slice(10..20);
        buffer.take_back(lent);
        assert_ne!(buffer.bytes().as_ptr(), first);
        assert_eq!((buffer.bytes().len(), &*held), (READ_BYTES, &[0; 10][..]));
    }
}
