//! Machines by Multipass: launched with keys of our own, reached over SSH, never by `exec`.
//!
//! Only JSON is read (`answer.rs`), every call has a deadline (`client.rs`), every failure is
//! told by its meaning (`failure.rs`). An instance is ours when we claimed its name before it
//! was launched (`claim.rs`) and it shows the host key we planted (`cloud_init.rs`); others are
//! never touched, `purge` and `--all` never used.

mod answer;
mod claim;
mod client;
mod cloud_init;
mod failure;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::answer::Row;
use self::claim::Claim;
use self::client::{Answer, Client, Installed};
use self::failure::{Attempt, Kind};
use super::{
    Capabilities, Machine, MachineState, Opened, Power, Progress, Provider, ProviderError,
};
use crate::remote::host_key::Trust;
use crate::remote::ssh::{Login, Ssh};
use crate::remote::{BoxFuture, Command, Remote, RemoteError, keys};
use crate::state::ClusterDir;
use crate::topology::{Node, Topology};

/// Oldest version that has `stop --force` (the only hard power-off verb).
const FLOOR: (u32, u32) = (1, 14);
/// The default user of every Multipass image.
const USER: &str = "ubuntu";
/// A daemon that is well answers within a second; one that asks a guest may take five.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// A first launch downloads 500 to 700 MB.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What the daemon itself allows for a boot.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// From the first answer on port 22 to our key accepted: cloud-init may still be writing it.
const SSH_LIMIT: Duration = Duration::from_secs(120);
/// systemd gives its services 90 s to stop.
const OFF_LIMIT: Duration = Duration::from_secs(120);
/// Two launches at the same moment crashed daemons before 1.16.2.
const STAGGER: Duration = Duration::from_secs(1);

/// Makes and finds the virtual machines of one cluster.
pub struct Multipass {
    cluster: String,
    dir: PathBuf,
    client: Box<dyn Client>,
    last_launch: Mutex<Option<Instant>>,
    pause: Duration,
    stagger: Duration,
}

impl Multipass {
    /// Names the cluster and its state folder; nothing is asked or written yet.
    ///
    /// # Errors
    /// Never today; a provider that has to look first may.
    pub fn new(topology: &Topology, dir: &ClusterDir) -> Result<Self, ProviderError> {
        Ok(Self::with(&topology.name, dir.path().to_owned(), Box::new(Installed)))
    }

