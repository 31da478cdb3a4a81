//! `exports [ ]` and `imports [ ]` of accounts.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use super::entry::{Entry, Report, Rule, read as read_map, read_or, set};
use super::top::{name, text};
use crate::config::conf::{Map, Node, Value};
use crate::config::{
    Account, Latency, ResponseType, ServiceExport, ServiceImport, StreamExport, StreamImport,
    duration,
};

/// Reads exports into an account.
pub(super) fn exports(account: &mut Account, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::List(nodes) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("Exports should be an array, got {found}"));
        return;
    };
    for node in nodes {
        let Value::Map(map) = &node.value else {
            let found = node.value.go_type();
            let text = format!("Export Items should be a map with type entry, got {found}");
            report.error(&node.place, text);
            continue;
        };
        let mut export = Export::default();
        read_map(map, EXPORT_RULES, &mut export, report);
        export.add_to(account, map, node, report);
    }
}

/// An export as written.
#[derive(Default)]
struct Export {
    stream: Option<String>,
    service: ServiceExport,
    has_service: bool,
    /// Keys given that only services have, with what they are called in messages.
    service_only: Vec<(&'static str, String)>,
}

impl Export {
    fn add_to(self, account: &mut Account, map: &Map, node: &Node, report: &mut Report<'_>) {
        let Some(subject) = self.stream else {
            // Observed: an item that names neither is let pass.
            if self.has_service {
                account.service_exports.push(self.service);
            }
            return;
        };
        if self.has_service {
            let service = self.service.subject;
            let text = format!("Detected service {service:?} but already saw a stream");
            report.error(&node.place, text);
            return;
        }
        for (what, key) in &self.service_only {
            let place = map.get(key).map_or(&node.place, |node| &node.place);
            report.error(place, format!("Detected {what} directive on non-service"));
        }
        let ServiceExport { accounts, account_token_position, .. } = self.service;
        account.stream_exports.push(StreamExport { subject, accounts, account_token_position });
    }

    fn service_only(&mut self, what: &'static str, entry: Entry<'_>) {
        self.service_only.push((what, entry.key.to_owned()));
    }
}

const EXPORT_RULES: &[Rule<Export>] = &[
    (&["stream"], |x, e, r| match e.value() {
        Value::Text(subject) => x.stream = Some(subject.clone()),
        other => {
            let found = other.go_type();
            e.error(r, format!("Expected stream name to be string, got {found}"));
        }
    }),
    (&["service"], |x, e, r| match e.value() {
        Value::Text(subject) => {
            x.service.subject.clone_from(subject);
            x.has_service = true;
        }
        other => {
            let found = other.go_type();
            e.error(r, format!("Expected service name to be string, got {found}"));
        }
    }),
    (&["response", "response_type"], |x, e, r| {
        x.service_only("response", e);
        match e.value() {
            Value::Text(text) => match text.to_lowercase().as_str() {
                "single" | "singleton" => x.service.response_type = ResponseType::Singleton,
                "stream" => x.service.response_type = ResponseType::Stream,
                "chunk" | "chunked" => x.service.response_type = ResponseType::Chunked,
                _ => e.error(r, format!("Unknown response type: {text:?}")),
            },
            other => {
                let found = other.go_type();
                e.error(r, format!("Expected response type to be string, got {found}"));
            }
        }
    }),
    (&["threshold", "response_threshold", "response_max_time", "response_time"], |x, e, r| {
        const WHAT: &str = "Expected response threshold to be a parseable time duration, got";
        x.service_only("response", e);
        match e.value() {
            Value::Text(text) => match duration::parse(text) {
                Ok(nanos) => x.service.response_threshold = positive(nanos),
                Err(_) => e.error(r, format!("{WHAT} {text:?}")),
            },
            other => e.error(r, format!("{WHAT} {}", other.go_type())),
        }
    }),
    (&["accounts"], |x, e, r| {
        if e.list(r).is_some() {
            set(&mut x.service.accounts, e.texts("accounts", r));
        }
    }),
    (&["latency"], |x, e, r| {
        x.service_only("latency", e);
        x.service.latency = latency(e, r);
    }),
    (&["account_token_position"], |x, e, r| {
        set(&mut x.service.account_token_position, e.count(r));
    }),
    (&["allow_trace"], |x, e, r| {
        x.service_only("allow_trace", e);
        set(&mut x.service.allow_trace, e.bool(r));
    }),
];

fn positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
}

/// Says why a text is no number as Go does.
fn atoi(text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.Atoi: parsing {text:?}: {why}")
}

