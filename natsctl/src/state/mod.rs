//! What natsctl remembers of a cluster: one folder each, under the user's state directory.
//!
//! `dir.rs` is the folder, its files and its lock; `record.rs` is what `state.json` says. What
//! is remembered is never trusted over `provider.list`: it answers how a cluster was brought
//! up, not what is running. Secrets live here too (the cluster's SSH keys), so the folder is
//! readable by its owner alone.

mod dir;
mod record;

pub use dir::{ClusterDir, Lock};
pub use record::{NodeRecord, Rest, State};

use std::path::PathBuf;

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no home directory to put state in.
    #[error("cannot tell where state belongs: no home directory; set NATSCTL_STATE_DIR")]
    NoHome,
    /// A file or folder refused.
    #[error("cannot {attempt} {}", path.display())]
    File {
        /// `read`, `write`, `create`, `remove`, `lock`.
        attempt: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `state.json` cannot be understood.
    #[error("cannot understand {}", path.display())]
    Corrupt {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another natsctl is changing this cluster.
    #[error("another natsctl ({holder}) is working on cluster `{cluster}`")]
    Busy {
        /// The cluster.
        cluster: String,
        /// What the lock file says: verb and pid.
        holder: String,
    },
}
