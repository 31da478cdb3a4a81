//! What each node is to have, against what it has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::silent::silences;
use crate::deploy::service::{Layout, unit};
use crate::deploy::{Binary, BinaryError, Facts, Form, Wanted, further_routes, without_routes};
use crate::observe::{Found, Look};
use crate::plan::{Findings, Installed};
use crate::provider::{MachineState, Provider};
use crate::state::State;
use crate::topology::{Endpoint, Topology};

/// The binary for each architecture, found and hashed once.
#[derive(Debug, Default)]
pub struct Binaries {
    given: Option<PathBuf>,
    found: Mutex<BTreeMap<String, Arc<Binary>>>,
}

impl Binaries {
    /// For a cluster: the binary it names, else the bundled ones.
    #[must_use]
    pub fn new(given: Option<PathBuf>) -> Self {
        Self { given, found: Mutex::default() }
    }

    /// The binary for an architecture.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(&self, arch: &str) -> Result<Arc<Binary>, BinaryError> {
        let mut found = self.found.lock();
        if let Some(binary) = found.get(arch) {
            return Ok(Arc::clone(binary));
        }
        let binary = Arc::new(Binary::find(self.given.as_deref(), arch)?);
        found.insert(arch.to_owned(), Arc::clone(&binary));
        Ok(binary)
    }
}

/// What a unit says it is.
pub(super) fn description(topology: &Topology, node: &str) -> String {
    format!("NATS server {node} of cluster {} (natsctl)", topology.name)
}

/// Routes of all nodes but one, in file order, as far as their addresses are known.
pub(super) fn peers(
    topology: &Topology,
    found: &BTreeMap<String, Found>,
    node: &str,
) -> Vec<SocketAddr> {
    let others = topology.nodes.iter().filter(|other| other.name != node);
    others.filter_map(|other| Some(found.get(&other.name)?.endpoint?.route())).collect()
}

/// What a node's server is to be told.
pub(super) fn wanted(
    topology: &Topology,
    provider: &dyn Provider,
    found: &BTreeMap<String, Found>,
    node: &str,
    endpoint: &Endpoint,
    form: Form,
) -> Wanted {
    let machine = found.get(node).and_then(|found| found.machine.as_ref());
    let shared = machine.is_some_and(|machine| provider.home(machine).is_some());
    Wanted::new(topology, node, endpoint, shared, &peers(topology, found, node), form)
}

/// Compares facts with what is wanted.
pub(super) fn installed(
    topology: &Topology,
    node: &str,
    facts: &Facts,
    settled: &Wanted,
    sha256: Option<&str>,
) -> Installed {
    let same_settings = facts
        .config
        .as_deref()
        .is_some_and(|config| without_routes(config) == without_routes(&settled.config))
        && facts.flags.as_deref().is_some_and(|flags| same_flags(flags, &settled.flags.join(" ")));
    let text = unit(&Layout::new(None), &description(topology, node));
    let same_unit = !facts.systemd || facts.unit.as_deref() == Some(&text);
    Installed {
        present: facts.binary.is_some() && facts.config.is_some() && facts.flags.is_some(),
        binary: sha256.is_some() && facts.binary.as_deref() == sha256,
        settings: same_settings && same_unit,
        peers: facts.is_stored(settled),
        enabled: !facts.is_disabled(),
        running: facts.pid.is_some(),
    }
}

/// Whether it is all stored, with the routes of as many further peers.
fn stores_but_for(facts: &Facts, settled: &Wanted, further: usize) -> bool {
    let Some(config) = facts.config.as_deref() else { return false };
    without_routes(config) == without_routes(&settled.config)
        && further_routes(config, &settled.config) == Some(further)
        && facts.flags.as_deref() == Some(&settled.flags.join(" "))
}

/// Flags are the same but for the routes a node joined by.
fn same_flags(stored: &str, settled: &str) -> bool {
    stored.split(" --routes ").next() == Some(settled)
}

/// A cluster as it is to be, and what is remembered of it.
pub struct Aim<'a> {
    /// What is wanted.
    pub topology: &'a Topology,
    /// Where machines come from.
    pub provider: &'a dyn Provider,
    /// What is remembered; `None` when it was never brought up.
    pub state: Option<&'a State>,
    /// The binaries to deploy.
    pub binaries: &'a Binaries,
}

