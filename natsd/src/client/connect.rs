//! Greeting, CONNECT, and the INFO that follows the first PONG.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use std::time::Duration;

use tokio::time::Instant;

use super::consider::{Stage, Step};
use super::terms::Terms;
use super::{Client, Options};
use crate::account::Account;
use crate::auth::{Authenticator, Credentials, Identity, Judgement, Proof, Voucher};
use crate::close::CloseReason;
use crate::config::ConnectionType;
use crate::protocol::error;
use crate::protocol::info::{Connect, InfoEnd};
use crate::registry::{About, Transport};
use crate::router::Publisher;
use crate::tls::{Certificate, Secured};
use crate::websocket::Cookies;

/// How often a client is judged while what it is judged by changes under its feet.
const JUDGED_MAX: usize = 8;

/// What a client may do before it is known.
#[derive(Debug)]
pub(super) enum Gate {
    /// Everything: it is known, or nobody is asked.
    Open,
    /// Only to say CONNECT, and that until this time.
    Shut(Instant),
    /// Nothing until something is found out.
    Waiting(Box<Waiting>),
}

/// A client about whom something must be found out first.
#[derive(Debug)]
pub(super) struct Waiting {
    until: Instant,
    stage: Stage,
    judge: Arc<Authenticator>,
    connect: Connect,
    /// What it sent behind its CONNECT: at most one read, since nothing more is read meanwhile.
    held: Vec<u8>,
}

impl Gate {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// The clock of somebody unknown starts anew: only now can it say who it is.
    pub(super) fn restart(&mut self, patience: Duration) {
        if let Self::Shut(until) = self {
            *until = Instant::now() + patience;
        }
    }

    /// When patience ends.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Shut(until) => Some(*until),
            Self::Waiting(waiting) => Some(waiting.until),
        }
    }
}

impl Client {
    /// INFO, the first bytes of every connection.
    pub(super) fn greet(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        let config = self.node.config();
        let auth = self.node.auth_of(&self.entry.transport);
        let mut info = self.node.discovery.info_for(&self.entry);
        let trusts = self.node.trust.is_some();
        let mut has_room = true;
        if auth.required() || trusts {
            self.gate = Gate::Shut(Instant::now() + self.auth_timeout());
            // Observed: a WebSocket client is asked for credentials though it may have none.
            info.auth_required = trusts
                || match self.entry.transport {
                    Transport::Tcp => !auth.admits_strangers(),
                    Transport::Websocket { .. } => !auth.is_open(),
                };
        } else {
            has_room = self.join(Arc::clone(&self.node.accounts.global));
        }
        if auth.wants_nonce() || trusts {
            self.nonce = new_nonce();
            info.nonce.clone_from(&self.nonce);
        }
        self.send(&info.to_line(InfoEnd::Spaced), publisher);
        if !has_room {
            self.log_error(error::MAX_ACCOUNT_CONNECTIONS);
            self.send_error(error::MAX_ACCOUNT_CONNECTIONS, publisher);
            return Err(CloseReason::MaxAccountConnectionsExceeded);
        }
        let most = config.limits.max_connections;
        if most.is_some_and(|most| self.place > most) {
            self.send_error(error::MAX_CONNECTIONS, publisher);
            if self.node.registry.logs_full() {
                self.log_error(error::MAX_CONNECTIONS);
            }
            return Err(CloseReason::MaxConnectionsExceeded);
        }
        Ok(())
    }

    /// How long a client may take to say who it is.
    fn auth_timeout(&self) -> Duration {
        let config = self.node.config();
        let own = config.websocket.as_ref().and_then(|websocket| websocket.auth_timeout);
        own.filter(|_| self.entry.transport.is_websocket()).unwrap_or(config.limits.auth_timeout)
    }

    /// Somebody unknown says something: only CONNECT will do, unless strangers are somebody.
    /// True when the input is to be read on now.
    pub(super) fn pass_gate(
        &mut self,
        input: &[u8],
        publisher: &mut Publisher,
    ) -> Result<bool, CloseReason> {
        match &mut self.gate {
            Gate::Open => Ok(true),
            Gate::Waiting(waiting) => {
                waiting.held.extend_from_slice(input);
                Ok(false)
            }
            Gate::Shut(_) if matches!(input.first(), Some(b'C' | b'c')) => Ok(true),
            Gate::Shut(_) if self.node.trust.is_some() => {
                Err(self.refuse(&Connect::default(), publisher))
            }
            Gate::Shut(_) => {
                let stranger = Connect::default();
                let judge = self.node.auth_of(&self.entry.transport);
                match judge.judge(&self.credentials(&stranger)) {
                    Judgement::Admitted(identity) => {
                        self.admit(&judge, &identity, &stranger, publisher)?;
                        self.connected = true; // a CONNECT is a further one (nats-server)
                        Ok(true)
                    }
                    _ => Err(self.refuse(&stranger, publisher)),
                }
            }
        }
    }

