//! Makes `/varz` and STATSZ.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::usage::resident_bytes;
use super::view::{
    ClusterVarz, ConnectionStats, DataStats, FeatureFlags, GatewayVarz, LeafVarz, ProxiesVarz,
    ProxyInfo, RouteStat, ServerStats, Varz, WebsocketVarz,
};
use super::{Monitor, age, now};
use crate::config::draft::default_auth_timeout;
use crate::config::{Cluster, Config, Websocket, WriteTimeout};
use crate::discovery::host_port;
use crate::node::{GIT_COMMIT, TOOLCHAIN, VERSION};
use crate::registry::Traffic;
use crate::tls::TlsSetup;

/// Seconds that a TLS handshake may take unless configured (nats-server 2.15).
const TLS_TIMEOUT: f64 = 2.0;

impl Monitor {
    /// The server as a whole.
    #[must_use]
    pub fn varz(&self) -> Varz {
        let config = self.node.config();
        let base = self.configured(&config);
        self.with_counts(base)
    }

    /// What the configuration and the start decided.
    fn configured(&self, config: &Config) -> Varz {
        let identity = &self.node.identity;
        let limits = &config.limits;
        let monitor = config.monitor.as_ref();
        let port = self.listening.monitor.map_or(0, |address| address.port());
        let secure = monitor.is_some_and(|monitor| monitor.tls);
        let client_tls = config.tls.as_ref();
        let urls = self.node.discovery.listed_urls();
        let routes = config.cluster.as_ref();
        let advertised = config.client_advertise.as_ref();
        Varz {
            server_id: identity.id.clone(),
            server_name: identity.name.clone(),
            version: VERSION.into(),
            proto: 1,
            git_commit: GIT_COMMIT.unwrap_or("not set").into(),
            go: TOOLCHAIN.into(),
            host: advertised.map_or(&config.client.host, |address| &address.host).clone(),
            port: advertised
                .map(|address| address.port)
                .filter(|port| *port != 0)
                .unwrap_or_else(|| self.listening.client.port()),
            auth_required: config.requires_auth(),
            tls_required: client_tls.is_some() && !config.allow_non_tls,
            tls_verify: client_tls.is_some_and(|tls| tls.verify),
            connect_urls: urls.nats,
            ws_connect_urls: urls.websocket,
            max_connections: signed(limits.max_connections),
            max_subscriptions: signed(limits.max_subscriptions),
            ping_interval: nanos(limits.ping_interval),
            ping_max: limits.ping_max,
            http_host: monitor.map(|monitor| monitor.listen.host.clone()).unwrap_or_default(),
            http_port: if secure { 0 } else { port },
            https_port: if secure { port } else { 0 },
            http_base_path: monitor.map(|held| held.base_path_written.clone()).unwrap_or_default(),
            auth_timeout: limits.auth_timeout.as_secs_f64(),
            max_control_line: limits.max_control_line as u64,
            max_payload: limits.max_payload as u64,
            max_pending: limits.max_pending as u64,
            cluster: config.cluster.as_ref().map(|held| self.cluster(held)).unwrap_or_default(),
            // Observed: these two show what the cluster was given.
            gateway: GatewayVarz {
                write_deadline: routes.map_or(0, |held| held.write_deadline.map_or(0, nanos)),
                write_timeout: routes
                    .map(|held| write_timeout(held.write_timeout))
                    .unwrap_or_default(),
                ..GatewayVarz::default()
            },
            leaf: LeafVarz {
                write_deadline: routes.map_or(0, |held| held.write_deadline.map_or(0, nanos)),
                write_timeout: routes
                    .map(|held| write_timeout(held.write_timeout))
                    .unwrap_or_default(),
                ..LeafVarz::default()
            },
            websocket: config
                .websocket
                .as_ref()
                .map(|held| self.websocket(held))
                .unwrap_or_default(),
            tls_timeout: client_tls.map_or(TLS_TIMEOUT, |tls| tls.timeout.as_secs_f64()),
            write_deadline: nanos(limits.write_deadline),
            write_timeout: write_timeout(limits.write_timeout),
            start: identity.started,
            config_load_time: self.node.config_loaded(),
            config_digest: config
                .source
                .as_ref()
                .map(|held| held.digest.clone())
                .unwrap_or_default(),
            tags: config.tags.clone(),
            metadata: config.metadata.clone(),
            feature_flags: Some(FeatureFlags::default()),
            trusted_operators_jwt: config.operators.jwts.clone(),
            trusted_operators_claim: config
                .operators
                .jwts
                .iter()
                .filter_map(|jwt| crate::jwt::payload(jwt))
                .collect(),
            system_account: self.system_account_name(),
            proxies: proxies(config),
            tls_cert_not_after: not_after(self.node.client_tls()),
            ..Varz::default()
        }
    }

