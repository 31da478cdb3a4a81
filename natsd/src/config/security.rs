//! Who may connect and what they may do: the security part of [`Config`](super::Config).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::{HostPort, Listen, Secret, subjects};

/// TLS of one listener. Files are named, readable when the configuration was read, not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain and key; several ones are chosen between by server name.
    pub certificates: Vec<CertificatePair>,
    /// Authorities that peers' certificates are checked against; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// Ask for a client certificate and check it.
    pub verify: bool,
    /// Find the user by the client certificate; implies `verify`.
    pub verify_and_map: bool,
    /// Let only peers in whose certificate names a configured URL; implies `verify`.
    pub check_known_urls: bool,
    /// Do not check the certificate of a server dialed.
    pub insecure: bool,
    /// Oldest version spoken (1.2).
    pub min_version: TlsVersion,
    /// Names of the suites allowed for TLS 1.2; empty means the library's.
    pub cipher_suites: Vec<String>,
    /// Names of curves, the preferred first; empty means the library's.
    pub curve_preferences: Vec<String>,
    /// SHA-256 of allowed public keys, in lower-case hex; empty allows all.
    pub pinned_certs: BTreeSet<String>,
    /// How long a handshake may take (2 s).
    pub timeout: Duration,
    /// Whether clients start TLS before INFO.
    pub handshake_first: HandshakeFirst,
    /// Handshakes begun per second; `None` is unlimited.
    pub connection_rate_limit: Option<u64>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            check_known_urls: false,
            insecure: false,
            min_version: TlsVersion::V1_2,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            pinned_certs: BTreeSet::new(),
            timeout: Duration::from_secs(2),
            handshake_first: HandshakeFirst::Off,
            connection_rate_limit: None,
        }
    }
}

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// PEM file of the chain.
    pub cert_file: PathBuf,
    /// PEM file of the key.
    pub key_file: PathBuf,
}

/// TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Whether TLS comes before INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// INFO in clear, then TLS.
    #[default]
    Off,
    /// Nothing before TLS.
    On,
    /// Wait so long for a client that starts, then send INFO in clear.
    Fallback(Duration),
}

/// Credentials of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The one user of `authorization { user, password }`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// `authorization { token }`.
    pub token: Option<Secret>,
    /// Users of the authorization block and of all accounts; names are unique.
    pub users: Vec<User>,
    /// Users with a key instead of a password; keys are unique.
    pub nkeys: Vec<NkeyUser>,
    /// There is an authorization block, whatever it says: that users of the system account are the
    /// only ones does not let others in then.
    pub block_defined: bool,
    /// The user of clients that bring no credentials.
    pub no_auth_user: Option<String>,
    /// A service that decides in the server's place.
    pub callout: Option<AuthCallout>,
    /// Clients must come through a trusted proxy.
    pub proxy_required: bool,
}

/// A user with a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Password, plain or bcrypt; may be empty.
    pub password: Secret,
    /// Account; `$G` when absent.
    pub account: Option<String>,
    /// Own or default permissions; `None` may do everything.
    pub permissions: Option<Permissions>,
    /// Kinds of connection allowed; `None` allows all.
    pub connection_types: Option<BTreeSet<ConnectionType>>,
    /// Must come through a trusted proxy.
    pub proxy_required: bool,
}

/// A user who signs a nonce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NkeyUser {
    /// Public key (`U...`).
    pub nkey: String,
    /// Account; `$G` when absent.
    pub account: Option<String>,
    /// Own or default permissions; `None` may do everything.
    pub permissions: Option<Permissions>,
    /// Kinds of connection allowed; `None` allows all.
    pub connection_types: Option<BTreeSet<ConnectionType>>,
    /// Must come through a trusted proxy.
    pub proxy_required: bool,
}

/// A kind of connection that a user may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionType {
    /// `STANDARD`
    Standard,
    /// `WEBSOCKET`
    Websocket,
    /// `LEAFNODE`
    Leafnode,
    /// `LEAFNODE_WS`
    LeafnodeWs,
    /// `MQTT`
    Mqtt,
    /// `MQTT_WS`
    MqttWs,
    /// `IN_PROCESS`
    InProcess,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects to publish to.
    pub publish: Option<SubjectPermission>,
    /// Subjects to subscribe to.
    pub subscribe: Option<SubjectPermission>,
    /// Answers to requests received, beyond `publish`.
    pub responses: Option<ResponsePermission>,
}

