//! `/healthz`, and the documents of what natsd does not have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_zero, null_as_empty};

/// An object without keys: a part that is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// `/healthz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthz {
    /// `ok`, `unavailable` or `error`.
    pub status: String,
    /// The HTTP status, given only where there is no HTTP.
    #[serde(skip_serializing_if = "is_zero")]
    pub status_code: u16,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The same with `details`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<HealthFault>,
}

impl Healthz {
    /// Whether the server takes clients.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// One reason why a server is not healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct HealthFault {
    /// `CONNECTION`, `BAD_REQUEST` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consumer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// `/leafz`: natsd has no leafnodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leafz {
    /// Server id.
    pub server_id: String,
    /// When it was taken.
    pub now: Timestamp,
    /// Connections.
    pub leafnodes: usize,
    /// The connections.
    #[serde(deserialize_with = "null_as_empty")]
    pub leafs: Vec<Value>,
}

/// `/gatewayz`: natsd has no gateways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gatewayz {
    /// Server id.
    pub server_id: String,
    /// When it was taken.
    pub now: Timestamp,
    /// By name of the other cluster.
    pub outbound_gateways: BTreeMap<String, Value>,
    /// By name of the other cluster.
    pub inbound_gateways: BTreeMap<String, Value>,
}

/// `/debug/vars`: what Go's runtime publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Expvarz {
    /// Memory.
    pub memstats: MemStats,
    /// The command line.
    pub cmdline: Vec<String>,
}

/// The part of Go's memory statistics that a server without its runtime knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemStats {
    /// Bytes obtained from the system.
    #[serde(rename = "Sys")]
    pub sys: u64,
}

/// The answer to PROFILEZ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profilez {
    /// The profile, in base64.
    pub profile: Option<String>,
    /// Why there is none.
    pub error: String,
}

/// `/ipqueuesz`: queues between parts of the server, by name.
pub type IpQueuesz = BTreeMap<String, IpQueue>;

/// One queue between parts of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpQueue {
    /// What waits.
    pub pending: usize,
    /// What is being worked on.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_progress: usize,
}
