//! natsctl where something is wrong: servers that hang, readers that leave, records that are lost.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: a failed step is a failed test"
)]

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use blackbox::ctl::Sandbox;
use blackbox::eventually;
use blackbox::server::{Binary, Setup};
use rustix::process::{Pid, Signal, kill_process};

const THREE: [&str; 3] = ["node1", "node2", "node3"];

fn up(nodes: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", nodes, "");
    sandbox.run(&["up"]).expect_code(0);
    sandbox
}

fn pids(sandbox: &Sandbox) -> Vec<Option<u64>> {
    let status = sandbox.run(&["status", "-o", "json"]).expect_code(0).json();
    status["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_u64()).collect()
}

fn signal(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Stops a node's process: it is there, holds its connections, and says nothing.
fn hang(sandbox: &Sandbox, nth: usize) {
    signal(pids(sandbox)[nth].unwrap(), Signal::STOP);
}

fn record(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path().join("state/demo/state.json")).unwrap()
}

#[test]
fn a_node_that_hangs_is_killed_and_the_others_are_measured() {
    let sandbox = up(&THREE);
    hang(&sandbox, 1);
    let kill = sandbox.run(&["kill", "node2", "--duration", "100ms", "-o", "json"]).expect_code(0);
    assert!(kill.stderr.contains("node2 runs and does not answer"), "{}", kill.stderr);
    let told = kill.json();
    assert_eq!((&told["measured"], &told["silent"]), (&true.into(), &serde_json::json!(["node2"])));
    assert_eq!((&told["publisher"], &told["subscriber"]), (&"node1".into(), &"node3".into()));
    assert_eq!(told["messages"]["lost"], 0, "{told}");
    assert_eq!(pids(&sandbox)[1], None);
    // Nobody is left who could be measured.
    hang(&sandbox, 0);
    let all = sandbox.run(&["kill", "all", "-o", "json"]).expect_code(0).json();
    assert_eq!(
        (&all["measured"], &all["victims"]),
        (&false.into(), &serde_json::json!(["node1", "node3"]))
    );
    assert_eq!(sandbox.processes(), Vec::<String>::new());
}

#[test]
fn of_two_victims_the_one_that_answers_has_the_subscriber() {
    let sandbox = up(&THREE);
    hang(&sandbox, 0);
    let kill = sandbox.run(&["kill", "node1,node2", "--duration", "100ms"]).expect_code(0);
    assert!(kill.stdout.contains("subscriber cut off from node2"), "{}", kill.stdout);
    assert!(kill.stdout.contains("unknown   what a client of node1 sees"), "{}", kill.stdout);
    assert_eq!(pids(&sandbox).iter().flatten().count(), 1);
}

#[tokio::test]
async fn ctrl_c_in_a_long_drill_tells_what_was_measured() {
    let sandbox = up(&THREE);
    let args = ["kill", "node1", "--duration", "10m", "-o", "json"];
    let kill = sandbox.command(&args).spawn().unwrap();
    eventually("the kill", async || (pids(&sandbox)[0].is_none()).then_some(())).await;
    signal(kill.id().into(), Signal::INT);
    let output = kill.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["ended_early_ms"].as_f64().unwrap() > 0.0, "{told}");
    assert!(told["messages"]["sent"].as_u64().unwrap() > 0, "{told}");
    assert!(record(&sandbox).contains("killed"));
    let long = sandbox.run(&["kill", "node2", "--duration", "99999999999999h"]).expect_code(2);
    assert!(long.stderr.contains("at most 1h"), "{}", long.stderr);
}

