//! The servers that the tests of async-nats ask for: processes of what `NATSD_UNDER_TEST` names.
//!
//! async-nats has a helper crate of this name and with these functions in its repository, which
//! is not published; this one is ours.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server process; it ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    dir: TempDir,
    ports: Value,
}

/// Three servers that know each other.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

/// Starts a server without a configuration file.
pub fn run_basic_server() -> Server {
    run_server("")
}

/// Starts a server with this configuration file, on any port.
pub fn run_server(config: &str) -> Server {
    run_server_with_port(config, None)
}

/// Starts a server with this configuration file, on this port.
pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    start(config, port.unwrap_or("-1"), &[])
}

/// Starts a cluster whose servers have this configuration file.
pub fn run_cluster(config: &str) -> Cluster {
    // With JetStream a nats-server starts only where its routes are configured: the route ports
    // must be known beforehand.
    let ports = free_ports::<3>();
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    let start = |n: usize| {
        let (name, listen) = (format!("n{n}"), format!("nats://127.0.0.1:{}", ports[n]));
        let args = ["--cluster_name", "C1", "--cluster", &listen, "-n", &name, "--routes", &routes];
        start(config, "-1", &args)
    };
    Cluster { servers: (0..ports.len()).map(start).collect() }
}

/// Ports that nobody listens on; all are held at once, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    held.each_ref().map(|listener| listener.local_addr().expect("a bound port").port())
}

/// Sends a server into lame duck mode.
pub fn set_lame_duck_mode(server: &Server) {
    let pid = server.child.id().to_string();
    let status = Command::new("kill").args(["-USR2", &pid]).status().expect("kill runs");
    assert!(status.success(), "the server can be signalled");
}

fn start(config: &str, port: &str, args: &[&str]) -> Server {
    let binary = std::env::var_os("NATSD_UNDER_TEST").expect("NATSD_UNDER_TEST names a server");
    let dir = TempDir::new().expect("a directory");
    let log = File::create(dir.path().join("log")).expect("a log file");
    let mut command = Command::new(&binary);
    command.args(["-p", port]).arg("--ports_file_dir").arg(dir.path());
    command.arg("-sd").arg(dir.path()).args(args);
    if !config.is_empty() {
        command.args(["-c", config]);
    }
    let stdout = log.try_clone().expect("a shared log file");
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(log).spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
    let mut server = Server { child, dir, ports: Value::Null };
    server.wait_ports();
    server
}

impl Server {
    /// Where clients connect.
    pub fn client_url(&self) -> String {
        self.url("nats", "localhost")
    }

    /// The port where clients connect.
    pub fn client_port(&self) -> u16 {
        let url = self.client_url();
        url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL ends in a port")
    }

    fn url(&self, listener: &str, host: &str) -> String {
        let url = self.ports[listener][0].as_str().expect("the ports file names the listener");
        let (scheme, address) = url.split_once("://").expect("a URL has a scheme");
        let port = address.rsplit(':').next().expect("a URL has a port");
        format!("{scheme}://{host}:{port}")
    }

    fn wait_ports(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.ports.is_null() {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the server wrote no ports file:\n{}", self.log());
            sleep(Duration::from_millis(2));
            self.ports = read_ports(self.dir.path()).unwrap_or_default();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn read_ports(dir: &Path) -> Option<Value> {
    let mut entries = std::fs::read_dir(dir).ok()?.flatten();
    let file = entries.find(|entry| entry.path().extension().is_some_and(|end| end == "ports"))?;
    serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Cluster {
    /// Where clients connect to the first server.
    pub fn client_url(&self) -> String {
        self.servers[0].client_url()
    }
}
