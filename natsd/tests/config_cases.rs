//! The table of configurations in `config_cases.txt`, put to natsd and to nats-server.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;

use natsd::config::conf::Surroundings;
use natsd::config::flags::{Outcome, parse_in};

/// One row of the table.
#[derive(Default)]
struct Case {
    title: String,
    files: HashMap<String, String>,
    natsd: Vec<String>,
    stock: Vec<String>,
}

impl Surroundings for Case {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| text.clone().into_bytes()).ok_or_else(|| io::Error::from_raw_os_error(2))
    }
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut file = String::new();
    for line in include_str!("config_cases.txt").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case { title: title.into(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(text) = line.strip_prefix('|') {
            let content = case.files.entry(file.clone()).or_default();
            content.push_str(text.strip_prefix(' ').unwrap_or(text));
            content.push('\n');
        } else if let Some(text) = line.strip_prefix("= ") {
            case.natsd.push(text.into());
            case.stock.push(text.into());
        } else if let Some(text) = line.strip_prefix("natsd ") {
            case.natsd.push(text.into());
        } else if let Some(text) = line.strip_prefix("stock ") {
            case.stock.push(text.into());
        } else if !line.is_empty() {
            line.clone_into(&mut file);
            case.files.insert(file.clone(), String::new());
        }
    }
    for case in &mut cases {
        case.natsd.sort();
        case.stock.sort();
    }
    cases
}

/// Brings an answer into the form of the table.
fn answer(text: &str) -> Vec<String> {
    let text = text.replace('\0', "\\0");
    let text = text.trim_end();
    let text = text.strip_prefix("nats-server: ").unwrap_or(text);
    let valid = text.strip_prefix("configuration file x.conf is valid (");
    if let Some(digest) = valid.and_then(|text| text.strip_suffix(')')) {
        return vec![format!("valid {digest}")];
    }
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Asks up to `tries` times for an answer as expected.
fn compare(tries: usize, whose: impl Fn(&Case) -> &[String], ask: impl Fn(&Case) -> String) {
    let cases = cases();
    assert!(cases.len() > 200, "the table was not read");
    let mut wrong = String::new();
    for case in &cases {
        let expected = whose(case);
        let mut found = answer(&ask(case));
        for _ in 1..tries {
            if expected == found {
                break;
            }
            found = answer(&ask(case));
        }
        if expected != found {
            let title = &case.title;
            wrong.push_str(&format!("\n## {title}\nexpected {expected:#?}\nfound {found:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn natsd_says_what_the_table_says() {
    compare(
        1,
        |case| &case.natsd,
        |case| {
            let args: Vec<OsString> = ["-t", "-c", "x.conf"].map(OsString::from).to_vec();
            match parse_in(&args, "nats-server", case) {
                Outcome::Valid(text) | Outcome::Error { text, code: 1 } => text,
                other => format!("{other:?}"),
            }
        },
    );
}

/// NATS_SERVER_BIN names a nats-server 2.15.1.
#[test]
#[ignore = "needs NATS_SERVER_BIN"]
fn nats_server_says_what_the_table_says() {
    let program = std::env::var_os("NATS_SERVER_BIN").expect("NATS_SERVER_BIN names nats-server");
    // It walks its maps in random order, and the place of some errors depends on that.
    compare(
        32,
        |case| &case.stock,
        |case| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in &case.files {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let mut command = Command::new(&program);
            let output = command.args(["-t", "-c", "x.conf"]).current_dir(dir.path()).output();
            String::from_utf8(output.unwrap().stderr).unwrap()
        },
    );
}
