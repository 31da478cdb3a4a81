//! What a queue consists of, and its way into the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Sink;
use super::pool::{self, Block};

/// Most slices handed to one vectored write: what a full read buffer of the smallest lent bodies
/// comes to, with the line before each.
const SLICES_MAX: usize = 256;

/// A piece of a queue.
pub(super) enum Chunk {
    Owned(Block),
    Shared(Bytes),
    /// Part of a read buffer: copied when it cannot be written at once.
    Lent(Bytes),
}

/// Chunks on their way into the socket.
pub(super) struct Batch {
    sink: Arc<dyn Sink>,
    pub(super) chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already.
    pub(super) written_of_first: usize,
    pub(super) written: usize,
}

impl Batch {
    pub(super) const fn new(
        sink: Arc<dyn Sink>,
        chunks: VecDeque<Chunk>,
        written_of_first: usize,
    ) -> Self {
        Self { sink, chunks, written_of_first, written: 0 }
    }

    /// Writes until all is written or the socket refuses.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.chunks.is_empty() {
            let count = self.write_once()?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += count;
            self.advance(count);
        }
        Ok(())
    }

    fn write_once(&self) -> io::Result<usize> {
        let mut slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = SmallVec::new();
        let mut skip = self.written_of_first;
        for chunk in self.chunks.iter().take(SLICES_MAX) {
            slices.push(IoSlice::new(chunk.bytes().get(skip..).unwrap_or_default()));
            skip = 0;
        }
        loop {
            match self.sink.try_write(&slices) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Drops what is written.
    fn advance(&mut self, count: usize) {
        let mut done = self.written_of_first + count;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if done < len {
                break;
            }
            done -= len;
            if let Some(Chunk::Owned(block)) = self.chunks.pop_front() {
                pool::give(block);
            }
        }
        self.written_of_first = done;
    }
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(block) => block.bytes(),
            Self::Shared(bytes) | Self::Lent(bytes) => bytes,
        }
    }
}
