//! natsctl end to end, with nodes as processes on this machine.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: a failed step is a failed test"
)]

use std::io::BufReader;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use blackbox::ctl::{Run, Sandbox, server_binary};

/// Number of the signal of ctrl-c.
#[cfg(target_os = "linux")]
const SIGINT: u32 = 2;
const THREE: [&str; 3] = ["node1", "node2", "node3"];

fn up(sandbox: &Sandbox) -> Run {
    sandbox.run(&["up"]).expect_code(0)
}

fn nodes(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    let status = sandbox.run(&["status", "-o", "json"]).expect_code(0).json();
    status["nodes"].as_array().unwrap().clone()
}

fn pids(sandbox: &Sandbox) -> Vec<Option<u64>> {
    nodes(sandbox).iter().map(|node| node["pid"].as_u64()).collect()
}

/// Reads lines until one contains `text`.
fn wait_for_line(reader: &mut impl std::io::BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "ended without `{text}`:\n{seen}");
        seen.push_str(&line);
        if line.contains(text) {
            return line;
        }
    }
}

fn interrupt(id: u32) {
    let pid = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn the_walkthrough_works_from_up_to_down() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "  log: debug\n");
    let run = up(&sandbox);
    assert!(run.stderr.contains("cluster demo is up"), "{}", run.stderr);
    assert!(run.stderr.contains("6 of 6 ordered pairs delivered"), "{}", run.stderr);
    assert_eq!(run.stdout, "", "stdout is for data");

    let mut sub = sandbox.command(&["sub", "--node", "node1", "demo.>"]).spawn().unwrap();
    let mut talk = BufReader::new(sub.stderr.take().unwrap());
    let mut data = BufReader::new(sub.stdout.take().unwrap());
    wait_for_line(&mut talk, "listening on demo.> at node1");
    sandbox.run(&["pub", "--node", "node3", "demo.hello", "hi"]).expect_code(0);
    assert_eq!(wait_for_line(&mut data, "demo.hello"), "demo.hello: hi\n");

    let kill = sandbox.run(&["kill", "node1", "--duration", "500ms", "-o", "json"]).expect_code(0);
    let outcome = kill.json();
    assert_eq!(outcome["victims"], serde_json::json!(["node1"]));
    assert!(outcome["cut_ms"].as_f64().unwrap() >= 0.0, "{outcome}");
    assert!(outcome["back_ms"].as_f64().unwrap() < 5000.0, "{outcome}");
    assert!(["node2", "node3"].contains(&outcome["back_on"].as_str().unwrap()), "{outcome}");
    let messages = &outcome["messages"];
    let count = |key: &str| messages[key].as_u64().unwrap();
    assert_eq!(count("sent"), count("received") + count("lost"));
    assert_eq!(count("lost_unexpected"), 0, "{messages}");
    assert!(count("sent") > 500, "{messages}");
    assert_eq!(outcome["survivors"].as_array().unwrap().len(), 2);
    for survivor in outcome["survivors"].as_array().unwrap() {
        assert!(survivor["route_gone_ms"].is_number(), "{survivor}");
        assert!(survivor["info_gone_ms"].is_number(), "{survivor}");
    }

    wait_for_line(&mut talk, "disconnected");
    let back = wait_for_line(&mut talk, "reconnected to node");
    assert!(back.contains(" ms"), "{back}");
    sandbox.run(&["pub", "--node", "node3", "demo.hello", "again"]).expect_code(0);
    assert_eq!(wait_for_line(&mut data, "demo.hello"), "demo.hello: again\n");
    interrupt(sub.id());
    assert_eq!(sub.wait().unwrap().code(), Some(130));

    let status = sandbox.run(&["status", "--exit-code"]).expect_code(6);
    assert!(status.stdout.contains("killed "), "{}", status.stdout);
    let verify = sandbox.run(&["verify"]).expect_code(6);
    assert!(verify.stdout.contains("FAIL"), "{}", verify.stdout);

    up(&sandbox);
    sandbox.run(&["status", "--exit-code"]).expect_code(0);
    sandbox.run(&["verify"]).expect_code(0);

    sandbox.run(&["down"]).expect_code(2);
    sandbox.run(&["down", "--yes"]).expect_code(0);
    assert!(!sandbox.path().join("state").exists());
    assert_eq!(sandbox.processes(), Vec::<String>::new());
    sandbox.run(&["down", "--yes"]).expect_code(0);
}

