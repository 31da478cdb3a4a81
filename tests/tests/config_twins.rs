//! Random configuration files, read by natsd and by a stock nats-server: accepted or refused by
//! both, with the same words at the same places, and what is accepted means the same.
//!
//! It needs a stock server: `cargo test --test config_twins -- --include-ignored` with
//! `NATS_SERVER_BIN`. `TWINS_SEED` and `TWINS_FILES` say where to begin and how many files to try.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use blackbox::random_config::{Files, Tree, Wrong, spoil};
use blackbox::server::{Binary, Setup};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What a server said of a file.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    status: Option<i32>,
    lines: BTreeSet<String>,
}

impl Verdict {
    fn of(program: &Path, dir: &Path, files: &Files) -> Self {
        let output = Command::new(program)
            .args(["-t", "-c", "x.conf"])
            .current_dir(dir)
            .envs(files.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter(|line| !line.is_empty()).filter_map(normal);
        Self { status: output.status.code(), lines: lines.collect() }
    }
}

const WRONG_TYPE: &str = ": a value of a wrong type";

/// A line without what is different on purpose (`docs/configuration.md`), or nothing.
fn normal(line: &str) -> Option<String> {
    let line = line.strip_prefix("nats-server: ").unwrap_or(line);
    let warned = [
        "is not supported by natsd yet and has no effect",
        "is not spoken by natsd",
        // Of these the stock server says nothing, and does as if they were not there.
        "timeout should be a number of seconds; taken for 1",
        "\" has no effect",
    ];
    if warned.iter().any(|warning| line.ends_with(warning)) {
        return None;
    }
    let typed = line.find(": interface conversion: interface {} is ").or_else(|| {
        let lists = ["accounts", "auth_users", "allowed accounts"];
        lists.iter().find_map(|what| {
            line.find(&format!(": error parsing {what}: unsupported type in array "))
        })
    });
    let typed = typed.or_else(|| {
        let wrong = line.contains("\" should be ") && line.contains(", but is a");
        let at = line.find(": \"")?;
        wrong.then_some(at)
    });
    // Who dials shows no passwords.
    let mut line = line.to_owned();
    if let Some((scheme, rest)) = line.split_once("://")
        && let Some((_, host)) = rest.split_once('@')
    {
        line = format!("{scheme}://[REDACTED]@{host}");
    }
    let line = line.trim_end_matches(char::is_whitespace);
    // More than a century is a century.
    if let Some((before, _)) = line.split_once("timeout of 99999999999 (") {
        return Some(before.to_owned());
    }
    // Of what is no plain value the stock server shows addresses.
    for kind in [
        ", got map[",
        ", got [",
        "for weight of [",
        "for weight of map[",
        "for an account: [",
        "for an account: map[",
    ] {
        if let Some(at) = line.find(kind) {
            return Some(line[..at + kind.len()].to_owned());
        }
    }
    if let Some(at) = typed {
        return Some(format!("{}{WRONG_TYPE}", &line[..at]));
    }
    let somewhere = SOMEWHERE.iter().find(|text| line.contains(**text));
    Some(somewhere.map_or_else(|| line.to_owned(), |text| format!("somewhere: {text}")))
}

/// What the stock server tells of a block, at the place of the key its map gave it last.
const SOMEWHERE: &[&str] = &[
    "required to be a valid public operator nkey",
    "User entry requires a user",
    "but already saw a s",
    "Authorization callouts require a",
    "Duplicate user",
    "Duplicate nkey",
    "error parsing certificates config: unsupported type",
    "error parsing tags: unsupported type",
    "Expected latency subject to be a string",
    "auth_users field to be an array",
    "allowed accounts field to be an array",
    "Not a valid public nkey for a user",
    "Nkey users do not take usernames or passwords",
];

struct Desk {
    dir: TempDir,
    stock: PathBuf,
    natsd: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let natsd = dir.path().join("nats-server");
        std::os::unix::fs::symlink(Binary::natsd().path(), &natsd).unwrap();
        Self { dir, stock: Binary::stock().path().to_owned(), natsd }
    }

