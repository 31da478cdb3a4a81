//! A route is told of interest that was there before it, bit by bit.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Account, Link, PATTERNS_AT_ONCE, Subscription, Touch};
use crate::interest::Walk;

/// What of a pattern's local interest a route is to be told: all (true), that there is none
/// (false), or nothing.
type Change = Box<dyn Fn(&[u8]) -> Option<bool> + Send>;

/// What a route is still to be told of local interest. Changes meanwhile are announced as they
/// come, and what is told here is true when it is told: a peer may hear of the same interest
/// twice, or of the end of some that it never heard of, and takes both calmly.
#[must_use]
pub struct Announcement {
    link: Arc<Link>,
    change: Change,
    rest: Vec<(Arc<Account>, Walk<Arc<Subscription>>)>,
}

impl Announcement {
    pub(super) fn new(
        link: &Arc<Link>,
        accounts: Vec<Arc<Account>>,
        change: impl Fn(&[u8]) -> Option<bool> + Send + 'static,
    ) -> Self {
        let walks = accounts.into_iter().map(|account| {
            let walk = account.inner.read().interest.walk();
            (account, walk)
        });
        Self { link: Arc::clone(link), change: Box::new(change), rest: walks.collect() }
    }

    /// Queues a part of it, and says whether there is more.
    pub fn go_on(&mut self, touched: &mut dyn Touch) -> bool {
        if let Some((account, walk)) = self.rest.last_mut() {
            account.announce_some(&self.link, walk, &self.change, touched);
            if walk.is_over() {
                self.rest.pop();
            }
        }
        !self.rest.is_empty()
    }

    /// Queues all of it.
    pub fn finish(mut self, touched: &mut dyn Touch) {
        while self.go_on(touched) {}
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement").field("link", &self.link.label).finish_non_exhaustive()
    }
}

impl Account {
    /// Goes on with a walk over interest. Nobody changes it meanwhile, so what is told cannot cross
    /// the news of a change.
    fn announce_some(
        &self,
        link: &Link,
        walk: &mut Walk<Arc<Subscription>>,
        change: &Change,
        touched: &mut dyn Touch,
    ) {
        let mut text = Vec::new();
        let inner = self.inner.read();
        inner.interest.go_on(walk, PATTERNS_AT_ONCE, |subscriptions| {
            let pattern = subscriptions.first().map_or(&[][..], |first| &first.pattern);
            let Some(announce) = change(pattern) else { return };
            for (queue, count) in local_groups(subscriptions) {
                let count = if announce { count } else { 0 };
                link.write_interest(&mut text, &self.name, pattern, queue, count);
            }
        });
        if !text.is_empty() {
            link.send(&text, touched);
        }
    }
}

/// A queue group, or the plain subscriptions, and how many.
type Members<'a> = (Option<&'a [u8]>, usize);

/// The local queue groups (and `None` for plain subscriptions) of one pattern, with their size.
fn local_groups(subscriptions: &[Arc<Subscription>]) -> SmallVec<[Members<'_>; 1]> {
    let announced = subscriptions.iter().filter(|held| held.is_announced());
    let mut queues: SmallVec<[Option<&[u8]>; 1]> =
        announced.map(|held| held.queue.as_deref()).collect();
    queues.sort_unstable();
    let groups = queues.chunk_by(|a, b| a == b);
    groups.filter_map(|same| Some((*same.first()?, same.len()))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{self, IoSlice};

    use parking_lot::Mutex;

    use super::super::{Accounts, Answers, PeerAbout, Scope, Target, Unheard};
    use super::*;
    use crate::outbound::{Outbound, Sink};

    #[derive(Default)]
    struct Peer(Mutex<Vec<u8>>);

    impl Sink for Peer {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut heard = self.0.lock();
            let before = heard.len();
            slices.iter().for_each(|slice| heard.extend_from_slice(slice));
            Ok(heard.len() - before)
        }
    }

    impl Peer {
        fn link(self: &Arc<Self>) -> Arc<Link> {
            let outbound = Outbound::to_peer(1, Arc::clone(self) as Arc<dyn Sink>, 1 << 24);
            let (id, label) = ("peer".into(), String::new());
            let about = PeerAbout { id, headers: true, traces: true, label };
            Arc::new(Link::new(Arc::new(outbound), about, 1, Scope::All, None))
        }

        /// The interest that it knows of after all it heard.
        fn knows(&self) -> BTreeSet<String> {
            let heard = String::from_utf8(self.0.lock().clone()).unwrap();
            let mut known = BTreeSet::new();
            for line in heard.lines() {
                match line.split_once(' ').unwrap() {
                    ("RS+", interest) => known.insert(interest.to_owned()),
                    (_, interest) => known.remove(interest),
                };
            }
            known
        }
    }

    fn subscribe(account: &Account, pattern: &str) -> Arc<Subscription> {
        let target = Target::Answers(Arc::new(Answers::default()));
        let pattern = pattern.as_bytes().into();
        let subscription = Arc::new(Subscription { pattern, queue: None, target });
        account.subscribe(&subscription, &mut Unheard);
        subscription
    }

    #[test]
    fn a_route_knows_what_there_is_whatever_changed_while_it_was_told() {
        let accounts = Accounts::new();
        let account = &accounts.global;
        let names = |from: usize| (from..from + 2 * PATTERNS_AT_ONCE).map(|n| format!("a.{n}"));
        let mut held: Vec<_> = names(0).map(|name| subscribe(account, &name)).collect();
        held.push(subscribe(account, "a.*"));
        let peer = Arc::new(Peer::default());
        let link = peer.link();
        let mut announcement = accounts.add_link(&link);
        let mut later = names(1_000_000);
        let mut turns = 1;
        while announcement.go_on(&mut Unheard) {
            turns += 1;
            let gone = held.swap_remove(turns * 7);
            assert!(account.unsubscribe(&gone, &mut Unheard));
            held.push(subscribe(account, &later.next().unwrap()));
            // What is there already and comes a second time is no news.
            held.push(subscribe(account, "a.*"));
        }
        assert!(turns > 2, "{turns}");
        link.outbound.flush();
        let name =
            |held: &Arc<Subscription>| format!("$G {}", String::from_utf8_lossy(&held.pattern));
        assert_eq!(peer.knows(), held.iter().map(name).collect());
    }

    #[test]
    fn what_may_cross_no_more_is_taken_back() {
        let accounts = Accounts::new();
        for pattern in ["a", "b", "c.*"] {
            subscribe(&accounts.global, pattern);
        }
        let peer = Arc::new(Peer::default());
        let link = peer.link();
        accounts.add_link(&link).finish(&mut Unheard);
        let generation = accounts.global.generation();
        let change = |pattern: &[u8]| (pattern != b"b").then_some(pattern == b"a");
        accounts.announce_anew(&link, change).finish(&mut Unheard);
        link.outbound.flush();
        assert_eq!(peer.knows(), ["$G a", "$G b"].map(str::to_owned).into());
        assert_ne!(accounts.global.generation(), generation, "matches are taken anew");
    }
}