    fn with(cluster: &str, dir: PathBuf, client: Box<dyn Client>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            dir,
            client,
            last_launch: Mutex::new(None),
            pause: Duration::from_millis(500),
            stagger: STAGGER,
        }
    }

    fn instance(&self, node: &str) -> String {
        format!("{}-{node}", self.cluster)
    }

    fn claim(&self, node: &str) -> Claim {
        Claim::new(self.dir.join("nodes").join(node))
    }

    // --- asking ---

    async fn call(
        &self,
        attempt: Attempt<'_>,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Answer, ProviderError> {
        let answer = self.try_call(attempt, arguments, None, limit).await?;
        if answer.code == Some(0) { Ok(answer) } else { Err(attempt.refused(&answer)) }
    }

    async fn try_call(
        &self,
        attempt: Attempt<'_>,
        arguments: &[&str],
        stdin: Option<String>,
        limit: Duration,
    ) -> Result<Answer, ProviderError> {
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        self.client.call(arguments, stdin, limit).await.map_err(|error| attempt.unanswered(error))
    }

    /// All instances of everybody. `--no-ipv4` keeps the daemon from asking the guests.
    async fn rows(&self) -> Result<Vec<Row>, ProviderError> {
        let attempt = Attempt { verb: "ask multipass for its instances", about: None };
        let arguments = ["list", "--format", "json", "--no-ipv4"];
        let answer = self.call(attempt, &arguments, ASK_LIMIT).await?;
        answer::rows(&answer.stdout).ok_or_else(|| not_understood(attempt, &answer))
    }

    async fn state(&self, instance: &str) -> Result<Option<MachineState>, ProviderError> {
        let rows = self.rows().await?;
        Ok(rows.into_iter().find(|row| row.name == instance).map(|row| row.state))
    }

    /// Asks the daemon where a running machine is; it asks the guest.
    async fn ask_address(&self, node: &str) -> Result<Option<IpAddr>, ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "find the address of", about: Some((node, &instance)) };
        let arguments = ["info", &instance, "--format", "json"];
        let answer = self.call(attempt, &arguments, ASK_LIMIT).await?;
        let (_, address) = answer::details(&answer.stdout, &instance)
            .ok_or_else(|| not_understood(attempt, &answer))?;
        if let Some(address) = address {
            self.note(node, Some(address))?;
        }
        Ok(address)
    }

    fn note(&self, node: &str, address: Option<IpAddr>) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "remember", about: Some((node, &instance)) };
        let noted = self.claim(node).note(&instance, address);
        noted.map_err(|error| attempt.error(Kind::Other, error))
    }

    async fn ask_versions(&self) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "use multipass", about: None };
        let answer = self.call(attempt, &["version", "--format", "json"], ASK_LIMIT).await?;
        let (client, daemon) =
            answer::versions(&answer.stdout).ok_or_else(|| not_understood(attempt, &answer))?;
        let Some(daemon) = daemon else {
            // `version` does not say why the daemon did not answer; any other verb does.
            self.rows().await?;
            let cause = format!("multipass {client} is installed, its daemon does not answer");
            return Err(attempt.error(Kind::DaemonDown, cause));
        };
        for (who, version) in [("multipass", &client), ("multipassd", &daemon)] {
            if answer::major_minor(version).is_some_and(|version| version < FLOOR) {
                return Err(too_old(attempt, who, version));
            }
        }
        Ok(())
    }

    async fn check_driver(&self) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "use multipass", about: None };
        let answer = self.call(attempt, &["get", "local.driver"], ASK_LIMIT).await?;
        if answer.stdout.trim() != "virtualbox" {
            return Ok(());
        }
        let cause = "its driver is virtualbox, whose machines cannot reach each other by address";
        let mut error = attempt.error(Kind::Other, cause);
        error.hint = Some("multipass set local.driver=qemu (or hyperv on Windows)".into());
        Err(error)
    }

    // --- listing ---

    async fn machines(&self) -> Result<Vec<Machine>, ProviderError> {
        let claims = Claim::all(&self.dir.join("nodes"));
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows().await?;
        let ours = claims.into_iter().filter_map(|(node, claim)| {
            let id = self.instance(&node);
            let state = rows.iter().find(|row| row.name == id)?.state;
            let address = claim.address().filter(|_| state == MachineState::Running);
            Some(Machine { node, id, state, address })
        });
        let mut machines: Vec<Machine> = ours.collect();
        machines.sort_by(|a, b| a.node.cmp(&b.node));
        let silent = silent_nodes(&machines).await;
        for machine in &mut machines {
            if silent.contains(&machine.node) {
                // A guest that does not answer may make the daemon fail; the last known address
                // is then the best we have.
                let fresh = self.ask_address(&machine.node).await.ok().flatten();
                machine.address = fresh.or(machine.address);
            }
        }
        Ok(machines)
    }

    // --- making ---

    async fn make(&self, node: &Node, progress: &dyn Progress) -> Result<Machine, ProviderError> {
        let instance = self.instance(&node.name);
        let attempt = Attempt { verb: "create", about: Some((&node.name, &instance)) };
        let found = self.state(&instance).await?;
        if found.is_some() && !self.claim(&node.name).exists() {
            return Err(attempt.error(Kind::Exists, format!("instance {instance} already exists")));
        }
        let fresh = match found {
            None => {
                self.launch(node, progress).await?;
                true
            }
            Some(state) => {
                progress.step(&format!("found {instance}, {}", word(state)));
                self.bring_up(&node.name, state, progress).await?;
                false
            }
        };
        let machine = self.await_ssh(&node.name, fresh, progress).await?;
        self.await_cloud_init(&machine, fresh, progress).await?;
        Ok(machine)
    }

    async fn launch(&self, node: &Node, progress: &dyn Progress) -> Result<(), ProviderError> {
        let instance = self.instance(&node.name);
        let attempt = Attempt { verb: "launch", about: Some((&node.name, &instance)) };
        let user_data = self.user_data(&node.name).map_err(|e| attempt.error(Kind::Other, e))?;
        self.note(&node.name, None)?;
        self.stagger().await;
        let minutes = LAUNCH_LIMIT.as_secs() / 60;
        progress.step(&format!("launching {instance} ({}, at most {minutes} min)", node.vm.image));
        let arguments = launch_arguments(&instance, node);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // Our own deadline is the later one: theirs leaves a clearer answer.
        let limit = LAUNCH_LIMIT + Duration::from_secs(30);
        let answer = self.try_call(attempt, &arguments, Some(user_data), limit).await?;
        if answer.code == Some(0) {
            return Ok(());
        }
        if failure::kind(&answer) == Kind::InitTimeout {
            progress.warn(&format!("{instance}: {}", failure::words(&answer)));
            return Ok(());
        }
        self.forget_unless_there(&node.name, failure::kind(&answer)).await;
        Err(attempt.refused(&answer))
    }

    /// A failed launch leaves its instance behind or not; a claim without one is dropped.
    async fn forget_unless_there(&self, node: &str, kind: Kind) {
        let gone = matches!(self.state(&self.instance(node)).await, Ok(None));
        if gone || kind == Kind::Exists {
            self.claim(node).drop_it();
        }
    }

    fn user_data(&self, node: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let user = keys::load_or_make(&self.dir.join("id_ed25519"), &self.key_comment())?;
        let host = self.claim(node).host_key(&self.instance(node))?;
        Ok(cloud_init::user_data(&user, &host)?)
    }

    fn key_comment(&self) -> String {
        format!("natsctl {}", self.cluster)
    }

    async fn stagger(&self) {
        let mut last = self.last_launch.lock().await;
        if let Some(last) = *last {
            sleep(self.stagger.saturating_sub(last.elapsed())).await;
        }
        *last = Some(Instant::now());
    }

    /// Boots, resumes or undeletes a machine of ours, or waits for one that boots already.
    async fn bring_up(
        &self,
        node: &str,
        state: MachineState,
        progress: &dyn Progress,
    ) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        match state {
            MachineState::Running => return Ok(()),
            MachineState::Deleted => {
                let attempt = Attempt { verb: "recover", about: Some((node, &instance)) };
                self.call(attempt, &["recover", &instance], ASK_LIMIT).await?;
            }
            MachineState::Starting | MachineState::Unknown => {
                // `Unknown` is what Multipass says for most of a boot.
                if self.await_running(node, BOOT_LIMIT, progress).await? {
                    return Ok(());
                }
                progress.step(&format!("{instance} does not come up, cutting its power"));
                self.cut(node).await?;
            }
            MachineState::Stopped | MachineState::Suspended => {}
        }
        self.start(node, progress).await
    }

    async fn start(&self, node: &str, progress: &dyn Progress) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "start", about: Some((node, &instance)) };
        let seconds = BOOT_LIMIT.as_secs().to_string();
        progress.step(&format!("starting {instance} (at most {seconds}s)"));
        let arguments = ["start", &instance, "--timeout", &seconds];
        let started = self.call(attempt, &arguments, BOOT_LIMIT + Duration::from_secs(30)).await;
        // The daemon may have got there after its client gave up.
        match (started, self.state(&instance).await?) {
            (Ok(_), _) | (Err(_), Some(MachineState::Running)) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    async fn await_running(
        &self,
        node: &str,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<bool, ProviderError> {
        let instance = self.instance(node);
        progress.step(&format!("waiting for {instance} to boot (at most {}s)", limit.as_secs()));
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.state(&instance).await? {
                Some(MachineState::Running) => return Ok(true),
                Some(MachineState::Starting | MachineState::Unknown) => sleep(self.pause).await,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Waits until the machine shows our host key and takes our key.
    async fn await_ssh(
        &self,
        node: &str,
        fresh: bool,
        progress: &dyn Progress,
    ) -> Result<Machine, ProviderError> {
        let id = self.instance(node);
        progress.step(&format!("waiting for SSH (at most {}s)", SSH_LIMIT.as_secs()));
        let attempt = Attempt { verb: "reach", about: Some((node, &id)) };
        let deadline = Instant::now() + SSH_LIMIT;
        let mut last: ProviderError = attempt.error(Kind::Unreachable, "it has no address");
        while Instant::now() < deadline {
            if let Some(address) = self.ask_address(node).await? {
                let machine = Machine {
                    node: node.to_owned(),
                    id: id.clone(),
                    state: MachineState::Running,
                    address: Some(address),
                };
                match self.connect(&machine, address).await {
                    Ok(_) => return Ok(machine),
                    // Until cloud-init has placed our keys, a fresh sshd answers with its own.
                    Err(error) => {
                        let stranger = matches!(error, RemoteError::HostKey { .. });
                        last = not_reached(attempt, error);
                        if stranger && !fresh {
                            return Err(last);
                        }
                    }
                }
            }
            sleep(self.pause).await;
        }
        Err(last)
    }

    async fn connect(&self, machine: &Machine, address: IpAddr) -> Result<Ssh, RemoteError> {
        let ssh = self.ssh(machine, address)?;
        ssh.connect().await?;
        Ok(ssh)
    }

    fn ssh(&self, machine: &Machine, address: IpAddr) -> Result<Ssh, RemoteError> {
        let no_key = |error: keys::KeyError| RemoteError::Connect {
            label: machine.id.clone(),
            source: error.into(),
        };
        let key = keys::load_or_make(&self.dir.join("id_ed25519"), &self.key_comment());
        let host = self.claim(&machine.node).host_key(&machine.id).map_err(no_key)?;
        Ok(Ssh::new(Login {
            host: address.to_string(),
            port: 22,
            user: USER.to_owned(),
            key: Arc::new(key.map_err(no_key)?),
            trust: Trust::Planted(host.public_key().clone()),
            connect_timeout: Duration::from_secs(10),
        }))
    }

    /// Multipass calls a launch good when cloud-init has ended, well or not: look ourselves.
    async fn await_cloud_init(
        &self,
        machine: &Machine,
        fresh: bool,
        progress: &dyn Progress,
    ) -> Result<(), ProviderError> {
        let limit = if fresh { BOOT_LIMIT } else { SSH_LIMIT };
        progress.step(&format!("waiting for cloud-init (at most {}s)", limit.as_secs()));
        let (_, remote) = self.open(machine).await?;
        let attempt = Attempt { verb: "prepare", about: Some((&machine.node, &machine.id)) };
        let ask = Command {
            script: "uname -m >&2; command -v cloud-init >/dev/null || exit 0; \
                     cloud-init status --format json"
                .to_owned(),
            stdin: Vec::new(),
            root: false,
            timeout: Duration::from_secs(30),
        };
        let deadline = Instant::now() + limit;
        loop {
            let output = remote.run(&ask).await.map_err(|e| attempt.error(Kind::Unreachable, e))?;
            match Init::read(&output.stdout) {
                Init::Done => return Ok(()),
                Init::Failed(why) => {
                    // Our key and user are there, or this would not have been read.
                    progress
                        .warn(&format!("cloud-init on {} ended with an error: {why}", machine.id));
                    return Ok(());
                }
                Init::Busy if Instant::now() >= deadline => {
                    let cause = format!("cloud-init has not ended after {}s", limit.as_secs());
                    return Err(attempt.error(Kind::InitTimeout, cause));
                }
                Init::Busy => sleep(self.pause).await,
            }
        }
    }

    // --- power and removal ---

    async fn cut(&self, node: &str) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "cut the power of", about: Some((node, &instance)) };
        self.call(attempt, &["stop", "--force", &instance], ASK_LIMIT * 2).await?;
        self.await_off(attempt, &instance).await
    }

    /// From inside: a graceful `multipass stop` holds the daemon's only thread until the guest
    /// is down, for five minutes when it hangs.
    async fn shut_down(&self, machine: &Machine) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "shut down", about: Some((&machine.node, &machine.id)) };
        let (_, remote) = self.open(machine).await?;
        let poweroff = Command {
            script: "systemctl poweroff".to_owned(),
            stdin: Vec::new(),
            root: true,
            timeout: Duration::from_secs(20),
        };
        match remote.run(&poweroff).await {
            // The machine may go before it can answer.
            Ok(_) | Err(RemoteError::Broken { .. } | RemoteError::Timeout { .. }) => {}
            Err(error) => return Err(attempt.error(Kind::Unreachable, error)),
        }
        self.await_off(attempt, &machine.id).await
    }

    async fn await_off(&self, attempt: Attempt<'_>, instance: &str) -> Result<(), ProviderError> {
        let deadline = Instant::now() + OFF_LIMIT;
        while Instant::now() < deadline {
            match self.state(instance).await? {
                None | Some(MachineState::Stopped | MachineState::Deleted) => return Ok(()),
                _ => sleep(self.pause).await,
            }
        }
        let cause = format!("it is still up after {}s", OFF_LIMIT.as_secs());
        Err(attempt.error(Kind::Unreachable, cause))
    }

    async fn set_power(&self, machine: &Machine, power: Power) -> Result<Machine, ProviderError> {
        self.must_be_ours(machine, "change the power of")?;
        match power {
            Power::On => {
                let attempt = Attempt { verb: "start", about: Some((&machine.node, &machine.id)) };
                let state = self.state(&machine.id).await?.ok_or_else(|| {
                    attempt.error(Kind::Missing, format!("instance {} does not exist", machine.id))
                })?;
                self.bring_up(&machine.node, state, &Silent).await?;
                return self.await_ssh(&machine.node, false, &Silent).await;
            }
            Power::Off => self.shut_down(machine).await?,
            Power::Cut => self.cut(&machine.node).await?,
        }
        Ok(Machine { state: MachineState::Stopped, address: None, ..machine.clone() })
    }

    /// Sizes are settings of a stopped instance. The disk can only grow; Multipass says so
    /// itself otherwise.
    async fn change_size(&self, machine: &Machine, node: &Node) -> Result<Machine, ProviderError> {
        self.must_be_ours(machine, "change the size of")?;
        let attempt =
            Attempt { verb: "change the size of", about: Some((&machine.node, &machine.id)) };
        if self.state(&machine.id).await? != Some(MachineState::Stopped) {
            self.shut_down(machine).await?;
        }
        let mut outcome = Ok(());
        for (key, value) in [
            ("cpus", u64::from(node.vm.cpus)),
            ("memory", node.vm.memory_bytes),
            ("disk", node.vm.disk_bytes),
        ] {
            let setting = format!("local.{}.{key}={value}", machine.id);
            outcome = self.call(attempt, &["set", &setting], ASK_LIMIT).await.map(drop);
            if outcome.is_err() {
                break;
            }
        }
        // Refused or not, it was up before.
        let fresh = self.set_power(machine, Power::On).await;
        outcome.and(fresh)
    }

    fn must_be_ours(&self, machine: &Machine, verb: &str) -> Result<(), ProviderError> {
        if self.claim(&machine.node).exists() && machine.id == self.instance(&machine.node) {
            return Ok(());
        }
        let attempt = Attempt { verb, about: Some((&machine.node, &machine.id)) };
        Err(attempt.error(Kind::Exists, "there is no record that this natsctl made it"))
    }

    async fn remove(&self, machine: &Machine) -> Result<(), ProviderError> {
        let attempt = Attempt { verb: "remove", about: Some((&machine.node, &machine.id)) };
        let Some(state) = self.state(&machine.id).await? else {
            self.claim(&machine.node).drop_it();
            return Ok(());
        };
        self.must_be_ours(machine, "remove")?;
        if state == MachineState::Running {
            self.must_show_our_key(attempt, machine).await?;
        }
        let arguments = ["delete", "--purge", machine.id.as_str()];
        let deleted = self.call(attempt, &arguments, ASK_LIMIT * 3).await;
        match (deleted, self.state(&machine.id).await?) {
            (_, None) => {
                self.claim(&machine.node).drop_it();
                Ok(())
            }
            (Err(error), Some(_)) => Err(error),
            (Ok(_), Some(_)) => Err(attempt.error(Kind::Other, "it is still there afterwards")),
        }
    }

    /// Someone may have removed our machine and made another of the same name: it answers with
    /// another host key. One that does not answer at all is judged by the claim alone.
    async fn must_show_our_key(
        &self,
        attempt: Attempt<'_>,
        machine: &Machine,
    ) -> Result<(), ProviderError> {
        let Some(address) = machine.address else { return Ok(()) };
        match self.connect(machine, address).await {
            Err(error @ RemoteError::HostKey { .. }) => Err(attempt.error(Kind::Exists, error)),
            _ => Ok(()),
        }
    }

    async fn open(&self, machine: &Machine) -> Result<(Machine, Ssh), ProviderError> {
        let attempt = Attempt { verb: "reach", about: Some((&machine.node, &machine.id)) };
        self.must_be_ours(machine, "reach")?;
        let known = machine.address.or_else(|| self.claim(&machine.node).address());
        let at = |address| Machine {
            state: MachineState::Running,
            address: Some(address),
            ..machine.clone()
        };
        let error = match known {
            None => attempt.error(Kind::Unreachable, "it has no address"),
            Some(address) => match self.connect(machine, address).await {
                Ok(ssh) => return Ok((at(address), ssh)),
                Err(error) => not_reached(attempt, error),
            },
        };
        // It may have moved: drivers but QEMU give a new address at a boot.
        match self.ask_address(&machine.node).await {
            Ok(Some(address)) if known != Some(address) => {
                let connected = self.connect(machine, address).await;
                let ssh = connected.map_err(|error| not_reached(attempt, error))?;
                Ok((at(address), ssh))
            }
            _ => Err(error),
        }
    }
}

