//! Servers: uploaded side by side, the first started alone, the others joined to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;

use super::wanted::{description, installed, wanted};
use super::{Apply, MESH, NodeError, PARALLEL, Trouble, must_be_reached, subjects};
use crate::deploy::service::Ending;
use crate::deploy::{Binary, DeployError, Form, Wanted, listening_ports, ready};
use crate::observe::{Found, Reached};
use crate::plan::Installed;
use crate::state::State;
use crate::topology::{Endpoint, ProviderKind};
use crate::verify;

/// How many nodes are tried as the first, one after the other.
const FIRST_TRIES: usize = 2;
const NO_ADDRESS: &str = "the address of its machine is not known";

/// One node that can be worked on.
struct Site<'a> {
    node: &'a str,
    endpoint: Endpoint,
    reached: Reached,
    installed: Installed,
    /// What it is to be told, all peers included.
    settled: Wanted,
}

impl Site<'_> {
    /// It is to have another binary or other settings.
    fn is_to_change(&self) -> bool {
        !(self.installed.binary && self.installed.settings)
    }

    /// Its server must be restarted to become what is wanted.
    fn is_stale(&self) -> bool {
        self.installed.running && self.is_to_change()
    }

    /// The ports its running server has.
    fn ports(&self) -> Vec<u16> {
        let config = self.reached.facts.config.as_deref().filter(|_| self.installed.running);
        config.map(listening_ports).unwrap_or_default()
    }

    /// Its running server is not yet where the others will look for it.
    fn is_moving(&self) -> bool {
        self.is_stale() && self.ports() != listening_ports(&self.settled.config)
    }
}

