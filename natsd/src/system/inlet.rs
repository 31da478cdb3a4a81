//! Subscriptions of the server itself.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::System;
use super::subscribers::DEBUG_SUBSCRIBERS;
use crate::account::{Account, InternalHandler, Subscription, Target};
use crate::net::with_publisher;
use crate::protocol::message::Message;

/// Documents that every server is asked for, and this one alone by its id.
const DOCUMENTS: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
    "PROFILEZ",
];
/// The same about one account.
const ACCOUNT_DOCUMENTS: [&str; 7] = ["CONNZ", "SUBSZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"];
/// What only this server can be told.
const ORDERS: [&str; 3] = ["RELOAD", "KICK", "LDM"];

/// Who am I? Answered by the server of the client.
pub(super) const USER_INFO: &str = "$SYS.REQ.USER.INFO";
/// What ordinary accounts may ask all servers about themselves, and as what it is passed on.
pub(super) const ACCOUNT_PINGS: [(&str, &str); 3] = [
    ("$SYS.REQ.SERVER.PING.CONNZ", "CONNZ"),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", "CONNZ"),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", "STATZ"),
];

/// A larger request is none.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// The same where JWTs are told.
pub(super) const JWT_BYTES_MAX: usize = 1024 * 1024 + 4096;

/// A message that arrived for the server.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) reply: Vec<u8>,
    pub(super) header_len: usize,
    /// Headers, payload and CRLF.
    pub(super) body: Vec<u8>,
    /// The client of this server that asks, if it is one.
    pub(super) client: Option<u64>,
    /// The ordinary account in which it asks.
    pub(super) account: Option<Arc<str>>,
}

impl Request {
    pub(super) fn payload(&self) -> &[u8] {
        let end = self.body.len().saturating_sub(2);
        self.body.get(self.header_len..end).unwrap_or_default()
    }

    pub(super) fn is_user_info(&self) -> bool {
        self.subject == USER_INFO
    }

    /// Whether the answer is made in no time: a heartbeat, a name.
    pub(super) fn is_small(&self) -> bool {
        ["PING", "STATSZ", "IDZ", "INFO", "KICK", "LDM"]
            .iter()
            .any(|last| self.subject.rsplit('.').next() == Some(last))
    }

    /// Whether it is about account JWTs.
    pub(super) fn is_about_claims(&self) -> bool {
        self.subject.starts_with("$SYS.REQ.CLAIMS.")
            || self.subject.starts_with(super::PACK_INBOX)
            || self.subject.split('.').rev().nth(1) == Some("CLAIMS")
    }

    pub(super) fn is_reload(&self) -> bool {
        self.subject.ends_with(".RELOAD")
    }
}

/// Where messages for the server come in.
#[derive(Debug)]
struct Inlet {
    requests: mpsc::Sender<Request>,
    /// Set in ordinary accounts: only local clients are heard, and peers are not told.
    account: Option<Arc<str>>,
    /// What it takes at most.
    bytes_max: usize,
}

impl InternalHandler for Inlet {
    fn on_message(&self, message: &Message<'_>, client: Option<u64>) {
        if message.size() > self.bytes_max || (self.account.is_some() && client.is_none()) {
            return;
        }
        let Ok(subject) = String::from_utf8(message.subject.to_vec()) else { return };
        // A full queue means that requests come faster than they can be answered: the
        // requester times out and asks again.
        drop(self.requests.try_send(Request {
            subject,
            reply: message.reply.to_vec(),
            header_len: message.header_len,
            body: message.body.to_vec(),
            client,
            account: self.account.clone(),
        }));
    }

    fn is_announced(&self) -> bool {
        self.account.is_none()
    }
}

impl System {
    /// Subscribes to all requests.
    pub(super) fn subscribe(&self) {
        let id = &self.node().identity.id;
        let mut patterns =
            vec!["$SYS.REQ.SERVER.PING".to_owned(), "$SYS.REQ.ACCOUNT.NSUBS".to_owned()];
        for name in DOCUMENTS {
            patterns.push(format!("$SYS.REQ.SERVER.PING.{name}"));
            patterns.push(format!("$SYS.REQ.SERVER.{id}.{name}"));
        }
        patterns.extend(ORDERS.iter().map(|name| format!("$SYS.REQ.SERVER.{id}.{name}")));
        patterns.extend(ACCOUNT_DOCUMENTS.iter().map(|name| format!("$SYS.REQ.ACCOUNT.*.{name}")));
        for pattern in &patterns {
            self.add(&self.account, pattern, None, REQUEST_BYTES_MAX);
        }
        // Documents of other servers may be large.
        self.add(&self.account, &self.relay.pattern(), None, usize::MAX);
        self.add(&self.account, &self.latency_subject(), None, REQUEST_BYTES_MAX);
        self.add(&self.account, &self.polls.pattern(), None, REQUEST_BYTES_MAX);
        self.add(&self.account, DEBUG_SUBSCRIBERS, Some(&self.account.name), REQUEST_BYTES_MAX);
        self.subscribe_farewells();
        self.subscribe_claims();
        for account in self.node().accounts.all() {
            self.join(&account);
        }
    }

    /// Listens to what the clients of an account may ask about themselves.
    pub fn join(&self, account: &Arc<Account>) {
        account.set_meter(&self.meter);
        self.heed_elsewhere(account);
        let name = Some(&account.name);
        self.add(account, USER_INFO, name, REQUEST_BYTES_MAX);
        if !Arc::ptr_eq(account, &self.account) {
            for (pattern, _) in ACCOUNT_PINGS {
                self.add(account, pattern, name, REQUEST_BYTES_MAX);
            }
        }
    }

    pub(super) fn add(
        &self,
        account: &Arc<Account>,
        pattern: &str,
        within: Option<&Arc<str>>,
        bytes_max: usize,
    ) {
        self.add_in_group(account, pattern, None, within, bytes_max);
    }

    pub(super) fn add_in_group(
        &self,
        account: &Arc<Account>,
        pattern: &str,
        queue: Option<&[u8]>,
        within: Option<&Arc<str>>,
        bytes_max: usize,
    ) {
        let requests = self.requests.clone();
        let inlet = Inlet { requests, account: within.cloned(), bytes_max };
        let subscription = Arc::new(Subscription {
            pattern: pattern.as_bytes().into(),
            queue: queue.map(Into::into),
            target: Target::Internal(Box::new(inlet)),
        });
        with_publisher(|publisher| account.subscribe(&subscription, publisher));
    }
}