    /// Lays the files where both servers find them.
    fn lay(&self, files: &Files) -> TempDir {
        let dir = TempDir::new_in(self.dir.path()).unwrap();
        for (name, text) in &files.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    /// Tells how the two differ about some files; nothing if they do not.
    fn difference(&self, files: &Files) -> Option<String> {
        let dir = self.lay(files);
        let ours = Verdict::of(&self.natsd, dir.path(), files);
        let mut all = BTreeSet::new();
        // What the stock server says depends on the order of its maps: of several faults in several
        // blocks some are looked for only when the others were not met yet.
        let mut last = None;
        for _ in 0..60 {
            let stock = Verdict::of(&self.stock, dir.path(), files);
            if same(&stock, &ours) {
                return None;
            }
            all.extend(stock.lines.iter().cloned());
            last = Some(stock);
        }
        let stock = last.unwrap();
        if stock.status == Some(1) && ours.status == Some(1) && all == ours.lines {
            return None;
        }
        if let Some(text) = late(&ours, &stock) {
            let run = Command::new(&self.stock)
                .args(["-c", "x.conf", "-a", "127.0.0.1", "-p", "-1"])
                .current_dir(dir.path())
                .envs(files.variables.iter().map(|(name, value)| (name, value)))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped())
                .spawn();
            return at_start(run.unwrap(), &text);
        }
        let mut text = String::new();
        for line in all.union(&ours.lines) {
            match (all.contains(line), ours.lines.contains(line)) {
                (true, false) => writeln!(text, "  stock {line}").unwrap(),
                (false, true) => writeln!(text, "  natsd {line}").unwrap(),
                _ => writeln!(text, "  both  {line}").unwrap(),
            }
        }
        Some(format!("exit {:?}, natsd {:?}\n{text}", stock.status, ours.status))
    }
}

/// What only a start tells, natsd tells on `-t` already.
fn late(ours: &Verdict, stock: &Verdict) -> Option<String> {
    let one = ours.lines.first().filter(|_| ours.lines.len() == 1)?;
    let placed = one.starts_with("x.conf:") || one.starts_with("inc");
    // Such a resolver is no error of the file to the stock server, which cannot start with it.
    let resolver = one.contains(": error parsing account resolver url ");
    // Such a port is found when it is listened on; a flag of this test takes its place.
    if one.contains(": invalid port ") {
        return Some(" ".into());
    }
    let text = if resolver { "esolver" } else { one };
    (stock.status == Some(0) && (!placed || resolver)).then(|| text.to_owned())
}

fn at_start(mut child: std::process::Child, text: &str) -> Option<String> {
    use std::io::BufRead as _;
    let mut heard = Vec::new();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    for line in stderr.lines() {
        let line = line.unwrap();
        let found = line.contains(text);
        let ready = line.ends_with("Server is ready");
        heard.push(line);
        if found || ready {
            break;
        }
    }
    child.kill().ok();
    child.wait().unwrap();
    let found = heard.last().is_some_and(|line| line.contains(text));
    (!found).then(|| format!("natsd refuses: {text}\nstock starts: {}\n", heard.join("\n")))
}

/// Whether both accept or both refuse. All that the stock server says natsd says too; natsd goes on
/// where the stock server gives up on a block or a list, so it may say more.
fn same(stock: &Verdict, ours: &Verdict) -> bool {
    if stock.status == Some(0) {
        // What natsd lacks it warns of, and fails for that alone.
        return ours.lines.is_empty() || *stock == *ours;
    }
    ours.status == stock.status && stock.lines.iter().all(|line| said(line, ours))
}

