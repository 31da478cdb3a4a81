//! What one connection does wrong, the others do not notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blackbox::cluster::{connect, settle};
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::{Conversation, Missed};
use blackbox::{DEADLINE, eventually};
use futures_util::StreamExt;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

async fn server() -> Server {
    Setup::new(&Binary::under_test()).cluster("C1", -1).start().await
}

/// A well-behaved pair of clients that must go on as if nothing happened.
struct Bystanders {
    publisher: async_nats::Client,
    subscription: async_nats::Subscriber,
    sent: u64,
}

impl Bystanders {
    async fn on(server: &Server) -> Self {
        let publisher = connect(&server.url()).await;
        let subscriber = connect(&server.url()).await;
        let subscription = subscriber.subscribe("bystanders").await.unwrap();
        settle(&publisher, &subscriber).await;
        Self { publisher, subscription, sent: 0 }
    }

    /// A message gets through, the next in order.
    async fn are_well(&mut self) {
        let payload = self.sent.to_string();
        self.publisher.publish("bystanders", payload.clone().into()).await.unwrap();
        self.publisher.flush().await.unwrap();
        let message = timeout(DEADLINE, self.subscription.next()).await;
        let message = message.expect("bystanders are served in time").expect("an open sub");
        assert_eq!(message.payload, payload);
        self.sent += 1;
    }
}

/// The server lives, has not panicked, and has told nothing but the usual in its log.
fn is_sound(server: &mut Server) {
    assert_eq!(server.poll_exit(), None, "the server died:\n{}", server.log());
    let log = server.log();
    assert!(!log.contains("panicked at"), "{log}");
}

async fn greeted(server: &Server) -> Conversation {
    let mut peer = Conversation::dial(server.client()).await.unwrap();
    assert!(peer.line().await.unwrap().starts_with(b"INFO "));
    peer
}

#[tokio::test]
async fn random_bytes_close_one_connection_only() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut random = SmallRng::seed_from_u64(20);
    for round in 0..200_usize {
        let mut peer = if round.is_multiple_of(4) {
            Conversation::dial(server.cluster()).await.unwrap()
        } else {
            Conversation::dial(server.client()).await.unwrap()
        };
        let mut garbage = vec![0; random.random_range(1..2000)];
        random.fill_bytes(&mut garbage);
        // The server may close while it is still being written to.
        drop(peer.send(&garbage).await);
        peer.shut();
        peer.closed().await.unwrap();
        if round.is_multiple_of(20) {
            bystanders.are_well().await;
        }
    }
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// Valid conversations with one byte changed, at every place.
#[tokio::test]
async fn one_wrong_byte_anywhere_does_no_harm() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let good =
        b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB w.* q 1\r\nPUB w.a r 2\r\nok\r\n\
        HPUB w.a 12 14\r\nNATS/1.0\r\n\r\nok\r\nUNSUB 1 5\r\nPING\r\n";
    let mut random = SmallRng::seed_from_u64(3);
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] = random.random();
        let mut peer = greeted(&server).await;
        drop(peer.send(&bad).await);
        peer.shut();
        peer.closed().await.unwrap();
    }
    bystanders.are_well().await;
    is_sound(&mut server);
}

#[tokio::test]
async fn one_wrong_byte_anywhere_on_a_route_does_no_harm() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut random = SmallRng::seed_from_u64(4);
    let length = route_speech(0).len();
    for at in 0..length {
        let mut bad = route_speech(at).into_bytes();
        if let Some(byte) = bad.get_mut(at) {
            *byte = random.random();
        }
        let mut peer = Conversation::dial(server.cluster()).await.unwrap();
        drop(peer.send(&bad).await);
        peer.shut();
        peer.closed().await.unwrap();
        if at.is_multiple_of(50) {
            bystanders.are_well().await;
        }
    }
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// What a peer says, under an id of its own.
fn route_speech(id: usize) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"name\":\"P{id:04}\",\"cluster\":\"C1\"}}\r\n\
         INFO {{\"server_id\":\"P{id:04}\",\"server_name\":\"p{id:04}\",\"proto\":1,\
         \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"cluster\":\"C1\"}}\r\n\
         RS+ $G w.*\r\nRS+ $G w.a q 1\r\nRMSG $G x r 2\r\nok\r\nRMSG $G x | q 2\r\nok\r\n\
         HMSG $G x 12 14\r\nNATS/1.0\r\n\r\nok\r\nRS- $G w.*\r\nPING\r\n"
    )
}

