//! Clients by WebSocket of a server that changes: new certificates, lame duck.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::path::Path;

use async_nats::ConnectOptions;
use blackbox::server::{Binary, Server, Setup};
use blackbox::websocket::{BINARY, CLOSE, Websocket};
use blackbox::wire::Conversation;
use blackbox::{DEADLINE, eventually};
use futures_util::StreamExt;
use rcgen::generate_simple_self_signed;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

fn listener(server: &Server) -> SocketAddr {
    ([127, 0, 0, 1], server.port("websocket")).into()
}

/// Makes `cert.pem` and `key.pem` in a folder.
fn issue(dir: &Path) {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn trusting(dir: &Path) -> ConnectOptions {
    ConnectOptions::new().add_root_certificates(dir.join("cert.pem"))
}

#[tokio::test]
async fn new_certificates_are_shown_after_a_reload_and_who_is_in_stays_in() {
    let (used, old, new) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    issue(old.path());
    issue(new.path());
    let show = |dir: &TempDir| {
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(dir.path().join(name), used.path().join(name)).unwrap();
        }
    };
    show(&old);
    let (cert, key) = (used.path().join("cert.pem"), used.path().join("key.pem"));
    let config = format!(
        "websocket {{ listen: \"127.0.0.1:-1\"\n tls {{ cert_file: {cert:?}, key_file: {key:?} }} }}"
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let url = format!("wss://localhost:{}", listener(&server).port());
    let before = trusting(old.path()).connect(&url).await.unwrap();
    let mut messages = before.subscribe("news").await.unwrap();
    assert!(trusting(new.path()).connect(&url).await.is_err(), "it is not shown yet");
    show(&new);
    server.signal(Signal::HUP);
    let after = eventually("the new certificate is shown", async || {
        trusting(new.path()).connect(&url).await.ok()
    })
    .await;
    assert!(trusting(old.path()).connect(&url).await.is_err(), "the old one is shown no more");
    after.publish("news", "from the new one".into()).await.unwrap();
    after.flush().await.unwrap();
    let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
    assert_eq!(message.payload, "from the new one");
    assert_eq!(before.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
}

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\nPING\r\n";

async fn duck(grace: &str) -> (Server, Websocket) {
    let config = format!(
        "websocket {{ listen: \"127.0.0.1:-1\", no_tls: true }}\n\
         lame_duck_duration: 30s\nlame_duck_grace_period: \"{grace}\""
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let (mut socket, _) = Websocket::greeted(listener(&server), &[]).await;
    socket.send(BINARY, CONNECT).await.unwrap();
    socket.until("PONG\r\n").await;
    (server, socket)
}

/// Reads up to an INFO that says that the server is about to go.
async fn hear_of_the_end(socket: &mut Websocket) {
    loop {
        let text = socket.until("\r\n").await;
        let infos = text.lines().filter_map(|line| line.strip_prefix("INFO "));
        let mut infos = infos.map(|json| serde_json::from_str::<Value>(json.trim()).unwrap());
        if infos.any(|info| info.get("ldm") == Some(&Value::Bool(true))) {
            return;
        }
    }
}

#[tokio::test]
async fn a_lame_duck_warns_its_clients_serves_them_and_takes_no_more() {
    let (mut server, mut socket) = duck("10s").await;
    server.signal(Signal::USR2);
    hear_of_the_end(&mut socket).await;
    eventually("nobody is let in any more", async || {
        Conversation::dial(listener(&server)).await.err()
    })
    .await;
    socket.send(BINARY, b"SUB a 1\r\nPUB a 2\r\nok\r\nPING\r\n").await.unwrap();
    assert_eq!(socket.until("PONG\r\n").await, "MSG a 1 2\r\nok\r\nPONG\r\n");
    server.signal(Signal::INT);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_lame_duck_says_goodbye_to_its_clients_and_ends() {
    let (mut server, mut socket) = duck("10ms").await;
    server.signal(Signal::USR2);
    let goodbye = loop {
        let (first, payload) = socket.next().await.unwrap();
        if first == CLOSE {
            break payload;
        }
    };
    // 1001, going away.
    assert_eq!(goodbye, b"\x03\xe9Server Shutdown");
    assert_eq!(server.exit().await.code(), Some(0));
}