#[test]
fn clusters_of_two_state_folders_that_come_up_at_once_share_no_address() {
    let one = Sandbox::new();
    let mut two = Sandbox::new();
    two.ports = one.ports;
    one.cluster("demo", &THREE, "");
    two.cluster("demo", &THREE, "");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| up(&two));
        up(&one);
        other.join().unwrap();
    });
    let urls = |sandbox: &Sandbox| -> Vec<String> {
        nodes(sandbox).iter().map(|node| node["client_url"].as_str().unwrap().to_owned()).collect()
    };
    let (mine, theirs) = (urls(&one), urls(&two));
    assert!(mine.iter().all(|url| !theirs.contains(url)), "{mine:?} {theirs:?}");
}

#[test]
fn random_is_somebody_who_lives() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let kill = |whom: &str| sandbox.run(&["kill", whom, "--duration", "100ms"]).expect_code(0);
    kill("node1");
    kill("node3");
    let last = kill("random");
    assert!(last.stderr.contains("node2 killed"), "{}", last.stderr);
    let nobody = sandbox.run(&["kill", "random"]).expect_code(5);
    assert!(nobody.stderr.contains("no node serves"), "{}", nobody.stderr);
}

#[test]
fn stop_and_restart_of_random_take_one_that_serves() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.run(&["restart", "random"]).expect_code(0);
    let after = pids(&sandbox);
    let changed = |(before, after): &(&Option<u64>, &Option<u64>)| before != after;
    assert_eq!(before.iter().zip(&after).filter(changed).count(), 1, "{before:?} {after:?}");
    assert!(after.iter().all(Option::is_some), "{after:?}");
    // Each time it is another one: those that are down are not chosen.
    for serving in [2, 1, 0] {
        sandbox.run(&["stop", "random"]).expect_code(0);
        assert_eq!(pids(&sandbox).iter().flatten().count(), serving);
    }
    for verb in ["stop", "restart"] {
        let nobody = sandbox.run(&[verb, "random"]).expect_code(5);
        assert!(nobody.stderr.contains("no node serves"), "{}", nobody.stderr);
    }
}

#[test]
fn a_second_up_changes_nothing_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    let again = up(&sandbox);
    assert!(again.stderr.contains("cluster demo is unchanged"), "{}", again.stderr);
    assert_eq!(pids(&sandbox), before);
    let plan = sandbox.run(&["plan", "--detailed-exitcode"]).expect_code(0);
    assert!(plan.stdout.contains("3 unchanged"), "{}", plan.stdout);
}

#[test]
fn nodes_come_and_go_with_the_file() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.cluster("demo", &["node1", "node2", "node3", "node4"], "");
    let plan = sandbox.run(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("~ node1  store the peers"), "{}", plan.stdout);
    sandbox.cluster("demo", &["node1", "node3", "node4"], "");
    let plan = sandbox.run(&["plan", "--detailed-exitcode"]).expect_code(2);
    assert!(plan.stdout.contains("+ node4"), "{}", plan.stdout);
    assert!(plan.stdout.contains("- node2"), "{}", plan.stdout);
    sandbox.run(&["up", "--dry-run"]).expect_code(0);
    assert_eq!(pids(&sandbox), before, "a dry run changes nothing");
    up(&sandbox);
    sandbox.run(&["verify"]).expect_code(0);
    let after = pids(&sandbox);
    assert_eq!([after[0], after[1]], [before[0], before[2]], "those that stay are not restarted");
    assert_eq!(sandbox.processes().len(), 3);
}

