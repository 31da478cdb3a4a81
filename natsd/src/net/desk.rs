//! What a reading thread has on its desk: one read buffer and one publisher for all its
//! connections. An idle connection owns neither.

use std::cell::RefCell;

use crate::router::Publisher;

/// Bytes read at most at once. Measured: four times Go's buffer, a quarter of its system calls;
/// larger ones fall out of the second-level cache.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// Encrypted bytes read at most at once; what they hold always fits into the read buffer.
pub(super) const CIPHER_BYTES: usize = 64 * 1024;

pub(super) struct Desk {
    pub(super) buffer: Box<[u8]>,
    /// Encrypted bytes; empty on a thread that has seen none.
    pub(super) cipher: Vec<u8>,
    pub(super) publisher: Publisher,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk {
        buffer: vec![0; READ_BYTES].into_boxed_slice(),
        cipher: Vec::new(),
        publisher: Publisher::new(rand::random()),
    });
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
