//! Permissions of tokens as the configuration would have them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{
    self, ConnectionType, PermissionSubject, ResponsePermission, SubjectPermission,
};
use crate::jwt::{Permission, Permissions, Responses};

/// Translates permissions; `None` where nothing is said.
#[must_use]
pub fn configured(source: &Permissions) -> Option<config::Permissions> {
    let mut publish = subjects(&source.publish);
    let subscribe = subjects(&source.subscribe);
    let responses = source.responses.map(responses);
    if publish.is_none() && subscribe.is_none() && responses.is_none() {
        return None;
    }
    if responses.is_some() {
        // Whoever may answer and is allowed nothing else may publish nothing else.
        publish.get_or_insert_default().allow.get_or_insert_default();
    }
    Some(config::Permissions { publish, subscribe, responses })
}

fn subjects(source: &Permission) -> Option<SubjectPermission> {
    let list = |texts: &[String]| texts.iter().map(|text| subject(text)).collect::<Vec<_>>();
    let Permission { allow, deny } = source;
    if allow.is_empty() && deny.is_empty() {
        return None;
    }
    let allow = (!allow.is_empty()).then(|| list(allow));
    Some(SubjectPermission { allow, deny: list(deny) })
}

fn subject(text: &str) -> PermissionSubject {
    let (subject, queue) = match text.split_once(' ') {
        Some((subject, queue)) => (subject, Some(queue.to_owned())),
        None => (text, None),
    };
    PermissionSubject { subject: subject.to_owned(), queue }
}

fn responses(source: Responses) -> ResponsePermission {
    let default = ResponsePermission::default();
    ResponsePermission {
        max: match source.max {
            0 => default.max,
            ..0 => None,
            max => Some(u32::try_from(max).unwrap_or(u32::MAX)),
        },
        expires: match source.ttl {
            0 => default.expires,
            ..0 => None,
            ttl => Some(Duration::from_nanos(ttl.unsigned_abs())),
        },
    }
}

/// The kinds of connection that are known: `None` allows all, an empty set none.
#[must_use]
pub fn connection_types(names: &[String]) -> Option<BTreeSet<ConnectionType>> {
    let known = |name: &String| match name.to_uppercase().as_str() {
        "STANDARD" => Some(ConnectionType::Standard),
        "WEBSOCKET" => Some(ConnectionType::Websocket),
        "LEAFNODE" => Some(ConnectionType::Leafnode),
        "LEAFNODE_WS" => Some(ConnectionType::LeafnodeWs),
        "MQTT" => Some(ConnectionType::Mqtt),
        "MQTT_WS" => Some(ConnectionType::MqttWs),
        "IN_PROCESS" => Some(ConnectionType::InProcess),
        _ => None,
    };
    (!names.is_empty()).then(|| names.iter().filter_map(known).collect())
}
