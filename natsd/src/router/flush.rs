//! When what was queued is written: at the end of a batch, or earlier where much waits.

use std::sync::Arc;
use std::time::Instant;

use super::Publisher;
use super::stint::turn_with;
use crate::account::Touch;
use crate::outbound::{Appended, Outbound};
use crate::protocol::message::Message;

/// A queue that grew beyond this within one batch is written at once: it keeps memory and the
/// receiver's latency bounded while a large batch is being read.
const EARLY_FLUSH_BYTES: usize = 512 * 1024;

/// All that was queued in one batch is written when it is more than this, behind a message, or twice
/// as much, in the middle of one: what is copied in is then still in the cache when the kernel
/// copies it out, and its blocks are soon free again.
/// Measured, 100 receivers: a third less CPU at 128 bytes, two fifths at 1 KiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// So many queues are written before the clock is looked at.
const WRITES_UNTIMED: usize = 4;

impl Touch for Publisher {
    fn touch(&mut self, outbound: &Arc<Outbound>) {
        self.touched.push(Arc::clone(outbound));
    }
}

impl Publisher {
    /// Writes every touched queue once, without blocking.
    pub fn flush(&mut self) {
        self.queued = 0;
        self.stint.note_writes(self.touched.len());
        for outbound in self.touched.drain(..) {
            outbound.flush();
        }
        self.tally.settle();
    }

    /// The same as long as a turn takes; returns those that are left for later ones. The caller
    /// writes them, for nobody else does.
    #[must_use]
    pub fn flush_some(&mut self) -> Vec<Arc<Outbound>> {
        if self.touched.len() <= WRITES_UNTIMED {
            self.flush();
            return Vec::new();
        }
        self.flush_until(Instant::now() + turn_with(self.touched.len()));
        self.tally.settle();
        std::mem::take(&mut self.touched)
    }

    /// A queue was appended to.
    pub(super) fn note_appended(
        &mut self,
        outbound: &Arc<Outbound>,
        appended: &Appended,
        message: &Message<'_>,
    ) {
        if appended.first_touch {
            self.touch(outbound);
        }
        self.pauses.add(appended.pause);
        if appended.pending_bytes > EARLY_FLUSH_BYTES {
            self.flush_long(outbound, message);
        }
    }

    /// A message was queued for a client; it may be for others yet.
    pub(super) fn note_queued(&mut self, message: &Message<'_>) {
        self.queued += message.size();
        if self.queued > 2 * BATCH_BYTES {
            self.flush_early(message);
        }
    }

    /// A message was queued for all who get it.
    pub(super) fn note_published(&mut self, message: &Message<'_>) {
        if self.queued > BATCH_BYTES {
            self.flush_early(message);
        }
    }

    /// Writes touched queues in the middle of a batch: those that hold parts of a large body, which
    /// cost no memory, as long as the turn goes on.
    fn flush_early(&mut self, message: &Message<'_>) {
        if message.shared.is_none() {
            return self.flush();
        }
        let end = self.stint.end(self.touched.len());
        self.flush_until(end);
    }

    fn flush_until(&mut self, end: Instant) {
        self.queued = 0;
        self.stint.note_writes(self.touched.len());
        let mut written = 0;
        for some in self.touched.chunks(WRITES_UNTIMED) {
            if Instant::now() >= end {
                break;
            }
            for outbound in some {
                outbound.flush();
            }
            written += some.len();
        }
        self.touched.drain(..written);
    }

    /// Writes a queue that has become long, unless what makes it so is large and the turn is over.
    fn flush_long(&mut self, outbound: &Outbound, message: &Message<'_>) {
        if message.shared.is_none() || Instant::now() < self.stint.end(self.touched.len()) {
            outbound.flush();
        }
    }
}
