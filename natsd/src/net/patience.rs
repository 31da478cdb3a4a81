//! How long a peer may take to read (`write_deadline`, `write_timeout`), and how much it may say
//! before others have their turn.

use std::time::Duration;

use super::desk::READ_BYTES;
use crate::config::{Cluster, Limits, WriteTimeout};

/// One read fills no more than this part of a queue. A producer pauses after a read, not within:
/// with half a queue read at once, `max_pending: 1MB` cut subscribers off that read as fast as they
/// could.
const READ_PART: usize = 16;
/// As much is read at once in any case.
const READ_LEAST: usize = 16 * 1024;

/// What a peer that does not keep up gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Within this time it must have read what waited at the beginning.
    pub deadline: Duration,
    /// As long as it reads anything it gets as much time again.
    pub retries: bool,
    /// So many bytes of it are read at once.
    pub most_at_once: usize,
}

impl Patience {
    /// With clients: whoever is late is cut off, unless configured otherwise.
    #[must_use]
    pub fn with_clients(limits: &Limits) -> Self {
        Self {
            deadline: limits.write_deadline,
            retries: limits.write_timeout == WriteTimeout::Retry,
            most_at_once: most_at_once(limits),
        }
    }

    /// With peers: only who reads nothing at all is cut off, unless configured otherwise.
    #[must_use]
    pub fn with_peers(cluster: Option<&Cluster>, limits: &Limits) -> Self {
        let deadline = cluster.and_then(|cluster| cluster.write_deadline);
        Self {
            deadline: deadline.unwrap_or(limits.write_deadline),
            retries: cluster.is_none_or(|held| held.write_timeout != WriteTimeout::Close),
            most_at_once: most_at_once(limits),
        }
    }
}

fn most_at_once(limits: &Limits) -> usize {
    (limits.max_pending / READ_PART).clamp(READ_LEAST, READ_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_does_not_fill_a_queue() {
        let most = |max_pending| {
            let limits = Limits { max_pending, ..Limits::default() };
            Patience::with_clients(&limits).most_at_once
        };
        assert_eq!([64 << 20, 1 << 20, 1000].map(most), [READ_BYTES, 64 << 10, READ_LEAST]);
    }
}
