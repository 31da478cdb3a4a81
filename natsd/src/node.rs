//! What all connections of this server share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use nkeys::{KeyPair, XKey};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::account::{Account, Accounts};
use crate::auth::Authenticator;
use crate::config::Config;
use crate::config::nkey::{Kind, is_public};
use crate::discovery::Discovery;
use crate::errand::Errands;
#[cfg(test)]
use crate::protocol::info::Info;
use crate::protocol::line::Bounds;
use crate::registry::{Registry, Transport};
use crate::router::Trace;
use crate::throttle::Throttle;
use crate::tls::TlsSetup;
use crate::trust::Trust;
use crate::verifier::Verifier;

/// The version that clients and peers are told. Official clients switch features on by it, so
/// it names the nats-server whose protocol this is; natsd's own version is the build metadata.
pub const VERSION: &str = concat!("2.15.1+natsd.", env!("CARGO_PKG_VERSION"));
/// The value of INFO's `go`, where nats-server names its compiler.
pub const TOOLCHAIN: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));

/// Seven digits of the commit that natsd was built from, if the build was told by
/// `NATSD_GIT_COMMIT`.
pub const GIT_COMMIT: Option<&str> = option_env!("NATSD_GIT_COMMIT");

/// Who this server is, for the life of the process.
#[derive(Debug)]
pub struct Identity {
    /// Server id: a public nkey, new at every start.
    pub id: String,
    /// Configured name, or the id.
    pub name: String,
    /// When it started.
    pub started: Timestamp,
    /// The same, on the clock that never jumps.
    pub started_at: Instant,
}

/// What a server signs and encrypts with, for the life of the process.
pub struct ServerKeys {
    /// Its public part is the server's id.
    pub sign: KeyPair,
    /// For what only this server may read.
    pub curve: XKey,
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// What all connections of this server share.
#[derive(Debug)]
pub struct Node {
    /// Who this server is.
    pub identity: Identity,
    /// Subject spaces.
    pub accounts: Accounts,
    /// Live and closed clients.
    pub registry: Registry,
    /// What clients are told.
    pub discovery: Discovery,
    /// Slow checks of passwords.
    pub verifier: Verifier,
    /// Addresses whose logins failed.
    throttle: Throttle,
    /// What clients wait for that takes longer.
    pub errands: Errands,
    /// Whom this server trusts to issue accounts, in operator mode.
    pub trust: Option<Trust>,
    /// What this server signs and encrypts with.
    pub keys: Option<ServerKeys>,
    auth: ArcSwap<Authenticator>,
    websocket_auth: ArcSwap<Authenticator>,
    tls: TlsSetups,
    config: ArcSwap<Config>,
    config_loaded: ArcSwap<Timestamp>,
    ids: AtomicU64,
    route_ids: AtomicU64,
    /// Where reports of traced messages are published from.
    reports: OnceLock<mpsc::Sender<Box<Trace>>>,
    /// Events of traces that wait there.
    reported_events: AtomicUsize,
    /// Counts reloads.
    epoch: AtomicU64,
    lame_duck: AtomicBool,
}

/// Certificates and all that goes with them, as they were last read.
#[derive(Debug, Default)]
struct TlsSetups {
    clients: ArcSwapOption<TlsSetup>,
    websocket: ArcSwapOption<TlsSetup>,
    monitoring: ArcSwapOption<TlsSetup>,
    routes: ArcSwapOption<TlsSetup>,
}

/// A control line on a route may be this much longer than one of a client (nats-server 2.15).
const ROUTE_CONTROL_LINE_FACTOR: usize = 16;

/// So many events of traces wait at most to be reported, some 100 bytes each; a single trace may
/// have more.
const REPORTED_EVENTS_MAX: usize = 100_000;

impl Node {
    /// Makes the shared part of a server.
    #[must_use]
    pub fn new(identity: Identity, config: Config, discovery: Discovery) -> Self {
        Self {
            config_loaded: ArcSwap::from_pointee(identity.started),
            identity,
            accounts: Accounts::configured(&config),
            registry: Registry::new(config.limits.max_closed_clients),
            discovery,
            verifier: Verifier::default(),
            throttle: Throttle::default(),
            errands: Errands::default(),
            trust: None,
            keys: None,
            tls: TlsSetups::default(),
            auth: ArcSwap::from_pointee(Authenticator::new(&config)),
            websocket_auth: ArcSwap::from_pointee(Authenticator::for_websocket(&config)),
            config: ArcSwap::from_pointee(config),
            // nats-server's first client is number 5, after four internal ones.
            ids: AtomicU64::new(5),
            route_ids: AtomicU64::new(5),
            reports: OnceLock::new(),
            reported_events: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            lame_duck: AtomicBool::new(false),
        }
    }

    /// The account that a peer names. Where accounts are fetched when they are needed, interest
    /// of peers is kept for one that is not known here yet.
    #[must_use]
    pub fn account_of_peer(&self, name: &[u8]) -> Option<Arc<Account>> {
        let known = self.accounts.find(name);
        if known.is_some() || self.trust.is_none() {
            return known;
        }
        let resolver = &self.config.load().operators.resolver;
        let fetches = !matches!(resolver, None | Some(crate::config::Resolver::Memory));
        let name = std::str::from_utf8(name).ok().filter(|name| is_public(name, Kind::Account))?;
        fetches.then(|| self.accounts.known_or_new(name))
    }

