//! How connections to other servers come about and come back.
//!
//! A configured route is dialed for ever. A server that a peer told of is dialed whenever it is no
//! member, with growing pauses, until it was out of reach for a day: a mesh that misses one
//! connection never stays so while the server lives. Nothing is dialed that is connected already.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::{Dialed, Mesh, Purpose, Role, Route, RouteEntry};
use crate::config::RouteUrl;
use crate::discovery::host_port;
use crate::net::{Patience, TlsPlan, TlsRole, TlsStart, serve, split, split_tls};
use crate::outbound::Outbound;
use crate::protocol::info::Info;
use crate::tls::TlsSetup;

/// How long one attempt may take (nats-server 2.15).
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// First pause. Nodes that start together find each other at once, not after a second.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause as long as the machine is there and refuses: its server may be about to start.
/// One attempt costs some 50 us.
const EAGER_PAUSE_MAX: Duration = Duration::from_millis(25);
/// How long that is believed.
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Longest pause for a configured route.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest pause for a gossiped one, and for a configured one with `connect_backoff`.
const LONG_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was not refused by the peer: it says why within milliseconds.
const STAYED: Duration = Duration::from_secs(1);
/// How often it is looked at most whether configured routes are up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A gossiped server that was out of reach for so long is forgotten. Two that are cut off from each
/// other are both members of the rest, and nobody tells them of each other again.
const GOSSIPED_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What is being dialed now.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    /// Servers we were told of, by id, and what for.
    gossiped: HashSet<(String, Purpose)>,
    /// What connections that we dial, or have dialed, are for.
    claimed: HashSet<(String, Purpose)>,
    /// URLs that turned out to be this server.
    own_urls: HashSet<String>,
    /// Server id behind a configured route, when it was last connected.
    ids: HashMap<String, String>,
}

/// The right to dial a server for one purpose, and to serve that connection. A task that keeps a
/// pool and one that was told of an account would else dial for it both, and one connection in
/// six of a starting mesh would be closed again.
struct Claim {
    mesh: Arc<Mesh>,
    target: (String, Purpose),
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.mesh.dialing.lock().claimed.remove(&self.target);
    }
}

/// A dialed connection that has ended.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The server that was there; empty if it did not say so.
    pub(super) id: String,
    /// It lasted.
    stayed: bool,
}

/// Growing pauses with jitter, so that many servers do not dial in step.
pub(super) struct Pauses {
    next: Duration,
    max: Duration,
    /// Since when a configured route has been refused each time.
    refused_since: Option<Instant>,
}

impl Pauses {
    const fn up_to(max: Duration) -> Self {
        Self { next: FIRST_PAUSE, max, refused_since: None }
    }

    /// For a route of a pool.
    pub(super) const fn for_route() -> Self {
        Self::up_to(PAUSE_MAX)
    }

    pub(super) fn take(&mut self) -> Duration {
        self.take_up_to(self.max)
    }

    /// The same after an attempt that failed; `eager` is whoever waits for a server to start.
    fn take_after(&mut self, error: &io::Error, eager: bool) -> Duration {
        if !eager || error.kind() != io::ErrorKind::ConnectionRefused {
            self.refused_since = None;
            return self.take();
        }
        self.refused_since.get_or_insert_with(Instant::now);
        if self.are_eager() { self.take_up_to(EAGER_PAUSE_MAX) } else { self.take() }
    }

    fn are_eager(&self) -> bool {
        self.refused_since.is_some_and(|since| since.elapsed() < EAGER_FOR)
    }

    fn take_up_to(&mut self, max: Duration) -> Duration {
        let pause = self.next.min(max).mul_f64(0.75 + rand::random::<f64>() * 0.5);
        self.next = (self.next * 3 / 2).min(max);
        pause
    }

    /// A connection that stayed is dialed again at once. One that the peer soon ended is not: it
    /// may refuse us for good, and each attempt is a line in two logs.
    pub(super) fn note(&mut self, served: &Served) {
        if served.stayed {
            self.reset();
        }
    }

    fn reset(&mut self) {
        self.next = FIRST_PAUSE;
        self.refused_since = None;
    }
}

impl Mesh {
    /// Serves an accepted connection on one of the threads.
    pub fn accept(self: &Arc<Self>, stream: net::TcpStream, peer: SocketAddr) {
        let mesh = Arc::clone(self);
        self.workers.serve(stream, move |stream| mesh.run(stream, peer, Role::Accepted));
    }

