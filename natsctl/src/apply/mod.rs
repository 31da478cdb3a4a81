//! Walks a plan: machines, servers, mesh, stored peers, removals.
//!
//! Nodes go in parallel with a bound, the steps of one node in order. A node that fails drops
//! out and holds nobody else; what was reached stays, and the next `up` finds it by looking.
//! State is saved after each node that was made.

mod servers;
mod silent;
mod wanted;

pub use servers::start_all;
pub use wanted::{Aim, Binaries};

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::deploy::DeployError;
use crate::deploy::service::Ending;
use crate::observe::{self, Found, Look, LookError, Reached};
use crate::plan::{Change, NodePlan, Plan, Update};
use crate::provider::{Machine, Power, Progress, Provider, ProviderError};
use crate::report::{Report, show_duration};
use crate::state::{ClusterDir, NodeRecord, State, StateError};
use crate::topology::{Node, Topology};
use crate::verify::{self, Subject, View};

/// How long a mesh may take to form once all servers run.
pub const MESH: Duration = Duration::from_secs(20);
/// Most nodes worked on at once.
pub(crate) const PARALLEL: usize = 8;

/// Everything a walk needs.
pub struct Apply<'a> {
    /// What is wanted.
    pub topology: &'a Topology,
    /// Where machines come from.
    pub provider: &'a dyn Provider,
    /// Where state is saved.
    pub dir: &'a ClusterDir,
    /// What is saved.
    pub state: &'a Mutex<State>,
    /// What is saved from the moment on when servers are changed, what is known of nodes aside.
    pub wanted: &'a State,
    /// Who is told.
    pub report: &'a Report,
    /// The binaries to deploy.
    pub binaries: &'a Binaries,
}

/// What a walk left.
pub struct Applied {
    /// All nodes as they are now.
    pub found: BTreeMap<String, Found>,
    /// What went wrong, by node.
    pub failures: Vec<NodeError>,
}

/// Why a node did not get where it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot {}", attempt.replace("{}", node))]
pub struct NodeError {
    /// Which node.
    pub node: String,
    /// What was attempted; `{}` stands for the node (`start {}`).
    pub attempt: &'static str,
    /// Why.
    #[source]
    pub trouble: Trouble,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// With its machine.
    #[error(transparent)]
    Provider(Box<ProviderError>),
    /// With its server.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// With reaching it.
    #[error(transparent)]
    Look(std::sync::Arc<LookError>),
    /// With what natsctl remembers.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its machine is off, or there is none.
    #[error("{0}")]
    Off(&'static str),
    /// With the mesh.
    #[error("{0}")]
    Mesh(String),
}

impl From<ProviderError> for Trouble {
    fn from(error: ProviderError) -> Self {
        Self::Provider(Box::new(error))
    }
}

impl NodeError {
    pub(crate) fn new(node: &str, attempt: &'static str, trouble: impl Into<Trouble>) -> Self {
        Self { node: node.to_owned(), attempt, trouble: trouble.into() }
    }
}

/// The machine of a node that is to be acted on (`attempt`), or why that cannot be.
///
/// # Errors
/// With what the look at it showed.
pub fn must_be_reached<'a>(
    found: &'a Found,
    attempt: &'static str,
) -> Result<&'a Reached, NodeError> {
    let trouble = match (&found.look, &found.machine) {
        (Look::Reached(reached), _) => return Ok(reached),
        (Look::Unreachable(error), _) => Trouble::Look(std::sync::Arc::clone(error)),
        (Look::Off, Some(_)) => Trouble::Off("its machine is off"),
        (Look::Off, None) => Trouble::Off("it has no machine"),
    };
    Err(NodeError::new(&found.node, attempt, trouble))
}

/// Shows a provider's steps as steps of its node.
struct Steps<'a> {
    report: &'a Report,
    node: &'a str,
}

impl Progress for Steps<'_> {
    fn step(&self, text: &str) {
        self.report.step(self.node, text);
    }

    fn warn(&self, text: &str) {
        self.report.note(format!("warning: {}: {text}", self.node));
    }
}

