//! Routes that end at a bad moment: whose end nobody was told of, or with news on their way. Only
//! natsd replaces a silent connection and repeats news; the stock server waits until its own PINGs
//! are not answered, and does not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use blackbox::eventually;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// News of a server with the id P2.
const NEWS: &str = "INFO {\"server_id\":\"P2\"";

/// What a peer of this id says first.
fn hello(id: &str, more: &str) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"name\":\"{id}\",\"cluster\":\"C1\"}}\r\n\
         INFO {{\"server_id\":\"{id}\",\"server_name\":\"{id}\",\"proto\":1,\
         \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"cluster\":\"C1\"{more}}}\r\n"
    )
}

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
async fn join(server: &Server, id: &str) -> Option<Conversation> {
    introduce(Conversation::dial(server.cluster()).await.unwrap(), id).await
}

/// The same by a connection there is.
async fn introduce(mut peer: Conversation, id: &str) -> Option<Conversation> {
    peer.send(hello(id, "").as_bytes()).await.ok()?;
    peer.send(b"RS+ $G news\r\nPING\r\n").await.ok()?;
    hear(&mut peer, "PONG").await?;
    Some(peer)
}

/// A connection of a peer that pools, for the account or slot that `what` names. The answer to its
/// PING comes when it is a member.
async fn dial_pooled(server: &Server, id: &str, what: &str) -> Conversation {
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    let hello = hello(id, &format!(",\"route_pool_size\":3,{what}"));
    peer.send(format!("{hello}PING\r\n").as_bytes()).await.unwrap();
    peer
}

