//! The system account: the server answers requests in it, and reports of its own accord.
//!
//! `inlet.rs` subscribes; a message that arrives is queued, with a bound, for one task, which
//! makes the answer (`request.rs`, with the documents of [`crate::monitor`]) and publishes it.
//! `event.rs` is what the server reports unasked, `relay.rs` passes requests of ordinary accounts
//! on. Nobody's message ever waits for this room: what does not fit its queues is dropped.
//! Subjects and shapes: nats-server 2.15.1, as observed.

mod claims;
mod elsewhere;
mod event;
mod fault;
mod filter;
mod inlet;
mod latency;
mod pulse;
mod relay;
mod request;
mod subscribers;
mod traced;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use crate::account::{Account, Measured, Meter};
use crate::claims::Clerk;
use crate::monitor::Monitor;
use crate::monitor::view::{FeatureFlags, ServerInfo};
use crate::net::with_publisher;
use crate::node::{Node, VERSION};
use crate::protocol::message::{CRLF, Message};
use crate::registry::Event;
use crate::resolver::Resolver;
use crate::router::{Matches, Origin, Trace};
use elsewhere::Elsewhere;
use inlet::Request;
use latency::Halves;
use pulse::Pulse;
use relay::Relay;
use subscribers::{DEBUG_SUBSCRIBERS, Polls};

/// Requests that may wait; further ones are not answered.
const REQUESTS_MAX: usize = 1024;
/// What other directories' JWTs are sent to begins so.
const PACK_INBOX: &str = "$SYS._INBOX.PACK.";
/// Events that may wait; further ones are not reported.
const EVENTS_MAX: usize = 1024;

/// How often measured requests are sought that nobody answers.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(1);

/// What the system account asks of the server as a whole.
#[derive(Debug)]
pub enum Order {
    /// Read the configuration again; the answer says why not.
    Reload(oneshot::Sender<Result<(), String>>),
}

/// What arrives for the task of the system account.
struct Inbound {
    requests: mpsc::Receiver<Request>,
    events: mpsc::Receiver<Event>,
    traces: mpsc::Receiver<Box<Trace>>,
    measured: mpsc::Receiver<Box<Measured>>,
}

/// The server's part in the system account.
#[derive(Debug)]
pub struct System {
    monitor: Arc<Monitor>,
    account: Arc<Account>,
    orders: mpsc::Sender<Order>,
    requests: mpsc::Sender<Request>,
    relay: Relay,
    polls: Polls,
    elsewhere: Elsewhere,
    /// Keeps accounts as their JWTs say.
    clerk: Arc<Clerk>,
    /// Where other directories' JWTs come in.
    pack_inbox: String,
    /// Counts the messages of this server.
    sequence: AtomicU64,
    matches: Mutex<Matches>,
    /// Measures how long services take, in all accounts.
    meter: Arc<Meter>,
    halves: Mutex<Halves>,
}

impl System {
    /// Subscribes, and answers and reports until the task is aborted. What the server itself has
    /// to do arrives at `orders`.
    #[must_use]
    pub fn start(
        monitor: Arc<Monitor>,
        orders: mpsc::Sender<Order>,
        clerk: Arc<Clerk>,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (requests, to_answer) = mpsc::channel(REQUESTS_MAX);
        let (events, to_report) = mpsc::channel(EVENTS_MAX);
        let node = Arc::clone(monitor.node());
        let (measured, to_merge) = mpsc::channel(EVENTS_MAX);
        let system = Arc::new(Self {
            account: Arc::clone(&node.accounts.system),
            relay: Relay::new(&node.identity.id),
            polls: Polls::new(&node.identity.id),
            elsewhere: Elsewhere::default(),
            clerk,
            pack_inbox: format!("{PACK_INBOX}{}", node.identity.id),
            monitor,
            orders,
            requests,
            sequence: AtomicU64::new(0),
            matches: Mutex::default(),
            meter: Arc::new(Meter::new(&node.identity.id, measured)),
            halves: Mutex::default(),
        });
        system.subscribe();
        node.registry.tell_of_changes(events);
        let (traces, to_publish) = mpsc::channel(EVENTS_MAX);
        node.publish_reports(traces);
        let inbound = Inbound {
            requests: to_answer,
            events: to_report,
            traces: to_publish,
            measured: to_merge,
        };
        let task = tokio::spawn(Arc::clone(&system).run(inbound));
        (system, task)
    }

