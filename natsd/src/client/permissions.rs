//! Permissions that change under a client that is connected (reload).

use std::sync::Arc;

use super::Client;
use crate::account::{Account, LEAVING_AT_ONCE, Subscription};
use crate::auth::{Identity, Permissions, SubscribeLeave};
use crate::protocol::error;
use crate::registry::ClientEntry;
use crate::router::Publisher;
use crate::table::Walk;

/// What a client has subscribed to, judged bit by bit by what it may subscribe to now.
#[derive(Debug)]
pub(super) struct Review {
    identity: Identity,
    rest: Walk,
}

impl Client {
    /// Another configuration holds: what it may publish is what it is entitled to now. Says whether
    /// the turn was too short to look at all it subscribed to; it is not heard meanwhile.
    pub(super) fn still_looks_again(&mut self, publisher: &mut Publisher) -> bool {
        let epoch = self.node.epoch();
        while let Some(mut review) = self.review.take().or_else(|| self.begin_review()) {
            while let Some(judged) = review.go_on(&self.entry, publisher) {
                publisher.note(judged);
                if publisher.turn_is_over() {
                    self.review = Some(review);
                    return true;
                }
            }
        }
        self.epoch = epoch;
        false
    }

    /// What it subscribed to since the reload was judged by the permissions before.
    fn begin_review(&mut self) -> Option<Box<Review>> {
        self.last_line.forget();
        let identity = self.entry.about().identity?;
        if self.permissions == identity.permissions {
            return None;
        }
        self.permissions.clone_from(&identity.permissions);
        Some(Box::new(Review::begin(&self.entry, identity)))
    }
}

/// Takes away what a client may subscribe to no more, and keeps the rest from what is denied now.
/// Called from any thread, by whoever has changed its identity.
pub fn enforce(entry: &ClientEntry, identity: &Identity, publisher: &mut Publisher) {
    let mut review = Review::begin(entry, identity.clone());
    while review.go_on(entry, publisher).is_some() {}
}

impl Review {
    /// At once nothing that is denied is delivered any more to what may stay.
    fn begin(entry: &ClientEntry, identity: Identity) -> Self {
        let permissions = identity.permissions.as_deref();
        let replies = permissions.and_then(Permissions::responses).copied();
        let kept = permissions.and_then(Permissions::kept).cloned();
        entry.subscriber.restrict(replies, kept);
        if let Some(account) = entry.about().account {
            account.renew();
        }
        Self { identity, rest: entry.subscriber.walk() }
    }

    /// Judges some subscriptions, and returns how many; none when there are no more, or when the
    /// client is somebody else by now, who is judged when he subscribes.
    fn go_on(&mut self, entry: &ClientEntry, publisher: &mut Publisher) -> Option<usize> {
        let about = entry.about();
        let account = about.account.filter(|_| about.identity.as_ref() == Some(&self.identity))?;
        if self.rest.is_empty() {
            return None;
        }
        let most = LEAVING_AT_ONCE.div_ceil(account.reach());
        for subscription in entry.subscriber.next_of(&mut self.rest, most) {
            self.judge(&subscription, &account, entry, publisher);
        }
        Some(most)
    }

    fn judge(
        &self,
        subscription: &Arc<Subscription>,
        account: &Account,
        entry: &ClientEntry,
        publisher: &mut Publisher,
    ) {
        let (subject, queue) = (&subscription.pattern, subscription.queue.as_deref());
        let leave = self.identity.permissions.as_ref().map(|p| p.may_subscribe(subject, queue));
        let Some((SubscribeLeave::Denied, target)) = leave.zip(subscription.local()) else {
            return;
        };
        target.end();
        if !entry.subscriber.remove(subscription) {
            return; // its client was quicker
        }
        account.unsubscribe(subscription, publisher);
        let text = error::subscription_removed(subject, queue, target.sid());
        publisher.send(&entry.subscriber.outbound, error::line(&text).as_bytes());
        tracing::info!(
            "Removed sub {} for User {:?} - not authorized",
            error::removed(subject, queue, target.sid()),
            Arc::as_ref(&self.identity.user)
        );
    }
}