    fn websocket(&self, websocket: &Websocket) -> WebsocketVarz {
        WebsocketVarz {
            host: websocket.listen.host.clone(),
            port: self.listening.websocket.map_or(0, |address| address.port()),
            advertise: websocket
                .advertise
                .as_ref()
                .map(|address| match address.port {
                    0 => address.host.clone(),
                    port => host_port(&address.host, port),
                })
                .unwrap_or_default(),
            no_auth_user: websocket.no_auth_user.clone().unwrap_or_default(),
            jwt_cookie: websocket.jwt_cookie.clone().unwrap_or_default(),
            handshake_timeout: websocket.handshake_timeout.map_or(0, nanos),
            auth_timeout: websocket.auth_timeout.map_or(0.0, |timeout| timeout.as_secs_f64()),
            no_tls: websocket.no_tls,
            tls_map: websocket.tls.as_ref().is_some_and(|tls| tls.verify_and_map),
            tls_pinned_certs: websocket
                .tls
                .iter()
                .flat_map(|tls| tls.pinned_certs.iter().cloned())
                .collect(),
            same_origin: websocket.same_origin,
            allowed_origins: websocket.allowed_origins.clone(),
            compression: websocket.compression,
            tls_cert_not_after: not_after(self.node.websocket_tls()),
        }
    }

    /// What changes all the time.
    fn with_counts(&self, base: Varz) -> Varz {
        let (clients, routes) = (self.node.registry.traffic(), self.route_traffic());
        let all = sum(clients, routes);
        let slow = self.slow_consumers();
        let stale = self.stale_connections();
        let now = now();
        Varz {
            now,
            uptime: age::since(base.start, now),
            mem: resident_bytes(),
            cores: cores(),
            gomaxprocs: cores(),
            cpu: self.usage.cpu_percent(),
            connections: self.node.registry.count(),
            total_connections: self.node.registry.total(),
            routes: self.routes().len(),
            remotes: self.mesh.as_ref().map_or(0, |mesh| mesh.members()),
            in_msgs: all.in_messages,
            in_bytes: all.in_bytes,
            in_client_msgs: clients.in_messages,
            in_client_bytes: clients.in_bytes,
            out_msgs: all.out_messages,
            out_bytes: all.out_bytes,
            out_client_msgs: clients.out_messages,
            out_client_bytes: clients.out_bytes,
            slow_consumers: slow.clients + slow.routes,
            stale_connections: stale.clients + stale.routes,
            stalled_clients: clients.stalls,
            subscriptions: self.node.accounts.subscriptions(),
            http_req_stats: self
                .requests
                .lock()
                .iter()
                .map(|(path, count)| ((*path).to_owned(), *count))
                .collect(),
            slow_consumer_stats: slow,
            stale_connection_stats: stale,
            ..base
        }
    }

    fn cluster(&self, cluster: &Cluster) -> ClusterVarz {
        let authorization = cluster.authorization.as_ref();
        let auth_timeout = authorization
            .map_or_else(|| default_auth_timeout(cluster.tls.as_ref()), |held| held.timeout);
        ClusterVarz {
            name: self.mesh.as_ref().map(|mesh| mesh.name().name).unwrap_or_default(),
            addr: cluster.listen.host.clone(),
            cluster_port: self.listening.cluster.map_or(0, |address| address.port()),
            auth_timeout: auth_timeout.as_secs_f64(),
            urls: cluster.routes.iter().map(|route| host_port(&route.host, route.port)).collect(),
            tls_timeout: cluster.tls.as_ref().map_or(TLS_TIMEOUT, |tls| tls.timeout.as_secs_f64()),
            tls_required: cluster.tls.is_some(),
            tls_verify: cluster.tls.is_some(),
            pool_size: cluster.pool_size.map_or(-1, i64::from),
            write_deadline: cluster.write_deadline.map_or(0, nanos),
            write_timeout: write_timeout(cluster.write_timeout),
            tls_cert_not_after: not_after(self.node.route_tls()),
        }
    }

