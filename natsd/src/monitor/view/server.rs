//! The envelope of the system account: which server answers, and what.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FeatureFlags, ServerStats, is_zero};

/// A server as it signs its messages on the system account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the system account's page")]
pub struct ServerInfo {
    pub name: String,
    pub host: String,
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    pub ver: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_flags: Option<FeatureFlags>,
    pub jetstream: bool,
    pub flags: u64,
    /// Counts the messages of the server.
    pub seq: u64,
    pub time: Timestamp,
}

/// The answer to IDZ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the system account's page")]
pub struct ServerId {
    pub name: String,
    pub host: String,
    pub id: String,
}

/// An answer on the system account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiResponse<T> {
    /// Who answers.
    pub server: ServerInfo,
    /// The document, if all went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
    /// What did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// Why a request failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiError {
    /// An HTTP status.
    pub code: u16,
    /// The reason in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The heartbeat of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statsz {
    /// Whose.
    pub server: ServerInfo,
    /// How it does.
    pub statsz: ServerStats,
}

/// The answer to `$SYS.REQ.USER.INFO`: who is asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the system account's page")]
pub struct UserInfo {
    pub user: String,
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<serde_json::Value>,
    /// Nanoseconds until the credentials run out.
    #[serde(skip_serializing_if = "is_zero")]
    pub expires: u64,
}
