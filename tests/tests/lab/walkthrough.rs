//! The story that must always work, on real machines: up, verify, sub and pub, kill, heal, down.

use std::time::Duration;

use futures_util::StreamExt as _;

use crate::cluster::{Cluster, nats_server, natsd};

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn multipass_with_a_stock_nats_server() {
    walk(Cluster::of_multipass(&nats_server()), "demo-").await;
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn multipass_with_natsd() {
    walk(Cluster::of_multipass(&natsd()), "demo-").await;
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn hosts_with_a_stock_nats_server() {
    walk(Cluster::of_hosts(&nats_server()), "").await;
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn hosts_with_natsd() {
    walk(Cluster::of_hosts(&natsd()), "").await;
}

async fn walk(cluster: Cluster, prefix: &str) {
    let guest = |node: &str| format!("{prefix}{node}");
    cluster.natsctl(&["up", "cluster.yaml"]).ok();
    let again = cluster.natsctl(&["up", "cluster.yaml"]).ok();
    let told = again.stdout + &again.stderr;
    assert!(told.contains("unchanged"), "{told}");
    cluster.natsctl(&["verify"]).ok();
    cluster.natsctl(&["status", "--exit-code"]).ok();

    let subscriber = connect(&cluster.url(&guest("node1"))).await;
    let mut messages = subscriber.subscribe("walk.>").await.unwrap();
    let publisher = connect(&cluster.url(&guest("node3"))).await;
    blackbox::cluster::settle(&publisher, &subscriber).await;
    publisher.publish("walk.one", "1".into()).await.unwrap();
    let first =
        tokio::time::timeout(Duration::from_secs(5), messages.next()).await.unwrap().unwrap();
    assert_eq!(first.payload, "1");

    let killed = cluster.natsctl(&["kill", "node1"]).ok();
    eprintln!("{}", killed.stdout);
    let status = cluster.natsctl(&["status", "--exit-code", "-o", "json"]).code(6);
    serde_json::from_str::<serde_json::Value>(&status.stdout).unwrap();
    // It may have been away when the first ones came: publish until one arrives.
    let heard = async {
        loop {
            publisher.publish("walk.two", "2".into()).await.unwrap();
            let next = tokio::time::timeout(Duration::from_millis(100), messages.next()).await;
            if let Ok(Some(message)) = next
                && message.payload == "2"
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();

    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["status", "--exit-code"]).ok();
    reboot_of_the_seed(&cluster, &guest("node1")).await;

    cluster.natsctl(&["down", "--yes"]).ok();
    cluster.natsctl(&["down", "--yes"]).ok();
    assert!(!cluster.state().join("demo").exists());
    if prefix.is_empty() {
        let left = cluster
            .in_guest("node1", "pgrep -a nats; ls -A /usr/local/bin; ls -d /etc/natsd /etc/systemd/system/natsd*; getent passwd natsd; true");
        assert_eq!(left.trim(), "", "nothing is left on a machine that was there before");
    } else {
        assert_eq!(cluster.lab.guests(), Vec::<String>::new());
        for call in cluster.lab.calls() {
            for never in ["exec ", "purge", "transfer ", "shell "] {
                assert!(!call.starts_with(never) && !call.contains("--all"), "{call}");
            }
        }
    }
}

/// A machine that comes back by itself has its server back, in the mesh, without natsctl.
async fn reboot_of_the_seed(cluster: &Cluster, guest: &str) {
    cluster.lab.script(&["cut", guest]);
    cluster.natsctl(&["status", "--exit-code"]).code(6);
    cluster.lab.script(&["boot", guest]);
    crate::cluster::eventually("the seed is back in the mesh", Duration::from_secs(60), || {
        cluster.natsctl(&["status", "--exit-code"]).code == 0
    })
    .await;
}

async fn connect(url: &str) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    options.connect(url).await.unwrap()
}

/// The README's commands, argument by argument (`tests/tests/readme.rs` compares the two).
#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn the_readme_on_multipass() {
    let cluster = Cluster::of_multipass(&natsd());
    std::fs::remove_file(cluster.folder.path().join("cluster.yaml")).unwrap();
    cluster.natsctl(&["init"]).ok();
    cluster.natsctl(&["up", "cluster.yaml"]).ok();
    cluster.natsctl(&["verify"]).ok();
    cluster.natsctl(&["status"]).ok();
    cluster.natsctl(&["kill", "node1"]).ok();
    cluster.natsctl(&["up"]).ok();
    cluster.natsctl(&["down", "--yes"]).ok();
    assert_eq!(cluster.lab.guests(), Vec::<String>::new());
}
