//! What `state.json` says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::topology::{Host, Topology, Vm};

/// How a cluster was brought up, and what was made for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of this record.
    pub version: u32,
    /// The cluster.yaml it came from, absolute.
    pub file: PathBuf,
    /// Whether `--provider` overrode the file.
    pub provider_overridden: bool,
    /// The cluster as last wanted, overrides included.
    pub topology: Topology,
    /// What we did, by node name; nodes being removed are here until they are gone.
    pub nodes: BTreeMap<String, NodeRecord>,
}

impl State {
    /// The existing machines that servers were put on, by the name of the node they were for.
    #[must_use]
    pub fn hosts(&self) -> Vec<(String, Host)> {
        let host =
            |(node, record): (&String, &NodeRecord)| Some((node.clone(), record.host.clone()?));
        self.nodes.iter().filter_map(host).collect()
    }
}

/// What we did for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The size its machine was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
    /// The existing machine its server was put on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Set while we hold it down on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

/// A node we took down on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// `killed` or `stopped`.
    pub how: String,
    /// When, in seconds since 1970.
    pub at: i64,
}
