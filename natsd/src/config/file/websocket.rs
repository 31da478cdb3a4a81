//! `websocket { }`

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{Entry, Report, Rule, read as read_map, set};
use super::tls::{Side, tls};
use super::top::{listen, name, text};
use crate::config::conf::Value;
use crate::config::draft::{Draft, WebsocketDraft};
use crate::config::{Listen, Secret, Websocket, duration};

pub(super) fn read(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("Expected websocket to be a map, got {found}"));
        return;
    };
    let websocket = draft.websocket.get_or_insert_with(empty);
    read_map(map, RULES, websocket, report);
}

fn empty() -> WebsocketDraft {
    let websocket = Websocket {
        listen: Listen { host: String::new(), port: 0 },
        advertise: None,
        no_tls: false,
        tls: None,
        same_origin: false,
        allowed_origins: Vec::new(),
        handshake_timeout: None,
        compression: false,
        user: None,
        password: None,
        token: None,
        auth_timeout: None,
        no_auth_user: None,
        jwt_cookie: None,
        user_cookie: None,
        password_cookie: None,
        token_cookie: None,
        headers: BTreeMap::new(),
        ping_interval: None,
    };
    WebsocketDraft { websocket, host: String::new(), port: 0, advertise: String::new() }
}

const RULES: &[Rule<WebsocketDraft>] = &[
    (&["listen"], |w, e, r| listen(e, r, &mut w.host, &mut w.port)),
    (&["host", "net"], |w, e, r| text(&mut w.host, e, r)),
    (&["port"], |w, e, r| set(&mut w.port, e.port(r))),
    (&["advertise"], |w, e, r| text(&mut w.advertise, e, r)),
    (&["no_tls"], |w, e, r| set(&mut w.websocket.no_tls, e.bool(r))),
    (&["tls"], |w, e, r| w.websocket.tls = tls(e, Side::Clients, r)),
    (&["same_origin"], |w, e, r| set(&mut w.websocket.same_origin, e.bool(r))),
    (
        &[
            "allowed_origins",
            "allowed_origin",
            "allow_origins",
            "allow_origin",
            "origins",
            "origin",
        ],
        |w, e, r| set(&mut w.websocket.allowed_origins, e.texts("allowed origins", r)),
    ),
    (&["handshake_timeout"], handshake_timeout),
    (&["compress", "compression"], |w, e, r| set(&mut w.websocket.compression, e.bool(r))),
    (&["authorization", "authentication"], |w, e, r| {
        if let Some(map) = e.map(r) {
            read_map(map, AUTHORIZATION_RULES, &mut w.websocket, r);
        }
    }),
    (&["jwt_cookie"], |w, e, r| name(&mut w.websocket.jwt_cookie, e, r)),
    (&["user_cookie"], |w, e, r| name(&mut w.websocket.user_cookie, e, r)),
    (&["pass_cookie"], |w, e, r| name(&mut w.websocket.password_cookie, e, r)),
    (&["token_cookie"], |w, e, r| name(&mut w.websocket.token_cookie, e, r)),
    (&["no_auth_user"], |w, e, r| name(&mut w.websocket.no_auth_user, e, r)),
    (&["headers"], headers),
    (&["ping_interval"], |w, e, r| {
        let interval = e.duration("ping_interval", r);
        set(&mut w.websocket.ping_interval, interval.map(|d| (!d.is_zero()).then_some(d)));
    }),
];

const AUTHORIZATION_RULES: &[Rule<Websocket>] = &[
    (&["user", "username"], |w, e, r| name(&mut w.user, e, r)),
    (&["pass", "password"], |w, e, r| w.password = secret(e, r)),
    (&["token"], |w, e, r| w.token = secret(e, r)),
    (&["timeout"], |w, e, r| match (e.value(), e.timeout()) {
        // Observed: a string is not understood here, and stands for one second.
        (Value::Text(_), _) | (_, Err(_)) => {
            e.warn(r, "timeout should be a number of seconds; taken for 1");
            w.auth_timeout = Some(Duration::from_secs(1));
        }
        (_, Ok(timeout)) => w.auth_timeout = (!timeout.is_zero()).then_some(timeout),
    }),
];

fn secret(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Secret> {
    entry.text(report).filter(|text| !text.is_empty()).map(Secret::from)
}

fn handshake_timeout(draft: &mut WebsocketDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let nanos = match entry.value() {
        Value::Int(seconds) => Ok(seconds.saturating_mul(1_000_000_000)),
        Value::Text(text) => duration::parse(text),
        other => {
            let found = other.go_type();
            Err(format!("error parsing handshake timeout: unsupported type {found}"))
        }
    };
    match nanos {
        Ok(nanos) => {
            let timeout = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            draft.websocket.handshake_timeout = (!timeout.is_zero()).then_some(timeout);
        }
        Err(error) => entry.error(report, error),
    }
}

fn headers(draft: &mut WebsocketDraft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("error parsing headers: unsupported type {found}"));
        return;
    };
    for (key, node) in map.iter() {
        match &node.value {
            Value::Text(value) => {
                draft.websocket.headers.insert(key.to_owned(), value.clone());
            }
            other => {
                let found = other.go_type();
                let text = format!("error parsing header key {key}: unsupported type {found}");
                report.error(&node.place, text);
            }
        }
    }
}