#[test]
fn changed_settings_restart_one_node_after_the_other() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.cluster("demo", &THREE, "  log: debug\n  config: {max_payload: 4096}\n");
    let plan = sandbox.run(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("~ node1  other settings (restart)"), "{}", plan.stdout);
    up(&sandbox);
    let after = pids(&sandbox);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{after:?}");
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn changed_ports_move_every_server_and_a_new_node_finds_them() {
    let mut sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.ports = Sandbox::new().ports;
    sandbox.cluster("demo", &["node1", "node2", "node3", "node4"], "");
    let plan = sandbox.run(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("~ node3  other settings (restart)"), "{}", plan.stdout);
    up(&sandbox);
    sandbox.run(&["verify"]).expect_code(0);
    let after = nodes(&sandbox);
    let port = format!(":{}", sandbox.ports[0]);
    for (node, before) in after.iter().zip(before) {
        assert!(node["client_url"].as_str().unwrap().ends_with(&port), "{node}");
        assert_ne!(node["pid"].as_u64(), before, "{node}");
    }
    let plan = sandbox.run(&["plan", "--detailed-exitcode"]).expect_code(0);
    assert!(plan.stdout.contains("4 unchanged"), "{}", plan.stdout);
}

#[test]
fn a_configuration_that_the_server_refuses_stops_nobody() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.cluster("demo", &THREE, "  config: {no_such_key: 1}\n");
    let run = sandbox.run(&["up"]).expect_code(5);
    assert!(run.stderr.contains("cannot prepare node1"), "{}", run.stderr);
    assert!(run.stderr.contains("refuses its new configuration"), "{}", run.stderr);
    assert!(run.stderr.contains("no_such_key"), "{}", run.stderr);
    assert!(run.stderr.contains("correct `server.config` in cluster.yaml"), "{}", run.stderr);
    assert_eq!(pids(&sandbox), before);
    sandbox.run(&["verify"]).expect_code(0);
    // What is only warned of is no refusal, though `-t` fails on it.
    sandbox.cluster("demo", &THREE, "  config: {mqtt: {}}\n");
    up(&sandbox);
}

#[test]
fn sizes_are_written_as_in_the_servers_own_file() {
    let sandbox = Sandbox::new();
    let server = "  config:\n    max_payload: 2MB\n    max_control_line: 8k\n    \
                  ping_interval: 2m\n    authorization: {user: 1k, password: 2m}\n";
    sandbox.cluster("demo", &THREE, server);
    up(&sandbox);
    let folder = sandbox.path().join("state/demo/nodes/node1/natsd.conf");
    let config = std::fs::read_to_string(folder).unwrap();
    assert!(config.contains("max_payload: 2097152\nmax_control_line: 8000\n"), "{config}");
}

#[test]
fn nodes_come_back_in_any_order_without_the_seed() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    sandbox.run(&["kill", "all", "--duration", "100ms"]).expect_code(0);
    assert_eq!(sandbox.processes(), Vec::<String>::new());
    sandbox.run(&["start", "node3"]).expect_code(0);
    sandbox.run(&["start", "node2"]).expect_code(0);
    let status = nodes(&sandbox);
    assert_eq!(status[1]["routes"], 1, "node2 and node3 find each other without the seed");
    sandbox.run(&["start", "seed"]).expect_code(0);
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn stop_start_and_restart_do_what_they_say() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    sandbox.run(&["stop", "node2"]).expect_code(0);
    let stopped = nodes(&sandbox);
    assert!(stopped[1]["health"].as_str().unwrap().starts_with("stopped "), "{}", stopped[1]);
    assert_eq!(stopped[0]["pid"].as_u64(), before[0]);
    sandbox.run(&["start", "node2,node3"]).expect_code(0);
    sandbox.run(&["restart", "all", "--rolling"]).expect_code(0);
    let after = pids(&sandbox);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after && after.is_some()));
    sandbox.run(&["verify"]).expect_code(0);
    let unknown = sandbox.run(&["stop", "node22"]).expect_code(2);
    assert!(unknown.stderr.contains("did you mean `node2`?"), "{}", unknown.stderr);
}