impl Apply<'_> {
    /// Brings every reachable server to what is wanted. Returns the nodes whose server runs.
    pub(super) async fn servers(
        &self,
        found: &mut BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) -> Vec<String> {
        let sites = self.sites(found);
        let replaces = sites.iter().any(Site::is_stale);
        let prepared: Vec<_> = stream::iter(sites)
            .map(|site| async { self.prepare(&site, replaces).await.map(|()| site) })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        // Until here nothing was changed; from here on the cluster is what is wanted.
        if prepared.iter().any(Result::is_ok) {
            self.adopt();
        }
        let mut ready = Vec::new();
        for outcome in prepared {
            match outcome {
                Ok(site) => match self.remember(&site) {
                    Ok(()) => ready.push(site),
                    Err(error) => failures.push(error),
                },
                Err(error) => failures.push(error),
            }
        }
        ready.sort_by_key(|site| self.rank(site.node));
        let (running, stopped): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|site| site.installed.running);
        let mut up: Vec<String> = running.iter().map(|site| site.node.to_owned()).collect();
        let via = running.iter().find(|site| !site.is_moving()).or_else(|| running.first());
        let via = via.map(|site| site.endpoint.route());
        self.start_stopped(stopped, via, found, &mut up, failures).await;
        self.replace_running(running, found, &mut up, failures).await;
        up
    }

    /// Which machine is about to be ours to clean; and what runs is not at rest, whoever started
    /// it.
    fn remember(&self, site: &Site<'_>) -> Result<(), NodeError> {
        // An `--provider` may leave a file's hosts alone.
        let hosts = self.topology.provider == ProviderKind::Hosts;
        let node = self.topology.node(site.node).filter(|_| hosts);
        let host = node.and_then(|node| node.host.clone());
        self.record(site.node, |record| {
            record.host = host;
            record.rest = record.rest.take().filter(|_| !site.installed.running);
        })
    }

    /// What is saved from now on is what is wanted.
    fn adopt(&self) {
        let mut state = self.state.lock();
        let nodes = std::mem::take(&mut state.nodes);
        *state = State { nodes, ..self.wanted.clone() };
    }

    /// Seed first, then file order.
    fn rank(&self, node: &str) -> (bool, usize) {
        let place = self.topology.nodes.iter().position(|other| other.name == node);
        let seed = self.topology.seed().is_some_and(|seed| seed.name == node);
        (!seed, place.unwrap_or(usize::MAX))
    }

    fn sites<'a>(&'a self, found: &BTreeMap<String, Found>) -> Vec<Site<'a>> {
        let site = |node: &'a str| {
            let found_node = found.get(node)?;
            let endpoint = found_node.endpoint?;
            let reached = found_node.reached()?.clone();
            let settled =
                wanted(self.topology, self.provider, found, node, &endpoint, Form::Settled);
            let sha256 = self.binaries.of(&reached.facts.arch).ok();
            let sha256 = sha256.as_ref().map(|binary| binary.sha256.as_str());
            let installed = installed(self.topology, node, &reached.facts, &settled, sha256);
            Some(Site { node, endpoint, reached, installed, settled })
        };
        self.topology.nodes.iter().filter_map(|node| site(&node.name)).collect()
    }

    /// Everything that does not touch a running server: checks, the upload beside it, and whether
    /// it will take its new configuration. Where that of servers that run is replaced, those that do
    /// not run are asked as well: what one refuses is not started in another's place.
    async fn prepare(&self, site: &Site<'_>, replaces: bool) -> Result<(), NodeError> {
        let failed = |error: DeployError| NodeError::new(site.node, "prepare {}", error);
        let binary = self.binaries.of(&site.reached.facts.arch);
        let binary = binary.map_err(|error| failed(error.into()))?;
        self.check_ports(site).await.map_err(failed)?;
        if !site.installed.binary {
            self.upload(site, &binary).await.map_err(failed)?;
        } else if site.reached.facts.uploaded {
            site.reached.service.forget_upload().await.map_err(failed)?;
        }
        if replaces && site.is_to_change() {
            self.report.step(site.node, "checking the new configuration");
            site.reached.service.check(&site.settled).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn upload(&self, site: &Site<'_>, binary: &Binary) -> Result<(), DeployError> {
        let needed_kib = binary.bytes / 1024 + 1024;
        if let Some(free_kib) = site.reached.facts.free_kib.filter(|free| *free < needed_kib) {
            let place = &site.reached.service.layout.binary;
            let folder = place.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned();
            return Err(DeployError::DiskFull { free_kib, folder, needed_kib });
        }
        self.report.step(site.node, format!("copying the server ({} KiB)", binary.bytes / 1024));
        site.reached.service.upload(binary).await.map(drop)
    }

    /// Checks the ports that the server does not have yet.
    async fn check_ports(&self, site: &Site<'_>) -> Result<(), DeployError> {
        let Endpoint { client_port, cluster_port, monitor_port, .. } = site.endpoint;
        let wanted = [
            (site.endpoint.client(), client_port, "client_port"),
            (site.endpoint.route(), cluster_port, "cluster_port"),
            (site.endpoint.monitor(), monitor_port, "monitor_port"),
        ];
        let own = site.ports();
        if site.installed.running && own.is_empty() {
            // Its config is gone: who has which port cannot be told apart.
            return Ok(());
        }
        for (address, port, purpose) in
            wanted.into_iter().filter(|(_, port, _)| !own.contains(port))
        {
            let listeners = &site.reached.facts.listeners;
            if let Some(listener) = listeners.iter().find(|listener| listener.blocks(address)) {
                let by = site.reached.service.owner_of(listener).await;
                return Err(DeployError::PortTaken { port, purpose, by });
            }
        }
        Ok(())
    }

    /// Starts what does not run: one alone when nothing runs yet, so that the others find it.
    async fn start_stopped(
        &self,
        mut stopped: Vec<Site<'_>>,
        mut via: Option<SocketAddr>,
        found: &BTreeMap<String, Found>,
        up: &mut Vec<String>,
        failures: &mut Vec<NodeError>,
    ) {
        let seed = stopped.first().map(|site| site.endpoint.route());
        for site in stopped.iter().skip(usize::from(via.is_none())) {
            self.report.step(site.node, "waiting for the first node");
        }
        let mut tries = 0;
        while via.is_none() && tries < FIRST_TRIES && !stopped.is_empty() {
            tries += 1;
            let first = stopped.remove(0);
            match self.install_and_start(&first, None, found).await {
                Ok(()) => {
                    via = Some(first.endpoint.route());
                    up.push(first.node.to_owned());
                }
                Err(error) => failures.push(error),
            }
        }
        // Nobody came up: the others wait for the seed, all at once, so that what ails them all
        // costs one more timeout and not one each.
        let via = via.or(seed);
        let starts = stopped.iter().map(|site| self.install_and_start(site, via, found));
        for (site, outcome) in stopped.iter().zip(join_all(starts).await) {
            match outcome {
                Ok(()) => up.push(site.node.to_owned()),
                Err(error) => failures.push(error),
            }
        }
    }

    async fn install_and_start(
        &self,
        site: &Site<'_>,
        via: Option<SocketAddr>,
        found: &BTreeMap<String, Found>,
    ) -> Result<(), NodeError> {
        let failed = |error: DeployError| NodeError::new(site.node, "start {}", error);
        let Site { node, endpoint, reached, installed, .. } = site;
        // A node that was a member before knows its peers from its file.
        let form = if installed.present { Form::Settled } else { Form::Join(via) };
        let wanted = wanted(self.topology, self.provider, found, node, endpoint, form);
        if !(installed.binary && installed.settings && reached.facts.is_stored(&wanted)) {
            self.report.step(node, "installing");
            let text = description(self.topology, node);
            reached.service.install(&wanted, &text, false).await.map_err(failed)?;
        }
        self.report.step(
            node,
            match via {
                Some(via) => format!("starting, joining nats://{via}"),
                None => "starting as the seed".into(),
            },
        );
        reached.service.start().await.map_err(failed)?;
        ready(&reached.service, endpoint, node).await.map_err(failed)?;
        self.record(node, |record| record.rest = None)
    }

    /// Swaps binary or settings of running servers, one at a time; the next only once the mesh
    /// is whole again, as far as it can be: nodes whose ports change meet at their new ones.
    async fn replace_running(
        &self,
        running: Vec<Site<'_>>,
        found: &BTreeMap<String, Found>,
        up: &mut Vec<String>,
        failures: &mut Vec<NodeError>,
    ) {
        let moving: Vec<&str> =
            running.iter().filter(|site| site.is_moving()).map(|site| site.node).collect();
        let mut there = up.clone();
        there.retain(|node| !moving.contains(&node.as_str()));
        for site in running.iter().filter(|site| site.is_stale()) {
            if moving.contains(&site.node) {
                there.push(site.node.to_owned());
            }
            if let Err(error) = self.replace(site, found, &there).await {
                up.retain(|node| node != site.node);
                failures.push(error);
                // The others still serve: better an old cluster than none.
                return;
            }
        }
    }

    async fn replace(
        &self,
        site: &Site<'_>,
        found: &BTreeMap<String, Found>,
        there: &[String],
    ) -> Result<(), NodeError> {
        let failed = |error: DeployError| NodeError::new(site.node, "restart {}", error);
        let Site { node, endpoint, reached, settled, .. } = site;
        self.report.step(node, "restarting with what is new");
        let text = description(self.topology, node);
        reached.service.install(settled, &text, true).await.map_err(failed)?;
        reached.service.start().await.map_err(failed)?;
        ready(&reached.service, endpoint, node).await.map_err(failed)?;
        let subjects: Vec<_> =
            subjects(found).into_iter().filter(|one| there.contains(&one.node)).collect();
        let known: Vec<String> = found.keys().cloned().collect();
        let views = verify::wait_for_mesh(&subjects, &known, MESH).await;
        match views.iter().find_map(verify::View::problem) {
            None => Ok(()),
            Some(problem) => {
                Err(NodeError::new(node, "bring {} back into the mesh", Trouble::Mesh(problem)))
            }
        }
    }

    /// Restarts a server as it is stored.
    pub(super) async fn restart_settled(
        &self,
        node: &str,
        found: &BTreeMap<String, Found>,
    ) -> Result<(), NodeError> {
        let failed = |error: DeployError| NodeError::new(node, "restart {}", error);
        let Some((endpoint, reached)) =
            found.get(node).and_then(|found| Some((found.endpoint?, found.reached()?)))
        else {
            return Ok(());
        };
        self.report.step(node, "restarting with all peers");
        reached.service.stop(Ending::Stop).await.map_err(failed)?;
        reached.service.start().await.map_err(failed)?;
        ready(&reached.service, &endpoint, node).await.map_err(failed)
    }

    /// Stores all peers on every node that does not have them yet, and enables units that were
    /// disabled; no restart.
    pub(super) async fn settle(
        &self,
        found: &BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) {
        let failed: Vec<&str> = failures.iter().map(|failure| failure.node.as_str()).collect();
        let settles =
            self.topology.nodes.iter().filter(|node| !failed.contains(&node.name.as_str()));
        let settles = settles.map(|node| self.settle_one(&node.name, found));
        let outcomes: Vec<_> = join_all(settles).await;
        failures.extend(outcomes.into_iter().filter_map(Result::err));
    }

    async fn settle_one(
        &self,
        node: &str,
        found: &BTreeMap<String, Found>,
    ) -> Result<(), NodeError> {
        let Some((endpoint, reached)) =
            found.get(node).and_then(|found| Some((found.endpoint?, found.reached()?)))
        else {
            return Ok(());
        };
        let settled = wanted(self.topology, self.provider, found, node, &endpoint, Form::Settled);
        match (reached.facts.is_stored(&settled), reached.facts.is_disabled()) {
            (true, false) => return Ok(()),
            (true, true) => self.report.step(node, "enabling its unit"),
            (false, _) => self.report.step(node, "storing all peers"),
        }
        let text = description(self.topology, node);
        let stored = reached.service.install(&settled, &text, false).await;
        stored.map_err(|error| NodeError::new(node, "store the peers of {}", error))
    }
}

/// Starts installed servers as they are stored, and waits until each serves.
pub async fn start_all(found: &[&Found]) -> Vec<Result<u32, NodeError>> {
    join_all(found.iter().map(|found| async {
        let failed = |error: DeployError| NodeError::new(&found.node, "start {}", error);
        let reached = must_be_reached(found, "start {}")?;
        let Some(endpoint) = found.endpoint else {
            return Err(NodeError::new(&found.node, "start {}", Trouble::Off(NO_ADDRESS)));
        };
        let pid = reached.service.start().await.map_err(failed)?;
        ready(&reached.service, &endpoint, &found.node).await.map_err(failed)?;
        Ok(pid)
    }))
    .await
}
