//! The keys of the top level.

use std::path::PathBuf;
use std::time::Duration;

use super::entry::{Entry, Problem, Report, Rule, read as read_map, read_or, set, unknown};
use super::tls::{Side, tls};
use super::{accounts, auth, cluster, mappings, operator, unsupported, websocket};
use crate::config::conf::{Map, Value};
use crate::config::draft::{Draft, UNLIMITED_PAYLOAD};
use crate::config::nkey::{Kind, is_public};
use crate::config::{FailedLogins, WriteTimeout, duration, url};

/// Reads the top level. Accounts come last: their users are compared with those of the
/// authorization block, wherever the two stand in the file.
pub(super) fn read(map: &Map, draft: &mut Draft, report: &mut Report<'_>) {
    read_or(map, RULES, draft, report, |_, _| {});
    let known = |key: &str| {
        let key = key.to_lowercase();
        let rules = RULES.iter().chain(operator::RULES).map(|(names, _)| names);
        rules.flat_map(|names| names.iter()).any(|name| *name == key)
    };
    read_or(map, operator::RULES, draft, report, |entry, report| {
        if !known(entry.key) && !entry.key.eq_ignore_ascii_case("accounts") {
            unknown(entry, report);
        }
    });
    read_or(map, &[(&["accounts"], accounts::read)], draft, report, |_, _| {});
    let callout = draft.config.auth.callout.as_ref();
    for name in callout.map(|callout| &callout.allowed_accounts).into_iter().flatten() {
        if !draft.config.accounts.iter().any(|account| account.name == *name) {
            let text =
                format!("auth_callout allowed account {name:?} not found in configured accounts");
            report.errors.push(Problem { place: None, text });
        }
    }
}