fn said(line: &str, ours: &Verdict) -> bool {
    let placed = line.starts_with("x.conf:") || line.starts_with("inc");
    ours.lines.contains(line)
        || (!placed && ours.lines.iter().any(|own| own.ends_with(&format!(": {line}"))))
        // A nil pointer followed: what was wrong before that is told by both.
        || (line.contains(": runtime error: ") && !ours.lines.is_empty())
        || (line.starts_with("encountered panic without a token") && !ours.lines.is_empty())
        // Of a resolver's times the stock server names the block.
        || line.split_once(": time: ").is_some_and(|(_, text)| {
            ours.lines.iter().any(|own| own.ends_with(&format!(": time: {text}")))
        })
        // A resolver's directory is made in spite of all that is wrong with it.
        || line.ends_with(": mkdir : no such file or directory")
        // What is no duration at all is no number of seconds either.
        || line.split_once(": invalid use of field ").is_some_and(|(place, _)| {
            ours.lines.contains(&format!("{place}{WRONG_TYPE}"))
        })
        || line.strip_suffix(WRONG_TYPE).is_some_and(|place| inside(place, ours))
}

/// Whether a value of a wrong type stands a few lines off a place: the stock server names a map in
/// an array by where that begins or ends.
fn inside(place: &str, ours: &Verdict) -> bool {
    let of = |place: &str| {
        let (file, rest) = place.split_once(':')?;
        Some((file.to_owned(), rest.split(':').next()?.parse::<usize>().ok()?))
    };
    let Some((file, line)) = of(place) else { return false };
    ours.lines
        .iter()
        .filter_map(|own| of(own.strip_suffix(WRONG_TYPE)?))
        .any(|(other, own)| other == file && own.abs_diff(line) < 12)
}

fn files(seed: u64) -> Files {
    let mut random = SmallRng::seed_from_u64(seed);
    let wrong = Wrong(match seed % 4 {
        0 | 1 => 0,
        2 => 15,
        _ => 80,
    });
    let mut files = Tree::random(&mut random, wrong).write(&mut random);
    if seed % 5 == 4 {
        let at = random.random_range(0..files.files.len());
        files.files[at].1 = spoil(&files.files[at].1, &mut random);
    }
    files
}

fn shown(seed: u64, files: &Files, difference: &str) -> String {
    let mut text = format!("==== TWINS_SEED={seed}: {difference}");
    for (name, file) in &files.files {
        write!(text, "---- {name}\n{file}").unwrap();
    }
    for (name, value) in &files.variables {
        write!(text, "---- ${name}={value}").unwrap();
    }
    text
}

