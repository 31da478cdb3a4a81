//! The ports file: where a server that was told to choose its ports says which it got.
//!
//! `<folder>/<program>_<pid>.ports`, a JSON object of URL lists; removed at a clean exit.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What a server listens on.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Clients.
    pub client: SocketAddr,
    /// Routes.
    pub cluster: Option<SocketAddr>,
    /// Monitoring.
    pub monitor: Option<SocketAddr>,
    /// WebSocket clients.
    pub websocket: Option<SocketAddr>,
    /// Which of them ask for TLS.
    pub secure: Secure,
}

/// Which listeners ask for TLS.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "as in `Listening`")]
#[expect(clippy::struct_excessive_bools, reason = "one for each listener")]
pub struct Secure {
    pub client: bool,
    pub cluster: bool,
    pub monitor: bool,
    pub websocket: bool,
}

/// A written ports file; it is removed when this is dropped.
#[derive(Debug)]
pub struct PortsFile(PathBuf);

#[derive(Serialize)]
struct Urls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    monitoring: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    websocket: Vec<String>,
}

impl PortsFile {
    /// Writes the file whole: to another name first, then renamed.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(folder: &Path, program: &str, listening: &Listening) -> io::Result<Self> {
        let list = |secure: bool, (clear, tls): (&str, &str), address: Option<SocketAddr>| {
            let scheme = if secure { tls } else { clear };
            address.map(|address| format!("{scheme}://{address}")).into_iter().collect()
        };
        let secure = listening.secure;
        let urls = Urls {
            nats: list(secure.client, ("nats", "tls"), Some(listening.client)),
            monitoring: list(secure.monitor, ("http", "https"), listening.monitor),
            cluster: list(secure.cluster, ("nats", "tls"), listening.cluster),
            websocket: list(secure.websocket, ("ws", "wss"), listening.websocket),
        };
        let path = folder.join(format!("{program}_{}.ports", std::process::id()));
        let unfinished = path.with_extension("ports.new");
        std::fs::write(&unfinished, serde_json::to_string(&urls)?)?;
        std::fs::rename(&unfinished, &path)?;
        Ok(Self(path))
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        drop(std::fs::remove_file(&self.0));
    }
}
