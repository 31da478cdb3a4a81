//! Messages whose way is to be reported (ADR-41).

use super::Client;
use super::publish::Leave;
use super::requester::Requester;
use crate::protocol::error;
use crate::protocol::headers;
use crate::protocol::message::Message;
use crate::router::{Begun, Kind, Origin, Publisher, Source, Trace, without_tracing};

impl Client {
    /// Whether a message may ask to be traced; never wrong when it says no.
    pub(super) fn may_trace(&self, message: &Message<'_>) -> bool {
        headers::may_ask_for_trace(message.headers()) || self.account.traces_others()
    }

    /// Publishes a message that may ask to be traced.
    pub(super) fn publish_traced(&mut self, message: &Message<'_>, publisher: &mut Publisher) {
        match self.begin_trace(message) {
            Begun::No => self.publish_checked(message, None, publisher),
            Begun::Traced(trace) => self.publish_checked(message, Some(trace), publisher),
            Begun::Disabled => {
                let (body, header_len) = without_tracing(message);
                let message =
                    Message { header_len, body: &body, tail: &[], shared: None, ..*message };
                self.publish_checked(&message, None, publisher);
            }
            Begun::Dropped => {}
            Begun::Forbidden(destination) => {
                self.log_error(&format!("Publish Violation - Subject {destination:?}"));
                let text = error::publish_violation(destination.as_bytes());
                self.send_error(&text, publisher);
            }
        }
    }

    fn begin_trace(&self, message: &Message<'_>) -> Begun {
        let source = Source {
            account: &self.account,
            kind: Kind::Client,
            id: self.entry.id,
            name: self.entry.about().name,
            label: self.entry.label(),
        };
        Trace::begin(message, &source, |subject| {
            !subject.starts_with(b"_GR_.")
                && self.permissions.as_ref().is_none_or(|held| held.may_publish(subject))
        })
    }

    fn publish_checked(
        &mut self,
        message: &Message<'_>,
        mut trace: Option<Box<Trace>>,
        publisher: &mut Publisher,
    ) {
        self.entry.received.count(message.size());
        let mapped = self.account.map(message.subject);
        if let (Some(subject), Some(trace)) = (&mapped, &mut trace) {
            trace.mapped(subject);
        }
        let message = Message { subject: mapped.as_deref().unwrap_or(message.subject), ..*message };
        if let Leave::No(violation) = self.leave_to_publish(&message) {
            let text = violation.text();
            self.log_error(&format!("Publish Violation - {violation}"));
            self.send_error(&text, publisher);
            if let Some(trace) = &mut trace {
                trace.refused(&text);
            }
        } else {
            self.send_ok_if_verbose(publisher);
            match &mut trace {
                Some(trace) => self.route_traced(&message, trace, publisher),
                None => {
                    self.route(&message, None, publisher);
                }
            }
        }
        if let Some(trace) = trace {
            self.node.report(trace);
        }
    }

    fn route_traced(
        &mut self,
        message: &Message<'_>,
        trace: &mut Trace,
        publisher: &mut Publisher,
    ) {
        if !self.matches.hold_for(&self.account, message.subject) {
            self.matches.take(&self.account, message.subject);
            publisher.note(self.matches.steps());
        }
        let asker = Requester { entry: &self.entry, node: &self.node };
        let origin = Origin::Client { id: self.entry.id, echo: self.options.echo, asker: &asker };
        let count = publisher.publish_traced(&self.account, message, &self.matches, origin, trace);
        if count == 0 && self.options.no_responders && !message.reply.is_empty() {
            self.report_no_responders(message, publisher);
        }
    }
}
