//! Machines switched on and off, resized and removed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::{Attempt, Kind};
use super::{ASK_LIMIT, Multipass};
use crate::provider::{Machine, MachineState, Power, Progress, ProviderError};
use crate::remote::{Command, Remote, RemoteError};
use crate::topology::Node;

/// systemd gives its services 90 s to stop.
const OFF_LIMIT: Duration = Duration::from_secs(120);

impl Multipass {
    pub(super) async fn cut(&self, node: &str) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "cut the power of", about: Some((node, &instance)) };
        self.call(attempt, &["stop", "--force", &instance], ASK_LIMIT * 2).await?;
        self.await_off(attempt, &instance).await
    }

    /// From inside: a graceful `multipass stop` holds the daemon's only thread until the guest
    /// is down, for five minutes when it hangs.
    async fn shut_down(&self, machine: &Machine) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "shut down", about: Some((&machine.node, &machine.id)) };
        let (_, remote) = self.open(machine).await?;
        let poweroff = Command {
            script: "systemctl poweroff".to_owned(),
            stdin: Vec::new(),
            root: true,
            timeout: Duration::from_secs(20),
        };
        match remote.run(&poweroff).await {
            // The machine may go before it can answer.
            Ok(_) | Err(RemoteError::Broken { .. } | RemoteError::Timeout { .. }) => {}
            Err(error) => return Err(attempt.error(Kind::Unreachable, error)),
        }
        self.await_off(attempt, &machine.id).await
    }

    async fn await_off(&self, attempt: Attempt<'_>, instance: &str) -> Result<(), ProviderError> {
        let deadline = Instant::now() + OFF_LIMIT;
        while Instant::now() < deadline {
            match self.state(instance).await? {
                None | Some(MachineState::Stopped | MachineState::Deleted) => return Ok(()),
                _ => sleep(self.pause).await,
            }
        }
        let cause = format!("it is still up after {}s", OFF_LIMIT.as_secs());
        Err(attempt.error(Kind::Unreachable, cause))
    }

    pub(super) async fn set_power(
        &self,
        machine: &Machine,
        power: Power,
    ) -> Result<Machine, ProviderError> {
        self.must_be_ours(machine, "change the power of")?;
        match power {
            Power::On => {
                let attempt = Attempt { verb: "start", about: Some((&machine.node, &machine.id)) };
                let state = self.state(&machine.id).await?.ok_or_else(|| {
                    attempt.error(Kind::Missing, format!("instance {} does not exist", machine.id))
                })?;
                self.bring_up(&machine.node, state, &Silent).await?;
                return self.await_ssh(&machine.node, false, &Silent).await;
            }
            Power::Off => self.shut_down(machine).await?,
            Power::Cut => self.cut(&machine.node).await?,
        }
        Ok(Machine { state: MachineState::Stopped, address: None, ..machine.clone() })
    }

    /// Sizes are settings of a stopped instance. The disk can only grow; Multipass says so
    /// itself otherwise.
    pub(super) async fn change_size(
        &self,
        machine: &Machine,
        node: &Node,
    ) -> Result<Machine, ProviderError> {
        self.must_be_ours(machine, "change the size of")?;
        let attempt =
            Attempt { verb: "change the size of", about: Some((&machine.node, &machine.id)) };
        if self.state(&machine.id).await? != Some(MachineState::Stopped) {
            self.shut_down(machine).await?;
        }
        let mut outcome = Ok(());
        for (key, value) in [
            ("cpus", u64::from(node.vm.cpus)),
            ("memory", node.vm.memory_bytes),
            ("disk", node.vm.disk_bytes),
        ] {
            let setting = format!("local.{}.{key}={value}", machine.id);
            outcome = self.call(attempt, &["set", &setting], ASK_LIMIT).await.map(drop);
            if outcome.is_err() {
                break;
            }
        }
        // Refused or not, it was up before.
        let fresh = self.set_power(machine, Power::On).await;
        outcome.and(fresh)
    }

    pub(super) async fn remove(&self, machine: &Machine) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "remove", about: Some((&machine.node, &machine.id)) };
        let Some(state) = self.state(&machine.id).await? else {
            self.claim(&machine.node).drop_it();
            return Ok(());
        };
        self.must_be_ours(machine, "remove")?;
        if state == MachineState::Running {
            self.must_show_our_key(attempt, machine).await?;
        }
        let arguments = ["delete", "--purge", machine.id.as_str()];
        let deleted = self.call(attempt, &arguments, ASK_LIMIT * 3).await;
        match (deleted, self.state(&machine.id).await?) {
            (_, None) => {
                self.claim(&machine.node).drop_it();
                Ok(())
            }
            (Err(error), Some(_)) => Err(error),
            (Ok(_), Some(_)) => Err(attempt.error(Kind::Other, "it is still there afterwards")),
        }
    }
}

/// For calls that have nobody to tell.
pub(super) struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str) {}
}
