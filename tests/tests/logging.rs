//! Where the log goes: a file that is put aside as it grows, a file that somebody else moved
//! away, a syslog.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::path::{Path, PathBuf};

use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use blackbox::{DEADLINE, eventually};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::time::timeout;

fn server() -> Setup {
    Setup::new(&Binary::under_test()).unmonitored()
}

/// The files of a folder whose names begin with `log`, sorted: the log itself first, then what
/// was put aside, the oldest first.
fn logs(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("log"))
        .collect();
    names.sort();
    names
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Makes a server that logs at debug level say something: a client comes and goes.
async fn come_and_go(server: &Server) {
    let mut client = Conversation::dial(server.client()).await.unwrap();
    assert!(client.line().await.unwrap().starts_with(b"INFO "));
}

/// `2026.11.22.16.55.23.442362001` behind the name of the log.
fn is_aside(name: &str) -> bool {
    let Some(stamp) = name.strip_prefix("log.") else { return false };
    let lengths: Vec<usize> = stamp.split('.').map(str::len).collect();
    lengths == [4, 2, 2, 2, 2, 2, 9] && stamp.bytes().all(|c| c == b'.' || c.is_ascii_digit())
}

#[tokio::test]
async fn a_log_that_has_grown_is_put_aside_and_only_so_many_are_kept() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let config = format!("log_file: {log:?}\nlog_size_limit: 2000\nlog_max_num: 3\ndebug: true\n");
    std::fs::write(folder.path().join("log.2026"), "not a rotated log").unwrap();
    let server = server().config(config).start().await;
    let mut seen: Vec<String> = Vec::new();
    eventually("five files were put aside", async || {
        come_and_go(&server).await;
        for name in logs(folder.path()).into_iter().filter(|name| is_aside(name)) {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        (seen.len() >= 5).then_some(())
    })
    .await;
    eventually("two of them and the log are left", async || {
        let kept = logs(folder.path());
        let aside: Vec<_> = kept.iter().filter(|name| is_aside(name)).collect();
        let newest: Vec<_> = seen.iter().rev().take(2).rev().collect();
        (aside == newest && kept[0] == "log" && kept[1] == "log.2026").then_some(())
    })
    .await;
    for name in seen.iter().rev().take(2) {
        let size = text(folder.path(), name).len();
        assert!((2000..2400).contains(&size), "{name} has {size} bytes");
    }
    let current = text(folder.path(), "log");
    let first = current.lines().next().unwrap();
    let newest = folder.path().join(seen.last().unwrap());
    let rotated = format!("[INF] Rotated log, backup saved as {newest:?}");
    assert!(first.ends_with(&rotated), "{first}");
    assert!(current.contains("[INF] Purged log file \"log."), "{current}");
}

