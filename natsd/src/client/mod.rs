//! A client connection as a state machine: bytes in, queues touched. No socket, no waiting.
//!
//! `connect.rs` is the handshake, `publish.rs` the hot path, `subscribe.rs` SUB and UNSUB.
//! Permissions are checked here; delivery is the business of `router`.

mod connect;
mod consider;
mod permissions;
mod publish;
mod requester;
mod subscribe;
mod terms;
mod traced;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::account::{Account, LEAVING_AT_ONCE, Leaving, Subscriber};
use crate::auth::{Permissions, Voucher};
use crate::close::CloseReason;
use crate::errand::TlsFacts;
use crate::heartbeat::{Beat, Heartbeat};
use crate::log::{
    self,
    wire::{self, Way},
};
use crate::net::ops::{Ops, Progress};
use crate::net::{Conversation, Rest};
use crate::node::Node;
use crate::outbound::{Outbound, SHARED_BODY_BYTES};
use crate::protocol::client::{ClientOp, parse};
use crate::protocol::error;
use crate::protocol::info::{Connect, Info};
use crate::protocol::line::{Bounds, Need, ParseError, Step};
use crate::protocol::message::Frame;
use crate::protocol::stash::Stash;
use crate::registry::{ClientEntry, Transport};
use crate::router::{Matches, Publisher};
use crate::tls::{Secured, chain};
use crate::websocket::Session;
use connect::Gate;
use permissions::Review;
pub use permissions::enforce;
use publish::LastLine;
use terms::Terms;

/// A client connection.
#[derive(Debug)]
pub struct Client {
    node: Arc<Node>,
    entry: Arc<ClientEntry>,
    subscriber: Arc<Subscriber>,
    /// How many clients there were when it came, with it.
    place: usize,
    account: Arc<Account>,
    /// It is counted as a client of that account.
    joined: bool,
    /// What is still to be removed of its subscriptions, after its end.
    leaving: Option<Box<Leaving>>,
    gate: Gate,
    /// What it was given to sign; empty when no key is asked for.
    nonce: String,
    /// What was agreed on, and cookies, when it came by WebSocket.
    session: Option<Box<Session>>,
    /// Whether a trusted proxy vouches for it.
    voucher: Voucher,
    /// What it may do; `None` is everything.
    permissions: Option<Arc<Permissions>>,
    /// What its JWT says of the connection.
    terms: Terms,
    options: Options,
    /// The JSON of its CONNECT: what a further one does not say is as it was.
    said: Box<[u8]>,
    bounds: Bounds,
    stash: Stash,
    rest: Rest,
    matches: Matches,
    last_line: LastLine,
    heartbeat: Heartbeat,
    connected: bool,
    /// It was told that the subject of what it publishes is wrong.
    complained: bool,
    /// The first PONG after CONNECT was sent, and the INFO that follows it.
    introduced: bool,
    /// The configuration that it was admitted under, or has looked at since.
    epoch: u64,
    /// What is still to be looked at since a reload.
    review: Option<Box<Review>>,
}

/// What CONNECT chose. Without CONNECT the reference's defaults hold.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of CONNECT")]
struct Options {
    verbose: bool,
    pedantic: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    /// It understands repeated INFO.
    repeated_info: bool,
}

impl From<&Connect> for Options {
    fn from(connect: &Connect) -> Self {
        Self {
            verbose: connect.verbose,
            pedantic: connect.pedantic,
            echo: connect.echo,
            headers: connect.headers,
            no_responders: connect.no_responders,
            repeated_info: connect.protocol >= 1,
        }
    }
}

impl Client {
    /// Makes the state of a connection that was just accepted.
    #[must_use]
    pub fn new(node: Arc<Node>, peer: SocketAddr, outbound: Arc<Outbound>) -> Self {
        Self::carried_by(Transport::Tcp, node, peer, outbound)
    }

    /// The same for one that was upgraded to a WebSocket.
    #[must_use]
    pub fn by_websocket(
        node: Arc<Node>,
        peer: SocketAddr,
        outbound: Arc<Outbound>,
        session: Session,
        secured: Option<Secured>,
    ) -> Self {
        let transport = Transport::Websocket { forwarded_for: session.forwarded_for.clone() };
        let client = Self::carried_by(transport, node, peer, outbound);
        if let Some(secured) = secured {
            client.entry.note_secured(secured);
        }
        Self { session: Some(Box::new(session)), ..client }
    }

