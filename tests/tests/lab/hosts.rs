//! The hosts provider against machines that exist already.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use blackbox::lab::Lab;
use natsctl::provider::hosts::Hosts;
use natsctl::provider::{MachineState, Power, Provider};
use natsctl::remote::{Command, keys};
use natsctl::state::ClusterDir;
use natsctl::topology::{Host, Topology};

use crate::said::{Said, node, told, topology};

struct Stage {
    lab: Lab,
    dir: ClusterDir,
    topology: Topology,
}

/// Two machines that take the cluster's own key, under addresses nobody else in the lab has.
fn stage() -> Stage {
    let lab = Lab::enter();
    let dir = ClusterDir::at("demo").unwrap();
    dir.remove().unwrap();
    keys::load_or_make(&dir.client_key(), "natsctl demo").unwrap();
    let public = dir.client_key().with_extension("pub");
    let mut topology = topology();
    topology.nodes.truncate(2);
    for node in &mut topology.nodes {
        let address = lab.guest(&node.name, &public).to_string();
        node.host = Some(Host { address, user: "ubuntu".into(), port: 22, identity: None });
    }
    Stage { lab, dir, topology }
}

impl Stage {
    fn provider(&self) -> Hosts {
        Hosts::new(&self.topology, &self.dir).unwrap()
    }

    fn host(&mut self) -> &mut Host {
        self.topology.nodes[0].host.as_mut().unwrap()
    }
}

fn as_root(script: &str) -> Command {
    Command { script: script.into(), stdin: vec![], root: true, timeout: Duration::from_secs(10) }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_is_checked_listed_and_never_powered() {
    let stage = stage();
    let provider = stage.provider();
    let listed = provider.list().await.unwrap();
    let error = provider.reach(&listed[0]).await.err().unwrap();
    assert!(told(&error).contains("is not known yet"), "only `up` trusts: {}", told(&error));
    let said = Said::default();
    let machine = provider.create(&node("node1"), &said).await.unwrap();
    assert!(
        said.warnings().contains("seen for the first time, trusted from now on"),
        "{}",
        said.warnings()
    );
    let again = Said::default();
    provider.create(&node("node1"), &again).await.unwrap();
    assert_eq!(again.warnings(), "");
    let machines = provider.list().await.unwrap();
    assert_eq!(machines.len(), 2);
    assert_eq!(machines[0], machine);
    assert!(provider.power(&machine, Power::Cut).await.is_err());
    let (_, remote) = provider.reach(&machine).await.unwrap();
    assert_eq!(remote.run(&as_root("hostname")).await.unwrap().stdout, b"node1\n");
    provider.destroy(&machine).await.unwrap();
    assert_eq!(stage.lab.guests(), ["node1", "node2"]);
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_that_lost_its_power_is_unknown_and_costs_the_list_one_timeout() {
    let stage = stage();
    stage.lab.script(&["cut", "node1"]);
    let begin = Instant::now();
    let machines = stage.provider().list().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(machines[0].state, MachineState::Unknown);
    assert_eq!(machines[1].state, MachineState::Running);
    let error = stage.provider().create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).contains("for node `node1`") && error.transient, "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_refused_key_comes_with_the_command_that_mends_it() {
    let mut stage = stage();
    let other = stage.dir.path().join("other");
    keys::load_or_make(&other, "other").unwrap();
    stage.host().identity = Some(other);
    let error = stage.provider().create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).contains("refused the key SHA256:"), "{}", told(&error));
    stage.host().identity = Some(PathBuf::from("/nonexistent/key"));
    let error = stage.provider().create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).contains("cannot read the key /nonexistent/key"), "{}", told(&error));
    stage.host().identity = None;
    stage.provider().create(&node("node1"), &Said::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_changed_host_key_is_refused_until_it_is_forgotten_on_purpose() {
    let stage = stage();
    let machine = stage.provider().create(&node("node1"), &Said::default()).await.unwrap();
    let change = "rm /etc/ssh/ssh_host_*; systemctl restart ssh; \
                  ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh";
    let (_, remote) = stage.provider().reach(&machine).await.unwrap();
    remote.run(&as_root(change)).await.unwrap();
    let error = stage.provider().create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).contains("shows host key SHA256:"), "{}", told(&error));
    let hint = error.hint.unwrap();
    assert!(hint.contains("ssh-keygen -f "), "{hint}");
    let forget = hint.split_once(" ; ").unwrap().1;
    let forgotten = blackbox::lab::run(std::process::Command::new("sh").args(["-c", forget]));
    assert!(forgotten.status.success(), "{forget}: {forgotten:?}");
    stage.provider().create(&node("node1"), &Said::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_user_without_root_is_told_how_to_get_it() {
    let stage = stage();
    let machine = stage.provider().create(&node("node1"), &Said::default()).await.unwrap();
    let (_, remote) = stage.provider().reach(&machine).await.unwrap();
    remote.run(&as_root("rm /etc/sudoers.d/ubuntu")).await.unwrap();
    let error = stage.provider().create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).starts_with("cannot become root on "), "{}", told(&error));
    assert!(told(&error).contains("NOPASSWD"), "{}", told(&error));
}
