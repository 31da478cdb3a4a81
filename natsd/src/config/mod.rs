//! What the server runs on: checked values with every default filled in.
//!
//! `conf/` reads the configuration grammar, `file.rs` turns a parsed file into these values,
//! `flags.rs` does the same for the command line. Nothing here opens a socket. Defaults are
//! those of nats-server 2.15.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Port.
    pub port: u16,
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
    /// How long a client may take to authenticate (2 s).
    pub auth_timeout: Duration,
    /// Closed connections remembered for monitoring (10000).
    pub max_closed_clients: usize,
    /// `no_fast_producer_stall`: drop for a choked consumer instead of slowing its producers.
    pub no_fast_producer_stall: bool,
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
    /// `sha256:<hex>` of its content.
    pub digest: String,
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
            auth_timeout: Duration::from_secs(2),
            max_closed_clients: 10_000,
            no_fast_producer_stall: false,
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
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            debug: false,
            trace: false,
            trace_verbose: false,
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
            source: None,
        }
    }
}