/// Allowed and denied subjects; deny wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectPermission {
    /// `None` allows all, an empty list nothing.
    pub allow: Option<Vec<PermissionSubject>>,
    /// Denied ones.
    pub deny: Vec<PermissionSubject>,
}

/// A subject, and for subscriptions perhaps the queue group it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionSubject {
    /// Subject, wildcards included.
    pub subject: String,
    /// Queue group pattern.
    pub queue: Option<String>,
}

/// How long and how often a request may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsePermission {
    /// Answers per request (1); `None` is unlimited.
    pub max: Option<u32>,
    /// Time for them (2 minutes); `None` is unlimited.
    pub expires: Option<Duration>,
}

impl Default for ResponsePermission {
    fn default() -> Self {
        Self { max: Some(1), expires: Some(Duration::from_secs(120)) }
    }
}

/// A service that decides who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthCallout {
    /// Public account key that signs its answers.
    pub issuer: String,
    /// Account it lives in (`$G`).
    pub account: String,
    /// Users it does not decide about.
    pub auth_users: Vec<String>,
    /// Public curve key to encrypt requests for.
    pub xkey: Option<String>,
    /// Accounts it may place users in; empty allows all.
    pub allowed_accounts: Vec<String>,
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Public account key.
    pub nkey: Option<String>,
    /// Permissions of users without own ones; already given to them.
    pub default_permissions: Option<Permissions>,
    /// Streams offered.
    pub stream_exports: Vec<StreamExport>,
    /// Services offered.
    pub service_exports: Vec<ServiceExport>,
    /// Streams taken from other accounts.
    pub stream_imports: Vec<StreamImport>,
    /// Services used of other accounts.
    pub service_imports: Vec<ServiceImport>,
    /// Subject mappings.
    pub mappings: Vec<Mapping>,
    /// Limits.
    pub limits: AccountLimits,
    /// Message tracing by a header of other systems.
    pub trace: Option<MessageTrace>,
}

/// Limits of an account; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Client connections.
    pub max_connections: Option<u32>,
    /// Subscriptions.
    pub max_subscriptions: Option<u32>,
    /// Bytes of a message.
    pub max_payload: Option<u32>,
    /// Leafnode connections.
    pub max_leafnodes: Option<u32>,
}

/// Where message traces go and how many are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTrace {
    /// Subject.
    pub destination: String,
    /// Percent, 1 to 100.
    pub sampling: u8,
}

/// A stream offered to other accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamExport {
    /// Subject, wildcards included.
    pub subject: String,
    /// Accounts that may import it; empty offers it to all.
    pub accounts: Vec<String>,
    /// Position (from 1) of the token that must name the importing account.
    pub account_token_position: Option<usize>,
}

/// A service offered to other accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceExport {
    /// Subject, wildcards included.
    pub subject: String,
    /// Accounts that may import it; empty offers it to all.
    pub accounts: Vec<String>,
    /// Position (from 1) of the token that must name the importing account.
    pub account_token_position: Option<usize>,
    /// How many answers a request has.
    pub response_type: ResponseType,
    /// How long answers are waited for.
    pub response_threshold: Option<Duration>,
    /// Latency measurements.
    pub latency: Option<Latency>,
    /// Traces may go on into this account.
    pub allow_trace: bool,
}

/// How many answers a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One.
    #[default]
    Singleton,
    /// Many, up to an empty one.
    Stream,
    /// One in several parts.
    Chunked,
}

/// Where measurements of a service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Subject.
    pub subject: String,
    /// Percent of requests (100); `None` when a header decides.
    pub sampling: Option<u8>,
}

/// A stream taken from another account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamImport {
    /// Exporting account.
    pub account: String,
    /// Subject there.
    pub subject: String,
    /// Put before the subject here.
    pub prefix: Option<String>,
    /// The subject here.
    pub to: Option<String>,
    /// Traces may come in.
    pub allow_trace: bool,
}

