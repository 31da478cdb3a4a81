//! Several servers as one cluster: any mix of binaries, started in any order, killed and started
//! again on the same ports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::time::timeout;

use crate::server::{Binary, HeldPort, Server, Setup};
use crate::{DEADLINE, eventually};

/// Connections of a pool where nothing is configured (nats-server 2.15).
const POOL_SIZE: usize = 3;

/// Who dials whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// All others dial the first; the rest of the mesh comes from gossip.
    ToSeed,
    /// Each lists every other.
    ToAll,
}

/// A cluster of up to a dozen servers on loopback.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    routes: Routes,
    extra: Vec<String>,
    config: String,
}

#[derive(Debug)]
struct Node {
    binary: Binary,
    client: HeldPort,
    route: HeldPort,
    server: Option<Server>,
}

impl Cluster {
    /// Reserves ports for one node per binary and starts none.
    pub fn plan<'a>(binaries: impl IntoIterator<Item = &'a Binary>, routes: Routes) -> Self {
        let nodes = binaries.into_iter().map(|binary| Node {
            binary: binary.clone(),
            client: HeldPort::take(),
            route: HeldPort::take(),
            server: None,
        });
        Self { nodes: nodes.collect(), routes, extra: Vec::new(), config: String::new() }
    }

    /// Further flags for every node.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.extra.extend(args.into_iter().map(Into::into));
        self
    }

    /// Gives every node a configuration file with this text; an empty one is none.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    /// How many nodes are planned.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no node is planned.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Starts one node, on the ports it always has.
    pub async fn start(&mut self, index: usize) {
        let server = self.setup(index).start().await;
        self.nodes[index].server = Some(server);
    }

    fn setup(&self, index: usize) -> Setup {
        let mut others: Vec<_> = self.nodes.iter().map(|node| node.route.port()).collect();
        match self.routes {
            Routes::ToSeed if index == 0 => others.clear(),
            Routes::ToSeed => others.truncate(1),
            Routes::ToAll => drop(others.remove(index)),
        }
        let node = &self.nodes[index];
        let setup = Setup::new(&node.binary);
        let setup = if self.config.is_empty() { setup } else { setup.config(&*self.config) };
        setup
            .name(&format!("n{}", index + 1))
            .client_port(node.client.port())
            .cluster("C1", i32::from(node.route.port()))
            .routes(&others)
            .args(["-D"])
            .args(self.extra.clone())
    }

    /// Starts all nodes at the same moment, so that their dials cross.
    pub async fn start_at_once(&mut self) {
        let all: Vec<_> = (0..self.len()).collect();
        self.start_together(&all).await;
    }

    /// Starts these nodes at the same moment.
    pub async fn start_together(&mut self, indices: &[usize]) {
        let setups: Vec<_> = indices.iter().map(|index| self.setup(*index)).collect();
        let servers = join_all(setups.iter().map(Setup::start)).await;
        for (index, server) in indices.iter().zip(servers) {
            self.nodes[*index].server = Some(server);
        }
    }

    /// Starts all nodes in this order.
    pub async fn start_in_order(&mut self, order: &[usize]) {
        for index in order {
            self.start(*index).await;
        }
    }

    /// Starts all nodes, the first first.
    pub async fn start_all(&mut self) {
        let order: Vec<_> = (0..self.len()).collect();
        self.start_in_order(&order).await;
    }

    /// Kills a node as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].server.take().expect("the node runs").kill();
    }

    /// Ends a node as an operator would.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn stop(&mut self, index: usize) {
        let mut server = self.nodes[index].server.take().expect("the node runs");
        server.signal(Signal::TERM);
        server.exit().await;
    }

    /// A running node.
    ///
    /// # Panics
    /// When it does not run.
    pub fn node(&self, index: usize) -> &Server {
        self.nodes[index].server.as_ref().expect("the node runs")
    }

    /// The URL of a node, running or not.
    pub fn url(&self, index: usize) -> String {
        format!("nats://127.0.0.1:{}", self.nodes[index].client.port())
    }

    /// The indices of the running nodes.
    pub fn running(&self) -> Vec<usize> {
        (0..self.len()).filter(|index| self.nodes[*index].server.is_some()).collect()
    }

    /// Waits until every running node has a route to every other running node and to no other.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn mesh(&self) {
        let mut ids = BTreeMap::new();
        for index in self.running() {
            let varz = self.node(index).monitor("/varz").await;
            ids.insert(index, varz["server_id"].as_str().expect("an id").to_owned());
        }
        for index in ids.keys() {
            let wanted: BTreeSet<_> =
                ids.iter().filter(|(other, _)| *other != index).map(|(_, id)| id).collect();
            let what = format!("n{} has routes to {} others", index + 1, wanted.len());
            eventually(&what, async || {
                let routez = self.node(*index).monitor("/routez").await;
                let routes = routez["routes"].as_array().cloned().unwrap_or_default();
                let ids: BTreeSet<_> = routes
                    .iter()
                    .filter_map(|route| route["remote_id"].as_str().map(str::to_owned))
                    .collect();
                (ids.iter().collect::<BTreeSet<_>>() == wanted).then_some(())
            })
            .await;
        }
    }

    /// Waits until every running node has all connections to every other: those of the pool and
    /// that of the system account.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn pools(&self) {
        let running = self.running();
        let each = POOL_SIZE + 1;
        for index in &running {
            let what = format!("n{} has {each} routes to each other node", index + 1);
            eventually(&what, async || {
                let routez = self.node(*index).monitor("/routez").await;
                let mut by_peer = BTreeMap::new();
                for route in routez["routes"].as_array()? {
                    *by_peer.entry(route["remote_id"].as_str()?.to_owned()).or_insert(0) += 1;
                }
                let whole = by_peer.len() + 1 == running.len();
                (whole && by_peer.values().all(|count| *count == each)).then_some(())
            })
            .await;
        }
    }

    /// Waits until a message gets from every running node to every other.
    ///
    /// A route that is up may still owe a node the interest of the other, so this is more than
    /// [`Self::mesh`].
    ///
    /// # Panics
    /// When that does not come.
    pub async fn reach(&self) {
        let mut clients = Vec::new();
        for index in self.running() {
            clients.push(connect(&self.url(index)).await);
        }
        for from in &clients {
            for to in &clients {
                settle(from, to).await;
            }
        }
    }
}

/// An official client, connected; it tries again for as long as the test runs.
///
/// # Panics
/// When it cannot connect.
pub async fn connect(url: &str) -> Client {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
    timeout(DEADLINE, options.connect(url))
        .await
        .unwrap_or_else(|_| panic!("no connection to {url} in time"))
        .unwrap_or_else(|error| panic!("no connection to {url}: {error}"))
}

/// Waits until what `to` subscribed to before is known where `from` publishes.
///
/// Interest travels in order, so a probe subscription made last is known last.
///
/// # Panics
/// When no probe arrives.
pub async fn settle(from: &Client, to: &Client) {
    let subject = from.new_inbox();
    let mut probe = to.subscribe(subject.clone()).await.expect("a subscription");
    to.flush().await.expect("it is sent");
    eventually("a probe message arrives", async || {
        from.publish(subject.clone(), "probe".into()).await.expect("a publish");
        from.flush().await.expect("it is sent");
        timeout(Duration::from_millis(4), probe.next()).await.ok().flatten()
    })
    .await;
}