#[tokio::test]
async fn half_a_frame_then_silence_holds_nobody_up() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut halves = Vec::new();
    for half in
        ["CONNECT {", "SUB fo", "PUB foo 10\r\nhal", "PUB foo 5\r\nhello\r", "PIN", "UNSUB "]
    {
        for _ in 0..20 {
            let mut peer = greeted(&server).await;
            if !half.starts_with("CONNECT") {
                peer.send(HELLO).await.unwrap();
            }
            peer.send(half.as_bytes()).await.unwrap();
            halves.push(peer);
        }
        bystanders.are_well().await;
    }
    // They are still connected, and the end of a frame still completes it.
    let mut peer = halves.pop().unwrap();
    peer.send(b"1\r\nPING\r\n").await.unwrap();
    assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
    drop(halves);
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// The announced body is never all sent; natsd must not reserve it. (The stock server does.)
#[tokio::test]
async fn announced_payloads_that_never_come_cost_nothing() {
    let binary = Binary::under_test();
    let mut server = Setup::new(&binary).config("max_payload: 8MB\n").start().await;
    let mut bystanders = Bystanders::on(&server).await;
    let before = resident_kib(&server);
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = greeted(&server).await;
        peer.send(HELLO).await.unwrap();
        peer.send(b"PUB foo 8000000\r\nonly this").await.unwrap();
        peers.push(peer);
    }
    bystanders.are_well().await;
    let grown = resident_kib(&server).saturating_sub(before);
    let bound = 16 * 1024;
    assert!(binary.is_stock() || grown < bound, "20 unfinished messages cost {grown} KiB");
    is_sound(&mut server);
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_storm_of_two_thousand_connections() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let address = server.client();
    for _ in 0..4 {
        let mut storm = Vec::new();
        for n in 0..500 {
            storm.push(tokio::spawn(async move {
                let mut peer = Conversation::dial(address).await.unwrap();
                assert!(peer.line().await.unwrap().starts_with(b"INFO "));
                match n % 3 {
                    // Gone without a word, or with one, or after a full conversation.
                    0 => {}
                    1 => peer.send(b"garbage\r\n").await.unwrap(),
                    _ => {
                        peer.send(HELLO).await.unwrap();
                        peer.send(b"SUB storm 1\r\nPING\r\n").await.unwrap();
                        assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
                    }
                }
            }));
        }
        for peer in storm {
            timeout(DEADLINE, peer).await.unwrap().unwrap();
        }
        bystanders.are_well().await;
    }
    eventually("only the bystanders are left", async || {
        let connz = server.monitor("/connz").await;
        (connz["num_connections"] == 2).then_some(())
    })
    .await;
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// Connections that never say anything stay, and cost little.
#[tokio::test]
async fn a_thousand_idle_connections() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(greeted(&server).await);
    }
    bystanders.are_well().await;
    for peer in &mut idle {
        peer.send(b"PING\r\n").await.unwrap();
        assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
    }
    let connz = server.monitor("/connz?limit=1").await;
    assert_eq!(connz["num_connections"], 1);
    assert_eq!(connz["total"], 1002);
    drop(idle);
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// Shells give a process few descriptors and allow it more: a server takes what it may have.
#[tokio::test]
async fn more_clients_than_a_shell_gives_descriptors() {
    let dir = tempfile::TempDir::new().unwrap();
    let (script, binary) = (dir.path().join("nats-server"), Binary::under_test());
    let text = format!("#!/bin/sh\nulimit -Sn 40\nexec '{}' \"$@\"\n", binary.path().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = Setup::new(&Binary::at(script)).start().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(greeted(&server).await);
    }
    let mut bystanders = Bystanders::on(&server).await;
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// A subscriber that does not read is cut off at max_pending, silently; the others get it all.
#[tokio::test]
async fn a_slow_consumer_is_cut_off_and_the_others_are_not() {
    let mut server = Setup::new(&Binary::under_test())
        .config("max_pending: 1MB\nmax_payload: 65536\n")
        .start()
        .await;
    // Small buffers, so that the server's own queue fills soon.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(server.client()).await.unwrap();
    slow.write_all(HELLO).await.unwrap();
    slow.write_all(b"SUB flood 1\r\nPING\r\n").await.unwrap();
    let mut peeked = [0; 4096];
    eventually("the slow one is subscribed", async || {
        let n = slow.peek(&mut peeked).await.unwrap();
        peeked[..n].ends_with(b"PONG\r\n").then_some(())
    })
    .await;
    let mut bystanders = Bystanders::on(&server).await;
    let reader = connect(&server.url()).await;
    let mut flood = reader.subscribe("flood").await.unwrap();
    let publisher = connect(&server.url()).await;
    settle(&publisher, &reader).await;
    let receiving = tokio::spawn(async move {
        for n in 0..1000_u32 {
            let message = timeout(DEADLINE, flood.next()).await.unwrap().unwrap();
            assert_eq!(message.payload[..4], n.to_le_bytes());
        }
    });
    for n in 0..1000_u32 {
        let mut body = vec![0; 16 * 1024];
        body[..4].copy_from_slice(&n.to_le_bytes());
        publisher.publish("flood", body.into()).await.unwrap();
        publisher.flush().await.unwrap();
        if n.is_multiple_of(100) {
            bystanders.are_well().await;
        }
    }
    timeout(DEADLINE, receiving).await.unwrap().unwrap();
    eventually("the slow consumer is counted", async || {
        let varz = server.monitor("/varz").await;
        (varz["slow_consumers"] == 1 && varz["slow_consumer_stats"]["clients"] == 1).then_some(())
    })
    .await;
    // It is closed without a word: what still comes ends in the middle of the flood.
    let mut rest = Vec::new();
    let read = timeout(DEADLINE, slow.read_to_end(&mut rest)).await.expect("it is closed");
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("-ERR"), "{read:?}");
    let closed = server.monitor("/connz?state=closed").await;
    let reasons: Vec<_> = closed["connections"].as_array().unwrap().iter().collect();
    assert!(
        reasons.iter().any(|connection| connection["reason"] == "Slow Consumer (Pending Bytes)"),
        "{closed}"
    );
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// A peer server that does not read gets a bounded queue and is then cut off, aloud. (The stock
/// server gives it ten seconds and any memory.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_server_that_does_not_read_is_cut_off_and_harms_nobody() {
    let binary = Binary::under_test();
    let config = "max_pending: 1MB\nmax_payload: 65536\n";
    let mut server = Setup::new(&binary).cluster("C1", -1).config(config).start().await;
    let mut bystanders = Bystanders::on(&server).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(server.cluster()).await.unwrap();
    let hello = route_speech(1);
    let (hello, _) = hello.split_once("RS+").unwrap();
    silent.write_all(format!("{hello}RS+ $G flood\r\n").as_bytes()).await.unwrap();
    eventually("the peer is a member", async || {
        let routez = server.monitor("/routez").await;
        (routez["routes"][0]["subscriptions"] == 1).then_some(())
    })
    .await;
    let before = resident_kib(&server);
    let cut = Arc::new(AtomicBool::new(false));
    let mut floods = Vec::new();
    for _ in 0..4 {
        let mut publisher = greeted(&server).await;
        publisher.send(HELLO).await.unwrap();
        let cut = Arc::clone(&cut);
        floods.push(tokio::spawn(async move {
            let frame = format!("PUB flood 65000\r\n{}\r\n", "x".repeat(65_000)).repeat(4);
            let mut rounds = 0;
            while !cut.load(Ordering::Relaxed) && rounds < 20_000 {
                publisher.send(frame.as_bytes()).await.unwrap();
                rounds += 1;
            }
            publisher.send(b"PING\r\n").await.unwrap();
            // A PING of the server may come first.
            while publisher.line().await.unwrap() != b"PONG\r\n" {}
        }));
    }
    let mut most = before;
    eventually("the peer is cut off", async || {
        bystanders.are_well().await;
        most = most.max(resident_kib(&server));
        let varz = server.monitor("/varz").await;
        (varz["slow_consumer_stats"]["routes"] == 1).then_some(())
    })
    .await;
    cut.store(true, Ordering::Relaxed);
    for flood in floods {
        timeout(DEADLINE, flood).await.unwrap().unwrap();
    }
    bystanders.are_well().await;
    assert!(server.log().contains("Slow Consumer Detected: "), "{}", server.log());
    let grown = most - before;
    let bound = 3 * 64 * 1024;
    assert!(binary.is_stock() || grown < bound, "a peer that does not read cost {grown} KiB");
    eventually("it is no member any more", async || {
        (server.monitor("/routez").await["num_routes"] == 0).then_some(())
    })
    .await;
    drop(silent);
    is_sound(&mut server);
}

