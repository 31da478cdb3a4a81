//! natsd's own `cluster.start_gate`: clients wait until the configured routes are up. A stock
//! server does not know the key, so this is about natsd only.

#![allow(clippy::unwrap_used, reason = "tests")]

use blackbox::eventually;
use blackbox::server::{Binary, HeldPort, Server, Setup};
use blackbox::wire::Conversation;

fn gated(route: u16, patience: &str) -> Setup {
    let config = format!(
        "cluster {{ name: c, listen: \"127.0.0.1:-1\", start_gate: \"{patience}\", \
         routes: [ \"nats://127.0.0.1:{route}\" ] }}"
    );
    Setup::new(&Binary::natsd()).config(config).name("gated")
}

async fn health(server: &Server) -> u16 {
    server.monitor_text("/healthz").await.0
}

#[tokio::test]
async fn clients_wait_for_the_configured_routes() {
    let port = HeldPort::take();
    let server = gated(port.port(), "1h").start().await;
    let mut early = Conversation::dial(server.client()).await.unwrap();
    assert_eq!(health(&server).await, 500, "nobody is sent here yet");
    assert!(!server.log().contains("Server is ready"));
    let seed = Setup::new(&Binary::natsd()).name("seed").cluster("c", port.port().into());
    let _seed = seed.start().await;
    assert!(early.line().await.unwrap().starts_with(b"INFO "), "it was waiting all the time");
    assert_eq!(health(&server).await, 200);
}

#[tokio::test]
async fn patience_with_routes_ends() {
    let port = HeldPort::take();
    let server = gated(port.port(), "50ms").start().await;
    eventually("clients are let in", async || {
        server.log().contains("accepting clients nevertheless").then_some(())
    })
    .await;
    let mut client = Conversation::dial(server.client()).await.unwrap();
    assert!(client.line().await.unwrap().starts_with(b"INFO "));
}