fn latency(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Latency> {
    let map = match entry.value() {
        Value::Text(subject) => {
            return Some(Latency { subject: subject.clone(), sampling: Some(100) });
        }
        Value::Map(map) => map,
        other => {
            let found = other.go_type();
            let text = format!("Expected latency entry to be a map/struct or string, got {found}");
            entry.error(report, text);
            return None;
        }
    };
    let mut latency = Latency { subject: String::new(), sampling: Some(100) };
    let errors = report.errors.len();
    // Observed: other keys are let pass.
    read_or(map, LATENCY_RULES, &mut latency, report, |_, _| {});
    if report.errors.len() > errors {
        return None;
    }
    if map.get("subject").is_none() {
        entry.error(report, "Latency subject required, but missing");
        return None;
    }
    Some(latency)
}

const LATENCY_RULES: &[Rule<Latency>] = &[
    (&["subject"], |l, e, r| match e.value() {
        Value::Text(subject) => l.subject.clone_from(subject),
        other => {
            let found = other.go_type();
            e.error(r, format!("Expected latency subject to be a string, got {found}"));
        }
    }),
    (&["sampling"], |l, e, r| {
        let percent = match e.value() {
            Value::Int(number) => *number,
            Value::Text(text) if text.trim().eq_ignore_ascii_case("headers") => {
                l.sampling = None;
                return;
            }
            Value::Text(text) => match text.strip_suffix('%').unwrap_or(text).parse() {
                Ok(number) => number,
                Err(error) => {
                    let text = text.strip_suffix('%').unwrap_or(text);
                    e.error(r, format!("Failed to parse latency sample: {}", atoi(text, &error)));
                    return;
                }
            },
            other => {
                let found = other.go_type();
                let text =
                    format!("Expected latency sample to be a string or map/struct, got {found}");
                e.error(r, text);
                return;
            }
        };
        match u8::try_from(percent) {
            Ok(percent @ 1..=100) => l.sampling = Some(percent),
            _ => e.error(r, "bad sampling percentage, should be 1-100"),
        }
    }),
];

/// Reads imports into an account.
pub(super) fn imports(account: &mut Account, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::List(nodes) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("Imports should be an array, got {found}"));
        return;
    };
    for node in nodes {
        let Value::Map(map) = &node.value else {
            let found = node.value.go_type();
            let text = format!("Import Items should be a map with type entry, got {found}");
            report.error(&node.place, text);
            continue;
        };
        let mut import = Import::default();
        read_map(map, IMPORT_RULES, &mut import, report);
        import.add_to(account, map, node, report);
    }
}

/// An import as written.
#[derive(Default)]
struct Import {
    stream: Option<Source>,
    service: Option<Source>,
    prefix: Option<String>,
    to: Option<String>,
    share: bool,
    allow_trace: Option<bool>,
}

/// Whose subject is imported.
#[derive(Default)]
struct Source {
    account: String,
    subject: String,
}

impl Import {
    fn add_to(self, account: &mut Account, map: &Map, node: &Node, report: &mut Report<'_>) {
        match (self.stream, self.service) {
            (None, None) => {}
            (Some(_), Some(_)) => {
                report.error(&node.place, "Detected service but already saw a stream");
            }
            (Some(stream), None) => {
                if self.prefix.is_some() && self.to.is_some() {
                    let place = map.get("to").map_or(&node.place, |node| &node.place);
                    report
                        .error(place, "Stream import can not have a 'prefix' and a 'to' property");
                    return;
                }
                account.stream_imports.push(StreamImport {
                    account: stream.account,
                    subject: stream.subject,
                    prefix: self.prefix,
                    to: self.to,
                    allow_trace: self.allow_trace.unwrap_or_default(),
                });
            }
            (None, Some(service)) => {
                if self.allow_trace.is_some() {
                    let place = map.get("allow_trace").map_or(&node.place, |node| &node.place);
                    report.error(place, "Detected allow_trace directive on a non-stream");
                    return;
                }
                let to = self.to.unwrap_or_else(|| service.subject.clone());
                let mut others = account.service_imports.iter();
                if let Some(other) =
                    others.find(|other| other.to == to && other.account == service.account)
                {
                    let text = format!(
                        "Duplicate service import subject {to:?}, previously used in import for account {:?}, subject {:?}",
                        other.account, other.subject
                    );
                    report.error(&node.place, text);
                    return;
                }
                account.service_imports.push(ServiceImport {
                    account: service.account,
                    subject: service.subject,
                    to,
                    share: self.share,
                });
            }
        }
    }
}

const IMPORT_RULES: &[Rule<Import>] = &[
    (&["stream"], |i, e, r| i.stream = source(e, "Stream", r)),
    (&["service"], |i, e, r| i.service = source(e, "Service", r)),
    (&["prefix"], |i, e, r| name(&mut i.prefix, e, r)),
    (&["to"], |i, e, r| name(&mut i.to, e, r)),
    (&["share"], |i, e, r| set(&mut i.share, e.bool(r))),
    (&["allow_trace"], |i, e, r| i.allow_trace = e.bool(r)),
];

fn source(entry: Entry<'_>, what: &str, report: &mut Report<'_>) -> Option<Source> {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("{what} entry should be an account map, got {found}"));
        return None;
    };
    let mut source = Source::default();
    read_map(map, SOURCE_RULES, &mut source, report);
    if source.account.is_empty() || source.subject.is_empty() {
        entry.error(report, "Expect an account name and a subject");
        return None;
    }
    Some(source)
}

const SOURCE_RULES: &[Rule<Source>] = &[
    (&["account"], |s, e, r| text(&mut s.account, e, r)),
    (&["subject"], |s, e, r| text(&mut s.subject, e, r)),
];