/// What was queued for it is the system's again soon after. (The stock server keeps some of it.)
#[tokio::test]
async fn the_memory_of_a_slow_consumer_is_given_back() {
    let binary = Binary::under_test();
    let mut server = Setup::new(&binary).config("max_pending: 32MB\n").start().await;
    let mut publisher = greeted(&server).await;
    publisher.send(HELLO).await.unwrap();
    let burst = format!("PUB flood 1000\r\n{}\r\n", "x".repeat(1000)).repeat(64);
    // What a reading neighbour needs meanwhile must not hem the other's memory in.
    let mut neighbour = TcpStream::connect(server.client()).await.unwrap();
    neighbour.write_all(HELLO).await.unwrap();
    neighbour.write_all(b"SUB flood 1\r\n").await.unwrap();
    let reading = tokio::spawn(async move {
        let mut sink = tokio::io::sink();
        tokio::io::copy(&mut neighbour, &mut sink).await
    });
    let mut slow = TcpStream::connect(server.client()).await.unwrap();
    slow.write_all(HELLO).await.unwrap();
    slow.write_all(b"SUB flood 1\r\n").await.unwrap();
    let before = resident_kib(&server);
    let (mut most, mut bursts) = (0, 0);
    eventually("the slow consumer is cut off", async || {
        for _ in 0..32 {
            publisher.send(burst.as_bytes()).await.unwrap();
        }
        bursts += 32;
        most = most.max(resident_kib(&server));
        let varz = server.monitor("/varz").await;
        (varz["slow_consumers"] == 1).then_some(())
    })
    .await;
    let grown = most - before;
    assert!(grown > 8 * 1024, "{bursts} bursts were queued and took only {grown} KiB");
    eventually("its memory is given back", async || {
        let kept = resident_kib(&server).saturating_sub(before);
        (binary.is_stock() || kept < 8 * 1024).then_some(())
    })
    .await;
    reading.abort();
    is_sound(&mut server);
}

