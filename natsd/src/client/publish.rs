//! PUB and HPUB: the hot path.

use std::ops::Range;
use std::sync::Arc;

use super::Client;
use super::requester::Requester;
use crate::account::{Measured, Party, Sid, Target, is_measured};
use crate::close::CloseReason;
use crate::log;
use crate::net::ops::Progress;
use crate::protocol::client::unfinished_subject;
use crate::protocol::error;
use crate::protocol::headers;
use crate::protocol::line::ParseError;
use crate::protocol::message::{Frame, Message};
use crate::router::{Asker, Origin, Publisher, share};
use crate::subject;

/// The control line of the last publish. Most clients send the same one again and again: one
/// comparison then stands for parsing, checking and matching. With a reply hardly any line comes
/// twice.
#[derive(Debug, Default)]
pub(super) struct LastLine {
    text: Vec<u8>,
    subject: Range<usize>,
    header_len: usize,
    size: usize,
}

/// A longer line is not worth remembering.
const REMEMBERED_BYTES: usize = 256;

impl LastLine {
    pub(super) fn forget(&mut self) {
        self.text.clear();
    }

    /// Remembers a line whose message was let through; only the usual form is.
    fn remember(&mut self, message: &Message<'_>, line: &[u8]) {
        self.text.clear();
        let is_usual = !message.tail.is_empty() && message.reply.is_empty();
        if !is_usual || line.len() > REMEMBERED_BYTES {
            return;
        }
        let start = message.subject.as_ptr().addr().saturating_sub(line.as_ptr().addr());
        self.subject = start..start + message.subject.len();
        self.header_len = message.header_len;
        self.size = message.size();
        self.text.extend_from_slice(line);
    }
}

