//! What `up` would do: pure, from what is wanted and what was found.
//!
//! Nothing here touches the world. [`Plan`]'s `Display` is what `natsctl plan` prints.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::provider::MachineState;
use crate::topology::size::show_size;
use crate::topology::{Topology, Vm};

/// What was found of one node, as far as a plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Its machine; `None` when there is none.
    pub machine: Option<MachineState>,
    /// The size its machine was made with.
    pub made_with: Option<Vm>,
    /// What is installed and running; `None` when it could not be looked at.
    pub server: Option<Installed>,
    /// `killed` or `stopped`, when we hold it down on purpose.
    pub rest: Option<String>,
    /// Why the machine does not answer, when it should.
    pub unreachable: Option<String>,
    /// How long its server said nothing, when it runs as wanted and should answer.
    pub silence: Option<Duration>,
}

/// What is installed and running on a machine, against what is wanted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// There is a server at all.
    pub present: bool,
    /// Its binary is the wanted one.
    pub binary: bool,
    /// Its settings are the wanted ones, peers aside.
    pub settings: bool,
    /// Its stored peers are the wanted ones.
    pub peers: bool,
    /// It starts with its machine, as far as that is ours to say.
    pub enabled: bool,
    /// It runs.
    pub running: bool,
}

/// What is to be done to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// Make its machine, install, start, join.
    Create,
    /// Bring it to what is wanted.
    Update(Vec<Update>),
    /// It is no longer wanted.
    Remove,
}

/// One difference between what is and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The machine is off.
    PowerOn(MachineState),
    /// The machine has another size.
    Resize(String),
    /// No server is installed.
    Install,
    /// The server is of another build.
    Binary,
    /// The settings differ.
    Settings,
    /// The stored peers differ; no restart needed.
    Peers,
    /// It would not start with its machine; no restart needed.
    Enable,
    /// It runs and says nothing, for this long: a restart.
    Wake(Duration),
    /// It does not run; with the reason, if it was us.
    Start(Option<String>),
    /// The machine does not answer: what is to be done will be found once it does.
    Reach(String),
}

/// What is to be done to one node, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// The node.
    pub node: String,
    /// Whether the others join through it.
    pub seed: bool,
    /// The size its machine gets.
    pub vm: Option<Vm>,
    /// Whether its server runs now, so that a change means a restart.
    pub running: bool,
    /// What is to be done.
    pub change: Change,
}

/// What is to be done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the cluster.
    pub cluster: String,
    /// Its provider.
    pub provider: String,
    /// Wanted nodes in file order, then those to be removed.
    pub nodes: Vec<NodePlan>,
}

