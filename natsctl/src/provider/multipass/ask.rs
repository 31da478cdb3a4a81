//! What the daemon knows: instances, states, addresses, versions. Only JSON is read.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{self, Row};
use super::claim::Claim;
use super::client::Answer;
use super::failure::{self, Attempt, Kind};
use super::{ASK_LIMIT, Multipass};
use crate::provider::{Machine, MachineState, ProviderError};

/// Oldest version that has `stop --force` (the only hard power-off verb).
const FLOOR: (u32, u32) = (1, 14);

impl Multipass {
    pub(super) async fn call(
        &self,
        attempt: Attempt<'_>,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Answer, ProviderError> {
        let answer = self.try_call(attempt, arguments, None, limit).await?;
        if answer.code == Some(0) { Ok(answer) } else { Err(attempt.refused(&answer)) }
    }

    pub(super) async fn try_call(
        &self,
        attempt: Attempt<'_>,
        arguments: &[&str],
        stdin: Option<String>,
        limit: Duration,
    ) -> Result<Answer, ProviderError> {
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        self.client.call(arguments, stdin, limit).await.map_err(|error| attempt.unanswered(error))
    }

    /// All instances of everybody. `--no-ipv4` keeps the daemon from asking the guests.
    async fn rows(&self) -> Result<Vec<Row>, ProviderError> {
        let attempt = Attempt { verb: "ask multipass for its instances", about: None };
        let arguments = ["list", "--format", "json", "--no-ipv4"];
        let answer = self.call(attempt, &arguments, ASK_LIMIT).await?;
        answer::rows(&answer.stdout).ok_or_else(|| not_understood(attempt, &answer))
    }

    pub(super) async fn state(
        &self,
        instance: &str,
    ) -> Result<Option<MachineState>, ProviderError> {
        let rows = self.rows().await?;
        Ok(rows.into_iter().find(|row| row.name == instance).map(|row| row.state))
    }

    /// Asks the daemon where a running machine is; it asks the guest.
    pub(super) async fn ask_address(&self, node: &str) -> Result<Option<IpAddr>, ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "find the address of", about: Some((node, &instance)) };
        let arguments = ["info", &instance, "--format", "json"];
        let answer = self.call(attempt, &arguments, ASK_LIMIT).await?;
        let (_, address) = answer::details(&answer.stdout, &instance)
            .ok_or_else(|| not_understood(attempt, &answer))?;
        if let Some(address) = address {
            self.note(node, Some(address))?;
        }
        Ok(address)
    }

    pub(super) fn note(&self, node: &str, address: Option<IpAddr>) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "remember", about: Some((node, &instance)) };
        let noted = self.claim(node).note(&instance, address);
        noted.map_err(|error| attempt.error(Kind::Other, error))
    }

    pub(super) async fn ask_versions(&self) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "use multipass", about: None };
        let answer = self.call(attempt, &["version", "--format", "json"], ASK_LIMIT).await?;
        let (client, daemon) =
            answer::versions(&answer.stdout).ok_or_else(|| not_understood(attempt, &answer))?;
        let Some(daemon) = daemon else {
            // `version` does not say why the daemon did not answer; any other verb does.
            self.rows().await?;
            let cause = format!("multipass {client} is installed, its daemon does not answer");
            return Err(attempt.error(Kind::DaemonDown, cause));
        };
        for (who, version) in [("multipass", &client), ("multipassd", &daemon)] {
            if answer::major_minor(version).is_some_and(|version| version < FLOOR) {
                return Err(too_old(attempt, who, version));
            }
        }
        Ok(())
    }

    pub(super) async fn check_driver(&self) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "use multipass", about: None };
        let answer = self.call(attempt, &["get", "local.driver"], ASK_LIMIT).await?;
        if answer.stdout.trim() != "virtualbox" {
            return Ok(());
        }
        let cause = "its driver is virtualbox, whose machines cannot reach each other by address";
        let mut error = attempt.error(Kind::Other, cause);
        error.hint = Some("multipass set local.driver=qemu (or hyperv on Windows)".into());
        Err(error)
    }

    pub(super) async fn machines(&self) -> Result<Vec<Machine>, ProviderError> {
        let claims = Claim::all(&self.dir.join("nodes"));
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows().await?;
        let ours = claims.into_iter().filter_map(|(node, claim)| {
            let id = self.instance(&node);
            let state = rows.iter().find(|row| row.name == id)?.state;
            let address = claim.address().filter(|_| state == MachineState::Running);
            Some(Machine { node, id, state, address })
        });
        let mut machines: Vec<Machine> = ours.collect();
        machines.sort_by(|a, b| a.node.cmp(&b.node));
        let silent = silent_nodes(&machines).await;
        for machine in &mut machines {
            if silent.contains(&machine.node) {
                // A guest that does not answer may make the daemon fail; the last known address
                // is then the best we have.
                let fresh = self.ask_address(&machine.node).await.ok().flatten();
                machine.address = fresh.or(machine.address);
            }
        }
        Ok(machines)
    }
}

fn not_understood(attempt: Attempt<'_>, answer: &Answer) -> ProviderError {
    let start: String = failure::strip(&answer.stdout).chars().take(200).collect();
    attempt.error(
        Kind::Other,
        format!("multipass answered with something else than its JSON: {start}"),
    )
}

fn too_old(attempt: Attempt<'_>, who: &str, version: &str) -> ProviderError {
    let (major, minor) = FLOOR;
    let cause = format!("{who} is {version}, natsctl needs {major}.{minor} or newer");
    let mut error = attempt.error(Kind::Other, cause);
    error.hint = Some("sudo snap refresh multipass".into());
    error
}

/// Running machines that do not answer on port 22 where they were last, or were never found.
async fn silent_nodes(machines: &[Machine]) -> Vec<String> {
    let mut probes = JoinSet::new();
    for machine in machines.iter().filter(|machine| machine.state == MachineState::Running) {
        let (node, address) = (machine.node.clone(), machine.address);
        probes.spawn(async move {
            let answers = match address {
                None => false,
                Some(address) => {
                    let connected = TcpStream::connect((address, 22));
                    timeout(Duration::from_millis(500), connected).await.is_ok_and(|c| c.is_ok())
                }
            };
            (!answers).then_some(node)
        });
    }
    probes.join_all().await.into_iter().flatten().collect()
}
