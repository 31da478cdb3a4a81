//! What the server runs on: checked values with every default filled in.
//!
//! `conf/` reads the configuration grammar, `file/` turns a parsed file into these values,
//! `flags.rs` does the same for the command line; both fill a `Draft`, which `draft.rs` checks as
//! a whole. `reload.rs` says what may change while the server runs. Nothing here opens a socket,
//! and no text can make it panic. Defaults are those of nats-server 2.15. `main.rs` calls
//! [`flags::parse`]; natsctl uses the values to write configurations.

pub mod conf;
pub(crate) mod draft;
mod duration;
pub mod file;
pub mod flags;
mod jwt;
pub mod nkey;
pub mod reload;
mod secret;
mod security;
mod subjects;
mod url;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use duration::show as show_duration;
pub use secret::Secret;
pub use security::{
    Account, AccountLimits, Auth, AuthCallout, CertificatePair, ConnectionType, HandshakeFirst,
    Latency, Mapping, MappingDestination, MessageTrace, NkeyUser, Operators, PermissionSubject,
    Permissions, Proxies, Resolver, ResponsePermission, ResponseType, ServiceExport, ServiceImport,
    StreamExport, StreamImport, SubjectPermission, Tls, TlsVersion, User, Websocket,
};
pub use subjects::{MappingFault, untokenize};

/// Everything the server needs to know before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `server_name`; the server id is used when absent.
    pub server_name: Option<String>,
    /// Client listener.
    pub client: Listen,
    /// `client_advertise`: what clients are told instead of the listen address.
    pub client_advertise: Option<HostPort>,
    /// Bounds on clients.
    pub limits: Limits,
    /// Cluster listener and routes; `None` switches clustering off.
    pub cluster: Option<Cluster>,
    /// Monitoring listener.
    pub monitor: Option<Monitor>,
    /// Where and what to log.
    pub log: Log,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
    /// `ports_file_dir`.
    pub ports_file_dir: Option<PathBuf>,
    /// Lame duck timing.
    pub lame_duck: LameDuck,
    /// `no_header_support` negated.
    pub headers: bool,
    /// `cluster.name` as configured, known even where clustering is off.
    pub cluster_name: Option<String>,
    /// TLS on the client port.
    pub tls: Option<Tls>,
    /// `allow_non_tls`: clients may do without TLS although it is configured.
    pub allow_non_tls: bool,
    /// Who may connect, in the default account and in all others.
    pub auth: Auth,
    /// Configured accounts in the order of the file, without `$G`.
    pub accounts: Vec<Account>,
    /// Subject mappings of the default account.
    pub mappings: Vec<Mapping>,
    /// `system_account` as configured; `$SYS` when absent, unless `no_system_account`.
    pub system_account: Option<String>,
    /// `no_system_account`.
    pub no_system_account: bool,
    /// JWT operator mode.
    pub operators: Operators,
    /// WebSocket listener.
    pub websocket: Option<Websocket>,
    /// `proxies`.
    pub proxies: Proxies,
    /// `server_tags`, lower case, each once.
    pub tags: Vec<String>,
    /// `server_metadata`.
    pub metadata: BTreeMap<String, String>,
    /// First attempts to connect that are logged: the first and every n-th (3600).
    pub connect_error_reports: u32,
    /// The same for attempts after a connection was lost (1).
    pub reconnect_error_reports: u32,
    /// `disable_sublist_cache`.
    pub no_sublist_cache: bool,
    /// `prof_port`; 0 lets the system choose.
    pub profile_port: Option<u16>,
    /// `strict` and `--strict`: a warning about the configuration ends the start.
    pub strict: bool,
    /// Why the server cannot run although its configuration reads well. nats-server finds these
    /// while it starts: each is a [FTL] line, exit code 1.
    pub refusals: Vec<String>,
    /// The file this came from, for the banner and for reload.
    pub source: Option<Source>,
}

/// A listen address as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address (`0.0.0.0`).
    pub host: String,
    /// Port; 0 lets the system choose (`-1` in nats-server's notation).
    pub port: u16,
}

/// A host and a port, to be advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 0 means the one that the listener got.
    pub port: u16,
}

/// What to do when a peer does not take what is written in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteTimeout {
    /// Close clients, retry routes.
    #[default]
    Default,
    /// Close the connection.
    Close,
    /// Keep it as long as some bytes are taken.
    Retry,
}

