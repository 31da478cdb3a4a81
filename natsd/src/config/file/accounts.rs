//! `accounts { }`

use super::auth::{Users, add, default_permissions, users};
use super::entry::{Entry, Report, Rule, read as read_map, read_or, set};
use super::exports::{exports, imports};
use super::links;
use super::mappings::mappings;
use super::permissions::permissions;
use super::unsupported;
use crate::config::conf::{Node, Place, Value};
use crate::config::draft::Draft;
use crate::config::nkey::{Kind, is_public};
use crate::config::subjects::{is_literal, is_valid};
use crate::config::{Account, AccountLimits, MessageTrace};

/// The account of everybody who has no other.
const GLOBAL: &str = "$G";

/// Reads accounts, once the authorization block is read.
pub(super) fn read(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    match entry.value() {
        Value::List(nodes) => names(draft, entry, nodes, report),
        Value::Map(map) => {
            for (key, node) in map.iter().filter(|(_, node)| !node.referenced) {
                account(draft, Entry { key, node }, report);
            }
        }
        // Observed: anything else is let pass.
        _ => {}
    }
    if report.errors.is_empty() {
        links::check(&draft.config, &entry.node.place, report);
    }
}

fn names(draft: &mut Draft, entry: Entry<'_>, nodes: &[Node], report: &mut Report<'_>) {
    for node in nodes {
        let Some(name) = (Entry { key: entry.key, node }).text(report) else { continue };
        if name == GLOBAL {
            report.error(&node.place, format!("{name:?} is a Reserved Account"));
        } else if draft.config.accounts.iter().any(|account| account.name == name) {
            report.error(&node.place, format!("Duplicate Account Entry: {name}"));
        } else {
            draft.config.accounts.push(Account { name: name.to_owned(), ..Account::default() });
        }
    }
}

/// An account as written.
#[derive(Default)]
struct Block {
    account: Account,
    users: Users,
    users_place: Option<Place>,
}

fn account(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        entry.error(report, "Expected map entries for accounts");
        return;
    };
    let name = entry.key;
    if name == GLOBAL {
        entry.error(report, format!("{name:?} is a Reserved Account"));
        return;
    }
    let mut block = Block::default();
    block.account.name = name.to_owned();
    read_map(map, RULES, &mut block, report);
    let Block { account, mut users, users_place } = block;
    let place = users_place.unwrap_or_else(|| entry.node.place.clone());
    if !users.users.is_empty() || !users.nkeys.is_empty() {
        let auth = &draft.config.auth;
        if auth.user.is_some() {
            report.error(&place, "Can not have a single user/pass and accounts");
        } else if auth.token.is_some() {
            report.error(&place, "Can not have a token and accounts");
        }
    }
    default_permissions(&mut users, account.default_permissions.as_ref());
    for user in &mut users.users {
        user.account = Some(name.to_owned());
    }
    for user in &mut users.nkeys {
        user.account = Some(name.to_owned());
    }
    add(draft, users, &place, report);
    draft.config.accounts.push(account);
}

const RULES: &[Rule<Block>] = &[
    (&["nkey"], |b, e, r| match e.value() {
        Value::Text(key) if is_public(key, Kind::Account) => b.account.nkey = Some(key.clone()),
        Value::Text(key) => {
            e.error(r, format!("Not a valid public nkey for an account: {key:?}"));
        }
        other => {
            let found = other.shown();
            e.error(r, format!("Not a valid public nkey for an account: {found}"));
        }
    }),
    (&["imports"], |b, e, r| imports(&mut b.account, e, r)),
    (&["exports"], |b, e, r| exports(&mut b.account, e, r)),
    (&["jetstream"], |_, e, r| unsupported::account_jetstream(e, r)),
    (&["users"], |b, e, r| {
        b.users_place = Some(e.node.place.clone());
        set(&mut b.users, users(e, r));
    }),
    (&["default_permissions"], |b, e, r| b.account.default_permissions = permissions(e, r)),
    (&["mappings", "maps"], |b, e, r| b.account.mappings = mappings(e, r)),
    (&["limits"], |b, e, r| {
        let Value::Map(map) = e.value() else {
            let found = e.value().shown();
            e.error(r, format!("Expected account limits to be a map/struct, got {found}"));
            return;
        };
        read_or(map, LIMIT_RULES, &mut b.account.limits, r, |entry, report| {
            if !entry.node.referenced {
                let key = entry.key;
                entry.error(report, format!("Unknown field {key:?} parsing account limits"));
            }
        });
    }),
    (&["msg_trace", "trace_dest"], |b, e, r| b.account.trace = trace(e, r)),
];

