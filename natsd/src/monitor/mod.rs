//! Monitoring: what the server says of itself, as documents and over HTTP.
//!
//! [`Monitor`] makes the documents from what the server knows (`varz.rs`, `connz.rs` and so on;
//! shapes in [`view`], questions in [`options`]); it only reads, and sums are made when somebody
//! asks, so that no message pays for it. `http.rs` serves the documents; the system account
//! serves the same ones over the wire. Nothing here may hold up a client: documents are made on a
//! thread of their own, and neither the number nor the patience of HTTP clients is unbounded.

mod account;
mod age;
mod connz;
mod health;
mod http;
pub mod json;
pub mod options;
mod page;
mod query;
mod routez;
mod subsz;
mod target;
mod usage;
mod varz;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::node::Node;
use crate::ports_file::Listening;
use crate::registry::Traffic;
use crate::route::{GoneRoutes, Mesh, RouteEntry};
use usage::Usage;

pub(crate) use age::rounded_rtt;
pub use http::serve;
pub use query::{BadRequest, Query};

/// Makes the monitoring documents.
#[derive(Debug)]
pub struct Monitor {
    node: Arc<Node>,
    mesh: Option<Arc<Mesh>>,
    listening: Listening,
    usage: Usage,
    /// Requests by path.
    requests: Mutex<BTreeMap<&'static str, u64>>,
    accepting: AtomicBool,
}

impl Monitor {
    /// Looks at a server that listens there.
    #[must_use]
    pub fn new(node: Arc<Node>, mesh: Option<Arc<Mesh>>, listening: Listening) -> Self {
        Self {
            usage: Usage::new(node.identity.started_at),
            node,
            mesh,
            listening,
            requests: Mutex::default(),
            accepting: AtomicBool::new(false),
        }
    }

    /// From now on clients are accepted: the server is healthy.
    pub fn accepts_clients(&self) {
        self.accepting.store(true, Ordering::Release);
    }

    /// What all connections share.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The cluster as this server sees it.
    #[must_use]
    pub fn mesh(&self) -> Option<&Arc<Mesh>> {
        self.mesh.as_ref()
    }

    fn count_request(&self, path: &'static str) {
        *self.requests.lock().entry(path).or_default() += 1;
    }

    fn server_id(&self) -> String {
        self.node.identity.id.clone()
    }

    /// Routes, oldest first.
    fn routes(&self) -> Vec<Arc<RouteEntry>> {
        let mut entries = self.mesh.as_ref().map(|mesh| mesh.entries()).unwrap_or_default();
        // Those that have not introduced themselves are no routes yet.
        entries.retain(|entry| !entry.remote().id.is_empty());
        entries.sort_by_key(|entry| entry.id);
        entries
    }

    fn gone_routes(&self) -> GoneRoutes {
        self.mesh.as_ref().map(|mesh| mesh.gone()).unwrap_or_default()
    }

    /// Traffic with peers, connections that are gone included.
    fn route_traffic(&self) -> Traffic {
        let mut sum = self.gone_routes().traffic;
        for entry in self.mesh.iter().flat_map(|mesh| mesh.entries()) {
            sum.add(&entry.traffic());
        }
        sum
    }
}

/// A subject or sid for people; it may be any bytes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn now() -> Timestamp {
    Timestamp::now()
}
