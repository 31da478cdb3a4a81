//! Messages of peers whose way is to be reported (ADR-41).

use std::sync::Arc;

use super::Route;
use crate::account::{Account, Link};
use crate::protocol::message::Message;
use crate::protocol::route::Queues;
use crate::router::{Begun, Kind, Origin, Publisher, Source, Trace, without_tracing};

impl Route {
    /// Delivers a message that may ask to be traced.
    pub(super) fn on_traced_message(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        queues: &Queues<'_>,
        publisher: &mut Publisher,
    ) {
        if !self.matches.hold_for(account, message.subject) {
            self.matches.take(account, message.subject);
            publisher.note(self.matches.steps());
        }
        let origin = Origin::Route { queues };
        let begun = self.begin_trace(account, message);
        if !matches!(begun, Begun::Dropped | Begun::Forbidden(_)) {
            self.count(Some(account), message, publisher);
        }
        match begun {
            Begun::No => {
                publisher.publish(account, message, &self.matches, origin);
            }
            Begun::Traced(mut trace) => {
                publisher.publish_traced(account, message, &self.matches, origin, &mut trace);
                self.node.report(trace);
            }
            Begun::Disabled => {
                let (body, header_len) = without_tracing(message);
                let message =
                    Message { header_len, body: &body, tail: &[], shared: None, ..*message };
                publisher.publish(account, &message, &self.matches, origin);
            }
            Begun::Dropped => {}
            Begun::Forbidden(destination) => {
                self.log_error(&format!("Publish Violation - Subject {destination:?}"));
            }
        }
    }

    fn begin_trace(&self, account: &Arc<Account>, message: &Message<'_>) -> Begun {
        let source = Source {
            account,
            kind: Kind::Route,
            id: self.entry.id,
            name: self.entry.remote().name,
            label: self.entry.label(),
        };
        let link: Option<&Link> = self.link.as_deref();
        Trace::begin(message, &source, |subject| link.is_none_or(|link| link.may_announce(subject)))
    }
}
