//! JWT operator mode: `operator`, `resolver` and what belongs to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entry::{Entry, Report, Rule, read_or, set};
use super::tls::{Side, tls};
use super::top::text;
use crate::config::conf::{Surroundings, Value, why};
use crate::config::draft::Draft;
use crate::config::nkey::{Kind, is_public};
use crate::config::{Resolver, Secret, duration, jwt, url};

pub(super) const RULES: &[Rule<Draft>] = &[
    (&["operator", "operators", "roots", "root", "root_operators", "root_operator"], operators),
    (&["trusted", "trusted_keys"], trusted_keys),
    (&["resolver", "account_resolver", "accounts_resolver"], |d, e, r| {
        d.config.operators.resolver = resolver(e, r);
    }),
    (&["resolver_tls"], |d, e, r| d.config.operators.resolver_tls = tls(e, Side::Clients, r)),
    (&["resolver_preload"], preload),
    (&["resolver_pinned_accounts"], |d, e, r| {
        if let Some(names) = e.texts("resolver_pinned_accounts", r) {
            d.config.operators.pinned_accounts = names.into_iter().collect();
        }
    }),
    (&["default_sentinel"], |d, e, r| {
        if let Some(text) = e.text(r) {
            d.config.operators.default_sentinel = (!text.is_empty()).then(|| Secret::new(text));
        }
    }),
];

fn operators(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(sources) = entry.texts("operators", report) else { return };
    for source in sources {
        match operator_jwt(&source, report.around) {
            Ok(token) => draft.config.operators.jwts.push(token),
            Err(error) => entry.error(report, format!("error parsing operator JWT: {error}")),
        }
    }
}

/// Finds an operator JWT: the text itself, or in the file that it names.
fn operator_jwt(source: &str, around: &dyn Surroundings) -> Result<String, String> {
    let content = match around.read(Path::new(source)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) if source.starts_with("eyJ") => source.to_owned(),
        Err(error) => return Err(why(source, &error)),
    };
    // The official tools put the token between lines of dashes.
    let token = content.split_whitespace().find(|word| word.starts_with("eyJ"));
    match token {
        Some(token) if jwt::kind(token).as_deref() == Some("operator") => Ok(token.to_owned()),
        Some(_) => Err("not operator claim".into()),
        None => Err("no operator JWT in it".into()),
    }
}

fn trusted_keys(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(keys) = entry.texts("trusted", report) else { return };
    let single = std::slice::from_ref(entry.node);
    let nodes = if let Value::List(nodes) = entry.value() { nodes } else { single };
    for node in nodes {
        let Value::Text(key) = &node.value else { continue };
        if !is_public(key, Kind::Operator) {
            let text = format!("trust key {key:?} required to be a valid public operator nkey");
            report.error(&node.place, text);
        }
    }
    draft.config.operators.trusted_keys = keys;
}

fn preload(draft: &mut Draft, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        entry.error(report, "preload should be a map of account_public_key:account_jwt");
        return;
    };
    for (key, node) in map.iter() {
        match &node.value {
            Value::Text(token) if jwt::kind(token).as_deref() == Some("account") => {
                draft.config.operators.preload.insert(key.to_owned(), token.clone());
            }
            Value::Text(_) => report.error(&node.place, "invalid account JWT"),
            _ => report.error(&node.place, "preload map value should be a string JWT"),
        }
    }
}

const WANTED: &str = "error parsing account resolver, should be MEM or  URL(\"url\") or a map containing dir and type state=[FULL|CACHE])";

