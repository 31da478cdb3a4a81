//! The monitoring documents as shapes: what `/varz`, `/connz`, `/routez` and the others say.
//!
//! Keys, their order and their types are those of nats-server 2.15.1 (observed); what is empty
//! is left out where the reference leaves it out. Every shape can be written and read: natsd
//! writes them, natsctl reads them, from natsd and from nats-server. A key that is missing reads
//! as nothing, and unknown keys are ignored, so that other versions can be read too.
//!
//! Times are UTC. Durations are nanoseconds where the type is a number, Go's notation (`249µs`)
//! in `rtt`, and `1y2d3h4m5s` in `uptime` and `idle`.

mod account;
mod connz;
mod event;
mod jetstream;
mod others;
mod routez;
mod server;
mod statsz;
mod subsz;
mod varz;

use serde::{Deserialize, Deserializer};

pub use account::{AccountInfo, AccountStat, AccountStatz, Accountz, DataStats, Import, Traffic};
pub use connz::{ConnInfo, Connz, ProxyInfo, TlsPeerCert};
pub use event::{AccountConnections, ClientInfo, Connected, Disconnected};
pub use jetstream::{Api, JetStreamConfig, Jsz};
pub use others::{
    Empty, Expvarz, Gatewayz, HealthFault, Healthz, IpQueue, IpQueuesz, Leafz, MemStats, Profilez,
};
pub use routez::{RouteInfo, Routez, SubjectPermission};
pub use server::{ApiError, ApiResponse, ServerId, ServerInfo, Statsz, UserInfo};
pub use statsz::{RouteStat, ServerStats};
pub use subsz::{SubDetail, SublistStats, Subsz};
pub use varz::{
    ClusterVarz, ConnectionStats, DiskIoWaitStats, FeatureFlags, GatewayVarz, LeafVarz, MqttVarz,
    ProxiesVarz, Varz, WebsocketVarz,
};

/// For `skip_serializing_if`: Go's `omitempty`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The same for numbers.
fn is_zero<N: Default + PartialEq>(value: &N) -> bool {
    *value == N::default()
}

/// Go writes an absent list as `null`.
fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}