impl Provider for Multipass {
    fn name(&self) -> &'static str {
        "multipass"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { creates_machines: true, power_cut: true, parallel_creates: 3 }
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            self.ask_versions().await?;
            self.check_driver().await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        Box::pin(self.machines())
    }

    fn create<'a>(
        &'a self,
        node: &'a Node,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.make(node, progress))
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.remove(machine))
    }

    fn power<'a>(
        &'a self,
        machine: &'a Machine,
        power: Power,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.set_power(machine, power))
    }

    fn resize<'a>(
        &'a self,
        machine: &'a Machine,
        node: &'a Node,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(self.change_size(machine, node))
    }

    fn reach<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Opened, ProviderError>> {
        Box::pin(async move {
            let (found, ssh) = self.open(machine).await?;
            let ssh: Box<dyn Remote> = Box::new(ssh);
            Ok((found, ssh))
        })
    }
}

/// Sizes are passed as bytes: what every version understands alike.
fn launch_arguments(instance: &str, node: &Node) -> Vec<String> {
    let vm = &node.vm;
    let seconds = LAUNCH_LIMIT.as_secs().to_string();
    let pairs = [
        ("--name", instance.to_owned()),
        ("--cpus", vm.cpus.to_string()),
        ("--memory", vm.memory_bytes.to_string()),
        ("--disk", vm.disk_bytes.to_string()),
        ("--cloud-init", "-".to_owned()),
        ("--timeout", seconds),
    ];
    let mut arguments = vec!["launch".to_owned(), vm.image.clone()];
    for (option, value) in pairs {
        arguments.extend([option.to_owned(), value]);
    }
    arguments
}

