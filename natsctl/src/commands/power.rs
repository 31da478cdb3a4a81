//! `natsctl start`, `stop`, `restart`: servers in and out of service, on purpose.

use futures_util::future::join_all;

use super::{Cluster, Ended, reporter};
use crate::apply::{MESH, NodeError, Trouble, must_be_reached, start_all};
use crate::cli::{Global, Output, Restart, Start, Stop};
use crate::deploy::service::Ending;
use crate::failure::{Failure, Kind};
use crate::observe::{Found, Look};
use crate::report::Report;
use crate::verify::{self, Subject, View};

pub(super) async fn start(global: &Global, args: &Start) -> Ended {
    let cluster = Cluster::known(global)?;
    let nodes = cluster.select(&args.nodes.nodes)?;
    let job = Job::new(global, cluster, nodes, "start")?;
    let started = job.start(&job.nodes).await;
    job.report.finish();
    started.map(|()| 0)
}

pub(super) async fn stop(global: &Global, args: &Stop) -> Ended {
    let cluster = Cluster::known(global)?;
    let nodes = cluster.select_serving(&args.nodes.nodes).await?;
    let job = Job::new(global, cluster, nodes, "stop")?;
    let stopped = job.stop(&job.nodes, ending(args.lame_duck)).await;
    job.report.finish();
    stopped.map(|()| 0)
}

pub(super) async fn restart(global: &Global, args: &Restart) -> Ended {
    let cluster = Cluster::known(global)?;
    let nodes = cluster.select_serving(&args.nodes.nodes).await?;
    let job = Job::new(global, cluster, nodes, "restart")?;
    job.all_are_there().await?;
    let restarted = if args.rolling {
        job.roll(ending(args.lame_duck)).await
    } else {
        job.restart(&job.nodes, ending(args.lame_duck)).await
    };
    job.report.finish();
    restarted.map(|()| 0)
}

fn ending(lame_duck: bool) -> Ending {
    if lame_duck { Ending::LameDuck } else { Ending::Stop }
}

/// One verb on some nodes of one cluster, which nobody else changes meanwhile.
struct Job {
    cluster: Cluster,
    nodes: Vec<String>,
    report: Report,
    _lock: crate::state::Lock,
}

impl Job {
    fn new(
        global: &Global,
        cluster: Cluster,
        nodes: Vec<String>,
        verb: &str,
    ) -> Result<Self, Failure> {
        let lock = cluster.dir.lock(verb)?;
        Ok(Self { cluster, nodes, report: reporter(global, Output::Text), _lock: lock })
    }

    async fn start(&self, nodes: &[String]) -> Result<(), Failure> {
        let found = self.cluster.look_at(nodes).await?;
        for node in nodes {
            self.report.step(node, "starting");
        }
        let found: Vec<&Found> = found.iter().collect();
        let outcomes = start_all(&found).await;
        let mut errors = Vec::new();
        let mut started = Vec::new();
        for (node, outcome) in nodes.iter().zip(outcomes) {
            match outcome {
                Ok(pid) => started.push((node, pid)),
                Err(error) => {
                    self.report.failed(node, crate::apply::chain(&error));
                    errors.push(error);
                }
            }
        }
        let names: Vec<String> = started.iter().map(|(node, _)| (*node).clone()).collect();
        self.cluster.rest(&names, None)?;
        let views = self.rejoined(&names).await?;
        for (node, pid) in started {
            let view = views.iter().find(|view| view.node == *node);
            match view.and_then(View::problem) {
                None => self.report.done(node, format!("running, pid {pid}, in the mesh")),
                Some(problem) => {
                    self.report.failed(node, &problem);
                    errors.push(NodeError {
                        node: node.clone(),
                        attempt: "bring {} back into the mesh",
                        trouble: Trouble::Mesh(problem),
                    });
                }
            }
        }
        ended(&errors, nodes)
    }

    async fn stop(&self, nodes: &[String], ending: Ending) -> Result<(), Failure> {
        let found = self.cluster.look_at(nodes).await?;
        // Remembered first: interrupted or not, these nodes were taken down by us. Who cannot be
        // reached goes on.
        let stops = found.iter().filter(|found| !matches!(found.look, Look::Unreachable(_)));
        let stopping: Vec<String> = stops.map(|found| found.node.clone()).collect();
        self.cluster.rest(&stopping, Some("stopped"))?;
        let stops = found.iter().map(|found| self.stop_one(found, ending));
        let errors: Vec<NodeError> =
            join_all(stops).await.into_iter().filter_map(Result::err).collect();
        ended(&errors, nodes)
    }