    /// The client says who it is and how it wants to be served; it may say so again.
    pub(super) fn on_connect(
        &mut self,
        json: &[u8],
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let mut connect =
            self.read_connect(json).map_err(|error| self.not_understood(&error.to_string()))?;
        if let Some(session) = &self.session {
            complete(&mut connect, &session.cookies);
        }
        self.last_line.forget();
        self.set_about(&connect, None);
        if !self.node.hears(self.entry.peer.ip()) {
            return Err(self.turn_away(&connect, publisher));
        }
        let judge = self.node.auth_of(&self.entry.transport);
        self.voucher = judge.voucher(&connect.proxy_sig, &self.nonce);
        if self.voucher == Voucher::Void {
            tracing::debug!("{} - proxy is not trusted", self.entry.label());
            self.refuse(&connect, publisher);
            return Err(CloseReason::ProxyNotTrusted);
        }
        let step = self.first_step(&judge, &connect);
        self.take(step, judge, connect, publisher)
    }

    /// Whether a CONNECT can be read.
    pub(super) fn can_read(&self, json: &[u8]) -> bool {
        self.said_with(json).is_ok()
    }

    fn read_connect(&mut self, json: &[u8]) -> Result<Connect, serde_json::Error> {
        let (connect, said) = self.said_with(json)?;
        self.said = said.into();
        Ok(connect)
    }

    /// What it has said with this CONNECT, and the JSON of that.
    fn said_with(&self, json: &[u8]) -> Result<(Connect, Vec<u8>), serde_json::Error> {
        if self.said.is_empty() {
            return Ok((Connect::parse(json)?, json.to_vec()));
        }
        Connect::parse_over(&self.said, json)
    }

    /// Goes on with a client about whom something was found out.
    pub(super) fn on_answer(
        &mut self,
        cx: &mut Context<'_>,
        publisher: &mut Publisher,
    ) -> Poll<Result<Vec<u8>, CloseReason>> {
        let Gate::Waiting(waiting) = &mut self.gate else { return Poll::Ready(Ok(Vec::new())) };
        let found = ready!(waiting.stage.poll(cx));
        let until = waiting.until;
        let Gate::Waiting(waiting) = std::mem::replace(&mut self.gate, Gate::Shut(until)) else {
            return Poll::Ready(Ok(Vec::new()));
        };
        let Waiting { judge, connect, held, .. } = *waiting;
        // Of all who tried at the same time the first ones may fail; the others learn nothing.
        if !self.node.hears(self.entry.peer.ip()) {
            return Poll::Ready(Err(self.turn_away(&connect, publisher)));
        }
        let step = self.next_step(found, &judge, &connect);
        if let Err(reason) = self.take(step, judge, connect, publisher) {
            return Poll::Ready(Err(reason));
        }
        if let Gate::Waiting(waiting) = &mut self.gate {
            waiting.held = held;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(held))
    }

    /// Lets the client in, sends it away, or has something found out first.
    pub(super) fn take(
        &mut self,
        step: Step,
        judge: Arc<Authenticator>,
        connect: Connect,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let until = self.gate.deadline().unwrap_or_else(|| Instant::now() + self.auth_timeout());
        let mut step = step;
        for _ in 0..JUDGED_MAX {
            match step {
                Step::In(identity) => {
                    self.admit(&judge, &identity, &connect, publisher)?;
                    if self.is_judged_by_what_holds(&identity) {
                        return self.connect(&connect, publisher);
                    }
                    self.take_back(&connect, until);
                    step = self.first_step(&judge, &connect);
                }
                Step::Out(reason) => {
                    self.refuse(&connect, publisher);
                    return Err(reason);
                }
                Step::Wait(stage) => {
                    let held = Vec::new();
                    let waiting = Waiting { until, stage, judge, connect, held };
                    self.gate = Gate::Waiting(Box::new(waiting));
                    return Ok(());
                }
            }
        }
        Err(self.refuse(&connect, publisher))
    }

    /// Whether the account says still what it said when the client was judged.
    ///
    /// Whoever changes claims first puts them in their place and then looks at those who are
    /// registered as members; a client first registers and then looks at the claims. So one of
    /// both sees the other, always.
    fn is_judged_by_what_holds(&self, identity: &Identity) -> bool {
        let Some(grant) = &identity.grant else { return true };
        match (&self.node.trust, self.account.claims()) {
            (Some(trust), Some(claims)) => {
                let served = identity.proof != Proof::Jwt || trust.serves(&self.account.name);
                served && claims.jwt == grant.account_jwt
            }
            (trust, _) => trust.is_none(),
        }
    }

