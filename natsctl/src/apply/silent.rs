//! Servers whose process is there and which say nothing: hung, so they are started anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Apply, NodeError, Trouble};
use crate::deploy::service::Ending;
use crate::deploy::{DeployError, ready};
use crate::monitor::{self, MonitorError};
use crate::observe::{Found, Look, LookError, Reached};
use crate::plan::{Change, NodePlan, Plan, Update};
use crate::report::show_duration;
use crate::topology::Endpoint;

/// How long a running server may say nothing: one that starts or is busy takes far less.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

impl Apply<'_> {
    /// Restarts servers that run and do not answer; their names. One that does not come back
    /// counts as unreachable from here on.
    pub(super) async fn wake(
        &self,
        plan: &Plan,
        found: &mut BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) -> Vec<String> {
        let planned = plan.nodes.iter().filter(|planned| stays_running(planned));
        let running: Vec<(String, Endpoint, Reached)> = planned
            .filter_map(|planned| {
                let found = found.get(&planned.node)?;
                let reached = found.reached().filter(|reached| reached.facts.pid.is_some())?;
                Some((planned.node.clone(), found.endpoint?, reached.clone()))
            })
            .collect();
        let woken = running.iter().map(|(node, endpoint, reached)| async move {
            let silence = silence(endpoint, SILENCE).await?;
            Some((node, self.wake_one(node, endpoint, reached, silence).await))
        });
        let mut names = Vec::new();
        for (node, outcome) in join_all(woken).await.into_iter().flatten() {
            names.push(node.clone());
            let Err(error) = outcome else { continue };
            let error = Arc::new(LookError::Deploy(error));
            if let Some(found) = found.get_mut(node) {
                found.look = Look::Unreachable(Arc::clone(&error));
            }
            failures.push(NodeError::new(node, "restart {}", Trouble::Look(error)));
        }
        names
    }

    async fn wake_one(
        &self,
        node: &str,
        endpoint: &Endpoint,
        reached: &Reached,
        silence: Duration,
    ) -> Result<(), DeployError> {
        self.report.step(node, "restarting: it does not answer");
        reached.service.stop(Ending::Stop).await?;
        reached.service.start().await?;
        ready(&reached.service, endpoint, node).await?;
        let waited = show_duration(silence);
        self.report.note(format!("{node} did not answer for {waited}: restarted"));
        Ok(())
    }
}

/// Whether its server runs and is to go on as it is. What is replaced anyway needs no waking, and
/// may listen elsewhere until then.
fn stays_running(planned: &NodePlan) -> bool {
    let same = |update: &Update| matches!(update, Update::Peers);
    planned.running
        && match &planned.change {
            Change::Unchanged => true,
            Change::Update(updates) => updates.iter().all(same),
            Change::Create | Change::Remove => false,
        }
}

/// How long monitoring was silent; `None` when it said anything.
async fn silence(endpoint: &Endpoint, at_least: Duration) -> Option<Duration> {
    let begun = Instant::now();
    loop {
        match monitor::varz(endpoint.monitor()).await {
            Ok(_) | Err(MonitorError::Answer { .. }) => return None,
            Err(MonitorError::Connect { .. } | MonitorError::Timeout { .. }) => {}
        }
        if begun.elapsed() > at_least {
            return Some(begun.elapsed());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(change: Change) -> NodePlan {
        NodePlan { node: "node1".into(), seed: true, vm: None, running: true, change }
    }

    #[test]
    fn only_servers_that_go_on_as_they_are_are_asked() {
        assert!(stays_running(&planned(Change::Unchanged)));
        assert!(stays_running(&planned(Change::Update(vec![Update::Peers]))));
        assert!(!stays_running(&planned(Change::Update(vec![Update::Settings]))));
        assert!(!stays_running(&planned(Change::Remove)));
        assert!(!stays_running(&NodePlan { running: false, ..planned(Change::Unchanged) }));
    }

    #[tokio::test]
    async fn who_takes_connections_and_says_nothing_is_silent_for_the_time_that_was_waited() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint {
            address: address.ip(),
            client_port: 1,
            cluster_port: 1,
            monitor_port: address.port(),
        };
        // Its backlog takes the connection, as that of a stopped process does.
        let begun = Instant::now();
        let waited = silence(&endpoint, Duration::from_millis(1)).await.unwrap();
        assert!((monitor::PATIENCE..=begun.elapsed()).contains(&waited), "{waited:?}");
        drop(listener);
    }
}
