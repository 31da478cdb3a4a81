//! A peer server as a state machine, and the mesh of all of them.
//!
//! `handshake.rs` is CONNECT and INFO, `interest.rs` what the peer subscribes to, `mesh.rs` who
//! is connected and what that means for clients, `gossip.rs` what members are told of each other,
//! `dial.rs` how connections come about and come back. What a peer sends goes to local receivers
//! only: there is one hop.
//!
//! Peers that pool have several connections: one for each slot, which an account's name is
//! hashed to, and one for each account that has its own. `pool.rs` keeps them complete. Source:
//! cluster protocol page; nats-server 2.15.1 as observed.

mod dial;
mod entry;
mod gossip;
mod handshake;
mod interest;
mod mesh;
mod pool;
mod traced;

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::account::{Account, Announcement, Link, Tally, is_measured};
use crate::close::CloseReason;
use crate::heartbeat::{Beat, Heartbeat};
use crate::log::{
    self,
    wire::{self, Way},
};
use crate::net::ops::{Ops, Progress};
use crate::net::{Conversation, Rest};
use crate::node::Node;
use crate::outbound::{Outbound, SHARED_BODY_BYTES};
use crate::protocol::error;
use crate::protocol::headers;
use crate::protocol::line::{Bounds, ParseError, Step};
use crate::protocol::message::{Frame, Message};
use crate::protocol::route::{Queues, RouteOp, parse};
use crate::protocol::stash::Stash;
use crate::router::{Matches, Origin, Publisher, share};
use crate::tls::Secured;
use handshake::Waiting;
use interest::{EarlyInterest, RemoteInterest};

pub use entry::{Remote, RouteEntry};
pub use mesh::{ClusterName, GoneRoutes, Mesh, permission_of};

/// The longest that a peer is not read at once because one receiver is far behind. It speaks for
/// many who have nothing to do with that, so it is short: 512 KiB every 5 ms still go through. A
/// receiver that takes 100 MB/s is not cut off, others a moment later. nats-server does not pause
/// and cuts off whoever takes less than all publishers of the cluster send.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// A connection to a peer server.
#[derive(Debug)]
pub(crate) struct Route {
    mesh: Arc<Mesh>,
    node: Arc<Node>,
    entry: Arc<RouteEntry>,
    role: Role,
    phase: Phase,
    /// The registered link, once the handshake is over.
    link: Option<Arc<Link>>,
    /// What it is still to be told of interest.
    announcement: Option<Announcement>,
    interest: RemoteInterest,
    /// Its password is being checked.
    waiting: Option<Box<Waiting>>,
    early_interest: EarlyInterest,
    /// The peer asked for +OK.
    verbose: bool,
    bounds: Bounds,
    stash: Stash,
    rest: Rest,
    matches: Matches,
    /// The account that the connection is dedicated to.
    dedicated: Option<Arc<Account>>,
    /// The account of the last message: most come for the same one.
    last_account: Option<Arc<Account>>,
    /// What came for which account.
    tally: Tally,
    heartbeat: Heartbeat,
    connected_at: Instant,
}

/// How the connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The peer dialed us.
    Accepted,
    /// We dialed it.
    Dialed(Dialed),
}

/// What a dialer knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialed {
    /// It stands in our configuration (explicit), or a peer told us (implicit).
    pub(crate) explicit: bool,
    /// Where, for the log.
    pub(crate) url: String,
    /// User and password to show.
    pub(crate) credentials: Option<(String, String)>,
    /// How far the news of this connection is to be passed on by the peer.
    pub(crate) gossip_mode: u64,
    /// What it is for.
    pub(crate) purpose: Purpose,
}

/// What a dialed connection is for, if the peer pools; the first one finds that out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// A slot of the pool. Slot 0 serves for everything with a peer that does not pool.
    Slot(u32),
    /// One account.
    Account(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An accepted peer must say CONNECT first.
    AwaitConnect,
    /// Then, or at once when dialed, INFO.
    AwaitInfo,
    /// The peer is a member of the mesh.
    Registered,
}

impl Route {
    pub(crate) fn new(mesh: Arc<Mesh>, entry: Arc<RouteEntry>, role: Role) -> Self {
        let node = Arc::clone(&mesh.node);
        let (interval, max) = mesh.ping_settings();
        let now = Instant::now();
        Self {
            bounds: node.route_bounds(),
            phase: if role == Role::Accepted { Phase::AwaitConnect } else { Phase::AwaitInfo },
            mesh,
            node,
            entry,
            role,
            link: None,
            announcement: None,
            waiting: None,
            interest: RemoteInterest::default(),
            early_interest: EarlyInterest::default(),
            verbose: false,
            stash: Stash::new(),
            rest: Rest::default(),
            matches: Matches::default(),
            dedicated: None,
            last_account: None,
            tally: Tally::of_received(),
            heartbeat: Heartbeat::of_route(now, interval, max),
            connected_at: now,
        }
    }

    fn send(&self, bytes: &[u8], publisher: &mut Publisher) {
        publisher.send(&self.entry.outbound, bytes);
    }

