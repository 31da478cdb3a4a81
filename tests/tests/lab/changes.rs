//! Nodes that leave the file, machines that cannot be reached, a record that is lost: nothing is
//! left behind, and nobody else is harmed.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, eventually, nats_server};

/// Whatever natsctl may have put on a machine.
const LEFT: &str = "pgrep -a nats; ls -A /usr/local/bin; ls -d /etc/natsd /var/lib/natsd \
                    /etc/systemd/system/natsd* /run/systemd/system/natsd*; getent passwd natsd; true";

impl Cluster {
    /// Rewrites cluster.yaml.
    fn rewrite(&self, change: impl Fn(&str) -> String) {
        let file = self.folder.path().join("cluster.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
    }

    fn take_out(&self, node: &str) {
        self.rewrite(|text| {
            text.lines()
                .filter(|line| !line.contains(node))
                .map(|line| format!("{line}\n"))
                .collect()
        });
    }

    fn pid(&self, guest: &str) -> String {
        self.in_guest(guest, "systemctl show -p MainPID --value natsd").trim().to_owned()
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_that_leaves_the_file_is_cleaned_up() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    cluster.take_out("node3");
    let plan = cluster.natsctl(&["plan"]).ok().stdout;
    assert!(
        plan.contains("- node3  no longer in the file: stop it and remove its server"),
        "{plan}"
    );
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
    assert_eq!(cluster.in_guest("node3", LEFT).trim(), "");
    // One that does not answer is waited for: at the next `up`, or by `down`.
    cluster.take_out("node2");
    cluster.in_guest("node2", "systemctl stop ssh");
    let told = cluster.natsctl(&["up"]).stderr;
    assert!(told.contains("warning: cannot remove node2: cannot connect to"), "{told}");
    cluster.in_guest("node2", "systemctl start ssh");
    cluster.natsctl(&["down", "--yes"]).ok();
    for node in ["node1", "node2"] {
        assert_eq!(cluster.in_guest(node, LEFT).trim(), "", "{node}");
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_that_left_and_is_dead_is_tried_by_each_up_and_does_not_hold_it_long() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    cluster.in_guest("node3", "systemctl stop natsd");
    cluster.lab.script(&["cut", "node3"]);
    cluster.take_out("node3");
    for _ in 0..2 {
        let begun = Instant::now();
        let told = cluster.natsctl(&["up"]).ok().stderr;
        assert!(told.contains("; the next `up` tries again"), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    cluster.lab.script(&["boot", "node3"]);
    cluster.natsctl(&["up"]).ok();
    assert_eq!(cluster.in_guest("node3", LEFT).trim(), "");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_unit_that_was_disabled_is_enabled_again_without_a_restart() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let pid = cluster.pid("node2");
    cluster.in_guest("node2", "systemctl disable --quiet natsd");
    let plan = cluster.natsctl(&["plan"]).ok().stdout;
    for line in
        ["  node1  unchanged", "~ node2  enable its unit (would not start with its machine)"]
    {
        assert!(plan.contains(line), "no `{line}` in {plan}");
    }
    cluster.natsctl(&["up"]).ok();
    assert_eq!(cluster.in_guest("node2", "systemctl is-enabled natsd").trim(), "enabled");
    assert_eq!(cluster.pid("node2"), pid);
    cluster.natsctl(&["plan", "--detailed-exitcode"]).ok();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn an_instance_that_leaves_the_file_is_no_stranger_to_the_others() {
    let cluster = Cluster::of_multipass(&nats_server());
    cluster.natsctl(&["up"]).ok();
    cluster.take_out("node2");
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
    assert_eq!(cluster.lab.guests(), ["demo-node1", "demo-node3"]);
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let cluster = Cluster::of_hosts(&nats_server());
    let mut up = cluster.spawn(&["up"]);
    let uploads = || cluster.in_guest("node1", "ls /usr/local/bin; true");
    eventually("an upload", Duration::from_secs(30), || uploads().contains(".upload")).await;
    blackbox::lab::run(std::process::Command::new("kill").args(["-INT", &up.id().to_string()]));
    assert_eq!(up.wait().unwrap().code(), Some(130));
    eventually("it is gone", Duration::from_secs(10), || !uploads().contains(".upload")).await;
}

/// Else it would be installed with the next change of settings.
#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_binary_that_was_given_up_is_never_installed() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let broken = cluster.folder.path().join("broken");
    std::fs::write(&broken, &std::fs::read(nats_server()).unwrap()[..4096]).unwrap();
    cluster.use_server(&nats_server(), &broken);
    cluster.natsctl(&["up"]).failed_saying(&["does not run there"]);
    assert_eq!(cluster.in_guest("node1", "ls /usr/local/bin").trim(), "natsd");
    cluster.use_server(&broken, &nats_server());
    // As an `up` leaves it that was interrupted after its upload.
    cluster.in_guest("node1", "printf '#!/bin/false' >/usr/local/bin/natsd.new");
    cluster.rewrite(|text| text.replace("nodes:", "  config: { max_payload: 65536 }\nnodes:"));
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
    assert_eq!(cluster.in_guest("node1", "ls /usr/local/bin").trim(), "natsd");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_node_that_moves_to_another_host_is_refused_before_anything_changes() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let pid = cluster.pid("node1");
    let url = cluster.url("node3");
    let address = url.trim_start_matches("nats://").trim_end_matches(":4222");
    cluster.rewrite(|text| text.replace(&format!("{address},"), "10.97.0.240,"));
    let told = cluster.natsctl(&["up"]).code(3).stderr;
    assert!(told.contains(&format!("node `node3` is on {address}")), "{told}");
    assert_eq!(cluster.pid("node1"), pid);
    cluster.natsctl(&["down", "--yes", "--cluster", "demo"]).ok();
    assert_eq!(cluster.in_guest("node3", LEFT).trim(), "");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn hosts_whose_record_is_lost_are_cleaned_by_what_is_on_them() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    std::fs::remove_file(cluster.state().join("demo/state.json")).unwrap();
    let told = cluster.natsctl(&["stop", "node1"]).stderr;
    assert!(told.contains("the record of cluster `demo` is lost"), "{told}");
    // As an upload leaves it whose machine lost its power.
    cluster.in_guest("node1", "touch /usr/local/bin/natsd.new.7.upload");
    // A server of somebody else is left alone.
    cluster
        .in_guest("node2", "sed -i '1s/of cluster demo/of cluster other/' /etc/natsd/natsd.conf");
    cluster.in_guest("node3", "systemctl stop ssh");
    cluster.natsctl(&["down", "--yes"]).failed_saying(&["cannot remove node3", "natsctl down"]);
    cluster.in_guest("node3", "systemctl start ssh");
    cluster.natsctl(&["down", "--yes"]).ok();
    for node in ["node1", "node3"] {
        assert_eq!(cluster.in_guest(node, LEFT).trim(), "", "{node}");
    }
    assert_ne!(cluster.pid("node2"), "0");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_without_ssh_is_not_stopped_and_keeps_no_other_from_serving() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let pids = || ["node1", "node2", "node3"].map(|node| cluster.pid(node));
    let before = pids();
    cluster.in_guest("node2", "systemctl stop ssh");
    for words in [
        &["stop", "node2"][..],
        &["start", "node2"],
        &["kill", "node2"],
        &["restart", "all"],
        &["restart", "all", "--rolling"],
    ] {
        let told = cluster.natsctl(words).code(4).stderr;
        for word in [&format!("cannot {} node2", words[0]), "Connection refused", "ssh -p 22"] {
            assert!(told.contains(word), "{words:?}: no `{word}` in {told}");
        }
        assert_eq!(pids(), before, "{words:?}");
    }
    cluster.in_guest("node2", "systemctl start ssh");
    let status = cluster.natsctl(&["status", "--exit-code"]).ok().stdout;
    assert!(!status.contains("stopped"), "{status}");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_that_is_off_is_told_as_that() {
    let cluster = Cluster::of_multipass(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let pid = cluster.pid("demo-node1");
    cluster.lab.script(&["cut", "demo-node3"]);
    let plan = cluster.natsctl(&["plan"]).ok().stdout;
    for line in ["  node1  unchanged", "  node2  unchanged", "~ node3  power on (is stopped)"] {
        assert!(plan.contains(line), "no `{line}` in {plan}");
    }
    for words in [&["start", "node3"][..], &["kill", "node3"], &["restart", "all"]] {
        let told = cluster.natsctl(words).code(4).stderr;
        for word in ["cause: its machine is off", "hint: natsctl up\n"] {
            assert!(told.contains(word), "{words:?}: no `{word}` in {told}");
        }
    }
    assert_eq!(cluster.pid("demo-node1"), pid, "nobody was restarted");
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn other_settings_on_a_full_disk_are_not_blamed_on_the_settings() {
    let cluster = Cluster::of_hosts(&nats_server());
    cluster.natsctl(&["up"]).ok();
    let pid = cluster.pid("node2");
    cluster.in_guest("node2", "cat /dev/zero >/fill 2>/dev/null; true");
    cluster.rewrite(|text| text.replace("nodes:", "  config: { max_payload: 65536 }\nnodes:"));
    let told = cluster.natsctl(&["up"]);
    told.failed_saying(&["node2", "No space left on device", "make room there"]);
    assert_eq!(cluster.pid("node2"), pid, "it serves on");
    cluster.in_guest("node2", "rm /fill");
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["verify"]).ok();
}
