//! Input of a connection that waits for its next turn.

use bytes::{Bytes, BytesMut};

/// What was read from a connection and not worked on, because its turn was over: at most what is
/// read at once, for nothing is read as long as there is any.
#[derive(Debug, Default)]
pub struct Rest(Bytes);

impl Rest {
    /// How many bytes wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.0.len()
    }

    /// Adds bytes behind those that wait.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut all = BytesMut::with_capacity(self.0.len() + bytes.len());
        all.extend_from_slice(&self.0);
        all.extend_from_slice(bytes);
        self.0 = all.freeze();
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    /// Puts the last so many of them back.
    pub(super) fn restore(&mut self, mut all: Bytes, left: usize) {
        self.0 = all.split_off(all.len() - left);
    }
}