#[test]
fn a_drill_that_cannot_be_set_up_names_the_node_and_kills_nobody() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "  config: {authorization: {user: app, password: plain}}\n");
    sandbox.run(&["up"]).expect_code(0);
    // As after a change of the password on the servers that the record does not know.
    let state = sandbox.path().join("state/demo/state.json");
    std::fs::write(&state, record(&sandbox).replace("plain", "other")).unwrap();
    let refused = sandbox.run(&["kill", "node2"]).expect_code(5);
    let expected =
        ["cannot connect a subscriber to node2", "authorization violation", "natsctl stop node2"];
    for expected in expected {
        assert!(refused.stderr.contains(expected), "{expected}: {}", refused.stderr);
    }
    assert!(pids(&sandbox).iter().all(Option::is_some));
}

#[test]
fn a_rolling_restart_stops_where_a_node_does_not_answer_and_wakes_one_that_is_its_own_first() {
    let sandbox = up(&THREE);
    let before = pids(&sandbox);
    hang(&sandbox, 2);
    let refused = sandbox.run(&["restart", "node1,node2", "--rolling"]).expect_code(6);
    assert!(refused.stderr.contains("not restarted: node1, node2"), "{}", refused.stderr);
    assert!(refused.stderr.contains("cause: node3: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: natsctl restart node3 "), "{}", refused.stderr);
    assert_eq!(pids(&sandbox), before);
    sandbox.run(&["restart", "node1,node3", "--rolling"]).expect_code(0);
    let after = pids(&sandbox);
    assert_eq!(after[1], before[1]);
    assert!(after[0] != before[0] && after[2] != before[2], "{before:?} {after:?}");
    sandbox.run(&["verify"]).expect_code(0);
    // One that is stopped on purpose holds up nobody.
    sandbox.run(&["stop", "node3"]).expect_code(0);
    sandbox.run(&["restart", "node1,node2", "--rolling"]).expect_code(0);
}

#[test]
fn a_cluster_whose_record_is_lost_is_found_on_disk_and_removed() {
    let sandbox = up(&["node1", "node2"]);
    let before = pids(&sandbox);
    let file = sandbox.path().join("cluster.yaml");
    let kept = sandbox.path().join("kept.yaml");
    std::fs::rename(&file, &kept).unwrap();
    let lose = || std::fs::remove_file(sandbox.path().join("state/demo/state.json")).unwrap();
    lose();
    let status = sandbox.run(&["status", "-o", "json"]).expect_code(0);
    assert!(status.stderr.contains("cluster demo: its record is lost"), "{}", status.stderr);
    assert!(status.stderr.contains("natsctl down removes it"), "{}", status.stderr);
    assert_eq!(status.json()["state"], "up", "{}", status.stdout);
    for args in [&["kill", "node1"][..], &["up"]] {
        let lost = sandbox.run(args).expect_code(1);
        assert!(lost.stderr.contains("natsctl up FILE "), "{}", lost.stderr);
    }
    // Its file takes it up again.
    sandbox.run(&["up", "kept.yaml"]).expect_code(0);
    assert_eq!(pids(&sandbox), before);
    lose();
    sandbox.run(&["down", "--yes", "--cluster", "demo"]).expect_code(0);
    assert_eq!(sandbox.processes(), Vec::<String>::new());
    assert!(!sandbox.path().join("state").exists());
}

#[test]
fn a_lost_record_that_nothing_on_disk_makes_up_for_is_not_nothing() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("state/demo");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("host_ed25519"), "").unwrap();
    for args in [&["down", "--yes"][..], &["status"]] {
        let lost = sandbox.run(args).expect_code(1);
        assert!(lost.stderr.contains("the record of cluster `demo` is lost"), "{}", lost.stderr);
        assert!(lost.stderr.contains("in the folder of its cluster.yaml"), "{}", lost.stderr);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nodes_left_behind_are_removed_also_where_the_file_names_another_provider() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &["node1"], "");
    sandbox.run(&["up"]).expect_code(0);
    std::fs::remove_file(sandbox.path().join("state/demo/state.json")).unwrap();
    let file = sandbox.path().join("cluster.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("provider: local", "provider: multipass")).unwrap();
    let other = sandbox.run(&["up"]).expect_code(2);
    assert!(other.stderr.contains("natsctl up --provider local"), "{}", other.stderr);
    sandbox.run(&["down", "--yes"]).expect_code(0);
    assert_eq!(sandbox.processes(), Vec::<String>::new());
}

