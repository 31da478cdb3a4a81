//! natsctl with hosts that do not answer, as after a power cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use blackbox::ctl::Sandbox;

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
