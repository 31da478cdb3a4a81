//! A configuration as file and flags left it, before it is checked as a whole.
//!
//! Zeros still mean "default" here, a port may still be -1, and nothing has been compared with
//! anything else. `file` and `flags` write to it, flags last; [`Draft::check`] makes a [`Config`].

use super::nkey::{Kind, is_public};
use super::url::advertised;
use super::{Cluster, CompressionMode, Config, HostPort, Listen, Monitor, RouteUrl, Websocket};
use super::{Resolver, Secret, duration, jwt};

/// nats-server's port.
const CLIENT_PORT: u16 = 4222;
/// Where everything listens unless told otherwise.
const ANY_HOST: &str = "0.0.0.0";

/// `max_payload` of less than zero.
pub(crate) const UNLIMITED_PAYLOAD: usize = usize::MAX;

/// A configuration in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// What needs no second look.
    pub(crate) config: Config,
    pub(crate) host: String,
    pub(crate) port: i64,
    pub(crate) client_advertise: String,
    pub(crate) cluster: ClusterDraft,
    pub(crate) http_host: String,
    pub(crate) http_port: i64,
    pub(crate) https_port: i64,
    pub(crate) http_base_path: String,
    pub(crate) profile_port: i64,
    pub(crate) websocket: Option<WebsocketDraft>,
    pub(crate) auth_timeout: Option<std::time::Duration>,
}

/// `cluster { }`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterDraft {
    pub(crate) cluster: Cluster,
    pub(crate) host: String,
    /// Clustering is off at 0.
    pub(crate) port: i64,
    pub(crate) pool_size: i64,
    pub(crate) advertise: String,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) auth_timeout: Option<std::time::Duration>,
    /// Permissions came from the cluster block itself, not from its authorization.
    pub(crate) permissions_set: bool,
    pub(crate) compression_mode: String,
    pub(crate) rtt_thresholds: Vec<i64>,
}

/// `websocket { }`.
#[derive(Clone, Debug)]
pub(crate) struct WebsocketDraft {
    pub(crate) websocket: Websocket,
    pub(crate) host: String,
    pub(crate) port: i64,
    pub(crate) advertise: String,
}

impl Draft {
    /// Fills defaults in and checks what concerns several keys.
    ///
    /// # Errors
    /// The first thing that does not fit, in nats-server's words.
    pub(crate) fn check(mut self) -> Result<Config, String> {
        if self.host.is_empty() {
            self.host = ANY_HOST.into();
        }
        self.config.client = Listen {
            host: self.host.clone(),
            port: if self.port == 0 { CLIENT_PORT } else { bound(self.port) },
        };
        let advertise = self.client_advertise.as_str();
        match advertise_of(advertise) {
            Ok(advertise) => self.config.client_advertise = advertise,
            Err(error) => self.config.refusals.push(format!(
                "Error setting server INFO with ClientAdvertise value of {advertise}, err={error}"
            )),
        }
        self.config.profile_port = (self.profile_port != 0).then(|| bound(self.profile_port));
        self.limits()?;
        self.monitor();
        self.operators()?;
        self.no_auth_user(self.config.auth.no_auth_user.as_deref())?;
        if self.config.proxies.trusted.iter().any(String::is_empty) {
            return Err("proxy trusted key \"\" is invalid".into());
        }
        self.cluster()?;
        self.websocket()?;
        self.system_account()?;
        let operators = &self.config.operators;
        let directory =
            matches!(operators.resolver, Some(Resolver::Full { .. } | Resolver::Cache { .. }));
        if directory && operators.jwts.is_empty() && operators.trusted_keys.is_empty() {
            let text = "Could not start resolver: no operator key found";
            self.config.refusals.push(text.into());
        }
        self.config.limits.auth_timeout = match self.auth_timeout {
            Some(timeout) if !timeout.is_zero() => timeout,
            _ => default_auth_timeout(self.config.tls.as_ref()),
        };
        Ok(self.config)
    }