#[test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
fn files_are_accepted_or_refused_with_the_same_words() {
    let desk = Desk::new();
    let (first, count) = (number("TWINS_SEED", 1), number("TWINS_FILES", 600));
    let mut differences = Vec::new();
    for seed in first..first + count {
        let files = files(seed);
        if let Some(difference) = desk.difference(&files) {
            differences.push(shown(seed, &files, &difference));
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {count} files differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// What a running server shows of its configuration, and of what it has in common with no other
/// process.
const OWN: &[&str] = &[
    "server_id",
    "version",
    "git_commit",
    "go",
    "now",
    "start",
    "uptime",
    "mem",
    "cpu",
    "cores",
    "gomaxprocs",
    "gomemlimit",
    "pid",
    "config_load_time",
    "config_digest",
    "tls_ocsp_peer_verify",
    "slow_consumer_stats",
    "subscriptions",
    "client_port",
    "name",
    "port",
    "http_port",
    "pool",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "http_req_stats",
    "num_subscriptions",
    "cache",
    "total",
    "connect_urls",
    "server_name",
    "cluster_port",
    "ports",
    "sublist_cnt",
    "num_subs",
    "sublist_stats",
    "cid",
    "exp",
    "iat",
    "jti",
    "issued_at",
    "update_time",
    "client_cnt",
];

fn strip(value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => {
            // Further down a name is the account's or the user's.
            map.retain(|key, _| !OWN.contains(&key.as_str()) || (key == "name" && depth > 1));
            map.values_mut().for_each(|inner| strip(inner, depth + 1));
        }
        Value::Array(list) => {
            // A clustered server offers JetStream to others, be it switched off.
            list.retain(|inner| inner["subject"] != "$JS.API.>");
            list.iter_mut().for_each(|inner| strip(inner, depth + 1));
            list.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// How a server comes up with a file: documents of its monitoring, or its last words.
async fn meaning(
    binary: &Binary,
    dir: &Path,
    files: &Files,
) -> Result<Vec<(String, Value)>, String> {
    let setup = Setup::new(binary).args(["-c", "x.conf"]).variables(&files.variables).within(dir);
    let mut server = setup.spawn();
    if server.up().await.is_err() {
        // A stock server that fell over is no oracle.
        if server.log().contains("goroutine 1 [") {
            return Err(FELL_OVER.into());
        }
        return Err(last_words(&server.log()));
    }
    let mut base = "";
    for other in ["", "/a", "/a/b"] {
        if server.monitor_text(&format!("{other}/varz")).await.0 == 200 {
            base = other;
        }
    }
    let mut documents = Vec::new();
    for path in ["/varz", "/accountz", "/routez", "/accstatz?unused=1"] {
        let path = format!("{base}{path}");
        documents.push((path.clone(), document(&server, &path).await));
    }
    let mut accounts: Vec<String> = documents[1].1["accounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    accounts.sort();
    for name in accounts {
        let path = format!("{base}/accountz?acc={name}");
        documents.push((path.clone(), document(&server, &path).await));
    }
    for (_, document) in &mut documents {
        strip(document, 0);
    }
    Ok(documents)
}

async fn document(server: &blackbox::server::Server, path: &str) -> Value {
    let (status, body) = server.monitor_text(path).await;
    if status == 200 { serde_json::from_str(&body).unwrap() } else { Value::from(status) }
}

const FELL_OVER: &str = "a panic";

fn last_words(log: &str) -> String {
    let last = log.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let last = last.split_once("[FTL] ").map_or(last, |(_, text)| text);
    let last = ["natsd: ", "nats-server: "]
        .iter()
        .find_map(|name| last.strip_prefix(name))
        .unwrap_or(last);
    // Why a socket refused is the system's to say.
    match last.split_once(": ") {
        Some((what, _)) if what.starts_with("could not fetch") => what.to_owned(),
        _ => last.to_owned(),
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn accepted_files_mean_the_same() {
    let desk = Desk::new();
    let (first, count) = (number("TWINS_SEED", 1), number("TWINS_STARTS", 60));
    let (mut started, mut seed) = (0, first);
    let mut differences = Vec::new();
    while started < count {
        let mut random = SmallRng::seed_from_u64(seed);
        let files = Tree::random(&mut random, Wrong(0)).write(&mut random);
        let dir = desk.lay(&files);
        if Verdict::of(&desk.stock, dir.path(), &files).status == Some(0) {
            started += 1;
            let stock = meaning(&Binary::stock(), dir.path(), &files).await;
            let ours = meaning(&Binary::natsd(), dir.path(), &files).await;
            if stock != ours && stock.as_ref().err().is_none_or(|words| words != FELL_OVER) {
                differences.push(shown(seed, &files, &apart(&stock, &ours)));
            }
        }
        seed += 1;
    }
    assert!(
        differences.is_empty(),
        "{} of {count} configurations mean something else:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

fn apart(
    stock: &Result<Vec<(String, Value)>, String>,
    ours: &Result<Vec<(String, Value)>, String>,
) -> String {
    let (Ok(stock), Ok(ours)) = (stock, ours) else {
        let said =
            |it: &Result<_, String>| it.as_ref().err().cloned().unwrap_or_else(|| "it runs".into());
        return format!("\n  stock {}\n  natsd {}\n", said(stock), said(ours));
    };
    let mut text = String::from("\n");
    for ((path, stock), (_, ours)) in stock.iter().zip(ours) {
        differ(path, stock, ours, &mut text);
    }
    text
}

fn differ(at: &str, stock: &Value, ours: &Value, text: &mut String) {
    match (stock, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                differ(&format!("{at}/{key}"), &of(a), &of(b), text);
            }
        }
        _ if stock == ours => {}
        _ => {
            writeln!(text, "  stock {at} = {stock}").unwrap();
            writeln!(text, "  natsd {at} = {ours}").unwrap();
        }
    }
}
