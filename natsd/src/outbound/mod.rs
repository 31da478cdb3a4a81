//! One connection's queue of bytes to its peer, with a bound.
//!
//! Anyone may append, from any thread, and whoever finished a batch writes, without blocking
//! ([`Outbound::flush`]); only when the socket refuses does the connection's own task wait for
//! it. Nothing awaits here and no lock is held over a system call. Pending bytes fall when they
//! are written, not when they are taken. At the bound (`bound.rs`) the peer is a slow consumer and
//! is cut off; producers are told to pause, and never made to wait here.

mod append;
mod batch;
mod bound;
mod pool;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::close::CloseReason;
pub use append::{Append, Appended};
use batch::{Batch, Chunk};
use bound::{Bound, Doubt, Idle};
pub use bound::{Pause, Pauses};
use pool::Block;
pub use pool::{give_back_shared_spares, give_back_spares};

/// Bodies of this size and above are shared between receivers, smaller ones are copied into
/// each queue. Measured: a copy is cheaper than a reference and one more slice below about this.
pub const SHARED_BODY_BYTES: usize = 16 * 1024;

/// Bodies of this size and above are not even copied out of the read buffer, but written from
/// there. Measured: a tenth less CPU at 4 and 8 KiB, a fifth at 64; at 1 KiB a slice more costs
/// more than the copy.
pub const LENT_BODY_BYTES: usize = 4 * 1024;

/// An empty list of this many chunks at most keeps its memory: most queues never need more, and
/// each flush would allocate it anew.
const CHUNKS_KEPT: usize = 4;

/// More than a thread that serves others should give back by itself: a tenth of a millisecond.
const LARGE_LEFTOVER_BYTES: usize = 1024 * 1024;

/// The writing side of a socket.
pub trait Sink: Send + Sync {
    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; any other error is final.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says goodbye, if there is a word for it. Called once, last of all; must not block.
    fn finish(&self) {}
}

/// A connection's queue of bytes.
pub struct Outbound {
    /// Connection id (`cid`, `rid`), unique among connections of its kind.
    pub id: u64,
    queue: Mutex<Queue>,
}

struct Queue {
    sink: Option<Arc<dyn Sink>>,
    full: VecDeque<Chunk>,
    tail: Block,
    /// Bytes of the first chunk that are written already.
    written_of_first: usize,
    pending_bytes: usize,
    bound: Bound,
    /// Messages of clients are dropped instead of slowing these down.
    drops_when_choked: bool,
    state: State,
    /// What waited when the socket was first full, until all of that is written.
    behind: Option<Behind>,
    /// Since the socket was first full, until nothing waits.
    doubt: Option<Doubt>,
    /// Some producer has it on its list and will flush it.
    touched: bool,
    closed: Option<CloseReason>,
    owner: Option<Waker>,
    messages: u64,
    bytes: u64,
    stalls: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Somebody is in a system call with the chunks.
    Writing,
    /// The socket took nothing since this time; the owner waits for it.
    Blocked(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Behind {
    since: Instant,
    whole: usize,
    left: usize,
}

/// A queue whose socket is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What waited then is not all written.
    pub since: Instant,
    /// None of it is.
    pub took_nothing: bool,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All is written, or somebody else is writing it.
    Done,
    /// The socket is full; the owner was told to wait for it.
    Blocked,
}

/// Counters of what was delivered to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Messages queued.
    pub messages: u64,
    /// Payload bytes queued, headers included.
    pub bytes: u64,
    /// Bytes waiting now.
    pub pending_bytes: usize,
    /// How often a producer was slowed down for it.
    pub stalls: u64,
}

impl Outbound {
    /// Makes an empty queue to a client, which may hold so many bytes.
    #[must_use]
    pub fn new(id: u64, sink: Arc<dyn Sink>, max_pending: usize) -> Self {
        Self::bounded(id, sink, Bound::of_client(max_pending))
    }

