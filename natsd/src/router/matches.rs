//! What an account says about one subject: the receivers, sorted by how they are served.

use std::sync::Arc;

use super::groups::Groups;
use crate::account::{Account, Link, Subscription, Target};

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
    pub(super) groups: Groups,
    /// `HMSG subject ` with the subject they were taken for; without its first byte it starts a MSG.
    pub(super) head: Vec<u8>,
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
        let lookup = account.for_each_match(subject, |subscription| {
            if !subscription.takes(subject) {
                return;
            }
            match (&subscription.queue, &subscription.target) {
                (Some(queue), _) => groups.join(queue, subscription),
                (None, Target::Peer(peer)) => add_link(links, &peer.link),
                (None, _) => plain.push(Arc::clone(subscription)),
            }
        });
        self.generation = lookup.generation;
        self.steps = lookup.steps;
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

/// Adds a link unless its peer has one already; the younger one wins.
pub(super) fn add_link(links: &mut Vec<Arc<Link>>, link: &Arc<Link>) {
    match links.iter_mut().find(|held| held.peer == link.peer) {
        None => links.push(Arc::clone(link)),
        Some(held) if held.order < link.order && link.is_open() => *held = Arc::clone(link),
        Some(held) if !held.is_open() => *held = Arc::clone(link),
        Some(_) => {}
    }
}
