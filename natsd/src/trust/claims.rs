//! What an account's JWT says, ready to be asked for every user.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::permissions::configured;
use crate::auth::Permissions;
use crate::config::{self, AccountLimits, Latency, ResponseType};
use crate::jwt::{self, Account, ExportKind, Standard, Token, UNLIMITED, UnixSeconds, UserRights};

/// What an account's JWT says.
#[derive(Debug)]
pub struct Claims {
    /// The JWT.
    pub jwt: Arc<str>,
    /// What all tokens say.
    pub standard: Standard,
    /// What accounts say.
    pub account: Account,
    /// Keys that may sign users, with what such users may do where that is scoped.
    signers: HashMap<String, Option<UserRights>>,
    /// What users may do that say nothing of it.
    pub default_permissions: Option<Arc<Permissions>>,
}

impl Claims {
    pub(super) fn new(text: &str, token: Token<Account>, strict: bool) -> Self {
        let Token { standard, body } = token;
        let mut signers: HashMap<String, Option<UserRights>> =
            body.signing_keys.iter().map(|key| (key.key.clone(), key.scope.clone())).collect();
        if !strict {
            signers.insert(standard.subject.clone(), None);
        }
        let defaults = configured(&body.default_permissions);
        Self {
            jwt: text.into(),
            default_permissions: defaults.map(|source| Arc::new(Permissions::new(&source))),
            standard,
            account: body,
            signers,
        }
    }

    /// What people call the account.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.standard.name
    }

    /// The account as it is named in the log.
    #[must_use]
    pub fn label(&self) -> String {
        let Standard { subject, name, .. } = &self.standard;
        if name.is_empty() { subject.clone() } else { format!("{subject}/{name}") }
    }

    /// Whether a key may sign its users, and what scopes such users.
    #[must_use]
    pub fn signer(&self, key: &str) -> Option<Option<&UserRights>> {
        self.signers.get(key).map(Option::as_ref)
    }

    /// Whether another version of the account has the same signers.
    #[must_use]
    pub fn has_same_signer(&self, other: &Self, key: &str) -> bool {
        self.signers.contains_key(key) && self.signers.get(key) == other.signers.get(key)
    }

    /// Whether both versions let the same keys sign.
    #[must_use]
    pub fn has_same_signers(&self, other: &Self) -> bool {
        self.signers == other.signers
    }

    /// Whether its time has passed.
    #[must_use]
    pub const fn is_expired(&self, now: UnixSeconds) -> bool {
        self.standard.expires != 0 && self.standard.expires <= now
    }

    /// Whether a user's token is revoked.
    #[must_use]
    pub fn is_revoked(&self, user: &str, issued_at: UnixSeconds) -> bool {
        jwt::is_revoked(&self.account.revocations, user, issued_at)
    }

    /// A service decides about its users.
    #[must_use]
    pub fn has_external_authorization(&self) -> bool {
        !self.account.authorization.auth_users.is_empty()
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> AccountLimits {
        let limits = &self.account.limits;
        AccountLimits {
            max_connections: limit(limits.conn),
            max_subscriptions: limit(limits.subs),
            max_payload: limit(limits.payload),
            max_leafnodes: limit(limits.leaf),
        }
    }
}

impl Claims {
    /// The account as a configuration file would have it, imports apart: those depend on tokens.
    #[must_use]
    pub fn configured(&self) -> config::Account {
        let account = &self.account;
        let trace = account
            .trace
            .as_ref()
            .filter(|trace| crate::subject::is_valid_literal(trace.dest.as_bytes()));
        let of_kind =
            |kind| account.exports.iter().filter(move |export: &&jwt::Export| export.kind == kind);
        config::Account {
            name: self.standard.subject.clone(),
            limits: self.limits(),
            stream_exports: of_kind(ExportKind::Stream).map(stream_export).collect(),
            service_exports: of_kind(ExportKind::Service).map(service_export).collect(),
            mappings: account.mappings.iter().map(mapping).collect(),
            trace: trace.map(|trace| config::MessageTrace {
                destination: trace.dest.clone(),
                sampling: u8::try_from(trace.sampling)
                    .ok()
                    .filter(|percent| (1..=100).contains(percent))
                    .unwrap_or(100),
            }),
            ..config::Account::default()
        }
    }
}

/// Checks what an account's token maps, more closely than the token's own rules do: an account is
/// not told of what it could not use.
///
/// # Errors
/// In nats-server's words.
pub fn check_mappings(account: &Account) -> Result<(), String> {
    for source in account.mappings.iter().map(mapping) {
        source.check().map_err(|fault| {
            let to = fault.destination.as_ref().map(|to| format!(" -> {to:?}"));
            format!("mapping {:?}{}: {fault}", source.source, to.unwrap_or_default())
        })?;
    }
    Ok(())
}

fn position(export: &jwt::Export) -> Option<usize> {
    usize::try_from(export.account_token_position).ok().filter(|position| *position > 0)
}

fn stream_export(export: &jwt::Export) -> config::StreamExport {
    config::StreamExport {
        subject: export.subject.clone(),
        accounts: Vec::new(),
        account_token_position: position(export),
    }
}

fn service_export(export: &jwt::Export) -> config::ServiceExport {
    let threshold = u64::try_from(export.response_threshold).unwrap_or(0);
    config::ServiceExport {
        subject: export.subject.clone(),
        accounts: Vec::new(),
        account_token_position: position(export),
        response_type: match export.response_type.as_str() {
            "Stream" => ResponseType::Stream,
            "Chunked" => ResponseType::Chunked,
            _ => ResponseType::Singleton,
        },
        response_threshold: (threshold > 0).then(|| Duration::from_nanos(threshold)),
        latency: export.service_latency.as_ref().map(|latency| Latency {
            subject: latency.results.clone(),
            sampling: u8::try_from(latency.sampling.0).ok().filter(|percent| *percent > 0),
        }),
        allow_trace: export.allow_trace,
    }
}

fn mapping((source, destinations): (&String, &Vec<jwt::WeightedMapping>)) -> config::Mapping {
    let destination = |to: &jwt::WeightedMapping| config::MappingDestination {
        subject: to.subject.clone(),
        weight: to.percent(),
        cluster: (!to.cluster.is_empty()).then(|| to.cluster.clone()),
    };
    config::Mapping {
        source: source.clone(),
        destinations: destinations.iter().map(destination).collect(),
    }
}

/// A limit of a token: less than nothing is none.
pub(super) fn limit(value: i64) -> Option<u32> {
    (value != UNLIMITED && value >= 0).then(|| u32::try_from(value).unwrap_or(u32::MAX))
}
