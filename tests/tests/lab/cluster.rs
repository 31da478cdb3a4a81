//! A cluster in the lab as its operator sees it: a folder with a cluster.yaml, and `natsctl`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use blackbox::lab::{Lab, run};
use natsctl::remote::keys;

/// A folder with a cluster.yaml, state of its own, and the lab around it.
pub(crate) struct Cluster {
    pub(crate) lab: Lab,
    pub(crate) folder: tempfile::TempDir,
}

/// What `natsctl` left.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Cluster {
    /// Three nodes made by the played Multipass.
    pub(crate) fn of_multipass(server: &Path) -> Self {
        let cluster = Self { lab: Lab::enter(), folder: tempfile::tempdir().unwrap() };
        cluster.write(
            "multipass",
            server,
            &["node1", "node2", "node3"].map(|node| (node, String::new())),
        );
        cluster
    }

    /// Three machines that exist already and take one key.
    pub(crate) fn of_hosts(server: &Path) -> Self {
        let cluster = Self { lab: Lab::enter(), folder: tempfile::tempdir().unwrap() };
        let identity = cluster.folder.path().join("id");
        keys::load_or_make(&identity, "operator").unwrap();
        let nodes = ["node1", "node2", "node3"].map(|node| {
            let address = cluster.lab.guest(node, &identity.with_extension("pub"));
            (node, format!(", address: {address}, user: ubuntu, identity: {}", identity.display()))
        });
        cluster.write("hosts", server, &nodes);
        cluster
    }

    fn write(&self, provider: &str, server: &Path, nodes: &[(&str, String)]) {
        let rows: String =
            nodes.iter().map(|(node, more)| format!("  - {{ name: {node}{more} }}\n")).collect();
        let text = format!(
            "version: 1\nname: demo\nprovider: {provider}\nserver:\n  binary: {}\nnodes:\n{rows}",
            server.display()
        );
        std::fs::write(self.folder.path().join("cluster.yaml"), text).unwrap();
    }

    /// Swaps the server binary in cluster.yaml.
    pub(crate) fn use_server(&self, old: &Path, new: &Path) {
        let file = self.folder.path().join("cluster.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace(&old.display().to_string(), &new.display().to_string());
        std::fs::write(&file, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(built("natsctl", "NATSCTL_UNDER_TEST"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("NATSCTL_STATE_DIR", self.state())
            .stdin(Stdio::null());
        command
    }

    /// Where its state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs `natsctl` to its end.
    pub(crate) fn natsctl(&self, arguments: &[&str]) -> Ended {
        let begin = Instant::now();
        let Output { status, stdout, stderr } = run(&mut self.command(arguments));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            code: status.code().unwrap_or(-1),
            stdout: text(&stdout),
            stderr: text(&stderr),
        };
        eprintln!("  natsctl {} -> {} in {:?}", arguments.join(" "), ended.code, begin.elapsed());
        ended
    }

    /// Starts `natsctl` and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a root shell's script in the guest of a node.
    pub(crate) fn in_guest(&self, guest: &str, script: &str) -> String {
        self.lab.script(&["sh", guest, script])
    }

    /// Client URL of a guest's server.
    pub(crate) fn url(&self, guest: &str) -> String {
        let list = self.lab.script(&["list"]);
        let row = list.lines().find(|row| row.starts_with(&format!("{guest} "))).unwrap();
        format!("nats://{}:4222", row.split(' ').nth(1).unwrap())
    }
}

impl Ended {
    /// Fails the test unless it ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless it failed, not by accident, and said each of these.
    #[track_caller]
    pub(crate) fn failed_saying(self, words: &[&str]) -> Self {
        assert!([4, 5, 7].contains(&self.code), "exit {}\nstderr: {}", self.code, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in stderr: {}", self.stderr);
        }
        self
    }
}

/// The reference server, which is on every machine that runs these tests.
pub(crate) fn nats_server() -> PathBuf {
    let path =
        std::env::var_os("NATS_SERVER_BIN").expect("NATS_SERVER_BIN names a stock nats-server");
    PathBuf::from(path)
}

/// Our own.
pub(crate) fn natsd() -> PathBuf {
    built("natsd", "NATSD_UNDER_TEST")
}

/// A binary of this workspace: named by a variable, else beside the test's own.
fn built(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(path.is_file(), "{} is not built: cargo build", path.display());
    path
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
