//! `authorization { }` of clients and of routes, and users wherever they stand.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::{Entry, Report, Rule, read as read_map, read_or, set};
use super::permissions::permissions;
use super::top::text;
use crate::config::conf::{Place, Value};
use crate::config::draft::Draft;
use crate::config::nkey::{Kind, is_public};
use crate::config::{AuthCallout, ConnectionType, NkeyUser, Permissions, Secret, User};

/// Longer than this is most likely an unquoted duration.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// An authorization block as written.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) token: Secret,
    pub(super) timeout: Option<Duration>,
    pub(super) users: Option<Users>,
    pub(super) default_permissions: Option<Permissions>,
    pub(super) callout: Option<AuthCallout>,
    pub(super) proxy_required: bool,
}

/// Users of one array.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) users: Vec<User>,
    pub(super) nkeys: Vec<NkeyUser>,
}

/// Reads `authorization` of the top level. Users of accounts are compared with it later.
pub(super) fn read(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(block) = block(entry, report) else { return };
    draft.auth_timeout = block.timeout;
    let auth = &mut draft.config.auth;
    auth.block_defined = true;
    auth.proxy_required = block.proxy_required;
    auth.callout = block.callout;
    let some = |secret: Secret| (!secret.is_empty()).then_some(secret);
    auth.user = (!block.user.is_empty()).then_some(block.user);
    auth.password = some(block.password);
    auth.token = some(block.token);
    if (auth.user.is_some() || auth.password.is_some()) && auth.token.is_some() {
        entry.error(report, "Cannot have a user/pass and token");
        return;
    }
    let Some(users) = block.users else { return };
    if auth.user.is_some() {
        entry.error(report, "Can not have a single user/pass and a users array");
        return;
    }
    if auth.token.is_some() {
        entry.error(report, "Can not have a token and a users array");
        return;
    }
    add(draft, users, &entry.node.place, report);
}

/// Adds users, none of which may be there already.
pub(super) fn add(draft: &mut Draft, users: Users, place: &Place, report: &mut Report<'_>) {
    let auth = &mut draft.config.auth;
    let mut known: std::collections::HashSet<String> =
        auth.users.iter().map(|u| u.name.clone()).collect();
    known.extend(auth.nkeys.iter().map(|u| u.nkey.clone()));
    for user in users.users {
        if !known.insert(user.name.clone()) {
            report.error(place, format!("Duplicate user {:?} detected", user.name));
            continue;
        }
        auth.users.push(user);
    }
    for user in users.nkeys {
        if !known.insert(user.nkey.clone()) {
            report.error(place, format!("Duplicate nkey {:?} detected", user.nkey));
            continue;
        }
        auth.nkeys.push(user);
    }
}