impl Plan {
    /// Compares what is wanted with what was found.
    #[must_use]
    pub fn new(topology: &Topology, found: &BTreeMap<String, Findings>) -> Self {
        let sized = topology.provider == crate::topology::ProviderKind::Multipass;
        let absent = Findings::default();
        let wanted = topology.nodes.iter().map(|node| {
            let findings = found.get(&node.name).unwrap_or(&absent);
            let vm = sized.then(|| node.vm.clone());
            NodePlan {
                node: node.name.clone(),
                seed: node.seed,
                change: change(findings, vm.as_ref()),
                running: findings.server.is_some_and(|server| server.running),
                vm,
            }
        });
        let unwanted = found
            .iter()
            .filter(|(name, findings)| topology.node(name).is_none() && findings.machine.is_some());
        let removed = unwanted.map(|(name, findings)| NodePlan {
            node: name.clone(),
            seed: false,
            vm: None,
            running: findings.server.is_some_and(|server| server.running),
            change: Change::Remove,
        });
        Self {
            cluster: topology.name.clone(),
            provider: topology.provider.to_string(),
            nodes: wanted.chain(removed).collect(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| node.change == Change::Unchanged)
    }

    fn count(&self, which: fn(&Change) -> bool) -> usize {
        self.nodes.iter().filter(|node| which(&node.change)).count()
    }
}

fn change(found: &Findings, vm: Option<&Vm>) -> Change {
    let Some(machine) = found.machine.filter(|state| *state != MachineState::Deleted) else {
        return Change::Create;
    };
    let mut updates = Vec::new();
    if matches!(machine, MachineState::Stopped | MachineState::Suspended) {
        updates.push(Update::PowerOn(machine));
    }
    if let (Some(had), Some(wanted)) = (&found.made_with, vm) {
        let text = resize(had, wanted);
        if !text.is_empty() {
            updates.push(Update::Resize(text));
        }
    }
    if let Some(why) = &found.unreachable {
        updates.push(Update::Reach(why.clone()));
    }
    if let Some(server) = found.server {
        if server.present {
            let differences = [
                (server.binary, Update::Binary),
                (server.settings, Update::Settings),
                (server.peers, Update::Peers),
                (server.enabled, Update::Enable),
            ];
            updates.extend(differences.into_iter().filter(|(same, _)| !same).map(|(_, d)| d));
        } else {
            updates.push(Update::Install);
        }
        if !server.running {
            updates.push(Update::Start(found.rest.clone()));
        }
    }
    updates.extend(found.silence.map(Update::Wake));
    if updates.is_empty() { Change::Unchanged } else { Change::Update(updates) }
}

fn resize(had: &Vm, wanted: &Vm) -> String {
    let mut parts = Vec::new();
    if had.cpus != wanted.cpus {
        parts.push(format!("cpus {} -> {}", had.cpus, wanted.cpus));
    }
    for (what, had, wanted) in [
        ("memory", had.memory_bytes, wanted.memory_bytes),
        ("disk", had.disk_bytes, wanted.disk_bytes),
    ] {
        if had != wanted {
            parts.push(format!("{what} {} -> {}", show_size(had), show_size(wanted)));
        }
    }
    parts.join(", ")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.count(|change| *change == Change::Create), "to create"),
            (self.count(|change| matches!(change, Change::Update(_))), "to change"),
            (self.count(|change| *change == Change::Remove), "to remove"),
            (self.count(|change| *change == Change::Unchanged), "unchanged"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        writeln!(f, "cluster {} ({}): {}", self.cluster, self.provider, counts.join(", "))?;
        let width = self.nodes.iter().map(|node| node.node.len()).max().unwrap_or(0);
        for node in &self.nodes {
            let (mark, text) = node.describe(&self.provider);
            writeln!(f, "  {mark} {:<width$}  {text}", node.node)?;
        }
        Ok(())
    }
}

impl NodePlan {
    /// How long its server said nothing, if it is to be restarted for that.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let Change::Update(updates) = &self.change else { return None };
        updates.iter().find_map(|update| match update {
            Update::Wake(silence) => Some(*silence),
            _ => None,
        })
    }

    fn describe(&self, provider: &str) -> (char, String) {
        match &self.change {
            Change::Unchanged => (' ', "unchanged".into()),
            Change::Remove => {
                // A host is its owner's: what natsctl put there goes, the machine stays.
                let what = if provider == "hosts" { "server" } else { "machine" };
                ('-', format!("no longer in the file: stop it and remove its {what}"))
            }
            Change::Create => {
                let seed = if self.seed { ", the seed" } else { "" };
                let machine = match &self.vm {
                    Some(vm) => format!(
                        "image {}, {} cpu, {} memory, {} disk",
                        vm.image,
                        vm.cpus,
                        show_size(vm.memory_bytes),
                        show_size(vm.disk_bytes)
                    ),
                    None => format!("{provider} node"),
                };
                ('+', format!("{machine}{seed}"))
            }
            Change::Update(updates) => {
                let texts: Vec<String> =
                    updates.iter().map(|update| update.describe(self.running)).collect();
                ('~', texts.join("; "))
            }
        }
    }
}

