//! STATSZ, the heartbeat of a server on the system account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ConnectionStats, DataStats, is_zero};

/// What a server says of itself every ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct ServerStats {
    pub start: Timestamp,
    pub mem: u64,
    pub cores: usize,
    pub cpu: f64,
    pub connections: usize,
    pub total_connections: u64,
    pub active_accounts: usize,
    pub subscriptions: usize,
    pub sent: DataStats,
    pub sent_to_clients: DataStats,
    pub received: DataStats,
    pub received_from_clients: DataStats,
    pub slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_consumer_stats: Option<ConnectionStats>,
    #[serde(skip_serializing_if = "is_zero")]
    pub stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_connection_stats: Option<ConnectionStats>,
    #[serde(skip_serializing_if = "is_zero")]
    pub stalled_clients: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStat>,
    #[serde(skip_serializing_if = "is_zero")]
    pub active_servers: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub gomaxprocs: usize,
}

/// One route in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct RouteStat {
    pub rid: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub sent: DataStats,
    pub received: DataStats,
    pub pending: usize,
}
