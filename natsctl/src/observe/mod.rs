//! Looks at the world: which machines there are, what is installed and running on them.
//!
//! Never changes anything. Every node is looked at by itself and with a deadline, so one that
//! does not answer costs one timeout and does not hold the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::deploy::{DeployError, Facts, Service};
use crate::provider::{Machine, MachineState, Provider, ProviderError};
use crate::topology::{Endpoint, Topology};

/// How long reaching a machine and looking at it may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The same for the machine of a node that is no longer wanted, when its provider found nobody
/// there: it may be gone for good, and each `up` looks again.
const LEFT_PATIENCE: Duration = Duration::from_secs(2);

/// One node as found.
#[derive(Clone)]
pub struct Found {
    /// Name of the node.
    pub node: String,
    /// Its machine; `None` when there is none.
    pub machine: Option<Machine>,
    /// Where its server listens, when its address is known.
    pub endpoint: Option<Endpoint>,
    /// What a look at the machine showed.
    pub look: Look,
}

/// What a look at a machine showed.
#[derive(Clone)]
pub enum Look {
    /// There is no machine, or it is off.
    Off,
    /// It is there.
    Reached(Box<Reached>),
    /// It should answer and does not.
    Unreachable(Arc<LookError>),
}

/// A machine that can be acted on.
#[derive(Clone)]
pub struct Reached {
    /// Its server.
    pub service: Service,
    /// What is there.
    pub facts: Facts,
}

/// Why a machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It could not be reached.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// It could be reached, but not asked.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// It took too long.
    #[error("{machine} did not answer within {}s", limit.as_secs())]
    Timeout {
        /// Which machine.
        machine: String,
        /// The deadline.
        limit: Duration,
    },
}

impl Found {
    /// A node without a machine.
    #[must_use]
    pub fn absent(node: &str) -> Self {
        Self { node: node.to_owned(), machine: None, endpoint: None, look: Look::Off }
    }

    /// The machine, if it can be acted on.
    #[must_use]
    pub fn reached(&self) -> Option<&Reached> {
        match &self.look {
            Look::Reached(reached) => Some(reached),
            _ => None,
        }
    }
}

/// Looks at all nodes of the topology, and at machines of nodes that are no longer in it.
///
/// # Errors
/// When the provider cannot be asked at all.
pub async fn look(
    provider: &dyn Provider,
    topology: &Topology,
) -> Result<BTreeMap<String, Found>, ProviderError> {
    let machines = provider.list().await?;
    let found = join_all(machines.into_iter().map(|machine| one(provider, topology, machine)));
    let mut nodes: BTreeMap<String, Found> =
        found.await.into_iter().map(|found| (found.node.clone(), found)).collect();
    for node in &topology.nodes {
        nodes.entry(node.name.clone()).or_insert_with(|| Found::absent(&node.name));
    }
    Ok(nodes)
}

/// Looks at one machine.
pub async fn one(provider: &dyn Provider, topology: &Topology, mut machine: Machine) -> Found {
    let look = match machine.state {
        MachineState::Running | MachineState::Starting | MachineState::Unknown => {
            let limit = patience(topology, &machine);
            match tokio::time::timeout(limit, reach(provider, &mut machine)).await {
                Ok(Ok(reached)) => Look::Reached(Box::new(reached)),
                Ok(Err(error)) => Look::Unreachable(Arc::new(error)),
                Err(_elapsed) => {
                    let machine = machine.id.clone();
                    Look::Unreachable(Arc::new(LookError::Timeout { machine, limit }))
                }
            }
        }
        MachineState::Stopped | MachineState::Suspended | MachineState::Deleted => Look::Off,
    };
    let endpoint = provider.endpoint(&machine, &topology.server);
    Found { node: machine.node.clone(), machine: Some(machine), endpoint, look }
}

fn patience(topology: &Topology, machine: &Machine) -> Duration {
    let wanted = topology.node(&machine.node).is_some();
    if wanted || machine.state != MachineState::Unknown { PATIENCE } else { LEFT_PATIENCE }
}

async fn reach(provider: &dyn Provider, machine: &mut Machine) -> Result<Reached, LookError> {
    let (found, remote) = provider.reach(machine).await?;
    *machine = found;
    let mut service = Service::new(Arc::from(remote), provider.home(machine));
    let facts = service.facts().await?;
    Ok(Reached { service, facts })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::file;

    #[test]
    fn a_machine_that_is_not_wanted_and_not_there_is_not_waited_for_as_the_others_are() {
        let text = "version: 1\nname: demo\nprovider: local\nnodes: [{name: node1}]\n";
        let topology = file::parse(text, Path::new("cluster.yaml"), None).unwrap();
        let patience = |node: &str, state| {
            let machine = Machine { node: node.into(), id: node.into(), state, address: None };
            patience(&topology, &machine)
        };
        assert_eq!(patience("old", MachineState::Unknown), LEFT_PATIENCE);
        assert_eq!(patience("old", MachineState::Running), PATIENCE, "it is to be cleaned");
        assert_eq!(patience("node1", MachineState::Unknown), PATIENCE);
    }
}
