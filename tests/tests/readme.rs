//! The README cannot rot: its commands are run as they stand there.
//!
//! What a fenced block is, its first line says:
//!
//! - `sh`: run here, in order, in one folder, with natsctl and natsd in PATH;
//! - `sh terminal`: one command that stays until the end of the section it belongs to;
//! - `sh stock`: the same with a stock nats-server, in a test that `.ci/run` asks for;
//! - `sh ci`: the quick start, which stands in `.ci/run` word for word;
//! - `sh multipass`: needs machines, so the lab runs the same arguments;
//! - `text`: lines that the block before it printed, numbers aside; with `terminal`: lines that
//!   the section's first terminal shows by then; with `example`: seen once, not compared.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: a failed step is a failed test"
)]

use std::collections::BTreeSet;
use std::fs::{File, read_to_string};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blackbox::DEADLINE;
use blackbox::ctl::{Sandbox, natsctl_binary, server_binary};

/// A fenced block, and the heading it stands under.
#[derive(Debug)]
struct Block {
    section: String,
    info: String,
    line: usize,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn blocks() -> Vec<Block> {
    let readme = read_to_string(root().join("README.md")).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let (mut section, mut inside) = (String::new(), false);
    for (nth, line) in readme.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                let (section, info) = (section.clone(), info.to_owned());
                blocks.push(Block { section, info, line: nth + 1, text: String::new() });
            }
        } else if inside {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if line.starts_with('#') {
            section = line.trim_start_matches(['#', ' ']).to_owned();
        }
    }
    blocks
}

/// A folder as a reader has it, with ports of its own in the place of the usual ones.
struct Desk {
    sandbox: Sandbox,
    ports: Vec<(&'static str, String)>,
    terminals: Vec<Terminal>,
}

/// A command that stays, and the file that gets what it says.
struct Terminal {
    child: Child,
    output: PathBuf,
}

impl Terminal {
    fn shows(&self) -> String {
        read_to_string(&self.output).unwrap()
    }

    /// Waits until it shows this, numbers aside.
    fn wait_for(&self, wanted: &str) {
        let begun = Instant::now();
        while !plain(&self.shows()).contains(&plain(wanted)) {
            assert!(begun.elapsed() < DEADLINE, "no `{wanted}` in:\n{}", self.shows());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let interrupted = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        assert!(interrupted.is_ok() || std::thread::panicking(), "{interrupted:?}");
        drop(self.child.wait());
    }
}

impl Desk {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let free = || TcpListener::bind(("0.0.0.0", 0)).unwrap();
        let more: Vec<TcpListener> = (0..4).map(|_| free()).collect();
        let mut ports: Vec<(&str, String)> = ["4222", "6222", "8222"]
            .into_iter()
            .zip(sandbox.ports.map(|port| port.to_string()))
            .collect();
        for (name, listener) in ["4223", "6223", "4224", "6224"].into_iter().zip(&more) {
            ports.push((name, listener.local_addr().unwrap().port().to_string()));
        }
        let programs = sandbox.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        symlink(natsctl_binary(), programs.join("natsctl")).unwrap();
        symlink(server_binary(), programs.join("natsd")).unwrap();
        let desk = Self { sandbox, ports, terminals: Vec::new() };
        let example = read_to_string(root().join("cluster.yaml.example")).unwrap();
        desk.sandbox.write("cluster.yaml.example", &desk.with_own_ports(&example));
        desk
    }

    fn with_own_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (usual, own)| text.replace(usual, own))
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-euo", "pipefail", "-c", &self.with_own_ports(script)])
            .current_dir(self.sandbox.path())
            .env("PATH", format!("{}/bin:{path}", self.sandbox.path().display()))
            .env("NATSCTL_STATE_DIR", self.sandbox.path().join("state"))
            .env("NATSCTL_NATSD", server_binary())
            .stdin(Stdio::null());
        command
    }

    /// Runs a block to its end and returns all it printed.
    fn run(&self, block: &Block) -> String {
        let ended = self.shell(&block.text).output().unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        assert!(ended.status.success(), "README.md:{}: {}\n{printed}", block.line, ended.status);
        printed
    }

    /// Starts what stays, and waits until it has said something.
    fn start(&mut self, block: &Block) {
        assert_eq!(block.text.lines().count(), 1, "README.md:{}: one command", block.line);
        let output = self.sandbox.path().join(format!("terminal-{}", block.line));
        let file = File::create(&output).unwrap();
        let mut command = self.shell(&format!("exec {}", block.text));
        command.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap();
        let terminal = Terminal { child, output };
        let ready = if block.text.starts_with("natsctl") { "listening on" } else { "is ready" };
        terminal.wait_for(ready);
        self.terminals.push(terminal);
    }
}

