//! How many members each queue group of this server has.

use hashbrown::HashMap;

use super::Subscription;

/// The sizes of the queue groups that peers are told of. Each change of one is announced, and a
/// group of 100,000 is not counted anew for it.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Vec<u8>, usize>);

impl Groups {
    /// Counts a subscription, if it is of a group that peers are told of.
    pub(super) fn join(&mut self, subscription: &Subscription) {
        if let Some(key) = key_of(subscription) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// The same for one that is gone.
    pub(super) fn leave(&mut self, subscription: &Subscription) {
        let Some(key) = key_of(subscription) else { return };
        let Some(members) = self.0.get_mut(&key) else { return };
        *members -= 1;
        if *members == 0 {
            self.0.remove(&key);
        }
    }

    /// Members of a group.
    pub(super) fn members(&self, pattern: &[u8], queue: &[u8]) -> usize {
        self.0.get(&key(pattern, queue)).copied().unwrap_or_default()
    }
}

fn key_of(subscription: &Subscription) -> Option<Vec<u8>> {
    let queue = subscription.queue.as_deref()?;
    subscription.is_announced().then(|| key(&subscription.pattern, queue))
}

/// Neither of the two holds a blank.
fn key(pattern: &[u8], queue: &[u8]) -> Vec<u8> {
    [pattern, b" ", queue].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Answers, Target};
    use std::sync::Arc;

    fn member(pattern: &str, queue: Option<&str>) -> Subscription {
        Subscription {
            pattern: pattern.as_bytes().into(),
            queue: queue.map(|queue| queue.as_bytes().into()),
            target: Target::Answers(Arc::new(Answers::default())),
        }
    }

    #[test]
    fn members_come_and_go() {
        let mut groups = Groups::default();
        for one in [member("a", Some("q")), member("a", Some("q")), member("a", Some("r"))] {
            groups.join(&one);
        }
        groups.join(&member("a", None));
        assert_eq!((groups.members(b"a", b"q"), groups.members(b"a", b"r")), (2, 1));
        groups.leave(&member("a", Some("q")));
        assert_eq!(groups.members(b"a", b"q"), 1);
        groups.leave(&member("a", Some("q")));
        groups.leave(&member("a", Some("r")));
        groups.leave(&member("a", None));
        assert!(groups.0.is_empty());
    }
}