/// A peer that is written to and never reads does not keep the server from shutting down.
#[tokio::test]
async fn a_peer_that_does_not_read_does_not_hold_up_the_end() {
    let mut server = server().await;
    let mut slow = TcpStream::connect(server.client()).await.unwrap();
    slow.write_all(HELLO).await.unwrap();
    slow.write_all(b"SUB flood 1\r\n").await.unwrap();
    let publisher = connect(&server.url()).await;
    for _ in 0..64 {
        publisher.publish("flood", vec![0; 512 * 1024].into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    settle(&publisher, &publisher).await;
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn fifty_thousand_subscriptions_of_one_connection() {
    let mut server = server().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut peer = greeted(&server).await;
    peer.send(HELLO).await.unwrap();
    let subs: String = (0..50_000).map(|n| format!("SUB many.{}.{n} {n}\r\n", n % 100)).collect();
    peer.send(subs.as_bytes()).await.unwrap();
    peer.send(b"PING\r\n").await.unwrap();
    assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
    let varz = server.monitor("/varz").await;
    assert!(varz["subscriptions"].as_u64().unwrap() >= 50_000, "{}", varz["subscriptions"]);
    let publish: String =
        (0..50_000).map(|n| format!("PUB many.{}.{n} 1\r\nx\r\n", n % 100)).collect();
    let mut publisher = greeted(&server).await;
    publisher.send(HELLO).await.unwrap();
    publisher.send(publish.as_bytes()).await.unwrap();
    for n in 0..50_000 {
        let mut line = peer.line().await.unwrap();
        if line == b"PING\r\n" {
            peer.send(b"PONG\r\n").await.unwrap();
            line = peer.line().await.unwrap();
        }
        assert_eq!(line, format!("MSG many.{}.{n} {n} 1\r\n", n % 100).into_bytes());
        assert_eq!(peer.line().await.unwrap(), b"x\r\n");
    }
    drop(peer);
    eventually("the subscriptions are gone", async || {
        let varz = server.monitor("/varz").await;
        (varz["subscriptions"].as_u64().unwrap() < 1_000).then_some(())
    })
    .await;
    bystanders.are_well().await;
    is_sound(&mut server);
}

/// The conversation of section 3.1, cut in two packets at every single byte.
#[tokio::test]
async fn a_conversation_may_be_cut_anywhere() {
    let server = server().await;
    let said = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\
        \"no_responders\":true}\r\nSUB foo.* 1\r\nPUB foo.bar 5\r\nhello\r\n\
        HPUB foo.bar rep 23 28\r\nNATS/1.0\r\nA: 1\r\nB:2\r\n\r\nhello\r\nSUB _INBOX.x 9\r\n\
        PUB svc.none _INBOX.x 2\r\nhi\r\nUNSUB 1 3\r\nPUB foo.bar 0\r\n\r\nPUB foo.bar 0\r\n\r\n\
        PING\r\n";
    let heard = "MSG foo.bar 1 5\r\nhello\r\nHMSG foo.bar 1 rep 23 28\r\nNATS/1.0\r\nA: 1\r\nB:2\
        \r\n\r\nhello\r\nHMSG _INBOX.x 9 40 40\r\nNATS/1.0 503\r\nNats-Subject: svc.none\r\n\r\n\
        \r\nMSG foo.bar 1 0\r\n\r\nPONG\r\n";
    for at in 0..=said.len() {
        let mut peer = greeted(&server).await;
        peer.send_cut(said, at).await.unwrap();
        let answer = peer.take(heard.len()).await.unwrap();
        // Subjects are shared by all rounds, so the previous peer must be gone first.
        assert_eq!(String::from_utf8_lossy(&answer), heard, "cut at byte {at}");
        peer.shut();
        match peer.closed().await {
            Ok(rest) => assert_eq!(rest, b"", "cut at byte {at}"),
            Err(Missed::Closed(_) | Missed::Silence(_)) => panic!("not closed, cut at {at}"),
        }
    }
}

/// Messages of a mebibyte that a late reader is sent: more than sockets hold, less than
/// `max_pending`.
const LATE_MESSAGES: usize = 40;

/// A subscriber that reads slowly until it is told to hurry; gives back how much it read.
async fn late_reader(
    server: &Server,
    hurry: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<std::io::Result<usize>> {
    let mut peer = TcpStream::connect(server.client()).await.unwrap();
    peer.write_all(HELLO).await.unwrap();
    peer.write_all(b"SUB late 1\r\nPING\r\n").await.unwrap();
    let mut peeked = [0; 4096];
    eventually("it is subscribed", async || {
        let n = peer.peek(&mut peeked).await.unwrap();
        peeked[..n].ends_with(b"PONG\r\n").then_some(())
    })
    .await;
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let (mut buffer, mut total) = (vec![0; 64 * 1024], 0);
        while total < LATE_MESSAGES << 20 {
            if !hurry.load(Ordering::Relaxed) {
                pace.tick().await;
            }
            match peer.read(&mut buffer).await? {
                0 => break,
                count => total += count,
            }
        }
        Ok(total)
    })
}

/// What becomes of a peer that reads, but too slowly, is configured.
async fn flooded(
    policy: &str,
) -> (Server, Arc<AtomicBool>, tokio::task::JoinHandle<std::io::Result<usize>>) {
    let config = format!("write_deadline: \"1s\"\nwrite_timeout: {policy}\n");
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let hurry = Arc::new(AtomicBool::new(false));
    let reader = late_reader(&server, Arc::clone(&hurry)).await;
    let publisher = connect(&server.url()).await;
    for _ in 0..LATE_MESSAGES {
        publisher.publish("late", vec![b'x'; 1 << 20].into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    eventually("it is late", async || {
        server
            .log()
            .contains("Slow Consumer Detected: WriteDeadline of 1s exceeded with ")
            .then_some(())
    })
    .await;
    (server, hurry, reader)
}

#[tokio::test]
async fn a_late_reader_is_cut_off() {
    let (server, hurry, reader) = flooded("close").await;
    eventually("it is closed", async || {
        let closed = server.monitor("/connz?state=closed").await;
        let all = closed["connections"].as_array()?.clone();
        all.iter().any(|one| one["reason"] == "Slow Consumer (Write Deadline)").then_some(())
    })
    .await;
    hurry.store(true, Ordering::Relaxed);
    let read = timeout(DEADLINE, reader).await.unwrap().unwrap();
    assert!(read.map_or(true, |total| total < LATE_MESSAGES << 20), "it got everything");
}

#[tokio::test]
async fn a_late_reader_may_catch_up_if_that_is_configured() {
    let (server, hurry, reader) = flooded("retry").await;
    hurry.store(true, Ordering::Relaxed);
    let read = timeout(DEADLINE, reader).await.unwrap().unwrap();
    assert!(read.unwrap() >= LATE_MESSAGES << 20);
    let said = eventually("that is said", async || {
        let log = server.log();
        log.split("Slow Consumer Recovered: Flush took ").nth(1)?.lines().next().map(str::to_owned)
    })
    .await;
    let words: Vec<&str> = said.split(' ').collect();
    let [_took, "with", chunks, "chunks", "of", bytes, "total", "bytes."] = words[..] else {
        panic!("{said:?}")
    };
    assert!(
        chunks.parse::<usize>().unwrap() > 0 && bytes.parse::<usize>().unwrap() > 0,
        "{said:?}"
    );
    let varz = server.monitor("/varz").await;
    assert!(varz["slow_consumers"].as_u64().unwrap() >= 1, "{}", varz["slow_consumers"]);
    let closed = server.monitor_text("/connz?state=closed").await.1;
    assert!(!closed.contains("Slow Consumer"), "{closed}");
}

/// Nobody is slowed down for a receiver that does not read: it misses messages, and stays.
#[tokio::test]
async fn messages_for_a_choked_receiver_are_dropped_if_that_is_configured() {
    let config = "max_pending: 8MB\nno_fast_producer_stall: true\n";
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let mut choked = TcpStream::connect(server.client()).await.unwrap();
    choked.write_all(HELLO).await.unwrap();
    choked.write_all(b"SUB flood 1\r\nPING\r\n").await.unwrap();
    let mut peeked = [0; 4096];
    eventually("it is subscribed", async || {
        let n = choked.peek(&mut peeked).await.unwrap();
        peeked[..n].ends_with(b"PONG\r\n").then_some(())
    })
    .await;
    let publisher = connect(&server.url()).await;
    for _ in 0..64 {
        publisher.publish("flood", vec![b'x'; 1 << 20].into()).await.unwrap();
    }
    publisher.flush().await.unwrap();
    let varz = server.monitor("/varz").await;
    assert_eq!((&varz["connections"], &varz["slow_consumers"]), (&2.into(), &0.into()));
    choked.write_all(b"UNSUB 1\r\nPING\r\n").await.unwrap();
    let (mut total, mut buffer, mut tail) = (0, vec![0; 1 << 16], Vec::new());
    while !tail.ends_with(b"PONG\r\n") {
        let count = timeout(DEADLINE, choked.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "it is closed");
        total += count;
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    assert!(total < 60 << 20, "nothing was dropped: {total} bytes");
}