#[tokio::test]
async fn a_log_that_was_too_long_already_is_put_aside_at_start() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, "x".repeat(5000)).unwrap();
    let config = format!("log_file: {log:?}\nlogfile_size_limit: 3000\n");
    let _server = server().config(config).start().await;
    eventually("the old log is aside", async || {
        let aside = logs(folder.path()).into_iter().find(|name| is_aside(name))?;
        text(folder.path(), &aside).contains("[INF] Rotating logfile...").then_some(())
    })
    .await;
    eventually("the new one begins", async || {
        text(folder.path(), "log").contains("Server is ready").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_opened_anew_on_request() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let server = server().config(format!("log_file: {log:?}\n")).start().await;
    eventually("it logs", async || text(folder.path(), "log").contains("ready").then_some(()))
        .await;
    std::fs::rename(&log, folder.path().join("log.moved")).unwrap();
    server.signal(Signal::USR1);
    eventually("the log is back", async || {
        text(folder.path(), "log").contains("[INF] File log re-opened").then_some(())
    })
    .await;
    assert!(!text(folder.path(), "log.moved").contains("re-opened"));
}

/// What a line says behind its head, when the head is that of a syslog line:
/// `<5>2026-11-22T16:55:23Z host program[pid]: text`.
fn body(line: &str, priority: &str, local: bool, server: &Server) -> String {
    let rest = line.strip_prefix(priority).unwrap_or_else(|| panic!("{priority} in {line:?}"));
    let (head, text) = rest.split_once(": ").unwrap();
    let words: Vec<&str> = head.split_whitespace().collect();
    let program = Binary::under_test().path().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(*words.last().unwrap(), format!("{program}[{}]", server.pid()), "{line:?}");
    if local {
        // Mon _2 15:04:05, and no host.
        assert_eq!(head.find(' '), Some(3), "{line:?}");
        assert_eq!(words.len(), 4, "{line:?}");
        assert_eq!(&head[15..16], " ", "{line:?}");
    } else {
        assert_eq!(words.len(), 3, "{line:?}");
        // RFC 3339 to the second, in local time: `Z` or an offset.
        let (date, time) = words[0].split_once('T').unwrap();
        assert_eq!((date.len(), time[8..].is_empty()), (10, false), "{line:?}");
        assert!(matches!(time.as_bytes()[8], b'Z' | b'+' | b'-'), "{line:?}");
        assert!(words[1].len() > 1, "{line:?}");
    }
    text.trim_end_matches('\n').to_owned()
}

#[tokio::test]
async fn a_remote_syslog_hears_datagrams() {
    let syslog = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let url = format!("udp://{}", syslog.local_addr().unwrap());
    let server = server().args(["-D", "-r", &url]).start().await;
    come_and_go(&server).await;
    let mut lines = Vec::new();
    let mut buffer = [0; 4096];
    while !lines.iter().any(|line: &String| line.contains("Client connection created")) {
        let size = timeout(DEADLINE, syslog.recv(&mut buffer)).await.unwrap().unwrap();
        let line = String::from_utf8(buffer[..size].to_vec()).unwrap();
        assert!(line.ends_with('\n'), "{line:?}");
        lines.push(line);
    }
    let ready = lines.iter().find(|line| line.contains("ready")).unwrap();
    assert_eq!(body(ready, "<5>", false, &server), "Server is ready");
    let created = lines.last().unwrap();
    assert!(body(created, "<7>", false, &server).contains("cid:"), "{created}");
    assert!(server.log().is_empty(), "nothing is told twice:\n{}", server.log());
}

#[tokio::test]
async fn a_remote_syslog_hears_a_stream_to_the_last_line() {
    let syslog = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = syslog.local_addr().unwrap();
    let config = format!("remote_syslog: \"tcp://{address}\"\n");
    let mut server = server().config(config).start().await;
    server.signal(Signal::INT);
    let (stream, _) = timeout(DEADLINE, syslog.accept()).await.unwrap().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut texts = Vec::new();
    while let Some(line) = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap() {
        texts.push(body(&line, "<5>", false, &server));
    }
    assert!(texts.contains(&"Server is ready".to_owned()), "{texts:?}");
    assert_eq!(texts.last().unwrap(), "Server Exiting..");
    assert!(server.exit().await.code().is_some());
}

#[tokio::test]
async fn a_syslog_of_this_machine_hears_short_lines() {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("socket");
    let syslog = UnixListener::bind(&path).unwrap();
    let url = format!("unix://{}", path.display());
    let server = server().args(["--remote_syslog", &url]).start().await;
    let (stream, _) = timeout(DEADLINE, syslog.accept()).await.unwrap().unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
        if line.contains("ready") {
            assert_eq!(body(&line, "<5>", true, &server), "Server is ready");
            return;
        }
    }
}

#[tokio::test]
async fn a_syslog_that_is_not_there_is_an_error_at_start() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = format!("tcp://{}", closed.local_addr().unwrap());
    for (url, said) in [
        (tcp.as_str(), "error connecting to syslog"),
        ("http://127.0.0.1:1", "error invalid network type"),
    ] {
        let mut server = server().args(["-r", url]).spawn();
        assert_eq!(server.exit().await.code(), Some(1));
        assert!(server.log().contains(said), "{}", server.log());
    }
}

/// What the trace lines of a log say, from the arrow on.
fn traced(log: &str) -> Vec<&str> {
    let arrow = |line: &str| ["<<-", "->>", "<->"].iter().find_map(|arrow| line.find(arrow));
    log.lines()
        .filter(|line| line.contains("[TRC]"))
        .filter_map(|line| line.get(arrow(line)?..))
        .collect()
}

