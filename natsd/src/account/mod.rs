//! An account: a subject space of its own, and everything that is subscribed in it.
//!
//! Holds the interest of local clients and of peer servers in one structure, and announces
//! changes of local interest to the routes that carry this account. The lock of an account is
//! taken before that of an outbound queue, never after. Here nothing is delivered: `router`
//! takes matches, lets go of the lock, and queues.

mod accounts;
mod announcement;
mod answers;
mod claimed;
mod groups;
mod imports;
mod link;
mod mappings;
mod meter;
mod replies;
mod routed;
mod subscriber;
mod subscription;
mod terms;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

pub use accounts::Accounts;
pub use announcement::Announcement;
pub use answers::{Answers, Asked};
pub use claimed::Applied;
pub use imports::{RenamedTarget, ServiceTarget};
pub use link::{Link, PeerAbout, Scope};
pub use mappings::{ClusterOf, Destination, Mapping, Mappings};
pub use meter::{Measured, Meter, Outcome, Party, Reasons, Sample, is_measured};
pub use routed::{Routed, RoutedTraffic, Tally};
pub use subscriber::{Labelled, Leaving, Subscriber};
pub use subscription::{InternalHandler, LocalTarget, PeerTarget, Sid, Subscription, Take, Target};
pub use terms::{Terms, takes_interest};

use claimed::Linked;
use groups::Groups;
use imports::Imports;

use crate::config::{self, AccountLimits, MessageTrace};
use crate::interest::Interest;
use crate::outbound::Outbound;
use crate::trust::Claims;

/// Name of the account of clients that name none.
pub const GLOBAL_ACCOUNT: &str = "$G";
/// Name of the account of servers.
pub const SYSTEM_ACCOUNT: &str = "$SYS";

/// So many subscriptions of a connection that ended, shadows in other accounts counted as well, are
/// removed before others of its thread get their turn: half a millisecond.
pub const LEAVING_AT_ONCE: usize = 1000;

/// So many patterns are looked at before those who wait for the lock get it.
pub const PATTERNS_AT_ONCE: usize = 1000;

/// A subject space.
#[derive(Debug)]
pub struct Account {
    /// Name, as on the wire.
    pub name: Arc<str>,
    inner: RwLock<Inner>,
    /// Counts changes of interest: matches taken at one value are good as long as it stays.
    generation: AtomicU64,
    /// Client connections bound to this account.
    pub clients: AtomicUsize,
    /// The same on other servers, as far as they told.
    clients_elsewhere: AtomicUsize,
    /// Client connections ever bound.
    pub clients_total: AtomicU64,
    /// What crossed routes.
    pub routed: Routed,
    /// What is configured for it, or claimed.
    limits: ArcSwap<AccountLimits>,
    /// Where traces go of messages that other systems want traced.
    trace: ArcSwapOption<MessageTrace>,
    /// It is configured no more.
    removed: AtomicBool,
    /// Where messages go instead.
    mappings: ArcSwapOption<Mappings>,
    /// There are such: one load for the many accounts without.
    mapped: AtomicBool,
    /// What it takes from other accounts.
    imports: ArcSwapOption<Imports>,
    /// What its JWT says.
    claims: ArcSwapOption<Claims>,
    /// When these came.
    updated: Mutex<Option<Timestamp>>,
    /// It had claims once.
    was_claimed: AtomicBool,
    /// The imports that its JWT asks for, as far as they are in effect.
    linked: Mutex<Linked>,
    /// Requests of other accounts to its services; made with the first.
    answers: OnceLock<Arc<Answers>>,
    /// How long services take goes there.
    meter: OnceLock<Arc<Meter>>,
}

#[derive(Debug, Default)]
struct Inner {
    interest: Interest<Arc<Subscription>>,
    /// Routes that are told of local interest, one per peer server.
    links: Vec<Arc<Link>>,
    groups: Groups,
    /// Subscriptions ever added.
    inserted: u64,
}

/// Where queues are noted that have been appended to and want a flush.
pub trait Touch {
    /// Notes a queue; called for the first append of a batch only.
    fn touch(&mut self, outbound: &Arc<Outbound>);
}