/// Follows logs until the first line came; with its stdout.
fn follow(sandbox: &Sandbox, args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut follow = sandbox.command(args).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    assert_ne!(lines.read_line(&mut line).unwrap(), 0, "a line");
    (follow, lines)
}

#[test]
fn what_follows_ends_with_its_reader_and_not_at_the_next_line() {
    let sandbox = up(&["node1"]);
    for args in [&["logs", "-f"][..], &["status", "--watch", "--interval", "1h"]] {
        let (mut follow, lines) = follow(&sandbox, args);
        drop(lines);
        assert_eq!(follow.wait().unwrap().code(), Some(0), "{args:?}");
    }
    let mut sub = sandbox.command(&["sub", "demo.>"]).spawn().unwrap();
    let mut talk = String::new();
    BufReader::new(sub.stderr.as_mut().unwrap()).read_line(&mut talk).unwrap();
    assert!(talk.starts_with("listening on demo.>"), "{talk}");
    drop(sub.stdout.take());
    assert_eq!(sub.wait().unwrap().code(), Some(0));
}

#[test]
fn followed_logs_end_when_the_last_of_their_nodes_is_removed() {
    let sandbox = up(&["node1", "node2"]);
    let (mut one, _lines) = follow(&sandbox, &["logs", "node2", "-f"]);
    let (mut all, _lines) = follow(&sandbox, &["logs", "-f"]);
    sandbox.cluster("demo", &["node1"], "");
    sandbox.run(&["up"]).expect_code(0);
    assert_eq!(one.wait().unwrap().code(), Some(0));
    assert_eq!(all.try_wait().unwrap(), None);
    sandbox.run(&["down", "--yes"]).expect_code(0);
    let ended = all.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let talk = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(talk.contains("node1 is removed") && talk.contains("node2 is removed"), "{talk}");
}

#[test]
fn a_plan_foresees_that_a_hung_server_is_restarted() {
    let sandbox = up(&["node1", "node2"]);
    sandbox.run(&["plan", "--detailed-exitcode"]).expect_code(0);
    hang(&sandbox, 1);
    let plan = sandbox.run(&["plan", "--detailed-exitcode"]).expect_code(2);
    assert!(plan.stdout.contains("~ node2  restart the server (hung: "), "{}", plan.stdout);
    assert!(plan.stdout.contains("  node1  unchanged"), "{}", plan.stdout);
    sandbox.run(&["kill", "node2", "--duration", "100ms"]).expect_code(0);
}

