//! Who is connected: the members of the cluster, their links, and what clients learn of them.

mod admission;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::gossip::{self, News};
use super::{Purpose, RouteEntry};
use crate::account::{Link, Scope, Terms};
use crate::auth::{Verdict, verify};
use crate::close::CloseReason;
use crate::config::{self, Cluster, ClusterPermissions, Listen, Secret};
use crate::discovery::{ClientUrls, host_port};
use crate::net::Workers;
use crate::node::{Node, TOOLCHAIN, VERSION};
use crate::protocol::info::{Info, InfoEnd, RouteConnect, SubjectPermission};
use crate::registry::Traffic;
use crate::router::Publisher;
pub(super) use admission::{Admission, Admitted};

/// Protocol level of server-to-server INFO: messages that are only traced are not delivered (3).
const ROUTE_PROTO: i32 = 3;
/// natsd does not compress routes; with this answer peers do not either.
const COMPRESSION: &str = "off";
/// PINGs on routes are at most this far apart (nats-server 2.15).
const PING_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// The cluster as this server sees it.
#[derive(Debug)]
pub struct Mesh {
    pub(super) node: Arc<Node>,
    pub(super) workers: Workers,
    /// Where other servers find this one: advertised or bound.
    address: Listen,
    advertised: bool,
    name: Mutex<ClusterName>,
    members: Mutex<HashMap<Arc<str>, Member>>,
    entries: Mutex<HashMap<u64, Arc<RouteEntry>>>,
    /// What connections that are gone left behind.
    gone: Mutex<GoneRoutes>,
    orders: AtomicU64,
    /// What may cross routes; `None` is everything.
    terms: ArcSwapOption<Terms>,
    /// This server stops: nothing is dialed any more, and nobody becomes a member.
    stops: AtomicBool,
    /// Rung whenever a member comes or goes.
    pub(super) changed: Notify,
    pub(super) dialing: Mutex<super::dial::Dialing>,
}

/// The cluster's name, and whether it was generated and gives way to a configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterName {
    /// Name.
    pub name: String,
    /// Generated.
    pub dynamic: bool,
}

/// What connections to peers that are gone left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoneRoutes {
    /// What they carried.
    pub traffic: Traffic,
    /// How many were slow consumers.
    pub slow_consumers: u64,
    /// How many were stale.
    pub stale_connections: u64,
}

/// Another server of the cluster.
#[derive(Debug)]
pub(super) struct Member {
    info: Info,
    /// What clients were told of it.
    urls: ClientUrls,
    pub(super) links: Vec<HeldLink>,
    /// What the others were told of it.
    pub(super) news: Vec<News>,
    /// There were news that it had no connection for.
    pub(super) missed_news: bool,
}

#[derive(Debug)]
pub(super) struct HeldLink {
    pub(super) link: Arc<Link>,
    dialed: bool,
    pub(super) explicit: bool,
}

impl Mesh {
    /// Makes a mesh without members. `bound` is where routes are accepted.
    #[must_use]
    pub fn new(node: Arc<Node>, workers: Workers, cluster: &Cluster, bound: SocketAddr) -> Self {
        let advertised = cluster.advertise.as_ref();
        let address = match advertised {
            Some(address) => Listen { host: address.host.clone(), port: address.port },
            None => Listen { host: cluster.listen.host.clone(), port: bound.port() },
        };
        let name = match &cluster.name {
            Some(name) => ClusterName { name: name.clone(), dynamic: false },
            None => ClusterName { name: generated_name(), dynamic: true },
        };
        node.accounts.set_cluster(&name.name);
        Self {
            address,
            advertised: advertised.is_some(),
            node,
            workers,
            name: Mutex::new(name),
            members: Mutex::default(),
            entries: Mutex::default(),
            gone: Mutex::default(),
            orders: AtomicU64::new(0),
            terms: ArcSwapOption::new(Terms::new(&cluster.permissions).map(Arc::new)),
            stops: AtomicBool::new(false),
            changed: Notify::new(),
            dialing: Mutex::default(),
        }
    }

    /// What all connections share.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The cluster's name now.
    pub fn name(&self) -> ClusterName {
        self.name.lock().clone()
    }

    /// All route connections, in no order.
    pub fn entries(&self) -> Vec<Arc<RouteEntry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// Number of other servers.
    pub fn members(&self) -> usize {
        self.members.lock().len()
    }