impl Apply<'_> {
    /// Walks the plan. Never returns early: what can be done is done.
    pub async fn run(&self, plan: &Plan, mut found: BTreeMap<String, Found>) -> Applied {
        let mut failures = Vec::new();
        self.machines(plan, &mut found, &mut failures).await;
        self.note_unreachable(&found, &mut failures);
        self.wake(plan, &mut found, &mut failures).await;
        let up = self.servers(&mut found, &mut failures).await;
        self.mesh(&up, &found, &mut failures).await;
        self.settle(&found, &mut failures).await;
        self.remove(plan, &mut found, &mut failures).await;
        for node in &self.topology.nodes {
            let failed = failures.iter().find(|failure| failure.node == node.name);
            match (failed, found.get(&node.name).and_then(|found| found.endpoint)) {
                (Some(failure), _) => self.report.failed(&node.name, chain(failure)),
                (None, Some(endpoint)) => {
                    self.report.done(&node.name, format!("serving at {}", endpoint.client()));
                }
                (None, None) => {}
            }
        }
        Applied { found, failures }
    }

    /// Makes, powers and resizes machines: the first creation alone (it downloads the image),
    /// the others side by side.
    async fn machines(
        &self,
        plan: &Plan,
        found: &mut BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) {
        let work: Vec<(&NodePlan, &Node)> = plan
            .nodes
            .iter()
            .filter(|planned| touches_machine(&planned.change))
            .filter_map(|planned| Some((planned, self.topology.node(&planned.node)?)))
            .collect();
        let (first, rest) = work.split_at(work.len().min(1));
        for (batch, bound) in [(first, 1), (rest, self.provider.capabilities().parallel_creates)] {
            let machines: BTreeMap<String, Option<Machine>> = batch
                .iter()
                .map(|(_, node)| {
                    let machine = found.get(&node.name).and_then(|found| found.machine.clone());
                    (node.name.clone(), machine)
                })
                .collect();
            let done: Vec<_> = stream::iter(batch.iter())
                .map(|(planned, node)| {
                    let machine = machines.get(&node.name).cloned().flatten();
                    async move { (*node, self.machine(planned, node, machine).await) }
                })
                .buffer_unordered(bound.max(1))
                .collect()
                .await;
            for (node, outcome) in done {
                match outcome {
                    Ok(fresh) => drop(found.insert(node.name.clone(), fresh)),
                    Err(error) => failures.push(error),
                }
            }
        }
    }

    async fn machine(
        &self,
        planned: &NodePlan,
        node: &Node,
        machine: Option<Machine>,
    ) -> Result<Found, NodeError> {
        let steps = Steps { report: self.report, node: &node.name };
        let failed = |attempt| move |error| NodeError::new(&node.name, attempt, error);
        let mut machine = match machine.filter(|_| !wants_making(&planned.change)) {
            None => {
                let (step, attempt) = making(&planned.change);
                self.report.step(&node.name, step);
                let machine = self.provider.create(node, &steps).await;
                let machine = machine.map_err(failed(attempt))?;
                self.record(&node.name, |record| {
                    record.vm.get_or_insert_with(|| node.vm.clone());
                })?;
                machine
            }
            Some(machine) => machine,
        };
        if let Change::Update(updates) = &planned.change {
            if updates.iter().any(|update| matches!(update, Update::Resize(_))) {
                self.report.step(&node.name, "changing the size of its machine");
                let resized = self.provider.resize(&machine, node).await;
                machine = resized.map_err(failed("change the size of {}"))?;
                self.record(&node.name, |record| record.vm = Some(node.vm.clone()))?;
            }
            if updates.iter().any(|update| matches!(update, Update::PowerOn(_))) {
                self.report.step(&node.name, "powering on");
                let powered = self.provider.power(&machine, Power::On).await;
                machine = powered.map_err(failed("power {} on"))?;
            }
        }
        self.report.step(&node.name, "looking at the machine");
        Ok(observe::one(self.provider, self.topology, machine).await)
    }

    /// Changes what is remembered of a node, and saves it.
    fn record(&self, node: &str, change: impl FnOnce(&mut NodeRecord)) -> Result<(), NodeError> {
        let mut state = self.state.lock();
        change(state.nodes.entry(node.to_owned()).or_default());
        self.dir.save(&state).map_err(|error| NodeError::new(node, "remember {}", error))
    }

    fn note_unreachable(&self, found: &BTreeMap<String, Found>, failures: &mut Vec<NodeError>) {
        for node in &self.topology.nodes {
            // One that could not even be made reachable has been told.
            if failures.iter().any(|failure| failure.node == node.name) {
                continue;
            }
            if let Some(Look::Unreachable(error)) = found.get(&node.name).map(|found| &found.look) {
                let trouble = Trouble::Look(std::sync::Arc::clone(error));
                failures.push(NodeError::new(&node.name, "reach {}", trouble));
            }
        }
    }

    /// Waits until all servers that run see each other. Those that do not in time are restarted
    /// once: their stored config names all peers, the running one may not.
    async fn mesh(
        &self,
        up: &[String],
        found: &BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) {
        let subjects: Vec<Subject> =
            subjects(found).into_iter().filter(|one| up.contains(&one.node)).collect();
        // Nodes of this cluster that did not get here, and those that are to be removed.
        let known: Vec<String> = found.keys().cloned().collect();
        for node in up {
            self.report.step(node, format!("joining the mesh (up to {}s)", MESH.as_secs()));
        }
        let begun = Instant::now();
        let mut views = verify::wait_for_mesh(&subjects, &known, MESH).await;
        let lonely = apart(&views);
        if !lonely.is_empty() {
            self.settle(found, failures).await;
            for node in &lonely {
                if let Err(error) = self.restart_settled(node, found).await {
                    failures.push(error);
                }
            }
            views = verify::wait_for_mesh(&subjects, &known, MESH).await;
        }
        for view in verify::not_whole(&views) {
            let trouble = Trouble::Mesh(mesh_trouble(view, begun.elapsed()));
            failures.push(NodeError::new(&view.node, "bring {} into the mesh", trouble));
        }
    }

    /// Stops and removes what is no longer wanted.
    async fn remove(
        &self,
        plan: &Plan,
        found: &mut BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) {
        for planned in plan.nodes.iter().filter(|planned| planned.change == Change::Remove) {
            let Some(old) = found.remove(&planned.node) else { continue };
            self.report.step(&planned.node, "removing");
            if let Some(reached) = old.reached() {
                // Of a machine that is just switched off, the others would keep the route until a
                // ping fails. If it does not stop, it goes with its machine.
                drop(reached.service.stop(Ending::Stop).await);
            }
            match take_away(self.provider, &old).await {
                Ok(()) => {
                    self.report.done(&planned.node, "removed");
                    let mut state = self.state.lock();
                    state.nodes.remove(&planned.node);
                    // Still that of what ran before, where what is wanted was refused.
                    state.topology.nodes.retain(|node| node.name != planned.node);
                    if let Err(error) = self.dir.save(&state) {
                        failures.push(NodeError::new(&planned.node, "forget {}", error));
                    }
                }
                // A host that is gone for good must not fail every `up`; the record of it stays,
                // and the next one tries again.
                Err(error) if self.may_wait(&old) => {
                    self.report.note(not_removed(&error));
                }
                Err(error) => failures.push(error),
            }
        }
    }

    /// Whether a machine of somebody else's, which cannot be reached, is left as it is for now.
    fn may_wait(&self, old: &Found) -> bool {
        let unreachable = matches!(old.look, Look::Unreachable(_));
        unreachable && !self.provider.capabilities().creates_machines
    }
}

