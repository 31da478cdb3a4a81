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

pub use account::{
    AccountInfo, AccountStat, AccountStatz, Accountz, DataStats, Export, Import, MappedTo, Traffic,
};
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

#[cfg(test)]
mod tests {
    //! What nats-server 2.15.1 wrote is read, and written again byte for byte.

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::super::json;
    use super::*;

    fn again<T: Serialize + DeserializeOwned>(sample: &str, write: fn(&T) -> Vec<u8>) {
        let sample = sample.trim_end();
        let document: T = serde_json::from_str(sample).unwrap();
        assert_eq!(String::from_utf8(write(&document)).unwrap(), sample);
    }

    #[test]
    fn documents_of_the_reference() {
        again::<Varz>(include_str!("samples/varz.json"), json::indented);
        again::<Connz>(include_str!("samples/connz.json"), json::indented);
        again::<Connz>(include_str!("samples/connz_closed.json"), json::indented);
        again::<Routez>(include_str!("samples/routez.json"), json::indented);
        again::<Subsz>(include_str!("samples/subsz.json"), json::indented);
        again::<Accountz>(include_str!("samples/accountz.json"), json::indented);
        again::<AccountStatz>(include_str!("samples/accstatz.json"), json::indented);
        again::<Jsz>(include_str!("samples/jsz.json"), json::indented);
        again::<Leafz>(include_str!("samples/leafz.json"), json::indented);
        again::<Gatewayz>(include_str!("samples/gatewayz.json"), json::indented);
        again::<Healthz>(r#"{"status":"ok"}"#, json::compact);
    }

    #[test]
    fn events_of_the_reference() {
        again::<Connected>(include_str!("samples/connected.json"), json::compact);
        again::<Disconnected>(include_str!("samples/disconnected.json"), json::compact);
        again::<AccountConnections>(include_str!("samples/connections.json"), json::compact);
        again::<Statsz>(include_str!("samples/statsz.json"), json::compact);
    }

    #[test]
    fn what_is_missing_reads_as_nothing_and_what_is_new_is_ignored() {
        let varz: Varz = serde_json::from_str(r#"{"server_name":"n1","news":[1]}"#).unwrap();
        assert_eq!((varz.server_name.as_str(), varz.connections), ("n1", 0));
        let connz: Connz = serde_json::from_str(r#"{"connections":null}"#).unwrap();
        assert_eq!(connz.connections, None);
    }
}
