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
use crate::plan::{Findings, Plan};
use crate::report::show_duration;
use crate::topology::Endpoint;

/// How long a running server may say nothing: one that starts or is busy takes far less.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks servers that run as they are wanted; how long those that say nothing did so. One that is
/// replaced anyway need not be asked, and may listen elsewhere until then.
pub(super) async fn silences(
    findings: &BTreeMap<String, Findings>,
    found: &BTreeMap<String, Found>,
) -> BTreeMap<String, Duration> {
    let asked = findings.iter().filter(|(_, findings)| goes_on(findings));
    let asked = asked.filter_map(|(node, _)| Some((node, found.get(node)?.endpoint?)));
    let silences = asked.map(|(node, endpoint)| async move {
        Some((node.clone(), silence(&endpoint, SILENCE).await?))
    });
    join_all(silences).await.into_iter().flatten().collect()
}

fn goes_on(findings: &Findings) -> bool {
    findings.server.is_some_and(|server| server.running && server.binary && server.settings)
}

impl Apply<'_> {
    /// Restarts servers that run and do not answer. One that does not come back counts as
    /// unreachable from here on.
    pub(super) async fn wake(
        &self,
        plan: &Plan,
        found: &mut BTreeMap<String, Found>,
        failures: &mut Vec<NodeError>,
    ) {
        let hung: Vec<(String, Duration, Endpoint, Reached)> = plan
            .nodes
            .iter()
            .filter_map(|planned| {
                let silence = planned.silence()?;
                let found = found.get(&planned.node)?;
                Some((planned.node.clone(), silence, found.endpoint?, found.reached()?.clone()))
            })
            .collect();
        let woken = hung.iter().map(|(node, silence, endpoint, reached)| async move {
            (node, self.wake_one(node, endpoint, reached, *silence).await)
        });
        for (node, outcome) in join_all(woken).await {
            let Err(error) = outcome else { continue };
            let error = Arc::new(LookError::Deploy(error));
            if let Some(found) = found.get_mut(node) {
                found.look = Look::Unreachable(Arc::clone(&error));
            }
            failures.push(NodeError::new(node, "restart {}", Trouble::Look(error)));
        }
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
    use crate::plan::Installed;

    #[test]
    fn only_servers_that_go_on_as_they_are_are_asked() {
        let well = Installed {
            present: true,
            binary: true,
            settings: true,
            peers: false,
            enabled: true,
            running: true,
        };
        let goes_on = |server| goes_on(&Findings { server, ..Findings::default() });
        assert!(goes_on(Some(well)));
        assert!(!goes_on(Some(Installed { settings: false, ..well })), "is restarted anyway");
        assert!(!goes_on(Some(Installed { running: false, ..well })));
        assert!(!goes_on(None));
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