    pub(super) fn add_entry(&self, entry: &Arc<RouteEntry>) {
        self.entries.lock().insert(entry.id, Arc::clone(entry));
        // The end may have come between, and looks at those that are there.
        if self.stops() {
            entry.outbound.close(CloseReason::ServerShutdown);
        }
    }

    /// Whether this server stops.
    pub(super) fn stops(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }

    pub(super) fn remove_entry(&self, entry: &Arc<RouteEntry>, reason: CloseReason) {
        self.entries.lock().remove(&entry.id);
        let mut gone = self.gone.lock();
        gone.traffic.add(&entry.traffic());
        gone.slow_consumers += u64::from(matches!(
            reason,
            CloseReason::SlowConsumerPendingBytes | CloseReason::SlowConsumerWriteDeadline
        ));
        gone.stale_connections += u64::from(reason == CloseReason::StaleConnection);
    }

    /// A peer was late in reading, and stays.
    pub(super) fn note_slow(&self) {
        self.gone.lock().slow_consumers += 1;
    }

    /// What connections that are gone left behind.
    pub fn gone(&self) -> GoneRoutes {
        *self.gone.lock()
    }

    /// Whether a member has a link for a task.
    pub(super) fn has_link(&self, id: &str, scope: &Scope) -> bool {
        self.members.lock().get(id).is_some_and(|member| member.in_place(scope).next().is_some())
    }

    /// Whether a server is a member.
    pub(super) fn is_member(&self, id: &str) -> bool {
        self.members.lock().contains_key(id)
    }

    /// Whether a server is a member by a connection that serves this purpose, any slot for any
    /// other: the connection of one account is no reason not to dial the others.
    pub(super) fn is_connected_for(&self, purpose: &Purpose, id: &str) -> bool {
        self.members.lock().get(id).is_some_and(|member| match purpose {
            Purpose::Slot(_) => member.link_for_many().is_some(),
            Purpose::Account(name) => member.carries(name),
        })
    }

    pub(super) fn ping_settings(&self) -> (Duration, u32) {
        let config = self.node.config();
        let cluster = config.cluster.as_ref();
        let interval = cluster
            .and_then(|cluster| cluster.ping_interval)
            .unwrap_or(config.limits.ping_interval)
            .min(PING_INTERVAL_MAX);
        let max = cluster.and_then(|cluster| cluster.ping_max).unwrap_or(config.limits.ping_max);
        (interval, max)
    }

    /// How long a peer may take to introduce itself: as long as it could be silent later.
    pub(super) fn handshake_timeout(&self) -> Duration {
        let (interval, max) = self.ping_settings();
        interval * (max + 1)
    }

    /// How long a peer may take to say CONNECT: shorter where it must show credentials.
    pub(super) fn connect_timeout(&self) -> Duration {
        let config = self.node.config();
        let authorization = config.cluster.as_ref().and_then(|c| c.authorization.as_ref());
        authorization.map_or_else(|| self.handshake_timeout(), |wanted| wanted.timeout)
    }

    /// Whether a dialing server must show credentials.
    pub(super) fn asks_for_credentials(&self) -> bool {
        self.node.config().cluster.as_ref().is_some_and(|c| c.authorization.is_some())
    }

    /// INFO of this server for its peers.
    pub(super) fn own_info(&self) -> Info {
        let config = self.node.config();
        let ClusterName { name, dynamic } = self.name();
        let private = config.cluster.as_ref().is_some_and(|cluster| cluster.no_advertise);
        let lame_duck = self.node.is_lame_duck();
        let urls = if private || lame_duck {
            ClientUrls::default()
        } else {
            self.node.discovery.own_urls()
        };
        Info {
            server_id: self.node.identity.id.clone(),
            server_name: self.node.identity.name.clone(),
            version: VERSION.into(),
            proto: ROUTE_PROTO,
            go: TOOLCHAIN.into(),
            host: self.address.host.clone(),
            port: self.address.port.into(),
            headers: config.headers,
            tls_required: config.cluster.as_ref().is_some_and(|c| c.tls.is_some()),
            tls_verify: config.cluster.as_ref().is_some_and(|c| c.tls.is_some()),
            auth_required: config.cluster.as_ref().is_some_and(|c| c.authorization.is_some()),
            max_payload: i64::try_from(config.limits.max_payload).unwrap_or(i64::MAX),
            ip: if self.advertised { self.route_url() } else { String::new() },
            cluster: name,
            cluster_dynamic: dynamic,
            connect_urls: urls.nats,
            ws_connect_urls: urls.websocket,
            ldm: lame_duck,
            compression: COMPRESSION.into(),
            import: permission_of(
                config.cluster.as_ref().and_then(|c| c.permissions.import.as_ref()),
            ),
            export: permission_of(
                config.cluster.as_ref().and_then(|c| c.permissions.export.as_ref()),
            ),
            route_pool_size: self.pool_size().map_or(0, u64::from),
            ..Info::default()
        }
    }

