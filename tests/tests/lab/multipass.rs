//! The Multipass provider against the played Multipass and the real guests behind it.

use std::time::{Duration, Instant};

use blackbox::lab::Lab;
use natsctl::provider::multipass::Multipass;
use natsctl::provider::{Machine, MachineState, Power, Provider};
use natsctl::remote::Command;
use natsctl::state::ClusterDir;
use serde_json::json;

use crate::said::{Said, node, told, topology};

/// A provider with a fresh state folder of its own.
fn provider(lab: &Lab) -> Multipass {
    lab.script(&["clear"]);
    let dir = ClusterDir::at("demo").unwrap();
    dir.remove().unwrap();
    Multipass::new(&topology(), &dir).unwrap()
}

async fn run(provider: &Multipass, machine: &Machine, script: &str) -> String {
    let (_, remote) = provider.reach(machine).await.unwrap();
    let command = Command {
        script: script.into(),
        stdin: vec![],
        root: true,
        timeout: Duration::from_secs(20),
    };
    String::from_utf8(remote.run(&command).await.unwrap().stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_is_made_found_powered_and_removed() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    provider.preflight().await.unwrap();
    assert_eq!(provider.list().await.unwrap(), []);

    let begin = Instant::now();
    let said = Said::default();
    let made = provider.create(&node("node1"), &said).await.unwrap();
    eprintln!("created in {:?}", begin.elapsed());
    assert_eq!((made.id.as_str(), made.state), ("demo-node1", MachineState::Running));
    assert_eq!(said.warnings(), "");
    assert_eq!(run(&provider, &made, "hostname; id -u").await, "demo-node1\n0\n");
    assert_eq!(run(&provider, &made, "systemctl is-system-running").await, "running\n");

    let begin = Instant::now();
    assert_eq!(provider.list().await.unwrap(), std::slice::from_ref(&made));
    eprintln!("listed in {:?}", begin.elapsed());
    let again = provider.create(&node("node1"), &Said::default()).await.unwrap();
    assert_eq!(again, made, "making it again only looks");

    let boot = run(&provider, &made, "cat /proc/sys/kernel/random/boot_id; uptime -s").await;
    let off = provider.power(&made, Power::Off).await.unwrap();
    assert_eq!(off.state, MachineState::Stopped);
    assert_eq!(provider.list().await.unwrap(), std::slice::from_ref(&off));
    let on = provider.power(&off, Power::On).await.unwrap();
    assert_eq!(on, made);
    assert_ne!(
        run(&provider, &on, "cat /proc/sys/kernel/random/boot_id; uptime -s; sleep 1").await,
        boot
    );

    let begin = Instant::now();
    let cut = provider.power(&on, Power::Cut).await.unwrap();
    eprintln!("cut in {:?}", begin.elapsed());
    assert_eq!(provider.list().await.unwrap(), std::slice::from_ref(&cut));
    let healed = provider.create(&node("node1"), &Said::default()).await.unwrap();
    assert_eq!(healed, made, "a stopped machine of ours is started, not made anew");

    provider.destroy(&healed).await.unwrap();
    provider.destroy(&healed).await.unwrap();
    assert_eq!(provider.list().await.unwrap(), []);
    assert_eq!(lab.guests(), Vec::<String>::new());
    for call in lab.calls() {
        let verb = call.split(' ').next().unwrap();
        assert!(
            ["version", "get", "list", "info", "launch", "start", "stop", "delete"].contains(&verb),
            "{call}"
        );
        assert!(!call.contains("--all"), "{call}");
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn three_machines_at_once_have_addresses_of_their_own() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    let begin = Instant::now();
    let said = Said::default();
    let (one, two, three) = (node("node1"), node("node2"), node("node3"));
    let first = provider.create(&one, &said).await.unwrap();
    let (second, third) =
        tokio::join!(provider.create(&two, &said), provider.create(&three, &said));
    eprintln!("three in {:?}", begin.elapsed());
    let machines = [first, second.unwrap(), third.unwrap()];
    assert_eq!(provider.list().await.unwrap(), machines);
    for (machine, peer) in machines.iter().zip(machines.iter().cycle().skip(1)) {
        let target = peer.address.unwrap();
        let banner = format!("timeout 3 bash -c 'head -c 4 </dev/tcp/{target}/22'");
        assert_eq!(run(&provider, machine, &banner).await, "SSH-");
    }
    for machine in &machines {
        provider.destroy(machine).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_of_the_same_name_that_we_did_not_make_is_left_alone() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    let made = provider.create(&node("node1"), &Said::default()).await.unwrap();
    // Somebody removes it and makes another: same name, same address, other keys.
    let multipass = |arguments: &[&str]| {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/bin/multipass");
        let output = blackbox::lab::run(std::process::Command::new(program).args(arguments));
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    multipass(&["delete", "--purge", "demo-node1"]);
    multipass(&["launch", "24.04", "--name", "demo-node1"]);
    let error = provider.destroy(&made).await.unwrap_err();
    assert!(told(&error).contains("shows host key SHA256:"), "{}", told(&error));
    assert!(provider.reach(&made).await.is_err());
    assert_eq!(lab.guests(), ["demo-node1"]);
    // And without any claim of ours it is not even seen.
    ClusterDir::at("demo").unwrap().remove().unwrap();
    assert_eq!(provider.list().await.unwrap(), []);
    let error = provider.create(&node("node1"), &Said::default()).await.unwrap_err();
    assert!(told(&error).contains("instance demo-node1 already exists"), "{}", told(&error));
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn what_fails_at_launch_is_told_and_the_next_create_finishes_the_job() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    for (fault, words, left) in [
        ("image", "is unknown or unreachable", 0),
        ("no-kvm", "KVM support is not enabled", 0),
        ("disk-full", "Available disk", 0),
        ("boot-timeout", "timed out waiting for response", 1),
    ] {
        lab.faults(&json!({"launch": {"demo-node1": fault}}));
        let error = provider.create(&node("node1"), &Said::default()).await.unwrap_err();
        assert!(told(&error).contains(words), "{fault}: {}", told(&error));
        assert!(told(&error).contains("node `node1`"), "{fault}: {}", told(&error));
        assert_eq!(provider.list().await.unwrap().len(), left, "{fault}");
        assert_eq!(lab.guests().len(), left, "{fault}");
    }
    // The last one left a machine in state Unknown; it is cut off and started.
    lab.script(&["heal", "demo-node1"]);
    let made = provider.create(&node("node1"), &Said::default()).await.unwrap();
    assert_eq!(run(&provider, &made, "hostname").await, "demo-node1\n");
    provider.destroy(&made).await.unwrap();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_cloud_init_that_ends_in_error_is_a_warning_when_our_key_works() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    lab.faults(&json!({"launch": {"demo-node1": "init-error"}}));
    let said = Said::default();
    let made = provider.create(&node("node1"), &said).await.unwrap();
    let warnings = said.warnings();
    assert!(warnings.contains("cloud-init on demo-node1 ended with an error"), "{warnings}");
    provider.destroy(&made).await.unwrap();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_daemon_that_is_down_old_or_hung_is_told_before_anything_is_made() {
    let lab = Lab::enter();
    let provider = provider(&lab);
    for (faults, words) in [
        (json!({"daemon": "down"}), "cannot connect to the multipass socket"),
        (json!({"daemon": "never-ran"}), "multipass_root_cert.pem"),
        (json!({"daemon": "unauthenticated"}), "multipass authenticate"),
        (json!({"daemon": "denied"}), "socket access denied"),
        (json!({"version": "1.12.2"}), "needs 1.14 or newer"),
        (json!({"driver": "virtualbox"}), "driver is virtualbox"),
        (json!({"daemon": "hung"}), "its daemon hangs"),
    ] {
        lab.faults(&faults);
        let error = provider.preflight().await.unwrap_err();
        assert!(told(&error).contains(words), "{faults}: {}", told(&error));
    }
    let processes =
        blackbox::lab::run(std::process::Command::new("pgrep").args(["-f", "bin/multipas[s]"]));
    assert!(
        !processes.status.success(),
        "a hung call is ended: {}",
        String::from_utf8_lossy(&processes.stdout)
    );
}