    /// The configuration now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Whether somebody from there is heard: logins of one address may fail so often only.
    #[must_use]
    pub fn hears(&self, from: IpAddr) -> bool {
        match &self.config.load().limits.failed_logins {
            None => true,
            Some(terms) => self.throttle.hears(terms, from, Instant::now()),
        }
    }

    /// A login from there failed.
    pub fn note_failed_login(&self, from: IpAddr) {
        if let Some(terms) = &self.config.load().limits.failed_logins {
            self.throttle.note_failure(terms, from, Instant::now());
        }
    }

    /// TLS of client connections, if they have it.
    #[must_use]
    pub fn client_tls(&self) -> Option<Arc<TlsSetup>> {
        self.tls.clients.load_full()
    }

    /// TLS of routes, if they have it.
    #[must_use]
    pub fn route_tls(&self) -> Option<Arc<TlsSetup>> {
        self.tls.routes.load_full()
    }

    /// New connections use these certificates from now on.
    pub fn set_tls(&self, clients: Option<TlsSetup>, routes: Option<TlsSetup>) {
        self.tls.clients.store(clients.map(Arc::new));
        self.tls.routes.store(routes.map(Arc::new));
    }

    /// TLS of WebSocket clients, if they have it.
    #[must_use]
    pub fn websocket_tls(&self) -> Option<Arc<TlsSetup>> {
        self.tls.websocket.load_full()
    }

    /// The same for WebSocket clients.
    pub fn set_websocket_tls(&self, setup: Option<TlsSetup>) {
        self.tls.websocket.store(setup.map(Arc::new));
    }

    /// TLS of monitoring, if it has it.
    #[must_use]
    pub fn monitoring_tls(&self) -> Option<Arc<TlsSetup>> {
        self.tls.monitoring.load_full()
    }

    /// The same for monitoring.
    pub fn set_monitoring_tls(&self, setup: Option<TlsSetup>) {
        self.tls.monitoring.store(setup.map(Arc::new));
    }

    /// Everybody who may connect now.
    #[must_use]
    pub fn auth(&self) -> Arc<Authenticator> {
        self.auth.load_full()
    }

    /// Everybody who may connect now by this transport.
    #[must_use]
    pub fn auth_of(&self, transport: &Transport) -> Arc<Authenticator> {
        match transport {
            Transport::Tcp => self.auth.load_full(),
            Transport::Websocket { .. } => self.websocket_auth.load_full(),
        }
    }

    /// Replaces the configuration (reload).
    pub fn set_config(&self, config: Config) {
        self.auth.store(Arc::new(Authenticator::new(&config)));
        self.websocket_auth.store(Arc::new(Authenticator::for_websocket(&config)));
        self.config.store(Arc::new(config));
        self.config_loaded.store(Arc::new(Timestamp::now()));
    }

    /// From now on reports of traced messages are published.
    pub fn publish_reports(&self, publisher: mpsc::Sender<Box<Trace>>) {
        drop(self.reports.set(publisher));
    }

    /// Hands over what became of a traced message. What does not fit the queue is not reported,
    /// nor is anything without a system account.
    pub fn report(&self, trace: Box<Trace>) {
        let Some(reports) = self.reports.get() else { return };
        let count = trace.events.len();
        let waiting = self.reported_events.fetch_add(count, Ordering::Relaxed);
        let fits = waiting == 0 || waiting + count <= REPORTED_EVENTS_MAX;
        if !fits || reports.try_send(trace).is_err() {
            self.note_reported(count);
        }
    }

    /// So many events of a trace wait no more.
    pub fn note_reported(&self, events: usize) {
        self.reported_events.fetch_sub(events, Ordering::Relaxed);
    }

    /// Clients look at what they are entitled to again, before they are read on.
    pub fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Changes when clients may be entitled to something else than before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// When the configuration was read.
    #[must_use]
    pub fn config_loaded(&self) -> Timestamp {
        **self.config_loaded.load()
    }

    /// What the parser enforces on clients now.
    #[must_use]
    pub fn client_bounds(&self) -> Bounds {
        let config = self.config.load();
        Bounds {
            control_line_max: config.limits.max_control_line,
            payload_max: config.limits.max_payload,
        }
    }

    /// What the parser enforces on peers now: payloads are not bounded there.
    #[must_use]
    pub fn route_bounds(&self) -> Bounds {
        let control_line_max = self.config.load().limits.max_control_line;
        Bounds {
            control_line_max: control_line_max * ROUTE_CONTROL_LINE_FACTOR,
            payload_max: usize::MAX,
        }
    }

    /// An id that no client has had before (`cid`).
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The same of routes (`rid`). They are counted apart, unlike nats-server's: how many there
    /// were when a mesh has formed is chance, and people compare the numbers of clients.
    #[must_use]
    pub fn next_route_id(&self) -> u64 {
        self.route_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on clients are moved away; false when that was so already.
    pub fn enter_lame_duck(&self) -> bool {
        !self.lame_duck.swap(true, Ordering::AcqRel)
    }

    /// Whether clients are being moved away.
    #[must_use]
    pub fn is_lame_duck(&self) -> bool {
        self.lame_duck.load(Ordering::Acquire)
    }
}

#[cfg(test)]
impl Node {
    /// A server without sockets.
    pub(crate) fn on_paper(config: Config) -> Arc<Self> {
        let identity = Identity {
            id: "NTEST".into(),
            name: "test".into(),
            started: Timestamp::now(),
            started_at: Instant::now(),
        };
        Arc::new(Self::new(identity, config, Discovery::new(Info::default(), Vec::new(), false)))
    }
}
