use std::collections::HashMap;
use std::io;

use super::*;

/// Files and variables of a test.
#[derive(Default)]
struct Desk {
    files: HashMap<&'static str, &'static str>,
}

impl Surroundings for Desk {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::Error::from_raw_os_error(2))
    }
}

fn outcome(args: &str, file: &'static str) -> Outcome {
    let desk = Desk { files: HashMap::from([("x.conf", file), ("x.pid", "4711")]) };
    let args: Vec<OsString> = args.split_whitespace().map(OsString::from).collect();
    parse_in(&args, "/usr/bin/nats-server", &desk)
}

fn config(args: &str, file: &'static str) -> Config {
    match outcome(args, file) {
        Outcome::Run(config, _) => *config,
        other => panic!("{args}: {other:?}"),
    }
}

fn error(args: &str, file: &'static str) -> String {
    match outcome(args, file) {
        Outcome::Error { text, code: 1 } => text.trim_end().to_owned(),
        other => panic!("{args}: {other:?}"),
    }
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = config("", "");
    assert_eq!(config, Config::default());
}

#[test]
fn flags_come_with_one_dash_or_two_and_with_or_without_equals_sign() {
    for args in ["-p 5222", "--p 5222", "-p=5222", "--port=5222", "-port 0x1466"] {
        assert_eq!(config(args, "").client.port, 5222, "{args}");
    }
    assert!(config("-D", "").log.debug);
    assert!(!config("-D=false", "").log.debug);
    assert!(config("-DVV -T=f", "").log.trace_verbose);
    assert!(!config("-DVV -T=f", "").log.time);
}

#[test]
fn flags_override_the_file() {
    let file = "port: 1234\nserver_name: file\ndebug: true\ncluster { port: 6222, name: c }";
    let config = config("-c x.conf -p 4333 --cluster nats://u:p@127.0.0.1:-1 -D=false", file);
    assert_eq!(config.client.port, 4333);
    assert_eq!(config.server_name.as_deref(), Some("file"));
    assert!(!config.log.debug);
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.listen, super::super::Listen { host: "127.0.0.1".into(), port: 0 });
    assert_eq!(cluster.name.as_deref(), Some("c"));
    assert_eq!(cluster.authorization.unwrap().user, "u");
}

#[test]
fn parsing_stops_at_a_word_that_is_no_flag() {
    assert!(matches!(outcome("version -zz", ""), Outcome::Version));
    assert!(matches!(outcome("HELP", ""), Outcome::Help));
    assert!(matches!(outcome("-- -v", ""), Outcome::Error { .. }));
    assert_eq!(error("foo", ""), "nats-server: unrecognized command: \"foo\"");
}

#[test]
fn misuse_is_told_in_go_s_words() {
    for (args, text) in [
        ("-zz", "flag provided but not defined: -zz"),
        ("-p", "flag needs an argument: -p"),
        ("-p 1__0", "invalid value \"1__0\" for flag -p: parse error"),
        ("-p x", "invalid value \"x\" for flag -p: parse error"),
        (
            "-p 99999999999999999999",
            "invalid value \"99999999999999999999\" for flag -p: value out of range",
        ),
        ("-D=maybe", "invalid boolean value \"maybe\" for -D: parse error"),
        ("---x", "bad flag syntax: ---x"),
    ] {
        match outcome(args, "") {
            Outcome::Misuse(found) => assert_eq!(found, text),
            other => panic!("{args}: {other:?}"),
        }
    }
}

#[test]
fn errors_end_with_status_1() {
    for (args, file, text) in [
        ("-t", "", "must specify [-c, --config] option to check configuration file syntax"),
        ("-c x.conf", "prot: 1", "x.conf:1:0: unknown field \"prot\""),
        ("-c y.conf", "", "open y.conf: no such file or directory"),
        (
            "--routes nats://h:1",
            "",
            "solicited routes require cluster capabilities, e.g. --cluster",
        ),
        ("--cluster foo", "", "missing port in address"),
        ("--cluster nats://h", "", "address h: missing port in address"),
        ("--tlscert a", "", "TLS Server private key must be present and valid"),
        ("--cluster nats://u@h:1", "", "expected cluster password to be set"),
        ("-t -c x.conf", "", "x.conf: config has no values or is empty"),
    ] {
        assert_eq!(error(args, file), format!("nats-server: {text}"));
    }
}

#[test]
fn warnings_do_not_stop_the_server_unless_strict() {
    let file = "ping_interval: 5";
    let text = "x.conf:1:0: invalid use of field \"ping_interval\": ping_interval should be converted to a duration";
    match outcome("-c x.conf", file) {
        Outcome::Run(_, warnings) => assert_eq!(lines(&warnings), text),
        other => panic!("{other:?}"),
    }
    assert_eq!(error("-c x.conf --strict", file), format!("nats-server: {text}"));
    assert_eq!(error("-c x.conf -t", file), format!("nats-server: {text}"));
    assert!(matches!(outcome("-js", ""), Outcome::Run(_, warnings) if warnings.len() == 1));
    assert!(matches!(outcome("-js --strict", ""), Outcome::Error { .. }));
}

#[test]
fn a_good_file_is_confirmed_with_its_digest() {
    match outcome("-t -c x.conf", "port: 4222") {
        Outcome::Valid(text) => assert!(
            text.starts_with("nats-server: configuration file x.conf is valid (sha256:"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn signals_name_their_target() {
    let request = |args: &str| match outcome(args, "") {
        Outcome::Signal(request) => request,
        other => panic!("{args}: {other:?}"),
    };
    use SignalTarget::{Only, Pid, Prefix};
    assert_eq!(request("--signal reload").target, Only);
    assert_eq!(request("--signal ldm").signal, Signal::LameDuck);
    assert_eq!(request("-sl stop=12").target, Pid(12));
    assert_eq!(request("-sl stop=x.pid").target, Pid(4711));
    assert_eq!(request("-sl stop=12*").target, Prefix("12".into()));
    assert_eq!(error("-sl foo", ""), "nats-server: unknown signal \"foo\"");
    assert_eq!(error("-sl stop=x", ""), "nats-server: invalid pid: x");
    assert_eq!(error("-sl stop=1=2", ""), "nats-server: invalid signal parameters: [2]");
}

#[test]
fn usage_begins_with_the_program_s_name() {
    assert!(usage("natsd").trim_start().starts_with("Usage: natsd [options]"));
}
