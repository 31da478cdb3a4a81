//! What tokens say, kind by kind. A key that is missing stands for Go's zero value.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{UNLIMITED, UnixSeconds};

/// What an operator says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// Further keys that may sign for it.
    pub signing_keys: Vec<String>,
    /// Where tools find accounts.
    pub account_server_url: String,
    /// The system account's key.
    pub system_account: String,
    /// The oldest server that serves it.
    pub assert_server_version: String,
    /// Its own key signs nothing but itself.
    pub strict_signing_key_usage: bool,
    /// Tags.
    pub tags: Vec<String>,
}

/// What an account may do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Streams and services of others.
    pub imports: Vec<Import>,
    /// Streams and services for others.
    pub exports: Vec<Export>,
    /// Limits.
    pub limits: AccountLimits,
    /// Keys that may sign users, with what such users may do.
    pub signing_keys: Vec<SigningKey>,
    /// Keys of users whose tokens are void if issued by then.
    pub revocations: BTreeMap<String, UnixSeconds>,
    /// What users may do that say nothing of it.
    pub default_permissions: Permissions,
    /// Subjects by where they go instead.
    pub mappings: BTreeMap<String, Vec<WeightedMapping>>,
    /// A service that decides about users.
    pub authorization: ExternalAuthorization,
    /// Where traces go.
    pub trace: Option<MessageTrace>,
    /// `system` or `owner`.
    pub cluster_traffic: String,
    /// What it is for.
    pub description: String,
    /// Where more is said.
    pub info_url: String,
    /// Tags.
    pub tags: Vec<String>,
}

/// Limits of an account; [`UNLIMITED`] is none, absent is zero.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    /// Subscriptions of a connection.
    pub subs: i64,
    /// Bytes in all; not enforced by the reference either.
    pub data: i64,
    /// Bytes of a message.
    pub payload: i64,
    /// Imports.
    pub imports: i64,
    /// Exports.
    pub exports: i64,
    /// Exports may have wildcards.
    pub wildcards: bool,
    /// Users must sign.
    pub disallow_bearer: bool,
    /// Connections.
    pub conn: i64,
    /// Leafnode connections.
    pub leaf: i64,
    /// Bytes of JetStream, which natsd does not have.
    pub mem_storage: i64,
    /// The same on disk.
    pub disk_storage: i64,
    /// JetStream's limits by tier.
    pub tiered_limits: BTreeMap<String, Value>,
}

impl AccountLimits {
    /// Whether nothing is said at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `stream` or `service`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportKind {
    /// Nothing was said.
    #[default]
    #[serde(skip)]
    Unknown,
    /// Messages to all.
    Stream,
    /// Requests and answers.
    Service,
}

impl std::fmt::Display for ExportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Stream => "stream",
            Self::Service => "service",
        })
    }
}

/// A stream or service for others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Export {
    /// What people call it.
    pub name: String,
    /// Subject, wildcards included.
    pub subject: String,
    /// Stream or service.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Importers need an activation token.
    pub token_req: bool,
    /// Importers whose tokens are void if issued by then.
    pub revocations: BTreeMap<String, UnixSeconds>,
    /// `Singleton`, `Stream` or `Chunked`.
    pub response_type: String,
    /// Nanoseconds that answers are waited for.
    pub response_threshold: i64,
    /// Measurements.
    pub service_latency: Option<ServiceLatency>,
    /// Position (from 1) of the token that must name the importer.
    pub account_token_position: u64,
    /// Traces go on.
    pub allow_trace: bool,
    /// What it is for.
    pub description: String,
    /// Where more is said.
    pub info_url: String,
}

/// Where measurements of a service go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceLatency {
    /// How many are taken.
    pub sampling: SamplingRate,
    /// Subject.
    pub results: String,
}

/// A percentage, or `headers` (0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingRate(pub i64);

impl<'de> Deserialize<'de> for SamplingRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if text.eq_ignore_ascii_case("headers") => Ok(Self(0)),
            other => i64::deserialize(other).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// A stream or service of others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Import {
    /// What people call it.
    pub name: String,
    /// Subject there.
    pub subject: String,
    /// Exporting account.
    pub account: String,
    /// Activation token.
    pub token: String,
    /// The older way to rename: prefix of a stream, subject there of a service.
    pub to: String,
    /// The subject here.
    pub local_subject: String,
    /// Stream or service.
    #[serde(rename = "type")]
    pub kind: ExportKind,
    /// Tell the service who asks.
    pub share: bool,
    /// Traces come in.
    pub allow_trace: bool,
}

