//! What a server says about itself over its monitoring port: one HTTP GET, one JSON value.
//!
//! Reads only what natsd and nats-server have in common, and ignores what it does not know.
//! Every call has a deadline; a server that is not there costs one timeout.

mod http;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How long a server may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a server did not say.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Nobody listens, or the network refused.
    #[error("monitoring at {address} does not answer: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too slow.
    #[error("monitoring at {address} did not answer {path} within {}s", PATIENCE.as_secs())]
    Timeout {
        /// Where.
        address: SocketAddr,
        /// What was asked.
        path: String,
    },
    /// It answered with something else.
    #[error("monitoring at {address} answered {path} with {answer}")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// What was asked.
        path: String,
        /// Status or reason.
        answer: String,
    },
}

/// `/varz`, as far as natsctl reads it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Varz {
    /// Identity; fresh at every start.
    pub server_id: String,
    /// Our node name.
    pub server_name: String,
    /// Version of the server.
    pub version: String,
    /// Seconds since start, in `1h2m3s` form.
    pub uptime: String,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub now: String,
    /// Resident memory in bytes.
    pub mem: u64,
    /// Client connections now.
    pub connections: u64,
    /// Distinct servers this one has routes to.
    pub remotes: u64,
    /// Messages in.
    pub in_msgs: u64,
    /// Messages out.
    pub out_msgs: u64,
    /// Bytes in.
    pub in_bytes: u64,
    /// Bytes out.
    pub out_bytes: u64,
    /// Slow consumers cut off.
    pub slow_consumers: u64,
    /// Subscriptions, internal ones included.
    pub subscriptions: u64,
}

/// `/routez`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Routez {
    /// Who says so.
    pub server_name: String,
    /// One per connection; pooled routes repeat their `remote_id`.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Identity of the peer.
    pub remote_id: String,
    /// Its name.
    pub remote_name: String,
    /// Where it is, without a port: that of the connection may be anyone's.
    pub ip: String,
}

/// Peers that are not those that there should be, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// There should be a route to these.
    pub missing: Vec<String>,
    /// There should be none to these.
    pub strangers: Vec<String>,
}

impl Routez {
    /// Names of the distinct peers, sorted.
    #[must_use]
    pub fn peers(&self) -> Vec<String> {
        let mut names: Vec<(&str, &str)> = self
            .routes
            .iter()
            .map(|route| (route.remote_name.as_str(), route.remote_id.as_str()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// The peers against those that there should be.
    #[must_use]
    pub fn against(&self, expected: &[&str]) -> Difference {
        let peers = self.peers();
        let is_missing = |name: &&&str| !peers.iter().any(|peer| peer == **name);
        let missing = expected.iter().filter(is_missing).map(|name| (*name).to_owned()).collect();
        let is_strange = |peer: &String| !expected.contains(&peer.as_str());
        Difference { missing, strangers: peers.into_iter().filter(is_strange).collect() }
    }

    /// Where a peer is, as far as its routes tell.
    #[must_use]
    pub fn ip_of(&self, peer: &str) -> Option<&str> {
        let route = self.routes.iter().find(|route| route.remote_name == peer)?;
        Some(route.ip.as_str()).filter(|ip| !ip.is_empty())
    }
}

/// `/connz`, totals only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connz {
    /// The clients.
    pub connections: Vec<Connection>,
}

/// One client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// Its subscriptions.
    pub subscriptions: u64,
}

/// Asks for `/varz`.
///
/// # Errors
/// See [`MonitorError`].
pub async fn varz(address: SocketAddr) -> Result<Varz, MonitorError> {
    ask(address, "/varz").await
}

/// Asks for `/routez`.
///
/// # Errors
/// See [`MonitorError`].
pub async fn routez(address: SocketAddr) -> Result<Routez, MonitorError> {
    ask(address, "/routez").await
}

/// Asks for `/connz`.
///
/// # Errors
/// See [`MonitorError`].
pub async fn connz(address: SocketAddr) -> Result<Connz, MonitorError> {
    ask(address, "/connz?limit=4096").await
}

/// Asks for `/healthz`; well is `Ok`.
///
/// # Errors
/// See [`MonitorError`]; unwell is `Answer`.
pub async fn healthz(address: SocketAddr) -> Result<(), MonitorError> {
    get(address, "/healthz").await.map(drop)
}

async fn ask<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, MonitorError> {
    let body = get(address, path).await?;
    serde_json::from_slice(&body).map_err(|error| MonitorError::Answer {
        address,
        path: path.to_owned(),
        answer: format!("unreadable JSON: {error}"),
    })
}

async fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, MonitorError> {
    let answer = match tokio::time::timeout(PATIENCE, http::get(address, path)).await {
        Ok(answer) => answer.map_err(|source| MonitorError::Connect { address, source })?,
        Err(_elapsed) => return Err(MonitorError::Timeout { address, path: path.to_owned() }),
    };
    if answer.status == 200 {
        return Ok(answer.body);
    }
    let body = String::from_utf8_lossy(&answer.body);
    let body = body.trim().chars().take(200).collect::<String>();
    let answer = format!("{} {body}", answer.status);
    Err(MonitorError::Answer { address, path: path.to_owned(), answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooled_routes_count_as_one_peer() {
        let routez: Routez = serde_json::from_str(
            r#"{"server_name":"a","routes":[
                {"remote_id":"N1","remote_name":"c"},{"remote_id":"N1","remote_name":"c"},
                {"remote_id":"N2","remote_name":"b","rid":7,"ip":"10.0.0.2"}]}"#,
        )
        .unwrap();
        assert_eq!(routez.peers(), ["b", "c"]);
        let difference = routez.against(&["d", "c", "a"]);
        assert_eq!(difference.missing, ["d", "a"]);
        assert_eq!(difference.strangers, ["b"]);
        assert_eq!(routez.ip_of("b"), Some("10.0.0.2"));
        assert_eq!(routez.ip_of("c"), None);
    }
}