#[test]
fn a_bad_file_is_refused_with_all_its_problems_and_nothing_is_created() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "cluster.yaml",
        "version: 1\nname: demo\nprovider: local\nnods: []\nnodes:\n  - name: primary\n  - nam: x\n",
    );
    let run = sandbox.run(&["up"]).expect_code(3);
    for place in ["cluster.yaml:4:1:", "cluster.yaml:6:11:", "cluster.yaml:7:5:"] {
        assert!(run.stderr.contains(place), "{}", run.stderr);
    }
    assert!(run.stderr.contains("did you mean `nodes`?"), "{}", run.stderr);
    assert!(!sandbox.path().join("state").exists());
    sandbox.run(&["validate", "missing.yaml"]).expect_code(3);
}

#[test]
fn a_hashed_password_needs_the_plain_one_and_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let hash = sandbox.run(&["passwd", "--generate", "--cost", "4"]).expect_code(0);
    let password = hash.stderr.trim().strip_prefix("password: ").unwrap();
    let login = format!("{{user: app, password: \"{}\"}}", hash.stdout.trim());
    sandbox.cluster("demo", &THREE, &format!("  config: {{authorization: {login}}}\n"));
    for verb in ["validate", "plan", "up"] {
        let refused = sandbox.run(&[verb]).expect_code(3);
        assert!(refused.stderr.contains("password of `app`"), "{}", refused.stderr);
        assert!(refused.stderr.contains("NATSCTL_PASSWORD"), "{}", refused.stderr);
    }
    assert!(!sandbox.path().join("state").exists());
    let with = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("NATSCTL_PASSWORD", password).output().unwrap().status.code()
    };
    assert_eq!(with(&["up"]), Some(0));
    assert_eq!(with(&["verify"]), Some(0));
    let without = sandbox.run(&["pub", "a.b", "x"]).expect_code(5);
    assert!(without.stderr.contains("NATSCTL_PASSWORD"), "{}", without.stderr);
    sandbox.run(&["down", "--yes"]).expect_code(0);
}

#[test]
fn a_cluster_that_is_up_is_reached_past_a_broken_file_and_without_its_own() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &["node1"], "");
    up(&sandbox);
    let own = sandbox.path().join("cluster.yaml");
    let kept = sandbox.path().join("kept.yaml");
    std::fs::rename(&own, &kept).unwrap();
    let gone = sandbox.run(&["up"]).expect_code(3);
    assert!(gone.stderr.contains("hint: natsctl up FILE "), "{}", gone.stderr);
    assert!(!gone.stderr.contains("init"), "{}", gone.stderr);
    sandbox.write("cluster.yaml", "version: 1\nnods: []\n");
    for verb in [&["status"][..], &["down", "--yes"]] {
        let broken = sandbox.run(verb).expect_code(3);
        assert!(broken.stderr.contains("--cluster NAME, one of: demo"), "{}", broken.stderr);
        assert!(!broken.stderr.contains("nothing was created"), "{}", broken.stderr);
    }
    sandbox.run(&["status", "--cluster", "demo", "--exit-code"]).expect_code(0);
    sandbox.run(&["up", "kept.yaml"]).expect_code(0);
}

#[test]
fn help_and_usage_errors_have_the_color_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let colored = |args: &[&str], code| {
        let run = sandbox.run(args).expect_code(code);
        format!("{}{}", run.stdout, run.stderr).contains('\x1b')
    };
    assert!(colored(&["--color", "always", "kill", "--help"], 0));
    assert!(colored(&["--color=always", "kill", "--bogus"], 2));
    assert!(!colored(&["kill", "--help"], 0), "not on a terminal");
    assert!(!colored(&["--color", "never", "kill", "--bogus"], 2));
}