    fn limits(&mut self) -> Result<(), String> {
        let limits = &mut self.config.limits;
        if limits.max_payload == UNLIMITED_PAYLOAD {
            // What cannot be pending cannot be delivered either.
            limits.max_payload = limits.max_pending.min(i32::MAX as usize);
        }
        let lame_duck = &self.config.lame_duck;
        if lame_duck.grace >= lame_duck.duration {
            return Err(format!(
                "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
                duration::show(lame_duck.grace),
                duration::show(lame_duck.duration)
            ));
        }
        let limits = &self.config.limits;
        if limits.max_payload > limits.max_pending {
            return Err(format!(
                "max_payload ({}) cannot be higher than max_pending ({})",
                limits.max_payload, limits.max_pending
            ));
        }
        if self.config.server_name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err("server name cannot contain spaces".into());
        }
        Ok(())
    }

    fn monitor(&mut self) {
        let (http, https) = (self.http_port, self.https_port);
        if http != 0 && https != 0 {
            self.config.refusals.push(format!(
                "Can't start monitoring: can't specify both HTTP ({http}) and HTTPs ({https}) ports"
            ));
        }
        if https != 0 && self.config.tls.is_none() {
            self.config
                .refusals
                .push("Can't start monitoring: TLS cert and key required for HTTPS".into());
        }
        if http == 0 && https == 0 {
            return;
        }
        let host = if self.http_host.is_empty() { &self.host } else { &self.http_host };
        let port = bound(if http == 0 { https } else { http });
        self.config.monitor = Some(Monitor {
            listen: Listen { host: host.clone(), port },
            tls: http == 0,
            base_path: base_path(&self.http_base_path),
            base_path_written: self.http_base_path.clone(),
        });
    }

    fn cluster(&mut self) -> Result<(), String> {
        let draft = std::mem::take(&mut self.cluster);
        let mut cluster = draft.cluster;
        self.config.cluster_name = cluster.name.clone();
        if cluster.name.as_ref().is_some_and(|name| name.contains(' ')) {
            return Err("cluster name cannot contain spaces".into());
        }
        cluster.compression = compression(&draft.compression_mode, &draft.rtt_thresholds)?;
        if draft.pool_size < 0 && !cluster.pinned_accounts.is_empty() {
            return Err("pool_size cannot be negative if pinned accounts are specified".into());
        }
        // The system account is one of them, said or not.
        let mut pinned = cluster.pinned_accounts.clone();
        if draft.port != 0
            && draft.pool_size >= 0
            && let Some(system) = self.config.system_account_name()
            && !pinned.iter().any(|account| account == system)
        {
            pinned.push(system.to_owned());
        }
        for (i, account) in pinned.iter().enumerate() {
            if pinned.iter().take(i).any(|other| other == account) {
                return Err(format!(
                    "found duplicate account name {account:?} in pinned accounts list [{}]",
                    pinned.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(" ")
                ));
            }
        }
        if draft.port == 0 {
            return Ok(());
        }
        let host = if draft.host.is_empty() { ANY_HOST.into() } else { draft.host };
        cluster.listen = Listen { host, port: bound(draft.port) };
        cluster.pool_size = match draft.pool_size {
            0 => Some(3),
            size => u32::try_from(size).ok(),
        };
        match advertise_of(&draft.advertise) {
            Ok(advertise) => cluster.advertise = advertise,
            Err(error) => self.config.refusals.push(format!(
                "Error setting route INFO with Cluster.Advertise value of {}, err={error}",
                draft.advertise
            )),
        }
        if !draft.user.is_empty() {
            cluster.authorization = Some(super::RouteAuthorization {
                user: draft.user,
                password: draft.password.expose().to_owned(),
                timeout: match draft.auth_timeout {
                    Some(timeout) if !timeout.is_zero() => timeout,
                    _ => default_auth_timeout(cluster.tls.as_ref()),
                },
            });
        }
        self.config.cluster = Some(cluster);
        Ok(())
    }
}

