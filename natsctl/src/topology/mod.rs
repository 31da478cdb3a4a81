//! What the user wants: a checked cluster, made from `cluster.yaml`.
//!
//! Everything here is valid by construction; `file.rs` reads the shapes as written and turns
//! them into these, reporting all problems at once. Nothing here touches the world.

mod config;
mod fields;
pub mod file;
pub mod problem;
pub mod size;
pub mod yaml;

pub(crate) use config::is_hash;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A cluster as wanted: validated, defaults filled, seed decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Cluster name; also the NATS cluster name and the prefix of machine names.
    pub name: String,
    /// Where machines come from.
    pub provider: ProviderKind,
    /// How the server is run on every node.
    pub server: Server,
    /// Nodes in file order. Never empty.
    pub nodes: Vec<Node>,
}

/// Where machines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Virtual machines made by Multipass.
    Multipass,
    /// Processes on loopback addresses of this machine.
    Local,
    /// Existing Linux machines over SSH.
    Hosts,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Multipass, Self::Local, Self::Hosts];

    /// How it is written in cluster.yaml.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Multipass => "multipass",
            Self::Local => "local",
            Self::Hosts => "hosts",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Topology {
    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The node that the others join through.
    #[must_use]
    pub fn seed(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.seed)
    }
}

/// One wanted node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name in `cluster.yaml`; also the server name in NATS.
    pub name: String,
    /// Whether the others join through this node.
    pub seed: bool,
    /// Wanted machine size (multipass only).
    pub vm: Vm,
    /// How to reach an existing machine (hosts only).
    pub host: Option<Host>,
}

/// Wanted virtual machine; sizes are in Multipass's own notation (`1G`, `512M`), checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Image version, always explicit (`24.04`), or a `file://` URL.
    pub image: String,
    /// Virtual CPUs, at least 1.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk in bytes.
    pub disk_bytes: u64,
}

/// How to reach an existing machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name or address as written.
    pub address: String,
    /// Login user; root or password-less sudo.
    pub user: String,
    /// SSH port.
    pub port: u16,
    /// Private key file; the cluster's own key when absent.
    pub identity: Option<PathBuf>,
}

impl Host {
    /// Whether both are the same machine, whoever logs in.
    #[must_use]
    pub fn is_same_machine(&self, other: &Self) -> bool {
        (&self.address, self.port) == (&other.address, other.port)
    }
}

/// How the server is run on every node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The binary to deploy; `None` is the bundled natsd of the guest's architecture.
    pub binary: Option<PathBuf>,
    /// Client port.
    pub client_port: u16,
    /// Route port.
    pub cluster_port: u16,
    /// Monitoring port.
    pub monitor_port: u16,
    /// Log level.
    pub log: LogLevel,
    /// Passed through to the server's config file.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl Eq for Server {}

/// Server log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// No extra flag.
    Info,
    /// `-D`.
    Debug,
    /// `-DV`.
    Trace,
}

/// Where a node can be reached once its machine exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address that the other nodes and this machine use.
    pub address: IpAddr,
    /// Client port.
    pub client_port: u16,
    /// Route port.
    pub cluster_port: u16,
    /// Monitoring port.
    pub monitor_port: u16,
}

impl Endpoint {
    /// Where clients connect.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.client_port)
    }

    /// Where the other servers connect.
    #[must_use]
    pub fn route(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.cluster_port)
    }

    /// Where monitoring answers.
    #[must_use]
    pub fn monitor(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.monitor_port)
    }
}
