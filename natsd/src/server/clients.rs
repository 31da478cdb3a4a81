//! The listener for clients: when it opens, and how a connection begins.

use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::StartError;
use crate::client::Client;
use crate::config::{Config, HandshakeFirst};
use crate::monitor::Monitor;
use crate::net::{
    Bound, Listener, Patience, TlsPlan, TlsRole, TlsStart, Workers, accept_loop, serve, split,
    split_tls,
};
use crate::node::Node;
use crate::outbound::Outbound;
use crate::protocol::error;
use crate::route::Mesh;
use crate::tls::TlsSetup;

/// Says whether clients need TLS.
pub(super) fn announce_tls(config: &Config) {
    let Some(tls) = &config.tls else { return };
    let word = if config.allow_non_tls { "available" } else { "required" };
    tracing::info!("TLS {word} for client connections");
    if tls.handshake_first == HandshakeFirst::On {
        tracing::warn!(
            "Clients that are not using \"TLS Handshake First\" option will fail to connect"
        );
    }
}

/// Takes clients in as soon as the gate is open.
pub(super) fn accept_clients(
    node: &Arc<Node>,
    workers: &Workers,
    bound: Bound,
    gate: Gate,
    monitor: Arc<Monitor>,
) -> Result<JoinHandle<()>, StartError> {
    let listener = Listener::try_from(bound)?;
    let (node, workers) = (Arc::clone(node), workers.clone());
    let on_accept = move |stream: net::TcpStream, peer| {
        let node = Arc::clone(&node);
        workers.serve(stream, move |stream| serve_client(node, stream, peer));
    };
    let open = move || {
        monitor.accepts_clients();
        tracing::info!("Server is ready");
    };
    if gate.patience.is_none() {
        open();
        return Ok(tokio::spawn(accept_loop(listener, Arc::new(on_accept))));
    }
    Ok(tokio::spawn(async move {
        if !gate.pass().await {
            tracing::warn!("Configured routes are not all up, accepting clients nevertheless");
        }
        open();
        accept_loop(listener, Arc::new(on_accept)).await;
    }))
}

/// What clients wait for at the start, if the configuration says so.
#[derive(Clone)]
pub(super) struct Gate {
    patience: Option<Duration>,
    mesh: Option<Arc<Mesh>>,
}

impl Gate {
    pub(super) fn new(config: &Config, mesh: Option<&Arc<Mesh>>) -> Self {
        let patience = config.cluster.as_ref().and_then(|cluster| cluster.start_gate);
        if let Some(patience) = patience {
            tracing::info!("Waiting up to {patience:?} for the configured routes");
        }
        Self { patience, mesh: mesh.cloned() }
    }

    /// Waits for the configured routes, but no longer than patience lasts; false when they are
    /// not all up.
    pub(super) async fn pass(&self) -> bool {
        let (Some(patience), Some(mesh)) = (self.patience, &self.mesh) else { return true };
        timeout(patience, mesh.wait_for_configured()).await.is_ok()
    }
}

async fn serve_client(node: Arc<Node>, stream: TcpStream, peer: SocketAddr) {
    let limits = node.config().limits.clone();
    if !node.hears(peer.ip()) {
        let tls = node.client_tls();
        let first = tls.map_or(HandshakeFirst::Off, |tls| tls.config.handshake_first);
        refuse_politely(&node, &stream, peer, first);
        return;
    }
    let (reader, sink) = match node.client_tls() {
        None => split(stream),
        Some(tls) if !tls.may_begin() => {
            refuse_politely(&node, &stream, peer, tls.config.handshake_first);
            return;
        }
        Some(tls) => split_tls(stream, client_plan(&tls, node.config().allow_non_tls)),
    };
    let outbound = Arc::new(Outbound::new(node.next_id(), sink, limits.max_pending));
    outbound.set_drops_when_choked(limits.no_fast_producer_stall);
    serve(reader, Client::new(node, peer, outbound), Patience::with_clients(&limits)).await;
}

/// Says why a connection is closed that would cost too much, a handshake too many or another login
/// of an address where they fail, behind the INFO that a client expects first. A client that has
/// just connected has room for two lines; if not, the end says it.
fn refuse_politely(node: &Node, stream: &TcpStream, peer: SocketAddr, first: HandshakeFirst) {
    let mut text = match first {
        HandshakeFirst::Off => node.discovery.greeting(node.next_id(), peer.ip()),
        HandshakeFirst::On | HandshakeFirst::Fallback(_) => Vec::new(),
    };
    text.extend_from_slice(error::line(error::CONNECTION_THROTTLED).as_bytes());
    drop(socket2::SockRef::from(stream).send(&text));
}

/// How TLS begins on a client connection.
fn client_plan(tls: &TlsSetup, optional: bool) -> TlsPlan {
    TlsPlan {
        role: TlsRole::Server(Arc::clone(&tls.server)),
        start: match tls.config.handshake_first {
            HandshakeFirst::On => TlsStart::First,
            HandshakeFirst::Fallback(patience) => TlsStart::FirstWithin(patience),
            HandshakeFirst::Off if optional => TlsStart::Optional,
            HandshakeFirst::Off => TlsStart::AfterGreeting,
        },
        timeout: tls.config.timeout,
        pinned: tls.config.pinned_certs.clone(),
        known_hosts: None,
    }
}
