//! The receiving side of a client connection: its queue and its subscriptions by sid.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Subscription;
use crate::outbound::Outbound;

/// The receiving side of a client connection.
#[derive(Debug)]
pub struct Subscriber {
    /// Its queue of bytes.
    pub outbound: Arc<Outbound>,
    headers: AtomicBool,
    subscriptions: Mutex<HashTable<Arc<Subscription>>>,
    hasher: RandomState,
}

impl Subscriber {
    /// Makes a subscriber without subscriptions that does not understand headers.
    #[must_use]
    pub fn new(outbound: Arc<Outbound>) -> Self {
        Self {
            outbound,
            headers: AtomicBool::new(false),
            subscriptions: Mutex::new(HashTable::new()),
            hasher: RandomState::new(),
        }
    }

    /// Whether the client understands HMSG.
    #[must_use]
    pub fn headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }

    /// Sets whether the client understands HMSG.
    pub fn set_headers(&self, headers: bool) {
        self.headers.store(headers, Ordering::Relaxed);
    }

    /// Number of its subscriptions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.subscriptions.lock().len()
    }

    /// The subscription of a sid.
    #[must_use]
    pub fn find(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        let hash = self.hasher.hash_one(sid);
        self.subscriptions.lock().find(hash, |held| sid_of(held) == sid).cloned()
    }

    /// Adds a subscription under its sid, which must be free.
    pub fn add(&self, subscription: Arc<Subscription>) {
        let hash = self.hasher.hash_one(sid_of(&subscription));
        let hasher = &self.hasher;
        self.subscriptions
            .lock()
            .insert_unique(hash, subscription, |held| hasher.hash_one(sid_of(held)));
    }

    /// Removes the subscription of a sid.
    pub fn remove(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        let hash = self.hasher.hash_one(sid);
        let mut subscriptions = self.subscriptions.lock();
        let found = subscriptions.find_entry(hash, |held| sid_of(held) == sid).ok()?;
        let (subscription, _) = found.remove();
        if subscriptions.is_empty() {
            *subscriptions = HashTable::new();
        }
        Some(subscription)
    }

    /// Removes all subscriptions.
    pub fn take_all(&self) -> Vec<Arc<Subscription>> {
        std::mem::take(&mut *self.subscriptions.lock()).into_iter().collect()
    }

    /// All subscriptions now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.lock().iter().cloned().collect()
    }
}

fn sid_of(subscription: &Subscription) -> &[u8] {
    subscription.local().map_or(&[], |target| &target.sid)
}