/// Bounds on clients. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, headers included (1 MiB).
    pub max_payload: usize,
    /// Longest argument part of a control line (4096; routes have 16 times as much).
    pub max_control_line: usize,
    /// Most bytes waiting for one client before it is cut off (64 MiB).
    pub max_pending: usize,
    /// Most clients (65536); `Some(0)` admits none.
    pub max_connections: Option<usize>,
    /// Most subscriptions of one connection; `None` is unlimited.
    pub max_subscriptions: Option<usize>,
    /// Most tokens of a subscription's subject.
    pub max_subscription_tokens: Option<usize>,
    /// How often a quiet connection is asked for a sign of life (2 minutes).
    pub ping_interval: Duration,
    /// Unanswered PINGs after which a connection is stale (2).
    pub ping_max: u32,
    /// How long one write may wait for a peer that does not read (10 s).
    pub write_deadline: Duration,
    /// What happens then.
    pub write_timeout: WriteTimeout,
    /// How long a client may take to authenticate (2 s; with TLS a second more than the handshake).
    pub auth_timeout: Duration,
    /// Closed connections remembered for monitoring (10000).
    pub max_closed_clients: usize,
    /// `no_fast_producer_stall`: drop for a choked consumer instead of slowing its producers.
    pub no_fast_producer_stall: bool,
    /// natsd's own `failed_logins`: how many logins of one address may fail.
    pub failed_logins: Option<FailedLogins>,
}

/// How many logins of one address may fail before the others are not heard for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedLogins {
    /// So many, at least one...
    pub max: u32,
    /// ...in so long.
    pub per: Duration,
}

/// Cluster listener, identity and routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Cluster name; generated when absent.
    pub name: Option<String>,
    /// Route listener.
    pub listen: Listen,
    /// Routes to dial and keep.
    pub routes: Vec<RouteUrl>,
    /// What other servers are told instead of the listen address.
    pub advertise: Option<HostPort>,
    /// Keep own client URLs from peers and peers' URLs from clients.
    pub no_advertise: bool,
    /// Further attempts for a gossiped route (0).
    pub connect_retries: u32,
    /// Double the pause between attempts, to 30 s.
    pub connect_backoff: bool,
    /// Connections per peer; `None` switches pooling off (`pool_size: -1`).
    pub pool_size: Option<u32>,
    /// Accounts with a connection of their own.
    pub pinned_accounts: Vec<String>,
    /// Credentials that dialing servers must show, and that we show to gossiped ones.
    pub authorization: Option<RouteAuthorization>,
    /// PING interval on routes (the client one, at most 30 s).
    pub ping_interval: Option<Duration>,
    /// Unanswered PINGs on routes.
    pub ping_max: Option<u32>,
    /// TLS between servers, verified both ways.
    pub tls: Option<Tls>,
    /// What may cross routes.
    pub permissions: ClusterPermissions,
    /// Compression offered to peers.
    pub compression: Compression,
    /// How long one write may wait; the client one when absent.
    pub write_deadline: Option<Duration>,
    /// What happens then.
    pub write_timeout: WriteTimeout,
    /// natsd's own `dead_peer_timeout`: how long sent bytes may stay unacknowledged by the peer's
    /// machine before the route counts as dead (10 s); `None` leaves it to TCP.
    pub dead_peer_timeout: Option<Duration>,
    /// natsd's own `start_gate`: how long clients wait at start for the configured routes;
    /// `None` accepts them at once, as nats-server does.
    pub start_gate: Option<Duration>,
}

/// What may cross routes; nothing said means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPermissions {
    /// Subjects on which messages are taken from peers.
    pub import: Option<SubjectPermission>,
    /// Subjects whose subscriptions are told to peers.
    pub export: Option<SubjectPermission>,
}

/// How much to compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionMode {
    /// Say that compression is unknown here.
    NotSupported,
    /// Never compress.
    Off,
    /// Compress if the peer wants to.
    #[default]
    Accept,
    /// Choose by round trip time.
    Auto,
    /// Never compress, but by S2 framing.
    Uncompressed,
    /// S2, fast.
    Fast,
    /// S2, better.
    Better,
    /// S2, best.
    Best,
}

impl CompressionMode {
    /// The mode's name on the wire and in /routez.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSupported => "not supported",
            Self::Off => "off",
            Self::Accept => "accept",
            Self::Auto => "s2_auto",
            Self::Uncompressed => "s2_uncompressed",
            Self::Fast => "s2_fast",
            Self::Better => "s2_better",
            Self::Best => "s2_best",
        }
    }
}

/// Compression between servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// The mode.
    pub mode: CompressionMode,
    /// For `Auto`: the round trip times from which the next stronger level is used, for
    /// uncompressed, fast, better and best. Zero skips a level. 10, 50 and 100 ms.
    pub rtt_thresholds: Vec<Duration>,
}

/// One configured route.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteUrl {
    /// Host to dial.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// User and password of the URL.
    pub credentials: Option<(String, String)>,
}

impl std::fmt::Debug for RouteUrl {
    /// Shows where, never the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RouteUrl({}:{})", self.host, self.port)
    }
}

