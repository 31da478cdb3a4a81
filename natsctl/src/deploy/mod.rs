//! Puts a server on a machine and keeps it in service: binary, config, process.
//!
//! Works through a [`Remote`](crate::remote::Remote) alone, so a VM, a host and this machine
//! are treated alike. What is there is found by looking ([`Service::facts`]), never remembered.
//! A running server is never changed under its feet: everything new is uploaded beside it, and
//! stop, swap, start is one script. So whatever interrupts it, the next look tells the truth.

pub mod binary;
pub mod config;
pub mod ports;
pub mod ready;
pub mod service;

pub use binary::{Binary, BinaryError};
pub use config::{Form, Wanted, further_routes, listening_ports, without_routes};
pub use ready::ready;
pub use service::{Facts, Layout, Service};

use std::path::PathBuf;

use crate::remote::{Output, RemoteError};

/// Why a server could not be put or kept in service.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The machine could not be acted on.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// No fitting binary.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// A step ran on the machine and failed there.
    #[error("{attempt} failed (exit {status}): {said}")]
    Step {
        /// What was attempted.
        attempt: String,
        /// Its exit status.
        status: i32,
        /// Its last words.
        said: String,
    },
    /// The binary on the machine is not the one that was sent.
    #[error("the copy of {} arrived damaged: sha256 {seen}, expected {expected}", path.display())]
    Damaged {
        /// What was sent.
        path: PathBuf,
        /// Hash there.
        seen: String,
        /// Hash here.
        expected: String,
    },
    /// The binary does not run there.
    #[error("{} does not run there: {said}", path.display())]
    DoesNotRun {
        /// What was sent.
        path: PathBuf,
        /// What the machine said.
        said: String,
    },
    /// The server does not take the configuration it is to have; it was not touched.
    #[error("the server refuses its new configuration: {said}")]
    ConfigRefused {
        /// What it said.
        said: String,
    },
    /// Somebody else listens on a port the server needs.
    #[error("port {port} ({purpose}) is in use{by}")]
    PortTaken {
        /// The port.
        port: u16,
        /// `client_port`, `cluster_port`, `monitor_port`.
        purpose: &'static str,
        /// ` by nginx (pid 12)`, or nothing when that cannot be told.
        by: String,
    },
    /// Not enough room for the binary.
    #[error("the disk has {free_kib} KiB free in {folder}, the server needs {needed_kib} KiB")]
    DiskFull {
        /// Free space.
        free_kib: u64,
        /// Where.
        folder: String,
        /// Needed space.
        needed_kib: u64,
    },
    /// The server started and ended again.
    #[error("the server ended right after its start: {said}")]
    Died {
        /// Its last words.
        said: String,
    },
    /// The server runs but does not serve.
    #[error("the server did not answer at {address} within {seconds}s: {said}")]
    Silent {
        /// Monitoring address.
        address: String,
        /// The deadline.
        seconds: u64,
        /// Why, as last seen.
        said: String,
    },
    /// Another server answers where ours should.
    #[error("at {address} answers `{seen}`, not `{expected}`")]
    Stranger {
        /// Monitoring address.
        address: String,
        /// Its name.
        seen: String,
        /// Name of the node.
        expected: String,
    },
}

/// Turns a failed output into an error that carries its last words.
pub(crate) fn succeeded(output: Output, attempt: &str) -> Result<Output, DeployError> {
    if output.status == 0 {
        return Ok(output);
    }
    Err(DeployError::Step {
        attempt: attempt.to_owned(),
        status: output.status,
        said: last_words(&output),
    })
}

/// The last lines somebody said, stderr first, for quoting in an error.
pub(crate) fn last_words(output: &Output) -> String {
    let said = if output.stderr.iter().all(u8::is_ascii_whitespace) {
        &output.stdout
    } else {
        &output.stderr
    };
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(3);
    let words = lines.get(from..).unwrap_or_default().join("; ");
    if words.is_empty() { "it said nothing".into() } else { words }
}
