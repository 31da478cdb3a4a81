//! What may change while the server runs, and what it is told when it does.
//!
//! Pure: two configurations in, a list of changes or one refusal out. A refusal leaves everything
//! as it was. Order and texts are nats-server's.

use std::fmt::Display;
use std::time::Duration;

use super::{
    Cluster, Config, HandshakeFirst, Listen, Resolver, RouteUrl, Websocket, WriteTimeout, duration,
};

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What to do about it beyond using the new configuration.
    pub effect: Effect,
    /// The line to log when it is done.
    pub message: String,
}

/// What a change asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the new value is used from now on.
    None,
    /// Open the log anew.
    Logging,
    /// The same, and tell all connections whether to trace.
    TraceLevel,
    /// Tell clients and peers the new address.
    ClientAdvertise,
    /// Close clients beyond the new limit.
    MaxConnections,
    /// Check all clients again.
    Authorization,
    /// Set up accounts, then check all clients again.
    Accounts,
    /// Load certificates; connections stay.
    Tls,
    /// Close connections whose certificate is not pinned any more.
    PinnedCerts,
    /// Write the pid file.
    PidFile,
    /// Write the ports file in its new place.
    PortsFile,
    /// Apply to clients that are connected.
    MaxControlLine,
    /// Apply to clients that are connected.
    MaxPayload,
    /// Apply to routes.
    Cluster(ClusterChange),
    /// Dial and drop routes.
    Routes {
        /// New ones.
        add: Vec<RouteUrl>,
        /// Those no longer wanted.
        remove: Vec<RouteUrl>,
    },
    /// Drop connections that came through proxies no longer trusted.
    Proxies {
        /// Keys no longer trusted.
        removed: Vec<String>,
    },
    /// Tell the system account about the server.
    Statz,
}

/// What of a cluster changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterChange {
    /// What may cross routes.
    pub permissions: bool,
    /// Connections per peer.
    pub pool_size: bool,
    /// Accounts that get a connection of their own.
    pub accounts_added: Vec<String>,
    /// Accounts that lose theirs.
    pub accounts_removed: Vec<String>,
    /// Compression.
    pub compression: bool,
    /// The name, which has taken effect at once.
    pub name: bool,
}

/// Compares the running configuration with a new one.
///
/// # Errors
/// What cannot change, in nats-server's words; then nothing may change.
pub fn diff(old: &Config, new: &Config) -> Result<Vec<Change>, String> {
    let mut diff = Diff::default();
    server(&mut diff, old, new);
    clients(&mut diff, old, new);
    security(&mut diff, old, new);
    limits(&mut diff, old, new);
    cluster(&mut diff, old, new);
    files(&mut diff, old, new);
    tls(&mut diff, old, new);
    last(&mut diff, old, new);
    match (diff.refusal, new.refusals.first()) {
        (Some(refusal), _) => Err(refusal),
        // What would end a start: an address nobody can dial. A reload says so more briefly.
        (None, Some(text)) => Err(text
            .replace("Error setting server INFO with ", "invalid ")
            .replace("Error setting route INFO with ", "invalid ")),
        (None, None) => Ok(diff.changes),
    }
}

#[derive(Default)]
struct Diff {
    changes: Vec<Change>,
    /// The first one counts.
    refusal: Option<String>,
}

impl Diff {
    fn push(&mut self, effect: Effect, message: impl Into<String>) {
        self.changes.push(Change { effect, message: message.into() });
    }

    /// Notes a change of a value that is shown.
    fn value<T: PartialEq>(
        &mut self,
        name: &str,
        old: &T,
        new: &T,
        effect: Effect,
        show: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.push(effect, format!("Reloaded: {name} = {}", show(new)));
        }
    }

    fn bool(&mut self, name: &str, old: bool, new: bool, effect: Effect) {
        self.value(name, &old, &new, effect, ToString::to_string);
    }

    /// Notes a value that must not change.
    fn fixed<T: PartialEq>(&mut self, field: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.refuse(field, show(old), show(new));
        }
    }

    fn refuse(&mut self, field: &str, old: impl Display, new: impl Display) {
        self.refusal.get_or_insert_with(|| {
            format!("config reload not supported for {field}: old={old}, new={new}")
        });
    }
}

