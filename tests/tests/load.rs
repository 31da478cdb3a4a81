//! Many of everything on one server: idle clients, subscriptions, connects in a row. What they
//! cost is printed. Memory that is free again is used again: the same load repeated comes to a
//! point from where it costs no more, where a leak would grow each time. (The allocator keeps
//! small parts of the heap; that memory of messages goes back to the system is a test of its own.)
//!
//! As it is, a size that is done in seconds. `LOAD_FULL=1 cargo test --release -p blackbox --test
//! load -- --nocapture` takes 10,000 clients, 1,000,000 subscriptions and 100,000 connects, and
//! needs as many descriptors as clients (`ulimit -Hn`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests: a failed step is a failed test, and the figures are told"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use blackbox::server::{Binary, Server, Setup};
use blackbox::{DEADLINE, eventually};
use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n";
/// So many connections are opened, or opened and closed, at the same time.
const AT_ONCE: usize = 64;
/// Connections that hold the subscriptions.
const SUBSCRIBERS: usize = 10;
/// SUBs in one write.
const SUBS_AT_ONCE: usize = 5_000;
/// So often the load is repeated at most: each thread has a heap of its own, and which thread gets
/// a connection is chance.
const ROUNDS_MAX: usize = 8;
/// Subscriptions whose memory is worth giving back.
const CROWD: usize = 120_000;
/// What 100 bytes of each connect in a row would come to, at a tenth of the full size.
const NOISE_KIB: u64 = 1024;

struct Sizes {
    clients: usize,
    subscriptions: usize,
    connects: usize,
}

impl Sizes {
    fn wanted() -> Self {
        if std::env::var_os("LOAD_FULL").is_some() {
            return Self { clients: 10_000, subscriptions: 1_000_000, connects: 100_000 };
        }
        Self { clients: 1_000, subscriptions: 50_000, connects: 3_000 }
    }
}

/// A client with nothing that costs the test much.
struct Peer(TcpStream);

impl Peer {
    /// Connects and is welcome. Each `source` is an address of its own, so that ports of
    /// connections that are gone do not run out.
    async fn dial(address: SocketAddr, source: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        let host = Ipv4Addr::new(127, 0, 1, u8::try_from(source % 200).unwrap() + 1);
        socket.bind((host, 0).into()).unwrap();
        let stream = timeout(DEADLINE, socket.connect(address)).await.expect("in time").unwrap();
        let mut peer = Self(stream);
        peer.say(HELLO).await;
        peer
    }

    /// Says something that ends with PING, and hears the PONG.
    async fn say(&mut self, text: &[u8]) -> Vec<u8> {
        timeout(DEADLINE, self.0.write_all(text)).await.expect("it is read in time").unwrap();
        let (mut heard, mut chunk) = (Vec::new(), [0; 4096]);
        while !heard.ends_with(b"PONG\r\n") {
            let read = timeout(DEADLINE, self.0.read(&mut chunk)).await.expect("an answer");
            let count = read.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&chunk[..count]);
        }
        heard
    }
}

/// What the server uses now.
#[derive(Clone, Copy)]
struct Usage {
    resident_kib: u64,
    cpu: Duration,
}