/// One destination of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WeightedMapping {
    /// Subject.
    pub subject: String,
    /// Percent; 0 is 100.
    pub weight: u8,
    /// Only in this cluster.
    pub cluster: String,
}

impl WeightedMapping {
    /// Percent.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        if self.weight == 0 { 100 } else { self.weight }
    }
}

/// A service that decides about users of the account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ExternalAuthorization {
    /// Users it does not decide about; without any it is off.
    pub auth_users: Vec<String>,
    /// Accounts it may place users in.
    pub allowed_accounts: Vec<String>,
    /// Key to encrypt requests for.
    pub xkey: String,
}

/// Where message traces go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MessageTrace {
    /// Subject.
    pub dest: String,
    /// Percent.
    pub sampling: i64,
}

/// Allowed and denied subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Allowed ones.
    pub allow: Vec<String>,
    /// Denied ones.
    pub deny: Vec<String>,
}

/// What may be published, subscribed to and answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// Publish.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// Subscribe.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Answers.
    #[serde(rename = "resp")]
    pub responses: Option<Responses>,
}

/// How requests may be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Responses {
    /// Answers per request.
    pub max: i64,
    /// Nanoseconds for them.
    pub ttl: i64,
}

/// A key that may sign users.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningKey {
    /// The public key.
    pub key: String,
    /// What its users may do, where it is scoped.
    pub scope: Option<UserRights>,
}

impl<'de> Deserialize<'de> for SigningKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        #[derive(Deserialize)]
        struct Scope {
            #[serde(default)]
            key: String,
            #[serde(default)]
            template: serde_json::Map<String, Value>,
        }
        let value = Value::deserialize(deserializer)?;
        if let Value::String(key) = value {
            return Ok(Self { key, scope: None });
        }
        if value.get("kind").and_then(Value::as_str) != Some("user_scope") {
            return Err(D::Error::custom("unknown signing key scope"));
        }
        let Scope { key, mut template } = Scope::deserialize(value).map_err(D::Error::custom)?;
        for limit in ["subs", "data", "payload"] {
            template.entry(limit).or_insert_with(|| UNLIMITED.into());
        }
        let scope = UserRights::deserialize(Value::Object(template)).map_err(D::Error::custom)?;
        Ok(Self { key, scope: Some(scope) })
    }
}

/// What a user may do, and from where.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UserRights {
    /// Subjects.
    #[serde(flatten)]
    pub permissions: Permissions,
    /// Networks it may come from.
    #[serde(deserialize_with = "networks")]
    pub src: Vec<String>,
    /// Hours of the day.
    pub times: Vec<TimeRange>,
    /// The time zone of these.
    pub times_location: String,
    /// Subscriptions.
    pub subs: i64,
    /// Bytes in all; not enforced by the reference either.
    pub data: i64,
    /// Bytes of a message.
    pub payload: i64,
    /// It need not sign.
    pub bearer_token: bool,
    /// It must come by a trusted proxy.
    pub proxy_required: bool,
    /// Kinds of connection.
    pub allowed_connection_types: Vec<String>,
}

/// A list, or one text with commas.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(list) => Ok(list
            .to_lowercase()
            .split(',')
            .map(|network| network.trim().to_owned())
            .filter(|network| !network.is_empty())
            .collect()),
        other => Vec::deserialize(other).map_err(serde::de::Error::custom),
    }
}

/// Hours of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// `15:04:05`
    pub start: String,
    /// `15:04:05`
    pub end: String,
}

/// What a user says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct User {
    /// What it may do.
    #[serde(flatten)]
    pub rights: UserRights,
    /// The account, where a signing key of it is the issuer.
    pub issuer_account: String,
    /// Tags.
    pub tags: Vec<String>,
}

/// Leave to import.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Activation {
    /// Subject.
    pub subject: String,
    /// Stream or service.
    pub kind: ExportKind,
    /// The account, where a signing key of it is the issuer.
    pub issuer_account: String,
}

/// What an authorization service answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AuthorizationResponse {
    /// The user it makes of the client.
    pub jwt: String,
    /// Or why not.
    pub error: String,
    /// The account, where a signing key of it is the issuer.
    pub issuer_account: String,
}