/// Reads an authorization block.
pub(super) fn block(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Block> {
    let mut block = Block::default();
    read_map(entry.map(report)?, RULES, &mut block, report);
    if let Some(users) = &mut block.users {
        default_permissions(users, block.default_permissions.as_ref());
    }
    Some(block)
}

/// Gives users without permissions the default ones.
pub(super) fn default_permissions(users: &mut Users, permissions: Option<&Permissions>) {
    let Some(permissions) = permissions else { return };
    for user in &mut users.users {
        user.permissions.get_or_insert_with(|| permissions.clone());
    }
    for user in &mut users.nkeys {
        user.permissions.get_or_insert_with(|| permissions.clone());
    }
}

const RULES: &[Rule<Block>] = &[
    (&["user", "username"], |b, e, r| text(&mut b.user, e, r)),
    (&["pass", "password"], |b, e, r| set(&mut b.password, e.text(r).map(Secret::from))),
    (&["token"], |b, e, r| set(&mut b.token, e.text(r).map(Secret::from))),
    (&["timeout"], |b, e, r| match e.timeout() {
        Ok(timeout) => {
            if timeout > TIMEOUT_MAX {
                let (written, seconds) = (e.written(), timeout.as_secs_f64());
                e.warn_use(r, e.key, format_args!("timeout of {written} ({seconds:.6} seconds) is high, consider keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example"));
            }
            b.timeout = Some(timeout);
        }
        Err(error) => {
            e.error(r, format!("error parsing authorization config, 'timeout' {error}"));
        }
    }),
    (&["users"], |b, e, r| b.users = users(e, r)),
    (&["default_permission", "default_permissions", "permissions"], |b, e, r| {
        b.default_permissions = permissions(e, r);
    }),
    (&["auth_callout", "auth_hook"], |b, e, r| b.callout = callout(e, r)),
    (&["proxy_required"], |b, e, r| set(&mut b.proxy_required, e.bool(r))),
];

/// Reads an array of users.
pub(super) fn users(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Users> {
    let Value::List(nodes) = entry.value() else {
        let found = entry.value().shown();
        entry.error(report, format!("Expected users field to be an array, got {found}"));
        return None;
    };
    let mut users = Users::default();
    for node in nodes {
        let Value::Map(map) = &node.value else {
            let found = node.value.shown();
            let text = format!("Expected user entry to be a map/struct, got {found}");
            report.error(&node.place, text);
            continue;
        };
        let mut one = One::default();
        read_map(map, USER_RULES, &mut one, report);
        let place = map.iter().last().map_or(&node.place, |(_, node)| &node.place);
        match one.checked() {
            Ok(Checked::Password(user)) => users.users.push(user),
            Ok(Checked::Nkey(user)) => users.nkeys.push(user),
            Err(error) => report.error(place, error),
        }
    }
    Some(users)
}

/// One user as written, of either kind.
#[derive(Default)]
struct One {
    nkey: String,
    user: User,
}

enum Checked {
    Password(User),
    Nkey(NkeyUser),
}

impl One {
    fn checked(self) -> Result<Checked, &'static str> {
        let Self { nkey, user } = self;
        if nkey.is_empty() {
            if user.name.is_empty() {
                return Err("User entry requires a user");
            }
            return Ok(Checked::Password(user));
        }
        if !is_public(&nkey, Kind::User) {
            return Err("Not a valid public nkey for a user");
        }
        if !user.name.is_empty() || !user.password.is_empty() {
            return Err("Nkey users do not take usernames or passwords");
        }
        let User { account, permissions, connection_types, proxy_required, .. } = user;
        Ok(Checked::Nkey(NkeyUser { nkey, account, permissions, connection_types, proxy_required }))
    }
}

const USER_RULES: &[Rule<One>] = &[
    (&["nkey"], |o, e, r| text(&mut o.nkey, e, r)),
    (&["user", "username"], |o, e, r| text(&mut o.user.name, e, r)),
    (&["pass", "password"], |o, e, r| {
        set(&mut o.user.password, e.text(r).map(Secret::from));
    }),
    (&["permission", "permissions", "authorization"], |o, e, r| {
        o.user.permissions = permissions(e, r);
    }),
    (&["allowed_connection_types", "connection_types", "clients"], |o, e, r| {
        o.user.connection_types = connection_types(e, r);
    }),
    (&["proxy_required"], |o, e, r| set(&mut o.user.proxy_required, e.bool(r))),
];

fn connection_types(entry: Entry<'_>, report: &mut Report<'_>) -> Option<BTreeSet<ConnectionType>> {
    let mut types = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in entry.texts("allowed connection types", report)? {
        let name = name.to_uppercase();
        match name.as_str() {
            "STANDARD" => drop(types.insert(ConnectionType::Standard)),
            "WEBSOCKET" => drop(types.insert(ConnectionType::Websocket)),
            "LEAFNODE" => drop(types.insert(ConnectionType::Leafnode)),
            "LEAFNODE_WS" => drop(types.insert(ConnectionType::LeafnodeWs)),
            "MQTT" => drop(types.insert(ConnectionType::Mqtt)),
            "MQTT_WS" => drop(types.insert(ConnectionType::MqttWs)),
            "IN_PROCESS" => drop(types.insert(ConnectionType::InProcess)),
            _ => unknown.push(format!("{name:?}")),
        }
    }
    if !unknown.is_empty() {
        entry.error(report, format!("invalid connection types [{}]", unknown.join(" ")));
    }
    (!types.is_empty()).then_some(types)
}

fn callout(entry: Entry<'_>, report: &mut Report<'_>) -> Option<AuthCallout> {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().shown();
        let text = format!("Expected authorization callout to be a map/struct, got {found}");
        entry.error(report, text);
        return None;
    };
    let mut callout = AuthCallout::default();
    let errors = report.errors.len();
    // A key that nobody knows does not keep the others from being looked at.
    let unknown = Cell::new(0);
    read_or(map, CALLOUT_RULES, &mut callout, report, |entry, report| {
        if !entry.node.referenced {
            let key = entry.key;
            entry.error(report, format!("Unknown field {key:?} parsing authorization callout"));
            unknown.set(unknown.get() + 1);
        }
    });
    if callout.account.is_empty() {
        callout.account = "$G".into();
    }
    if report.errors.len() > errors + unknown.get() {
        return None;
    }
    let place = map.iter().last().map_or(&entry.node.place, |(_, node)| &node.place);
    if callout.issuer.is_empty() {
        report.error(place, "Authorization callouts require an issuer to be specified");
        return None;
    }
    if callout.auth_users.is_empty() {
        report.error(place, "Authorization callouts require authorized users to be specified");
        return None;
    }
    Some(callout)
}

const CALLOUT_RULES: &[Rule<AuthCallout>] = &[
    (&["issuer"], |c, e, r| {
        text(&mut c.issuer, e, r);
        if !is_public(&c.issuer, Kind::Account) {
            let found = &c.issuer;
            e.error(
                r,
                format!("Expected callout user to be a valid public account nkey, got {found:?}"),
            );
        }
    }),
    (&["account", "acc"], |c, e, r| text(&mut c.account, e, r)),
    (&["auth_users", "users"], |c, e, r| set(&mut c.auth_users, names(e, "auth_users", r))),
    (&["xkey", "key"], |c, e, r| {
        let Some(key) = e.text(r) else { return };
        if !is_public(key, Kind::Curve) {
            e.error(r, format!("Expected callout xkey to be a valid public xkey, got {key:?}"));
        }
        c.xkey = Some(key.to_owned());
    }),
    (&["allowed_accounts"], |c, e, r| {
        set(&mut c.allowed_accounts, names(e, "allowed accounts", r));
    }),
];

fn names(entry: Entry<'_>, field: &str, report: &mut Report<'_>) -> Option<Vec<String>> {
    if let Value::List(_) = entry.value() {
        return entry.texts(field, report);
    }
    let found = entry.value().go_type();
    entry.error(report, format!("Expected {field} field to be an array, got {found}"));
    None
}