fn text(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

fn number<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "0".into(), ToString::to_string)
}

fn seconds(value: Duration) -> String {
    value.as_secs_f64().to_string()
}

fn names(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

fn server(diff: &mut Diff, old: &Config, new: &Config) {
    diff.fixed("ServerName", &old.server_name, &new.server_name, text);
    diff.fixed("Host", &old.client.host, &new.client.host, String::clone);
    // A port that the system chooses stays what it is.
    if new.client.port != 0 {
        diff.fixed("Port", &old.client.port, &new.client.port, ToString::to_string);
    }
    if old.client_advertise != new.client_advertise {
        let address = new.client_advertise.as_ref();
        let address = address.map(|a| match a.port {
            0 => a.host.clone(),
            port => format!("{}:{port}", a.host),
        });
        diff.push(
            Effect::ClientAdvertise,
            format!("Reload: client_advertise = {}", address.unwrap_or_default()),
        );
    }
    let (was, is) = (&old.log, &new.log);
    diff.bool("trace", was.trace, is.trace, Effect::TraceLevel);
    diff.bool("debug", was.debug, is.debug, Effect::Logging);
    diff.bool("trace_verbose", was.trace_verbose, is.trace_verbose, Effect::TraceLevel);
    diff.bool("trace_headers", was.trace_headers, is.trace_headers, Effect::TraceLevel);
    let bool = ToString::to_string;
    diff.fixed("NoSublistCache", &old.no_sublist_cache, &new.no_sublist_cache, bool);
    diff.fixed("NoHeaderSupport", &!old.headers, &!new.headers, bool);
    diff.bool("logtime", was.time, is.time, Effect::Logging);
    diff.bool("logtime_utc", was.utc, is.utc, Effect::Logging);
}

fn clients(diff: &mut Diff, old: &Config, new: &Config) {
    let (was, is) = (&old.limits, &new.limits);
    diff.value(
        "max_connections",
        &was.max_connections,
        &is.max_connections,
        Effect::MaxConnections,
        |max| match max {
            Some(0) => "-1".into(),
            max => number(max),
        },
    );
    diff.fixed("MaxSubs", &was.max_subscriptions, &is.max_subscriptions, number);
    diff.fixed("MaxSubTokens", &was.max_subscription_tokens, &is.max_subscription_tokens, number);
}

fn security(diff: &mut Diff, old: &Config, new: &Config) {
    let (was, is) = (&old.auth, &new.auth);
    let keys = |config: &Config| {
        let mut nkeys = config.auth.nkeys.clone();
        nkeys.sort_by(|a, b| a.nkey.cmp(&b.nkey));
        nkeys
    };
    if keys(old) != keys(new) {
        diff.push(Effect::Authorization, "Reloaded: authorization nkey users");
    }
    // Observed: nats-server takes these two for changed on every reload.
    diff.push(Effect::Authorization, "Reloaded: authorization users");
    diff.push(Effect::Accounts, "Reloaded: accounts");
    no_auth_user(diff, old, new);
    if old.operators.default_sentinel != new.operators.default_sentinel {
        diff.push(Effect::None, "Reloaded: default_sentinel = [REDACTED]");
    }
    // Naming the default account, or no longer naming it, is no change.
    if old.system_account.as_deref() != Some("$SYS") || new.system_account.is_some() {
        diff.fixed("SystemAccount", &old.system_account, &new.system_account, text);
    }
    let bool = ToString::to_string;
    diff.fixed("NoSystemAccount", &old.no_system_account, &new.no_system_account, bool);
    for (changed, what) in
        [(was.user != is.user, "username"), (was.password != is.password, "password")]
    {
        if changed {
            diff.push(Effect::Authorization, format!("Reloaded: authorization {what}"));
        }
    }
    diff.fixed("ProxyRequired", &was.proxy_required, &is.proxy_required, bool);
    if was.token != is.token {
        diff.push(Effect::Authorization, "Reloaded: authorization token");
    }
    if was.callout != is.callout {
        let issuer = |auth: &super::Auth| {
            auth.callout.as_ref().map_or_else(|| "<nil>".into(), |callout| callout.issuer.clone())
        };
        diff.refuse("AuthCallout", issuer(was), issuer(is));
    }
}

/// A user for clients without credentials can only be given up, along with the user itself.
fn no_auth_user(diff: &mut Diff, old: &Config, new: &Config) {
    let (was, is) = (&old.auth.no_auth_user, &new.auth.no_auth_user);
    if was == is {
        return;
    }
    let kept = was.as_ref().is_none_or(|name| new.auth.users.iter().any(|u| u.name == *name));
    if kept || is.is_some() {
        diff.refuse("NoAuthUser", text(was), text(is));
    }
}

fn limits(diff: &mut Diff, old: &Config, new: &Config) {
    let (was, is) = (&old.limits, &new.limits);
    let time = |d: &Duration| duration::show(*d);
    diff.value("ping_interval", &was.ping_interval, &is.ping_interval, Effect::None, time);
    diff.value("ping_max", &was.ping_max, &is.ping_max, Effect::None, ToString::to_string);
    diff.value("failed_logins", &was.failed_logins, &is.failed_logins, Effect::None, |terms| {
        terms.map_or_else(|| "off".into(), |t| format!("{} per {}", t.max, duration::show(t.per)))
    });
    monitor(diff, old, new);
    let timeout = |d: &Duration| seconds(*d);
    diff.value("authorization timeout", &was.auth_timeout, &is.auth_timeout, Effect::None, timeout);
    let size = ToString::to_string;
    diff.value(
        "max_control_line",
        &was.max_control_line,
        &is.max_control_line,
        Effect::MaxControlLine,
        size,
    );
    diff.value("max_payload", &was.max_payload, &is.max_payload, Effect::MaxPayload, size);
    diff.fixed("MaxPending", &was.max_pending, &is.max_pending, size);
    if was.no_fast_producer_stall != is.no_fast_producer_stall {
        let not = if is.no_fast_producer_stall { "not " } else { "" };
        diff.push(Effect::None, format!("Reloaded: fast producers will {not}be stalled"));
    }
}

fn monitor(diff: &mut Diff, old: &Config, new: &Config) {
    let listen = |config: &Config, tls: bool| {
        let monitor = config.monitor.as_ref().filter(|monitor| monitor.tls == tls);
        monitor.map(|monitor| monitor.listen.port)
    };
    let host = |config: &Config| {
        let monitor = config.monitor.as_ref();
        monitor.map_or_else(|| config.client.host.clone(), |monitor| monitor.listen.host.clone())
    };
    let path = |config: &Config| {
        config.monitor.as_ref().map(|held| held.base_path_written.clone()).unwrap_or_default()
    };
    let port = |port: &Option<u16>| match port {
        None => "0".to_owned(),
        Some(0) => "-1".to_owned(),
        Some(port) => port.to_string(),
    };
    diff.fixed("HTTPHost", &host(old), &host(new), String::clone);
    diff.fixed("HTTPPort", &listen(old, false), &listen(new, false), port);
    diff.fixed("HTTPBasePath", &path(old), &path(new), String::clone);
    diff.fixed("HTTPSPort", &listen(old, true), &listen(new, true), port);
}

fn cluster(diff: &mut Diff, old: &Config, new: &Config) {
    let nowhere = || Listen { host: String::new(), port: 0 };
    let listen = |config: &Config| {
        config.cluster.as_ref().map_or_else(nowhere, |cluster| cluster.listen.clone())
    };
    let (was, is) = (listen(old), listen(new));
    if was.host != is.host {
        diff.refuse("cluster host", &was.host, &is.host);
    }
    if was.port != is.port && is.port != 0 || old.cluster.is_some() != new.cluster.is_some() {
        diff.refuse("cluster port", was.port, is.port);
    }
    let (Some(was), Some(is)) = (&old.cluster, &new.cluster) else { return };
    let bare = |cluster: &Cluster| Cluster { routes: Vec::new(), ..cluster.clone() };
    if bare(was) != bare(is) {
        let missing = |from: &Cluster, in_: &Cluster| {
            let pinned = from.pinned_accounts.iter();
            pinned.filter(|name| !in_.pinned_accounts.contains(name)).cloned().collect()
        };
        let change = ClusterChange {
            permissions: was.permissions != is.permissions,
            pool_size: was.pool_size != is.pool_size,
            accounts_added: missing(is, was),
            accounts_removed: missing(was, is),
            compression: was.compression != is.compression,
            name: was.name != is.name,
        };
        diff.push(Effect::Cluster(change), "Reloaded: cluster");
    }
}

fn routes(diff: &mut Diff, old: &Config, new: &Config) {
    let (Some(was), Some(is)) = (&old.cluster, &new.cluster) else { return };
    let missing = |from: &Cluster, in_: &Cluster| -> Vec<RouteUrl> {
        from.routes.iter().filter(|route| !in_.routes.contains(route)).cloned().collect()
    };
    let (add, remove) = (missing(is, was), missing(was, is));
    if !add.is_empty() || !remove.is_empty() {
        diff.push(Effect::Routes { add, remove }, "Reloaded: cluster routes");
    }
}

fn files(diff: &mut Diff, old: &Config, new: &Config) {
    websocket(diff, old.websocket.as_ref(), new.websocket.as_ref());
    diff.fixed("ProfPort", &old.profile_port, &new.profile_port, number);
    if old.pid_file != new.pid_file
        && let Some(path) = &new.pid_file
    {
        diff.push(Effect::PidFile, format!("Reloaded: pid_file = {}", path.display()));
    }
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    diff.value("ports_file_dir", &old.ports_file_dir, &new.ports_file_dir, Effect::PortsFile, path);
    let (was, is) = (&old.log, &new.log);
    diff.value("log_file", &was.file, &is.file, Effect::Logging, path);
    diff.fixed("LogSizeLimit", &was.size_limit, &is.size_limit, number);
    diff.fixed("LogMaxFiles", &was.max_files, &is.max_files, number);
    diff.bool("syslog", was.syslog, is.syslog, Effect::Logging);
    diff.value("remote_syslog", &was.remote_syslog, &is.remote_syslog, Effect::Logging, text);
    routes(diff, old, new);
}

/// Only the TLS part of the block may change.
fn websocket(diff: &mut Diff, old: Option<&Websocket>, new: Option<&Websocket>) {
    let bare = |websocket: Option<&Websocket>| {
        websocket.map(|websocket| Websocket { tls: None, ..websocket.clone() })
    };
    let shown = |websocket: Option<&Websocket>| {
        websocket.map_or_else(
            || "off".to_owned(),
            |w| format!("{{{} {}}}", w.listen.host, w.listen.port),
        )
    };
    if bare(old) != bare(new) {
        diff.refuse("Websocket", shown(old), shown(new));
    }
}

fn tls(diff: &mut Diff, old: &Config, new: &Config) {
    let default = super::Tls::default();
    let (was, is) = (old.tls.as_ref().unwrap_or(&default), new.tls.as_ref().unwrap_or(&default));
    diff.value("tls timeout", &was.timeout, &is.timeout, Effect::None, |d| seconds(*d));
    let bool = ToString::to_string;
    diff.fixed("TLSMap", &was.verify_and_map, &is.verify_and_map, bool);
    // The files may hold something else now, though the names are the same.
    let files = |tls: &super::Tls| !tls.certificates.is_empty() || tls.ca_file.is_some();
    if old.tls != new.tls || files(is) {
        let what = if new.tls.is_some() { "enabled" } else { "disabled" };
        diff.push(Effect::Tls, format!("Reloaded: tls = {what}"));
    }
    if was.pinned_certs != is.pinned_certs {
        let message = format!("Reloaded: {} pinned_certs", is.pinned_certs.len());
        diff.push(Effect::PinnedCerts, message);
    }
    let rate = (&was.connection_rate_limit, &is.connection_rate_limit);
    diff.fixed("TLSRateLimit", rate.0, rate.1, number);
    let first = |tls: &super::Tls| tls.handshake_first != HandshakeFirst::Off;
    let delay = |tls: &super::Tls| match tls.handshake_first {
        HandshakeFirst::Fallback(delay) => delay,
        HandshakeFirst::Off | HandshakeFirst::On => Duration::ZERO,
    };
    if first(was) != first(is) {
        let message = format!("Reloaded: Client TLS handshake first: {}", first(is));
        diff.push(Effect::None, message);
    }
    if delay(was) != delay(is) {
        let delay = duration::show(delay(is));
        let message = format!("Reloaded: Client TLS handshake first fallback delay: {delay}");
        diff.push(Effect::None, message);
    }
    diff.fixed("AllowNonTLS", &old.allow_non_tls, &new.allow_non_tls, bool);
}

fn last(diff: &mut Diff, old: &Config, new: &Config) {
    let time = |d: &Duration| duration::show(*d);
    let (was, is) = (&old.limits, &new.limits);
    diff.value("write_deadline", &was.write_deadline, &is.write_deadline, Effect::None, time);
    diff.fixed("WriteTimeout", &was.write_timeout, &is.write_timeout, |policy| match policy {
        WriteTimeout::Default => String::new(),
        WriteTimeout::Close => "close".into(),
        WriteTimeout::Retry => "retry".into(),
    });
    diff.fixed("MaxClosedClients", &was.max_closed_clients, &is.max_closed_clients, |n| {
        n.to_string()
    });
    let (lame, duck) = (&old.lame_duck, &new.lame_duck);
    diff.fixed("LameDuckDuration", &lame.duration, &duck.duration, time);
    diff.fixed("LameDuckGracePeriod", &lame.grace, &duck.grace, time);
    let length = (&old.log.max_traced_msg_len, &new.log.max_traced_msg_len);
    diff.value("max_traced_msg_len", length.0, length.1, Effect::None, number);
    operators(diff, old, new);
    let reports = (&old.connect_error_reports, &new.connect_error_reports);
    let count = ToString::to_string;
    diff.value("connect_error_reports", reports.0, reports.1, Effect::None, count);
    let reports = (&old.reconnect_error_reports, &new.reconnect_error_reports);
    diff.value("reconnect_error_reports", reports.0, reports.1, Effect::None, count);
    if old.tags != new.tags {
        diff.push(Effect::Statz, "Reloaded: tags");
    }
    if old.metadata != new.metadata {
        diff.push(Effect::Statz, "Reloaded: metadata");
    }
    proxies(diff, old, new);
}

fn operators(diff: &mut Diff, old: &Config, new: &Config) {
    let (was, is) = (&old.operators, &new.operators);
    diff.fixed("TrustedKeys", &was.trusted_keys, &is.trusted_keys, |keys| names(keys));
    diff.fixed("TrustedOperators", &was.jwts, &is.jwts, |jwts| format!("{} JWTs", jwts.len()));
    if was.resolver.is_some() != is.resolver.is_some() {
        let text = "config reload does not support moving to or from an account resolver";
        diff.refusal.get_or_insert_with(|| text.into());
    }
    // Resolvers hold state, so nats-server takes all but the URL for changed; in memory that is
    // nothing where nobody is trusted.
    let trusting = !is.jwts.is_empty() || !is.trusted_keys.is_empty();
    let same = was.resolver == is.resolver
        && match is.resolver {
            Some(Resolver::Url(_)) => true,
            Some(Resolver::Memory) => !trusting,
            _ => false,
        };
    if is.resolver.is_some() && !same || was.resolver_tls != is.resolver_tls {
        diff.push(Effect::Accounts, "Reloaded: accounts");
    }
}

fn proxies(diff: &mut Diff, old: &Config, new: &Config) {
    let missing = |from: &Config, in_: &Config| -> Vec<String> {
        let keys = from.proxies.trusted.iter();
        keys.filter(|key| !in_.proxies.trusted.contains(key)).cloned().collect()
    };
    let quoted = |list: &[String]| {
        let list: Vec<String> = list.iter().map(|key| format!("{key:?}")).collect();
        names(&list)
    };
    let (added, removed) = (missing(new, old), missing(old, new));
    if !removed.is_empty() {
        let message = format!("Reloaded: proxies trusted keys {} were removed", quoted(&removed));
        diff.push(Effect::Proxies { removed }, message);
    }
    if !added.is_empty() {
        let message = format!("Reloaded: proxies trusted keys {} were added", quoted(&added));
        diff.push(Effect::None, message);
    }
}

#[cfg(test)]
mod tests;
