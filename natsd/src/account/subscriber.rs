//! The receiving side of a client connection: its queue and its subscriptions by sid.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::replies::Replies;
use super::{LocalTarget, Subscription};
use crate::auth::Denied;
use crate::config::ResponsePermission;
use crate::outbound::Outbound;
use crate::table::{self, Hashed, Table};

/// Who a connection is to readers of the log.
pub trait Labelled: std::fmt::Debug + Send + Sync {
    /// The start of its log lines, down to `"v1.2:go:name"`.
    fn label(&self) -> String;
}

/// The receiving side of a client connection.
#[derive(Debug)]
pub struct Subscriber {
    /// Its queue of bytes.
    pub outbound: Arc<Outbound>,
    headers: AtomicBool,
    /// Requests that reach it are remembered: it may answer only those.
    tracks_replies: AtomicBool,
    /// Some subjects are kept from it.
    filtered: AtomicBool,
    limits: Mutex<Option<Box<Limited>>>,
    subscriptions: Mutex<Table<BySid>>,
    hasher: DefaultHashBuilder,
    owner: OnceLock<Weak<dyn Labelled>>,
}

/// A subscription and the hash of its sid: a table that grows looks at no sid.
#[derive(Debug)]
struct BySid {
    hash: u64,
    subscription: Arc<Subscription>,
}

impl Hashed for BySid {
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// Subscriptions that their subscriber has no more.
#[derive(Debug, Default)]
pub struct Leaving(table::IntoIter<BySid>);

impl Iterator for Leaving {
    type Item = Arc<Subscription>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|held| held.subscription)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Leaving {}

/// What only clients with permissions need.
#[derive(Debug, Default)]
struct Limited {
    /// Subjects that none of its subscriptions delivers.
    filter: Option<Arc<Denied>>,
    replies: Option<Replies>,
}

impl Subscriber {
    /// Makes a subscriber without subscriptions that does not understand headers.
    #[must_use]
    pub fn new(outbound: Arc<Outbound>) -> Self {
        Self {
            outbound,
            headers: AtomicBool::new(false),
            tracks_replies: AtomicBool::new(false),
            filtered: AtomicBool::new(false),
            limits: Mutex::new(None),
            subscriptions: Mutex::new(Table::new()),
            hasher: DefaultHashBuilder::default(),
            owner: OnceLock::new(),
        }
    }

    /// Says whose it is; the first word counts.
    pub fn belongs_to(&self, owner: Weak<dyn Labelled>) {
        drop(self.owner.set(owner));
    }

    /// How its log lines start; empty while it is nobody's.
    #[must_use]
    pub fn label(&self) -> String {
        self.owner.get().and_then(Weak::upgrade).map_or_else(String::new, |owner| owner.label())
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

    /// From now on these subjects are kept from all its subscriptions.
    pub fn keep_from_it(&self, subjects: Arc<Denied>) {
        self.limits.lock().get_or_insert_default().filter = Some(subjects);
        self.filtered.store(true, Ordering::Release);
    }

    /// Whether a subject is kept from its subscriptions of a queue group, or of none. Asked when matches are taken, not for every message.
    #[must_use]
    pub fn is_kept_from(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        if !self.filtered.load(Ordering::Acquire) {
            return false;
        }
        let limits = self.limits.lock();
        let filter = limits.as_ref().and_then(|limits| limits.filter.as_ref());
        filter.is_some_and(|filter| filter.covers(subject, queue))
    }

    /// Sets on what terms it may answer requests, and which subjects are kept from all its
    /// subscriptions; forgets what held before.
    pub fn restrict(&self, replies: Option<ResponsePermission>, filter: Option<Arc<Denied>>) {
        let mut limits = self.limits.lock();
        self.tracks_replies.store(replies.is_some(), Ordering::Relaxed);
        self.filtered.store(filter.is_some(), Ordering::Release);
        let limited = replies.is_some() || filter.is_some();
        *limits = limited.then(|| Box::new(Limited { filter, replies: replies.map(Replies::new) }));
    }

    /// Whether [`Self::note_request`] wants to be called.
    #[must_use]
    pub fn tracks_replies(&self) -> bool {
        self.tracks_replies.load(Ordering::Relaxed)
    }

    /// A request is on its way to it: it may be answered.
    pub fn note_request(&self, reply: &[u8]) {
        if let Some(replies) = self.limits.lock().as_mut().and_then(|l| l.replies.as_mut()) {
            replies.add(reply, Instant::now());
        }
    }

    /// Whether it may send one more answer to this subject, which is counted.
    #[must_use]
    pub fn may_answer(&self, subject: &[u8]) -> bool {
        self.tracks_replies()
            && self
                .limits
                .lock()
                .as_mut()
                .and_then(|limits| limits.replies.as_mut())
                .is_some_and(|replies| replies.take(subject, Instant::now()))
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
        let subscriptions = self.subscriptions.lock();
        let held = subscriptions.find(hash, |held| sid_of(&held.subscription) == sid)?;
        Some(Arc::clone(&held.subscription))
    }

    /// Adds a subscription under its sid, which must be free.
    pub fn add(&self, subscription: Arc<Subscription>) {
        let hash = self.hasher.hash_one(sid_of(&subscription));
        self.subscriptions.lock().insert(BySid { hash, subscription });
    }

    /// Removes a subscription, never another one that has its sid by now; false when it was gone
    /// already.
    pub fn remove(&self, subscription: &Arc<Subscription>) -> bool {
        let hash = self.hasher.hash_one(sid_of(subscription));
        let mut subscriptions = self.subscriptions.lock();
        let it = |held: &BySid| Arc::ptr_eq(&held.subscription, subscription);
        let removed = subscriptions.remove(hash, it).is_some();
        if subscriptions.is_empty() {
            *subscriptions = Table::new();
        }
        removed
    }

    /// Removes all subscriptions.
    pub fn take_all(&self) -> Leaving {
        Leaving(std::mem::take(&mut *self.subscriptions.lock()).into_iter())
    }

    /// All subscriptions now.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Subscription>> {
        self.some(usize::MAX)
    }

    /// Begins to look at all subscriptions that there are now.
    #[must_use]
    pub fn walk(&self) -> table::Walk {
        self.subscriptions.lock().walk()
    }

    /// The next so many of a walk, without those that are gone.
    #[must_use]
    pub fn next_of(&self, walk: &mut table::Walk, most: usize) -> Vec<Arc<Subscription>> {
        let subscriptions = self.subscriptions.lock();
        let next = subscriptions.next_of(walk, most);
        next.map(|held| Arc::clone(&held.subscription)).collect()
    }

    /// So many of its subscriptions, if it has as many.
    #[must_use]
    pub fn some(&self, most: usize) -> Vec<Arc<Subscription>> {
        let subscriptions = self.subscriptions.lock();
        subscriptions.iter().take(most).map(|held| Arc::clone(&held.subscription)).collect()
    }
}

fn sid_of(subscription: &Subscription) -> &[u8] {
    subscription.local().map_or(&[], LocalTarget::sid)
}