    fn carried_by(
        transport: Transport,
        node: Arc<Node>,
        peer: SocketAddr,
        outbound: Arc<Outbound>,
    ) -> Self {
        let id = outbound.id;
        let subscriber = Arc::new(Subscriber::new(outbound));
        let config = node.config();
        let limits = &config.limits;
        let own_interval = config.websocket.as_ref().and_then(|held| held.ping_interval);
        let interval =
            own_interval.filter(|_| transport.is_websocket()).unwrap_or(limits.ping_interval);
        let heartbeat = Heartbeat::of_client(Instant::now(), interval, limits.ping_max);
        let entry = ClientEntry::new(id, peer, Arc::clone(&subscriber)).carried_by(transport);
        let entry = Arc::new(entry);
        let owner: Weak<ClientEntry> = Arc::downgrade(&entry);
        subscriber.belongs_to(owner);
        Self {
            entry,
            subscriber,
            place: 0,
            account: Arc::clone(&node.accounts.global),
            joined: false,
            leaving: None,
            gate: Gate::Open,
            nonce: String::new(),
            session: None,
            voucher: Voucher::None,
            permissions: None,
            terms: Terms::default(),
            options: Options::from(&Connect::default()),
            said: Box::default(),
            bounds: node.client_bounds(),
            stash: Stash::new(),
            rest: Rest::default(),
            matches: Matches::default(),
            last_line: LastLine::default(),
            heartbeat,
            connected: false,
            complained: false,
            introduced: false,
            epoch: node.epoch(),
            review: None,
            node,
        }
    }

    /// TLS as services are told of it; certificates only where there may be such a service.
    fn tls_facts(&self, secured: &Secured) -> TlsFacts {
        let transport = &self.entry.transport;
        let asks = self.node.trust.is_some() || self.node.auth_of(transport).callout().is_some();
        let setup = match transport {
            Transport::Tcp => self.node.client_tls(),
            Transport::Websocket { .. } => self.node.websocket_tls(),
        };
        let chain = setup.filter(|_| asks).map(|setup| chain(&secured.chain, &setup.authorities));
        TlsFacts {
            version: secured.version.to_owned(),
            cipher: secured.cipher.clone(),
            chain: chain.unwrap_or_default(),
        }
    }

    /// What holds now: a reload, or becoming somebody, may have changed it.
    fn refresh_bounds(&mut self) {
        let mut bounds = self.node.client_bounds();
        let of_account = self.account.limits().max_payload.map(|most| most as usize);
        for most in [of_account, self.terms.max_payload].into_iter().flatten() {
            bounds.payload_max = bounds.payload_max.min(most);
        }
        self.bounds = bounds;
    }

    fn send(&self, bytes: &[u8], publisher: &mut Publisher) {
        publisher.send(&self.subscriber.outbound, bytes);
    }

    fn send_error(&self, text: &str, publisher: &mut Publisher) {
        if log::tracing_wire() {
            wire::op(&self.entry.label(), Way::Out, &format!("-ERR {text}"));
        }
        self.send(error::line(text).as_bytes(), publisher);
    }

    fn send_ok_if_verbose(&self, publisher: &mut Publisher) {
        if self.options.verbose {
            if log::tracing_wire() {
                wire::op(&self.entry.label(), Way::Out, "OK");
            }
            self.send(b"+OK\r\n", publisher);
        }
    }