const RULES: &[Rule<Draft>] = &[
    (&["listen"], |d, e, r| listen(e, r, &mut d.host, &mut d.port)),
    (&["host", "net"], |d, e, r| text(&mut d.host, e, r)),
    (&["port"], |d, e, r| set(&mut d.port, e.port(r))),
    (&["client_advertise"], |d, e, r| text(&mut d.client_advertise, e, r)),
    (&["server_name"], server_name),
    (&["debug"], |d, e, r| set(&mut d.config.log.debug, e.bool(r))),
    (&["trace"], |d, e, r| set(&mut d.config.log.trace, e.bool(r))),
    (&["trace_verbose"], trace_verbose),
    (&["trace_headers"], trace_headers),
    (&["logtime"], |d, e, r| set(&mut d.config.log.time, e.bool(r))),
    (&["logtime_utc"], |d, e, r| set(&mut d.config.log.utc, e.bool(r))),
    (&["logfile", "log_file"], |d, e, r| set(&mut d.config.log.file, path(e, r))),
    (&["logfile_size_limit", "log_size_limit"], |d, e, r| {
        set(&mut d.config.log.size_limit, e.count(r));
    }),
    (&["logfile_max_num", "log_max_num"], |d, e, r| set(&mut d.config.log.max_files, e.count(r))),
    (&["syslog"], |d, e, r| set(&mut d.config.log.syslog, e.bool(r))),
    (&["remote_syslog"], |d, e, r| set(&mut d.config.log.remote_syslog, e.filled(r))),
    (&["max_traced_msg_len"], |d, e, r| set(&mut d.config.log.max_traced_msg_len, e.count(r))),
    (&["pidfile", "pid_file"], |d, e, r| set(&mut d.config.pid_file, path(e, r))),
    (&["ports_file_dir"], |d, e, r| set(&mut d.config.ports_file_dir, path(e, r))),
    (&["http"], |d, e, r| listen(e, r, &mut d.http_host, &mut d.http_port)),
    (&["https"], |d, e, r| listen(e, r, &mut d.http_host, &mut d.https_port)),
    (&["http_port", "monitor_port"], |d, e, r| set(&mut d.http_port, e.port(r))),
    (&["https_port"], |d, e, r| set(&mut d.https_port, e.port(r))),
    (&["http_base_path"], |d, e, r| text(&mut d.http_base_path, e, r)),
    (&["prof_port"], |d, e, r| set(&mut d.profile_port, e.port(r))),
    (&["max_control_line"], |d, e, r| {
        size(&mut d.config.limits.max_control_line, 4096, 4096, e, r);
    }),
    (&["max_payload"], |d, e, r| {
        size(&mut d.config.limits.max_payload, 1 << 20, UNLIMITED_PAYLOAD, e, r)
    }),
    (&["max_pending"], max_pending),
    (&["max_connections", "max_conn"], max_connections),
    (&["max_subscriptions", "max_subs"], |d, e, r| {
        set(&mut d.config.limits.max_subscriptions, e.count(r));
    }),
    (&["max_sub_tokens", "max_subscription_tokens"], max_subscription_tokens),
    (&["max_closed_clients"], |d, e, r| {
        set(&mut d.config.limits.max_closed_clients, e.count(r).map(|n| n.unwrap_or(10_000)));
    }),
    (&["ping_interval"], |d, e, r| {
        let interval = e.duration("ping_interval", r);
        set(&mut d.config.limits.ping_interval, interval.map(|d| or_seconds(d, 120)));
    }),
    (&["ping_max"], |d, e, r| {
        set(&mut d.config.limits.ping_max, e.count(r).map(|n| n.unwrap_or(2)));
    }),
    (&["write_deadline"], |d, e, r| {
        let deadline = e.duration("write_deadline", r);
        set(&mut d.config.limits.write_deadline, deadline.map(|d| or_seconds(d, 10)));
    }),
    (&["write_timeout"], |d, e, r| set(&mut d.config.limits.write_timeout, write_timeout(e, r))),
    (&["no_fast_producer_stall"], |d, e, r| {
        set(&mut d.config.limits.no_fast_producer_stall, e.bool(r));
    }),
    (&["failed_logins"], failed_logins),
    (&["lame_duck_duration"], lame_duck_duration),
    (&["lame_duck_grace_period"], lame_duck_grace_period),
    (&["no_header_support"], |d, e, r| set(&mut d.config.headers, e.bool(r).map(|no| !no))),
    (&["disable_sublist_cache", "no_sublist_cache"], |d, e, r| {
        set(&mut d.config.no_sublist_cache, e.bool(r));
    }),
    (&["connect_error_reports"], |d, e, r| {
        set(&mut d.config.connect_error_reports, e.count(r).map(|n| n.unwrap_or(3600)));
    }),
    (&["reconnect_error_reports"], |d, e, r| {
        set(&mut d.config.reconnect_error_reports, e.count(r).map(|n| n.unwrap_or(1)));
    }),
    (&["server_tags"], server_tags),
    (&["server_metadata"], server_metadata),
    (&["cluster"], cluster::read),
    (&["websocket", "ws"], websocket::read),
    (&["tls"], |d, e, r| d.config.tls = tls(e, Side::Clients, r)),
    (&["allow_non_tls"], |d, e, r| set(&mut d.config.allow_non_tls, e.bool(r))),
    (&["authorization"], auth::read),
    (&["no_auth_user"], |d, e, r| name(&mut d.config.auth.no_auth_user, e, r)),
    (&["mappings", "maps"], |d, e, r| d.config.mappings = mappings::mappings(e, r)),
    (&["system_account", "system"], system_account),
    (&["no_system_account", "no_system", "no_sys_acc"], |d, e, r| {
        set(&mut d.config.no_system_account, e.bool(r));
    }),
    (&["proxies"], proxies),
    (&["jetstream"], |_, e, r| unsupported::jetstream(e, r)),
    (&["gateway"], |_, e, r| unsupported::gateway(e, r)),
    (&["leaf", "leafnodes"], |_, e, r| unsupported::leafnodes(e, r)),
    (&["mqtt"], |_, e, r| unsupported::mqtt(e, r)),
    (
        &[
            "store_dir",
            "storedir",
            "default_js_domain",
            "ocsp",
            "ocsp_cache",
            "proxy_protocol",
            "prof_block_rate",
            "feature_flags",
        ],
        |_, e, r| {
            if *e.value() != Value::Bool(false) {
                e.unsupported(r);
            }
        },
    ),
    (&["strict"], |d, e, r| set(&mut d.config.strict, e.bool(r))),
];