/// After a network cut that only the dialer noticed it comes again, while its old connection
/// seems to stand. As long as that one is heard of the new one is superfluous.
#[tokio::test]
async fn a_peer_that_comes_again_takes_the_place_of_its_silent_connection() {
    let server = Setup::new(&Binary::natsd()).cluster("C1", -1).start().await;
    let mut old = join(&server, "P1").await.expect("the first one is welcome");
    assert!(join(&server, "P1").await.is_none(), "the old one was heard of a moment ago");
    let mut new = eventually("the silent connection is replaced", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        join(&server, "P1").await
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

/// Two servers that dial each other have two connections for a moment, and one closes the second
/// without reading what came by it: it still has to learn of who joined meanwhile.
#[tokio::test]
async fn news_on_a_connection_that_ends_are_told_again_by_the_one_that_stays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Setup::new(&Binary::natsd()).cluster("C1", -1).routes(&[port]).start().await;
    let (stream, _) = listener.accept().await.unwrap();
    let dialed = Conversation::over(stream).unwrap();
    let mut dialed = introduce(dialed, "P1").await.expect("the server dialed it");
    let mut accepted = join(&server, "P1").await.expect("it dialed the server");
    let _other = join(&server, "P2").await.expect("another server joins");
    hear(&mut dialed, NEWS).await.expect("one connection brings the news");
    accepted.send(b"PING\r\n").await.unwrap();
    let next = accepted.line_within(Duration::from_secs(5)).await.unwrap();
    assert!(next.starts_with(b"PONG"), "and only one: {}", next.escape_ascii());
    drop(dialed);
    hear(&mut accepted, NEWS).await.expect("the news come again");
}

/// Its connection for the system account may be the first that a server has.
#[tokio::test]
async fn news_for_which_a_peer_had_no_connection_yet_come_with_it() {
    const SYSTEM: &str = "\"route_account\":\"$SYS\"";
    const SLOT: &str = "\"route_pool_idx\":0";
    let server = Setup::new(&Binary::natsd()).cluster("C1", -1).start().await;
    let mut system = dial_pooled(&server, "P1", SYSTEM).await;
    hear(&mut system, "PONG").await.expect("it is welcome");
    let mut other = dial_pooled(&server, "P2", SLOT).await;
    hear(&mut other, "PONG").await.expect("another server joins");
    system.send(b"PING\r\n").await.unwrap();
    let next = system.line_within(Duration::from_secs(5)).await.unwrap();
    assert!(next.starts_with(b"PONG"), "it is for one account: {}", next.escape_ascii());
    let mut slot = dial_pooled(&server, "P1", SLOT).await;
    hear(&mut slot, NEWS).await.expect("the news come");
}

/// Being told of much interest takes several turns; what the peer asks for meanwhile waits, for an
/// answer to it may come by any of what it was not told of yet.
#[tokio::test]
async fn a_peer_that_asks_at_once_hears_of_all_interest_before_the_first_message() {
    const SUBJECTS: usize = 50_000;
    let server = Setup::new(&Binary::natsd()).cluster("C1", -1).start().await;
    let mut client = Conversation::dial(server.client()).await.unwrap();
    let subjects = (0..SUBJECTS).map(|n| format!("SUB inbox.{n} {n}\r\n")).collect::<String>();
    let said = format!("CONNECT {{\"verbose\":false}}\r\n{subjects}PING\r\n");
    client.send(said.as_bytes()).await.unwrap();
    hear(&mut client, "PONG").await.expect("it has subscribed");
    let publishing = tokio::spawn(async move {
        while client.send(b"PUB news 2\r\nok\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    let said = format!("{}RS+ $G news\r\n", hello("P1", ""));
    peer.send(said.as_bytes()).await.unwrap();
    let mut told = 0;
    loop {
        let line = peer.line_within(Duration::from_secs(10)).await.unwrap();
        told += usize::from(line.starts_with(b"RS+ $G inbox."));
        if line.starts_with(b"RMSG $G news") {
            break;
        }
    }
    publishing.abort();
    assert_eq!(told, SUBJECTS);
}

/// A way to a server that can be blocked, and each connection on it cut.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    leads_to: Arc<Mutex<Option<SocketAddr>>>,
    carried: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Way {
    async fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Self { address, leads_to: Arc::default(), carried: Arc::default() };
        let this = way.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let leads_to = *this.leads_to.lock();
                if let Some(target) = leads_to {
                    let carrying = tokio::spawn(carry(near, target)).abort_handle();
                    this.carried.lock().push(carrying);
                }
            }
        });
        way
    }

    fn lead_to(&self, target: Option<SocketAddr>) {
        *self.leads_to.lock() = target;
    }

    fn cut(&self, count: usize) {
        self.carried.lock().drain(..count).for_each(|carrying| carrying.abort());
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr) {
    let mut far = TcpStream::connect(target).await.unwrap();
    drop(copy_bidirectional(&mut near, &mut far).await);
}

/// Both still belong to the rest of the cluster, so nobody tells them of each other again; and as
/// long as one of their connections stands the others need not be dialed by who was told.
#[tokio::test]
async fn a_pair_that_lost_its_connections_one_by_one_finds_each_other_again() {
    const OF_A_PAIR: usize = 4;
    let natsd = Binary::natsd();
    let seed = Setup::new(&natsd).cluster("C1", -1).start().await;
    let joining = Setup::new(&natsd).cluster("C1", -1).routes(&[seed.cluster().port()]);
    let server = joining.start().await;
    let routes = async |wanted: usize| {
        eventually(&format!("{wanted} routes"), async || {
            let routez = server.monitor("/routez").await;
            (routez["num_routes"] == wanted).then_some(())
        })
        .await;
    };
    routes(OF_A_PAIR).await;
    let way = Way::begin().await;
    let advertised = way.address.to_string();
    let other = joining.args(["--cluster_advertise", &advertised]).start().await;
    way.lead_to(Some(other.cluster()));
    routes(2 * OF_A_PAIR).await;
    way.lead_to(None);
    way.cut(1);
    routes(2 * OF_A_PAIR - 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    way.cut(OF_A_PAIR - 1);
    routes(OF_A_PAIR).await;
    way.lead_to(Some(other.cluster()));
    routes(2 * OF_A_PAIR).await;
}