/// Where there is nothing to tell: an account without interest.
#[derive(Debug)]
pub struct Unheard;

impl Touch for Unheard {
    fn touch(&mut self, _outbound: &Arc<Outbound>) {}
}

impl Account {
    /// Makes an account with no interest.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            inner: RwLock::default(),
            generation: AtomicU64::new(1),
            clients: AtomicUsize::new(0),
            clients_elsewhere: AtomicUsize::new(0),
            clients_total: AtomicU64::new(0),
            routed: Routed::default(),
            limits: ArcSwap::default(),
            trace: ArcSwapOption::empty(),
            removed: AtomicBool::new(false),
            mappings: ArcSwapOption::empty(),
            mapped: AtomicBool::new(false),
            imports: ArcSwapOption::empty(),
            claims: ArcSwapOption::empty(),
            updated: Mutex::default(),
            was_claimed: AtomicBool::new(false),
            linked: Mutex::default(),
            answers: OnceLock::new(),
            meter: OnceLock::new(),
        }
    }

    /// Makes an account as it is configured.
    #[must_use]
    pub fn configured(source: &config::Account) -> Self {
        Self { limits: ArcSwap::from_pointee(source.limits), ..Self::new(&source.name) }
    }

    /// What it may have now.
    #[must_use]
    pub fn limits(&self) -> AccountLimits {
        **self.limits.load()
    }

    /// From now on it has these limits.
    fn set_limits(&self, limits: AccountLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// From now on it can be measured how long its services take; the first word counts.
    pub fn set_meter(&self, meter: &Arc<Meter>) {
        drop(self.meter.set(Arc::clone(meter)));
    }

    /// Measures how long its services take.
    #[must_use]
    pub fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.get()
    }

    /// Measured requests that are not answered in time, or whose askers wait no more. They are
    /// forgotten.
    #[must_use]
    pub fn unanswered(&self) -> Vec<Sample> {
        self.answers.get().map(|answers| answers.unanswered()).unwrap_or_default()
    }

    /// Where traces go of messages that other systems want traced, if anywhere.
    #[must_use]
    pub fn trace(&self) -> Option<Arc<MessageTrace>> {
        self.trace.load_full()
    }

    /// Whether such messages are traced.
    #[must_use]
    pub fn traces_others(&self) -> bool {
        self.trace.load().is_some()
    }

    /// From now on traces go there.
    fn set_trace(&self, trace: Option<MessageTrace>) {
        self.trace.store(trace.map(Arc::new));
    }

    /// Whether it is configured no more: whoever holds it looks for another of its name.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// It is configured no more.
    fn remove(&self, touched: &mut dyn Touch) {
        self.removed.store(true, Ordering::Release);
        self.set_imports(None, touched);
    }

    /// Whether a subscription is in it.
    fn has(&self, subscription: &Arc<Subscription>) -> bool {
        let inner = self.inner.read();
        inner.interest.contains(subscription)
    }

    /// Whether it takes anything from other accounts, all of which are there.
    fn is_connected(&self) -> bool {
        self.imports.load().as_ref().is_some_and(|imports| imports.are_whole())
    }

    /// Into how many accounts a subscription may reach: this one, and those that streams come from.
    #[must_use]
    pub fn reach(&self) -> usize {
        1 + self.imports.load().as_ref().map_or(0, |imports| imports.streams())
    }

    /// From now on it takes this from other accounts.
    fn set_imports(&self, imports: Option<Imports>, touched: &mut dyn Touch) {
        let new = imports.map(Arc::new);
        let old = self.imports.swap(new.clone());
        imports::replace(self, old, new, touched);
    }

    /// Matches that were taken before hold no more: what a receiver may hear has changed.
    pub fn renew(&self) {
        let inner = self.inner.write();
        self.generation.fetch_add(1, Ordering::Release);
        drop(inner);
    }

    /// Where answers to requests of other accounts arrive; announced to peers at the first call.
    pub fn answers(&self, touched: &mut dyn Touch) -> &Arc<Answers> {
        let mut made = false;
        let answers = self.answers.get_or_init(|| {
            made = true;
            Arc::default()
        });
        if made {
            let subscription = Subscription {
                pattern: answers.pattern().into(),
                queue: None,
                target: Target::Answers(Arc::clone(answers)),
            };
            self.subscribe(&Arc::new(subscription), touched);
        }
        answers
    }

    /// From now on messages of its clients go where these say.
    pub fn set_mappings(&self, mappings: Option<Mappings>) {
        let any = mappings.is_some();
        self.mappings.store(mappings.map(Arc::new));
        self.mapped.store(any, Ordering::Release);
    }

    /// Whether messages may go elsewhere than where they are published to.
    #[must_use]
    pub fn has_mappings(&self) -> bool {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Where messages go instead.
    #[must_use]
    pub fn mappings(&self) -> Option<Arc<Mappings>> {
        self.mappings.load_full()
    }

    /// What it costs at most to ask where a message goes instead: one mapping after the other is
    /// asked.
    #[must_use]
    pub fn mapping_steps(&self) -> usize {
        if !self.has_mappings() {
            return 0;
        }
        self.mappings.load().as_ref().map_or(0, |mappings| mappings.list().len())
    }

    /// Where a message goes instead of this subject, if anywhere else.
    #[must_use]
    pub fn map(&self, subject: &[u8]) -> Option<Vec<u8>> {
        if !self.has_mappings() {
            return None;
        }
        self.mappings.load().as_ref().and_then(|mappings| mappings.map(subject))
    }

    /// How many clients it may have on this server: what is left of its limit by the others.
    #[must_use]
    pub fn clients_max(&self) -> Option<usize> {
        let elsewhere = self.clients_elsewhere.load(Ordering::Relaxed);
        self.limits().max_connections.map(|most| (most as usize).saturating_sub(elsewhere))
    }

    /// Notes how many clients it has on other servers.
    pub fn set_clients_elsewhere(&self, count: usize) {
        self.clients_elsewhere.store(count, Ordering::Relaxed);
    }

    /// Whether it may have no more clients.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.clients_max().is_some_and(|most| self.clients.load(Ordering::Relaxed) >= most)
    }

    /// Counts one more client, unless it may have no more.
    #[must_use]
    pub fn take_in(&self) -> bool {
        let most = self.clients_max();
        let more = |count| most.is_none_or(|most| count < most).then_some(count + 1);
        let taken = self.clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.clients_total.fetch_add(u64::from(taken), Ordering::Relaxed);
        taken
    }

    /// The generation of its interest.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds a local subscription and announces it before it returns: on every route `RS+`
    /// precedes whatever the subscriber publishes next.
    pub fn subscribe(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) {
        let imports = self.imports.load_full();
        if let Some(imports) = &imports {
            imports.cast(subscription, touched);
        }
        let mut inner = self.inner.write();
        inner.insert(subscription);
        self.generation.fetch_add(1, Ordering::Release);
        inner.announce(self, subscription, Change::Added, touched);
        drop(inner);
        // Imports that came meanwhile may not have seen it yet.
        let now = self.imports.load_full();
        if now.as_ref().map(Arc::as_ptr) != imports.as_ref().map(Arc::as_ptr)
            && let Some(now) = now
        {
            now.cast(subscription, touched);
        }
    }

    /// Removes a local subscription and announces it; false when it was gone already.
    pub fn unsubscribe(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) -> bool {
        let removed = {
            let mut inner = self.inner.write();
            let removed = inner.remove(subscription);
            if removed {
                self.generation.fetch_add(1, Ordering::Release);
                inner.announce(self, subscription, Change::Removed, touched);
            }
            removed
        };
        // Afterwards: whoever replaces imports looks whether it is still there.
        if let Some(imports) = self.imports.load_full() {
            imports.dispel(subscription, touched);
        }
        removed
    }

    /// Adds the interest of a peer server.
    pub fn add_remote(&self, subscription: &Arc<Subscription>) {
        self.inner.write().insert(subscription);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Removes interest of peer servers, many at once under one lock.
    pub fn remove_remote<'a>(&self, subscriptions: impl Iterator<Item = &'a Arc<Subscription>>) {
        let mut inner = self.inner.write();
        for subscription in subscriptions {
            inner.remove(subscription);
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Tells a route every change of local interest from now on.
    fn add_link(&self, link: &Arc<Link>) {
        self.inner.write().links.push(Arc::clone(link));
    }

    /// No longer tells this route anything.
    pub fn remove_link(&self, link: &Arc<Link>) {
        self.inner.write().links.retain(|held| !Arc::ptr_eq(held, link));
    }

    /// Calls `visit` with every subscription that matches.
    pub fn for_each_match(&self, subject: &[u8], visit: impl FnMut(&Arc<Subscription>)) -> Lookup {
        let inner = self.inner.read();
        let steps = inner.interest.for_each_match(subject, visit);
        // Read under the lock: writers change it under the write lock only.
        Lookup { generation: self.generation.load(Ordering::Acquire), steps }
    }

    /// Calls `visit` with every subscription. Others may change them meanwhile: one that comes may
    /// be missed, and one that goes may be seen.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Subscription>)) {
        let mut walk = self.inner.read().interest.walk();
        while !walk.is_over() {
            let inner = self.inner.read();
            inner
                .interest
                .go_on(&mut walk, PATTERNS_AT_ONCE, |list| list.iter().for_each(&mut visit));
        }
    }

    /// Number of subscriptions, those of peers included.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.inner.read().interest.len()
    }

    /// Counts of subscriptions, those of peers included.
    #[must_use]
    pub fn interest_counts(&self) -> InterestCounts {
        let inner = self.inner.read();
        let (held, inserted) = (inner.interest.len(), inner.inserted);
        InterestCounts { held, inserted, removed: inserted.saturating_sub(held as u64) }
    }
}

