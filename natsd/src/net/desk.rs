//! What a reading thread has on its desk: one read buffer and one publisher for all its
//! connections. An idle connection owns neither.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

use super::workers::Turns;
use crate::router::Publisher;

/// Bytes read at most at once. Measured on one core: each write wakes the receiver, so half as
/// much costs a quarter more at 1 and 8 KiB; twice as much changes nothing.
pub(super) const READ_BYTES: usize = 512 * 1024;

/// Encrypted bytes read at most at once; what they hold always fits into the read buffer.
pub(super) const CIPHER_BYTES: usize = 64 * 1024;

pub(super) struct Desk {
    pub(super) buffer: ReadBuffer,
    /// Encrypted bytes; empty on a thread that has seen none.
    pub(super) cipher: Vec<u8>,
    pub(super) publisher: Publisher,
    pub(super) turns: Turns,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk {
        buffer: ReadBuffer::default(),
        cipher: Vec::new(),
        publisher: Publisher::new(rand::random()),
        turns: Turns::default(),
    });
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
    use super::*;

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
