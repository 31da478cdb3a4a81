//! Buffers for bytes on their way out, recycled per thread: an idle connection owns none.

use std::cell::RefCell;

/// First buffer of a queue: enough for a reply, small enough for ten thousand queues at once.
const SMALL_BYTES: usize = 4 * 1024;
/// Every further one. Measured: beyond 64 KiB a larger block no longer saves system calls.
const LARGE_BYTES: usize = 64 * 1024;
/// Large buffers kept per thread (2 MiB).
const LARGE_KEPT: usize = 32;
/// Small buffers kept per thread (256 KiB).
const SMALL_KEPT: usize = 64;

thread_local! {
    static SMALL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LARGE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer for at least `wanted` bytes; `first` says that it starts a queue.
pub(super) fn take(wanted: usize, first: bool) -> Vec<u8> {
    if first && wanted <= SMALL_BYTES {
        return SMALL.take_one().unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES));
    }
    if wanted <= LARGE_BYTES {
        return LARGE.take_one().unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES));
    }
    Vec::with_capacity(wanted)
}

/// Whether a small buffer should move on into a large one rather than be followed by it.
pub(super) fn is_outgrown_by(buffer: &Vec<u8>, wanted: usize) -> bool {
    buffer.capacity() == SMALL_BYTES && buffer.len() + wanted <= LARGE_BYTES
}

/// Gives a buffer back.
pub(super) fn give(mut buffer: Vec<u8>) {
    buffer.clear();
    match buffer.capacity() {
        SMALL_BYTES => SMALL.keep(buffer, SMALL_KEPT),
        LARGE_BYTES => LARGE.keep(buffer, LARGE_KEPT),
        _ => {}
    }
}

/// One kind of spare buffers of this thread.
trait Spare {
    fn take_one(&'static self) -> Option<Vec<u8>>;
    fn keep(&'static self, buffer: Vec<u8>, most: usize);
}

impl Spare for std::thread::LocalKey<RefCell<Vec<Vec<u8>>>> {
    fn take_one(&'static self) -> Option<Vec<u8>> {
        self.with_borrow_mut(Vec::pop)
    }

    fn keep(&'static self, buffer: Vec<u8>, most: usize) {
        self.with_borrow_mut(|spare| {
            if spare.len() < most {
                spare.push(buffer);
            }
        });
    }
}