    async fn run(self: Arc<Self>, inbound: Inbound) {
        let Inbound { mut requests, mut events, mut traces, mut measured } = inbound;
        let mut unanswered = interval_at(Instant::now() + UNANSWERED_PAUSE, UNANSWERED_PAUSE);
        unanswered.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse::new();
        let directory = self.clerk.resolver().and_then(Resolver::directory);
        let compares = directory.is_some_and(|directory| directory.is_full);
        let pause = directory.map_or(Duration::from_secs(86_400), |directory| directory.interval);
        let mut comparison =
            interval_at(Instant::now() + pause, pause.max(Duration::from_millis(1)));
        loop {
            tokio::select! {
                Some(request) = requests.recv() => self.take(request).await,
                Some(event) = events.recv() => self.report(&event),
                Some(trace) = traces.recv() => Arc::clone(&self).report_aside(*trace).await,
                Some(measured) = measured.recv() => self.take_measured(*measured),
                _ = unanswered.tick() => self.report_unanswered(),
                () = sleep_until(pulse.next_stats()) => {
                    pulse.stats_sent();
                    self.report_stats();
                }
                () = sleep_until(pulse.next_connections()) => {
                    pulse.connections_sent();
                    self.report_all_connections();
                    self.look_elsewhere();
                }
                _ = comparison.tick(), if compares => self.compare_claims(),
            }
        }
    }

    /// Answers a request. Documents are made on another thread: a large one delays no client.
    async fn take(self: &Arc<Self>, request: Request) {
        if self.relay.is_answer(&request) {
            return self.relay_answer(&request);
        }
        if self.polls.is_answer(&request) {
            return self.polls.add(&request);
        }
        if request.is_of_elsewhere() {
            return self.hear_of_elsewhere(&request);
        }
        if request.subject == DEBUG_SUBSCRIBERS {
            return self.count_subscribers(request).await;
        }
        if request.account.is_some() && !request.is_user_info() {
            return self.relay_request(request);
        }
        if request.is_latency() {
            return self.take_remote_latency(&request);
        }
        if request.is_about_claims() {
            return self.answer_claims(&request).await;
        }
        if request.is_reload() {
            return self.reload(&request).await;
        }
        let made = if request.is_small() {
            self.answer(&request)
        } else {
            let system = Arc::clone(self);
            spawn_blocking(move || system.answer(&request)).await.ok().flatten()
        };
        if let Some(answer) = made {
            let account = answer.account.as_ref().unwrap_or(&self.account);
            self.publish(account, &answer.subject, &[], &answer.body);
        }
    }

    /// Publishes a message of the server.
    fn publish(&self, account: &Arc<Account>, subject: &[u8], reply: &[u8], payload: &[u8]) {
        let body = [payload, CRLF].concat();
        self.send(account, subject, reply, 0, &body);
    }

    /// Publishes a message as it is; `body` ends with CRLF.
    fn send(
        &self,
        account: &Arc<Account>,
        subject: &[u8],
        reply: &[u8],
        header_len: usize,
        body: &[u8],
    ) {
        let message = Message { subject, reply, header_len, body, tail: &[], shared: None };
        let mut matches = self.matches.lock();
        matches.take(account, subject);
        with_publisher(|publisher| {
            publisher.publish(account, &message, &matches, Origin::Server);
        });
        // Receivers are not held on to between two messages.
        matches.clear();
    }

    /// Whether anybody would get a message.
    fn is_wanted(&self, subject: &[u8]) -> bool {
        let mut wanted = false;
        self.account.for_each_match(subject, |_| wanted = true);
        wanted
    }

    fn node(&self) -> &Arc<Node> {
        self.monitor.node()
    }

    /// How this server signs its next message.
    fn signature(&self) -> ServerInfo {
        let node = self.node();
        let config = node.config();
        ServerInfo {
            name: node.identity.name.clone(),
            host: config.client.host.clone(),
            id: node.identity.id.clone(),
            cluster: self.monitor.mesh().map(|mesh| mesh.name().name).unwrap_or_default(),
            ver: VERSION.into(),
            tags: config.tags.clone(),
            metadata: config.metadata.clone(),
            feature_flags: Some(FeatureFlags::default()),
            seq: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            time: Timestamp::now(),
            ..ServerInfo::default()
        }
    }

    fn server_subject(&self, name: &str) -> String {
        format!("$SYS.SERVER.{}.{name}", self.node().identity.id)
    }
}

#[cfg(test)]
mod tests;
