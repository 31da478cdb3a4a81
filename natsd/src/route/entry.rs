//! What is known of one route connection, for monitoring.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::outbound::Outbound;
use crate::protocol::info::SubjectPermission;
use crate::registry::{Traffic, TrafficCounters, Vitals};

/// What is known of one route connection.
#[derive(Debug)]
pub struct RouteEntry {
    /// Connection id (`rid`).
    pub id: u64,
    /// The peer's address.
    pub peer: SocketAddr,
    /// We dialed it.
    pub dialed: bool,
    /// The configured route that it serves, as `host:port`.
    pub configured: Option<String>,
    /// Since when, and its signs of life.
    pub vitals: Vitals,
    /// Its queue.
    pub outbound: Arc<Outbound>,
    /// Messages received from the peer.
    pub received: TrafficCounters,
    /// Interest that the peer announced on it.
    pub subscriptions: AtomicUsize,
    key_digest: OnceLock<String>,
    remote: Mutex<Remote>,
}

/// Who is at the other end, once it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Server id.
    pub id: String,
    /// Server name.
    pub name: String,
    /// The account that the connection is dedicated to; empty when it is not.
    pub account: String,
    /// What was agreed on compression: `off`, or `not supported` by the peer.
    pub compression: &'static str,
    /// What it takes from us, if it said so.
    pub import: Option<SubjectPermission>,
    /// What it gives us, if it said so.
    pub export: Option<SubjectPermission>,
}

impl RouteEntry {
    /// Makes the entry of a new connection.
    #[must_use]
    pub fn new(
        outbound: Arc<Outbound>,
        peer: SocketAddr,
        dialed: bool,
        configured: Option<String>,
    ) -> Self {
        Self {
            id: outbound.id,
            peer,
            dialed,
            configured,
            vitals: Vitals::begin(),
            outbound,
            received: TrafficCounters::default(),
            subscriptions: AtomicUsize::new(0),
            key_digest: OnceLock::new(),
            remote: Mutex::default(),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.remote.lock().clone()
    }

    /// The other end said who it is.
    pub fn set_remote(&self, remote: Remote) {
        *self.remote.lock() = remote;
    }

    /// The peer showed a certificate with this key.
    pub fn note_key(&self, digest: String) {
        self.key_digest.get_or_init(|| digest);
    }

    /// The digest of the key in the peer's certificate, if it showed one.
    #[must_use]
    pub fn key_digest(&self) -> Option<&str> {
        self.key_digest.get().map(String::as_str)
    }

    /// Its traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let (in_messages, in_bytes) = self.received.read();
        let delivered = self.outbound.delivered();
        Traffic {
            in_messages,
            in_bytes,
            out_messages: delivered.messages,
            out_bytes: delivered.bytes,
            stalls: delivered.stalls,
        }
    }

    /// How it is named in the log.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} - rid:{}", self.peer, self.id)
    }
}
