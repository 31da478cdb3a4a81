//! `/accountz`, `/accstatz`, and what the system account says of accounts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SublistStats, is_false, null_as_empty};

/// `/accountz`: the names of all accounts, or one account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accountz {
    /// Server id.
    pub server_id: String,
    /// When it was taken.
    pub now: Timestamp,
    /// Name of the system account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_account: String,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// The one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_detail: Option<AccountInfo>,
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
#[expect(clippy::struct_excessive_bools, reason = "the document has these flags")]
pub struct AccountInfo {
    pub account_name: String,
    pub update_time: Timestamp,
    #[serde(skip_serializing_if = "is_false")]
    pub is_system: bool,
    pub expired: bool,
    pub complete: bool,
    pub jetstream_enabled: bool,
    pub leafnode_connections: usize,
    pub client_connections: usize,
    pub subscriptions: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mappings: BTreeMap<String, Vec<MappedTo>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jwt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded_jwt: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked_user: BTreeMap<String, Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sublist_stats: Option<SublistStats>,
}

/// What an account offers to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct Export {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub response_type: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved_accounts: Vec<String>,
}

/// One destination of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MappedTo {
    /// Subject, with functions.
    pub subject: String,
    /// Percent of messages that go here or to a destination before it.
    pub weight: u8,
    /// In this cluster only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
}

/// What an account takes from another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct Import {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_subject: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    pub invalid: bool,
    pub share: bool,
    pub tracking: bool,
}

/// `/accstatz`: what each account did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountStatz {
    /// Server id.
    pub server_id: String,
    /// When it was taken.
    pub now: Timestamp,
    /// One entry for each account.
    #[serde(deserialize_with = "null_as_empty")]
    pub account_statz: Vec<AccountStat>,
}

/// What one account did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct AccountStat {
    pub acc: String,
    pub name: String,
    pub conns: usize,
    pub leafnodes: usize,
    pub total_conns: usize,
    pub num_subscriptions: usize,
    pub sent: DataStats,
    pub received: DataStats,
    pub slow_consumers: u64,
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct Traffic {
    pub msgs: u64,
    pub bytes: u64,
}

/// Messages and bytes, and how much of it went over which kind of connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct DataStats {
    pub msgs: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leafs: Option<Traffic>,
}
