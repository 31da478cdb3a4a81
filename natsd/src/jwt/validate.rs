//! Faults of tokens, in the words of the jwt/v2 library.

use std::collections::{BTreeMap, BTreeSet};

use super::times::{Network, clock, zone};
use super::{
    Account, Activation, AuthorizationResponse, Export, ExportKind, ExternalAuthorization, Import,
    Permission, Permissions, Token, UNLIMITED, User, UserRights, WeightedMapping,
};
use crate::config::nkey::{Kind, is_public};

/// Descriptions and URLs are this long at most.
const INFO_BYTES_MAX: usize = 8 * 1024;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth a word.
    Warning,
    /// The token is void now.
    Untimely,
    /// The token is void.
    Error,
}

/// A fault of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

/// The faults of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issues(pub Vec<Issue>);

impl Issues {
    /// Whether the token is void: for good, or for now.
    #[must_use]
    pub fn are_blocking(&self) -> bool {
        self.0.iter().any(|issue| issue.severity != Severity::Warning)
    }

    /// Those for which the token is void for good.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        let errors = self.0.iter().filter(|issue| issue.severity == Severity::Error);
        errors.map(|issue| issue.text.as_str())
    }

    fn error(&mut self, text: impl Into<String>) {
        self.0.push(Issue { severity: Severity::Error, text: text.into() });
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.0.push(Issue { severity: Severity::Warning, text: text.into() });
    }

    pub(super) fn untimely(&mut self, text: impl Into<String>) {
        self.0.push(Issue { severity: Severity::Untimely, text: text.into() });
    }
}

pub(super) fn account(token: &Token<Account>, issues: &mut Issues) {
    let Token { standard, body } = token;
    imports(&body.imports, &standard.subject, issues);
    exports(&body.exports, issues);
    let limits = &body.limits;
    if limits.tiered_limits.contains_key("") {
        issues.error("Tiered JetStream Limits can not contain a blank \"\" tier name");
    }
    permissions(&body.default_permissions, issues);
    for (source, destinations) in &body.mappings {
        mapping(source, destinations, issues);
    }
    external_authorization(&body.authorization, issues);
    if let Some(trace) = &body.trace {
        let mut found = Issues::default();
        subject(&trace.dest, &mut found);
        if let Some(first) = found.0.first() {
            issues.error(format!("the account Trace.Destination {}", first.text));
        }
        if has_wildcards(&trace.dest) {
            issues.error(format!(
                "the account Trace.Destination subject {:?} is not a valid publish subject",
                trace.dest
            ));
        }
        if !(0..=100).contains(&trace.sampling) {
            issues.error(format!(
                "the account Trace.Sampling value '{}' is not valid, should be in the range \
                 [1..100]",
                trace.sampling
            ));
        }
    }
    let more = |count: usize, limit: i64| i64::try_from(count).is_ok_and(|count| count > limit);
    if limits.imports != UNLIMITED && more(body.imports.len(), limits.imports) {
        issues.error("the account contains more imports than allowed by the operator");
    }
    if limits.exports != UNLIMITED {
        if more(body.exports.len(), limits.exports) {
            issues.error("the account contains more exports than allowed by the operator");
        }
        if !limits.wildcards && body.exports.iter().any(|export| has_wildcards(&export.subject)) {
            issues.error(
                "the account contains wildcard exports that are not allowed by the operator",
            );
        }
    }
    for key in &body.signing_keys {
        match is_public(&key.key, Kind::Account) {
            true => {}
            false if key.scope.is_some() => {
                issues.error(format!("{} is not an account public key", key.key));
            }
            false => issues.error(format!("{:?} is not a valid account signing key", key.key)),
        }
    }
    info(&body.description, &body.info_url, issues);
    if !["", "system", "owner"].contains(&body.cluster_traffic.as_str()) {
        issues.error(format!("unknown cluster traffic option: {:?}", body.cluster_traffic));
    }
    if is_public(&standard.issuer, Kind::Account) && !limits.is_empty() {
        issues.warning("self-signed account JWTs shouldn't contain operator limits");
    }
}

pub(super) fn user(token: &Token<User>, issues: &mut Issues) {
    rights(&token.body.rights, issues);
    let account = &token.body.issuer_account;
    if !account.is_empty() && !is_public(account, Kind::Account) {
        issues.error("account_id is not an account public key");
    }
}