/// Text as it compares: numbers are as they come, columns as wide as they must be.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split_whitespace() {
        for part in word.split_inclusive(|c: char| !c.is_ascii_digit() && c != '.') {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            plain.push_str(if rest.len() < part.len() { "#" } else { "" });
            plain.push_str(rest);
        }
        plain.push(' ');
    }
    plain
}

#[test]
fn every_local_command_works_and_prints_what_it_says() {
    let blocks = blocks();
    let quick_start = blocks.iter().find(|block| block.info == "sh ci").unwrap();
    let (_, up) = quick_start.text.lines().next().unwrap().split_once("target/release/").unwrap();
    let mut desk = Desk::new();
    assert!(desk.shell(up).output().unwrap().status.success(), "{up}");

    let mut section = "";
    let mut printed = String::new();
    for block in &blocks {
        if section != block.section {
            desk.terminals.clear();
            section = &block.section;
        }
        match block.info.as_str() {
            "sh" => printed = desk.run(block),
            "sh terminal" => desk.start(block),
            "text terminal" => {
                block.text.lines().for_each(|line| desk.terminals[0].wait_for(line));
            }
            "text" => {
                for line in block.text.lines() {
                    let said = plain(&printed).contains(&plain(line));
                    assert!(said, "README.md:{}: no `{line}` in:\n{printed}", block.line);
                }
            }
            "text example" | "yaml" | "sh ci" | "sh multipass" | "sh stock" => {}
            other => panic!("README.md:{}: what is a block `{other}`?", block.line),
        }
    }
    drop(desk.terminals);
    assert_eq!(desk.sandbox.processes(), Vec::<String>::new(), "the README cleans up");
}

#[test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
fn a_stock_server_joins_as_it_says() {
    let stock = std::env::var_os("NATS_SERVER_BIN").unwrap();
    let blocks = blocks();
    let last = blocks.iter().find(|block| block.info == "sh stock").unwrap();
    let mut desk = Desk::new();
    symlink(stock, desk.sandbox.path().join("bin").join("nats-server")).unwrap();
    for block in blocks.iter().filter(|block| block.section == last.section) {
        if ["sh terminal", "sh stock"].contains(&block.info.as_str()) {
            desk.start(block);
        }
    }
    let begun = Instant::now();
    let asked =
        "curl -s http://127.0.0.1:8222/routez | grep -o '\"remote_id\": *\"[A-Z0-9]*' | sort -u";
    loop {
        let peers = String::from_utf8(desk.shell(asked).output().unwrap().stdout).unwrap();
        if peers.lines().count() == 2 {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "no mesh of three: {peers}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn the_quick_start_is_run_by_ci() {
    let ci = read_to_string(root().join(".ci/run")).unwrap();
    let quick_start = blocks().into_iter().find(|block| block.info == "sh ci").unwrap();
    let commands: Vec<&str> = quick_start.text.lines().collect();
    assert_eq!(commands.len(), 2, "two commands do all the set-up");
    for command in commands {
        assert!(ci.contains(command), "not in .ci/run: {command}");
    }
}

#[test]
fn the_multipass_commands_are_run_in_the_lab() {
    let lab = root().join("tests/tests/lab/walkthrough.rs");
    let lab = read_to_string(lab).unwrap();
    for block in blocks().iter().filter(|block| block.info == "sh multipass") {
        for command in block.text.lines() {
            let words: Vec<String> =
                command.split(' ').skip(1).map(|word| format!("{word:?}")).collect();
            let call = format!(".natsctl(&[{}])", words.join(", "));
            assert!(lab.contains(&call), "`{command}`: no {call} in lab/walkthrough.rs");
        }
    }
}

#[test]
fn the_table_of_verbs_is_complete() {
    let readme = read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("## Every verb").unwrap();
    let (table, _) = table.split_once("| exit code").unwrap();
    let told: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let help = Sandbox::new().run(&["--help"]).expect_code(0).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let there: BTreeSet<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert_eq!(told, there);
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = read_to_string(root().join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let elsewhere = link.starts_with("https://") || file.is_empty();
            assert!(elsewhere || root().join(file).exists(), "{page}: {link} leads nowhere");
        }
    }
}
