//! How much of a connection is read at once.

/// As much is read at once in any case.
const LEAST: usize = 512;
/// After a full read that took little of the turn, a fourth more is read.
const GROWTH: usize = 4;

/// How much of a connection is read at once: what it can work on in one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    most: usize,
    ceiling: usize,
}

impl Pace {
    pub(super) const fn up_to(ceiling: usize) -> Self {
        Self { most: ceiling, ceiling }
    }

    /// So many bytes may be read.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Takes note of a read of so many bytes, of which so many are left at the end of the turn, and
    /// whether that had time for twice as much.
    pub(super) fn note(&mut self, bytes: usize, left: usize, was_easy: bool) {
        if left > 0 {
            self.most = bytes.saturating_sub(left).clamp(LEAST.min(self.ceiling), self.ceiling);
        } else if was_easy && bytes >= self.most {
            self.most = (self.most + self.most / GROWTH).min(self.ceiling);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_can_be_worked_on() {
        let mut pace = Pace::up_to(64 * 1024);
        pace.note(64 * 1024, 0, true);
        assert_eq!(pace.most(), 64 * 1024);
        pace.note(64 * 1024, 60 * 1024, false);
        assert_eq!(pace.most(), 4096);
        pace.note(1000, 0, true);
        assert_eq!(pace.most(), 4096, "a small read says nothing");
        pace.note(4096, 0, false);
        assert_eq!(pace.most(), 4096, "as much as a turn can take");
        pace.note(4096, 0, true);
        assert_eq!(pace.most(), 5120);
        pace.note(5120, 5119, false);
        assert_eq!(pace.most(), LEAST);
        for _ in 0..100 {
            pace.note(pace.most(), 0, true);
        }
        assert_eq!(pace.most(), 64 * 1024);
    }
}
