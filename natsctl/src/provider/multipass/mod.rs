//! Machines by Multipass: launched with keys of our own, reached over SSH, never by `exec`.
//!
//! Only JSON is read (`answer.rs`, `ask.rs`), every call has a deadline (`client.rs`), every
//! failure is told by its meaning (`failure.rs`). An instance is ours when we claimed its name
//! before it was launched (`claim.rs`, `make.rs`) and it shows the host key we planted
//! (`cloud_init.rs`, `reach.rs`); others are never touched, `purge` and `--all` never used.

mod answer;
mod ask;
mod claim;
mod client;
mod cloud_init;
mod failure;
mod init;
mod make;
mod power;
mod reach;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use self::claim::Claim;
use self::client::{Client, Installed};
use super::{Capabilities, Machine, Opened, Power, Progress, Provider, ProviderError};
use crate::remote::{BoxFuture, Remote};
use crate::state::ClusterDir;
use crate::topology::{Node, Topology};

/// A daemon that is well answers within a second; one that asks a guest may take five.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// What the daemon itself allows for a boot.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// From the first answer on port 22 to our key accepted: cloud-init may still be writing it.
const SSH_LIMIT: Duration = Duration::from_secs(120);
/// Two launches at the same moment crashed daemons before 1.16.2.
const STAGGER: Duration = Duration::from_secs(1);

/// Makes and finds the virtual machines of one cluster.
pub struct Multipass {
    cluster: String,
    dir: PathBuf,
    client: Box<dyn Client>,
    last_launch: Mutex<Option<Instant>>,
    pause: Duration,
    stagger: Duration,
}

impl Multipass {
    /// Names the cluster and its state folder; nothing is asked or written yet.
    ///
    /// # Errors
    /// Never today; a provider that has to look first may.
    pub fn new(topology: &Topology, dir: &ClusterDir) -> Result<Self, ProviderError> {
        Ok(Self::with(&topology.name, dir.path().to_owned(), Box::new(Installed)))
    }

    fn with(cluster: &str, dir: PathBuf, client: Box<dyn Client>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            dir,
            client,
            last_launch: Mutex::new(None),
            pause: Duration::from_millis(500),
            stagger: STAGGER,
        }
    }

    fn instance(&self, node: &str) -> String {
        format!("{}-{node}", self.cluster)
    }

    fn claim(&self, node: &str) -> Claim {
        Claim::new(self.dir.join("nodes").join(node))
    }
}

impl Provider for Multipass {
    fn name(&self) -> &'static str {
        "multipass"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { creates_machines: true, power_cut: true, parallel_creates: 3 }
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            self.ask_versions().await?;
            self.check_driver().await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        Box::pin(self.machines())
    }

    fn create<'a>(
        &'a self,
        node: &'a Node,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.make(node, progress))
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.remove(machine))
    }

    fn power<'a>(
        &'a self,
        machine: &'a Machine,
        power: Power,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.set_power(machine, power))
    }

    fn resize<'a>(
        &'a self,
        machine: &'a Machine,
        node: &'a Node,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.change_size(machine, node))
    }

    fn reach<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Opened, ProviderError>> {
        Box::pin(async move {
            let (found, ssh) = self.open(machine).await?;
            let ssh: Box<dyn Remote> = Box::new(ssh);
            Ok((found, ssh))
        })
    }
}

#[cfg(test)]
mod tests;
