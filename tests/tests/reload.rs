//! A configuration that changes under a running server: SIGHUP, and what connections notice.
//! Holds for natsd and for a stock nats-server alike.

#![allow(clippy::unwrap_used, reason = "tests")]

use blackbox::eventually;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use rustix::process::Signal;

/// Gives a running server another configuration and waits until it holds.
async fn reload(server: &Server, config: &str) {
    const DONE: &str = "Reloaded server configuration";
    let before = server.log().matches(DONE).count();
    std::fs::write(server.dir().join("server.conf"), config).unwrap();
    server.signal(Signal::HUP);
    eventually("the configuration is reloaded", async || {
        let log = server.log();
        assert!(!log.contains("Failed to reload"), "{log}");
        (log.matches(DONE).count() > before).then_some(())
    })
    .await;
}

/// The next line that is not a PING.
async fn line(conversation: &mut Conversation) -> String {
    loop {
        let line = String::from_utf8(conversation.line().await.unwrap()).unwrap();
        if line.starts_with("PING") {
            conversation.send(b"PONG\r\n").await.unwrap();
        } else {
            return line.trim_end().to_owned();
        }
    }
}

#[tokio::test]
async fn what_crosses_routes_changes_for_routes_that_are_there() {
    let config = |import: &str, export: &str| {
        format!(
            "server_name: a\ncluster {{ name: C1, listen: \"127.0.0.1:-1\", pool_size: -1\n\
             permissions {{ import: \"{import}\", export: \"{export}\" }} }}"
        )
    };
    let server = Setup::new(&Binary::under_test()).config(config("a.>", "x.>")).start().await;
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    line(&mut peer).await;
    let hello = "CONNECT {\"headers\":true,\"name\":\"P1\",\"cluster\":\"C1\"}\r\n\
                 INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                 \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                 \"cluster\":\"C1\"}\r\nRS+ $G x.1\r\nRS+ $G y.1\r\nPING\r\n";
    peer.send(hello.as_bytes()).await.unwrap();
    while line(&mut peer).await != "PONG" {}
    let mut client = Conversation::dial(server.client()).await.unwrap();
    line(&mut client).await;
    let subscriptions = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n\
                         SUB a.1 1\r\nSUB b.1 2\r\nSUB b.2 q 3\r\nPUB y.1 1\r\n0\r\nPUB x.1 1\r\n1\r\n";
    client.send(subscriptions.as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "RS+ $G a.1");
    assert_eq!(line(&mut peer).await, "RMSG $G x.1 1");
    assert_eq!(line(&mut peer).await, "1");
    reload(&server, &config("b.>", "y.>")).await;
    assert!(line(&mut peer).await.contains(r#""import":{"allow":["b.\u003e"]}"#));
    let mut told = [line(&mut peer).await, line(&mut peer).await, line(&mut peer).await];
    told.sort();
    // Observed: the reference leaves out the weight of a queue group here.
    let told = told.each_ref().map(|line| line.trim_end_matches(" 1"));
    assert_eq!(told, ["RS+ $G b.1", "RS+ $G b.2 q", "RS- $G a.1"]);
    // The peer tells anew what it may now.
    peer.send(b"RS+ $G y.1\r\nPING\r\n").await.unwrap();
    assert_eq!(line(&mut peer).await, "PONG");
    client.send(b"PUB x.1 1\r\n2\r\nPUB y.1 1\r\n3\r\n").await.unwrap();
    assert_eq!(line(&mut peer).await, "RMSG $G y.1 1");
    assert_eq!(line(&mut peer).await, "3");
    // A peer that takes more than before is told of it.
    let info = "INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                \"cluster\":\"C1\",\"export\":{\"allow\":[\"c.>\"]}}\r\nPING\r\n";
    peer.send(info.as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "PONG");
    peer.send(info.replace("c.>", "b.1").as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "RS+ $G b.1");
    assert_eq!(line(&mut peer).await, "PONG");
}
