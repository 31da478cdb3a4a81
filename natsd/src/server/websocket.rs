//! The listener for WebSocket clients.

use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Gate, StartError};
use crate::client::Client;
use crate::config::{Config, Websocket};
use crate::discovery::{WebsocketAddress, client_urls, host_port};
use crate::net::{
    Bound, Listener, Patience, TlsPlan, TlsRole, TlsStart, Upgraded, WebsocketPlan, Workers,
    accept_loop, accept_websocket, bind, interface_addresses, serve,
};
use crate::node::Node;
use crate::outbound::Outbound;
use crate::tls::TlsSetup;
use crate::websocket::Terms;

/// How long the upgrade may take unless that is configured. nats-server waits for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds the listener, if one is configured.
pub(super) fn listen(config: &Config) -> Result<Option<Bound>, StartError> {
    let Some(websocket) = &config.websocket else { return Ok(None) };
    let listen = &websocket.listen;
    bind(listen).map(Some).map_err(|source| StartError::Websocket {
        address: host_port(&listen.host, listen.port),
        source,
    })
}

/// Reads the certificates of the listener.
pub(crate) fn read_certificates(config: &Config) -> Result<Option<TlsSetup>, StartError> {
    let tls = config.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
    tls.map(TlsSetup::for_clients)
        .transpose()
        .map_err(|source| StartError::Tls { what: "websocket tls", source: Box::new(source) })
}

/// Accepts clients until the task is aborted.
pub(super) fn accept(
    node: &Arc<Node>,
    workers: &Workers,
    bound: Bound,
    gate: Gate,
) -> Result<JoinHandle<()>, StartError> {
    let config = node.config();
    let Some(websocket) = &config.websocket else { return Ok(tokio::spawn(async {})) };
    let address = own_address(websocket, bound.address.port());
    let scheme = if address.tls { "wss" } else { "ws" };
    let own = host_port(&address.host, address.port);
    tracing::info!("Listening for websocket clients on {scheme}://{own}");
    if !address.tls {
        tracing::warn!("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
    }
    node.discovery.set_websocket(address);
    let terms = Arc::new(Terms::new(websocket));
    let timeout = websocket.handshake_timeout.unwrap_or(PATIENCE);
    let listener = Listener::try_from(bound)?;
    let (node, workers) = (Arc::clone(node), workers.clone());
    let on_accept = move |stream: net::TcpStream, peer| {
        let (node, terms) = (Arc::clone(&node), Arc::clone(&terms));
        workers.serve(stream, move |stream| async move {
            let tls = node.websocket_tls().map(|tls| tls_plan(&tls));
            let plan = WebsocketPlan { terms, tls, timeout };
            serve_client(node, stream, peer, plan).await;
        });
    };
    Ok(tokio::spawn(async move {
        gate.pass().await;
        accept_loop(listener, Arc::new(on_accept)).await;
    }))
}

/// Where clients find the listener: as advertised, or as it listens.
fn own_address(websocket: &Websocket, port: u16) -> WebsocketAddress {
    let host = websocket.listen.host.clone();
    let urls = match &websocket.advertise {
        Some(address) => vec![host_port(&address.host, address.port)],
        None => client_urls(&host, port, interface_addresses),
    };
    WebsocketAddress { host, port, tls: websocket.tls.is_some(), urls }
}

fn tls_plan(tls: &TlsSetup) -> TlsPlan {
    TlsPlan {
        role: TlsRole::Server(Arc::clone(&tls.server)),
        start: TlsStart::First,
        // The time of the whole upgrade is bounded.
        timeout: Duration::MAX,
        pinned: tls.config.pinned_certs.clone(),
        known_hosts: None,
    }
}

async fn serve_client(node: Arc<Node>, stream: TcpStream, peer: SocketAddr, plan: WebsocketPlan) {
    if !node.hears(peer.ip()) {
        return; // there are no words for it before TLS and the upgrade
    }
    let upgraded = accept_websocket(stream, peer, &plan).await;
    let Some(Upgraded { reader, sink, session, secured }) = upgraded else { return };
    let limits = node.config().limits.clone();
    let outbound = Arc::new(Outbound::new(node.next_id(), sink, limits.max_pending));
    outbound.set_drops_when_choked(limits.no_fast_producer_stall);
    let client = Client::by_websocket(node, peer, outbound, session, secured);
    serve(reader, client, Patience::with_clients(&limits)).await;
}
