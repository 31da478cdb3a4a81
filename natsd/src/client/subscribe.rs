//! SUB and UNSUB.

use std::sync::Arc;

use super::Client;
use crate::account::{LocalTarget, Subscription, Target};
use crate::auth::{Denied, SubscribeLeave};
use crate::log;
use crate::net::Conversation;
use crate::protocol::error;
use crate::router::Publisher;
use crate::subject;

/// Queue name that the reference reserves for itself.
const RESERVED_QUEUE: &[u8] = b"_sys_";

impl Client {
    pub(super) fn on_subscribe(
        &mut self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        publisher: &mut Publisher,
    ) {
        let filter = match self.leave(subject, queue) {
            Ok(filter) => filter,
            Err(text) => {
                self.log_refusal(&text, subject, queue, sid);
                self.send_error(&text, publisher);
                return;
            }
        };
        if let Some(filter) = filter {
            self.subscriber.keep_from_it(filter);
        }
        // A live sid stays what it is; the reference does not complain, whatever the subject is.
        if self.subscriber.find(sid).is_none() {
            if !subject::is_valid_pattern(subject) {
                self.send_error(error::INVALID_SUBJECT, publisher);
                return;
            }
            self.subscribe(subject, queue, sid, publisher);
        }
        self.send_ok_if_verbose(publisher);
    }

    /// Whether a subscription is possible: what it must not deliver, or why it is not.
    fn leave(&self, subject: &[u8], queue: Option<&[u8]>) -> Result<Option<Arc<Denied>>, String> {
        let denied = || Err(error::subscription_violation(subject, queue));
        if queue == Some(RESERVED_QUEUE) {
            return denied();
        }
        // Permissions come first: who is denied does not hear of limits (nats-server).
        let filter = match self.permissions.as_ref().map(|held| held.may_subscribe(subject, queue))
        {
            None | Some(SubscribeLeave::Granted) => None,
            Some(SubscribeLeave::Filtered(filter)) => Some(filter),
            Some(SubscribeLeave::Denied) => return denied(),
        };
        self.refusal(subject).map_or(Ok(filter), Err)
    }

    fn log_refusal(&self, text: &str, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        if !text.starts_with("Permissions") {
            return self.log_error(text);
        }
        let queue =
            queue.map_or_else(String::new, |queue| format!(", Queue: {}", error::quoted(queue)));
        self.log_error(&format!(
            "Subscription Violation - Subject {}{queue}, SID {}",
            error::quoted(subject),
            sid.escape_ascii()
        ));
    }

    /// Why a subscription is not possible for anybody.
    fn refusal(&self, subject: &[u8]) -> Option<String> {
        let limits = &self.node.config().limits;
        if limits
            .max_subscription_tokens
            .is_some_and(|most| subject::tokens(subject).count() > most)
        {
            return Some(error::too_many_tokens(subject));
        }
        let own = self.account.limits().max_subscriptions.map(|most| most as usize);
        let most = [limits.max_subscriptions, own, self.terms.max_subscriptions]
            .into_iter()
            .flatten()
            .min();
        if most.is_some_and(|most| self.subscriber.count() >= most) {
            return Some(error::MAX_SUBSCRIPTIONS.into());
        }
        None
    }

    fn subscribe(
        &self,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        publisher: &mut Publisher,
    ) {
        let subscription = Arc::new(Subscription {
            pattern: subject.into(),
            queue: queue.map(Into::into),
            target: Target::Local(LocalTarget::new(Arc::clone(&self.subscriber), sid)),
        });
        self.subscriber.add(Arc::clone(&subscription));
        self.account.subscribe(&subscription, publisher);
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        sid: &[u8],
        max: Option<u64>,
        publisher: &mut Publisher,
    ) {
        if let Some(subscription) = self.subscriber.find(sid) {
            let target = subscription.local();
            let now = match (max, target) {
                (Some(max), Some(target)) => target.limit(max),
                _ => true,
            };
            if now {
                self.unsubscribe(&subscription, publisher);
            } else if log::debugging() {
                let received = target.map_or(0, LocalTarget::delivered);
                tracing::debug!(
                    "{} - Deferring actual UNSUB({}): {} max, {received} received",
                    self.entry.label(),
                    subscription.pattern.escape_ascii(),
                    max.unwrap_or_default(),
                );
            }
        }
        self.send_ok_if_verbose(publisher);
    }

    fn unsubscribe(&self, subscription: &Arc<Subscription>, publisher: &mut Publisher) {
        self.end(subscription);
        self.subscriber.remove(subscription);
        self.account.unsubscribe(subscription, publisher);
    }

    /// Ends subscriptions that a further CONNECT ends, a part of them; says whether there are more.
    /// One that cannot be read ends none: they are counted with the connection, which it ends.
    pub(super) fn still_leaves(&mut self, json: &[u8], publisher: &mut Publisher) -> bool {
        if !self.connected || !self.can_read(json) {
            return false;
        }
        self.leaving.get_or_insert_with(|| Box::new(self.subscriber.take_all()));
        self.wind_down(publisher)
    }

    pub(super) fn drop_subscription(
        &self,
        subscription: &Arc<Subscription>,
        publisher: &mut Publisher,
    ) {
        self.end(subscription);
        self.account.unsubscribe(subscription, publisher);
    }

    /// Ends deliveries, also those that are on their way.
    fn end(&self, subscription: &Subscription) {
        let Some(target) = subscription.local() else { return };
        target.end();
        if log::tracing_wire() {
            log::wire::unsubscribed(&self.entry.label(), target.sid());
        }
    }
}