impl StreamImport {
    /// What its subjects are made into: with `$1` where `to` has it.
    #[must_use]
    pub fn destination(&self) -> String {
        match (&self.to, &self.prefix) {
            (Some(to), _) => to.clone(),
            (None, Some(prefix)) => format!("{}.{}", prefix.trim_end_matches('.'), self.subject),
            (None, None) => self.subject.clone(),
        }
    }

    /// The pattern of its subjects here.
    #[must_use]
    pub fn local_subject(&self) -> String {
        subjects::untokenize(&self.destination())
    }
}

/// A service used of another account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceImport {
    /// Exporting account.
    pub account: String,
    /// Subject there.
    pub subject: String,
    /// Subject here; the same unless said otherwise.
    pub to: String,
    /// Tell the service who asks.
    pub share: bool,
}

/// Where messages for a subject go instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Subject, wildcards included.
    pub source: String,
    /// One of these is chosen by weight.
    pub destinations: Vec<MappingDestination>,
}

/// One destination of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingDestination {
    /// Subject with `$1`, `{{wildcard(1)}}` and the other functions.
    pub subject: String,
    /// Percent, 0 to 100.
    pub weight: u8,
    /// Only in this cluster.
    pub cluster: Option<String>,
}

/// JWT operator mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Operator JWTs as read from their files; not yet verified.
    pub jwts: Vec<String>,
    /// Public operator keys.
    pub trusted_keys: Vec<String>,
    /// Where account JWTs come from.
    pub resolver: Option<Resolver>,
    /// TLS towards a URL resolver.
    pub resolver_tls: Option<Tls>,
    /// Account JWTs by account key; not yet verified.
    pub preload: BTreeMap<String, String>,
    /// Accounts that are allowed although the resolver does not know them.
    pub pinned_accounts: BTreeSet<String>,
    /// JWT of the user for clients that bring none.
    pub default_sentinel: Option<Secret>,
}

/// Where account JWTs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// Only `resolver_preload`.
    Memory,
    /// `GET` of this URL and the account key.
    Url(String),
    /// A directory with all of them, kept in step with other servers.
    Full {
        /// Directory.
        dir: PathBuf,
        /// Accept deletion.
        allow_delete: bool,
        /// Remove the file instead of renaming it.
        hard_delete: bool,
        /// How often to synchronise.
        interval: Option<Duration>,
        /// Most JWTs kept.
        limit: Option<u64>,
        /// How long a look-up may take.
        timeout: Option<Duration>,
    },
    /// A directory with some of them.
    Cache {
        /// Directory.
        dir: PathBuf,
        /// Most JWTs kept.
        limit: Option<u64>,
        /// How long each is kept.
        ttl: Option<Duration>,
        /// How long a look-up may take.
        timeout: Option<Duration>,
    },
}

/// WebSocket listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Websocket {
    /// Address.
    pub listen: Listen,
    /// What clients are told instead.
    pub advertise: Option<HostPort>,
    /// Serve without TLS.
    pub no_tls: bool,
    /// TLS.
    pub tls: Option<Tls>,
    /// The `Origin` must be this host.
    pub same_origin: bool,
    /// Or one of these (`https://example.com:8443`).
    pub allowed_origins: Vec<String>,
    /// How long the upgrade may take, if that is said.
    pub handshake_timeout: Option<Duration>,
    /// Offer permessage-deflate.
    pub compression: bool,
    /// Credentials of its own: user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Token.
    pub token: Option<Secret>,
    /// How long a client may take to authenticate.
    pub auth_timeout: Option<Duration>,
    /// The user of clients that bring no credentials.
    pub no_auth_user: Option<String>,
    /// Cookie that carries a user JWT.
    pub jwt_cookie: Option<String>,
    /// Cookie that carries a user name.
    pub user_cookie: Option<String>,
    /// Cookie that carries a password.
    pub password_cookie: Option<String>,
    /// Cookie that carries a token.
    pub token_cookie: Option<String>,
    /// Headers added to the upgrade's answer.
    pub headers: BTreeMap<String, String>,
    /// PING interval of its clients; the general one when absent.
    pub ping_interval: Option<Duration>,
}

/// Proxies that may vouch for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Their public keys.
    pub trusted: Vec<String>,
    /// Whether anything is said of them, be it that there are none.
    pub defined: bool,
}