impl Draft {
    /// Looks whether there is such an account, unless a resolver may find it.
    fn system_account(&self) -> Result<(), &'static str> {
        let config = &self.config;
        let operators = &config.operators;
        let Some(name) = &config.system_account else { return Ok(()) };
        let known = name == "$G" || config.accounts.iter().any(|account| account.name == *name);
        if known || !operators.jwts.is_empty() || !operators.trusted_keys.is_empty() {
            return Ok(());
        }
        match &operators.resolver {
            Some(Resolver::Url(_)) => Ok(()),
            Some(_) if !is_public(name, Kind::Account) => {
                Err("error resolving system account: will only fetch valid account keys")
            }
            Some(Resolver::Memory) if operators.preload.contains_key(name) => Ok(()),
            None | Some(Resolver::Memory) => Err("error resolving system account: account missing"),
            Some(_) => Ok(()),
        }
    }

    fn operators(&mut self) -> Result<(), &'static str> {
        let config = &mut self.config;
        let Some(first) = config.operators.jwts.first() else {
            return match config.operators.default_sentinel {
                Some(_) => Err("default sentinel requires operators and accounts"),
                None => Ok(()),
            };
        };
        // What one operator says of itself counts where the file says nothing.
        if config.operators.jwts.len() == 1 {
            if config.operators.resolver.is_none()
                && let Some(url) = jwt::text(first, "account_server_url")
            {
                let url = format!("{}/accounts/", url.trim_end_matches('/'));
                config.operators.resolver = Some(Resolver::Url(url));
            }
            if config.system_account.is_none() {
                config.system_account = jwt::text(first, "system_account");
            }
        }
        let operators = &config.operators;
        if operators.resolver.is_none() {
            return Err("operators require an account resolver to be configured");
        }
        if !config.accounts.is_empty() || !config.mappings.is_empty() {
            return Err("operators do not allow Accounts to be configured directly");
        }
        if !config.auth.users.is_empty() || !config.auth.nkeys.is_empty() {
            return Err("operators do not allow users to be configured directly");
        }
        if !operators.trusted_keys.is_empty() {
            return Err("conflicting options for 'TrustedKeys' and 'TrustedOperators'");
        }
        let named: Vec<String> =
            operators.jwts.iter().filter_map(|op| jwt::text(op, "system_account")).collect();
        match &config.system_account {
            Some(account) if !named.is_empty() && !named.contains(account) => {
                Err("system_account in config and operator JWT must be identical")
            }
            None if matches!(
                operators.resolver,
                Some(Resolver::Full { .. } | Resolver::Cache { .. })
            ) =>
            {
                Err(
                    "using nats based account resolver - the system account needs to be specified in configuration or the operator jwt",
                )
            }
            _ => Ok(()),
        }
    }

    fn no_auth_user(&self, name: Option<&str>) -> Result<(), String> {
        let Some(name) = name else { return Ok(()) };
        if !self.config.operators.jwts.is_empty() {
            return Err("no_auth_user not compatible with Trusted Operator".into());
        }
        let auth = &self.config.auth;
        if auth.nkeys.is_empty() && auth.users.is_empty() {
            return Err(format!(
                "no_auth_user: \"{name}\" present, but users/nkeys are not defined"
            ));
        }
        let known = auth.users.iter().any(|user| user.name == name)
            || auth.nkeys.iter().any(|user| user.nkey == name);
        if known {
            return Ok(());
        }
        Err(format!(
            "no_auth_user: \"{name}\" not present as user or nkey in authorization block or account configuration"
        ))
    }

    fn websocket(&mut self) -> Result<(), String> {
        let Some(draft) = self.websocket.take().filter(|draft| draft.port != 0) else {
            return Ok(());
        };
        let mut websocket = draft.websocket;
        if websocket.tls.is_none() && !websocket.no_tls {
            return Err("websocket requires TLS configuration".into());
        }
        websocket.allowed_origins.iter().try_for_each(|origin| check_origin(origin))?;
        self.no_auth_user(websocket.no_auth_user.as_deref())?;
        let auth = &self.config.auth;
        if !auth.users.is_empty() || !auth.nkeys.is_empty() {
            for (set, what) in
                [(websocket.user.is_some(), "username"), (websocket.token.is_some(), "token")]
            {
                if set {
                    return Err(format!(
                        "websocket authentication {what} not compatible with presence of users/nkeys"
                    ));
                }
            }
        }
        let operators = &self.config.operators;
        if let Some(cookie) = &websocket.jwt_cookie
            && operators.jwts.is_empty()
            && operators.trusted_keys.is_empty()
        {
            return Err(format!(
                "trusted operators or trusted keys configuration is required for JWT authentication via cookie {cookie:?}"
            ));
        }
        websocket.headers.keys().try_for_each(|header| check_header(header))?;
        let host = if draft.host.is_empty() { ANY_HOST.into() } else { draft.host };
        websocket.listen = Listen { host, port: bound(draft.port) };
        match advertise_of(&draft.advertise) {
            Ok(advertise) => websocket.advertise = advertise,
            Err(error) => {
                self.config.refusals.push(format!("Unable to get websocket connect URLs: {error}"))
            }
        }
        self.config.websocket = Some(websocket);
        Ok(())
    }
}

fn check_origin(origin: &str) -> Result<(), String> {
    match super::url::Url::parse(origin) {
        None => Err(format!("unable to parse allowed origin: {origin:?} is no URL")),
        Some(url) if !matches!(url.scheme.as_str(), "http" | "https") => Err(format!(
            "unable to parse allowed origin {origin:?}: allowed origins must be absolute URLs with http or https scheme"
        )),
        Some(url) if url.host.is_empty() => {
            Err(format!("unable to parse allowed origin {origin:?}: host is required"))
        }
        Some(_) => Ok(()),
    }
}