impl Client {
    /// Handles a publish whose control line is the same as the last one's.
    pub(super) fn repeat_last_line(
        &mut self,
        input: &[u8],
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<Option<Progress>, CloseReason> {
        let last = &self.last_line;
        let line_len = last.text.len();
        if line_len == 0 || !input.starts_with(&last.text) || last.size > self.bounds.payload_max {
            return Ok(None);
        }
        if self.account.has_mappings() || log::tracing_wire() {
            return Ok(None); // where it goes may differ from message to message; or it is logged
        }
        let total = line_len + last.size + 2;
        let Some(whole) = input.get(..total) else {
            return Ok(None); // the parser says what is missing, or what is wrong
        };
        if !whole.ends_with(b"\r\n") {
            return Err(self.on_parse_error(&ParseError::UnknownOperation, input, publisher));
        }
        let message = Message {
            subject: whole.get(last.subject.clone()).unwrap_or_default(),
            reply: &[],
            header_len: last.header_len,
            body: whole.get(line_len..).unwrap_or_default(),
            tail: whole.get(last.subject.end + 1..).unwrap_or_default(),
            shared: None,
        };
        if message.has_headers() && self.may_trace(&message) {
            return Ok(None); // what headers ask for may differ from message to message
        }
        self.entry.received.count(message.size());
        self.send_ok_if_verbose(publisher);
        self.route(&message, frame, publisher);
        Ok(Some(Progress::Done(total)))
    }

    pub(super) fn on_publish(
        &mut self,
        message: &Message<'_>,
        line: Option<&[u8]>,
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) {
        let invalid = self.options.pedantic && !subject::is_valid_literal(message.subject);
        if invalid && !std::mem::take(&mut self.complained) {
            self.send_error(error::INVALID_PUBLISH_SUBJECT, publisher);
        }
        if message.has_headers() && self.may_trace(message) {
            self.last_line.forget();
            return self.publish_traced(message, publisher);
        }
        self.entry.received.count(message.size());
        publisher.note(self.account.mapping_steps());
        match self.account.map(message.subject) {
            None => self.publish_to(message, line.filter(|_| !invalid), frame, publisher),
            Some(subject) => {
                self.publish_to(&Message { subject: &subject, ..*message }, None, frame, publisher);
            }
        }
    }

    /// Publishes a message whose subject is where it goes; as in the reference that is what is
    /// judged. `line` may be remembered.
    fn publish_to(
        &mut self,
        message: &Message<'_>,
        line: Option<&[u8]>,
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) {
        let leave = self.leave_to_publish(message);
        if let Leave::No(violation) = leave {
            self.last_line.forget();
            self.log_error(&format!("Publish Violation - {violation}"));
            self.send_error(&violation.text(), publisher);
            return;
        }
        self.send_ok_if_verbose(publisher);
        if is_measured(message.subject) {
            self.note_served(message.subject);
        }
        let is_again = self.route(message, frame, publisher);
        match line {
            Some(line) if is_again && matches!(leave, Leave::Always) => {
                self.last_line.remember(message, line);
            }
            _ => self.last_line.forget(),
        }
    }

    /// A request is answered that may be measured on another server: it is told our half.
    fn note_served(&self, reply: &[u8]) {
        let Some(meter) = self.account.meter() else { return };
        let Some((started, took)) = meter.take_remote(reply) else { return };
        let asker = Requester { entry: &self.entry, node: &self.node };
        let account = Arc::clone(&self.account.name);
        let responder = Party { info: asker.describe(&account, true), rtt: asker.rtt() };
        let reply = reply.to_vec();
        meter.report(Measured::Served { account, reply, started, took, responder });
    }

    /// A pedantic client hears of a wrong subject before its message is there.
    #[cold]
    pub(super) fn complain_early(&mut self, input: &[u8], publisher: &mut Publisher) {
        let subject = unfinished_subject(input, &self.bounds);
        if self.complained || subject.is_none_or(subject::is_valid_literal) {
            return;
        }
        self.complained = true;
        self.send_error(error::INVALID_PUBLISH_SUBJECT, publisher);
    }

    /// Whether a message may be published.
    pub(super) fn leave_to_publish<'m>(&self, message: &Message<'m>) -> Leave<'m> {
        let leave = match &self.permissions {
            _ if is_of_gateways(message.subject) => return forbidden(message.subject),
            None => Leave::Always,
            Some(permissions) if permissions.may_publish(message.subject) => Leave::Always,
            Some(_) if self.subscriber.may_answer(message.subject) => Leave::Once,
            Some(_) => return forbidden(message.subject),
        };
        // Permissions are asked first (nats-server).
        if message.subject.starts_with(b"$NRG.") {
            return forbidden(message.subject);
        }
        if is_reserved_reply(message.reply) {
            return Leave::No(Violation::Reply(message.reply));
        }
        leave
    }

    /// Hands a message that may be published to its receivers; says whether they are those of the
    /// message before.
    pub(super) fn route(
        &mut self,
        message: &Message<'_>,
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> bool {
        let is_again = self.matches.hold_for(&self.account, message.subject);
        if !is_again {
            self.matches.take(&self.account, message.subject);
            publisher.note(self.matches.steps());
        }
        let (shared, large);
        let message = match share(message.body, frame) {
            None => message,
            Some(body) => {
                shared = body;
                large = Message { shared: Some(&shared), ..*message };
                &large
            }
        };
        let asker = Requester { entry: &self.entry, node: &self.node };
        let origin = Origin::Client { id: self.entry.id, echo: self.options.echo, asker: &asker };
        let count = publisher.publish(&self.account, message, &self.matches, origin);
        if count == 0 && self.options.no_responders && !message.reply.is_empty() {
            self.report_no_responders(message, publisher);
        }
        is_again
    }

    /// Answers a request that nobody takes, on the requester's own subscription to the reply.
    pub(super) fn report_no_responders(&self, message: &Message<'_>, publisher: &mut Publisher) {
        let mut sid = None;
        let lookup = self.account.for_each_match(message.reply, |subscription| {
            if let Target::Local(target) = &subscription.target
                && subscription.queue.is_none()
                && Arc::ptr_eq(&target.subscriber, &self.subscriber)
            {
                sid = Some(Sid::from_slice(target.sid()));
            }
        });
        publisher.note(lookup.steps);
        let Some(sid) = sid else { return };
        let block = headers::no_responders(message.subject);
        let sizes = format!(" {0} {0}\r\n", block.len());
        let parts = [b"HMSG ", message.reply, b" ", &sid, sizes.as_bytes(), &block, b"\r\n"];
        self.send(&parts.concat(), publisher);
    }
}

/// Whether a message may be published.
pub(super) enum Leave<'m> {
    /// Yes, and every further one on this subject.
    Always,
    /// Yes, as one of so many answers to a request.
    Once,
    /// No.
    No(Violation<'m>),
}

/// What was wrong with a publish.
#[derive(Clone, Copy)]
pub(super) enum Violation<'m> {
    Subject(&'m [u8]),
    Reply(&'m [u8]),
}

impl Violation<'_> {
    /// As the client is told.
    pub(super) fn text(self) -> String {
        match self {
            Self::Subject(subject) => error::publish_violation(subject),
            Self::Reply(reply) => error::reply_violation(reply),
        }
    }
}

impl std::fmt::Display for Violation<'_> {
    /// As it is logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Subject(subject) => write!(f, "Subject {}", error::quoted(subject)),
            Self::Reply(reply) => write!(f, "Reply {}", error::quoted(reply)),
        }
    }
}

const fn forbidden(subject: &[u8]) -> Leave<'_> {
    Leave::No(Violation::Subject(subject))
}

/// Subjects that belong to the server, whoever publishes (nats-server 2.15.1).
fn is_of_gateways(subject: &[u8]) -> bool {
    longer_than(subject, b"_GR_.") || longer_than(subject, b"$GR.")
}

/// Replies that belong to the server.
fn is_reserved_reply(reply: &[u8]) -> bool {
    reply.starts_with(b"_R_.") || reply.starts_with(b"$JS.ACK.") || is_of_gateways(reply)
}

fn longer_than(text: &[u8], prefix: &[u8]) -> bool {
    text.len() > prefix.len() && text.starts_with(prefix)
}