    /// The client is nobody again: what it was let in for holds no more.
    fn take_back(&mut self, connect: &Connect, until: Instant) {
        self.leave_account();
        self.permissions = None;
        self.terms = Terms::default();
        self.set_about(connect, None);
        self.gate = Gate::Shut(until);
    }

    /// Serves the client, which is somebody now, on the terms of its CONNECT.
    fn connect(&mut self, connect: &Connect, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if !connect.account.is_empty() || connect.new_account {
            return Err(self.refuse(connect, publisher));
        }
        if !self.connected {
            self.entry.introduce(&self.login(connect));
        }
        self.check(connect, publisher)?;
        self.connected = true;
        self.options = Options::from(connect);
        self.options.headers &= self.node.config().headers;
        self.subscriber.set_headers(self.options.headers);
        if self.entry.vitals.rtt_nanos() == 0 {
            // A first estimate until a PONG measures it, as the reference makes it: the way of
            // INFO out and of CONNECT back.
            self.entry.vitals.note_rtt(self.entry.vitals.started_at.elapsed());
        }
        self.node.registry.connected(&self.entry);
        self.send_ok_if_verbose(publisher);
        Ok(())
    }

    /// By what it came.
    pub(super) fn kind(&self) -> ConnectionType {
        match self.entry.transport {
            Transport::Tcp => ConnectionType::Standard,
            Transport::Websocket { .. } => ConnectionType::Websocket,
        }
    }

    pub(super) const fn is_by_proxy(&self) -> bool {
        matches!(self.voucher, Voucher::Trusted(_))
    }

    fn proxy(&self) -> Option<&Arc<str>> {
        match &self.voucher {
            Voucher::Trusted(key) => Some(key),
            Voucher::None | Voucher::Void => None,
        }
    }

    /// What it showed when TLS was agreed on.
    fn certificate(&self) -> Option<&Certificate> {
        self.entry.secured().and_then(Secured::certificate)
    }

    pub(super) fn credentials<'a>(&'a self, connect: &'a Connect) -> Credentials<'a> {
        Credentials {
            user: &connect.user,
            password: &connect.pass,
            token: &connect.auth_token,
            nkey: &connect.nkey,
            signature: &connect.sig,
            jwt: &connect.jwt,
            nonce: &self.nonce,
            kind: self.kind(),
            by_proxy: self.is_by_proxy(),
            certificate: self.certificate().map(|held| &held.names),
        }
    }

    /// Binds the client to what it turned out to be.
    fn admit(
        &mut self,
        judge: &Arc<Authenticator>,
        identity: &Identity,
        connect: &Connect,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let account = match identity.account.as_deref() {
            None => Some(Arc::clone(&self.node.accounts.global)),
            Some(name) => self.node.accounts.find(name.as_bytes()),
        };
        let Some(account) = account else {
            return Err(self.refuse(connect, publisher));
        };
        if !self.is_joined_to(&account) && !self.join(Arc::clone(&account)) {
            self.set_about(connect, Some(identity));
            self.entry.set_about(About { account: Some(account), ..self.entry.about() });
            self.log_error(error::MAX_ACCOUNT_CONNECTIONS);
            self.send_error(error::MAX_ACCOUNT_CONNECTIONS, publisher);
            return Err(CloseReason::MaxAccountConnectionsExceeded);
        }
        let responses = identity.permissions.as_ref().and_then(|held| held.responses());
        self.subscriber.restrict(responses.copied(), None);
        self.permissions.clone_from(&identity.permissions);
        self.terms = Terms::of(identity);
        self.refresh_bounds();
        self.set_about(connect, Some(identity));
        // A reload looks at those who are in; whoever was on the way looks for itself.
        let now = self.node.auth_of(&self.entry.transport);
        let lost = self.proxy().is_some_and(|key| !now.trusts_proxy(key));
        if !Arc::ptr_eq(judge, &now) && (lost || !now.keeps(judge, identity)) {
            return Err(self.refuse(connect, publisher));
        }
        self.gate = Gate::Open;
        self.last_line.forget();
        Ok(())
    }

    /// What monitoring and the log say of the client.
    fn set_about(&self, connect: &Connect, identity: Option<&Identity>) {
        let account = identity.and_then(|_| self.joined.then(|| Arc::clone(&self.account)));
        let user = identity.filter(|_| account.is_some()).map(user_of).unwrap_or_default();
        // Where nobody was asked, or somebody refused, what they claimed to be (nats-server).
        let claimed = || self.credentials(connect).claimed().to_owned();
        let user = if user.is_empty() { claimed() } else { user };
        self.entry.set_about(About {
            name: connect.name.clone(),
            lang: connect.lang.clone(),
            version: connect.version.clone(),
            user,
            identity: identity.cloned(),
            account,
            proxy: self.proxy().cloned(),
        });
    }

