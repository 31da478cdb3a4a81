//! Machines reached over SSH: only those that are ours and show our host key.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::{Attempt, Kind};
use super::{Multipass, SSH_LIMIT};
use crate::provider::{Machine, MachineState, Progress, ProviderError};
use crate::remote::host_key::Trust;
use crate::remote::ssh::{Login, Ssh};
use crate::remote::{RemoteError, keys};

/// The default user of every Multipass image.
const USER: &str = "ubuntu";

impl Multipass {
    /// Waits until the machine shows our host key and takes our key.
    pub(super) async fn await_ssh(
        &self,
        node: &str,
        fresh: bool,
        progress: &dyn Progress,
    ) -> Result<Machine, ProviderError> {
        let id = self.instance(node);
        progress.step(&format!("waiting for SSH (at most {}s)", SSH_LIMIT.as_secs()));
        let attempt = Attempt { verb: "reach", about: Some((node, &id)) };
        let deadline = Instant::now() + SSH_LIMIT;
        let mut last: ProviderError = attempt.error(Kind::Unreachable, "it has no address");
        while Instant::now() < deadline {
            if let Some(address) = self.ask_address(node).await? {
                let machine = Machine {
                    node: node.to_owned(),
                    id: id.clone(),
                    state: MachineState::Running,
                    address: Some(address),
                };
                match self.connect(&machine, address).await {
                    Ok(_) => return Ok(machine),
                    // Until cloud-init has placed our keys, a fresh sshd answers with its own.
                    Err(error) => {
                        let stranger = matches!(error, RemoteError::HostKey { .. });
                        last = not_reached(attempt, error);
                        if stranger && !fresh {
                            return Err(last);
                        }
                    }
                }
            }
            sleep(self.pause).await;
        }
        Err(last)
    }

    async fn connect(&self, machine: &Machine, address: IpAddr) -> Result<Ssh, RemoteError> {
        let ssh = self.ssh(machine, address)?;
        ssh.connect().await?;
        Ok(ssh)
    }

    fn ssh(&self, machine: &Machine, address: IpAddr) -> Result<Ssh, RemoteError> {
        let no_key = |error: keys::KeyError| RemoteError::Connect {
            label: machine.id.clone(),
            source: error.into(),
        };
        let key = keys::load_or_make(&self.dir.join("id_ed25519"), &self.key_comment());
        let host = self.claim(&machine.node).host_key(&machine.id).map_err(no_key)?;
        Ok(Ssh::new(Login {
            host: address.to_string(),
            port: 22,
            user: USER.to_owned(),
            key: Arc::new(key.map_err(no_key)?),
            trust: Trust::Planted(host.public_key().clone()),
            connect_timeout: Duration::from_secs(10),
        }))
    }

    pub(super) fn must_be_ours(&self, machine: &Machine, verb: &str) -> Result<(), ProviderError> {
        if self.claim(&machine.node).exists() && machine.id == self.instance(&machine.node) {
            return Ok(());
        }
        let attempt = Attempt { verb, about: Some((&machine.node, &machine.id)) };
        Err(attempt.error(Kind::Exists, "there is no record that this natsctl made it"))
    }

    /// Someone may have removed our machine and made another of the same name: it answers with
    /// another host key. One that does not answer at all is judged by the claim alone.
    pub(super) async fn must_show_our_key(
        &self,
        attempt: Attempt<'_>,
        machine: &Machine,
    ) -> Result<(), ProviderError> {
        let Some(address) = machine.address else { return Ok(()) };
        match self.connect(machine, address).await {
            Err(error @ RemoteError::HostKey { .. }) => Err(attempt.error(Kind::Exists, error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn open(&self, machine: &Machine) -> Result<(Machine, Ssh), ProviderError> {
        let attempt = Attempt { verb: "reach", about: Some((&machine.node, &machine.id)) };
        self.must_be_ours(machine, "reach")?;
        let known = machine.address.or_else(|| self.claim(&machine.node).address());
        let at = |address| Machine {
            state: MachineState::Running,
            address: Some(address),
            ..machine.clone()
        };
        let error = match known {
            None => attempt.error(Kind::Unreachable, "it has no address"),
            Some(address) => match self.connect(machine, address).await {
                Ok(ssh) => return Ok((at(address), ssh)),
                Err(error) => not_reached(attempt, error),
            },
        };
        // It may have moved: drivers but QEMU give a new address at a boot.
        match self.ask_address(&machine.node).await {
            Ok(Some(address)) if known != Some(address) => {
                let connected = self.connect(machine, address).await;
                let ssh = connected.map_err(|error| not_reached(attempt, error))?;
                Ok((at(address), ssh))
            }
            _ => Err(error),
        }
    }
}

fn not_reached(attempt: Attempt<'_>, error: RemoteError) -> ProviderError {
    let kind = match &error {
        RemoteError::HostKey { .. } => Kind::Exists,
        _ => Kind::Unreachable,
    };
    attempt.error(kind, error)
}