    fn route_url(&self) -> String {
        format!("nats-route://{}/", host_port(&self.address.host, self.address.port))
    }

    pub(super) fn own_connect(&self, credentials: Option<&(String, String)>) -> RouteConnect {
        let ClusterName { name, dynamic } = self.name();
        let (user, pass) = credentials.cloned().unwrap_or_default();
        RouteConnect {
            echo: false,
            user,
            pass,
            headers: self.node.config().headers,
            name: self.node.identity.id.clone(),
            cluster: name,
            cluster_dynamic: dynamic,
            ..RouteConnect::default()
        }
    }

    /// Whether a dialing server's credentials are good.
    pub(super) fn judge(&self, user: &str, password: &str) -> Verdict {
        let config = self.node.config();
        match config.cluster.as_ref().and_then(|cluster| cluster.authorization.as_ref()) {
            None => Verdict::Same,
            Some(wanted) if wanted.user == user => {
                verify(&Secret::new(wanted.password.as_str()), password)
            }
            Some(_) => Verdict::Different,
        }
    }

    /// Compares cluster names; a generated one gives way to a configured or greater one. The
    /// error is our own name.
    /// Adopting another name ends all connections but the one (`rid`) that brought it.
    pub(super) fn agree_on_name(
        &self,
        rid: u64,
        theirs: &str,
        their_dynamic: bool,
    ) -> Result<(), String> {
        let mut ours = self.name.lock();
        if ours.name == theirs {
            return Ok(());
        }
        let give_way =
            ours.dynamic && !theirs.is_empty() && (!their_dynamic || ours.name.as_str() < theirs);
        if !give_way {
            // A peer that can give way does so by our INFO, and comes again.
            return Err(ours.name.clone());
        }
        *ours = ClusterName { name: theirs.into(), dynamic: their_dynamic };
        drop(ours);
        tracing::info!("Cluster name updated to {theirs}");
        self.node.discovery.update(|info| info.cluster = theirs.into());
        self.node.accounts.set_cluster(theirs);
        for entry in self.entries().iter().filter(|entry| entry.id != rid) {
            entry.outbound.close(CloseReason::ClusterNameConflict);
        }
        Ok(())
    }

    /// A connection of a member ended, and with it what it was told by it.
    pub(super) fn unregister(&self, link: &Arc<Link>, publisher: &mut Publisher) {
        self.node.accounts.remove_link(link);
        let mut members = self.members.lock();
        let Some(member) = members.get_mut(&link.peer) else { return };
        member.links.retain(|held| !Arc::ptr_eq(&held.link, link));
        if !member.links.is_empty() {
            gossip::repeat(&link.peer, &members, publisher);
        } else if let Some(member) = members.remove(&link.peer) {
            self.node.discovery.remove_peer(&member.urls, &self.node.registry);
        }
        drop(members);
        self.changed.notify_waiters();
    }

    /// A member says something new of itself: its client URLs changed, or it is a lame duck.
    pub(super) fn update_peer(&self, link: &Arc<Link>, info: &Info) {
        let mut members = self.members.lock();
        let Some(member) = members.get_mut(&link.peer) else { return };
        let urls = if info.ldm { ClientUrls::default() } else { client_urls_of(info) };
        if urls != member.urls {
            self.node.discovery.add_peer(&urls, &self.node.registry);
            let old = std::mem::replace(&mut member.urls, urls);
            self.node.discovery.remove_peer(&old, &self.node.registry);
        }
        member.info = info.clone();
    }

    /// Tells all members something about this server (lame duck, reload).
    pub fn tell_members(&self) {
        let line = self.own_info().to_line(InfoEnd::Spaced);
        for member in self.members.lock().values() {
            for held in &member.links {
                held.link.outbound.append_bytes(&line);
                held.link.outbound.flush();
            }
        }
    }

