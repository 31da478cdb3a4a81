//! The queue groups that get a message, by name.

use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::account::{Subscription, Target};

/// More names than this are not searched one by one. Measured: another client waits 11 ms at most
/// instead of 35 while messages go to 3,000 groups and interest changes all the time.
const SEARCHED_MAX: usize = 32;

/// The members of one queue group, here and on peers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Box<[u8]>,
    pub(super) members: Vec<Arc<Subscription>>,
    /// Some of them are on peers, each of which may stand for several.
    pub(super) reaches_peers: bool,
}

/// All of them. Two patterns with the same queue name are one group for a message.
#[derive(Debug, Default)]
pub(super) struct Groups {
    list: Vec<Group>,
    /// Where they are, once there are many.
    places: HashMap<Box<[u8]>, usize>,
}

impl Groups {
    /// Adds a member to the group of this name.
    pub(super) fn join(&mut self, name: &[u8], subscription: &Arc<Subscription>) {
        let reaches_peers = matches!(subscription.target, Target::Peer(_));
        match self.place(name).and_then(|place| self.list.get_mut(place)) {
            Some(group) => {
                group.members.push(Arc::clone(subscription));
                group.reaches_peers |= reaches_peers;
            }
            None => {
                let members = vec![Arc::clone(subscription)];
                self.list.push(Group { name: name.into(), members, reaches_peers });
                self.note_places();
            }
        }
    }

    /// Whether there are more than are searched one by one.
    pub(super) fn are_many(&self) -> bool {
        self.list.len() > SEARCHED_MAX
    }

    /// The groups of these names, each once however often it is named.
    pub(super) fn named(&self, names: &[&[u8]]) -> impl Iterator<Item = &Group> + use<'_> {
        let mut places: Vec<usize> = names.iter().filter_map(|name| self.place(name)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| self.list.get(place))
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        if self.are_many() {
            return self.places.get(name).copied();
        }
        self.list.iter().position(|group| *group.name == *name)
    }

    /// A group was added.
    fn note_places(&mut self) {
        if self.are_many() {
            for (place, group) in self.list.iter().enumerate().skip(self.places.len()) {
                self.places.insert(group.name.clone(), place);
            }
        }
    }

    /// Lets go of all members.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.places.clear();
    }
}

impl Deref for Groups {
    type Target = [Group];

    fn deref(&self) -> &[Group] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Answers;

    fn name(number: usize) -> Vec<u8> {
        format!("group-{number}").into_bytes()
    }

    fn member(number: usize) -> Arc<Subscription> {
        Arc::new(Subscription {
            pattern: (*b"a").into(),
            queue: Some(name(number).into()),
            target: Target::Answers(Arc::new(Answers::default())),
        })
    }

    #[test]
    fn each_member_is_in_the_group_of_its_name_however_many_there_are() {
        let mut groups = Groups::default();
        for count in [1, SEARCHED_MAX, SEARCHED_MAX + 1, 3 * SEARCHED_MAX] {
            groups.clear();
            for number in (0..count).chain(0..count).chain(0..count) {
                groups.join(&name(number), &member(number));
            }
            assert_eq!(groups.len(), count);
            for (number, group) in groups.iter().enumerate() {
                assert_eq!((&*group.name, group.members.len()), (&*name(number), 3));
                assert!(group.members.iter().all(|held| held.queue.as_ref() == Some(&group.name)));
            }
        }
    }

    #[test]
    fn a_group_that_is_named_twice_is_found_once_however_many_there_are() {
        for count in [3, SEARCHED_MAX, 3 * SEARCHED_MAX] {
            let mut groups = Groups::default();
            for number in 0..count {
                groups.join(&name(number), &member(number));
            }
            let names = [name(2), name(count), name(0), name(2), name(count - 1)];
            let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let found: Vec<&[u8]> = groups.named(&names).map(|group| &*group.name).collect();
            let mut wanted = [name(0), name(2), name(count - 1)].to_vec();
            wanted.dedup();
            assert_eq!(found, wanted);
        }
    }
}
