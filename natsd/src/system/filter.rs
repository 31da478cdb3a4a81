//! Which servers a request is for.

use serde::Deserialize;

use super::System;

/// Filters of a request: a server that does not fit stays silent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    server_name: String,
    cluster: String,
    host: String,
    /// Names must be equal; without it a part of the name does.
    exact_match: bool,
    tags: Vec<String>,
    domain: String,
}

impl Filter {
    /// Whether this server is meant.
    pub(super) fn fits(&self, system: &System) -> bool {
        let node = system.node();
        let config = node.config();
        let cluster = system.monitor.mesh().map(|mesh| mesh.name().name).unwrap_or_default();
        let fits = |wanted: &str, own: &str| {
            wanted.is_empty() || if self.exact_match { wanted == own } else { own.contains(wanted) }
        };
        fits(&self.server_name, &node.identity.name)
            && fits(&self.host, &config.client.host)
            && fits(&self.cluster, &cluster)
            // JetStream domains are not known here.
            && self.domain.is_empty()
            && self.tags.iter().all(|tag| config.tags.contains(&tag.to_lowercase()))
    }
}