    fn send_error(&self, text: &str, publisher: &mut Publisher) {
        self.trace_out(&format!("-ERR {text}"));
        self.send(error::line(text).as_bytes(), publisher);
    }

    fn trace_out(&self, text: &str) {
        if log::tracing_wire() {
            wire::op(&self.entry.label(), Way::Out, text);
        }
    }

    fn send_ok_if_verbose(&self, publisher: &mut Publisher) {
        if self.verbose {
            self.trace_out("OK");
            self.send(b"+OK\r\n", publisher);
        }
    }

    fn log_error(&self, text: &str) {
        tracing::error!("{} - {text}", self.entry.label());
    }

    fn log_op(&self, op: &RouteOp<'_>, input: &[u8]) {
        let label = self.entry.label();
        wire::op_in(&label, input);
        if let RouteOp::Message { message, .. } = op {
            wire::payload(&label, Way::In, message.body, message.header_len);
        }
    }

    fn on_op(
        &mut self,
        op: RouteOp<'_>,
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        match op {
            RouteOp::Message { account, message, queues, .. } => {
                self.on_message(account, message, &queues, frame, publisher);
            }
            RouteOp::Subscribe(named, weight) => self.on_interest(named, weight, publisher),
            RouteOp::Unsubscribe(named) => self.on_no_interest(named, publisher),
            RouteOp::Ping => {
                self.trace_out("PONG");
                self.send(b"PONG\r\n", publisher);
            }
            RouteOp::Pong => {
                if let Some(rtt) = self.heartbeat.answered(Instant::now()) {
                    self.entry.vitals.note_rtt(rtt);
                }
            }
            RouteOp::Connect(json) => self.on_connect(json, publisher)?,
            RouteOp::Info(json) => self.on_info(json, publisher)?,
            RouteOp::Error(text) => {
                self.log_error(&format!("Route Error {}", String::from_utf8_lossy(text)));
                return Err(CloseReason::ParseError);
            }
            RouteOp::OfLeafs => self.send_ok_if_verbose(publisher),
            RouteOp::Ignored => {}
        }
        Ok(())
    }

    /// Delivers a message of a peer to local receivers.
    fn on_message(
        &mut self,
        account: Option<&[u8]>,
        message: Message<'_>,
        queues: &Queues<'_>,
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) {
        let account = self.account_of(account);
        if let Some(account) = &account
            && message.has_headers()
            && (headers::may_ask_for_trace(message.headers()) || account.traces_others())
        {
            return self.on_traced_message(account, &message, queues, publisher);
        }
        self.count(account.as_ref(), &message, publisher);
        let Some(account) = account else { return };
        if !self.matches.hold_for(&account, message.subject) {
            self.matches.take(&account, message.subject);
            publisher.note(self.matches.steps());
        }
        let shared = share(message.body, frame);
        let message = Message { shared: shared.as_ref(), ..message };
        if is_measured(message.reply)
            && let Some(meter) = account.meter()
        {
            meter.note_remote(message.reply);
        }
        publisher.publish(&account, &message, &self.matches, Origin::Route { queues });
    }

    /// Counts a message that is served, wherever it goes.
    fn count(
        &mut self,
        account: Option<&Arc<Account>>,
        message: &Message<'_>,
        publisher: &mut Publisher,
    ) {
        self.entry.received.count(message.size());
        self.send_ok_if_verbose(publisher);
        if let Some(account) = account {
            self.tally.count(account, message.size());
        }
    }

    /// The account of a name on the wire, or of a dedicated connection; the last one is
    /// remembered.
    fn account_of(&mut self, name: Option<&[u8]>) -> Option<Arc<Account>> {
        let Some(name) = name else { return self.dedicated.clone() };
        if let Some(last) = &self.last_account
            && last.name.as_bytes() == name
            && !last.is_removed()
        {
            return Some(Arc::clone(last));
        }
        self.last_account = self.node.account_of_peer(name);
        self.last_account.clone()
    }

    /// Until when the peer must have introduced itself.
    fn handshake_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Registered => None,
            Phase::AwaitConnect => Some(self.connected_at + self.mesh.connect_timeout()),
            Phase::AwaitInfo => Some(self.connected_at + self.mesh.handshake_timeout()),
        }
    }

    fn on_handshake_timeout(&self, publisher: &mut Publisher) -> CloseReason {
        if self.phase == Phase::AwaitConnect && self.mesh.asks_for_credentials() {
            self.send_error(error::AUTHENTICATION_TIMEOUT, publisher);
            return CloseReason::AuthenticationTimeout;
        }
        CloseReason::StaleConnection
    }

    fn on_parse_error(&self, error: &ParseError, publisher: &mut Publisher) -> CloseReason {
        match error {
            ParseError::UnknownOperation => {
                self.send_error(error::UNKNOWN_PROTOCOL_OPERATION, publisher);
                self.log_error(error::UNKNOWN_PROTOCOL_OPERATION);
                CloseReason::ProtocolViolation
            }
            ParseError::ControlLine => {
                self.send_error(error::MAX_CONTROL_LINE, publisher);
                self.log_error(error::MAX_CONTROL_LINE);
                CloseReason::MaxControlLineExceeded
            }
            other => {
                self.log_error(&other.to_string());
                CloseReason::ProtocolViolation
            }
        }
    }
}