impl Update {
    fn describe(&self, running: bool) -> String {
        let restart = if running { " (restart)" } else { "" };
        match self {
            Self::PowerOn(state) => format!("power on (is {state:?})").to_lowercase(),
            Self::Resize(text) => format!("{text}{restart}"),
            Self::Install => "install the server".into(),
            Self::Binary => format!("another server binary{restart}"),
            Self::Settings => format!("other settings{restart}"),
            Self::Peers => "store the peers".into(),
            Self::Enable => "enable its unit (would not start with its machine)".into(),
            Self::Wake(silence) => {
                format!("restart the server (hung: no answer for {}s)", silence.as_secs())
            }
            Self::Start(None) => "start the server (not running)".into(),
            Self::Start(Some(why)) => format!("start the server ({why})"),
            Self::Reach(why) => format!("reach it again ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::file;

    fn topology(provider: &str) -> Topology {
        let text = format!(
            "version: 1\nname: demo\nprovider: {provider}\nnodes:\n  - name: node1\n  - name: \
             node2\n    vm: {{memory: 2G}}\n  - name: node3\n  - name: node4\n"
        );
        file::parse(&text, Path::new("cluster.yaml"), None).unwrap()
    }

    fn well() -> Findings {
        let server = Installed {
            present: true,
            binary: true,
            settings: true,
            peers: true,
            enabled: true,
            running: true,
        };
        Findings {
            machine: Some(MachineState::Running),
            server: Some(server),
            ..Findings::default()
        }
    }

    fn plan(provider: &str, found: &[(&str, Findings)]) -> Plan {
        let found = found.iter().map(|(name, found)| ((*name).to_owned(), found.clone()));
        Plan::new(&topology(provider), &found.collect())
    }

    #[test]
    fn a_fresh_cluster_is_created_whole() {
        insta::assert_snapshot!(plan("multipass", &[]));
        insta::assert_snapshot!(plan("local", &[]));
    }

    #[test]
    fn what_is_as_wanted_stays_unchanged() {
        let nodes = ["node1", "node2", "node3", "node4"].map(|name| (name, well()));
        let plan = plan("local", &nodes);
        assert!(plan.is_empty());
        insta::assert_snapshot!(plan);
    }

    #[test]
    fn a_host_that_is_not_wanted_any_more_keeps_its_machine() {
        let old = plan("local", &[("old", well())]).nodes.pop().unwrap();
        assert_eq!(old.change, Change::Remove);
        assert!(old.describe("hosts").1.ends_with("stop it and remove its server"));
        assert!(old.describe("multipass").1.ends_with("stop it and remove its machine"));
    }

    #[test]
    fn a_server_that_hangs_is_restarted_and_nothing_else() {
        let hung = Findings { silence: Some(Duration::from_millis(6100)), ..well() };
        let mut nodes = ["node1", "node2", "node3", "node4"].map(|name| (name, well()));
        nodes[1].1 = hung;
        let plan = plan("local", &nodes);
        assert!(!plan.is_empty());
        let silences: Vec<_> = plan.nodes.iter().filter_map(NodePlan::silence).collect();
        assert_eq!(silences, [Duration::from_millis(6100)]);
        let line = "  ~ node2  restart the server (hung: no answer for 6s)\n";
        assert!(plan.to_string().contains(line), "{plan}");
    }

    #[test]
    fn every_difference_is_named() {
        let installed = well().server.unwrap();
        let small = Vm { memory_bytes: 1 << 30, ..topology("multipass").nodes[0].vm.clone() };
        let node1 = Findings {
            server: Some(Installed { running: false, peers: false, enabled: false, ..installed }),
            rest: Some("killed".into()),
            ..well()
        };
        let node2 = Findings {
            made_with: Some(small),
            server: Some(Installed { binary: false, settings: false, ..installed }),
            ..well()
        };
        let node3 = Findings { machine: Some(MachineState::Stopped), ..Findings::default() };
        let node4 = Findings {
            server: None,
            unreachable: Some("demo-node4 did not answer within 20s".into()),
            ..well()
        };
        let found = [
            ("node1", node1),
            ("node2", node2),
            ("node3", node3),
            ("node4", node4),
            ("old", well()),
        ];
        insta::assert_snapshot!(plan("multipass", &found));
    }
}