#[tokio::test]
async fn trace_lines_say_what_a_client_said_and_heard() {
    let speech =
        b"CONNECT {\"verbose\":false,\"headers\":true,\"pass\":\"geheim\",\"name\":\"A\"}\r\n\
        SUB  foo   1\r\nSUB foo q 2\r\nPUB foo bar 5\r\nhello\r\n\
        HPUB foo 12 17\r\nNATS/1.0\r\n\r\nhello\r\nPUB foo 0\r\n\r\npub none 4\r\na\"\xff\\\r\n\
        UNSUB 1\r\nPUB foo 12\r\n0123456789ab\r\nPING\r\nPONG\r\nbogus\r\n";
    let server = server().config("max_traced_msg_len: 10\n").args(["-V"]).start().await;
    let mut client = Conversation::dial(server.client()).await.unwrap();
    client.send(speech).await.unwrap();
    client.closed().await.unwrap();
    eventually("the end of the last subscription", async || {
        server.log().contains("[DELSUB 2]").then_some(())
    })
    .await;
    let log = server.log();
    assert_eq!(
        traced(&log),
        [
            r#"<<- [CONNECT {"verbose":false,"headers":true,"pass":"[REDACTED]","name":"A"}]"#,
            "<<- [SUB foo   1]",
            "<<- [SUB foo q 2]",
            "<<- [PUB foo bar 5]",
            r#"<<- MSG_PAYLOAD: ["hello"]"#,
            "->> [MSG foo 1 bar 5]",
            r#"->> MSG_PAYLOAD: ["hello"]"#,
            "->> [MSG foo 2 bar 5]",
            r#"->> MSG_PAYLOAD: ["hello"]"#,
            "<<- [HPUB foo 12 17]",
            r#"<<- MSG_PAYLOAD: ["NATS/1.0\r\n..."]"#,
            "->> [HMSG foo 1 12 17]",
            r#"->> MSG_PAYLOAD: ["NATS/1.0\r\n..."]"#,
            "->> [HMSG foo 2 12 17]",
            r#"->> MSG_PAYLOAD: ["NATS/1.0\r\n..."]"#,
            "<<- [PUB foo 0]",
            "->> [MSG foo 1 0]",
            "->> [MSG foo 2 0]",
            "<<- [PUB none 4]",
            r#"<<- MSG_PAYLOAD: ["a\"\xff\\"]"#,
            "<<- [UNSUB 1]",
            "<-> [DELSUB 1]",
            "<<- [PUB foo 12]",
            r#"<<- MSG_PAYLOAD: ["0123456789..."]"#,
            "->> [MSG foo 2 12]",
            r#"->> MSG_PAYLOAD: ["0123456789..."]"#,
            "<<- [PING]",
            "->> [PONG]",
            "<<- [PONG]",
            "->> [-ERR Unknown Protocol Operation]",
            "<-> [DELSUB 2]",
        ]
    );
    assert!(!log.contains("geheim"));
}

#[tokio::test]
async fn trace_lines_say_what_a_peer_was_told() {
    let config = "server_name: a\nno_system_account: true\n\
                  cluster { name: C1, listen: \"127.0.0.1:-1\", pool_size: -1 }";
    let server = server().config(config).args(["-V"]).start().await;
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    peer.line().await.unwrap();
    let hello = "CONNECT {\"headers\":true,\"name\":\"P1\",\"cluster\":\"C1\"}\r\n\
                 INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                 \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                 \"cluster\":\"C1\"}\r\nRS+ $G x\r\nRS+ $G y q 1\r\nPING\r\n";
    peer.send(hello.as_bytes()).await.unwrap();
    while peer.line().await.unwrap() != b"PONG\r\n" {}
    let mut client = Conversation::dial(server.client()).await.unwrap();
    client.line().await.unwrap();
    let speech = "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB a 1\r\nSUB b q 2\r\nSUB b q 3\r\n\
                  PUB x 2\r\nhi\r\nPUB x r 2\r\nho\r\nHPUB x 12 17\r\nNATS/1.0\r\n\r\nhello\r\n\
                  PUB y r 1\r\n1\r\nPUB y 0\r\n\r\nUNSUB 1\r\nUNSUB 2\r\nPING\r\n";
    client.send(speech.as_bytes()).await.unwrap();
    while client.line().await.unwrap() != b"PONG\r\n" {}
    eventually("the end of interest is logged", async || {
        (server.log().matches("->> [RS+ $G b q 1]").count() == 2).then_some(())
    })
    .await;
    let log = server.log();
    let to_peer: Vec<&str> =
        log.lines().filter(|line| line.contains(" - rid:") && line.contains("->>")).collect();
    assert_eq!(
        traced(&to_peer.join("\n")),
        [
            "->> [PONG]",
            "->> [RS+ $G a]",
            "->> [RS+ $G b q 1]",
            "->> [RS+ $G b q 2]",
            "->> [RMSG $G x 2]",
            r#"->> MSG_PAYLOAD: ["hi"]"#,
            "->> [RMSG $G x r 2]",
            r#"->> MSG_PAYLOAD: ["ho"]"#,
            "->> [HMSG $G x 12 17]",
            r#"->> MSG_PAYLOAD: ["NATS/1.0\r\n\r\nhello"]"#,
            "->> [RMSG $G y + r q 1]",
            r#"->> MSG_PAYLOAD: ["1"]"#,
            "->> [RMSG $G y | q 0]",
            "->> [RS- $G a]",
            "->> [RS+ $G b q 1]",
        ]
    );
}
