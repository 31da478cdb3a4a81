//! natsctl with hosts that do not answer, as after a power cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use blackbox::ctl::Sandbox;
use blackbox::server::{Binary, HeldPort, Setup};

/// One machine refuses, as one whose sshd is gone; the others take a connection and say nothing,
/// as one behind a firewall or in the middle of its death.
#[test]
fn the_status_of_hosts_that_are_off_costs_one_timeout_and_says_so_by_node() {
    let sandbox = Sandbox::new();
    let silent = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let closed = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let (silent_port, closed_port) =
        (silent.local_addr().unwrap().port(), closed.local_addr().unwrap().port());
    drop(closed);
    let node = |n: usize, port: u16| {
        format!("  - {{ name: node{n}, address: 127.0.9.{n}, user: u, port: {port} }}\n")
    };
    let nodes = [node(1, closed_port), node(2, silent_port), node(3, silent_port)].concat();
    sandbox
        .write("cluster.yaml", &format!("version: 1\nname: off\nprovider: hosts\nnodes:\n{nodes}"));
    // Builds natsctl, if nobody has.
    let valid = sandbox.run(&["validate"]);
    assert_eq!(valid.code, 0, "{}", valid.stderr);
    let start = Instant::now();
    let status = sandbox.run(&["status", "-o", "json", "--exit-code"]);
    let took = start.elapsed();
    assert_eq!(status.code, 6, "{}{}", status.stdout, status.stderr);
    let sheet: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(sheet["state"], "down", "{sheet}");
    for row in sheet["nodes"].as_array().unwrap() {
        let health = row["health"].as_str().unwrap();
        assert!(health.starts_with("unreachable: "), "{health}");
        assert_eq!(row["healthy"], false);
    }
    assert!(took < Duration::from_secs(15), "three nodes at once cost {took:?}");
}

#[test]
fn a_host_that_cannot_be_reached_is_not_said_to_be_made() {
    let sandbox = Sandbox::new();
    let held = HeldPort::take();
    let node = format!("{{ name: node1, address: 127.0.0.1, user: u, port: {} }}", held.port());
    sandbox.write(
        "cluster.yaml",
        &format!("version: 1\nname: off\nprovider: hosts\nnodes:\n  - {node}\n"),
    );
    let told = sandbox.run(&["up"]).expect_code(4).stderr;
    assert!(told.contains("error: cannot reach node1\ncause: cannot reach 127.0.0.1"), "{told}");
    assert!(!told.contains("creating") && !told.contains("make a machine"), "{told}");
}

#[tokio::test]
async fn the_warning_of_a_machine_that_cannot_be_reached_names_the_command_that_helps() {
    let sandbox = Sandbox::new();
    let [client, cluster, monitor] = sandbox.ports;
    let ports =
        format!("{{client_port: {client}, cluster_port: {cluster}, monitor_port: {monitor}}}");
    // Where nobody listens.
    let held = HeldPort::take();
    let ssh = held.port();
    sandbox.write(
        "cluster.yaml",
        &format!(
            "version: 1\nname: off\nprovider: hosts\nserver: {ports}\nnodes:\n  \
             - {{ name: node1, address: 127.0.0.1, user: u, port: {ssh} }}\n"
        ),
    );
    let monitor = monitor.to_string();
    let server = Setup::new(&Binary::under_test()).name("node1").unmonitored();
    let _server = server.args(["-m", &monitor]).start().await;
    let status = sandbox.run(&["status", "--exit-code"]).expect_code(0);
    let warning = "warning: node1 serves, but its machine cannot be reached: ";
    let told = status.stderr.lines().find(|line| line.starts_with(warning)).unwrap();
    let hint = format!("ssh -p {ssh} u@127.0.0.1");
    assert!(told.ends_with(&format!("; {hint}")), "{told}");
    let told = sandbox.run(&["status", "-o", "json"]).expect_code(0).json();
    assert_eq!(told["nodes"][0]["unreachable_hint"], hint, "{told}");
}