/// Stops the server of a node, takes away what was installed, and removes its machine.
///
/// # Errors
/// What is left is found by the next look.
pub async fn take_away(provider: &dyn Provider, found: &Found) -> Result<(), NodeError> {
    let failed = |trouble: Trouble| NodeError::new(&found.node, "remove {}", trouble);
    let Some(machine) = &found.machine else { return Ok(()) };
    if !provider.capabilities().creates_machines {
        match &found.look {
            Look::Reached(reached) => {
                reached.service.uninstall().await.map_err(|error| failed(error.into()))?;
            }
            Look::Unreachable(error) => {
                return Err(failed(Trouble::Look(std::sync::Arc::clone(error))));
            }
            Look::Off => {}
        }
    }
    provider.destroy(machine).await.map_err(|error| failed(error.into()))
}

/// Nodes as `verify` wants them.
#[must_use]
pub fn subjects(found: &BTreeMap<String, Found>) -> Vec<Subject> {
    found
        .values()
        .map(|found| Subject { node: found.node.clone(), endpoint: found.endpoint })
        .collect()
}

fn touches_machine(change: &Change) -> bool {
    match change {
        Change::Create => true,
        Change::Update(updates) => {
            let of_machine = |update: &Update| {
                matches!(update, Update::PowerOn(_) | Update::Resize(_) | Update::Reach(_))
            };
            updates.iter().any(of_machine)
        }
        Change::Unchanged | Change::Remove => false,
    }
}

