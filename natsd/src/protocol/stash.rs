//! The unfinished op of a connection: the only input that is ever kept.

use bytes::{Buf, BytesMut};

use super::line::Need;

/// A stash larger than this is given back to the system when it is empty.
const KEPT_BYTES: usize = 512;

/// The unfinished op of a connection.
#[derive(Debug)]
pub struct Stash {
    bytes: BytesMut,
    need: Need,
}

impl Stash {
    /// Makes an empty stash; it owns no memory.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: BytesMut::new(), need: Need::LineEnd }
    }

    /// Whether no op is unfinished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Keeps the start of an op.
    pub fn keep(&mut self, input: &[u8], need: Need) {
        self.need = need;
        self.reserve();
        let matters = match need {
            Need::LineEndAfter(count) => input.get(..count).unwrap_or(input),
            Need::LineEnd | Need::Bytes(_) => input,
        };
        self.bytes.extend_from_slice(matters);
    }

    /// Takes from the input what the unfinished op still needs; returns the rest of the input.
    pub fn fill<'i>(&mut self, input: &'i [u8]) -> &'i [u8] {
        let wanted = match self.need {
            Need::LineEnd | Need::LineEndAfter(_) => {
                memchr::memchr(b'\n', input).map_or(input.len(), |end| end + 1)
            }
            Need::Bytes(total) => total.saturating_sub(self.bytes.len()).min(input.len()),
        };
        let (taken, rest) = input.split_at_checked(wanted).unwrap_or((input, &[]));
        self.bytes.extend_from_slice(taken);
        rest
    }

    /// Takes the bytes out, to be parsed.
    #[must_use]
    pub fn take(&mut self) -> BytesMut {
        std::mem::take(&mut self.bytes)
    }

    /// Puts bytes back that are still unfinished.
    pub fn restore(&mut self, bytes: BytesMut, need: Need) {
        self.bytes = bytes;
        self.need = need;
        if let Need::LineEndAfter(count) = need {
            self.bytes.truncate(count);
        }
        self.reserve();
    }

    /// Puts bytes back of which the first `used` are done with.
    pub fn finish(&mut self, mut bytes: BytesMut, used: usize) {
        bytes.advance(used.min(bytes.len()));
        if bytes.is_empty() {
            bytes.clear();
            if bytes.capacity() > KEPT_BYTES {
                return;
            }
        }
        self.bytes = bytes;
        self.need = Need::LineEnd;
    }

    /// Where a large message continues, and how many bytes of it are missing.
    pub fn missing(&mut self, at_least: usize) -> Option<(&mut BytesMut, usize)> {
        let Need::Bytes(total) = self.need else { return None };
        let missing = total.saturating_sub(self.bytes.len());
        (!self.bytes.is_empty() && missing >= at_least).then_some((&mut self.bytes, missing))
    }

    /// Makes room for the whole op once its length is known.
    fn reserve(&mut self) {
        if let Need::Bytes(total) = self.need {
            self.bytes.reserve(total.saturating_sub(self.bytes.len()));
        }
    }
}

impl Default for Stash {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_not_kept() {
        let mut stash = Stash::new();
        stash.keep(b"SUB      ", Need::LineEndAfter(4));
        for _ in 0..1000 {
            assert_eq!(stash.fill(&[b' '; 100]), b"");
            let held = stash.take();
            assert!(held.len() <= 104);
            stash.restore(held, Need::LineEndAfter(4));
        }
        assert_eq!(stash.fill(b"a 1\r\nPING"), b"PING");
        assert_eq!(&*stash.take(), b"SUB a 1\r\n");
    }
}
