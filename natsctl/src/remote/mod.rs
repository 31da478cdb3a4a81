//! Running things on a machine: commands, files, streams. One trait, one file per way.
//!
//! Nothing here knows what NATS is. Every call has a deadline; "the road broke" (`RemoteError`)
//! is never mixed up with "the command failed" (`Output::status`).

pub mod host_key;
pub mod keys;
pub mod local;
pub mod ssh;

use std::path::Path;
use std::time::Duration;

use crate::provider::BoxFuture;

/// A command for a remote POSIX shell.
#[derive(Clone, Debug)]
pub struct Command {
    /// Shell text; use [`quote`] for every variable part.
    pub script: String,
    /// Bytes for its standard input.
    pub stdin: Vec<u8>,
    /// Run as root (by `sudo -n` when the login user is not root).
    pub root: bool,
    /// It is ended and reported as [`RemoteError::Timeout`] after this time.
    pub timeout: Duration,
}

/// What a finished command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n when ended by signal n.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// A way to act on one machine.
pub trait Remote: Send + Sync {
    /// Who and where, for error texts: `ubuntu@10.0.0.4:22`, `this machine`.
    fn label(&self) -> String;

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When the machine could not be asked; a failing command is an `Output`.
    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, RemoteError>>;

    /// Copies a local file to an absolute path: to a temporary name, synced, checked, renamed.
    ///
    /// # Errors
    /// The old file is untouched then.
    fn upload<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
        mode: u32,
    ) -> BoxFuture<'a, Result<(), RemoteError>>;

    /// Runs a command and hands over its output line by line until it ends or `on_line` says
    /// stop by returning false.
    ///
    /// # Errors
    /// When the machine could not be asked or the connection broke.
    fn follow<'a>(
        &'a self,
        command: &'a Command,
        on_line: &'a mut (dyn FnMut(&str) -> bool + Send),
    ) -> BoxFuture<'a, Result<(), RemoteError>>;
}

/// Why a machine could not be acted on.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No connection.
    #[error("cannot connect to {label}")]
    Connect {
        /// Who and where.
        label: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The machine's host key is not the planted or remembered one.
    #[error("{label} shows host key {seen}, expected {expected}")]
    HostKey {
        /// Who and where.
        label: String,
        /// Fingerprint shown.
        seen: String,
        /// Fingerprint expected.
        expected: String,
    },
    /// Our key was refused.
    #[error("{label} refused the key {key}")]
    Refused {
        /// Who and where.
        label: String,
        /// Fingerprint or file of the key.
        key: String,
    },
    /// It took too long.
    #[error("{what} on {label} took longer than {}s", limit.as_secs())]
    Timeout {
        /// Who and where.
        label: String,
        /// What was running.
        what: String,
        /// The deadline.
        limit: Duration,
    },
    /// The connection broke, or a file could not be written.
    #[error("{what} on {label}")]
    Broken {
        /// Who and where.
        label: String,
        /// What was attempted.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Quotes one word for a POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