    fn on_op(
        &mut self,
        op: &ClientOp<'_>,
        input: &[u8],
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        match *op {
            ClientOp::Publish(ref message, line_len) => {
                self.on_publish(message, input.get(..line_len), frame, publisher);
            }
            ClientOp::Subscribe { subject, queue, sid } => {
                self.on_subscribe(subject, queue, sid, publisher);
            }
            ClientOp::Unsubscribe { sid, max } => self.on_unsubscribe(sid, max, publisher),
            ClientOp::Connect(json) => self.on_connect(json, publisher)?,
            ClientOp::Ping => self.on_ping(publisher),
            ClientOp::Pong => {
                if let Some(rtt) = self.heartbeat.answered(Instant::now()) {
                    self.entry.vitals.note_rtt(rtt);
                }
            }
            ClientOp::Info(json) => {
                Info::parse(json).map_err(|error| self.not_understood(&error.to_string()))?;
            }
            ClientOp::Ignored => {}
        }
        Ok(())
    }

    fn log_op(&self, op: &ClientOp<'_>, input: &[u8]) {
        let label = self.entry.label();
        wire::op_in(&label, input);
        if let ClientOp::Publish(message, _) = op {
            wire::payload(&label, Way::In, message.body, message.header_len);
        }
    }

    fn on_ping(&mut self, publisher: &mut Publisher) {
        if log::tracing_wire() {
            wire::op(&self.entry.label(), Way::Out, "PONG");
        }
        self.send(b"PONG\r\n", publisher);
        // With the first PING, or never: a client may say later that it takes INFO (nats-server).
        if self.connected && !self.introduced {
            self.introduced = true;
            if self.options.repeated_info {
                self.introduce(publisher);
            }
        }
    }

    /// Tells the peer what it must be told, and why the connection ends.
    fn on_parse_error(
        &mut self,
        error: &ParseError,
        input: &[u8],
        publisher: &mut Publisher,
    ) -> CloseReason {
        // As the reference cuts it: not the last byte that came.
        let start = input.get(..input.len().saturating_sub(1).min(32)).unwrap_or_default();
        match error {
            ParseError::UnknownOperation => {
                if self.options.pedantic {
                    self.complain_early(input, publisher);
                }
                self.send_error(error::UNKNOWN_PROTOCOL_OPERATION, publisher);
                self.log_error(&format!(
                    "Client parser ERROR, state=0, i=0: proto='{}...'",
                    error::quoted(start)
                ));
                CloseReason::ProtocolViolation
            }
            ParseError::ControlLine => {
                self.send_error(error::MAX_CONTROL_LINE, publisher);
                self.log_error(error::MAX_CONTROL_LINE);
                CloseReason::MaxControlLineExceeded
            }
            ParseError::Payload { .. } => {
                self.send_error(error::MAX_PAYLOAD, publisher);
                self.log_error(&error.to_string());
                CloseReason::MaxPayloadExceeded
            }
            ParseError::Arguments(text) => self.not_understood(text),
            ParseError::PeerReported(text) => {
                self.log_error(&format!("Client Error {text}"));
                CloseReason::ParseError
            }
        }
    }

    /// Arguments are wrong: the peer is not told.
    fn not_understood(&self, text: &str) -> CloseReason {
        self.log_error(text);
        CloseReason::ProtocolViolation
    }

    fn log_error(&self, text: &str) {
        tracing::error!("{} - {text}", self.entry.label());
    }
}

impl Ops for Client {
    fn rest(&mut self) -> &mut Rest {
        &mut self.rest
    }

    fn stash(&mut self) -> &mut Stash {
        &mut self.stash
    }

    fn admits(&mut self, input: &[u8], publisher: &mut Publisher) -> Result<bool, CloseReason> {
        Ok(self.gate.is_open() || self.pass_gate(input, publisher)?)
    }

    fn step(
        &mut self,
        input: &[u8],
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<Progress, CloseReason> {
        if let Some(progress) = self.repeat_last_line(input, frame, publisher)? {
            return Ok(progress);
        }
        match parse(input, &self.bounds, self.options.headers) {
            Ok(Step::Op(ClientOp::Connect(json), _)) if self.still_leaves(json, publisher) => {
                Ok(Progress::Again)
            }
            Ok(Step::Op(ref op, used)) => {
                if log::tracing_wire() {
                    self.log_op(op, input);
                }
                self.on_op(op, input, frame, publisher)?;
                Ok(Progress::Done(used))
            }
            Ok(Step::More(need)) => {
                if self.options.pedantic && matches!(need, Need::Bytes(_)) {
                    self.complain_early(input, publisher);
                }
                Ok(Progress::More(need))
            }
            Err(ref error) => Err(self.on_parse_error(error, input, publisher)),
        }
    }
}

impl Conversation for Client {
    fn outbound(&self) -> &Arc<Outbound> {
        &self.subscriber.outbound
    }

