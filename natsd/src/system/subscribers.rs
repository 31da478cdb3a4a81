//! How many subscribe to a subject: `$SYS.DEBUG.SUBSCRIBERS` asks all servers, by NSUBS.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::System;
use super::inlet::Request;
use super::request::parsed;
use crate::account::{Account, Subscription};
use crate::monitor::json;
use crate::protocol::headers;
use crate::subject;

/// What clients ask.
pub(super) const DEBUG_SUBSCRIBERS: &str = "$SYS.DEBUG.SUBSCRIBERS";
/// What servers ask each other.
const COUNT: &str = "$SYS.REQ.ACCOUNT.NSUBS";
/// Who asks, where it is another account's client.
const REQUEST_INFO: &str = "Nats-Request-Info";
/// Servers without clients of the account say nothing (nats-server 2.15).
const PATIENCE: Duration = Duration::from_millis(500);
/// Questions at once; further ones are not answered.
const POLLS_MAX: usize = 256;

/// NSUBS.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct AboutInterest {
    acc: String,
    subject: String,
    /// In base64, as Go writes bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
}

/// Who asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asker {
    acc: String,
    svc: String,
}

/// Questions to other servers.
#[derive(Debug)]
pub(super) struct Polls {
    /// Subject of answers, up to the number of the question.
    prefix: String,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    held: HashMap<u64, Poll>,
}

#[derive(Debug)]
struct Poll {
    count: u64,
    /// Servers that have not answered.
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Polls {
    pub(super) fn new(server_id: &str) -> Self {
        Self { prefix: format!("$SYS._INBOX.NSUBS.{server_id}."), open: Mutex::default() }
    }

    /// What the answers come on.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    pub(super) fn is_answer(&self, request: &Request) -> bool {
        request.subject.starts_with(&self.prefix)
    }

    /// Begins with what is known here; `None` when there are too many already.
    fn begin(&self, count: u64, missing: usize) -> Option<(u64, oneshot::Receiver<()>)> {
        let (done, all_answered) = oneshot::channel();
        let mut open = self.open.lock();
        if open.held.len() >= POLLS_MAX {
            return None;
        }
        open.next += 1;
        let number = open.next;
        open.held.insert(number, Poll { count, missing, done: Some(done) });
        Some((number, all_answered))
    }

    /// Another server says how many it has.
    pub(super) fn add(&self, answer: &Request) {
        let number = answer.subject.strip_prefix(&self.prefix).and_then(|end| end.parse().ok());
        let count = std::str::from_utf8(answer.payload()).ok().and_then(|text| text.parse().ok());
        let mut open = self.open.lock();
        let Some(poll) = number.and_then(|number: u64| open.held.get_mut(&number)) else { return };
        poll.count = poll.count.saturating_add(count.map_or(0, |count: u32| u64::from(count)));
        poll.missing = poll.missing.saturating_sub(1);
        if let Some(done) = poll.done.take_if(|_| poll.missing == 0) {
            done.send(()).unwrap_or_default();
        }
    }

    fn end(&self, number: u64) -> u64 {
        self.open.lock().held.remove(&number).map_or(0, |poll| poll.count)
    }
}

impl System {
    /// For another server: subscriptions of an account that a subject concerns; silent without
    /// clients.
    pub(super) fn interest_count(&self, request: &Request) -> Option<Vec<u8>> {
        if request.reply.starts_with(self.polls.prefix.as_bytes()) {
            return None; // our own question, and we have counted
        }
        let asked: AboutInterest = parsed(request.payload()).ok()?;
        let account = self.node().accounts.find(asked.acc.as_bytes())?;
        if self.monitor.account_stat(&account).conns == 0 {
            return None;
        }
        let queue = asked.queue.map(|queue| STANDARD.decode(queue).unwrap_or_default());
        Some(count(&account, asked.subject.as_bytes(), queue.as_deref()).to_string().into_bytes())
    }

    /// Counts here, asks the other servers, and answers with the sum.
    pub(super) async fn count_subscribers(self: &Arc<Self>, request: Request) {
        // Whoever asks, asks its own server.
        if request.client.is_none() || request.reply.is_empty() {
            return;
        }
        let Some(account) = self.account_of_asker(&request) else { return };
        let text = String::from_utf8_lossy(request.payload()).trim().to_owned();
        let (pattern, queue) = match text.split_once(' ') {
            Some((pattern, rest)) => (pattern, rest.split(' ').next()),
            None => (&*text, None),
        };
        let here = count_aside(&account, pattern, queue).await;
        let others = self.monitor.mesh().map_or(0, |mesh| mesh.members());
        if others == 0 {
            return self.publish(&self.account, &request.reply, &[], here.to_string().as_bytes());
        }
        let Some((number, all_answered)) = self.polls.begin(here, others) else { return };
        let question = AboutInterest {
            acc: account.name.to_string(),
            subject: pattern.to_owned(),
            queue: queue.map(|queue| STANDARD.encode(queue)),
        };
        let reply = format!("{}{number}", self.polls.prefix);
        self.publish(&self.account, COUNT.as_bytes(), reply.as_bytes(), &json::compact(&question));
        let system = Arc::clone(self);
        tokio::spawn(async move {
            drop(timeout(PATIENCE, all_answered).await);
            let sum = system.polls.end(number);
            system.publish(&system.account, &request.reply, &[], sum.to_string().as_bytes());
        });
    }

    /// The account that is meant: that of the client, be it one that imports the question.
    fn account_of_asker(&self, request: &Request) -> Option<Arc<Account>> {
        let block = request.body.get(..request.header_len).unwrap_or_default();
        let Some(info) = headers::find(block, REQUEST_INFO) else {
            return Some(Arc::clone(&self.account));
        };
        let Asker { acc, svc } = serde_json::from_slice(info).ok()?;
        let name = if svc.is_empty() { acc } else { svc };
        self.node().accounts.find(name.as_bytes())
    }
}

/// Counts on a thread that serves nobody: all there are may have to be looked at.
async fn count_aside(account: &Arc<Account>, wanted: &str, queue: Option<&str>) -> u64 {
    let (account, wanted) = (Arc::clone(account), wanted.to_owned());
    let queue = queue.map(str::to_owned);
    let counted = spawn_blocking(move || {
        count(&account, wanted.as_bytes(), queue.as_deref().map(str::as_bytes))
    });
    counted.await.unwrap_or_default()
}

/// Subscriptions of clients of this server: to a subject those that would get a message, to a
/// wildcard those within it; of one queue group, if it is named.
fn count(account: &Account, wanted: &[u8], queue: Option<&[u8]>) -> u64 {
    let mut count = 0;
    let mut note = |held: &Subscription| {
        let is_meant =
            held.local().is_some() && (queue.is_none() || held.queue.as_deref() == queue);
        count += u64::from(is_meant);
    };
    if subject::has_wildcard(wanted) {
        account.for_each(|held| {
            if subject::is_subset(&held.pattern, wanted) {
                note(held);
            }
        });
    } else {
        account.for_each_match(wanted, |held| note(held));
    }
    count
}
