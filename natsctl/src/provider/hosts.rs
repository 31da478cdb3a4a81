//! Machines that exist already: Linux hosts over SSH, with root or password-less sudo.
//!
//! `list` is who answers, `create` only checks, `destroy` has nothing to remove (what natsctl
//! put on the machine is taken off by `deploy`), and power is the owner's business.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    Capabilities, Machine, MachineState, Opened, Power, Progress, Provider, ProviderError,
};
use crate::remote::host_key::{Found, Trust};
use crate::remote::keys;
use crate::remote::ssh::{Login, Ssh};
use crate::remote::{BoxFuture, Command, Remote, RemoteError};
use crate::state::ClusterDir;
use crate::topology::{Host, Node, Topology};

/// From the first packet to the accepted key.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A machine that is there takes a connection within a round trip.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
const CHECK_LIMIT: Duration = Duration::from_secs(20);

/// The given machines of one cluster.
pub struct Hosts {
    cluster: String,
    dir: PathBuf,
    hosts: Vec<(String, Host)>,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Hosts {
    /// Names the machines; nothing is sent yet.
    ///
    /// # Errors
    /// When a node does not say where its machine is.
    pub fn new(topology: &Topology, dir: &ClusterDir) -> Result<Self, ProviderError> {
        let located = topology.nodes.iter().map(|node| match &node.host {
            Some(host) => Ok((node.name.clone(), host.clone())),
            None => Err(ProviderError {
                attempt: format!("cannot find the machine of node `{}`", node.name),
                node: Some(node.name.clone()),
                cause: Some("it has no `address` in cluster.yaml".into()),
                hint: Some("add `address:` (and `user:`), then: natsctl up".into()),
                transient: false,
            }),
        });
        let hosts = located.collect::<Result<_, _>>()?;
        Ok(Self { cluster: topology.name.clone(), dir: dir.path().to_owned(), hosts })
    }

    /// Adds machines that servers were put on: those that the file no longer names are still
    /// ours to clean.
    #[must_use]
    pub fn and_former(mut self, recorded: Vec<(String, Host)>) -> Self {
        let former = recorded.into_iter().filter(|(node, host)| {
            !self.hosts.iter().any(|(name, known)| name == node || known.is_same_machine(host))
        });
        let former: Vec<_> = former.collect();
        self.hosts.extend(former);
        self
    }

    fn host(&self, node: &str) -> Result<&Host, ProviderError> {
        let found = self.hosts.iter().find(|(name, _)| name == node).map(|(_, host)| host);
        found.ok_or_else(|| ProviderError {
            attempt: format!("cannot reach node `{node}`"),
            node: Some(node.to_owned()),
            cause: Some("cluster.yaml does not name its machine".into()),
            hint: Some("natsctl plan".into()),
            transient: false,
        })
    }

    fn own_key(&self) -> PathBuf {
        self.dir.join("id_ed25519")
    }

    fn ssh(&self, node: &str, learn: bool) -> Result<Ssh, ProviderError> {
        let host = self.host(node)?;
        let loaded = match &host.identity {
            Some(file) => keys::load(&expand_home(file)),
            None => keys::load_or_make(&self.own_key(), &format!("natsctl {}", self.cluster)),
        };
        let key = loaded.map_err(|error| self.failed("reach", node, host, error.into()))?;
        let known = etcetera::home_dir().ok().map(|home| home.join(".ssh").join("known_hosts"));
        Ok(Ssh::new(Login {
            host: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            key: Arc::new(key),
            trust: Trust::Known {
                host: host.address.clone(),
                port: host.port,
                user_file: known,
                recorded: self.dir.join("known_hosts"),
                learn,
            },
            connect_timeout: CONNECT_LIMIT,
        }))
    }

    /// Only `create` learns host keys: it is part of `up` and tells. All else changes nothing.
    async fn open(&self, node: &str, learn: bool) -> Result<(Ssh, Found), ProviderError> {
        let ssh = self.ssh(node, learn)?;
        let host = self.host(node)?;
        match ssh.connect().await {
            Ok(found) => Ok((ssh, found)),
            Err(error) => Err(self.not_reached(node, host, error)),
        }
    }

    fn not_reached(&self, node: &str, host: &Host, error: RemoteError) -> ProviderError {
        let target = format!("{}@{}", host.user, host.address);
        let hint = match &error {
            RemoteError::Refused { .. } if host.identity.is_none() => format!(
                "ssh-copy-id -f -p {} -i {}.pub {target}",
                host.port,
                self.own_key().display()
            ),
            RemoteError::Refused { .. } => {
                format!("ssh -p {} {target} must work with this `identity`", host.port)
            }
            RemoteError::HostKey { .. } => format!(
                "if the machine was set up anew on purpose, forget its old key: \
                 ssh-keygen -R {name} ; ssh-keygen -f {} -R {name}",
                self.dir.join("known_hosts").display(),
                name = known_name(host)
            ),
            _ => format!("ssh -p {} {target}", host.port),
        };
        let transient = matches!(error, RemoteError::Connect { .. } | RemoteError::Timeout { .. });
        ProviderError {
            hint: Some(hint),
            transient,
            ..self.failed("reach", node, host, error.into())
        }
    }

    fn failed(&self, verb: &str, node: &str, host: &Host, cause: Cause) -> ProviderError {
        ProviderError {
            attempt: format!("cannot {verb} {} for node `{node}`", host.address),
            node: Some(node.to_owned()),
            cause: Some(cause),
            hint: Some(format!("ssh -p {} {}@{}", host.port, host.user, host.address)),
            transient: false,
        }
    }

    /// Checks what every later step rests on: the way in, and root.
    async fn check(&self, node: &str, progress: &dyn Progress) -> Result<Machine, ProviderError> {
        let host = self.host(node)?;
        let seconds = CONNECT_LIMIT.as_secs();
        progress.step(&format!("connecting to {} (at most {seconds}s)", host.address));
        let (ssh, found) = self.open(node, true).await?;
        if let Found::Recorded { fingerprint } = found {
            let what =
                format!("{}: host key {fingerprint} seen for the first time", known_name(host));
            progress.warn(&format!("{what}, trusted from now on"));
        }
        progress.step("checking for root");
        let ask = Command {
            script: "id -u; uname -s".to_owned(),
            stdin: Vec::new(),
            root: true,
            timeout: CHECK_LIMIT,
        };
        let output = match ssh.run(&ask).await {
            Ok(output) => output,
            Err(error) => return Err(self.no_root(node, host, error.into())),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["0", "Linux"] => {}
            ["0", system] => {
                let cause = format!("it runs {system}, natsctl needs Linux");
                return Err(self.failed("use", node, host, cause.into()));
            }
            _ => {
                let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(self.no_root(node, host, words.into()));
            }
        }
        Ok(machine(node, host, MachineState::Running, resolve(host).await))
    }

    fn no_root(&self, node: &str, host: &Host, cause: Cause) -> ProviderError {
        let hint = format!(
            "echo '{} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/natsctl (as root on {}), or `user: root`",
            host.user, host.address
        );
        ProviderError { hint: Some(hint), ..self.failed("become root on", node, host, cause) }
    }

    /// All machines at once; with `probe`, whether each takes a connection on its SSH port.
    async fn machines(&self, probe: bool) -> Vec<Machine> {
        let mut probes = JoinSet::new();
        for (index, (node, host)) in self.hosts.iter().cloned().enumerate() {
            probes.spawn(async move {
                let address = timeout(PROBE_LIMIT, resolve(&host)).await.ok().flatten();
                let state = match address {
                    Some(address) if probe && answers(address, host.port).await => {
                        MachineState::Running
                    }
                    _ => MachineState::Unknown,
                };
                (index, machine(&node, &host, state, address))
            });
        }
        let mut machines = probes.join_all().await;
        machines.sort_by_key(|(index, _)| *index);
        machines.into_iter().map(|(_, machine)| machine).collect()
    }
}

impl Provider for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            creates_machines: false,
            power_cut: false,
            parallel_creates: self.hosts.len().max(1),
        }
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        Box::pin(async { Ok(self.machines(true).await) })
    }

    fn known(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        Box::pin(async { Ok(self.machines(false).await) })
    }

    fn create<'a>(
        &'a self,
        node: &'a Node,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.check(&node.name, progress))
    }

    fn destroy<'a>(&'a self, _: &'a Machine) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    fn power<'a>(
        &'a self,
        machine: &'a Machine,
        power: Power,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        let verb = match power {
            Power::On => "boot",
            Power::Off => "shut down",
            Power::Cut => "cut the power of",
        };
        Box::pin(async move {
            let host = self.host(&machine.node)?;
            let cause = "a machine of provider `hosts` is not ours to power";
            let hint =
                format!("natsctl stop {0}, or natsctl kill {0}, act on its server", machine.node);
            let error = self.failed(verb, &machine.node, host, cause.into());
            Err(ProviderError { hint: Some(hint), ..error })
        })
    }

    fn reach<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Opened, ProviderError>> {
        Box::pin(async move {
            let (ssh, _) = self.open(&machine.node, false).await?;
            let ssh: Box<dyn Remote> = Box::new(ssh);
            Ok((machine.clone(), ssh))
        })
    }
}