#[test]
fn a_verdict_counts_wherever_the_output_goes() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    sandbox.run(&["kill", "node2", "--duration", "100ms"]).expect_code(0);
    let code = |args: &[&str], redirected: &str| {
        let command = sandbox.command(args);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("\"$@\" {redirected}"), "sh"]).args(words);
        shell.current_dir(command.get_current_dir().unwrap());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code(&["verify"], ">/dev/full").0, Some(6));
    let (full, said) = code(&["status"], ">/dev/full");
    assert_eq!(full, Some(1));
    assert!(said.contains("cannot write to standard output"), "{said}");
    let unread = "| true; echo done >&2";
    assert_eq!(code(&["status"], unread).1, "done\n", "nobody reads: that is no error");
}

#[test]
fn all_are_those_that_run_and_the_last_one_is_told_to_programs() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    sandbox.run(&["kill", "node1", "--duration", "100ms"]).expect_code(0);
    let all = sandbox.run(&["kill", "all", "-o", "json"]).expect_code(0);
    assert!(all.stderr.contains("node1 does not run"), "{}", all.stderr);
    let told = all.json();
    assert_eq!(told["victims"], serde_json::json!(["node2", "node3"]));
    assert_eq!(told["measured"], false);
    let none = sandbox.run(&["kill", "all"]).expect_code(5);
    assert!(none.stderr.contains("no node runs"), "{}", none.stderr);
}

#[test]
fn a_drill_that_is_interrupted_before_the_kill_marks_nobody() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let mut kill = sandbox.command(&["kill", "node1"]).spawn().unwrap();
    let mut talk = BufReader::new(kill.stderr.take().unwrap());
    wait_for_line(&mut talk, "killing node1");
    interrupt(kill.id());
    assert_eq!(kill.wait().unwrap().code(), Some(130));
    assert!(pids(&sandbox).iter().all(Option::is_some));
    let state = std::fs::read_to_string(sandbox.path().join("state/demo/state.json")).unwrap();
    assert!(!state.contains("killed"), "{state}");
}

/// Whether a process has said what it does on ctrl-c. Source: proc_pid_status(5).
#[cfg(target_os = "linux")]
fn minds_interrupts(id: u32) -> Option<()> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
    (caught & 1 << (SIGINT - 1) != 0).then_some(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn reading_standard_input_keeps_nobody_from_stopping_it() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &["node1"], "");
    up(&sandbox);
    for args in [&["pub", "a.b"][..], &["passwd"]] {
        let mut command = tokio::process::Command::from(sandbox.command(args));
        let command = command.stdin(std::process::Stdio::piped()).kill_on_drop(true);
        let mut waiting = command.spawn().unwrap();
        // Held open: what is waited for would else find its end.
        let _input = waiting.stdin.take();
        let id = waiting.id().unwrap();
        blackbox::eventually("it minds interrupts", async || minds_interrupts(id)).await;
        interrupt(id);
        let ended = tokio::time::timeout(Duration::from_secs(5), waiting.wait()).await;
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(130), "{args:?}");
    }
}

#[test]
fn what_can_be_refused_at_once_has_an_exit_code_that_says_so() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &["node1"], "");
    up(&sandbox);
    for subject in ["a b", "a..b", "a.*"] {
        sandbox.run(&["pub", subject, "x"]).expect_code(2);
    }
    sandbox.run(&["sub", "a..b"]).expect_code(2);
    sandbox.run(&["pub", "a.b", "x"]).expect_code(0);
    let lock = std::fs::File::open(sandbox.path().join("state/demo/lock")).unwrap();
    lock.lock().unwrap();
    let busy = sandbox.run(&["stop", "node1"]).expect_code(8);
    assert!(busy.stderr.contains("is working on cluster `demo`"), "{}", busy.stderr);
    drop(lock);
}

