//! Where machines come from: one trait, one file per provider.
//!
//! A provider makes, finds, powers and removes machines and says how to reach them. It knows
//! nothing of NATS: what runs on a machine is the business of `deploy`. `list` is the truth;
//! nothing here trusts a state file.

pub mod hosts;
pub mod local;
pub mod multipass;

use std::net::IpAddr;
use std::path::PathBuf;

use crate::remote::{BoxFuture, Remote};
use crate::topology::{Endpoint, Node, Server};

/// What a provider can do, as data: drills and plans ask before they promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Machines are made and removed by us (not by the user).
    pub creates_machines: bool,
    /// The machine can be cut off without a shutdown.
    pub power_cut: bool,
    /// How many machines may be created at once, after the first.
    pub parallel_creates: usize,
}

/// One machine of this cluster, as the provider sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The node of `cluster.yaml` it serves.
    pub node: String,
    /// The provider's own name for it (`demo-node1`).
    pub id: String,
    /// What it is doing.
    pub state: MachineState,
    /// Address for SSH, clients and routes, when known.
    pub address: Option<IpAddr>,
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    /// Booting, or not yet answering.
    Starting,
    /// Up, as far as the provider knows.
    Running,
    /// Powered off.
    Stopped,
    /// Memory saved, not running.
    Suspended,
    /// Removed but its name is still taken.
    Deleted,
    /// The provider cannot tell.
    Unknown,
}

impl MachineState {
    /// In one word, for a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Unknown => "unknown",
        }
    }
}

/// Wanted change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Boot or resume it.
    On,
    /// Shut it down cleanly.
    Off,
    /// Cut it off: no FIN, no RST.
    Cut,
}

/// Told about each step of a long call, so that a person sees what is being waited for.
pub trait Progress: Send + Sync {
    /// A new step began (`downloading image`, `waiting for SSH`).
    fn step(&self, text: &str);

    /// Something is not as it should be but does not stop the call (`cloud-init ended with an
    /// error`); a person must see it even after the step is over.
    fn warn(&self, text: &str) {
        self.step(&format!("warning: {text}"));
    }
}

/// A machine, with the address it answered at, and a way to run commands on it.
pub type Opened = (Machine, Box<dyn Remote>);

/// Makes, finds, powers and removes the machines of ONE cluster.
pub trait Provider: Send + Sync {
    /// `multipass`, `local` or `hosts`.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Checks that the provider itself can be used (installed, new enough, reachable).
    ///
    /// # Errors
    /// Says what is missing and the command that mends it.
    fn preflight(&self) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// All machines of this cluster that exist now.
    ///
    /// # Errors
    /// When the provider cannot be asked.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>>;

    /// As [`Provider::list`], but where that would wait for each machine to answer, nobody is
    /// waited for: the machines come back as `Unknown`. For callers who ask each one themselves.
    ///
    /// # Errors
    /// When the provider cannot be asked.
    fn known(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        self.list()
    }

    /// Makes the machine of a node and waits until it can be reached.
    ///
    /// # Errors
    /// The machine may exist afterwards; `list` tells.
    fn create<'a>(
        &'a self,
        node: &'a Node,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>>;

    /// Removes a machine for good. Removing what is not there is not an error.
    ///
    /// # Errors
    /// When it is still there afterwards.
    fn destroy<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), ProviderError>>;

    /// Changes the power of a machine and waits until it is so; `On` returns the fresh machine
    /// (its address may have changed).
    ///
    /// # Errors
    /// When the machine did not get there in time, or the provider cannot do it.
    fn power<'a>(
        &'a self,
        machine: &'a Machine,
        power: Power,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>>;

    /// Opens a way to run commands on a machine, and tells where it was found: its address may
    /// have become known, or changed, since it was listed.
    ///
    /// # Errors
    /// When the machine cannot be reached, or is not the one we made.
    fn reach<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Opened, ProviderError>>;

    /// Where the server of a machine listens, once its address is known: the wanted ports, but
    /// for a provider whose machines have to share an address.
    fn endpoint(&self, machine: &Machine, server: &Server) -> Option<Endpoint> {
        Some(Endpoint {
            address: machine.address?,
            client_port: server.client_port,
            cluster_port: server.cluster_port,
            monitor_port: server.monitor_port,
        })
    }

    /// The folder that is this node's alone when its machine is shared with other nodes; `None`
    /// when the whole machine is ours.
    fn home(&self, _machine: &Machine) -> Option<PathBuf> {
        None
    }

    /// Gives a machine its wanted size, with a reboot if that takes one, and returns it fresh.
    ///
    /// # Errors
    /// When the provider cannot do it; the machine is as it was.
    fn resize<'a>(
        &'a self,
        machine: &'a Machine,
        node: &'a Node,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        let error = ProviderError {
            attempt: format!("cannot change the size of {}", machine.id),
            node: Some(node.name.clone()),
            cause: Some(format!("{} cannot change the size of a machine", self.name()).into()),
            hint: Some("natsctl down && natsctl up".into()),
            transient: false,
        };
        Box::pin(async move { Err(error) })
    }
}

/// Why a provider could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct ProviderError {
    /// What was attempted, in the user's words (`cannot launch node1 with multipass`).
    pub attempt: String,
    /// The node, when it is about one.
    pub node: Option<String>,
    /// Why: the evidence, last line of the tool's own words included.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The next command to try.
    pub hint: Option<String>,
    /// Whether trying the same again may help without any change.
    pub transient: bool,
}