#[test]
fn a_refused_up_leaves_the_record_of_what_runs() {
    let sandbox = up(&["node1", "node2"]);
    let before = record(&sandbox);
    let port = |sandbox: &Sandbox| sandbox.ports[0];
    let other = Sandbox::new();
    let file = sandbox.path().join("cluster.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&port(&sandbox).to_string(), &port(&other).to_string());
    std::fs::write(&file, text.replace("nodes:", "  config: {no_such_key: 1}\nnodes:")).unwrap();
    let refused = sandbox.run(&["up"]).expect_code(5);
    assert!(refused.stderr.contains("no_such_key"), "{}", refused.stderr);
    assert_eq!(record(&sandbox), before);
    let status = sandbox.run(&["status", "--exit-code"]).expect_code(0);
    assert!(status.stdout.contains("cluster demo (local) is up"), "{}", status.stdout);
}

#[test]
fn a_new_node_does_not_bring_a_refused_configuration_into_the_record() {
    let sandbox = up(&["node1", "node2"]);
    let topology = || {
        let record: serde_json::Value = serde_json::from_str(&record(&sandbox)).unwrap();
        record["topology"].clone()
    };
    let (recorded, before) = (topology(), pids(&sandbox));
    sandbox.cluster("demo", &THREE, "  config: {no_such_key: 1}\n");
    let refused = sandbox.run(&["up"]).expect_code(5);
    for node in THREE {
        assert!(refused.stderr.contains(&format!("cannot prepare {node}")), "{}", refused.stderr);
    }
    assert_eq!(topology(), recorded);
    sandbox.run(&["status", "--exit-code"]).expect_code(0);
    assert_eq!(pids(&sandbox), before);
    // The node that was made for nothing is found again.
    sandbox.cluster("demo", &["node1", "node2"], "");
    let plan = sandbox.run(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("- node3"), "{}", plan.stdout);
    sandbox.cluster("demo", &THREE, "");
    sandbox.run(&["up"]).expect_code(0);
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn a_node_that_was_removed_is_not_missed_where_the_others_refuse_what_is_new() {
    let sandbox = up(&["node1", "node2"]);
    sandbox.cluster("demo", &["node1"], "  config: {no_such_key: 1}\n");
    sandbox.run(&["up"]).expect_code(5);
    assert_eq!(sandbox.processes().len(), 1);
    sandbox.run(&["verify"]).expect_code(0);
    let status = sandbox.run(&["status", "--exit-code"]).expect_code(0);
    assert!(!status.stdout.contains("node2"), "{}", status.stdout);
}

#[tokio::test]
async fn a_route_to_a_stranger_is_told_by_status_as_by_verify() {
    let sandbox = up(&["node1", "node2"]);
    let status = || sandbox.run(&["status", "-o", "json"]).expect_code(0).json();
    let address = status()["nodes"][0]["address"].as_str().unwrap().to_owned();
    let route = format!("nats://{address}:{}", sandbox.ports[1]);
    let eve = Setup::new(&Binary::under_test()).name("eve").cluster("demo", -1);
    let _eve = eve.args(["--routes", &route]).start().await;
    let told = eventually("node1 tells of eve", async || {
        let node = status()["nodes"][0].clone();
        node["strangers"].as_array().is_some_and(|all| !all.is_empty()).then_some(node)
    });
    let told = told.await;
    let eve = serde_json::json!([{"name": "eve", "address": "127.0.0.1"}]);
    assert_eq!((&told["strangers"], &told["healthy"]), (&eve, &false.into()), "{told}");
    assert_eq!((&told["routes"], &told["routes_expected"]), (&1.into(), &1.into()), "{told}");
    let shown = sandbox.run(&["status", "--exit-code"]).expect_code(6).stdout;
    for words in ["route to a stranger: eve (127.0.0.1)", "; end the stranger"] {
        assert!(shown.contains(words), "{shown}");
    }
    let verify = sandbox.run(&["verify"]).expect_code(6);
    assert!(verify.stderr.contains("node1 has a route to a stranger: eve"), "{}", verify.stderr);
}

#[test]
fn a_name_that_cannot_be_is_told_without_a_line_of_a_file() {
    let sandbox = Sandbox::new();
    let named = sandbox.run(&["init", "--name", "a b"]).expect_code(2);
    assert!(named.stderr.contains("a cluster cannot be called `a b`"), "{}", named.stderr);
    assert!(!named.stderr.contains("cluster.yaml:"), "{}", named.stderr);
}

#[test]
fn a_hashed_login_of_servers_is_refused_early() {
    let sandbox = Sandbox::new();
    let hash = sandbox.run(&["passwd", "--generate", "--cost", "4"]).expect_code(0);
    let login = format!("{{user: r, password: \"{}\"}}", hash.stdout.trim());
    let config = format!("  config: {{cluster: {{authorization: {login}}}}}\n");
    sandbox.cluster("demo", &THREE, &config);
    for verb in ["validate", "up"] {
        let refused = sandbox.run(&[verb]).expect_code(3);
        assert!(refused.stderr.contains("servers log in to each other"), "{}", refused.stderr);
    }
}