pub(super) fn activation(token: &Token<Activation>, issues: &mut Issues) {
    let body = &token.body;
    if body.kind == ExportKind::Unknown {
        issues.error(format!("invalid import type: {:?}", body.kind.to_string()));
    }
    subject(&body.subject, issues);
    if !body.issuer_account.is_empty() && !is_public(&body.issuer_account, Kind::Account) {
        issues.error("account_id is not an account public key");
    }
}

pub(super) fn authorization_response(token: &Token<AuthorizationResponse>, issues: &mut Issues) {
    let Token { standard, body } = token;
    if !is_public(&standard.subject, Kind::User) {
        issues.error("Subject must be a user public key");
    }
    if !is_public(&standard.audience, Kind::Server) {
        issues.error("Audience must be a server public key");
    }
    match (body.error.is_empty(), body.jwt.is_empty()) {
        (true, true) => issues.error("Error or Jwt is required"),
        (false, false) => issues.error("Only Error or Jwt can be set"),
        _ => {}
    }
    if !body.issuer_account.is_empty() && !is_public(&body.issuer_account, Kind::Account) {
        issues.error("issuer_account is not an account public key");
    }
}

fn rights(rights: &UserRights, issues: &mut Issues) {
    permissions(&rights.permissions, issues);
    for network in rights.src.iter().filter(|text| Network::parse(text).is_none()) {
        issues.error(format!("invalid cidr {network:?} in user src limits"));
    }
    for range in &rights.times {
        for (what, text) in [("start", &range.start), ("end", &range.end)] {
            if text.is_empty() {
                issues.error(format!("time ranges {what} must contain a{} {what}", n(what)));
            } else if clock(text).is_none() {
                issues.error(format!("{what} in time range is invalid {text:?}"));
            }
        }
    }
    if zone(&rights.times_location).is_none() {
        issues.error(format!(
            "could not parse iana time zone by name: unknown time zone {}",
            rights.times_location
        ));
    }
}

/// `a start`, `an end`.
fn n(what: &str) -> &'static str {
    if what.starts_with('e') { "n" } else { "" }
}

fn permissions(permissions: &Permissions, issues: &mut Issues) {
    let mut check = |permission: &Permission, queues: bool| {
        for text in permission.allow.iter().chain(&permission.deny) {
            let parts: Vec<&str> = text.split(' ').collect();
            match parts.as_slice() {
                [one] => subject(one, issues),
                [one, queue] => {
                    subject(one, issues);
                    subject(queue, issues);
                    if !queues {
                        issues.error(format!(
                            "Permission Subject \"{text}\" is not allowed to contain queue"
                        ));
                    }
                }
                _ => {
                    issues.error(format!("Permission Subject \"{text}\" contains too many spaces"))
                }
            }
        }
    };
    check(&permissions.subscribe, true);
    check(&permissions.publish, false);
}

fn external_authorization(block: &ExternalAuthorization, issues: &mut Issues) {
    if !block.allowed_accounts.is_empty() && block.auth_users.is_empty() {
        issues.error("External authorization cannot have accounts without users specified");
    }
    for user in block.auth_users.iter().filter(|user| !is_public(user, Kind::User)) {
        issues.error(format!("AuthUser {user:?} is not a valid user public key"));
    }
    for account in &block.allowed_accounts {
        match account.as_str() {
            "*" if block.allowed_accounts.len() > 1 => {
                issues.error("AllowedAccounts can only be a list of accounts or \"*\"")
            }
            "*" => {}
            _ if is_public(account, Kind::Account) => {}
            _ => issues.error(format!("Account {account:?} is not a valid account public key")),
        }
    }
    if !block.xkey.is_empty() && !is_public(&block.xkey, Kind::Curve) {
        issues.error(format!("XKey {:?} is not a valid public xkey", block.xkey));
    }
}

fn mapping(source: &str, destinations: &[WeightedMapping], issues: &mut Issues) {
    subject(source, issues);
    let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
    for destination in destinations {
        subject(&destination.subject, issues);
        let percent = destination.percent();
        if percent > 100 {
            issues.error(format!("Mapping {source:?} has a weight {percent} that exceeds 100"));
        }
        *sums.entry(&destination.cluster).or_default() += u32::from(percent);
    }
    for (cluster, _) in sums.iter().filter(|(_, sum)| **sum > 100) {
        let place =
            if cluster.is_empty() { String::new() } else { format!(" in cluster {cluster:?}") };
        issues.error(format!(
            "Mapping {source:?}{place} exceeds 100% among all of it's weighted to mappings"
        ));
    }
}