fn usage(server: &Server) -> Usage {
    let read = |name| std::fs::read_to_string(format!("/proc/{}/{name}", server.pid())).unwrap();
    let status = read("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let resident_kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // utime and stime, in hundredths of a second, behind the name in parentheses.
    let stat = read("stat");
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: Vec<u64> =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
    Usage { resident_kib, cpu: Duration::from_millis(10 * (ticks[0] + ticks[1])) }
}

/// One kind of load: what was there before, at its height, and how many of it.
struct Measured {
    what: &'static str,
    count: usize,
    before: Usage,
    height: Usage,
    took: Duration,
}

impl Measured {
    /// Tells the figures.
    fn tell(&self, server: &Server) {
        let Self { what, count, before, height, took } = self;
        let grown = height.resident_kib.saturating_sub(before.resident_kib);
        let now = usage(server);
        let each = |kib: u64| kib * 1024 / *count as u64;
        let cpu = (height.cpu - before.cpu).as_micros() / *count as u128;
        println!(
            "{count} {what} in {took:.1?}: {cpu} us of CPU and {} bytes each; {} KiB before, {} at \
             the height, {} after",
            each(grown),
            before.resident_kib,
            height.resident_kib,
            now.resident_kib
        );
    }
}

async fn connections_are(server: &Server, count: usize) {
    eventually(&format!("{count} connections"), async || {
        (server.monitor("/varz").await["connections"] == count).then_some(())
    })
    .await;
}

async fn subscriptions(server: &Server) -> u64 {
    server.monitor("/varz").await["subscriptions"].as_u64().unwrap()
}

async fn idle_clients(server: &Server, count: usize) {
    let (before, start) = (usage(server), Instant::now());
    let mut clients = Vec::new();
    while clients.len() < count {
        let batch = AT_ONCE.min(count - clients.len());
        clients.extend(join_all((0..batch).map(|n| Peer::dial(server.client(), n))).await);
    }
    let took = start.elapsed();
    connections_are(server, count).await;
    let height = usage(server);
    for client in clients.iter_mut().step_by(97) {
        client.say(b"PING\r\n").await;
    }
    drop(clients);
    connections_are(server, 0).await;
    Measured { what: "idle clients", count, before, height, took }.tell(server);
}

async fn many_subscriptions(server: &Server, count: usize) {
    let (others, before, start) = (subscriptions(server).await, usage(server), Instant::now());
    let each = count / SUBSCRIBERS;
    let mut subscribers = subscribe(server, each).await;
    let took = start.elapsed();
    assert_eq!(subscriptions(server).await, others + (each * SUBSCRIBERS) as u64);
    let height = usage(server);
    let mut publisher = Peer::dial(server.client(), 0).await;
    for (holder, subscriber) in subscribers.iter_mut().enumerate() {
        let sample = [0, each / 2, each - 1];
        let pubs = sample.map(|n| format!("PUB load.{holder}.{n} 1\r\nx\r\n")).concat();
        publisher.say(format!("{pubs}PING\r\n").as_bytes()).await;
        let heard = subscriber.say(b"PING\r\n").await;
        let msgs = sample.map(|n| format!("MSG load.{holder}.{n} {n} 1\r\nx\r\n")).concat();
        assert!(String::from_utf8_lossy(&heard).contains(&msgs));
    }
    drop((subscribers, publisher));
    connections_are(server, 0).await;
    eventually("the subscriptions are gone", async || {
        (subscriptions(server).await == others).then_some(())
    })
    .await;
    Measured { what: "subscriptions", count, before, height, took }.tell(server);
}

/// Subscriptions `load.HOLDER.N` of so many holders.
async fn subscribe(server: &Server, each: usize) -> Vec<Peer> {
    let mut subscribers = Vec::new();
    for holder in 0..SUBSCRIBERS {
        let mut peer = Peer::dial(server.client(), holder).await;
        for first in (0..each).step_by(SUBS_AT_ONCE) {
            let last = each.min(first + SUBS_AT_ONCE);
            let subs = (first..last).map(|n| format!("SUB load.{holder}.{n} {n}\r\n"));
            let text: String = subs.chain(["PING\r\n".to_owned()]).collect();
            peer.say(text.as_bytes()).await;
        }
        subscribers.push(peer);
    }
    subscribers
}

async fn connects_in_a_row(server: &Server, count: usize) {
    let (before, start) = (usage(server), Instant::now());
    let row = async |lane: usize| {
        for n in 0..count / AT_ONCE {
            drop(Peer::dial(server.client(), lane + n).await);
        }
    };
    join_all((0..AT_ONCE).map(row)).await;
    let took = start.elapsed();
    connections_are(server, 0).await;
    let height = usage(server);
    Measured { what: "connects in a row", count, before, height, took }.tell(server);
}

fn raise_descriptor_limit(wanted: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("may be raised");
    let enough = maximum.is_none_or(|most| most > wanted as u64 + 200);
    assert!(enough, "{wanted} clients need more descriptors than {maximum:?}: raise `ulimit -Hn`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_gone_leaves_nothing_behind() {
    let sizes = Sizes::wanted();
    raise_descriptor_limit(sizes.clients);
    // What is told of closed connections is no leak.
    let config = "max_closed_clients: 10\n";
    let mut server = Setup::new(&Binary::under_test()).config(config).start().await;
    println!("{} KiB at the start", usage(&server).resident_kib);
    let mut ends: Vec<u64> = Vec::new();
    loop {
        idle_clients(&server, sizes.clients).await;
        many_subscriptions(&server, sizes.subscriptions).await;
        connects_in_a_row(&server, sizes.connects).await;
        let end = usage(&server).resident_kib;
        if ends.last().is_some_and(|last| end <= last + NOISE_KIB) {
            break;
        }
        ends.push(end);
        assert!(ends.len() < ROUNDS_MAX, "{ends:?} KiB after each time: something leaks");
    }
    assert_eq!(server.poll_exit(), None, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_crowd_that_left_is_given_back() {
    // Only natsd promises it.
    let server = Setup::new(&Binary::natsd()).start().await;
    let before = usage(&server).resident_kib;
    let subscribers = subscribe(&server, CROWD / SUBSCRIBERS).await;
    let grown = usage(&server).resident_kib - before;
    assert!(grown * 1024 > CROWD as u64 * 100, "{grown} KiB for {CROWD} subscriptions?");
    drop(subscribers);
    let kept = eventually("most of the memory is given back", async || {
        let kept = usage(&server).resident_kib.saturating_sub(before);
        (kept < grown / 4).then_some(kept)
    })
    .await;
    println!("{CROWD} subscriptions took {grown} KiB; without them {kept} KiB are left");
}