/// What a dialing server must show.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteAuthorization {
    /// User.
    pub user: String,
    /// Password, plain or bcrypt.
    pub password: String,
    /// How long it may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for RouteAuthorization {
    /// Shows who, never the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RouteAuthorization({})", self.user)
    }
}

/// Monitoring listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Address.
    pub listen: Listen,
    /// Served over TLS (`https`).
    pub tls: bool,
    /// Prefix of all paths (`http_base_path`), empty or starting with `/`.
    pub base_path: String,
    /// The same as written.
    pub base_path_written: String,
}

/// Where and what to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `-D`.
    pub debug: bool,
    /// `-V`.
    pub trace: bool,
    /// `-VV`: trace the system account too.
    pub trace_verbose: bool,
    /// `trace_headers`: trace message headers, not payloads.
    pub trace_headers: bool,
    /// Print the time.
    pub time: bool,
    /// Print it in UTC.
    pub utc: bool,
    /// Log file instead of stderr.
    pub file: Option<PathBuf>,
    /// Rotate at this size in bytes.
    pub size_limit: Option<u64>,
    /// Keep this many rotated files.
    pub max_files: Option<usize>,
    /// Log to the local syslog.
    pub syslog: bool,
    /// Log to a remote syslog (`udp://host:514`).
    pub remote_syslog: Option<String>,
    /// Longest payload part in trace lines.
    pub max_traced_msg_len: Option<usize>,
}

/// Lame duck timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LameDuck {
    /// How long clients are moved away (2 minutes).
    pub duration: Duration,
    /// How long before the first is closed (10 s).
    pub grace: Duration,
}

/// The file a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path as given.
    pub path: PathBuf,
    /// `sha256:<hex>` of its values, as nats-server shows it.
    pub digest: String,
}

impl Config {
    /// The name of the system account, unless there is none.
    #[must_use]
    pub fn system_account_name(&self) -> Option<&str> {
        let default = (!self.no_system_account).then_some("$SYS");
        self.system_account.as_deref().or(default)
    }

    /// Whether clients are told that they must show credentials; one whom a service judges is not.
    #[must_use]
    pub fn requires_auth(&self) -> bool {
        let auth = &self.auth;
        auth.user.is_some()
            || auth.token.is_some()
            || !auth.users.is_empty()
            || !auth.nkeys.is_empty()
            || !self.operators.jwts.is_empty()
            || !self.operators.trusted_keys.is_empty()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 1024 * 1024,
            max_control_line: 4096,
            max_pending: 64 * 1024 * 1024,
            max_connections: Some(64 * 1024),
            max_subscriptions: None,
            max_subscription_tokens: None,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            write_deadline: Duration::from_secs(10),
            write_timeout: WriteTimeout::Default,
            auth_timeout: Duration::from_secs(2),
            max_closed_clients: 10_000,
            no_fast_producer_stall: false,
            failed_logins: None,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: None,
            listen: Listen { host: "0.0.0.0".into(), port: 0 },
            routes: Vec::new(),
            advertise: None,
            no_advertise: false,
            connect_retries: 0,
            connect_backoff: false,
            pool_size: Some(3),
            pinned_accounts: Vec::new(),
            authorization: None,
            ping_interval: None,
            ping_max: None,
            tls: None,
            permissions: ClusterPermissions::default(),
            compression: Compression::default(),
            write_deadline: None,
            write_timeout: WriteTimeout::Default,
            dead_peer_timeout: Some(Duration::from_secs(10)),
            start_gate: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
            trace_headers: false,
            time: true,
            utc: false,
            file: None,
            size_limit: None,
            max_files: None,
            syslog: false,
            remote_syslog: None,
            max_traced_msg_len: None,
        }
    }
}

impl Default for LameDuck {
    fn default() -> Self {
        Self { duration: Duration::from_secs(120), grace: Duration::from_secs(10) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_name: None,
            client: Listen { host: "0.0.0.0".into(), port: 4222 },
            client_advertise: None,
            limits: Limits::default(),
            cluster: None,
            monitor: None,
            log: Log::default(),
            pid_file: None,
            ports_file_dir: None,
            lame_duck: LameDuck::default(),
            headers: true,
            cluster_name: None,
            tls: None,
            allow_non_tls: false,
            auth: Auth::default(),
            accounts: Vec::new(),
            mappings: Vec::new(),
            system_account: None,
            no_system_account: false,
            operators: Operators::default(),
            websocket: None,
            proxies: Proxies::default(),
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            connect_error_reports: 3600,
            reconnect_error_reports: 1,
            no_sublist_cache: false,
            profile_port: None,
            strict: false,
            refusals: Vec::new(),
            source: None,
        }
    }
}
