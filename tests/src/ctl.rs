//! Runs natsctl as a person would, in a folder and with a state directory of its own.
//!
//! The server is the file named by `NATSD_UNDER_TEST`, else the natsd that cargo builds. Every
//! sandbox uses ports of its own, and takes everything down when it is dropped.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::server::built;

/// What a run of natsctl left.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Run {
    /// Asserts the exit code; shows everything when it is another.
    ///
    /// # Panics
    /// When it is another.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Its stdout as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(json) => json,
            Err(error) => panic!("not JSON ({error}): {}", self.stdout),
        }
    }
}

/// A folder with a cluster.yaml and a state directory.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
    /// Client, cluster and monitor port.
    pub ports: [u16; 3],
}

/// The server binary under test.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn server_binary() -> PathBuf {
    match std::env::var_os("NATSD_UNDER_TEST").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => built("natsd"),
    }
}

/// The natsctl under test: `NATSCTL_UNDER_TEST`, else the one that cargo builds.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn natsctl_binary() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let find = || match std::env::var_os("NATSCTL_UNDER_TEST").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => built("natsctl"),
    };
    FOUND.get_or_init(find).clone()
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty folder, and three ports nobody uses.
    ///
    /// # Panics
    /// When there is neither.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without a folder has nothing to say")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // All addresses: nobody is to listen on these ports on any loopback address.
        let listeners = [0; 3].map(|_| TcpListener::bind(("0.0.0.0", 0)).expect("a free port"));
        let ports = listeners.each_ref().map(|one| one.local_addr().expect("its port").port());
        Self { folder, ports }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a cluster.yaml for cluster `name` with these nodes; `server` is added under
    /// `server:`, each line indented by two spaces.
    pub fn cluster(&self, name: &str, nodes: &[&str], server: &str) {
        let [client, cluster, monitor] = self.ports;
        let nodes: String = nodes.iter().map(|node| format!("  - name: {node}\n")).collect();
        self.write(
            "cluster.yaml",
            &format!(
                "version: 1\nname: {name}\nprovider: local\nserver:\n  client_port: {client}\n  \
                 cluster_port: {cluster}\n  monitor_port: {monitor}\n{server}nodes:\n{nodes}"
            ),
        );
    }

    /// Writes a file into the folder.
    ///
    /// # Panics
    /// When it cannot.
    #[expect(clippy::expect_used, reason = "a test without its file has nothing to say")]
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    /// Writes a program into the folder and names it.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its file has nothing to say")]
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, text);
        let path = self.path().join(name);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a mode");
        path
    }

    /// A natsctl command in this sandbox, not yet started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(natsctl_binary());
        command
            .args(args)
            .current_dir(self.path())
            .env("NATSCTL_STATE_DIR", self.path().join("state"))
            .env("NATSCTL_NATSD", server_binary())
            .env_remove("NATSCTL_LOOPBACK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs natsctl to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without natsctl has nothing to say")]
    pub fn run(&self, args: &[&str]) -> Run {
        let output = self.command(args).output().expect("natsctl starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Command lines of processes that run something of this sandbox.
    #[must_use]
    pub fn processes(&self) -> Vec<String> {
        let folder = self.path().to_string_lossy().into_owned();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        entries
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&folder))
            .collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let state = self.path().join("state");
        let clusters = std::fs::read_dir(&state).into_iter().flatten().filter_map(Result::ok);
        for cluster in clusters {
            let name = cluster.file_name().to_string_lossy().into_owned();
            drop(self.run(&["down", "--yes", "--force", "--cluster", &name]));
        }
    }
}
