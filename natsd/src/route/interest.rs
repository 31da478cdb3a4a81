//! What a peer subscribes to: RS+ and RS-.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::DefaultHashBuilder;

use super::Route;
use crate::account::{Account, LEAVING_AT_ONCE, PeerTarget, Subscription, Target};
use crate::protocol::error;
use crate::protocol::route::RoutedInterest;
use crate::router::Publisher;
use crate::subject;
use crate::table::{self, Hashed, Table};

/// All interest that one connection announced, by account, subject and queue group.
#[derive(Debug, Default)]
pub(super) struct RemoteInterest {
    held: Table<Held>,
    /// What is still to be removed, after the end of the connection.
    leaving: table::IntoIter<Held>,
    hasher: DefaultHashBuilder,
}

/// With the hash of its key, so that a table that grows looks at none.
#[derive(Debug)]
struct Held {
    hash: u64,
    account: Arc<Account>,
    subscription: Arc<Subscription>,
}

/// Interest that came before the peer was registered, bounded.
#[derive(Debug, Default)]
pub(super) struct EarlyInterest(Vec<Early>);

#[derive(Debug)]
struct Early {
    account: Option<Box<[u8]>>,
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    weight: u32,
}

/// More than this before INFO is not interest but an attack.
const EARLY_MAX: usize = 10_000;

impl EarlyInterest {
    fn push(&mut self, named: RoutedInterest<'_>, weight: u32) {
        if self.0.len() < EARLY_MAX {
            self.0.push(Early {
                account: named.account.map(Into::into),
                subject: named.subject.into(),
                queue: named.queue.map(Into::into),
                weight,
            });
        }
    }
}

type Key<'a> = (&'a str, &'a [u8], Option<&'a [u8]>);

impl Held {
    fn key(&self) -> Key<'_> {
        let subscription = &self.subscription;
        (&self.account.name, &subscription.pattern, subscription.queue.as_deref())
    }
}

impl Hashed for Held {
    fn hash(&self) -> u64 {
        self.hash
    }
}

impl RemoteInterest {
    fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    fn find(&self, hash: u64, key: Key<'_>) -> Option<&Held> {
        self.held.find(hash, |held| held.key() == key)
    }

    fn add(&mut self, hash: u64, account: Arc<Account>, subscription: Arc<Subscription>) {
        self.held.insert(Held { hash, account, subscription });
    }

    fn remove(&mut self, key: Key<'_>) -> Option<Held> {
        let hash = self.hash(key);
        self.held.remove(hash, |held| held.key() == key)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// The peer is gone, and all of it is to be removed.
    pub(super) fn leave(&mut self) {
        self.leaving = std::mem::take(&mut self.held).into_iter();
    }

    /// Removes a part of what is to be removed, and says whether there is more.
    pub(super) fn drop_some(&mut self) -> bool {
        let mut some: Vec<Held> = self.leaving.by_ref().take(LEAVING_AT_ONCE).collect();
        some.sort_by(|a, b| a.account.name.cmp(&b.account.name));
        for same in some.chunk_by(|a, b| Arc::ptr_eq(&a.account, &b.account)) {
            if let Some(first) = same.first() {
                first.account.remove_remote(same.iter().map(|held| &held.subscription));
            }
        }
        self.leaving.len() > 0
    }
}

impl Route {
    pub(super) fn on_interest(
        &mut self,
        named: RoutedInterest<'_>,
        weight: u32,
        publisher: &mut Publisher,
    ) {
        let Some(link) = self.link.clone() else {
            self.early_interest.push(named, weight);
            return;
        };
        if !link.may_take(named.subject) {
            tracing::debug!(
                "{} - Can not export \"{}\", ignoring remote subscription request",
                self.entry.label(),
                named.subject.escape_ascii()
            );
            return;
        }
        let Some(account) = self.account_of(named.account) else { return };
        if !subject::is_valid_pattern(named.subject) {
            self.log_error("Could not insert subscription: invalid subject");
            self.send_error(error::INVALID_SUBSCRIPTION, publisher);
            return;
        }
        self.send_ok_if_verbose(publisher);
        let key = (&*account.name, named.subject, named.queue);
        let hash = self.interest.hash(key);
        let held = self.interest.find(hash, key);
        if held.is_some_and(|held| held.account.is_removed()) {
            // The account went and came again by reloads.
            self.interest.remove(key);
        } else if let Some(held) = held {
            if let Target::Peer(peer) = &held.subscription.target {
                peer.weight.store(weight, Ordering::Relaxed);
            }
            return;
        }
        let subscription = Arc::new(Subscription {
            pattern: named.subject.into(),
            queue: named.queue.map(Into::into),
            target: Target::Peer(PeerTarget { link, weight: AtomicU32::new(weight) }),
        });
        account.add_remote(&subscription);
        self.interest.add(hash, account, subscription);
        self.entry.subscriptions.store(self.interest.len(), Ordering::Relaxed);
    }

    /// Interest may come before INFO (observed), though no server does it: it counts from the
    /// registration on.
    pub(super) fn take_early_interest(&mut self, publisher: &mut Publisher) {
        for early in std::mem::take(&mut self.early_interest.0) {
            let named = RoutedInterest {
                account: early.account.as_deref(),
                subject: &early.subject,
                queue: early.queue.as_deref(),
            };
            self.on_interest(named, early.weight, publisher);
        }
    }

    pub(super) fn on_no_interest(&mut self, named: RoutedInterest<'_>, publisher: &mut Publisher) {
        let Some(account) = self.account_of(named.account) else { return };
        self.send_ok_if_verbose(publisher);
        let removed = self.interest.remove((&*account.name, named.subject, named.queue));
        if let Some(held) = removed {
            account.remove_remote(std::iter::once(&held.subscription));
            self.entry.subscriptions.store(self.interest.len(), Ordering::Relaxed);
        }
    }
}