    /// Slow consumers by kind.
    fn slow_consumers(&self) -> ConnectionStats {
        ConnectionStats {
            clients: self.node.registry.slow_consumers(),
            routes: self.gone_routes().slow_consumers,
            ..ConnectionStats::default()
        }
    }

    fn stale_connections(&self) -> ConnectionStats {
        ConnectionStats {
            clients: self.node.registry.stale_connections(),
            routes: self.gone_routes().stale_connections,
            ..ConnectionStats::default()
        }
    }

    /// The heartbeat of the system account.
    #[must_use]
    pub fn statsz(&self) -> ServerStats {
        let (clients, routes) = (self.node.registry.traffic(), self.route_traffic());
        let (slow, stale) = (self.slow_consumers(), self.stale_connections());
        let all = sum(clients, routes);
        ServerStats {
            start: self.node.identity.started,
            mem: resident_bytes(),
            cores: cores(),
            cpu: self.usage.cpu_percent(),
            connections: self.node.registry.count(),
            total_connections: self.node.registry.total(),
            active_accounts: self.active_accounts(),
            subscriptions: self.node.accounts.subscriptions(),
            sent: sent(all),
            sent_to_clients: sent(clients),
            received: received(all),
            received_from_clients: received(clients),
            slow_consumers: slow.clients + slow.routes,
            slow_consumer_stats: unless_zero(slow),
            stale_connections: stale.clients + stale.routes,
            stale_connection_stats: unless_zero(stale),
            stalled_clients: clients.stalls,
            routes: self.route_stats(),
            active_servers: 1 + self.mesh.as_ref().map_or(0, |mesh| mesh.members()),
            gomaxprocs: cores(),
        }
    }

    fn route_stats(&self) -> Vec<RouteStat> {
        let stat = |entry: Arc<crate::route::RouteEntry>| RouteStat {
            rid: entry.id,
            name: entry.remote().name,
            sent: sent(entry.traffic()),
            received: received(entry.traffic()),
            pending: entry.outbound.delivered().pending_bytes,
        };
        self.routes().into_iter().map(stat).collect()
    }
}

fn not_after(setup: Option<Arc<TlsSetup>>) -> Option<Timestamp> {
    setup.and_then(|setup| setup.not_after)
}

fn proxies(config: &Config) -> Option<ProxiesVarz> {
    let trusted = &config.proxies.trusted;
    config.proxies.defined.then(|| ProxiesVarz {
        trusted: trusted.iter().map(|key| ProxyInfo { key: key.clone() }).collect(),
    })
}

fn write_timeout(timeout: WriteTimeout) -> String {
    match timeout {
        WriteTimeout::Default => String::new(),
        WriteTimeout::Close => "close".into(),
        WriteTimeout::Retry => "retry".into(),
    }
}

fn sum(clients: Traffic, routes: Traffic) -> Traffic {
    let mut all = clients;
    all.add(&routes);
    all
}

/// What the server sent.
pub(super) fn sent(traffic: Traffic) -> DataStats {
    DataStats { msgs: traffic.out_messages, bytes: traffic.out_bytes, ..DataStats::default() }
}

/// What it received.
pub(super) fn received(traffic: Traffic) -> DataStats {
    DataStats { msgs: traffic.in_messages, bytes: traffic.in_bytes, ..DataStats::default() }
}

fn unless_zero(stats: ConnectionStats) -> Option<ConnectionStats> {
    (stats != ConnectionStats::default()).then_some(stats)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A limit as Go's configuration has it: 0 is none.
fn signed(limit: Option<usize>) -> i64 {
    limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}