    /// Makes an empty queue to a peer server, which many producers share: it may hold more than
    /// a client's.
    #[must_use]
    pub fn to_peer(id: u64, sink: Arc<dyn Sink>, max_pending: usize) -> Self {
        Self::bounded(id, sink, Bound::of_route(max_pending))
    }

    fn bounded(id: u64, sink: Arc<dyn Sink>, bound: Bound) -> Self {
        let queue = Queue {
            sink: Some(sink),
            full: VecDeque::new(),
            tail: Block::EMPTY,
            written_of_first: 0,
            pending_bytes: 0,
            bound,
            drops_when_choked: false,
            state: State::Idle,
            behind: None,
            doubt: None,
            touched: false,
            closed: None,
            owner: None,
            messages: 0,
            bytes: 0,
            stalls: 0,
        };
        Self { id, queue: Mutex::new(queue) }
    }

    /// Opens the queue for appending; `None` when the connection is closed.
    pub fn append(&self) -> Option<Append<'_>> {
        let queue = self.queue.lock();
        if queue.closed.is_some() {
            return None;
        }
        Some(Append::new(queue))
    }

    /// Appends bytes that are not a message (PONG, INFO, RS+).
    pub fn append_bytes(&self, bytes: &[u8]) -> Option<Appended> {
        let mut append = self.append()?;
        append.put(bytes);
        Some(append.finish())
    }

    /// Writes what waits, as far as the socket takes it, without blocking.
    pub fn flush(&self) -> Flush {
        loop {
            let Some(mut batch) = self.take() else { return Flush::Done };
            let result = batch.write();
            match self.put_back(batch, result) {
                Next::Again => {}
                Next::Stop(flush) => return flush,
            }
        }
    }

    /// Takes all chunks for writing; `None` when there is nothing to do for the caller.
    fn take(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        queue.touched = false;
        if queue.state != State::Idle || queue.pending_bytes == 0 {
            return None;
        }
        let sink = queue.sink.clone()?;
        queue.state = State::Writing;
        Some(queue.take_batch(sink))
    }

    fn put_back(&self, batch: Batch, result: io::Result<()>) -> Next {
        let mut queue = self.queue.lock();
        queue.pending_bytes = queue.pending_bytes.saturating_sub(batch.written);
        queue.written_of_first = batch.written_of_first;
        queue.catch_up(batch.written);
        let mut chunks = batch.chunks;
        if !chunks.is_empty() || queue.full.is_empty() && chunks.capacity() <= CHUNKS_KEPT {
            chunks.append(&mut queue.full);
            queue.full = chunks;
        }
        match result {
            _ if queue.closed.is_some() => {
                queue.state = State::Idle;
                queue.wake_owner();
                Next::Stop(Flush::Done)
            }
            Ok(()) => {
                queue.state = State::Idle;
                if queue.pending_bytes == 0 { Next::Stop(Flush::Done) } else { Next::Again }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                queue.state = State::Blocked(Instant::now());
                queue.copy_what_is_lent();
                queue.fall_behind();
                queue.doubt.get_or_insert_with(|| Doubt::begin(Instant::now()));
                queue.wake_owner();
                Next::Stop(Flush::Blocked)
            }
            Err(_) => {
                queue.state = State::Idle;
                queue.close(CloseReason::WriteError);
                Next::Stop(Flush::Done)
            }
        }
    }

    /// Ends the connection: nothing is appended any more, its task is woken.
    pub fn close(&self, reason: CloseReason) {
        self.queue.lock().close(reason);
    }

    /// Why the connection was closed, if it was.
    pub fn closed(&self) -> Option<CloseReason> {
        self.queue.lock().closed
    }

    /// Whether messages of clients are dropped while it is choked, instead of slowing these down
    /// (`no_fast_producer_stall`).
    pub fn set_drops_when_choked(&self, drops: bool) {
        self.queue.lock().drops_when_choked = drops;
    }

    /// How many bytes it may hold.
    pub fn pending_bytes_max(&self) -> usize {
        self.queue.lock().bound.cut_above
    }

    /// How many pieces wait.
    pub fn chunks(&self) -> usize {
        let queue = self.queue.lock();
        queue.full.len() + usize::from(!queue.tail.is_empty())
    }

    /// For the connection's own task: the peer gets as much time again for what waits now.
    pub fn give_time(&self) {
        let mut queue = self.queue.lock();
        queue.behind = None;
        queue.fall_behind();
    }

    /// Counters of what was delivered.
    pub fn delivered(&self) -> Delivered {
        let queue = self.queue.lock();
        Delivered {
            messages: queue.messages,
            bytes: queue.bytes,
            pending_bytes: queue.pending_bytes,
            stalls: queue.stalls,
        }
    }

    /// For the connection's own task: remembers whom to wake and says what there is to do.
    pub fn attend(&self, waker: &Waker) -> Attend {
        let mut queue = self.queue.lock();
        if !queue.owner.as_ref().is_some_and(|owner| owner.will_wake(waker)) {
            queue.owner = Some(waker.clone());
        }
        match (queue.closed, queue.state) {
            (Some(reason), _) => Attend::Closed(reason),
            (None, State::Blocked(since)) => Attend::AwaitWritable(queue.behind.map_or(
                Waiting { since, took_nothing: true },
                |behind| Waiting { since: behind.since, took_nothing: behind.left == behind.whole },
            )),
            (None, _) => Attend::Nothing,
        }
    }

    /// For the connection's own task: the socket takes bytes again.
    pub fn unblock(&self) {
        let mut queue = self.queue.lock();
        if matches!(queue.state, State::Blocked(_)) {
            queue.state = State::Idle;
        }
    }

    /// For the connection's own task, last of all: lets go of the socket and all bytes.
    pub fn release(&self) -> Leftover {
        let mut queue = self.queue.lock();
        if queue.closed.is_none() {
            queue.closed = Some(CloseReason::ClientClosed);
        }
        let sink = queue.sink.take();
        queue.owner = None;
        let leftover = Leftover {
            bytes: std::mem::take(&mut queue.pending_bytes),
            _chunks: std::mem::take(&mut queue.full),
            _tail: std::mem::replace(&mut queue.tail, Block::EMPTY),
        };
        drop(queue);
        if let Some(sink) = sink {
            sink.finish();
        }
        leftover
    }

    /// For the connection's own task after a close: writes what waits, as far as the socket
    /// takes it; true when nothing is left to do.
    pub fn last_flush(&self) -> bool {
        let mut batch = {
            let mut queue = self.queue.lock();
            if queue.state == State::Writing {
                return false; // another thread is in the middle of it
            }
            let Some(sink) = queue.sink.clone() else { return true };
            queue.take_batch(sink)
        };
        let result = batch.write();
        let mut queue = self.queue.lock();
        queue.written_of_first = batch.written_of_first;
        queue.full = batch.chunks;
        !matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The memory of a queue that is no more.
#[must_use]
pub struct Leftover {
    bytes: usize,
    _chunks: VecDeque<Chunk>,
    _tail: Block,
}

impl Leftover {
    /// Whether giving it back to the system takes long: measured, 10 ms for 64 MiB.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.bytes > LARGE_LEFTOVER_BYTES
    }
}

