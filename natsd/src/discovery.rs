//! What clients are told of the cluster: INFO, and which servers they can go to.
//!
//! Every change of the cluster goes to all clients that understand repeated INFO at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::protocol::info::{Info, InfoEnd};
use crate::registry::{ClientEntry, Registry};

/// Keeps the INFO of clients true.
#[derive(Debug)]
pub struct Discovery {
    /// INFO without what differs between clients.
    base: ArcSwap<Info>,
    urls: Mutex<Urls>,
    websocket: OnceLock<WebsocketAddress>,
}

/// Where WebSocket clients find this server.
#[derive(Clone, Debug, Default)]
pub struct WebsocketAddress {
    /// Where it listens.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether with TLS.
    pub tls: bool,
    /// What clients and peers are told: `host:port`.
    pub urls: Vec<String>,
}

/// The client URLs of a server, of both listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientUrls {
    /// For `nats://`.
    pub nats: Vec<String>,
    /// For `ws://`.
    pub websocket: Vec<String>,
}

#[derive(Debug, Default)]
struct Urls {
    nats: Known,
    websocket: Known,
    /// Peers' URLs are kept from clients.
    private: bool,
    lame_duck: bool,
}

/// The URLs of one kind of listener.
#[derive(Debug, Default)]
struct Known {
    own: Vec<String>,
    /// URLs of peers and how many of them announce each.
    peers: BTreeMap<String, usize>,
    /// Whether any peer was ever known: only then is the list given at all.
    clustered: bool,
}

