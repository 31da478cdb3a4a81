//! How long a peer may take to read (`write_deadline`, `write_timeout`).

use std::time::Duration;

use crate::config::{Cluster, Limits, WriteTimeout};

/// What a peer that does not keep up gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Within this time it must have read what waited at the beginning.
    pub deadline: Duration,
    /// As long as it reads anything it gets as much time again.
    pub retries: bool,
}

impl Patience {
    /// With clients: whoever is late is cut off, unless configured otherwise.
    #[must_use]
    pub fn with_clients(limits: &Limits) -> Self {
        Self {
            deadline: limits.write_deadline,
            retries: limits.write_timeout == WriteTimeout::Retry,
        }
    }

    /// With peers: only who reads nothing at all is cut off, unless configured otherwise.
    #[must_use]
    pub fn with_peers(cluster: Option<&Cluster>, limits: &Limits) -> Self {
        let deadline = cluster.and_then(|cluster| cluster.write_deadline);
        Self {
            deadline: deadline.unwrap_or(limits.write_deadline),
            retries: cluster.is_none_or(|held| held.write_timeout != WriteTimeout::Close),
        }
    }
}