impl std::fmt::Debug for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leftover").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// What the owner of a queue has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attend {
    /// Nothing.
    Nothing,
    /// Wait until the socket takes bytes.
    AwaitWritable(Waiting),
    /// Tear the connection down.
    Closed(CloseReason),
}

enum Next {
    Again,
    Stop(Flush),
}

impl Queue {
    fn close(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason);
        }
        self.wake_owner();
    }

    /// All chunks there are, for writing.
    fn take_batch(&mut self, sink: Arc<dyn Sink>) -> Batch {
        let mut chunks = std::mem::take(&mut self.full);
        let tail = std::mem::replace(&mut self.tail, Block::EMPTY);
        if !tail.is_empty() {
            chunks.push_back(Chunk::Owned(tail));
        }
        Batch::new(sink, chunks, self.written_of_first)
    }

    fn catch_up(&mut self, written: usize) {
        if self.pending_bytes == 0 {
            self.doubt = None;
        } else if let Some(doubt) = &mut self.doubt {
            doubt.note(written, Instant::now());
        }
        if let Some(behind) = &mut self.behind {
            behind.left = behind.left.saturating_sub(written);
            if behind.left == 0 {
                self.behind = None;
            }
        }
    }

    fn fall_behind(&mut self) {
        let whole = self.pending_bytes;
        self.behind.get_or_insert_with(|| Behind { since: Instant::now(), whole, left: whole });
    }

    fn wake_owner(&self) {
        if let Some(owner) = &self.owner {
            owner.wake_by_ref();
        }
    }

    /// Appends a chunk behind all bytes there are.
    fn push(&mut self, chunk: Chunk) {
        if !self.tail.is_empty() {
            let tail = std::mem::replace(&mut self.tail, Block::EMPTY);
            self.full.push_back(Chunk::Owned(tail));
        }
        self.pending_bytes += chunk.bytes().len();
        self.full.push_back(chunk);
    }

    /// Copies bytes behind all that there are.
    fn put(&mut self, bytes: &[u8]) {
        self.put_all(&[bytes], &[]);
    }

    /// Copies parts behind all bytes there are, into the same chunk.
    fn put_all(&mut self, line: &[&[u8]], rest: &[&[u8]]) {
        let parts = line.iter().chain(rest).copied();
        let bytes = parts.clone().map(<[u8]>::len).sum();
        self.reserve(bytes);
        self.tail.append(parts);
        self.pending_bytes += bytes;
    }

    /// Lets go of all read buffers. What stood between their parts moves with them: a queue that
    /// waits consists of full blocks.
    fn copy_what_is_lent(&mut self) {
        if !self.full.iter().any(|chunk| matches!(chunk, Chunk::Lent(_))) {
            return;
        }
        let pending_bytes = self.pending_bytes;
        let tail = std::mem::replace(&mut self.tail, Block::EMPTY);
        for chunk in std::mem::take(&mut self.full).into_iter().chain([Chunk::Owned(tail)]) {
            match chunk {
                Chunk::Lent(bytes) => self.put(&bytes),
                Chunk::Owned(block) if block.is_small() => {
                    self.put(block.bytes());
                    pool::give(block);
                }
                Chunk::Owned(_) | Chunk::Shared(_) => self.push(chunk),
            }
        }
        self.pending_bytes = pending_bytes;
    }

    /// Makes room for `wanted` more bytes in the tail.
    fn reserve(&mut self, wanted: usize) {
        if self.tail.room() >= wanted {
            return;
        }
        // What stands between two shared bodies is short.
        let starts = self.tail.is_nothing() && !matches!(self.full.back(), Some(Chunk::Owned(_)));
        let outgrown = self.tail.is_outgrown_by(wanted);
        let mut next = pool::take(wanted, starts);
        if outgrown {
            // The small first block moves on into a large one: still one chunk.
            next.append([self.tail.bytes()]);
        }
        let last = std::mem::replace(&mut self.tail, next);
        if outgrown || last.is_empty() {
            pool::give(last);
        } else {
            self.full.push_back(Chunk::Owned(last));
        }
    }

    fn is_choked(&self) -> bool {
        self.pending_bytes > self.bound.pause_above
    }

    /// How long the peer has done nothing although it should.
    fn idle(&self) -> Idle {
        let silent = match self.state {
            State::Blocked(since) => since.elapsed(),
            _ => Duration::ZERO,
        };
        Idle { silent, unread: self.doubt.as_ref().map_or(Duration::ZERO, Doubt::lasts) }
    }
}

#[cfg(test)]
mod tests;