fn exports(exports: &[Export], issues: &mut Issues) {
    exports.iter().for_each(|one| export(one, issues));
    for (kind, what) in [(ExportKind::Service, "service"), (ExportKind::Stream, "stream")] {
        let of_kind: Vec<&str> = exports
            .iter()
            .filter(|export| (export.kind == ExportKind::Service) == (kind == ExportKind::Service))
            .map(|export| export.subject.as_str())
            .collect();
        let mut told = BTreeSet::new();
        for (i, narrow) in of_kind.iter().enumerate() {
            for (j, wide) in of_kind.iter().enumerate() {
                if i != j && is_contained(narrow, wide) && told.insert(*wide) {
                    issues.error(format!(
                        "{what} export subject {wide:?} already exports {narrow:?}"
                    ));
                }
            }
        }
    }
}

fn export(export: &Export, issues: &mut Issues) {
    let is_service = export.kind == ExportKind::Service;
    if export.kind == ExportKind::Unknown {
        issues.error(format!("invalid export type: {:?}", export.kind.to_string()));
    }
    let known = ["", "Singleton", "Chunked", "Stream"].contains(&export.response_type.as_str());
    if is_service && !known {
        issues.error(format!("invalid response type for service: {:?}", export.response_type));
    }
    if export.kind == ExportKind::Stream {
        if !export.response_type.is_empty() {
            issues.error(format!("invalid response type for stream: {:?}", export.response_type));
        }
        if export.allow_trace {
            issues.error("AllowTrace only valid for service export");
        }
    }
    if let Some(latency) = &export.service_latency {
        if !is_service {
            issues.error("latency tracking only permitted for services");
        }
        if !(0..=100).contains(&latency.sampling.0) {
            issues.error("sampling percentage needs to be between 1-100");
        }
        subject(&latency.results, issues);
        if has_wildcards(&latency.results) {
            issues.error("results subject can not contain wildcards");
        }
    }
    if export.response_threshold < 0 {
        issues.error("negative response threshold is invalid");
    }
    if export.response_threshold > 0 && !is_service {
        issues.error("response threshold only valid for services");
    }
    subject(&export.subject, issues);
    token_position(export, issues);
    info(&export.description, &export.info_url, issues);
}

fn token_position(export: &Export, issues: &mut Issues) {
    let position = export.account_token_position;
    if position == 0 {
        return;
    }
    let index = usize::try_from(position - 1).unwrap_or(usize::MAX);
    if !has_wildcards(&export.subject) {
        return issues.error(format!(
            "Account Token Position can only be used with wildcard subjects: {}",
            export.subject
        ));
    }
    match export.subject.split('.').nth(index) {
        Some("*") => {}
        Some(token) => issues.error(format!(
            "Account Token Position {position} matches '{token}' but must match a * in: {}",
            export.subject
        )),
        None => issues.error(format!(
            "Account Token Position {position} exceeds length of subject '{}'",
            export.subject
        )),
    }
}

fn imports(imports: &[Import], importer: &str, issues: &mut Issues) {
    let mut taken: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for one in imports {
        if one.kind == ExportKind::Service {
            let local = if !one.to.is_empty() {
                one.to.clone()
            } else if !one.local_subject.is_empty() {
                with_stars(&one.local_subject)
            } else {
                one.subject.clone()
            };
            let others = taken.entry(&one.account).or_default();
            for other in others.iter() {
                if is_contained(&local, other) || is_contained(other, &local) {
                    issues.error(format!(
                        "overlapping subject namespace for {local:?} and {other:?} in same \
                         account {:?}",
                        one.account
                    ));
                }
            }
            others.insert(local);
        }
        import(one, importer, issues);
    }
}

/// Faults of one import; also asked when its activation is checked.
pub fn import(import: &Import, importer: &str, issues: &mut Issues) {
    let is_service = import.kind == ExportKind::Service;
    if import.kind == ExportKind::Unknown {
        issues.error(format!("invalid import type: {:?}", import.kind.to_string()));
    }
    if is_service && import.allow_trace {
        issues.error("AllowTrace only valid for stream import");
    }
    if import.account.is_empty() {
        issues.error("account to import from is not specified");
    }
    if !import.to.is_empty() {
        issues.warning("the field to has been deprecated (use LocalSubject instead)");
    }
    subject(&import.subject, issues);
    if !import.local_subject.is_empty() {
        renaming(&import.local_subject, &import.subject, issues);
        if !import.to.is_empty() {
            issues.error("Local Subject replaces To");
        }
    }
    if import.share && !is_service {
        issues.error(format!(
            "sharing information (for latency tracking) is only valid for services: {:?}",
            import.subject
        ));
    }
    if import.token.is_empty() {
        return;
    }
    let Ok(token) = Token::<Activation>::decode(&import.token) else {
        return issues
            .error(format!("import {:?} contains an invalid activation token", import.subject));
    };
    import_by(import, &token, importer, issues);
}

