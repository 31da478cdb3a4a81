//! What servers report of their own accord on the system account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccountStat, DataStats, ServerInfo, is_zero};

/// `$SYS.ACCOUNT.<account>.CONNECT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connected {
    /// `io.nats.server.advisory.v1.client_connect`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the event.
    pub id: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Where.
    pub server: ServerInfo,
    /// To whom.
    pub client: ClientInfo,
}

/// `$SYS.ACCOUNT.<account>.DISCONNECT` and `$SYS.SERVER.<id>.CLIENT.AUTH.ERR`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disconnected {
    /// `io.nats.server.advisory.v1.client_disconnect`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the event.
    pub id: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Where.
    pub server: ServerInfo,
    /// To whom.
    pub client: ClientInfo,
    /// What the client sent.
    pub sent: DataStats,
    /// What it received.
    pub received: DataStats,
    /// Why it is gone.
    pub reason: String,
}

/// `$SYS.ACCOUNT.<account>.SERVER.CONNS`: how many clients of an account a server has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountConnections {
    /// `io.nats.server.advisory.v1.account_connections`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names the event.
    pub id: String,
    /// When it was counted.
    pub timestamp: Timestamp,
    /// Where.
    pub server: ServerInfo,
    /// How many.
    #[serde(flatten)]
    pub stat: AccountStat,
}

/// A client in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the system account's page")]
pub struct ClientInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub acc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ver: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jwt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_type: String,
}
