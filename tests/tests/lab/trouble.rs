//! What goes wrong on machines: told by node, cause and next command; the others unharmed;
//! `up` again finishes the job.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, eventually, nats_server, natsd};

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_port_in_use_is_named_and_the_others_serve() {
    let cluster = Cluster::of_hosts(&nats_server());
    let squat = "systemd-run --quiet --unit=squatter systemd-socket-activate -l 4222 cat";
    cluster.in_guest("node2", squat);
    cluster.natsctl(&["up"]).failed_saying(&["node2", "4222", "in use"]);
    others_serve(&cluster, &["node1", "node3"]).await;
    cluster.in_guest("node2", "systemctl stop squatter");
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_full_disk_is_named_and_the_others_serve() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster
        .in_guest("node2", "fallocate -l $(($(df --output=avail -k / | tail -1) - 2000))K /fill");
    cluster.natsctl(&["up"]).failed_saying(&["node2", "disk"]);
    others_serve(&cluster, &["node1", "node3"]).await;
    cluster.in_guest("node2", "rm /fill");
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_binary_for_another_architecture_is_refused_before_anything_runs() {
    let cluster = Cluster::of_hosts(&nats_server());
    let wrong = for_another_architecture(&nats_server(), cluster.folder.path());
    cluster.use_server(&nats_server(), &wrong);
    let failed = cluster.natsctl(&["up"]);
    assert_ne!(failed.code, 0);
    for word in ["aarch64", "x86_64"] {
        assert!(failed.stderr.contains(word), "no `{word}` in: {}", failed.stderr);
    }
    assert_eq!(cluster.in_guest("node1", "pgrep -a nats; true").trim(), "");
    cluster.use_server(&wrong, &nats_server());
    cluster.natsctl(&["up"]).ok();
}

/// The same file, saying in its header that it is for arm64.
fn for_another_architecture(server: &Path, folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(server).unwrap();
    bytes[18..20].copy_from_slice(&[0xb7, 0x00]);
    let file = folder.join("nats-server-arm64");
    std::fs::write(&file, bytes).unwrap();
    file
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_refused_key_and_a_changed_host_key_are_told_apart() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.in_guest("node2", "mv /home/ubuntu/.ssh/authorized_keys /home/ubuntu/.ssh/away");
    cluster.natsctl(&["up"]).failed_saying(&["node2", "refused the key"]);
    others_serve(&cluster, &["node1", "node3"]).await;
    cluster.in_guest("node2", "mv /home/ubuntu/.ssh/away /home/ubuntu/.ssh/authorized_keys");
    cluster.natsctl(&["up"]).ok();
    let change = "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; \
                  systemctl restart ssh";
    cluster.in_guest("node3", change);
    let told = cluster.natsctl(&["up"]).code(7);
    told.failed_saying(&["node3", "host key SHA256:", "ssh-keygen"]);
    let status = cluster.natsctl(&["status"]);
    assert!(status.stdout.contains("3 of 3 nodes healthy"), "{}", status.stdout);
    let warning = "warning: node3 serves, but its machine cannot be reached: ";
    let told = status.stderr.lines().find(|line| line.starts_with(warning));
    assert!(told.is_some_and(|line| line.contains("host key")), "{}", status.stderr);
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_that_dies_half_way_through_up_costs_only_itself() {
    let cluster = Cluster::of_hosts(&nats_server());
    let mut up = cluster.spawn(&["up"]);
    // As soon as its upload has begun.
    eventually("an upload on node3", Duration::from_secs(30), || {
        let seen = cluster.in_guest("node3", "ls /usr/local/bin; true");
        !seen.trim().is_empty()
    })
    .await;
    cluster.lab.script(&["cut", "node3"]);
    let mut stderr = String::new();
    up.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let code = up.wait().unwrap().code();
    assert!([Some(5), Some(7)].contains(&code), "{code:?}: {stderr}");
    assert!(stderr.contains("node3"), "{stderr}");
    others_serve(&cluster, &["node1", "node2"]).await;
    cluster.lab.script(&["boot", "node3"]);
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_launch_that_fails_costs_only_its_node_and_up_again_finishes_the_job() {
    let cluster = Cluster::of_multipass(&nats_server());
    for (fault, words) in [
        ("no-kvm", "KVM support is not enabled"),
        ("boot-timeout", "timed out waiting for response"),
    ] {
        cluster.lab.faults(&json!({"launch": {"demo-node2": fault}}));
        cluster.natsctl(&["up"]).failed_saying(&["node2", words, "natsctl up"]);
        others_serve(&cluster, &["demo-node1", "demo-node3"]).await;
    }
    cluster.lab.faults(&json!({}));
    cluster.lab.script(&["heal", "demo-node2"]);
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
    cluster.natsctl(&["down", "--yes"]).ok();
    assert_eq!(cluster.lab.guests(), Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_multipass_that_cannot_be_used_is_told_and_nothing_is_made() {
    let cluster = Cluster::of_multipass(&nats_server());
    for (fault, words) in [
        (
            json!({"daemon": "down"}),
            ["cannot connect to the multipass socket", "multipass version"],
        ),
        (json!({"daemon": "unauthenticated"}), ["not authenticated", "multipass authenticate"]),
        (json!({"version": "1.12.2"}), ["1.14 or newer", "refresh multipass"]),
    ] {
        cluster.lab.faults(&fault);
        let ended = cluster.natsctl(&["up"]).code(4);
        for word in words {
            assert!(ended.stderr.contains(word), "{fault}: no `{word}` in: {}", ended.stderr);
        }
        assert_eq!(cluster.lab.guests(), Vec::<String>::new());
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn up_that_was_interrupted_goes_on_where_it_was() {
    let cluster = Cluster::of_multipass(&nats_server());
    let mut up = cluster.spawn(&["up"]);
    eventually("the first machine", Duration::from_secs(30), || !cluster.lab.guests().is_empty())
        .await;
    // As ctrl-c does it; the daemon goes on launching without its client.
    let pid = up.id().to_string();
    blackbox::lab::run(std::process::Command::new("kill").args(["-INT", &pid]));
    let code = up.wait().unwrap().code();
    assert_eq!(code, Some(130));
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
    let launches = cluster.lab.calls().iter().filter(|call| call.starts_with("launch ")).count();
    assert!((3..=4).contains(&launches), "{:?}", cluster.lab.calls());
}

/// No FIN and no RST comes of a power cut, and nobody publishes: only natsd's own
/// `dead_peer_timeout` (10 s) can tell. nats-server takes two pings of its route to notice.
#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_without_power_is_noticed_within_ten_seconds() {
    let cluster = Cluster::of_hosts(&natsd());
    cluster.natsctl(&["up"]).ok();
    let gone = "journalctl --no-pager -u natsd | grep -c 'Router connection closed' || true";
    let count = || cluster.in_guest("node1", gone).trim().parse::<u32>().unwrap();
    let before = count();
    cluster.lab.script(&["cut", "node3"]);
    let cut = Instant::now();
    eventually("node1 gives up its routes to node3", Duration::from_secs(30), || count() > before)
        .await;
    let took = cut.elapsed();
    eprintln!("  noticed after {took:?}");
    assert!(took < Duration::from_secs(13), "{took:?}, of which looking takes some");
    others_serve(&cluster, &["node1", "node2"]).await;
    cluster.lab.script(&["boot", "node3"]);
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}

async fn others_serve(cluster: &Cluster, guests: &[&str]) {
    for guest in guests {
        let client = async_nats::connect(cluster.url(guest)).await.unwrap();
        client.flush().await.unwrap();
    }
}