fn machine(node: &str, host: &Host, state: MachineState, address: Option<IpAddr>) -> Machine {
    Machine { node: node.to_owned(), id: known_name(host), state, address }
}

/// As `known_hosts` names it.
fn known_name(host: &Host) -> String {
    match host.port {
        22 => host.address.clone(),
        port => format!("[{}]:{port}", host.address),
    }
}

async fn resolve(host: &Host) -> Option<IpAddr> {
    let found: Vec<_> = lookup_host((host.address.as_str(), host.port)).await.ok()?.collect();
    let first_v4 = found.iter().find(|address| address.is_ipv4());
    first_v4.or_else(|| found.first()).map(std::net::SocketAddr::ip)
}

async fn answers(address: IpAddr, port: u16) -> bool {
    timeout(PROBE_LIMIT, TcpStream::connect((address, port))).await.is_ok_and(|c| c.is_ok())
}

/// `~/.ssh/id_ed25519`, as people write it.
fn expand_home(file: &std::path::Path) -> PathBuf {
    match (file.strip_prefix("~"), etcetera::home_dir()) {
        (Ok(rest), Ok(home)) => home.join(rest),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(identity: Option<PathBuf>) -> Host {
        Host { address: "127.0.0.1".into(), user: "ubuntu".into(), port: 1, identity }
    }

    fn hosts(folder: &std::path::Path, identity: Option<PathBuf>) -> Hosts {
        let hosts = vec![("node1".to_owned(), host(identity))];
        Hosts { cluster: "demo".into(), dir: folder.to_owned(), hosts }
    }

    struct Silent;
    impl Progress for Silent {
        fn step(&self, _: &str) {}
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_node_and_next_command() {
        let folder = tempfile::tempdir().unwrap();
        let provider = hosts(folder.path(), None);
        let error = provider.check("node1", &Silent).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot reach 127.0.0.1 for node `node1`");
        assert_eq!(error.hint.as_deref(), Some("ssh -p 1 ubuntu@127.0.0.1"));
        assert!(error.transient);
        let states: Vec<_> = provider.machines(true).await.into_iter().map(|m| m.state).collect();
        assert_eq!(states, [MachineState::Unknown]);
    }

    #[tokio::test]
    async fn machines_are_known_without_asking_whether_they_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut provider = hosts(folder.path(), None);
        provider.hosts[0].1.port = listener.local_addr().unwrap().port();
        let listed = provider.list().await.unwrap();
        assert_eq!(listed[0].state, MachineState::Running);
        let known = provider.known().await.unwrap();
        assert_eq!(known[0].state, MachineState::Unknown);
        assert_eq!(known[0].address, listed[0].address);
    }

    #[tokio::test]
    async fn a_missing_identity_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let provider = hosts(folder.path(), Some(folder.path().join("nosuch")));
        let error = provider.check("node1", &Silent).await.unwrap_err();
        let cause = error.cause.unwrap().to_string();
        assert!(cause.starts_with("cannot read the key ") && cause.ends_with("nosuch"), "{cause}");
    }

    #[tokio::test]
    async fn power_is_refused_with_what_can_be_done_instead() {
        let folder = tempfile::tempdir().unwrap();
        let provider = hosts(folder.path(), None);
        let machine = machine("node1", &host(None), MachineState::Running, None);
        let error = provider.power(&machine, Power::Cut).await.unwrap_err();
        assert!(error.hint.unwrap().contains("natsctl kill node1"));
    }

    #[test]
    fn machines_that_the_file_no_longer_names_are_known_until_they_are_clean() {
        let folder = tempfile::tempdir().unwrap();
        let at = |address: &str| Host { address: address.into(), ..host(None) };
        let recorded = [
            ("node1", at("10.0.0.1")),
            // Renamed to node1: the machine is in use.
            ("old1", host(None)),
            ("node2", at("10.0.0.2")),
        ];
        let recorded = recorded.map(|(node, host)| (node.to_owned(), host)).to_vec();
        let provider = hosts(folder.path(), None).and_former(recorded);
        let names: Vec<&str> = provider.hosts.iter().map(|(node, _)| node.as_str()).collect();
        assert_eq!(names, ["node1", "node2"]);
        assert_eq!(provider.host("node1").unwrap().address, "127.0.0.1");
    }

    #[test]
    fn a_refused_key_of_ours_comes_with_the_command_that_installs_it() {
        let folder = tempfile::tempdir().unwrap();
        let provider = hosts(folder.path(), None);
        let refused = RemoteError::Refused { label: "x".into(), key: "SHA256:y".into() };
        let hint = provider.not_reached("node1", &host(None), refused).hint.unwrap();
        assert!(
            hint.starts_with("ssh-copy-id -f -p 1 -i ") && hint.ends_with("ubuntu@127.0.0.1"),
            "{hint}"
        );
    }
}
