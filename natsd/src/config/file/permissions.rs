//! `permissions { }` of users, accounts and clusters.

use std::time::Duration;

use super::entry::{Entry, Report, Rule, read_or};
use crate::config::conf::Value;
use crate::config::{
    PermissionSubject, Permissions, ResponsePermission, SubjectPermission, duration, subjects,
};

/// Reads permissions.
pub(super) fn permissions(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Permissions> {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().shown();
        entry.error(report, format!("Expected permissions to be a map/struct, got {found}"));
        return None;
    };
    let mut permissions = Permissions::default();
    read_or(map, RULES, &mut permissions, report, unknown);
    if permissions.responses.is_some() {
        // Leave to answer means no general leave to publish.
        permissions.publish.get_or_insert_default().allow.get_or_insert_default();
    }
    Some(permissions)
}

fn unknown(entry: Entry<'_>, report: &mut Report<'_>) {
    if !entry.node.referenced {
        entry.error(report, format!("Unknown field {:?} parsing permissions", entry.key));
    }
}

const RULES: &[Rule<Permissions>] = &[
    (&["pub", "publish", "import"], |p, e, r| p.publish = subject_permission(e, r, false)),
    (&["sub", "subscribe", "export"], |p, e, r| p.subscribe = subject_permission(e, r, true)),
    (&["publish_allow_responses", "allow_responses"], |p, e, r| p.responses = responses(e, r)),
];

/// What one direction's rules fill, and whether they may name queue groups.
struct Direction {
    permission: SubjectPermission,
    queues: bool,
}

fn subject_permission(
    entry: Entry<'_>,
    report: &mut Report<'_>,
    queues: bool,
) -> Option<SubjectPermission> {
    let mut direction = Direction { permission: SubjectPermission::default(), queues };
    match entry.value() {
        Value::Map(map) if map.is_empty() => return None,
        Value::Map(map) => {
            read_or(map, DIRECTION_RULES, &mut direction, report, |entry, report| {
                if !entry.node.referenced {
                    entry.error(report, format!("Unknown field name {:?} parsing subject permissions, only 'allow' or 'deny' are permitted", entry.key));
                }
            })
        }
        _ => direction.permission.allow = non_empty(listed(entry, report, queues)?),
    }
    Some(direction.permission)
}

const DIRECTION_RULES: &[Rule<Direction>] = &[
    (&["allow"], |d, e, r| {
        d.permission.allow = listed(e, r, d.queues).and_then(non_empty);
    }),
    (&["deny"], |d, e, r| {
        d.permission.deny = listed(e, r, d.queues).unwrap_or_default();
    }),
];

/// An empty list of allowed subjects allows all, as none at all does.
fn non_empty(list: Vec<PermissionSubject>) -> Option<Vec<PermissionSubject>> {
    (!list.is_empty()).then_some(list)
}

fn listed(
    entry: Entry<'_>,
    report: &mut Report<'_>,
    queues: bool,
) -> Option<Vec<PermissionSubject>> {
    let mut subjects = Vec::new();
    let mut take = |text: &str| {
        let subject = permission_subject(text, queues)?;
        subjects.push(subject);
        Ok(())
    };
    let result: Result<(), String> = match entry.value() {
        Value::Text(text) => take(text),
        Value::List(nodes) => {
            if let Some(other) = nodes.iter().find(|node| !matches!(node.value, Value::Text(_))) {
                let text = "Subject in permissions array cannot be cast to string";
                report.error(&other.place, text);
                return None;
            }
            nodes.iter().try_for_each(|node| match &node.value {
                Value::Text(text) => take(text),
                _ => Ok(()),
            })
        }
        other => Err(format!(
            "Expected subject permissions to be a subject, or array of subjects, got {}",
            other.go_type()
        )),
    };
    match result {
        Ok(()) => Some(subjects),
        Err(error) => {
            entry.error(report, error);
            None
        }
    }
}

fn permission_subject(text: &str, queues: bool) -> Result<PermissionSubject, String> {
    if subjects::is_valid(text) {
        return Ok(PermissionSubject { subject: text.to_owned(), queue: None });
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [subject, queue] if queues => {
            if !subjects::is_valid(subject) {
                return Err(format!("subject {subject:?} is not a valid subject"));
            }
            if !subjects::is_valid(queue) {
                return Err(format!("queue {queue:?} is not a valid queue"));
            }
            let (subject, queue) = ((*subject).to_owned(), Some((*queue).to_owned()));
            Ok(PermissionSubject { subject, queue })
        }
        _ => Err(format!("subject {text:?} is not a valid subject")),
    }
}

fn responses(entry: Entry<'_>, report: &mut Report<'_>) -> Option<ResponsePermission> {
    let map = match entry.value() {
        Value::Bool(on) => return on.then(ResponsePermission::default),
        Value::Map(map) => map,
        _ => {
            entry.error(report, "error parsing response permissions, expected a boolean or a map");
            return None;
        }
    };
    let mut responses = ResponsePermission::default();
    read_or(map, RESPONSE_RULES, &mut responses, report, unknown);
    Some(responses)
}

const RESPONSE_RULES: &[Rule<ResponsePermission>] = &[
    (&["max", "max_msgs", "max_messages", "max_responses"], |p, e, r| match e.int(r) {
        None | Some(0) => {}
        Some(max) if max < 0 => p.max = None,
        Some(max) => p.max = Some(u32::try_from(max).unwrap_or(u32::MAX)),
    }),
    (&["expires", "expiration", "ttl"], |p, e, r| {
        let Value::Text(text) = e.value() else {
            e.error(r, "error parsing expires, not a duration string");
            return;
        };
        match duration::parse(text) {
            Ok(0) => {}
            // Less than nothing is for ever.
            Ok(nanos) => p.expires = u64::try_from(nanos).ok().map(Duration::from_nanos),
            Err(error) => e.error(r, format!("error parsing expires: {error}")),
        }
    }),
];
