//! The steps of a traced message, as the reference's JSON names them.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// One step.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
#[expect(missing_docs, reason = "the names are the wire's; see ADR-41")]
pub enum Event {
    /// It came in.
    #[serde(rename = "in")]
    Ingress(Ingress),
    /// A mapping sent it elsewhere.
    #[serde(rename = "sm")]
    Mapping { ts: Timestamp, to: String },
    /// An account imports it as part of a stream.
    #[serde(rename = "se")]
    Stream { ts: Timestamp, acc: String, to: String },
    /// It asks a service of another account.
    #[serde(rename = "si")]
    Service { ts: Timestamp, acc: String, from: String, to: String },
    /// It went out, or not.
    #[serde(rename = "eg")]
    Egress(Egress),
}

/// How it came in.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the wire's; see ADR-41")]
pub struct Ingress {
    pub ts: Timestamp,
    pub kind: Kind,
    pub cid: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub acc: String,
    pub subj: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How it went out, or why not.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the wire's; see ADR-41")]
pub struct Egress {
    pub ts: Timestamp,
    pub kind: Kind,
    pub cid: u64,
    /// Left to those who know the connections.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hop: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub acc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub queue: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub error: &'static str,
}

/// What kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client.
    Client,
    /// Another server.
    Route,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::Client => 0,
            Self::Route => 1,
        })
    }
}

/// Texts of an egress that did not take place, or not as hoped for (nats-server 2.15).
pub(super) mod error {
    pub(in super::super) const ONLY_NO_SUPPORT: &str =
        "Not delivered because remote does not support message tracing";
    pub(in super::super) const NO_SUPPORT: &str = "Message delivered but remote does not support message tracing so no trace event generated from there";
    pub(in super::super) const NO_ECHO: &str = "Not delivered because of no echo";
    pub(in super::super) const DENIED: &str =
        "Not delivered because subscription denies this subject";
    pub(in super::super) const CLIENT_CLOSED: &str = "Not delivered because client is closed";
    pub(in super::super) const AUTO_UNSUBSCRIBED: &str =
        "Not delivered because auto-unsubscribe exceeded";
}