/// Reads `listen`: a port or `host:port`.
pub(super) fn listen(entry: Entry<'_>, report: &mut Report<'_>, host: &mut String, port: &mut i64) {
    match entry.value() {
        Value::Int(_) => {
            if let Some(number) = entry.port(report) {
                *port = number;
                host.clear();
            }
        }
        Value::Text(address) => {
            let Some((name, number)) = url::split_host_port(address) else {
                entry.error(report, format!("could not parse address string {address:?}"));
                return;
            };
            match number.parse() {
                Ok(number @ -1..=65535) => {
                    *port = number;
                    name.clone_into(host);
                }
                _ => entry.error(report, format!("could not parse port {number:?}")),
            }
        }
        other => {
            let found = other.go_type();
            entry.error(report, format!("expected port or host:port, got {found}"));
        }
    }
}

pub(super) fn text(slot: &mut String, entry: Entry<'_>, report: &mut Report<'_>) {
    set(slot, entry.text(report).map(str::to_owned));
}

fn path(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Option<PathBuf>> {
    entry.filled(report).map(|path| path.map(PathBuf::from))
}

fn server_name(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(name) = entry.text(report) else { return };
    if name.contains(' ') {
        entry.error(report, "server name cannot contain spaces");
        return;
    }
    draft.config.server_name = (!name.is_empty()).then(|| name.to_owned());
}

fn trace_verbose(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let on = entry.bool(report);
    set(&mut draft.config.log.trace_verbose, on);
    set(&mut draft.config.log.trace, on);
}

fn trace_headers(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let on = entry.bool(report);
    set(&mut draft.config.log.trace_headers, on);
    set(&mut draft.config.log.trace, on);
}

/// Reads a size in bytes; zero means the default, less than zero that it is not limited.
fn size(
    slot: &mut usize,
    default: usize,
    unlimited: usize,
    entry: Entry<'_>,
    report: &mut Report<'_>,
) {
    let Some(number) = entry.int(report) else { return };
    if number > i64::from(i32::MAX) {
        entry.error(report, format!("{} value is too big", entry.key));
        return;
    }
    *slot = match usize::try_from(number) {
        Ok(0) => default,
        Ok(number) => number,
        Err(_) => unlimited,
    };
}

fn max_pending(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(number) = entry.int(report) else { return };
    draft.config.limits.max_pending = match usize::try_from(number) {
        Ok(0) => 64 << 20,
        Ok(number) => number,
        // Less than any payload: the check of the whole refuses it.
        Err(_) => 0,
    };
}

fn max_connections(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(number) = entry.int(report) else { return };
    // Observed: zero and less admit nobody.
    draft.config.limits.max_connections = Some(usize::try_from(number).unwrap_or(0));
}

fn max_subscription_tokens(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(number) = entry.int(report) else { return };
    match u8::try_from(number) {
        Ok(tokens @ 1..) => {
            draft.config.limits.max_subscription_tokens = Some(usize::from(tokens));
        }
        _ if number > 0 => entry.error(report, format!("{} value is too big", entry.key)),
        _ => entry.error(report, format!("{} value can not be negative", entry.key)),
    }
}

/// Reads what to do about a peer that does not take what is written.
pub(super) fn write_timeout(entry: Entry<'_>, report: &mut Report<'_>) -> Option<WriteTimeout> {
    match entry.text(report)? {
        "default" => Some(WriteTimeout::Default),
        "close" => Some(WriteTimeout::Close),
        "retry" => Some(WriteTimeout::Retry),
        _ => {
            entry.error(report, "write_timeout must be 'default', 'close' or 'retry'");
            None
        }
    }
}

fn or_seconds(duration: Duration, seconds: u64) -> Duration {
    if duration.is_zero() { Duration::from_secs(seconds) } else { duration }
}

fn lame_duck_duration(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(nanos) = lame_duck(entry, report) else { return };
    let duration = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    if duration.as_secs() < 30 {
        let sign = if nanos < 0 { "-" } else { "" };
        let size = duration::show(Duration::from_nanos(nanos.unsigned_abs()));
        entry.error(
            report,
            format!("invalid lame_duck_duration of {sign}{size}, minimum is 30 seconds"),
        );
        return;
    }
    draft.config.lame_duck.duration = duration;
}

fn lame_duck_grace_period(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(nanos) = lame_duck(entry, report) else { return };
    match u64::try_from(nanos) {
        Ok(nanos) => {
            draft.config.lame_duck.grace = or_seconds(Duration::from_nanos(nanos), 10);
        }
        Err(_) => entry.error(report, "invalid lame_duck_grace_period, needs to be positive"),
    }
}

fn lame_duck(entry: Entry<'_>, report: &mut Report<'_>) -> Option<i64> {
    match entry.duration_text(report)? {
        Ok(nanos) => Some(nanos),
        Err(error) => {
            entry.error(report, format!("error parsing {}: {error}", entry.key.to_lowercase()));
            None
        }
    }
}

fn server_tags(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let tags = match entry.value() {
        Value::Text(tag) => vec![tag.clone()],
        Value::List(_) => match entry.texts("tags", report) {
            Some(tags) => tags,
            None => return,
        },
        other => {
            let found = other.go_type();
            entry.error(report, format!("error parsing tags: unsupported type {found}"));
            return;
        }
    };
    for tag in tags {
        let tag = tag.trim().to_lowercase();
        if !tag.is_empty() && !draft.config.tags.contains(&tag) {
            draft.config.tags.push(tag);
        }
    }
}

fn server_metadata(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("error parsing metadata: unsupported type {found}"));
        return;
    };
    for (key, node) in map.iter() {
        if let Some(value) = (Entry { key, node }).text(report) {
            draft.config.metadata.insert(key.to_owned(), value.to_owned());
        }
    }
}