    fn on_begin(&mut self) {
        self.place = self.node.registry.add(&self.entry);
        if log::debugging() {
            tracing::debug!("{} - Client connection created", self.entry.label());
        }
    }

    fn on_open(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        self.greet(publisher)
    }

    fn on_secured(&mut self, secured: Secured) -> Result<(), CloseReason> {
        if log::debugging() {
            secured.log(&self.entry.label());
        }
        self.entry.note_secured(secured);
        self.gate.restart(self.node.config().limits.auth_timeout);
        Ok(())
    }

    fn on_insecure(&mut self, error: &std::io::Error) {
        let label = self.entry.label();
        match error.kind() {
            ErrorKind::TimedOut => tracing::debug!("{label} - {error}"),
            ErrorKind::InvalidData => tracing::debug!("{label} - TLS handshake error: {error}"),
            _ => tracing::error!("{label} - TLS handshake error: {error}"),
        }
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
        self.refresh_bounds();
        if self.epoch != self.node.epoch() && self.still_looks_again(publisher) {
            self.put_off(input);
            return Ok(());
        }
        self.take_in(input, lent, publisher)
    }

    fn on_slow(&mut self, _is_first: bool) {
        self.node.registry.note_slow(&self.entry);
    }

    fn notice(&self, text: &str) {
        tracing::info!("{} - {text}", self.entry.label());
    }

    fn on_broken(&mut self, text: &str) {
        self.log_error(&format!("read error: {text}"));
    }

    fn payload_max(&self) -> usize {
        self.bounds.payload_max
    }

    fn left(&self) -> usize {
        self.rest.waiting()
    }

    fn go_on(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if self.review.is_some() && self.still_looks_again(publisher) {
            return Ok(());
        }
        self.take_in_rest(publisher)
    }

    fn read_into(&mut self) -> Option<(&mut BytesMut, usize)> {
        self.stash.missing(SHARED_BODY_BYTES)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.gate, Gate::Waiting(_))
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
        let next = self.heartbeat.next();
        let others = self.gate.deadline().into_iter().chain(self.terms.until);
        Some(others.fold(next, Instant::min))
    }

    fn on_deadline(&mut self, now: Instant, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if self.gate.deadline().is_some_and(|until| until <= now) {
            return Err(self.give_up(publisher));
        }
        if self.terms.until.is_some_and(|until| until <= now) {
            return Err(self.expire(publisher));
        }
        match self.heartbeat.beat(now) {
            Beat::Ping if !self.gate.is_open() => Ok(()),
            Beat::Nothing => Ok(()),
            Beat::Ping => {
                if log::tracing_wire() {
                    wire::op(&self.entry.label(), Way::Out, "PING");
                }
                self.send(b"PING\r\n", publisher);
                Ok(())
            }
            Beat::Stale => {
                self.send_error(error::STALE_CONNECTION, publisher);
                Err(CloseReason::StaleConnection)
            }
        }
    }

    fn on_close(&mut self, reason: CloseReason, publisher: &mut Publisher) {
        self.node.registry.remove(&self.entry, reason);
        // Unless a further CONNECT is just ending them.
        self.leaving.get_or_insert_with(|| Box::new(self.subscriber.take_all()));
        self.wind_down(publisher);
        self.leave_account();
        if log::debugging() {
            tracing::debug!("{} - Client connection closed: {reason}", self.entry.label());
        }
    }

    fn wind_down(&mut self, publisher: &mut Publisher) -> bool {
        let Some(mut leaving) = self.leaving.take() else { return false };
        let most = LEAVING_AT_ONCE.div_ceil(self.account.reach());
        for subscription in leaving.by_ref().take(most) {
            self.drop_subscription(&subscription, publisher);
        }
        if leaving.len() > 0 {
            self.leaving = Some(leaving);
        }
        self.leaving.is_some()
    }
}

#[cfg(test)]
mod tests;
