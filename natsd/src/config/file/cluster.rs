//! `cluster { }`

use super::auth::block;
use super::entry::{Entry, Report, Rule, read as read_map, set};
use super::permissions::permissions;
use super::tls::{Side, tls};
use super::top::{listen, text, write_timeout};
use crate::config::conf::Value;
use crate::config::draft::{ClusterDraft, Draft, route_url, without_password};
use crate::config::{ClusterPermissions, Permissions, duration};

/// Routes ask for a sign of life at least this often.
const PING_INTERVAL_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// A cluster name that leafnodes without a cluster use.
const RESERVED_NAME: &str = "_";

pub(super) fn read(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("Expected map to define cluster, got {found}"));
        return;
    };
    read_map(map, RULES, &mut draft.cluster, report);
}

const RULES: &[Rule<ClusterDraft>] = &[
    (&["name"], cluster_name),
    (&["listen"], |c, e, r| listen(e, r, &mut c.host, &mut c.port)),
    (&["host", "net"], |c, e, r| text(&mut c.host, e, r)),
    (&["port"], |c, e, r| set(&mut c.port, e.port(r))),
    (&["authorization"], authorization),
    (&["routes"], routes),
    (&["cluster_advertise", "advertise"], |c, e, r| text(&mut c.advertise, e, r)),
    (&["no_advertise"], |c, e, r| set(&mut c.cluster.no_advertise, e.bool(r))),
    (&["connect_retries"], |c, e, r| {
        set(&mut c.cluster.connect_retries, e.count(r).map(|n| n.unwrap_or(0)));
    }),
    (&["connect_backoff"], |c, e, r| set(&mut c.cluster.connect_backoff, e.bool(r))),
    (&["tls"], |c, e, r| c.cluster.tls = tls(e, Side::Servers, r)),
    (&["permissions"], permission_block),
    (&["pool_size"], |c, e, r| set(&mut c.pool_size, e.int(r))),
    (&["accounts"], |c, e, r| set(&mut c.cluster.pinned_accounts, e.texts("accounts", r))),
    (&["compression"], compression),
    (&["ping_interval"], ping_interval),
    (&["ping_max"], |c, e, r| set(&mut c.cluster.ping_max, e.count(r))),
    (&["write_deadline"], |c, e, r| {
        let deadline = e.duration("write_deadline", r);
        set(&mut c.cluster.write_deadline, deadline.map(|d| (!d.is_zero()).then_some(d)));
    }),
    (&["write_timeout"], |c, e, r| set(&mut c.cluster.write_timeout, write_timeout(e, r))),
    (&["dead_peer_timeout"], |c, e, r| {
        let timeout = e.duration("dead_peer_timeout", r);
        set(&mut c.cluster.dead_peer_timeout, timeout.map(|d| (!d.is_zero()).then_some(d)));
    }),
    (&["start_gate"], |c, e, r| {
        let gate = e.duration("start_gate", r);
        set(&mut c.cluster.start_gate, gate.map(|d| (!d.is_zero()).then_some(d)));
    }),
];

fn cluster_name(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(name) = entry.text(report) else { return };
    if name.contains(' ') {
        entry.error(report, "cluster name cannot contain spaces");
    } else if name == RESERVED_NAME {
        entry.error(report, "cluster name is reserved");
    } else {
        draft.cluster.name = (!name.is_empty()).then(|| name.to_owned());
    }
}

fn authorization(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(auth) = block(entry, report) else { return };
    for (fault, text) in [
        (auth.users.is_some(), "Cluster authorization does not allow multiple users"),
        (!auth.token.is_empty(), "Cluster authorization does not support tokens"),
        (auth.callout.is_some(), "Cluster authorization does not support callouts"),
    ] {
        if fault {
            entry.error(report, text);
            return;
        }
    }
    draft.user = auth.user;
    draft.password = auth.password;
    draft.auth_timeout = auth.timeout;
    let Some(permissions) = auth.default_permissions else { return };
    if let Err(error) = check_permissions(&permissions) {
        entry.error(report, error);
        return;
    }
    let advice = r#"setting "permissions" within cluster authorization block is deprecated"#;
    entry.warn_use(report, entry.key, advice);
    if !draft.permissions_set {
        draft.cluster.permissions = crossing(permissions);
    }
}

fn permission_block(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(found) = permissions(entry, report) else { return };
    if found.responses.is_some() {
        entry.error(report, "Cluster permissions do not support dynamic responses");
    } else if let Err(error) = check_permissions(&found) {
        entry.error(report, error);
    } else {
        draft.permissions_set = true;
        draft.cluster.permissions = crossing(found);
    }
}

/// What a user may publish is what peers may send us.
fn crossing(permissions: Permissions) -> ClusterPermissions {
    ClusterPermissions { import: permissions.publish, export: permissions.subscribe }
}

/// Queue groups have no place in what crosses routes.
fn check_permissions(permissions: &Permissions) -> Result<(), String> {
    let Some(subscribe) = &permissions.subscribe else { return Ok(()) };
    let allow = subscribe.allow.iter().flatten().map(|subject| ("allow", subject));
    let deny = subscribe.deny.iter().map(|subject| ("deny", subject));
    for (list, subject) in allow.chain(deny) {
        if let Some(queue) = &subject.queue {
            let text = format!("{} {queue}", subject.subject);
            return Err(format!("cluster export {list}: subject {text:?} is not a valid subject"));
        }
    }
    Ok(())
}

fn routes(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(nodes) = entry.list(report) else { return };
    let mut seen: Vec<&str> = Vec::new();
    let mut routes = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(url) = (Entry { key: entry.key, node }).text(report) else { continue };
        if seen.contains(&url) {
            let shown = without_password(url);
            report.warn(
                &node.place,
                format!("invalid use of field {shown:?}: Duplicate route entry detected"),
            );
            continue;
        }
        seen.push(url);
        match route_url(url) {
            Ok(route) => routes.push(route),
            Err(error) => report.error(&node.place, error),
        }
    }
    draft.cluster.routes = routes;
}

fn compression(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    match entry.value() {
        Value::Text(mode) => draft.compression_mode.clone_from(mode),
        Value::Bool(on) => draft.compression_mode = if *on { "s2_fast" } else { "off" }.into(),
        Value::Map(map) => read_map(map, COMPRESSION_RULES, draft, report),
        other => {
            let (key, found) = (entry.key, other.go_type());
            let text = format!("field {key:?} should be a boolean or a structure, got {found}");
            entry.error(report, text);
        }
    }
}

const COMPRESSION_RULES: &[Rule<ClusterDraft>] = &[
    (&["mode"], |c, e, r| text(&mut c.compression_mode, e, r)),
    (&["rtt_thresholds", "thresholds", "rtts", "rtt"], |c, e, r| {
        for node in e.list(r).unwrap_or_default() {
            let Some(text) = (Entry { key: e.key, node }).text(r) else { continue };
            match duration::parse(text) {
                Ok(nanos) => c.rtt_thresholds.push(nanos),
                Err(error) => r.error(&node.place, error),
            }
        }
    }),
];

fn ping_interval(draft: &mut ClusterDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(interval) = entry.duration("ping_interval", report) else { return };
    if interval > PING_INTERVAL_MAX {
        let text = "Cluster 'ping_interval' will reset to 30s which is the max for routes";
        entry.warn(report, text);
    }
    draft.cluster.ping_interval = (!interval.is_zero()).then(|| interval.min(PING_INTERVAL_MAX));
}
