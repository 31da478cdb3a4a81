//! Where values stand in lists that are too long to be searched.

use hashbrown::HashMap;

use super::{Interested, Values};

/// Longer lists are not searched for a value that leaves.
const SEARCHED_MAX: usize = 64;

/// The places of all values of long lists, by identity. A value leaves a list of 100,000 at once;
/// short lists, which are nearly all, cost nothing.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<usize, usize>);

impl Places {
    /// Adds a value to a list.
    pub(super) fn push<S: Interested>(&mut self, values: &mut Values<S>, value: S) {
        values.push(value);
        if values.len() > SEARCHED_MAX {
            let was_long = values.len() > SEARCHED_MAX + 1;
            self.note(values, if was_long { values.len() - 1 } else { 0 });
        }
    }

    /// Where a value is in a list.
    pub(super) fn find<S: Interested>(&self, values: &[S], value: &S) -> Option<usize> {
        let identity = value.identity();
        if values.len() > SEARCHED_MAX {
            return self.0.get(&identity).copied();
        }
        values.iter().position(|held| held.identity() == identity)
    }

    /// Removes a value from a list, order not kept; false when it is not there.
    pub(super) fn take<S: Interested>(&mut self, values: &mut Values<S>, value: &S) -> bool {
        let Some(place) = self.find(values, value) else { return false };
        values.swap_remove(place);
        if values.len() >= SEARCHED_MAX {
            self.0.remove(&value.identity());
            self.note_moved(values, place);
            self.give_back_memory();
        }
        if values.spilled() && values.len() <= values.inline_size() {
            values.shrink_to_fit();
        }
        true
    }

    /// The last value of a long list took the place of one that left.
    fn note_moved<S: Interested>(&mut self, values: &mut Values<S>, place: usize) {
        if values.len() == SEARCHED_MAX {
            // It is long no more.
            for value in values.iter() {
                self.0.remove(&value.identity());
            }
            values.shrink_to_fit();
        } else if let Some(moved) = values.get(place) {
            self.0.insert(moved.identity(), place);
        }
    }

    fn note<S: Interested>(&mut self, values: &Values<S>, from: usize) {
        for (place, value) in values.iter().enumerate().skip(from) {
            self.0.insert(value.identity(), place);
        }
    }

    fn give_back_memory(&mut self) {
        if self.0.len() * 4 < self.0.capacity() {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}