impl Aim<'_> {
    /// What the plan needs to know of all nodes. Servers that should answer are asked.
    pub async fn findings(&self, found: &BTreeMap<String, Found>) -> BTreeMap<String, Findings> {
        let mut findings = self.seen(found);
        let silences = silences(&findings, found).await;
        for (node, findings) in &mut findings {
            findings.silence = silences.get(node).copied();
        }
        findings
    }

    /// What a look at the machines tells.
    fn seen(&self, found: &BTreeMap<String, Found>) -> BTreeMap<String, Findings> {
        found.values().map(|node| (node.node.clone(), self.seen_of(node, found))).collect()
    }

    fn seen_of(&self, node: &Found, found: &BTreeMap<String, Found>) -> Findings {
        let record = self.state.and_then(|state| state.nodes.get(&node.node));
        let mut findings = Findings {
            machine: node.machine.as_ref().map(|machine| machine.state),
            made_with: record.and_then(|record| record.vm.clone()),
            rest: record.and_then(|record| Some(record.rest.as_ref()?.how.clone())),
            ..Findings::default()
        };
        match &node.look {
            Look::Off => {}
            Look::Unreachable(error) => findings.unreachable = Some(super::chain(error.as_ref())),
            Look::Reached(reached) => {
                let server = |endpoint| self.server(&node.node, &reached.facts, &endpoint, found);
                findings.server = node.endpoint.map(server);
            }
        }
        findings
    }

    fn server(
        &self,
        node: &str,
        facts: &Facts,
        endpoint: &Endpoint,
        found: &BTreeMap<String, Found>,
    ) -> Installed {
        let form = Form::Settled;
        let wanted = wanted(self.topology, self.provider, found, node, endpoint, form);
        let binary = self.binaries.of(&facts.arch).ok();
        let sha256 = binary.as_ref().map(|binary| binary.sha256.as_str());
        let mut installed = installed(self.topology, node, facts, &wanted, sha256);
        installed.peers = match self.awaited(found) {
            Some(0) => installed.peers,
            Some(awaited) => stores_but_for(facts, &wanted, awaited),
            None => false,
        };
        installed
    }

    /// How many nodes' addresses are not known until their machines are on, where each is taken to
    /// come back with its old one; `None` when a machine is to be made: everybody will be told of it.
    fn awaited(&self, found: &BTreeMap<String, Found>) -> Option<usize> {
        let places = self.topology.nodes.iter().map(|node| {
            let found = found.get(&node.name)?;
            let machine = found.machine.as_ref()?;
            (machine.state != MachineState::Deleted).then_some(found.endpoint)
        });
        let places: Vec<Option<Endpoint>> = places.collect::<Option<_>>()?;
        Some(places.iter().filter(|place| place.is_none()).count())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::provider::Machine;
    use crate::provider::local::Local;
    use crate::state::ClusterDir;
    use crate::topology::file;

    fn found(node: &str, state: MachineState, place: u8) -> (String, Found) {
        let endpoint = Endpoint {
            address: [127, 0, 0, place].into(),
            client_port: 4222,
            cluster_port: 6222,
            monitor_port: 8222,
        };
        let on = state == MachineState::Running;
        let address = on.then_some(endpoint.address);
        let machine = Machine { node: node.into(), id: node.into(), state, address };
        let found = Found {
            node: node.into(),
            machine: Some(machine),
            endpoint: on.then_some(endpoint),
            look: Look::Off,
        };
        (node.into(), found)
    }

    /// Whether node1, which stores the peers `then`, is found to store those it is to have `now`.
    fn stores_its_peers(then: BTreeMap<String, Found>, now: BTreeMap<String, Found>) -> bool {
        let text = "version: 1\nname: demo\nprovider: local\nnodes:\n  - name: node1\n  - name: \
                    node2\n  - name: node3\n";
        let topology = file::parse(text, Path::new("cluster.yaml"), None).unwrap();
        let provider = Local::new(&topology, &ClusterDir::at("demo").unwrap());
        let aim = Aim {
            topology: &topology,
            provider: &provider,
            state: None,
            binaries: &Binaries::default(),
        };
        let endpoint = then["node1"].endpoint.unwrap();
        let stored = wanted(&topology, &provider, &then, "node1", &endpoint, Form::Settled);
        let facts = Facts {
            config: Some(stored.config),
            flags: Some(stored.flags.join(" ")),
            ..Facts::default()
        };
        aim.server("node1", &facts, &endpoint, &now).peers
    }

    #[test]
    fn the_peers_of_a_machine_that_is_off_are_stored_until_it_comes_back_elsewhere() {
        use MachineState::{Deleted, Running, Stopped};
        let nodes = |second, third| {
            let first = found("node1", Running, 11);
            BTreeMap::from([first, found("node2", second, 12), found("node3", third, 13)])
        };
        let all = || nodes(Running, Running);
        assert!(stores_its_peers(all(), all()));
        assert!(stores_its_peers(all(), nodes(Stopped, Running)));
        assert!(stores_its_peers(all(), nodes(Stopped, Stopped)));
        assert!(!stores_its_peers(nodes(Stopped, Running), nodes(Stopped, Running)), "one lacks");
        assert!(!stores_its_peers(all(), nodes(Deleted, Running)), "it is made anew");
        let moved = BTreeMap::from([
            found("node1", Running, 11),
            found("node2", Stopped, 12),
            found("node3", Running, 14),
        ]);
        assert!(!stores_its_peers(all(), moved));
    }
}