#[test]
fn a_state_folder_that_is_named_is_all_that_has_to_be_writable() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &["node1"], "");
    let mut command = sandbox.command(&["up"]);
    let output = command.env("HOME", "/dev/null").env_remove("XDG_CACHE_HOME").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn ten_thousand_nodes_are_refused_at_once() {
    let sandbox = Sandbox::new();
    let nodes: Vec<String> = (0..10_000).map(|nth| format!("n{nth}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    sandbox.cluster("demo", &nodes, "");
    let begun = Instant::now();
    let run = sandbox.run(&["up"]).expect_code(3);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(run.stderr.contains("10000 nodes are too many"), "{}", run.stderr);
}

#[test]
fn a_port_in_use_is_named_with_its_program_and_up_goes_on_afterwards() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    let taken = TcpListener::bind(("0.0.0.0", sandbox.ports[0])).unwrap();
    let run = sandbox.run(&["up"]).expect_code(5);
    let port = format!("port {} (client_port) is in use by ", sandbox.ports[0]);
    assert!(run.stderr.contains(&port), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("(pid {})", std::process::id())), "{}", run.stderr);
    drop(taken);
    up(&sandbox);
}

#[test]
fn a_node_that_dies_half_way_harms_no_other_and_up_finishes_the_job() {
    let sandbox = Sandbox::new();
    let healed = sandbox.path().join("healed");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *node2/natsd.conf*) [ -e '{}' ] || {{ echo '[FTL] no' >&2; \
         exit 1; }};; esac\nexec '{}' \"$@\"\n",
        healed.display(),
        server_binary().display()
    );
    let program = sandbox.program("fragile", &script);
    sandbox.cluster("demo", &THREE, &format!("  binary: {}\n", program.display()));
    let run = sandbox.run(&["up"]).expect_code(7);
    assert!(run.stderr.contains("cannot start node2"), "{}", run.stderr);
    assert!(run.stderr.contains("[FTL] no"), "{}", run.stderr);
    assert!(run.stderr.contains("natsctl up"), "{}", run.stderr);
    let halfway = nodes(&sandbox);
    assert_eq!([&halfway[0]["health"], &halfway[2]["health"]], ["ok", "ok"], "{halfway:?}");
    std::fs::write(healed, "").unwrap();
    up(&sandbox);
    let after = nodes(&sandbox);
    assert_eq!(after[0]["pid"], halfway[0]["pid"], "the others are left alone");
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn a_binary_that_does_not_run_is_never_trusted() {
    let sandbox = Sandbox::new();
    let program =
        sandbox.program("broken", "#!/bin/sh\necho 'bad ELF interpreter' >&2\nexit 127\n");
    sandbox.cluster("demo", &["node1"], &format!("  binary: {}\n", program.display()));
    let run = sandbox.run(&["up", "--no-keep"]).expect_code(5);
    assert!(run.stderr.contains("does not run there: bad ELF interpreter"), "{}", run.stderr);
    assert!(!run.stderr.contains("goes on from here"), "{}", run.stderr);
    assert!(!sandbox.path().join("state").exists(), "--no-keep leaves nothing");
}

#[test]
fn ctrl_c_ends_up_cleanly_and_says_how_to_go_on() {
    let sandbox = Sandbox::new();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo v1 && exit\nexec sleep 60\n";
    let program = sandbox.program("silent", script);
    sandbox.cluster("demo", &["node1"], &format!("  binary: {}\n", program.display()));
    let mut child = sandbox.command(&["up"]).spawn().unwrap();
    let mut talk = BufReader::new(child.stderr.take().unwrap());
    wait_for_line(&mut talk, "starting as the seed");
    interrupt(child.id());
    wait_for_line(&mut talk, "natsctl up goes on from here");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    sandbox.run(&["down", "--yes"]).expect_code(0);
    assert_eq!(sandbox.processes(), Vec::<String>::new());
}

