//! Random pairs of configurations, one reloaded over the other, by natsd and by a stock nats-server:
//! taken or refused by both, with the same lines in the log, and the same seen by a client.
//!
//! It needs a stock server: `cargo test --test reload_twins -- --include-ignored` with
//! `NATS_SERVER_BIN`. `TWINS_SEED` and `TWINS_RELOADS` say where to begin and how many pairs to try.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use blackbox::eventually;
use blackbox::random_config::{Files, Tree, Wrong};
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::process::Signal;
use tempfile::TempDir;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn lay(dir: &Path, files: &Files) {
    for (name, text) in &files.files {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

/// What came of a reload: lines of the log, and what a client heard.
#[derive(Debug, PartialEq)]
struct Outcome {
    log: Vec<String>,
    heard: Vec<String>,
}

/// Starts a server with one configuration and has it read another. Nothing, if it does not start.
async fn outcome(binary: &Binary, first: &Files, second: &Files) -> Option<Outcome> {
    let dir = TempDir::new().unwrap();
    lay(dir.path(), first);
    let setup = Setup::new(binary)
        .args(["-c", "x.conf"])
        .variables(&first.variables)
        .variables(&second.variables)
        .within(dir.path());
    let mut server = setup.spawn();
    server.up().await.ok()?;
    let mut client = Conversation::dial(server.client()).await.ok()?;
    client.line().await.ok()?;
    client
        .send(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB a.* 1\r\nPING\r\n")
        .await
        .ok()?;
    let before = until_pong(&mut client).await;
    lay(dir.path(), second);
    let log = reloaded(&mut server).await;
    if log.is_empty() {
        return None;
    }
    client.send(b"PING\r\n").await.ok();
    let mut heard = vec![format!("before: {before:?}")];
    heard.extend(until_pong(&mut client).await);
    Some(Outcome { log, heard })
}

/// Lines up to the next PONG or the end, without what is of one server alone.
async fn until_pong(client: &mut Conversation) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let Ok(line) = client.line().await else {
            heard.push("closed".into());
            return heard;
        };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.split_once(' ') {
            None if line == "PONG" => return heard,
            None if line == "PING" => drop(client.send(b"PONG\r\n").await),
            Some(("INFO", info)) => {
                let info: serde_json::Value = serde_json::from_str(info).unwrap();
                let shown =
                    ["auth_required", "tls_required", "max_payload", "headers", "connect_urls"];
                let shown: Vec<_> = shown.iter().map(|key| format!("{}", info[*key])).collect();
                heard.push(format!("INFO {}", shown.join(" ")));
            }
            // Who asks a service in vain is refused and out of time at once.
            _ => heard.push(line.replace("Authentication Timeout", "Authorization Violation")),
        }
    }
}

/// Sends SIGHUP and waits for the last word on it; gives all lines that speak of it.
async fn reloaded(server: &mut Server) -> Vec<String> {
    server.signal(Signal::HUP);
    let done = |line: &&str| {
        line.contains("Reloaded server configuration") || line.contains("Failed to reload")
    };
    let log = eventually("the reload is over", async || {
        let log = server.log();
        (log.lines().any(|line| done(&line)) || server.poll_exit().is_some()).then_some(log)
    })
    .await;
    // A stock server that fell over is no oracle.
    if log.contains("goroutine 1 [") || log.contains("[running]:") {
        return Vec::new();
    }
    let lines = log.lines().filter(|line| line.contains("eload") && !line.contains("[DBG]"));
    lines.map(|line| line.split_once("] ").map_or(line, |(_, rest)| rest)).map(plain).collect()
}

/// A line without its time and the digest of the file.
fn plain(line: &str) -> String {
    let at = line.find('[').unwrap_or(0);
    let line = line.get(at..).unwrap_or_default();
    line.split_once(" (sha256").map_or(line, |(line, _)| line).to_owned()
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn reloads_are_taken_or_refused_alike() {
    let (stock, natsd) = (Binary::stock(), Binary::natsd());
    let (first, count) = (number("TWINS_SEED", 1), number("TWINS_RELOADS", 60));
    let (mut reloads, mut seed) = (0, first);
    let mut differences = Vec::new();
    while reloads < count {
        let mut random = SmallRng::seed_from_u64(seed);
        let tree = Tree::random(&mut random, Wrong(0));
        let earlier = tree.write(&mut random);
        let later = tree.varied(&mut random).write(&mut random);
        if let Some(wanted) = outcome(&stock, &earlier, &later).await {
            reloads += 1;
            let ours = outcome(&natsd, &earlier, &later).await;
            if !ours.as_ref().is_some_and(|ours| alike(&wanted, ours)) {
                differences.push(shown(seed, &wanted, ours.as_ref(), [&earlier, &later]));
            }
        }
        seed += 1;
    }
    assert!(
        differences.is_empty(),
        "{} of {count} reloads differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

const REFUSED: &str = "[ERR] Failed to reload server configuration: ";

/// Whether both took it with the same words, or both refused it. Of several reasons natsd tells
/// first what is wrong with the file as such.
fn alike(stock: &Outcome, ours: &Outcome) -> bool {
    if stock.heard != ours.heard {
        return false;
    }
    let refusal = |outcome: &Outcome| {
        let line = outcome.log.iter().find_map(|line| line.strip_prefix(REFUSED))?;
        Some(line.to_owned())
    };
    let (Some(theirs), Some(own)) = (refusal(stock), refusal(ours)) else {
        return stock.log == ours.log;
    };
    // Which of the fields; some values are shown as Go shows a structure.
    let field = |text: &str| {
        let rest = text.strip_prefix("config reload not supported for ")?;
        rest.split(": old=").next().map(str::to_owned)
    };
    match (field(&theirs), field(&own)) {
        (Some(theirs), Some(own)) => theirs == own,
        _ => true,
    }
}

fn shown(seed: u64, stock: &Outcome, ours: Option<&Outcome>, pair: [&Files; 2]) -> String {
    let mut text = format!("==== TWINS_SEED={seed}:\n");
    let lines = |outcome: &Outcome| [outcome.log.clone(), outcome.heard.clone()].concat();
    let (stock, ours) = (lines(stock), ours.map(lines).unwrap_or_default());
    if stock.iter().all(|line| ours.contains(line)) && stock.len() == ours.len() {
        writeln!(text, "  in another order: {ours:#?}").unwrap();
    }
    for line in &stock {
        writeln!(text, "  {} {line}", if ours.contains(line) { "both " } else { "stock" }).unwrap();
    }
    for line in ours.iter().filter(|line| !stock.contains(line)) {
        writeln!(text, "  natsd {line}").unwrap();
    }
    for files in pair {
        for (name, file) in &files.files {
            write!(text, "---- {name}\n{file}").unwrap();
        }
    }
    text
}