fn check_header(header: &str) -> Result<(), String> {
    let lower = header.to_lowercase();
    let own = ["host", "content-length", "connection", "upgrade", "nats-no-masking"];
    if own.contains(&lower.as_str()) {
        return Err(format!("websocket: invalid header {header:?} not allowed"));
    }
    if lower.starts_with("sec-websocket-") {
        return Err(format!(
            "websocket: invalid header {header:?}, \"Sec-WebSocket-\" prefix not allowed"
        ));
    }
    Ok(())
}

/// The port to bind: 0 lets the system choose.
fn bound(port: i64) -> u16 {
    u16::try_from(port).unwrap_or(0)
}

fn advertise_of(text: &str) -> Result<Option<HostPort>, String> {
    if text.is_empty() { Ok(None) } else { advertised(text).map(Some) }
}

/// How long a peer may take to say who it is, where nothing is configured (nats-server 2.15).
pub(crate) fn default_auth_timeout(tls: Option<&super::Tls>) -> std::time::Duration {
    match tls {
        Some(tls) => tls.timeout + std::time::Duration::from_secs(1),
        None => std::time::Duration::from_secs(2),
    }
}

/// Gives the prefix of monitoring paths: empty, or starting and not ending with `/`.
fn base_path(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

/// Reads one route URL.
pub(crate) fn route_url(text: &str) -> Result<RouteUrl, String> {
    let text = text.trim();
    let Some(url) = super::url::Url::parse(text) else {
        return Err(format!("error parsing route url [{:?}]", without_password(text)));
    };
    if url.host.is_empty() {
        let hint = "write it as nats-route://host:port";
        return Err(format!("route url [{:?}] names no host, {hint}", without_password(text)));
    }
    // Observed: nats-server dials a URL without a port in vain; 6222 is what people mean.
    let port = url.port.as_deref().unwrap_or("6222");
    let Ok(port) = port.parse() else {
        return Err(format!("error parsing route url [{:?}]", without_password(text)));
    };
    let credentials = url.user.map(|(user, password)| (user, password.unwrap_or_default()));
    Ok(RouteUrl { host: url.host, port, credentials })
}

/// Hides what stands before the `@` of a URL.
pub(crate) fn without_password(url: &str) -> String {
    let Some((before, after)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = before.find("://").and_then(|at| before.get(..at + 3)).unwrap_or_default();
    format!("{scheme}[REDACTED]@{after}")
}

fn compression(mode: &str, rtt_thresholds: &[i64]) -> Result<super::Compression, String> {
    let lower = mode.to_lowercase();
    let parsed = match lower.as_str() {
        "" | "accept" => CompressionMode::Accept,
        "not supported" | "not_supported" => CompressionMode::NotSupported,
        "disabled" | "off" | "false" => CompressionMode::Off,
        "on" | "enabled" | "true" | "fast" | "s2_fast" => CompressionMode::Fast,
        "auto" | "s2_auto" => {
            let rtt_thresholds = thresholds(mode, rtt_thresholds)?;
            return Ok(super::Compression { mode: CompressionMode::Auto, rtt_thresholds });
        }
        "better" | "s2_better" => CompressionMode::Better,
        "best" | "s2_best" => CompressionMode::Best,
        _ => return Err(format!("unsupported compression mode {mode:?}")),
    };
    Ok(super::Compression { mode: parsed, rtt_thresholds: Vec::new() })
}

fn thresholds(mode: &str, nanos: &[i64]) -> Result<Vec<std::time::Duration>, String> {
    use std::time::Duration;
    let of = |n: &i64| Duration::from_nanos(u64::try_from(*n).unwrap_or(0));
    let shown = || {
        let list: Vec<_> = nanos.iter().map(|n| duration::show(of(n))).collect();
        format!("[{}]", list.join(" "))
    };
    if nanos.is_empty() {
        return Ok([10, 50, 100].map(Duration::from_millis).to_vec());
    }
    let mut list: Vec<Duration> = Vec::with_capacity(nanos.len());
    for next in nanos.iter().map(of) {
        if !next.is_zero() && list.iter().any(|earlier| next < *earlier) {
            return Err(format!("RTT threshold values {} should be in ascending order", shown()));
        }
        list.push(next);
    }
    while list.last().is_some_and(Duration::is_zero) {
        list.pop();
    }
    match list.len() {
        0 => Err(format!("compression mode {mode:?} requires at least one RTT threshold")),
        1..=4 => Ok(list),
        _ => Err(format!(
            "compression mode {mode:?} should have no more than 4 RTT thresholds: {}",
            shown()
        )),
    }
}