/// Nodes that run and lack a route to another that runs, the last in file order first; one of
/// them is left alone, since a route needs but one end to dial.
fn apart(views: &[View]) -> Vec<String> {
    let apart = verify::apart(views).into_iter();
    let mut names: Vec<String> = apart.map(|view| view.node.clone()).skip(1).collect();
    names.reverse();
    names
}

/// Whether the provider's `create` is called for: it makes what is missing or deleted, waits for
/// what is still booting, and says best why a machine cannot be reached.
fn wants_making(change: &Change) -> bool {
    match change {
        Change::Create => true,
        Change::Update(updates) => updates.iter().any(|update| matches!(update, Update::Reach(_))),
        Change::Unchanged | Change::Remove => false,
    }
}

/// What `create` is called for, as a step and as an attempt. A machine that is there is not made,
/// but waited for or checked.
fn making(change: &Change) -> (&'static str, &'static str) {
    match change {
        Change::Create => ("creating", "make a machine for {}"),
        _ => ("reaching", "reach {}"),
    }
}

/// What is said of a node that could not be removed for now.
fn not_removed(error: &NodeError) -> String {
    let why = match &error.trouble {
        Trouble::Look(look) => match &**look {
            // What the provider attempted names the node again.
            LookError::Provider(ProviderError { cause: Some(cause), .. }) => chain(cause.as_ref()),
            look => chain(look),
        },
        trouble => chain(trouble),
    };
    format!("warning: {error}: {why}; the next `up` tries again")
}

fn mesh_trouble(view: &View, waited: Duration) -> String {
    let why = view.problem().unwrap_or_else(|| "it is not whole".into());
    format!("{why}, {} after all servers ran", show_duration(waited))
}

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_not_be_removed_is_named_once() {
        let unreached = ProviderError {
            attempt: "cannot reach 10.0.0.3 for node `node3`".into(),
            node: Some("node3".into()),
            cause: Some("cannot connect to u@10.0.0.3:22".into()),
            hint: None,
            transient: true,
        };
        let told = |look: LookError| {
            not_removed(&NodeError::new("node3", "remove {}", Trouble::Look(look.into())))
        };
        assert_eq!(
            told(unreached.into()),
            "warning: cannot remove node3: cannot connect to u@10.0.0.3:22; the next `up` tries again"
        );
        let limit = Duration::from_secs(2);
        assert_eq!(
            told(LookError::Timeout { machine: "10.0.0.3".into(), limit }),
            "warning: cannot remove node3: 10.0.0.3 did not answer within 2s; the next `up` tries again"
        );
    }

    #[test]
    fn the_time_that_is_told_is_the_time_that_was_waited() {
        let view = View {
            node: "node2".into(),
            peers: Ok(Vec::new()),
            missing: vec!["node1".into()],
            strangers: Vec::new(),
            unwell: None,
        };
        let told = mesh_trouble(&view, Duration::from_millis(4100));
        assert_eq!(told, "node2 has no route to node1, 4.1s after all servers ran");
    }
}
