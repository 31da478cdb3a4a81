//! `/jsz`, as a server without JetStream answers it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::is_false;

/// `/jsz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct Jsz {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub accounts: u64,
    pub ha_assets: u64,
    pub api: Api,
    pub server_id: String,
    pub now: Timestamp,
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    pub config: JetStreamConfig,
    pub streams: u64,
    pub consumers: u64,
    pub messages: u64,
    pub bytes: u64,
    pub total: u64,
}

/// Requests to the JetStream API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct Api {
    pub level: u64,
    pub total: u64,
    pub errors: u64,
}

/// What JetStream may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct JetStreamConfig {
    pub max_memory: u64,
    pub max_storage: u64,
}