impl Ops for Route {
    fn rest(&mut self) -> &mut Rest {
        &mut self.rest
    }

    fn stash(&mut self) -> &mut Stash {
        &mut self.stash
    }

    fn admits(&mut self, input: &[u8], _publisher: &mut Publisher) -> Result<bool, CloseReason> {
        let Some(waiting) = &mut self.waiting else { return Ok(true) };
        waiting.held.extend_from_slice(input);
        Ok(false)
    }

    fn step(
        &mut self,
        input: &[u8],
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<Progress, CloseReason> {
        if self.phase == Phase::AwaitConnect && !matches!(input.first(), Some(b'C' | b'c')) {
            self.send_error(error::AUTHORIZATION_VIOLATION, publisher);
            return Err(CloseReason::ProtocolViolation);
        }
        match parse(input, &self.bounds, self.dedicated.is_some()) {
            Ok(Step::Op(op, used)) => {
                if self.announcement.is_none() {
                    if log::tracing_wire() {
                        self.log_op(&op, input);
                    }
                    self.on_op(op, frame, publisher)?;
                }
                // The op that began an announcement comes again until all of it is made.
                let again = self.still_announces(publisher);
                Ok(if again { Progress::Again } else { Progress::Done(used) })
            }
            Ok(Step::More(need)) => Ok(Progress::More(need)),
            Err(error) => Err(self.on_parse_error(&error, publisher)),
        }
    }
}

impl Conversation for Route {
    fn outbound(&self) -> &Arc<Outbound> {
        &self.entry.outbound
    }

    fn on_open(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        tracing::info!("{} - Route connection created", self.entry.label());
        self.mesh.add_entry(&self.entry);
        self.greet(publisher);
        Ok(())
    }

    fn on_secured(&mut self, secured: Secured) -> Result<(), CloseReason> {
        secured.log(&self.entry.label());
        if let Some(certificate) = secured.certificate() {
            self.entry.note_key(certificate.key_digest.clone());
        }
        Ok(())
    }

    fn on_insecure(&mut self, error: &std::io::Error) {
        self.log_error(&format!("TLS route handshake error: {error}"));
    }

    fn on_bytes(
        &mut self,
        input: &[u8],
        lent: Option<&Bytes>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let now = Instant::now();
        self.heartbeat.heard(now);
        self.entry.vitals.note_activity(now);
        let result = self.take_in(input, lent, publisher);
        self.tally.settle();
        result
    }

    fn on_slow(&mut self, is_first: bool) {
        if is_first {
            self.mesh.note_slow();
        }
    }

    fn notice(&self, text: &str) {
        tracing::info!("{} - {text}", self.entry.label());
    }

    fn left(&self) -> usize {
        self.rest.waiting()
    }

    fn go_on(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        let result = self.take_in_rest(publisher);
        self.tally.settle();
        result
    }

    fn read_into(&mut self) -> Option<(&mut BytesMut, usize)> {
        self.stash.missing(SHARED_BODY_BYTES)
    }

    fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    fn longest_pause(&self) -> Duration {
        PAUSE_MAX
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        publisher: &mut Publisher,
    ) -> Poll<Result<(), CloseReason>> {
        let held = ready!(self.on_answer(cx, publisher))?;
        Poll::Ready(self.on_bytes(&held, None, publisher))
    }

    fn deadline(&self) -> Option<Instant> {
        [Some(self.heartbeat.next()), self.handshake_deadline()].into_iter().flatten().min()
    }

    fn on_deadline(&mut self, now: Instant, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if self.handshake_deadline().is_some_and(|deadline| now >= deadline) {
            return Err(self.on_handshake_timeout(publisher));
        }
        match self.heartbeat.beat(now) {
            Beat::Nothing => Ok(()),
            Beat::Ping if self.phase == Phase::Registered => {
                self.trace_out("PING");
                self.send(b"PING\r\n", publisher);
                Ok(())
            }
            Beat::Ping => Ok(()),
            Beat::Stale => {
                self.send_error(error::STALE_CONNECTION, publisher);
                Err(CloseReason::StaleConnection)
            }
        }
    }

    fn on_close(&mut self, reason: CloseReason, publisher: &mut Publisher) {
        if let Some(link) = self.link.take() {
            link.shut();
            self.interest.leave();
            self.interest.drop_some();
            self.mesh.unregister(&link, publisher);
        }
        self.mesh.remove_entry(&self.entry, reason);
        let remote = self.entry.remote();
        let name = if remote.name.is_empty() {
            String::new()
        } else {
            format!(" - Remote: {}", remote.name)
        };
        tracing::info!("{} - Router connection closed: {reason}{name}", self.entry.label());
    }

    fn wind_down(&mut self, _publisher: &mut Publisher) -> bool {
        self.interest.drop_some()
    }
}