    /// Whom it turned out to be, as the log shows it.
    fn login(&self, connect: &Connect) -> String {
        let about = self.entry.about();
        let user = match &about.identity {
            Some(identity) if identity.proof == Proof::Token => "token".into(),
            Some(identity) if identity.proof != Proof::None => {
                let kind = match identity.proof {
                    Proof::Nkey => "nkey",
                    Proof::Jwt => "jwt",
                    _ => "user",
                };
                format!("{kind}:{}", about.user)
            }
            _ => self.credentials(connect).login(),
        };
        if user.is_empty() { user } else { format!("{}/{user}", self.account.name) }
    }

    /// A login failed.
    fn refuse(&self, connect: &Connect, publisher: &mut Publisher) -> CloseReason {
        self.node.note_failed_login(self.entry.peer.ip());
        self.turn_away(connect, publisher)
    }

    /// Sends somebody away who may have been right.
    fn turn_away(&self, connect: &Connect, publisher: &mut Publisher) -> CloseReason {
        let mut label = self.credentials(connect).label();
        if label.is_empty() && !connect.jwt.is_empty() && self.node.trust.is_some() {
            label = format!(" - JWT User {:?}", user_of_jwt(&connect.jwt));
        }
        self.log_error(&format!("authentication error{label}"));
        self.send_error(error::AUTHORIZATION_VIOLATION, publisher);
        CloseReason::AuthenticationFailure
    }

    /// Patience with somebody unknown has ended.
    pub(super) fn give_up(&self, publisher: &mut Publisher) -> CloseReason {
        tracing::debug!("{} - {}", self.entry.label(), error::AUTHENTICATION_TIMEOUT);
        self.send_error(error::AUTHENTICATION_TIMEOUT, publisher);
        CloseReason::AuthenticationTimeout
    }

    fn check(&self, connect: &Connect, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if !(0..=1).contains(&connect.protocol) {
            self.send_error(error::INVALID_CLIENT_PROTOCOL, publisher);
            self.log_error(error::INVALID_CLIENT_PROTOCOL);
            return Err(CloseReason::BadClientProtocolVersion);
        }
        if connect.no_responders && !(connect.headers && self.node.config().headers) {
            self.send_error(error::NO_RESPONDERS_REQUIRES_HEADERS, publisher);
            self.log_error(error::NO_RESPONDERS_REQUIRES_HEADERS);
            return Err(CloseReason::NoRespondersRequiresHeaders);
        }
        Ok(())
    }

    /// The INFO after the first PONG: tells the client its account; from now on it is told of
    /// every change of the cluster.
    pub(super) fn introduce(&self, publisher: &mut Publisher) {
        self.entry.start_taking_info();
        let mut info = self.node.discovery.info_for(&self.entry);
        info.connect_info = true;
        info.remote_account = self.account.name.to_string();
        info.acc_is_sys = Arc::ptr_eq(&self.account, &self.node.accounts.system);
        self.send(&info.to_line(InfoEnd::Spaced), publisher);
    }

    fn is_joined_to(&self, account: &Arc<Account>) -> bool {
        self.joined && Arc::ptr_eq(&self.account, account)
    }

    /// Becomes a member of an account; false when that may have no more.
    fn join(&mut self, account: Arc<Account>) -> bool {
        let welcome = account.take_in();
        if welcome {
            self.leave_account();
            self.account = account;
            self.joined = true;
        }
        welcome
    }

    pub(super) fn leave_account(&mut self) {
        if std::mem::take(&mut self.joined) {
            self.account.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The user as monitoring shows it.
fn user_of(identity: &Identity) -> String {
    match identity.proof {
        Proof::None => String::new(),
        Proof::User | Proof::Nkey | Proof::Jwt => identity.user.to_string(),
        Proof::Callout => {
            // The service may give it another name.
            let given = identity.grant.as_ref().map(|grant| grant.name.as_str());
            given.filter(|name| !name.is_empty()).unwrap_or(&identity.user).to_owned()
        }
        Proof::Token => "[REDACTED]".into(),
    }
}

/// The user that a JWT is about, whoever signed it.
fn user_of_jwt(jwt: &str) -> String {
    let user = crate::jwt::Token::<crate::jwt::User>::decode(jwt);
    user.map(|user| user.standard.subject).unwrap_or_default()
}

/// Credentials that the CONNECT of a WebSocket client lacks are those of its cookies.
fn complete(connect: &mut Connect, cookies: &Cookies) {
    for (said, cookie) in [
        (&mut connect.jwt, &cookies.jwt),
        (&mut connect.user, &cookies.user),
        (&mut connect.pass, &cookies.password),
        (&mut connect.auth_token, &cookies.token),
    ] {
        if said.is_empty() {
            said.clone_from(cookie);
        }
    }
}

/// What a client signs to show that it has a key: 11 random bytes in base64url.
fn new_nonce() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 11]>())
}