impl Known {
    fn add(&mut self, urls: &[String]) {
        for url in urls {
            *self.peers.entry(url.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, urls: &[String]) {
        for url in urls {
            if let Some(count) = self.peers.get_mut(url) {
                *count -= 1;
                if *count == 0 {
                    self.peers.remove(url);
                }
            }
        }
    }
}

impl Urls {
    /// The list for clients: own first, then the peers'.
    fn listed(&self, known: &Known) -> Vec<String> {
        if !known.clustered || self.private {
            return Vec::new();
        }
        let own = known.own.iter().filter(|_| !self.lame_duck);
        own.chain(known.peers.keys()).cloned().collect()
    }
}

impl Discovery {
    /// Starts with an INFO that names no other server.
    #[must_use]
    pub fn new(base: Info, own_urls: Vec<String>, private: bool) -> Self {
        let nats = Known { own: own_urls, ..Known::default() };
        let urls = Urls { nats, private, ..Urls::default() };
        Self {
            base: ArcSwap::from_pointee(base),
            urls: Mutex::new(urls),
            websocket: OnceLock::new(),
        }
    }

    /// WebSocket clients are served there; said once, at the start.
    pub fn set_websocket(&self, address: WebsocketAddress) {
        self.urls.lock().websocket.own.clone_from(&address.urls);
        drop(self.websocket.set(address));
    }

    /// The URLs of this server, as announced to peers.
    #[must_use]
    pub fn own_urls(&self) -> ClientUrls {
        let urls = self.urls.lock();
        ClientUrls { nats: urls.nats.own.clone(), websocket: urls.websocket.own.clone() }
    }

    /// This server is reached elsewhere from now on.
    pub fn set_own(&self, host: &str, port: u16, urls: Vec<String>) {
        self.urls.lock().nats.own = urls;
        self.update(|info| {
            host.clone_into(&mut info.host);
            info.port = port.into();
        });
        self.refresh_urls();
    }

    /// All URLs that clients are told now.
    #[must_use]
    pub fn listed_urls(&self) -> ClientUrls {
        let base = self.base.load();
        ClientUrls { nats: base.connect_urls.clone(), websocket: base.ws_connect_urls.clone() }
    }

    /// The INFO of one client.
    #[must_use]
    pub fn info_for(&self, client: &ClientEntry) -> Info {
        let mut info = self.info(client.id, client.peer.ip());
        let about = client.about();
        let of_account = about.account.and_then(|account| account.limits().max_payload);
        let of_user = about.identity.and_then(|identity| identity.grant.as_ref()?.max_payload);
        for most in [of_account, of_user].into_iter().flatten() {
            info.max_payload = info.max_payload.min(most.into());
        }
        let websocket = std::mem::take(&mut info.ws_connect_urls);
        if client.transport.is_websocket()
            && let Some(own) = self.websocket.get()
        {
            info.connect_urls = websocket;
            info.host.clone_from(&own.host);
            info.port = own.port.into();
            (info.tls_required, info.tls_available) = (own.tls, own.tls);
        }
        info
    }

    /// The INFO line of a connection that does not become a client.
    #[must_use]
    pub fn greeting(&self, id: u64, ip: IpAddr) -> Vec<u8> {
        let info = Info { ws_connect_urls: Vec::new(), ..self.info(id, ip) };
        info.to_line(InfoEnd::Spaced)
    }

    fn info(&self, id: u64, ip: IpAddr) -> Info {
        let mut info = Info::clone(&self.base.load());
        info.client_id = id;
        info.client_ip = ip.to_canonical().to_string();
        info
    }

    /// A peer with these client URLs joined.
    pub fn add_peer(&self, urls: &ClientUrls, registry: &Registry) {
        self.change(registry, |held| {
            held.nats.clustered = true;
            held.nats.add(&urls.nats);
            held.websocket.clustered |= !urls.websocket.is_empty();
            held.websocket.add(&urls.websocket);
        });
    }

    /// A peer with these client URLs left, or asks not to be named any more.
    pub fn remove_peer(&self, urls: &ClientUrls, registry: &Registry) {
        self.change(registry, |held| {
            held.nats.remove(&urls.nats);
            held.websocket.remove(&urls.websocket);
        });
    }

    /// This server takes no new clients any more: it names only the others.
    pub fn enter_lame_duck(&self, registry: &Registry) {
        self.urls.lock().lame_duck = true;
        self.update(|info| info.ldm = true);
        self.refresh_urls();
        self.tell_all(registry);
    }

    /// Changes what all clients are told from now on (reload). `change` is called again when
    /// another thread changes something meanwhile: neither is lost.
    pub fn update(&self, change: impl Fn(&mut Info)) {
        self.base.rcu(|base| {
            let mut info = Info::clone(base);
            change(&mut info);
            info
        });
    }

    fn change(&self, registry: &Registry, change: impl FnOnce(&mut Urls)) {
        let before = self.base.load_full();
        change(&mut self.urls.lock());
        self.refresh_urls();
        let after = self.base.load();
        let nats = before.connect_urls != after.connect_urls;
        let websocket = before.ws_connect_urls != after.ws_connect_urls;
        if nats || websocket {
            self.tell(
                registry,
                |client| {
                    if client.transport.is_websocket() { websocket } else { nats }
                },
            );
        }
    }

    fn refresh_urls(&self) {
        // Held until stored, so that the youngest list wins.
        let urls = self.urls.lock();
        let (nats, websocket) = (urls.listed(&urls.nats), urls.listed(&urls.websocket));
        self.update(|info| {
            info.connect_urls.clone_from(&nats);
            info.ws_connect_urls.clone_from(&websocket);
        });
        drop(urls);
    }

    /// Sends every client that takes it a fresh INFO, without waiting for any of them.
    pub fn tell_all(&self, registry: &Registry) {
        self.tell(registry, |_| true);
    }

    fn tell(&self, registry: &Registry, whom: impl Fn(&ClientEntry) -> bool) {
        for client in registry.clients() {
            if client.takes_info() && whom(&client) {
                let line = self.info_for(&client).to_line(InfoEnd::Spaced);
                client.subscriber.outbound.append_bytes(&line);
                client.subscriber.outbound.flush();
            }
        }
    }
}

/// The client URLs of a server: what it advertises, or where it listens. A wildcard address
/// stands for every global address of the machine (observed: loopback and link-local are
/// never advertised for it); only then are `interfaces` asked for.
#[must_use]
pub fn client_urls(host: &str, port: u16, interfaces: impl FnOnce() -> Vec<IpAddr>) -> Vec<String> {
    let unspecified = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if !unspecified {
        return vec![host_port(host, port)];
    }
    let found: Vec<String> = interfaces()
        .into_iter()
        .filter(|address| is_global_unicast(*address))
        .map(|address| host_port(&address.to_string(), port))
        .collect();
    if found.is_empty() { vec![host_port(host, port)] } else { found }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_global_unicast(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(listed: &[&str]) -> Vec<String> {
        listed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_list_appears_with_the_first_peer_and_shrinks_to_the_own_url() {
        let registry = Registry::new(0);
        let discovery = Discovery::new(Info::default(), urls(&["10.0.0.1:4222"]), false);
        assert_eq!(discovery.listed_urls(), ClientUrls::default());
        discovery.add_peer(&nats(&["10.0.0.2:4222"]), &registry);
        discovery.add_peer(&nats(&["10.0.0.2:4222", "10.0.0.3:4222"]), &registry);
        assert_eq!(
            discovery.listed_urls(),
            nats(&["10.0.0.1:4222", "10.0.0.2:4222", "10.0.0.3:4222"])
        );
        discovery.remove_peer(&nats(&["10.0.0.2:4222", "10.0.0.3:4222"]), &registry);
        discovery.remove_peer(&nats(&["10.0.0.2:4222"]), &registry);
        assert_eq!(discovery.listed_urls(), nats(&["10.0.0.1:4222"]));
    }

    fn nats(listed: &[&str]) -> ClientUrls {
        ClientUrls { nats: urls(listed), websocket: Vec::new() }
    }

    #[test]
    fn a_lame_duck_names_only_the_others() {
        let registry = Registry::new(0);
        let discovery = Discovery::new(Info::default(), urls(&["a:1"]), false);
        discovery.add_peer(&nats(&["b:1"]), &registry);
        discovery.enter_lame_duck(&registry);
        assert_eq!(discovery.listed_urls(), nats(&["b:1"]));
    }

    #[test]
    fn loopback_is_never_advertised_for_a_wildcard_address() {
        let interfaces =
            ["127.0.0.1", "10.1.2.3", "fe80::1", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert_eq!(
            client_urls("0.0.0.0", 4222, || interfaces.to_vec()),
            urls(&["10.1.2.3:4222", "[2001:db8::1]:4222"])
        );
        let unasked = || unreachable!("it listens on one address");
        assert_eq!(client_urls("127.0.0.1", 4222, unasked), urls(&["127.0.0.1:4222"]));
        let loopback_only = || interfaces[..1].to_vec();
        assert_eq!(client_urls("0.0.0.0", 1, loopback_only), urls(&["0.0.0.0:1"]));
    }
}
