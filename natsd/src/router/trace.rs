//! Tracing one message: who got it, and why others did not (ADR-41; nats-server 2.15).
//!
//! A message that asks for it by its headers takes the way of `publish.rs` here, where every
//! step is noted; others never come near. What was noted goes to the subject that was asked for.

mod event;
mod publish;

use std::sync::Arc;

use jiff::Timestamp;

use crate::account::Account;
use crate::protocol::headers::{self, TRACE_DEST, TRACE_DISABLED, TraceHeaders};
use crate::protocol::message::{CRLF, Message};

pub use event::{Egress, Event, Ingress, Kind};

/// What happened to one message on this server.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The account in which the report is published.
    pub account: Arc<Account>,
    /// The subject of the report.
    pub destination: String,
    /// All headers of the message as it came in.
    pub headers: TraceHeaders,
    /// Its size, headers included.
    pub size: usize,
    /// How many peers it went to.
    pub hops: usize,
    /// What happened, in this order; the first is how it came in.
    pub events: Vec<Event>,
    /// The message is not delivered.
    pub only: bool,
    /// The number under which it came here from a peer.
    hop: String,
    /// What is told to services of other accounts in place of the destination.
    told: Option<String>,
}

/// What becomes of a message that may ask for tracing.
#[derive(Debug)]
pub enum Begun {
    /// It does not.
    No,
    /// It is traced.
    Traced(Box<Trace>),
    /// It goes no further: it was to be traced only, which is not possible.
    Dropped,
    /// It goes on, with its tracing headers made void.
    Disabled,
    /// Its sender may not publish to the destination.
    Forbidden(String),
}

/// Where a message that may ask for tracing comes from.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Its account.
    pub account: &'a Arc<Account>,
    /// What kind of connection.
    pub kind: Kind,
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How it is called in the log.
    pub label: String,
}

impl Trace {
    /// Looks whether a message asks for tracing and whether it can be had.
    pub fn begin(
        message: &Message<'_>,
        source: &Source<'_>,
        may_publish: impl Fn(&[u8]) -> bool,
    ) -> Begun {
        let Some(found) = headers::trace_headers(message.headers()) else { return Begun::No };
        let value = |name: &str| found.all.get(name).and_then(|held| held.first());
        let only = !found.external
            && value("Nats-Trace-Only")
                .is_some_and(|on| matches!(&*on.to_lowercase(), "1" | "true" | "on"));
        let gone = if only { Begun::Dropped } else { Begun::No };
        if let Some(origin) = value("Nats-Trace-Origin-Account") {
            tracing::error!(
                "{} - Message tracing disabled because of header \"Nats-Trace-Origin-Account\" \
                 with value={origin:?}",
                source.label
            );
            return if only { Begun::Dropped } else { Begun::Disabled };
        }
        let destination = if found.external {
            let Some(wanted) = source.account.trace() else { return Begun::No };
            // As in the reference, which is a percent too generous.
            let sampled =
                wanted.sampling >= 100 || rand::random::<u32>() % 100 <= u32::from(wanted.sampling);
            if source.kind == Kind::Client && !sampled {
                return Begun::Disabled;
            }
            wanted.destination.clone()
        } else {
            match value(TRACE_DEST) {
                Some(destination) => destination.clone(),
                None => return gone,
            }
        };
        if !crate::subject::is_valid_literal(destination.as_bytes()) {
            tracing::error!(
                "{} - Destination {destination:?} is not valid, won't be able to trace events",
                source.label
            );
            return gone;
        }
        if !may_publish(destination.as_bytes()) {
            return Begun::Forbidden(destination);
        }
        let hop = match source.kind {
            Kind::Client => String::new(),
            Kind::Route => value(headers::TRACE_HOP).cloned().unwrap_or_default(),
        };
        let ingress = Event::Ingress(Ingress {
            ts: Timestamp::now(),
            kind: source.kind,
            cid: source.id,
            name: source.name.clone(),
            acc: source.account.name.to_string(),
            subj: String::from_utf8_lossy(message.subject).into_owned(),
            error: String::new(),
        });
        Begun::Traced(Box::new(Self {
            account: Arc::clone(source.account),
            destination,
            size: message.size(),
            headers: found.all,
            hops: 0,
            events: vec![ingress],
            only,
            hop,
            told: None,
        }))
    }

    /// The message was refused.
    pub fn refused(&mut self, text: &str) {
        if let Some(Event::Ingress(ingress)) = self.events.first_mut() {
            text.clone_into(&mut ingress.error);
        }
    }

    /// The message goes elsewhere than it was published to.
    pub fn mapped(&mut self, subject: &[u8]) {
        let to = String::from_utf8_lossy(subject).into_owned();
        self.events.push(Event::Mapping { ts: Timestamp::now(), to });
    }

    /// The account that it came in.
    fn origin(&self) -> &str {
        match self.events.first() {
            Some(Event::Ingress(ingress)) => &ingress.acc,
            _ => "",
        }
    }
}

/// A body whose tracing headers are void, for those who see it later.
#[must_use]
pub fn without_tracing(message: &Message<'_>) -> (Vec<u8>, usize) {
    with_header(message, TRACE_DEST, TRACE_DISABLED)
}

/// A body with another value for a header, and the length of its header block.
fn with_header(message: &Message<'_>, name: &str, value: &str) -> (Vec<u8>, usize) {
    let block = headers::with(message.headers(), name, value);
    let body = [block.as_slice(), message.payload(), CRLF].concat();
    (body, block.len())
}