    /// From now on this may cross routes (reload): peers are told of interest that they could not
    /// have before, and of what they may not have any more. Then they are told the new terms, so
    /// that they tell us theirs.
    pub fn set_terms(&self, permissions: &ClusterPermissions, publisher: &mut Publisher) {
        let (old, new) = (self.terms.load_full(), Terms::new(permissions).map(Arc::new));
        let info = self.own_info().to_line(InfoEnd::Spaced);
        let may = |terms: &Option<Arc<Terms>>, pattern: &[u8]| {
            terms.as_ref().is_none_or(|terms| terms.may_import(pattern))
        };
        for link in self.bring_under(new.as_ref()) {
            link.send(&info, publisher);
            let (old, new) = (old.clone(), new.clone());
            let change = move |pattern: &[u8]| {
                let (before, now) = (may(&old, pattern), may(&new, pattern));
                (before != now).then_some(now)
            };
            self.node.accounts.announce_anew(&link, change).finish(publisher);
            publisher.flush();
        }
    }

    /// From now on these terms hold; returns the links that were under the earlier ones. Whoever
    /// becomes a member later is told by the new ones.
    fn bring_under(&self, terms: Option<&Arc<Terms>>) -> Vec<Arc<Link>> {
        let members = self.members.lock();
        self.terms.store(terms.cloned());
        let held = members.values().flat_map(|member| &member.links);
        let links: Vec<Arc<Link>> = held.map(|held| Arc::clone(&held.link)).collect();
        links.iter().for_each(|link| link.set_terms(terms.cloned()));
        links
    }

    /// A configured route is no longer wanted: closes what serves it.
    pub fn drop_route(&self, target: &str) {
        for entry in self.entries() {
            if entry.configured.as_deref() == Some(target) {
                entry.outbound.close(CloseReason::RouteRemoved);
            }
        }
    }

    /// The cluster got another name: later handshakes must agree with it.
    pub fn rename(&self, name: &str) {
        *self.name.lock() = ClusterName { name: name.into(), dynamic: false };
        self.node.discovery.update(|info| info.cluster = name.into());
        self.node.accounts.set_cluster(name);
        tracing::info!("Cluster name updated to {name}");
    }

    /// Closes all routes, because this server stops. None comes back: a peer would take it for a
    /// server that has just started, and tell its clients.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::SeqCst);
        for entry in self.entries() {
            entry.outbound.close(CloseReason::ServerShutdown);
        }
    }
}

impl Member {
    /// A link that is not dedicated to one account.
    pub(super) fn link_for_many(&self) -> Option<&HeldLink> {
        self.links.iter().find(|held| !held.link.is_dedicated())
    }

    /// Whether any of its links carries an account.
    fn carries(&self, account: &str) -> bool {
        self.links.iter().any(|held| held.link.scope.carries(account))
    }

    /// A link of a pool.
    pub(super) fn any_slot(&self) -> Option<&HeldLink> {
        self.links.iter().find(|held| matches!(held.link.scope, Scope::Slot { .. }))
    }

    /// The links that have the same task as a new one.
    pub(super) fn in_place(&self, scope: &Scope) -> impl Iterator<Item = &HeldLink> {
        self.links.iter().filter(move |held| held.link.scope.is_same_place(scope))
    }
}

/// Permissions as peers and monitoring are told.
#[must_use]
pub fn permission_of(of: Option<&config::SubjectPermission>) -> Option<SubjectPermission> {
    let of = of?;
    let subjects = |list: &[config::PermissionSubject]| {
        list.iter().map(|held| held.subject.clone()).collect::<Vec<_>>()
    };
    Some(SubjectPermission {
        allow: of.allow.as_deref().map(subjects).unwrap_or_default(),
        deny: subjects(&of.deny),
    })
}

/// A cluster name for those who configured none: 22 characters, as nats-server makes them.
fn generated_name() -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = |_| {
        let index = usize::from(rand::random::<u8>()) % LETTERS.len();
        char::from(LETTERS.get(index).copied().unwrap_or(b'0'))
    };
    (0..22).map(letter).collect()
}

/// The client URLs that a peer tells of itself.
fn client_urls_of(info: &Info) -> ClientUrls {
    ClientUrls { nats: info.connect_urls.clone(), websocket: info.ws_connect_urls.clone() }
}

#[cfg(test)]
mod tests;
