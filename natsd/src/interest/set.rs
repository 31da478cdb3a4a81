//! A set of patterns that knows only whether a subject is in it.

use std::sync::Arc;

use super::{Interest, Interested};

/// A set of patterns: asks only whether a subject is matched by any of them.
#[derive(Debug, Default)]
pub struct PatternSet(Interest<Entry>);

#[derive(Clone, Debug)]
struct Entry(Arc<[u8]>);

impl PatternSet {
    /// Whether there is no pattern in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any pattern matches the subject; wildcards in the subject count as literals.
    #[must_use]
    pub fn matches(&self, subject: &[u8]) -> bool {
        let mut found = false;
        self.0.for_each_match(subject, |_| found = true);
        found
    }
}

impl<'a> FromIterator<&'a [u8]> for PatternSet {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(patterns: I) -> Self {
        let mut set = Interest::new();
        for pattern in patterns {
            set.insert(Entry(pattern.into()));
        }
        Self(set)
    }
}

impl Interested for Entry {
    fn pattern(&self) -> &[u8] {
        &self.0
    }

    fn identity(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_the_asked_subject_are_literals() {
        let set: PatternSet = [&b"w.*"[..], b"a"].into_iter().collect();
        assert!(set.matches(b"w.>") && set.matches(b"w.x") && set.matches(b"a"));
        assert!(!set.matches(b">") && !set.matches(b"w.x.y"));
    }
}
