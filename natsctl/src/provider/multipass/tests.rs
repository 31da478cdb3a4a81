//! Replays what a real Multipass 1.16.3 said (testdata/, recorded) and looks at what we make of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use super::client::{Answer, CallError};
use super::init::Init;
use super::power::Silent;
use super::*;
use crate::provider::MachineState;
use crate::topology::Vm;

/// One recorded case.
fn recorded(case: &str) -> Answer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/provider/multipass/testdata")
        .join(format!("{case}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{case}: {e}"));
    let value: Value = serde_json::from_str(&text).unwrap();
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    Answer {
        // The recorder wrote an end by signal as a negative number.
        code: value["exit_code"].as_i64().and_then(|code| u8::try_from(code).ok()).map(i32::from),
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// Any answer about instance `x1`, `node1`, … is about `demo-node1` for these tests.
fn of_ours(case: &str, theirs: &str) -> Answer {
    let answer = recorded(case);
    let ours = |text: &str| text.replace(theirs, "demo-node1");
    Answer { code: answer.code, stdout: ours(&answer.stdout), stderr: ours(&answer.stderr) }
}

fn ok(stdout: &str) -> Answer {
    Answer { code: Some(0), stdout: stdout.into(), stderr: String::new() }
}

fn listing(state: &str) -> Answer {
    ok(&format!(r#"{{"list": [{{"name": "demo-node1", "state": "{state}", "ipv4": []}}]}}"#))
}

/// Plays answers in order and keeps what was asked.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(&'static str, Result<Answer, CallError>)>>,
    asked: Mutex<Vec<(Vec<String>, Option<String>)>>,
}

impl Client for Arc<Script> {
    fn call(
        &self,
        arguments: Vec<String>,
        stdin: Option<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Answer, CallError>> {
        assert!(limit > Duration::ZERO && limit < Duration::from_secs(3600));
        Box::pin(async move {
            let (verb, answer) = self
                .answers
                .lock()
                .await
                .pop_front()
                .unwrap_or_else(|| panic!("not expected: {arguments:?}"));
            assert_eq!(arguments.first().map(String::as_str), Some(verb), "{arguments:?}");
            self.asked.lock().await.push((arguments, stdin));
            answer
        })
    }
}

struct Stage {
    folder: tempfile::TempDir,
    script: Arc<Script>,
    provider: Multipass,
}

/// A provider in front of recorded answers: verb expected, what is said.
fn stage(answers: Vec<(&'static str, Answer)>) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let answers = answers.into_iter().map(|(verb, answer)| (verb, Ok(answer))).collect();
    let script = Arc::new(Script { answers: Mutex::new(answers), asked: Mutex::default() });
    let mut provider =
        Multipass::with("demo", folder.path().to_owned(), Box::new(Arc::clone(&script)));
    provider.pause = Duration::from_millis(1);
    Stage { folder, script, provider }
}

impl Stage {
    fn claimed(self) -> Self {
        self.provider.claim("node1").host_key("demo-node1").unwrap();
        self.provider.note("node1", None).unwrap();
        self
    }

    async fn asked(&self) -> Vec<String> {
        assert!(self.script.answers.lock().await.is_empty(), "not all answers were asked for");
        self.script.asked.lock().await.iter().map(|(words, _)| words.join(" ")).collect()
    }
}

fn node() -> Node {
    let vm = Vm { image: "24.04".into(), cpus: 2, memory_bytes: 1 << 30, disk_bytes: 5 << 30 };
    Node { name: "node1".into(), seed: true, vm, host: None }
}

fn machine(state: MachineState) -> Machine {
    Machine { node: "node1".into(), id: "demo-node1".into(), state, address: None }
}

/// The error as a person reads it.
fn told(error: &ProviderError) -> String {
    let mut text = format!("error: {error}\n");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("cause: {inner}\n"));
        cause = inner.source();
    }
    text.push_str(&format!(" hint: {}\n", error.hint.as_deref().unwrap_or("-")));
    text
}

async fn launch_failing_with(case: &str, theirs: &str) -> (Stage, ProviderError) {
    let none = recorded("02-list-json-0");
    let answers = vec![("list", none.clone()), ("launch", of_ours(case, theirs)), ("list", none)];
    let stage = stage(answers);
    let error = stage.provider.create(&node(), &Silent).await.unwrap_err();
    (stage, error)
}

#[tokio::test]
async fn every_failed_launch_says_node_cause_and_next_command() {
    let mut all = String::new();
    for (case, theirs) in [
        ("05-launch-alias-unknown-offline", "x1"),
        ("05-launch-default-offline", "x1"),
        ("05-launch-cloudinit-badyaml", "x1"),
        ("05-launch-cloudinit-missing", "x1"),
        ("05-launch-cpus-text", "x1"),
        ("05-launch-cpus-zero", "x1"),
        ("05-launch-disk-below-image", "x1"),
        ("05-launch-disk-too-small", "x1"),
        ("05-launch-image-missing", "x1"),
        ("05-launch-invalid-name", "x1"),
        ("05-launch-invalid-name-dash", "x1"),
        ("05-launch-invalid-name-digit", "x1"),
        ("05-launch-mem-invalid", "x1"),
        ("05-launch-mem-too-small", "x1"),
        ("05-launch-timeout-text", "x1"),
        ("05-launch-unknown-option", "x1"),
        ("07-launch-existing-name", "node1"),
        ("15-launch-name-of-deleted", "par3"),
        ("19-launch-timeout-8s", "slow1"),
        ("20-daemon-killed-launch", "x1"),
        ("24-launch-client-sigint", "int1"),
    ] {
        let (stage, error) = launch_failing_with(case, theirs).await;
        assert_eq!(error.node.as_deref(), Some("node1"), "{case}");
        assert!(!stage.provider.claim("node1").exists(), "{case}: nothing was made");
        all.push_str(&format!("[{case}]\n{}\n", told(&error)));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn every_failure_of_another_call_says_its_cause_and_the_next_command() {
    let mut all = String::new();
    for case in [
        "00-daemon-never-ran-list-json",
        "20-daemon-killed-list-json",
        "20-daemon-nosocket-list-json",
    ] {
        let stage = stage(vec![("list", recorded(case))]).claimed();
        let error = stage.provider.list().await.unwrap_err();
        all.push_str(&format!("[{case}]\n{}\n", told(&error)));
    }
    for (case, theirs) in [
        ("04-unknown-start", "nosuch"),
        ("15-start-deleted", "par3"),
        ("20-daemon-killed-start", "node1"),
    ] {
        let stopped = listing("Stopped");
        let answers =
            vec![("list", stopped.clone()), ("start", of_ours(case, theirs)), ("list", stopped)];
        let stage = stage(answers).claimed();
        let error =
            stage.provider.power(&machine(MachineState::Stopped), Power::On).await.unwrap_err();
        all.push_str(&format!("[{case}]\n{}\n", told(&error)));
    }
    for (case, theirs) in [("04-unknown-stop-force", "nosuch"), ("15-stop-force-deleted", "par3")] {
        let stage = stage(vec![("stop", of_ours(case, theirs))]).claimed();
        let error =
            stage.provider.power(&machine(MachineState::Running), Power::Cut).await.unwrap_err();
        all.push_str(&format!("[{case}]\n{}\n", told(&error)));
    }
    let there = listing("Stopped");
    let answers = vec![
        ("list", there.clone()),
        ("delete", recorded("20-daemon-killed-delete-purge")),
        ("list", there),
    ];
    let stage = stage(answers).claimed();
    let error = stage.provider.destroy(&machine(MachineState::Stopped)).await.unwrap_err();
    all.push_str(&format!("[20-daemon-killed-delete-purge]\n{}\n", told(&error)));
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn preflight_tells_what_is_missing_and_how_to_mend_it() {
    let mut all = String::new();
    let never = || recorded("00-daemon-never-ran-version-json");
    let old = || ok(r#"{"multipass": "1.12.2", "multipassd": "1.12.2"}"#);
    let mixed = || ok(r#"{"multipass": "1.16.3", "multipassd": "1.13.1+mac"}"#);
    let unanswered = || recorded("20-daemon-killed-version-json");
    let down = || recorded("20-daemon-killed-list-json");
    let locked = || Answer {
        code: Some(2),
        stdout: String::new(),
        stderr: "list failed: The client is not authenticated with the Multipass service.\n\
                 Please use 'multipass authenticate' before proceeding.\n"
            .into(),
    };
    for (name, answers) in [
        ("never ran", vec![("version", never())]),
        ("daemon down", vec![("version", unanswered()), ("list", down())]),
        ("not authenticated", vec![("version", unanswered()), ("list", locked())]),
        ("too old", vec![("version", old())]),
        ("daemon too old", vec![("version", mixed())]),
        ("virtualbox", vec![("version", recorded("01-version-json")), ("get", ok("virtualbox\n"))]),
    ] {
        let error = stage(answers).provider.preflight().await.unwrap_err();
        all.push_str(&format!("[{name}]\n{}\n", told(&error)));
    }
    for (name, error) in [
        ("not installed", CallError::NotInstalled),
        ("hangs", CallError::Hung { limit: ASK_LIMIT }),
    ] {
        let stage = stage(vec![]);
        stage.script.answers.lock().await.push_back(("version", Err(error)));
        let error = stage.provider.preflight().await.unwrap_err();
        all.push_str(&format!("[{name}]\n{}\n", told(&error)));
    }
    insta::assert_snapshot!(all);
    let good = vec![("version", recorded("01-version-json")), ("get", recorded("03-get-driver"))];
    stage(good).provider.preflight().await.unwrap();
}

#[tokio::test]
async fn a_launch_names_everything_and_sends_the_keys_on_stdin() {
    let (stage, _) = launch_failing_with("05-launch-image-missing", "x1").await;
    let asked = stage.script.asked.lock().await;
    let (launch, stdin) = &asked[1];
    assert_eq!(
        launch.join(" "),
        "launch 24.04 --name demo-node1 --cpus 2 --memory 1073741824 --disk 5368709120 \
         --cloud-init - --timeout 1800"
    );
    let stdin = stdin.as_deref().unwrap();
    assert!(
        stdin.contains("ssh_authorized_keys:\n- ssh-ed25519 ") && stdin.contains(" natsctl demo")
    );
    assert!(stage.folder.path().join("id_ed25519").exists());
}

#[tokio::test]
async fn an_instance_that_is_not_ours_is_never_touched() {
    let stage = stage(vec![
        ("list", of_ours("07-list-json-1-running", "node1")),
        ("list", of_ours("07-list-json-1-running", "node1")),
    ]);
    let error = stage.provider.create(&node(), &Silent).await.unwrap_err();
    assert!(told(&error).contains("multipass delete --purge demo-node1"), "{}", told(&error));
    assert!(
        stage.provider.list().await.unwrap().is_empty(),
        "nor shown as a machine of this cluster"
    );
    stage.provider.destroy(&machine(MachineState::Running)).await.unwrap_err();
    stage.provider.power(&machine(MachineState::Running), Power::Cut).await.unwrap_err();
    let asked = stage.asked().await;
    assert!(asked.iter().all(|call| call.starts_with("list ")), "{asked:?}");
}

#[tokio::test]
async fn a_launch_that_timed_out_leaves_its_machine_claimed() {
    let stage = stage(vec![
        ("list", recorded("02-list-json-0")),
        ("launch", of_ours("19-launch-timeout-8s", "slow1")),
        ("list", of_ours("19-list-json-after-launch-timeout", "slow1")),
        ("list", of_ours("19-list-json-after-launch-timeout", "slow1")),
    ]);
    let error = stage.provider.create(&node(), &Silent).await.unwrap_err();
    assert!(error.transient);
    let machines = stage.provider.list().await.unwrap();
    assert_eq!(machines, [machine(MachineState::Unknown)]);
}

#[tokio::test]
async fn states_are_read_from_every_recorded_list() {
    for (case, theirs, expected) in [
        ("11-list-json-stopped", "node1", MachineState::Stopped),
        ("14-list-json-suspended", "par1", MachineState::Suspended),
        ("15-list-json-deleted", "par3", MachineState::Deleted),
        ("17-list-json-3s-after-qemu-killed", "par2", MachineState::Stopped),
    ] {
        let stage = stage(vec![("list", of_ours(case, theirs))]).claimed();
        let machines = stage.provider.list().await.unwrap();
        assert_eq!(machines.first().map(|machine| machine.state), Some(expected), "{case}");
    }
}

#[tokio::test]
async fn a_cluster_without_claims_asks_nothing() {
    let stage = stage(vec![]);
    assert_eq!(stage.provider.list().await.unwrap(), []);
}

#[tokio::test]
async fn removal_is_by_name_and_purges_that_one_only() {
    let stage = stage(vec![
        ("list", listing("Stopped")),
        ("delete", recorded("24-delete-purge-running")),
        ("list", recorded("02-list-json-0")),
    ])
    .claimed();
    stage.provider.destroy(&machine(MachineState::Stopped)).await.unwrap();
    assert_eq!(stage.asked().await[1], "delete --purge demo-node1");
    assert!(!stage.provider.claim("node1").exists());
    assert_eq!(std::fs::read_dir(stage.folder.path().join("nodes")).unwrap().count(), 0);
}

#[tokio::test]
async fn removing_what_is_gone_is_no_error_and_drops_the_claim() {
    let stage = stage(vec![("list", recorded("02-list-json-0"))]).claimed();
    stage.provider.destroy(&machine(MachineState::Stopped)).await.unwrap();
    assert!(!stage.provider.claim("node1").exists());
}

#[tokio::test]
async fn cutting_the_power_of_a_stopped_machine_is_no_error() {
    for case in ["11-stop-force-stopped", "13-stop-force-running"] {
        let stage = stage(vec![("stop", recorded(case)), ("list", listing("Stopped"))]).claimed();
        let after =
            stage.provider.power(&machine(MachineState::Running), Power::Cut).await.unwrap();
        assert_eq!(after.state, MachineState::Stopped);
        assert_eq!(stage.asked().await[0], "stop --force demo-node1");
    }
}

#[tokio::test]
async fn a_refused_size_leaves_the_machine_started_again() {
    let smaller = Answer {
        code: Some(2),
        stdout: String::new(),
        stderr: "set failed: Disk can only be expanded\n".into(),
    };
    let stage = stage(vec![
        ("list", listing("Stopped")),
        ("set", ok("")),
        ("set", ok("")),
        ("set", smaller),
        ("list", listing("Stopped")),
        ("start", recorded("12-start-stopped")),
        ("list", listing("Stopped")),
        // The test ends here: there is no guest to reach.
        ("info", recorded("20-daemon-killed-info-json")),
    ])
    .claimed();
    let stopped = machine(MachineState::Stopped);
    let error = stage.provider.resize(&stopped, &node()).await.unwrap_err();
    assert!(told(&error).contains("Disk can only be expanded"), "{}", told(&error));
    let asked = stage.asked().await;
    assert_eq!(asked[1], "set local.demo-node1.cpus=2");
    assert!(asked[5].starts_with("start demo-node1"), "{asked:?}");
}

#[tokio::test]
async fn the_address_comes_from_info_and_is_remembered() {
    let stage = stage(vec![("info", of_ours("07-info-json-running", "node1"))]).claimed();
    let address = stage.provider.ask_address("node1").await.unwrap();
    assert_eq!(address, Some("10.145.172.209".parse().unwrap()));
    assert_eq!(stage.provider.claim("node1").address(), address);
}

#[test]
fn spinner_noise_leaves_only_words() {
    let launch = recorded("06-launch-node1");
    let clean = failure::strip(&launch.stdout);
    assert!(!clean.contains('\u{1b}') && !clean.contains('\u{8}'), "{clean:?}");
    assert!(clean.contains("Launched: node1"), "{clean:?}");
}

#[test]
fn cloud_init_may_be_busy_done_or_in_error() {
    let read = |text: &str| match Init::read(text.as_bytes()) {
        Init::Busy => "busy".to_owned(),
        Init::Done => "done".to_owned(),
        Init::Failed(why) => why,
    };
    assert_eq!(read(""), "done");
    assert_eq!(read("\n"), "done");
    assert_eq!(read(r#"{"status": "running"}"#), "busy");
    assert_eq!(read(r#"{"status": "not run"}"#), "busy");
    assert_eq!(read(r#"{"status": "done"}"#), "done");
    assert_eq!(read(r#"{"status": "error", "errors": ["no pollinate"]}"#), "no pollinate");
    assert_eq!(read("Traceback"), "busy");
}
