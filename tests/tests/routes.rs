//! Routes whose end nobody was told of. Only natsd replaces a silent connection; the stock server
//! waits until its own PINGs are not answered.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use blackbox::eventually;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;

const HELLO: &str = "CONNECT {\"verbose\":false,\"name\":\"P1\",\"cluster\":\"C1\"}\r\n\
     INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"proto\":1,\"host\":\"127.0.0.1\",\"port\":1,\
     \"headers\":true,\"cluster\":\"C1\"}\r\nRS+ $G news\r\nPING\r\n";

/// The next line that says this, or `None` when the connection ends first.
async fn hear(peer: &mut Conversation, wanted: &str) -> Option<()> {
    loop {
        match peer.line_within(Duration::from_secs(5)).await {
            Ok(line) if line.starts_with(wanted.as_bytes()) => return Some(()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// A peer that has become a member, or was turned away.
async fn join(server: &Server) -> Option<Conversation> {
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    peer.send(HELLO.as_bytes()).await.ok()?;
    hear(&mut peer, "PONG").await?;
    Some(peer)
}

/// After a network cut that only the dialer noticed it comes again, while its old connection
/// seems to stand. As long as that one is heard of the new one is superfluous.
#[tokio::test]
async fn a_peer_that_comes_again_takes_the_place_of_its_silent_connection() {
    let server = Setup::new(&Binary::natsd()).cluster("C1", -1).start().await;
    let mut old = join(&server).await.expect("the first one is welcome");
    assert!(join(&server).await.is_none(), "the old one was heard of a moment ago");
    let mut new = eventually("the silent connection is replaced", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        join(&server).await
    })
    .await;
    old.closed().await.expect("its place is taken");
    let mut client = Conversation::dial(server.client()).await.unwrap();
    let said = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPUB news 2\r\nok\r\nPING\r\n";
    client.send(said.as_bytes()).await.unwrap();
    hear(&mut new, "RMSG $G news 2").await.expect("messages take the new one");
    let routez = server.monitor("/routez").await;
    assert_eq!(routez["num_routes"], 1, "{routez}");
}