#[test]
fn two_clusters_live_side_by_side_and_must_be_told_apart() {
    let sandbox = Sandbox::new();
    sandbox.cluster("one", &THREE, "");
    up(&sandbox);
    sandbox.cluster("two", &["node1", "node2"], "");
    up(&sandbox);
    std::fs::remove_file(sandbox.path().join("cluster.yaml")).unwrap();
    let which = sandbox.run(&["status"]).expect_code(2);
    assert!(which.stderr.contains("one of: one, two"), "{}", which.stderr);
    sandbox.run(&["verify", "--cluster", "one"]).expect_code(0);
    sandbox.run(&["verify", "--cluster", "two"]).expect_code(0);
    sandbox.run(&["down", "--yes", "--cluster", "two"]).expect_code(0);
    // Now there is but one, and how it was brought up is remembered.
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn next_steps_reach_the_cluster_they_are_about() {
    let sandbox = Sandbox::new();
    sandbox.cluster("beta", &["node1"], "");
    std::fs::rename(sandbox.path().join("cluster.yaml"), sandbox.path().join("beta.yaml")).unwrap();
    let alone = sandbox.run(&["up", "beta.yaml"]).expect_code(0);
    assert!(alone.stderr.contains("\n  natsctl kill node1"), "{}", alone.stderr);
    sandbox.cluster("demo", &["node1"], "");
    up(&sandbox);
    sandbox.run(&["stop", "node1", "--cluster", "beta"]).expect_code(0);
    let healed = sandbox.run(&["up", "beta.yaml"]).expect_code(0);
    assert!(healed.stderr.contains("\n  natsctl kill --cluster beta node1"), "{}", healed.stderr);
    let killed = sandbox.run(&["kill", "node1", "--cluster", "beta"]).expect_code(0);
    assert!(killed.stderr.contains("natsctl start --cluster beta node1"), "{}", killed.stderr);
    let status = sandbox.run(&["status", "--cluster", "beta"]).expect_code(0);
    assert!(status.stdout.contains("natsctl up --cluster beta heals"), "{}", status.stdout);
    let verify = sandbox.run(&["verify", "--cluster", "beta"]).expect_code(6);
    assert!(verify.stderr.contains("hint: natsctl status --cluster beta\n"), "{}", verify.stderr);
    let own = sandbox.run(&["kill", "node1"]).expect_code(0);
    assert!(own.stderr.contains("natsctl start node1 "), "{}", own.stderr);
}

#[test]
fn a_server_that_hangs_is_restarted_by_up() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let before = pids(&sandbox);
    let hung = i32::try_from(before[1].unwrap()).unwrap();
    let hung = rustix::process::Pid::from_raw(hung).unwrap();
    rustix::process::kill_process(hung, rustix::process::Signal::STOP).unwrap();
    let run = up(&sandbox);
    assert!(run.stderr.contains("node2 did not answer for "), "{}", run.stderr);
    assert!(run.stderr.contains("cluster demo is up in "), "{}", run.stderr);
    let after = pids(&sandbox);
    assert_ne!(after[1], before[1]);
    assert_eq!([after[0], after[2]], [before[0], before[2]], "the others are left alone");
    sandbox.run(&["verify"]).expect_code(0);
}

#[test]
fn nodes_can_share_an_address() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    let single = |args: &[&str]| {
        let output = sandbox.command(args).env("NATSCTL_LOOPBACK", "single").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(single(&["up"]).0, Some(0));
    let (code, status) = single(&["status", "-o", "json"]);
    assert_eq!(code, Some(0));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    let urls: std::collections::BTreeSet<&str> =
        nodes.iter().filter_map(|node| node["client_url"].as_str()).collect();
    assert_eq!(urls.len(), 3, "{urls:?}");
    assert!(urls.iter().all(|url| url.starts_with("nats://127.0.0.1:")), "{urls:?}");
    assert_eq!(single(&["verify"]).0, Some(0));
}