/// Whether an activation token fits its import.
fn import_by(import: &Import, token: &Token<Activation>, importer: &str, issues: &mut Issues) {
    let Token { standard, body } = token;
    if standard.issuer != import.account && body.issuer_account != import.account {
        issues.error(format!(
            "activation token doesn't match account for import {:?}",
            import.subject
        ));
    }
    if standard.subject != importer {
        issues.error(format!(
            "activation token doesn't match account it is being included in, {:?}",
            import.subject
        ));
    }
    if body.kind != import.kind {
        issues.error(format!(
            "mismatch between token import type {} and type of import {}",
            body.kind, import.kind
        ));
    }
    activation(token, issues);
    let by_to = import.kind == ExportKind::Service && !import.to.is_empty();
    let wanted = if by_to { &import.to } else { &import.subject };
    if !is_contained(wanted, &body.subject) {
        issues.error(format!(
            "activation token import subject {:?} doesn't match import {:?}",
            body.subject, import.subject
        ));
    }
}

/// A local subject must use what the wildcards of the other stand for.
fn renaming(local: &str, from: &str, issues: &mut Issues) {
    subject(local, issues);
    if from.is_empty() {
        issues.error("subject cannot be empty");
    }
    let open = |text: &str| text == ">" || text.ends_with(".>");
    if open(local) != open(from) {
        issues.error("both, renaming subject and subject, need to end or not end in >");
    }
    let stars = from.split('.').filter(|token| *token == "*").count();
    let mut used = 0;
    for token in local.split('.') {
        match token.strip_prefix('$').and_then(|number| number.parse::<i64>().ok()) {
            _ if token == "*" => used += 1,
            None => {}
            Some(index) if usize::try_from(index).is_ok_and(|index| index > stars) => {
                issues.error(format!(
                    "Reference ${index} in {local:?} reference * in {from:?} that do not exist"
                ));
            }
            Some(_) => used += 1,
        }
    }
    if used != stars {
        issues.error("subject does not contain enough * or reference wildcards $[0-9]");
    }
}

/// A renaming subject as a pattern.
fn with_stars(local: &str) -> String {
    let token = |token| {
        let is_reference =
            str::strip_prefix(token, "$").is_some_and(|number| number.parse::<i64>().is_ok());
        if is_reference { "*" } else { token }
    };
    local.split('.').map(token).collect::<Vec<_>>().join(".")
}

fn subject(text: &str, issues: &mut Issues) {
    if text.is_empty() {
        return issues.error("subject cannot be empty");
    }
    if text.contains(' ') {
        issues.error(format!("subject {text:?} cannot have spaces"));
    }
    if text.starts_with('.') || text.ends_with('.') {
        issues.error(format!("subject {text:?} cannot start or end with a `.`"));
    }
    if text.contains("..") {
        issues.error(format!("subject {text:?} cannot contain consecutive `.`"));
    }
}

fn info(description: &str, url: &str, issues: &mut Issues) {
    if description.len() > INFO_BYTES_MAX {
        issues.error("Description is too long");
    }
    if url.len() > INFO_BYTES_MAX {
        issues.error("Info URL is too long");
    }
    let host = url.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next());
    if !url.is_empty() && host.flatten().is_none_or(str::is_empty) {
        issues.error("error parsing info url: no hostname or scheme");
    }
}

fn has_wildcards(text: &str) -> bool {
    text.split('.').any(|token| token == "*") || text == ">" || text.ends_with(".>")
}

/// Whether one pattern is within another, as the library sees it.
fn is_contained(narrow: &str, wide: &str) -> bool {
    let (own, other): (Vec<&str>, Vec<&str>) =
        (narrow.split('.').collect(), wide.split('.').collect());
    if own.len() < other.len() || (own.len() > other.len() && other.last() != Some(&">")) {
        return false;
    }
    let last = other.len() - 1;
    other.iter().zip(&own).enumerate().all(|(index, (wide, narrow))| {
        (index == last && *wide == ">") || wide == narrow || *wide == "*"
    })
}