fn not_understood(attempt: Attempt<'_>, answer: &Answer) -> ProviderError {
    let start: String = failure::strip(&answer.stdout).chars().take(200).collect();
    attempt.error(
        Kind::Other,
        format!("multipass answered with something else than its JSON: {start}"),
    )
}

fn too_old(attempt: Attempt<'_>, who: &str, version: &str) -> ProviderError {
    let (major, minor) = FLOOR;
    let cause = format!("{who} is {version}, natsctl needs {major}.{minor} or newer");
    let mut error = attempt.error(Kind::Other, cause);
    error.hint = Some("sudo snap refresh multipass".into());
    error
}

fn not_reached(attempt: Attempt<'_>, error: RemoteError) -> ProviderError {
    let kind = match &error {
        RemoteError::HostKey { .. } => Kind::Exists,
        _ => Kind::Unreachable,
    };
    attempt.error(kind, error)
}

fn word(state: MachineState) -> &'static str {
    match state {
        MachineState::Starting => "starting",
        MachineState::Running => "running",
        MachineState::Stopped => "stopped",
        MachineState::Suspended => "suspended",
        MachineState::Deleted => "deleted",
        MachineState::Unknown => "in an unknown state",
    }
}

/// Running machines that do not answer on port 22 where they were last, or were never found.
async fn silent_nodes(machines: &[Machine]) -> Vec<String> {
    let mut probes = JoinSet::new();
    for machine in machines.iter().filter(|machine| machine.state == MachineState::Running) {
        let (node, address) = (machine.node.clone(), machine.address);
        probes.spawn(async move {
            let answers = match address {
                None => false,
                Some(address) => {
                    let connected = TcpStream::connect((address, 22));
                    timeout(Duration::from_millis(500), connected).await.is_ok_and(|c| c.is_ok())
                }
            };
            (!answers).then_some(node)
        });
    }
    probes.join_all().await.into_iter().flatten().collect()
}

/// What cloud-init says of itself.
enum Init {
    Busy,
    Done,
    Failed(String),
}

impl Init {
    /// No output is a machine without cloud-init: nothing to wait for.
    fn read(stdout: &[u8]) -> Self {
        if stdout.iter().all(u8::is_ascii_whitespace) {
            return Self::Done;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(stdout) else { return Self::Busy };
        let text = |key| answer.get(key).and_then(Value::as_str).unwrap_or("");
        match text("status") {
            "done" | "disabled" | "degraded done" => Self::Done,
            "error" => {
                let first = answer.get("errors").and_then(|errors| errors.get(0)?.as_str());
                Self::Failed(first.unwrap_or_else(|| text("detail")).chars().take(300).collect())
            }
            _ => Self::Busy,
        }
    }
}

/// For calls that have nobody to tell.
struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str) {}
}

#[cfg(test)]
mod tests;