#[test]
fn logs_of_all_nodes_are_merged_by_time() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "  log: debug\n");
    up(&sandbox);
    let logs = sandbox.run(&["logs"]).expect_code(0).stdout;
    let times: Vec<&str> = logs.lines().filter_map(|line| line.split("] ").nth(1)).collect();
    let times: Vec<&str> = times.iter().filter_map(|text| text.get(..26)).collect();
    assert!(times.len() > 30 && times.is_sorted(), "{logs}");
    for node in THREE {
        assert!(logs.contains(&format!("{node} | ")), "{logs}");
    }
    let one = sandbox.run(&["logs", "node2", "-n", "3"]).expect_code(0).stdout;
    assert_eq!(one.lines().count(), 3);
    let mut follow = sandbox.command(&["logs", "-f", "-n", "0"]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    // Nothing tells when the tail of a log is at work: so talk until something is heard.
    // The reader stays until the interrupt: without one it ends by itself.
    let heard = std::thread::spawn(move || {
        let line = wait_for_line(&mut lines, "Client connection created");
        (line, lines)
    });
    while !heard.is_finished() {
        sandbox.run(&["pub", "--node", "node1", "demo.hello", "x"]).expect_code(0);
    }
    let (line, _reader) = heard.join().unwrap();
    assert!(line.contains("Client connection created"));
    interrupt(follow.id());
    assert_eq!(follow.wait().unwrap().code(), Some(130));
}

#[test]
fn events_come_as_json_lines_for_programs() {
    let sandbox = Sandbox::new();
    sandbox.cluster("demo", &THREE, "");
    let run = sandbox.run(&["up", "-o", "jsonl"]).expect_code(0);
    let events: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = events.iter().filter(|event| event["event"] == "done").count();
    assert_eq!(done, 3, "{}", run.stdout);
    assert_eq!(events.last().unwrap()["result"]["verdict"], "pass");
    assert_eq!(run.stderr, "");
}

#[test]
fn failures_and_kills_are_told_to_programs_too() {
    let sandbox = Sandbox::new();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo v1 && exit\necho no >&2; exit 1\n";
    let program = sandbox.program("fragile", script);
    sandbox.cluster("demo", &["node1"], &format!("  binary: {}\n", program.display()));
    let run = sandbox.run(&["up", "-o", "json"]).expect_code(5);
    let error = &run.json()["error"];
    assert_eq!((&error["kind"], &error["exit_code"]), (&"remote".into(), &5.into()), "{error}");
    assert_eq!(error["problems"][0]["node"], "node1", "{error}");
    assert!(error["problems"][0]["message"].as_str().unwrap().contains("node1"), "{error}");
    let run = sandbox.run(&["up", "-o", "jsonl"]).expect_code(5);
    let last: serde_json::Value =
        serde_json::from_str(run.stdout.lines().next_back().unwrap()).unwrap();
    assert_eq!(last["event"], "result");
    assert_eq!(last["result"]["error"]["exit_code"], 5, "{last}");
    sandbox.run(&["up", "--dry-run", "-o", "json"]).expect_code(2);

    sandbox.cluster("demo", &THREE, "");
    up(&sandbox);
    let run = sandbox.run(&["kill", "node1", "--duration", "100ms", "-o", "jsonl"]).expect_code(0);
    let events: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["event"].is_string()), "{}", run.stdout);
    assert_eq!(events.last().unwrap()["result"]["victims"], serde_json::json!(["node1"]));
}

#[test]
fn small_verbs_work_without_a_cluster() {
    let sandbox = Sandbox::new();
    sandbox.run(&["init", "--provider", "local"]).expect_code(0);
    sandbox.run(&["init"]).expect_code(2);
    let valid = sandbox.run(&["validate"]).expect_code(0);
    assert!(valid.stdout.contains("cluster demo, provider local"), "{}", valid.stdout);
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = sandbox.run(&["completion", shell]).expect_code(0);
        assert!(script.stdout.contains("natsctl"), "{shell}");
    }
    let version = sandbox.run(&["version", "-o", "json"]).expect_code(0).json();
    assert_eq!(version["natsctl"], env!("CARGO_PKG_VERSION"));
    let missing = sandbox.run(&["verify"]).expect_code(2);
    assert!(missing.stderr.contains("natsctl up"), "{}", missing.stderr);
    sandbox.run(&["down"]).expect_code(0);
    sandbox.run(&["frobnicate"]).expect_code(2);
}