    /// Dials a configured route for ever.
    pub async fn keep_route(self: Arc<Self>, url: RouteUrl) {
        let target = host_port(&url.host, url.port);
        let backoff = self.node.config().cluster.as_ref().is_some_and(|c| c.connect_backoff);
        let mut pauses = Pauses::up_to(if backoff { LONG_PAUSE_MAX } else { PAUSE_MAX });
        let mut attempt: u32 = 0;
        loop {
            self.wait_while_connected(&target).await;
            attempt += 1;
            if attempt.is_power_of_two() {
                tracing::debug!("Trying to connect to route on {target}");
            }
            let dialed = Dialed {
                explicit: true,
                url: target.clone(),
                credentials: url.credentials.clone(),
                gossip_mode: 0,
                purpose: Purpose::Slot(0),
            };
            let pause = match self.dial_and_serve(&url.host, url.port, dialed).await {
                Ok(served) if !served.id.is_empty() => {
                    pauses.note(&served);
                    self.dialing.lock().ids.insert(target.clone(), served.id);
                    attempt = 0;
                    tracing::debug!("Attempting reconnect for solicited route \"{target}\"");
                    pauses.take()
                }
                Ok(_) => pauses.take(),
                Err(error) => {
                    self.report(&target, attempt, pauses.are_eager(), &error);
                    pauses.take_after(&error, !backoff)
                }
            };
            if self.dialing.lock().own_urls.contains(&target) {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Logs the first failure and then every so many, as configured; attempts that follow each
    /// other closely are not worth it.
    fn report(&self, target: &str, attempt: u32, eager: bool, error: &io::Error) {
        let every = self.node.config().connect_error_reports.max(1);
        if attempt == 1 || (attempt.is_multiple_of(every) && !eager) {
            tracing::error!(
                "Error trying to connect to route (attempt {attempt}): dial tcp {target}: {error}"
            );
        } else if attempt.is_power_of_two() {
            tracing::debug!("Error trying to connect to route {target} ({attempt}): {error}");
        }
    }

    /// Waits as long as the server behind a configured route is a member by whatever connection.
    async fn wait_while_connected(&self, target: &str) {
        let id = self.dialing.lock().ids.get(target).cloned();
        if let Some(id) = id {
            self.was_connected_for(&Purpose::Slot(0), &id).await;
        }
    }

    /// Waits until all configured routes are up; those that lead to this server itself are.
    pub async fn wait_for_configured(&self) {
        loop {
            let changed = self.changed.notified();
            let config = self.node.config();
            let routes = config.cluster.iter().flat_map(|cluster| &cluster.routes);
            if routes.map(|url| host_port(&url.host, url.port)).all(|target| self.is_up(&target)) {
                return;
            }
            // A route that is up by another connection is known a moment after it came.
            drop(timeout(LOOK_AGAIN, changed).await);
        }
    }

    fn is_up(&self, target: &str) -> bool {
        let dialing = self.dialing.lock();
        if dialing.own_urls.contains(target) {
            return true;
        }
        let id = dialing.ids.get(target).cloned();
        drop(dialing);
        let serving = self.entries().into_iter().find(|e| e.configured.as_deref() == Some(target));
        let ids = [id, serving.map(|entry| entry.remote().id)];
        ids.into_iter().flatten().any(|id| self.is_connected_for(&Purpose::Slot(0), &id))
    }

    /// A URL that leads to this very server is not dialed again.
    pub(super) fn note_self(&self, url: &str) {
        self.dialing.lock().own_urls.insert(url.to_owned());
    }

    /// A peer told of another server: dial it until it is connected for what we were told of.
    pub(super) fn learn(self: &Arc<Self>, info: &Info) {
        let Some((host, port)) = route_address(info) else { return };
        let Some(purpose) = self.purpose_of_news(info) else { return };
        let id = info.server_id.clone();
        if self.is_connected_for(&purpose, &id) || self.is_configured(info, &host, port) {
            return;
        }
        if !self.dialing.lock().gossiped.insert((id.clone(), purpose.clone())) {
            return;
        }
        let config = self.node.config();
        let own = config.cluster.as_ref().and_then(|cluster| cluster.authorization.as_ref());
        let credentials = own
            .filter(|_| info.auth_required)
            .map(|authorization| (authorization.user.clone(), authorization.password.clone()));
        let dialed = Dialed {
            explicit: false,
            url: host_port(&host, port),
            credentials,
            gossip_mode: info.gossip_mode,
            purpose,
        };
        tokio::spawn(Arc::clone(self).keep_gossiped(id, host, port, dialed));
    }

    /// nats-server tells of a server once for the pool and once for each account that has a
    /// connection of its own (2.15, `forwardNewRouteInfoToKnownServers`), in any order.
    fn purpose_of_news(&self, info: &Info) -> Option<Purpose> {
        let account = &info.route_account;
        if account.is_empty() {
            return Some(Purpose::Slot(0));
        }
        let is_dedicated =
            self.pool_size().is_some() && self.dedicated_accounts().iter().any(|a| a == account);
        is_dedicated.then(|| Purpose::Account(account.clone()))
    }

    /// Whether a configured route leads to that server anyway.
    fn is_configured(&self, info: &Info, host: &str, port: u16) -> bool {
        let config = self.node.config();
        config.cluster.as_ref().is_some_and(|cluster| {
            cluster
                .routes
                .iter()
                .any(|route| route.port == port && (route.host == host || route.host == info.host))
        })
    }

    /// Dials a server that we were told of whenever it is no member.
    async fn keep_gossiped(self: Arc<Self>, id: String, host: String, port: u16, dialed: Dialed) {
        let mut pauses = Pauses::up_to(LONG_PAUSE_MAX);
        let mut give_up = Instant::now() + GOSSIPED_LIFETIME;
        while Instant::now() < give_up {
            let was_connected = self.was_connected_for(&dialed.purpose, &id).await;
            let found = self.dial_if_free(&id, &host, port, dialed.clone()).await;
            if let Err(error) = &found {
                tracing::debug!("Error trying to connect to {}: {error}", dialed.url);
            }
            let found = found.unwrap_or_default();
            if !found.id.is_empty() && found.id != id {
                break; // Somebody else listens there by now: the server we were told of is gone.
            }
            if was_connected || found.stayed {
                pauses.reset();
                give_up = Instant::now() + GOSSIPED_LIFETIME;
            }
            sleep(pauses.take()).await;
        }
        self.dialing.lock().gossiped.remove(&(id, dialed.purpose));
    }

    /// Waits as long as a server is a member by a connection for this purpose; false when it is
    /// none.
    async fn was_connected_for(&self, purpose: &Purpose, id: &str) -> bool {
        let mut was_connected = false;
        loop {
            let changed = self.changed.notified();
            if !self.is_connected_for(purpose, id) {
                return was_connected;
            }
            was_connected = true;
            changed.await;
        }
    }

    /// As [`Self::dial_and_serve`], unless another task of ours is about it.
    pub(super) async fn dial_if_free(
        self: &Arc<Self>,
        id: &str,
        host: &str,
        port: u16,
        dialed: Dialed,
    ) -> io::Result<Served> {
        let Some(_claim) = self.claim(id, &dialed.purpose) else { return Ok(Served::default()) };
        self.dial_and_serve(host, port, dialed).await
    }

    fn claim(self: &Arc<Self>, id: &str, purpose: &Purpose) -> Option<Claim> {
        let target = (id.to_owned(), purpose.clone());
        let is_free = self.dialing.lock().claimed.insert(target.clone());
        is_free.then(|| Claim { mesh: Arc::clone(self), target })
    }

    /// Dials once and serves the connection to its end.
    async fn dial_and_serve(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        dialed: Dialed,
    ) -> io::Result<Served> {
        if self.stops() {
            return pending().await; // its task ends with the process
        }
        let stream = timeout(DIAL_TIMEOUT, TcpStream::connect((host, port)))
            .await
            .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
        let peer = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let begun = Instant::now();
        let (done, finished) = oneshot::channel();
        let mesh = Arc::clone(self);
        self.workers.serve(stream, move |stream| async move {
            let remote = Arc::new(Mutex::new(String::new()));
            mesh.run_noting(stream, peer, Role::Dialed(dialed), Arc::clone(&remote)).await;
            let id = remote.lock().clone();
            // Nobody waits any more when the server stops.
            drop(done.send(id));
        });
        let id = finished.await.unwrap_or_default();
        Ok(Served { id, stayed: begun.elapsed() >= STAYED })
    }

    async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, role: Role) {
        self.run_noting(stream, peer, role, Arc::default()).await;
    }

    async fn run_noting(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        role: Role,
        remote: Arc<Mutex<String>>,
    ) {
        let config = self.node.config();
        let cluster = config.cluster.as_ref();
        if let Some(limit) = cluster.and_then(|cluster| cluster.dead_peer_timeout) {
            notice_dead_machines(&stream, limit);
        }
        let patience = Patience::with_peers(cluster, &config.limits);
        let (reader, sink) = match self.node.route_tls() {
            None => split(stream),
            Some(tls) => match self.tls_plan(&tls, &role) {
                Ok(plan) => split_tls(stream, plan),
                Err(error) => {
                    tracing::error!("{peer} - TLS route handshake error: {error}");
                    return;
                }
            },
        };
        let max_pending = config.limits.max_pending;
        let outbound = Arc::new(Outbound::to_peer(self.node.next_route_id(), sink, max_pending));
        let (is_dialed, configured) = match &role {
            Role::Accepted => (false, None),
            Role::Dialed(dialed) => (true, dialed.explicit.then(|| dialed.url.clone())),
        };
        let entry = Arc::new(RouteEntry::new(outbound, peer, is_dialed, configured));
        serve(reader, Route::new(self, Arc::clone(&entry), role), patience).await;
        *remote.lock() = entry.remote().id;
    }
}

impl Mesh {
    /// TLS comes before any word between servers, and both show certificates.
    fn tls_plan(&self, tls: &TlsSetup, role: &Role) -> io::Result<TlsPlan> {
        let config = self.node.config();
        let routes = config.cluster.iter().flat_map(|cluster| &cluster.routes);
        let known = || routes.clone().map(|route| route.host.clone()).collect();
        let role = match (role, &tls.client) {
            (Role::Dialed(dialed), Some(client)) => {
                let host = match dialed.explicit {
                    true => dialed.host().to_owned(),
                    // Gossip tells addresses, certificates tend to hold names.
                    false => routes
                        .clone()
                        .map(|route| route.host.clone())
                        .find(|host| host.parse::<net::IpAddr>().is_err())
                        .unwrap_or_else(|| dialed.host().to_owned()),
                };
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                TlsRole::Client(Arc::clone(client), name)
            }
            _ => TlsRole::Server(Arc::clone(&tls.server)),
        };
        Ok(TlsPlan {
            role,
            start: TlsStart::First,
            timeout: tls.config.timeout,
            pinned: tls.config.pinned_certs.clone(),
            known_hosts: tls.config.check_known_urls.then(known),
        })
    }
}

impl Dialed {
    /// The host of its URL, without brackets.
    fn host(&self) -> &str {
        let host = self.url.rsplit_once(':').map_or(self.url.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// Lets TCP give a peer up whose machine no longer acknowledges, power cuts included.
fn notice_dead_machines(stream: &TcpStream, limit: Duration) {
    let socket = socket2::SockRef::from(stream);
    let probe = (limit / 4).max(Duration::from_secs(1));
    let keepalive =
        socket2::TcpKeepalive::new().with_time(probe).with_interval(probe).with_retries(3);
    for result in [socket.set_tcp_user_timeout(Some(limit)), socket.set_tcp_keepalive(&keepalive)] {
        if let Err(error) = result {
            tracing::debug!("Could not set a route's dead peer timeout: {error}");
        }
    }
}

/// Where a server that we are told of accepts routes: its `ip` URL.
fn route_address(info: &Info) -> Option<(String, u16)> {
    let rest = info.ip.strip_prefix("nats-route://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_addresses() {
        for (ip, expected) in [
            ("nats-route://10.0.0.1:6222/", Some(("10.0.0.1", 6222))),
            ("nats-route://[2001:db8::1]:6222/", Some(("2001:db8::1", 6222))),
            ("10.0.0.1:6222", None),
            ("nats-route://x/", None),
        ] {
            let info = Info { ip: ip.into(), ..Info::default() };
            let found = route_address(&info);
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_about_to_start_is_dialed_often_but_not_for_ever() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let start = Instant::now();
        let mut pauses = Pauses::up_to(PAUSE_MAX);
        let mut attempts = 0;
        while start.elapsed() < EAGER_FOR {
            let pause = pauses.take_after(&refused, true);
            assert!(pause < EAGER_PAUSE_MAX * 3 / 2, "{pause:?}");
            tokio::time::advance(pause).await;
            attempts += 1;
        }
        assert!((1000..2000).contains(&attempts), "{attempts}");
        let later: Duration = (0..30).map(|_| pauses.take_after(&refused, true)).sum();
        assert!(later > Duration::from_secs(10), "{later:?}");
        let gone = io::Error::from(io::ErrorKind::TimedOut);
        let mut pauses = Pauses::up_to(PAUSE_MAX);
        let total: Duration = (0..30).map(|_| pauses.take_after(&gone, true)).sum();
        assert!(total > Duration::from_secs(10), "{total:?}");
    }

    #[test]
    fn only_a_connection_that_lasted_is_dialed_again_at_once() {
        let after = |stayed| {
            let mut pauses = Pauses::up_to(PAUSE_MAX);
            (0..30).for_each(|_| {
                pauses.take();
                pauses.note(&Served { id: "N".into(), stayed });
            });
            pauses.take()
        };
        assert!(after(false) >= PAUSE_MAX / 2, "it was refused thirty times");
        assert!(after(true) <= FIRST_PAUSE * 2);
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut pauses = Pauses::up_to(PAUSE_MAX);
        let total: Duration = (0..30).map(|_| pauses.take()).sum();
        assert!(total > Duration::from_secs(10) && total < Duration::from_secs(40), "{total:?}");
    }
}
