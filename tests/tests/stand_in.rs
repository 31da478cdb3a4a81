//! The lab's `multipass` says what the recorded one said: same exit code, same words.
//!
//! Only what needs no guest is compared here (no root, no lab); what guests do is compared by
//! the lab's own tests. The recordings are those that the provider's unit tests replay.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step is a failed test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

struct Said {
    code: i64,
    stdout: String,
    stderr: String,
}

#[test]
fn refusals_and_empty_answers_are_word_for_word() {
    for case in [
        "01-unknown-command",
        "01-version-json",
        "02-list-json-0",
        "03-find-json-offline",
        "03-get-driver",
        "03-get-keys",
        "03-info-unknown-json",
        "04-delete-multi-unknown",
        "04-unknown-delete",
        "04-unknown-delete-purge",
        "04-unknown-recover",
        "04-unknown-restart",
        "04-unknown-start",
        "04-unknown-stop",
        "04-unknown-stop-force",
        "05-launch-cloudinit-missing",
        "05-launch-cpus-text",
        "05-launch-cpus-zero",
        "05-launch-disk-below-image",
        "05-launch-disk-too-small",
        "05-launch-invalid-name",
        "05-launch-invalid-name-dash",
        "05-launch-invalid-name-digit",
        "05-launch-mem-invalid",
        "05-launch-mem-too-small",
        "05-launch-timeout-text",
        "05-launch-unknown-option",
    ] {
        compare(case, &json!({}));
    }
}

#[test]
fn a_daemon_that_is_down_or_never_ran_is_word_for_word() {
    for case in [
        "20-daemon-killed-delete-purge",
        "20-daemon-killed-info-json",
        "20-daemon-killed-launch",
        "20-daemon-killed-list-json",
        "20-daemon-killed-start",
        "20-daemon-killed-version-json",
        "20-daemon-nosocket-list-json",
    ] {
        compare(case, &json!({"daemon": "down"}));
    }
    for case in ["00-daemon-never-ran-list-json", "00-daemon-never-ran-version-json"] {
        compare(case, &json!({"daemon": "never-ran"}));
    }
}

#[track_caller]
fn compare(case: &str, faults: &Value) {
    let (arguments, recorded) = recorded(case);
    let played = play(&arguments, faults);
    assert_eq!(played.code, recorded.code, "{case}: exit code; stderr {}", played.stderr);
    assert_eq!(words(&played.stderr), words(&recorded.stderr), "{case}: stderr");
    assert_eq!(words(&played.stdout), words(&recorded.stdout), "{case}: stdout");
}

fn recorded(case: &str) -> (Vec<String>, Said) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../natsctl/src/provider/multipass/testdata");
    let text = std::fs::read_to_string(Path::new(folder).join(format!("{case}.json"))).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    let arguments = value["command"].as_array().unwrap().iter().skip(1);
    // Any image that is there will do.
    let image = format!("file://{}", env!("CARGO_MANIFEST_DIR"));
    let arguments = arguments.map(|word| word.as_str().unwrap().replace("file://<PATH>", &image));
    let said = Said {
        code: value["exit_code"].as_i64().unwrap(),
        stdout: text("stdout"),
        stderr: text("stderr"),
    };
    (arguments.collect(), said)
}

fn play(arguments: &[String], faults: &Value) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("faults.json"), faults.to_string()).unwrap();
    let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/lab/bin/multipass"))
        .args(arguments)
        .env("LAB_DIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().flush().unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap().into(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The words a person would read: no escapes, no spinner frames (how many depends on the clock),
/// no daemon log lines (what they say depends on the network).
fn words(text: &str) -> Vec<String> {
    let mut clean = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                rest.by_ref().find(char::is_ascii_alphabetic);
                clean.push('\n');
            }
            '\u{8}' => drop(clean.pop()),
            _ => clean.push(c),
        }
    }
    let is_log = |line: &&str| {
        line.contains("] [url downloader]") || line.contains("] [blueprint provider]")
    };
    let mut lines: Vec<String> = clean
        .lines()
        .filter(|line| !is_log(line))
        .map(|line| without_time(line).split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| line.trim_end_matches(['/', '-', '\\', '|', ' ']).to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines.dedup();
    lines
}

/// `[2026-11-22T17:05:16.337] [error] …` without the time.
fn without_time(line: &str) -> &str {
    match line.split_once("] ") {
        Some((time, rest)) if time.starts_with("[2") => rest,
        _ => line,
    }
}
