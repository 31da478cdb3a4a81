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
        // In place, with room for more, unless queues hold a part of it.
        let mut all = self.take().try_into_mut().unwrap_or_else(|held| BytesMut::from(&*held));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_queues_hold_is_not_written_to() {
        let mut rest = Rest::default();
        for byte in 0..100 {
            rest.append(&[byte]);
        }
        assert_eq!(rest.waiting(), 100);
        let all = rest.take();
        let held = all.slice(90..);
        rest.restore(all, 20);
        rest.append(b"x");
        assert_eq!((rest.waiting(), held.first(), held.len()), (21, Some(&90), 10));
        assert!(rest.take().starts_with(&[80, 81]));
    }
}