/// Reads a name; the empty one means none.
pub(super) fn name(slot: &mut Option<String>, entry: Entry<'_>, report: &mut Report<'_>) {
    set(slot, entry.filled(report));
}

fn system_account(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    // Observed: unlike others, this key counts only as it is spelt here.
    if !matches!(entry.key, "system_account" | "system") {
        return;
    }
    match entry.value() {
        Value::Text(_) => name(&mut draft.config.system_account, entry, report),
        _ => entry.error(report, "system account name must be a string"),
    }
}

/// Reads natsd's own bound on failed logins; `max: 0` is none.
fn failed_logins(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(map) = entry.map(report) else { return };
    let mut terms = (None, FAILED_LOGINS_PER);
    read_map(map, FAILED_LOGINS_RULES, &mut terms, report);
    let (max, per) = terms;
    draft.config.limits.failed_logins = max.map(|max| FailedLogins { max, per });
}

/// In which time so many logins may fail, unless that is said.
const FAILED_LOGINS_PER: Duration = Duration::from_secs(60);

const FAILED_LOGINS_RULES: &[Rule<(Option<u32>, Duration)>] = &[
    (&["max"], |terms, e, r| set(&mut terms.0, e.count(r))),
    (&["per"], |terms, e, r| match e.duration("per", r) {
        Some(per) if per.is_zero() => terms.1 = FAILED_LOGINS_PER,
        Some(per) if per > FAILED_LOGINS_MOST => {
            e.error(r, "\"per\" of failed_logins is too long, should be 24h at most");
        }
        per => set(&mut terms.1, per),
    }),
];

/// Longer would keep addresses of users out that did nothing.
const FAILED_LOGINS_MOST: Duration = Duration::from_secs(24 * 3600);

fn proxies(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("expected proxies to be a map/struct, got {found}"));
        return;
    };
    draft.config.proxies.defined = true;
    read_map(map, PROXY_RULES, &mut draft.config.proxies.trusted, report);
}

const PROXY_RULES: &[Rule<Vec<String>>] = &[(&["trusted"], |keys, e, r| {
    let Value::List(nodes) = e.value() else {
        let found = e.value().go_type();
        e.error(r, format!("expected proxies' trusted field to be an array, got {found}"));
        return;
    };
    for node in nodes {
        match &node.value {
            Value::Map(map) => {
                let mut own = Vec::new();
                let errors = r.errors.len();
                read_map(map, PROXY_KEY_RULES, &mut own, r);
                // A proxy without a key is refused later, as nats-server does at start.
                if own.is_empty() && r.errors.len() == errors {
                    own.push(String::new());
                }
                keys.append(&mut own);
            }
            other => {
                let found = other.go_type();
                let text =
                    format!("expected proxies' trusted entry to be a map/struct, got {found}");
                r.error(&node.place, text);
            }
        }
    }
})];

const PROXY_KEY_RULES: &[Rule<Vec<String>>] = &[(&["key", "public_key"], |keys, e, r| {
    let Some(key) = e.text(r) else { return };
    if is_public(key, Kind::Any) {
        keys.push(key.to_owned());
    } else {
        e.error(r, format!("invalid proxy key {key:?}"));
    }
})];