    async fn stop_one(&self, found: &Found, ending: Ending) -> Result<(), NodeError> {
        let node = &found.node;
        let failed =
            |trouble: Trouble| NodeError { node: node.clone(), attempt: "stop {}", trouble };
        let reached = match &found.look {
            Look::Reached(reached) => reached,
            Look::Off => {
                self.report.done(node, "its machine is off");
                return Ok(());
            }
            Look::Unreachable(error) => {
                let error = failed(Trouble::Look(std::sync::Arc::clone(error)));
                self.report.failed(node, crate::apply::chain(&error));
                return Err(error);
            }
        };
        self.report.step(
            node,
            match ending {
                Ending::Stop => "stopping",
                Ending::LameDuck => "stopping, moving its clients away first (up to 2 minutes)",
            },
        );
        let stopped = reached.service.stop(ending).await;
        let stopped = stopped.map_err(|error| failed(error.into()));
        match &stopped {
            Ok(()) if reached.facts.pid.is_none() => self.report.done(node, "was not running"),
            Ok(()) => {
                let stays = "stopped; stays so until `natsctl start` or `up`";
                self.report.done(node, self.cluster.address.in_text(stays));
            }
            Err(error) => self.report.failed(node, crate::apply::chain(error)),
        }
        stopped
    }

    async fn restart(&self, nodes: &[String], ending: Ending) -> Result<(), Failure> {
        let stopped = self.stop(nodes, ending).await;
        // One that does not stop is no reason for the others to stay down.
        let started = self.start(nodes).await;
        stopped.and(started)
    }

    /// Refuses, before anything is stopped, nodes that could not be started again.
    async fn all_are_there(&self) -> Result<(), Failure> {
        let found = self.cluster.look_at(&self.nodes).await?;
        let reached = found.iter().map(|found| must_be_reached(found, "restart {}"));
        let errors: Vec<NodeError> = reached.filter_map(Result::err).collect();
        if errors.is_empty() {
            return Ok(());
        }
        // Not partly done: nothing was.
        let failure = Failure::of_nodes(&errors, true).hint("natsctl status");
        Err(failure.left("all as they were: nothing was stopped"))
    }

    /// Restarts one node after the other, each only while the mesh of all others is whole. Those
    /// that do not answer come first: they serve nobody.
    async fn roll(&self, ending: Ending) -> Result<(), Failure> {
        let views = verify::views(&self.expected().await?).await;
        let silent = verify::silent(&views);
        let mut nodes = self.nodes.clone();
        nodes.sort_by_key(|node| !silent.contains(&node.as_str()));
        for (nth, node) in nodes.iter().enumerate() {
            let left = nodes.get(nth..).unwrap_or_default();
            let to_be_woken: Vec<&String> =
                left.iter().filter(|node| silent.contains(&node.as_str())).collect();
            self.others_are_whole(&to_be_woken, left).await?;
            // Who hangs moves no clients away.
            let ending = if silent.contains(&node.as_str()) { Ending::Stop } else { ending };
            self.restart(std::slice::from_ref(node), ending).await?;
        }
        self.others_are_whole(&[], &[]).await
    }

    /// Whether all nodes but those that are at rest or to be woken are in the mesh.
    async fn others_are_whole(&self, asleep: &[&String], left: &[String]) -> Result<(), Failure> {
        let mut subjects = self.expected().await?;
        subjects.retain(|subject| !asleep.contains(&&subject.node));
        let views = verify::wait_for_mesh(&subjects, &self.known(), MESH).await;
        let bad = verify::not_whole(&views);
        if bad.is_empty() {
            return Ok(());
        }
        Err(not_whole(&bad, left))
    }

    /// The nodes that are not at rest.
    async fn expected(&self) -> Result<Vec<Subject>, Failure> {
        let state = self.cluster.dir.load()?.unwrap_or_else(|| self.cluster.record());
        let resting =
            |node: &str| state.nodes.get(node).is_some_and(|record| record.rest.is_some());
        let mut subjects = self.cluster.addressed().await?;
        subjects.retain(|subject| !resting(&subject.node));
        Ok(subjects)
    }

    /// The names of all nodes.
    fn known(&self) -> Vec<String> {
        self.cluster.topology.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Waits until started nodes are in the mesh again, with all nodes that are not at rest.
    async fn rejoined(&self, started: &[String]) -> Result<Vec<View>, Failure> {
        let mut subjects = self.expected().await?;
        // A node that is down for reasons of its own must not hold the others.
        let alive = verify::views(&subjects).await;
        subjects.retain(|subject| {
            let answers = alive.iter().any(|view| view.node == subject.node && view.peers.is_ok());
            answers || started.contains(&subject.node)
        });
        Ok(verify::wait_for_mesh(&subjects, &self.known(), MESH).await)
    }
}

/// Why a rolling restart does not go on; `left` were not restarted.
fn not_whole(bad: &[&View], left: &[String]) -> Failure {
    let what = if left.is_empty() {
        "all were restarted, and the mesh is not whole".to_owned()
    } else {
        format!("the mesh is not whole, so these were not restarted: {}", left.join(", "))
    };
    let failure = Failure::new(Kind::Verdict, what);
    let failure = bad.iter().filter_map(|view| view.problem()).fold(failure, Failure::cause);
    let names: Vec<&str> = bad.iter().map(|view| view.node.as_str()).collect();
    failure
        .hint(format!("natsctl restart {}   (then the same command again)", names.join(",")))
        .hint("natsctl status")
}

fn ended(errors: &[NodeError], nodes: &[String]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::of_nodes(errors, errors.len() == nodes.len()).hint("natsctl status"))
}
