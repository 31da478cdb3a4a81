//! Permissions that change under a client that is connected (reload).

use std::sync::Arc;

use super::Client;
use crate::auth::{Identity, SubscribeLeave};
use crate::protocol::error;
use crate::registry::ClientEntry;
use crate::router::Publisher;

impl Client {
    /// Another configuration holds: what it may publish is what it is entitled to now.
    pub(super) fn look_again(&mut self, publisher: &mut Publisher) {
        self.epoch = self.node.epoch();
        self.last_line.forget();
        let about = self.entry.about();
        let Some(identity) = about.identity else { return };
        if self.permissions != identity.permissions {
            self.permissions.clone_from(&identity.permissions);
            // What it subscribed to since the reload was judged by the old ones.
            enforce(&self.entry, &identity, publisher);
        }
    }
}

/// Takes away what a client may subscribe to no more, and keeps the rest from what is denied now.
/// Called from any thread, by whoever has changed its identity.
pub fn enforce(entry: &ClientEntry, identity: &Identity, publisher: &mut Publisher) {
    let Some(account) = entry.about().account else { return };
    let subscriber = &entry.subscriber;
    let permissions = identity.permissions.as_deref();
    subscriber.track_replies(permissions.and_then(|held| held.responses()).copied());
    for subscription in subscriber.all() {
        let (subject, queue) = (&subscription.pattern, subscription.queue.as_deref());
        match permissions.map(|held| held.may_subscribe(subject, queue)) {
            None | Some(SubscribeLeave::Granted) => {}
            Some(SubscribeLeave::Filtered(filter)) => subscriber.keep_from_it(filter),
            Some(SubscribeLeave::Denied) => {
                let Some(target) = subscription.local() else { continue };
                target.end();
                subscriber.remove(&subscription);
                account.unsubscribe(&subscription, publisher);
                let sid = target.sid();
                let text = error::subscription_removed(subject, queue, sid);
                publisher.send(&subscriber.outbound, error::line(&text).as_bytes());
                tracing::info!(
                    "Removed sub {} for User {:?} - not authorized",
                    error::removed(subject, queue, sid),
                    Arc::as_ref(&identity.user)
                );
            }
        }
    }
    account.renew();
}