const LIMIT_RULES: &[Rule<AccountLimits>] = &[
    (&["max_connections", "max_conn"], |l, e, r| limit(&mut l.max_connections, e, r)),
    (&["max_subscriptions", "max_subs"], |l, e, r| limit(&mut l.max_subscriptions, e, r)),
    (&["max_payload", "max_pay"], |l, e, r| limit(&mut l.max_payload, e, r)),
    (&["max_leafnodes", "max_leafs"], |l, e, r| limit(&mut l.max_leafnodes, e, r)),
];

/// Reads a limit: less than zero is none, zero admits nothing.
fn limit(slot: &mut Option<u32>, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(number) = entry.int(report) else { return };
    *slot = if number < 0 { None } else { Some(u32::try_from(number).unwrap_or(u32::MAX)) };
}

fn trace(entry: Entry<'_>, report: &mut Report<'_>) -> Option<MessageTrace> {
    let mut draft = Trace::default();
    match entry.value() {
        Value::Text(_) => destination(&mut draft, entry, report),
        Value::Map(map) => read_or(map, TRACE_RULES, &mut draft, report, |inner, report| {
            if !inner.node.referenced {
                let (key, outer) = (inner.key, entry.key);
                let text = format!(
                    "Unknown field {key:?} parsing account message trace map/struct {outer:?}"
                );
                inner.error(report, text);
            }
        }),
        other => {
            let (key, found) = (entry.key, other.go_type());
            let text = format!(
                "Expected account message trace {key:?} to be a string or a map/struct, got {found}"
            );
            entry.error(report, text);
        }
    }
    let Some(destination) = draft.destination else {
        if draft.sampling.is_some() {
            entry.warn(report, "Trace destination sampling ignored since no destination was set");
        }
        return None;
    };
    Some(MessageTrace { destination, sampling: draft.sampling.unwrap_or(100) })
}

/// A message trace as written.
#[derive(Default)]
struct Trace {
    destination: Option<String>,
    sampling: Option<u8>,
}

const TRACE_RULES: &[Rule<Trace>] = &[
    (&["dest"], destination),
    (&["sampling"], |t, e, r| {
        let percent = match e.value() {
            Value::Int(number) => *number,
            Value::Text(text) => match text.strip_suffix('%').unwrap_or(text).parse() {
                Ok(number) => number,
                Err(_) => {
                    e.error(r, format!("Invalid trace destination sampling value {text:?}"));
                    return;
                }
            },
            other => {
                let (key, found) = (e.key, other.go_type());
                let text = format!(
                    "Trace destination sampling field {key:?} should be an integer or a percentage, got {found}"
                );
                e.error(r, text);
                return;
            }
        };
        match u8::try_from(percent) {
            // Observed: nats-server spells it so.
            Ok(percent @ 1..=100) => t.sampling = Some(percent),
            _ => {
                let text = format!(
                    "Ttrace destination sampling value {percent} is invalid, needs to be [1..100]"
                );
                e.error(r, text);
            }
        }
    }),
];

fn destination(trace: &mut Trace, entry: Entry<'_>, report: &mut Report<'_>) {
    match entry.value() {
        Value::Text(subject) if is_valid(subject) && is_literal(subject) => {
            trace.destination = Some(subject.clone());
        }
        Value::Text(subject) => {
            entry.error(report, format!("Trace destination {subject:?} is not valid"));
        }
        other => {
            let (key, found) = (entry.key, other.go_type());
            entry.error(report, format!("Field {key:?} should be a string, got {found}"));
        }
    }
}
