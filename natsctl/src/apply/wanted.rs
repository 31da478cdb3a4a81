//! What each node is to have, against what it has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::silent::silences;
use crate::deploy::service::{Layout, unit};
use crate::deploy::{Binary, BinaryError, Facts, Form, Wanted, without_routes};
use crate::observe::{Found, Look};
use crate::plan::{Findings, Installed};
use crate::provider::Provider;
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
        running: facts.pid.is_some(),
    }
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
        // Who is to be made will be a peer of everybody, though its address is not known yet.
        let fresh = |name: &str| found.get(name).is_none_or(|found| found.machine.is_none());
        installed.peers &= !self.topology.nodes.iter().any(|node| fresh(&node.name));
        installed
    }
}