/// What a look-up of a subject brought besides its subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// The generation of interest for which they hold.
    pub generation: u64,
    /// What it cost: subscriptions and branches looked at.
    pub steps: usize,
}

/// Counts of an account's subscriptions, those of peers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterestCounts {
    /// There now.
    pub held: usize,
    /// Ever added.
    pub inserted: u64,
    /// Ever removed.
    pub removed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
}

impl Inner {
    fn insert(&mut self, subscription: &Arc<Subscription>) {
        self.inserted += 1;
        self.interest.insert(Arc::clone(subscription));
        self.groups.join(subscription);
    }

    /// False when it was not there.
    fn remove(&mut self, subscription: &Arc<Subscription>) -> bool {
        let removed = self.interest.remove(subscription);
        if removed {
            self.groups.leave(subscription);
        }
        removed
    }

    /// The plain subscriptions of a pattern that peers are told of.
    fn plain(&self, pattern: &[u8]) -> impl Iterator<Item = &Arc<Subscription>> {
        let held = self.interest.of(pattern).iter();
        held.filter(|held| held.queue.is_none() && held.is_announced())
    }

    /// Queues `RS+` or `RS-` on every route if the change is visible from outside: for plain
    /// subscriptions the first and the last of a subject, for queue groups every change.
    fn announce(
        &self,
        account: &Account,
        subscription: &Subscription,
        change: Change,
        touched: &mut dyn Touch,
    ) {
        if self.links.is_empty() || !subscription.is_announced() {
            return;
        }
        let queue = subscription.queue.as_deref();
        let count = match queue {
            // Two are enough to know that nothing changes for the peers.
            None => self.plain(&subscription.pattern).take(2).count(),
            Some(queue) => self.groups.members(&subscription.pattern, queue),
        };
        if queue.is_none() && count != usize::from(change == Change::Added) {
            return;
        }
        let mut text = Vec::with_capacity(128);
        for link in self.links.iter().filter(|link| link.may_announce(&subscription.pattern)) {
            text.clear();
            link.write_interest(&mut text, &account.name, &subscription.pattern, queue, count);
            link.announce(&text, touched);
        }
    }
}