fn resolver(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Resolver> {
    match entry.value() {
        Value::Text(text) => named(text, entry, report),
        Value::Map(map) => {
            let mut draft = Directory::default();
            let errors = report.errors.len();
            // Observed: unknown keys are let pass here; a word of warning costs nothing.
            read_or(map, DIRECTORY_RULES, &mut draft, report, |inner, report| {
                if !inner.node.referenced {
                    inner.warn(report, format!("unknown field {:?} has no effect", inner.key));
                }
            });
            if report.errors.len() > errors {
                return None;
            }
            draft.checked(entry, report)
        }
        other => {
            let found = other.go_type();
            entry.error(report, format!("error parsing operator resolver, wrong type {found}"));
            None
        }
    }
}

/// Reads `MEMORY` or `URL(...)`.
fn named(text: &str, entry: Entry<'_>, report: &mut Report<'_>) -> Option<Resolver> {
    let upper = text.to_uppercase();
    if upper.contains("MEM") {
        return Some(Resolver::Memory);
    }
    let address = upper.find("URL").and_then(|at| text.get(at + 3..)).map(|rest| {
        let inside = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        inside.map_or("", |(inside, _)| inside).trim().trim_matches('"')
    });
    let Some(address) = address else {
        entry.error(report, WANTED);
        return None;
    };
    match url::Url::parse(address) {
        Some(url) if matches!(url.scheme.as_str(), "http" | "https") && !url.host.is_empty() => {
            let slash = if address.ends_with('/') { "" } else { "/" };
            Some(Resolver::Url(format!("{address}{slash}")))
        }
        _ => {
            entry.error(report, format!("error parsing account resolver url [{address:?}]"));
            None
        }
    }
}

/// A directory resolver as written.
#[derive(Default)]
struct Directory {
    kind: String,
    dir: String,
    allow_delete: bool,
    hard_delete: Option<bool>,
    limit: Option<u64>,
    ttl: Option<Duration>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    /// What is wrong with the timeout, in nats-server's spelling.
    fetch_fault: Option<String>,
}

const DIRECTORY_RULES: &[Rule<Directory>] = &[
    (&["type"], |d, e, r| text(&mut d.kind, e, r)),
    (&["dir"], |d, e, r| text(&mut d.dir, e, r)),
    (&["allow_delete"], |d, e, r| set(&mut d.allow_delete, e.bool(r))),
    (&["hard_delete"], |d, e, r| d.hard_delete = e.bool(r)),
    (&["limit"], |d, e, r| set(&mut d.limit, e.count(r))),
    (&["ttl"], |d, e, r| d.ttl = time(e, r)),
    (&["interval"], |d, e, r| d.interval = time(e, r)),
    (&["timeout"], |d, e, r| {
        d.timeout = time(e, r);
        if let Some(Ok(nanos @ ..=0)) = e.duration_text(r) {
            let sign = if nanos < 0 { "-" } else { "" };
            let shown = duration::show(Duration::from_nanos(nanos.unsigned_abs()));
            d.fetch_fault = Some(format!("Fetch timeout {sign}{shown} is too smal"));
        }
    }),
];

fn time(entry: Entry<'_>, report: &mut Report<'_>) -> Option<Duration> {
    match duration::parse(entry.text(report)?) {
        Ok(nanos) => u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos),
        Err(error) => {
            entry.error(report, error);
            None
        }
    }
}

impl Directory {
    fn checked(self, entry: Entry<'_>, report: &mut Report<'_>) -> Option<Resolver> {
        let kind = self.kind.to_uppercase();
        match kind.as_str() {
            "MEM" | "MEMORY" => return Some(Resolver::Memory),
            "FULL" | "CACHE" => {}
            _ => {
                entry.error(report, WANTED);
                return None;
            }
        }
        let cache = kind == "CACHE";
        let missing = self.dir.is_empty();
        let exists = Path::new(&self.dir).exists();
        for (fault, what) in [
            (missing, "dir has no value and needs to point to a directory"),
            (
                exists && !Path::new(&self.dir).is_dir(),
                "dir needs to point to an accessible directory",
            ),
            (cache && self.interval.is_some(), "CACHE does not accept sync"),
            (cache && self.allow_delete, "CACHE does not accept allow_delete"),
            (cache && self.hard_delete.is_some(), "CACHE does not accept hard_delete"),
            (!cache && self.ttl.is_some(), "FULL does not accept ttl"),
            (
                !cache && self.hard_delete.is_some() && !self.allow_delete,
                "hard_delete has no effect without delete",
            ),
        ] {
            if fault {
                entry.error(report, what);
            }
        }
        if let Some(fault) = self.fetch_fault {
            entry.error(report, fault);
        }
        let Self { limit, ttl, timeout, interval, allow_delete, .. } = self;
        let dir = PathBuf::from(self.dir);
        Some(if cache {
            Resolver::Cache { dir, limit, ttl, timeout }
        } else {
            let hard_delete = self.hard_delete.unwrap_or_default();
            Resolver::Full { dir, allow_delete, hard_delete, interval, limit, timeout }
        })
    }
}
