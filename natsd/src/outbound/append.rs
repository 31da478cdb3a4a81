//! A queue while somebody appends to it.

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::batch::Chunk;
use super::bound::Pause;
use super::{Queue, State};
use crate::close::CloseReason;

/// A queue that is open for appending; other producers wait until it is finished.
pub struct Append<'a> {
    queue: MutexGuard<'a, Queue>,
}

impl<'a> Append<'a> {
    pub(super) const fn new(queue: MutexGuard<'a, Queue>) -> Self {
        Self { queue }
    }

    /// Copies bytes into the queue.
    pub fn put(&mut self, bytes: &[u8]) {
        self.queue.put(bytes);
    }

    /// Copies the parts of a frame into the queue, in one piece: none is torn into two chunks.
    pub fn put_all(&mut self, line: &[&[u8]], rest: &[&[u8]]) {
        self.queue.put_all(line, rest);
    }

    /// Queues bytes without copying them.
    pub fn share(&mut self, bytes: &Bytes) {
        self.queue.push(Chunk::Shared(bytes.clone()));
    }

    /// Queues bytes of a read buffer without copying them, if they can be written at once: a
    /// peer that does not read must not hold more memory than it is charged for.
    pub fn lend(&mut self, bytes: &Bytes) {
        if self.queue.state != State::Idle {
            return self.put(bytes);
        }
        self.queue.push(Chunk::Lent(bytes.clone()));
    }

    /// Whether a client's message is better dropped.
    pub fn drops(&self) -> bool {
        self.queue.drops_when_choked && self.queue.is_choked()
    }

    /// Counts one message of this size.
    pub fn count_message(&mut self, bytes: usize) {
        self.queue.messages += 1;
        self.queue.bytes += bytes as u64;
    }

    /// Enforces the bound and lets other producers go on.
    pub fn finish(mut self) -> Appended {
        let queue = &mut *self.queue;
        let pending_bytes = queue.pending_bytes;
        let mut pause = Pause::default();
        if pending_bytes > queue.bound.pause_above {
            if pending_bytes > queue.bound.cut_above {
                queue.close(CloseReason::SlowConsumerPendingBytes);
                return Appended { first_touch: false, pending_bytes, pause };
            }
            if !queue.drops_when_choked {
                pause = queue.bound.pause(pending_bytes, queue.idle());
            }
            queue.stalls += u64::from(!pause.is_none());
        }
        let first_touch = !std::mem::replace(&mut queue.touched, true);
        Appended { first_touch, pending_bytes, pause }
    }
}

impl std::fmt::Debug for Append<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append").finish_non_exhaustive()
    }
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The caller must put the queue on its list of queues to flush.
    pub first_touch: bool,
    /// So many bytes wait now.
    pub pending_bytes: usize,
    /// How long a considerate producer pauses.
    pub pause: Pause,
}
