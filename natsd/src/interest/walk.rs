//! All patterns, looked at bit by bit while the set changes.

use super::{Interest, Interested};
use crate::table;

/// What is still to be looked at.
#[derive(Debug)]
pub struct Walk<S> {
    literals: table::Walk,
    wildcards: std::vec::IntoIter<S>,
}

impl<S: Interested> Walk<S> {
    /// Whether all has been looked at.
    pub fn is_over(&self) -> bool {
        self.literals.is_empty() && self.wildcards.len() == 0
    }
}

impl<S: Interested> Interest<S> {
    /// Begins to look at all patterns that there are now.
    pub fn walk(&self) -> Walk<S> {
        let mut wildcards = Vec::new();
        self.wildcards.for_each_pattern(&mut |values| wildcards.extend(values.first().cloned()));
        Walk { literals: self.literals.walk(), wildcards: wildcards.into_iter() }
    }

    /// Calls `visit` with the values, as they are now, of the next so many patterns of a walk: of
    /// each at least once if it has been there all the time, and never with an empty list.
    pub fn go_on(&self, walk: &mut Walk<S>, most: usize, mut visit: impl FnMut(&[S])) {
        let before = walk.literals.len();
        let literals = self.literals.next_of(&mut walk.literals, most);
        literals.for_each(|held| visit(&held.values));
        let left = most.saturating_sub(before - walk.literals.len());
        for first in walk.wildcards.by_ref().take(left) {
            match self.wildcards.of(first.pattern()) {
                [] => {}
                values => visit(values),
            }
        }
    }
}
