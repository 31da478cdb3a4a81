//! What an account says about one subject: the receivers, sorted by how they are served.

use std::sync::Arc;

use crate::account::{Account, Link, Subscription, Target};

/// So many names of queue groups are looked at in the time of a delivery.
const NAMES_PER_STEP: usize = 8;

/// The receivers of one subject. Filled again and again without giving its memory back.
#[derive(Debug, Default)]
pub struct Matches {
    account: Option<Arc<Account>>,
    generation: u64,
    /// What it cost to take them.
    steps: usize,
    /// Clients and the server itself, without queue group.
    pub(super) plain: Vec<Arc<Subscription>>,
    /// One link per peer server with plain interest.
    pub(super) links: Vec<Arc<Link>>,
    /// Queue groups by name.
    pub(super) groups: Vec<Group>,
    /// `HMSG subject ` with the subject they were taken for; without its first byte it starts a MSG.
    pub(super) head: Vec<u8>,
}

/// The members of one queue group, here and on peers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Box<[u8]>,
    pub(super) members: Vec<Arc<Subscription>>,
    /// Some of them are on peers, each of which may stand for several.
    pub(super) reaches_peers: bool,
}

impl Matches {
    /// Whether they still hold for this subject.
    #[must_use]
    pub fn hold_for(&self, account: &Arc<Account>, subject: &[u8]) -> bool {
        self.still_hold(account) && self.subject() == subject
    }

    /// Whether they still hold for the subject they were taken for.
    #[must_use]
    pub fn still_hold(&self, account: &Arc<Account>) -> bool {
        self.generation == account.generation()
            && self.account.as_ref().is_some_and(|held| Arc::ptr_eq(held, account))
    }

    fn subject(&self) -> &[u8] {
        let of_hmsg = self.head.strip_prefix(b"HMSG ").and_then(|rest| rest.split_last());
        of_hmsg.map_or(&[], |(_space, subject)| subject)
    }

    /// Takes the receivers of a subject.
    pub fn take(&mut self, account: &Arc<Account>, subject: &[u8]) {
        self.clear();
        self.head.extend_from_slice(b"HMSG ");
        self.head.extend_from_slice(subject);
        self.head.push(b' ');
        if !self.account.as_ref().is_some_and(|held| Arc::ptr_eq(held, account)) {
            self.account = Some(Arc::clone(account));
        }
        let (plain, links, groups) = (&mut self.plain, &mut self.links, &mut self.groups);
        let mut searched = 0;
        let lookup = account.for_each_match(subject, |subscription| {
            if !subscription.takes(subject) {
                return;
            }
            match (&subscription.queue, &subscription.target) {
                (Some(queue), _) => searched += join_group(groups, queue, subscription),
                (None, Target::Peer(peer)) => add_link(links, &peer.link),
                (None, _) => plain.push(Arc::clone(subscription)),
            }
        });
        self.generation = lookup.generation;
        self.steps = lookup.steps + searched / NAMES_PER_STEP;
    }

    /// What it cost to take them: see [`Publisher::note`](super::Publisher::note).
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Lets go of all receivers.
    pub fn clear(&mut self) {
        self.head.clear();
        self.plain.clear();
        self.links.clear();
        self.groups.clear();
        self.generation = 0;
    }
}

/// Returns how many groups it looked at.
fn join_group(groups: &mut Vec<Group>, name: &[u8], subscription: &Arc<Subscription>) -> usize {
    // Two patterns with the same queue name are one group for this message.
    let reaches_peers = matches!(subscription.target, Target::Peer(_));
    let index = groups.iter().position(|group| *group.name == *name);
    match index.and_then(|index| groups.get_mut(index)) {
        Some(group) => {
            group.members.push(Arc::clone(subscription));
            group.reaches_peers |= reaches_peers;
        }
        None => {
            let members = vec![Arc::clone(subscription)];
            groups.push(Group { name: name.into(), members, reaches_peers });
        }
    }
    index.unwrap_or(groups.len())
}

/// Adds a link unless its peer has one already; the younger one wins.
pub(super) fn add_link(links: &mut Vec<Arc<Link>>, link: &Arc<Link>) {
    match links.iter_mut().find(|held| held.peer == link.peer) {
        None => links.push(Arc::clone(link)),
        Some(held) if held.order < link.order && link.is_open() => *held = Arc::clone(link),
        Some(held) if !held.is_open() => *held = Arc::clone(link),
        Some(_) => {}
    }
}
