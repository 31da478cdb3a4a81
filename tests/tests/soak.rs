//! Minutes of random clients, subscriptions, kills and pauses on a cluster of three, with every
//! message accounted for.
//!
//! The test goes in episodes. Each changes subscriptions at random and waits until the change is
//! known everywhere; then all publishers send a burst, in the middle of which something may
//! happen to a node or to clients; then what every subscription got is compared with what it had
//! to get. A message may be lost only if its publisher or its receiver was on a killed node; a
//! paused node loses nothing. No subscription ever gets a message twice, out of order, of another
//! subject, or after UNSUB was answered; no queue group gets one in two members.
//!
//! One exception is the reference's: a node that was to serve a queue group whose last member has
//! just left hands the message to a node that has one. It is late there, and RMSG cannot say that
//! plain subscriptions had it already, so they get it twice, by two ways, the longer of which may
//! be the faster. It is counted, and excused only on subjects of groups that lost a member in the
//! episode.
//!
//! `SOAK_SECONDS` says how long (60), `SOAK_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests: a failed step is a failed test, and the figures are told"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use blackbox::cluster::{Cluster, Routes};
use blackbox::server::Binary;
use blackbox::wire::{Conversation, Missed};
use blackbox::{DEADLINE, eventually};
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

/// Subjects of messages: `soak.0` to `soak.7`.
const SUBJECTS: usize = 8;
const NODES: usize = 3;
const PUBLISHERS_PER_NODE: usize = 2;
const SUBSCRIBERS_MAX: usize = 12;
/// Every subscriber has this one; each publisher ends its burst with a message to it.
const END_SID: &str = "end";
const PROBE_SID: &str = "probe";
const HELLO: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";

/// A message as it came.
struct Delivery {
    sid: String,
    subject: String,
    /// Publisher and sequence number.
    publisher: usize,
    seq: usize,
}

/// A raw connection to a node.
struct Peer {
    node: usize,
    wire: Conversation,
}

impl Peer {
    async fn dial(cluster: &Cluster, node: usize) -> Self {
        let mut wire = Conversation::dial(cluster.node(node).client()).await.unwrap();
        assert!(wire.line().await.unwrap().starts_with(b"INFO "));
        wire.send(HELLO).await.unwrap();
        Self { node, wire }
    }

    /// The next line that is not a PING or an INFO.
    async fn line(&mut self) -> Result<String, Missed> {
        loop {
            let line = String::from_utf8(self.wire.line().await?).unwrap();
            if line == "PING\r\n" {
                // A connection that just broke is told by the next read.
                drop(self.wire.send(b"PONG\r\n").await);
            } else if !line.starts_with("INFO ") {
                assert!(!line.starts_with("-ERR"), "{line}");
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    /// The next message, or `None` for a PONG.
    async fn next(&mut self) -> Result<Option<Delivery>, Missed> {
        let line = self.line().await?;
        if line == "PONG" {
            return Ok(None);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [op @ ("MSG" | "HMSG"), subject, sid, .., size] = words[..] else { panic!("{line:?}") };
        let body = self.wire.take(size.parse::<usize>().unwrap() + 2).await?;
        assert!(body.ends_with(b"\r\n"), "{line:?}: torn frame");
        let head = if op == "HMSG" { words[words.len() - 2].parse().unwrap() } else { 0 };
        let text = String::from_utf8(body[head..].to_vec()).unwrap();
        let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
        Ok(Some(Delivery {
            sid: sid.into(),
            subject: subject.into(),
            publisher: numbers.next().expect("a publisher"),
            seq: numbers.next().expect("a number"),
        }))
    }

    /// Says something and PING, and reads up to the PONG.
    async fn say(&mut self, text: &str) -> Result<Vec<Delivery>, Missed> {
        let sent = self.wire.send(format!("{text}PING\r\n").as_bytes()).await;
        sent.map_err(|error| Missed::Closed(error.to_string()))?;
        let mut deliveries = Vec::new();
        while let Some(delivery) = self.next().await? {
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }
}

/// Sends messages with numbers.
struct Publisher {
    id: usize,
    peer: Peer,
    /// The subject of each message sent, by sequence number.
    sent: Vec<usize>,
    /// Where this episode's messages start.
    episode: usize,
}

impl Publisher {
    /// Sends so many messages in pieces of any size, and an end marker.
    async fn burst(&mut self, count: usize, mut random: SmallRng) -> Result<(), Missed> {
        let mut text = Vec::new();
        for _ in 0..count {
            let subject = random.random_range(0..SUBJECTS);
            let padding = match random.random_range(0..50) {
                0 => 40_000,
                1..10 => random.random_range(0..3000),
                _ => random.random_range(0..100),
            };
            let body = format!("{} {} {}", self.id, self.sent.len(), "x".repeat(padding));
            let frame = if random.random_ratio(1, 4) {
                let (head, total) = (12, body.len() + 12);
                format!("HPUB soak.{subject} {head} {total}\r\nNATS/1.0\r\n\r\n{body}\r\n")
            } else {
                format!("PUB soak.{subject} {}\r\n{body}\r\n", body.len())
            };
            text.extend_from_slice(frame.as_bytes());
            self.sent.push(subject);
        }
        let marker = format!("{} 0 ", self.id);
        text.extend_from_slice(format!("PUB end {}\r\n{marker}\r\n", marker.len()).as_bytes());
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(random.random_range(1..=30_000).min(rest.len()));
            let sent = self.peer.wire.send(piece).await;
            sent.map_err(|error| Missed::Closed(error.to_string()))?;
            rest = left;
            if random.random_ratio(1, 8) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let answers = self.peer.say("").await?;
        assert!(answers.is_empty(), "a publisher has no subscription");
        Ok(())
    }
}

/// A subscription and what it got.
struct Sub {
    pattern: String,
    queue: Option<String>,
    /// The last number of each publisher: it only ever grows (but see above).
    last: HashMap<usize, usize>,
    /// What came in this episode.
    seen: HashSet<(usize, usize)>,
    /// Messages of this episode by publisher.
    got: BTreeMap<usize, usize>,
}

impl Sub {
    fn matches(&self, subject: &str) -> bool {
        matches(&self.pattern, subject)
    }
}

/// All wildcards here stand for all subjects.
fn matches(pattern: &str, subject: &str) -> bool {
    pattern == subject || pattern.ends_with(['*', '>'])
}

struct Subscriber {
    peer: Peer,
    subs: HashMap<String, Sub>,
    next_sid: usize,
    /// Publishers whose end marker of this episode has come.
    ended: Vec<usize>,
    probed: Vec<usize>,
    gone: bool,
}

/// What happens in the middle of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// `kill -9` and a new start.
    Kill(usize),
    /// SIGTERM and a new start.
    Term(usize),
    /// SIGSTOP, and SIGCONT after so long.
    Pause(usize, Duration),
    /// Some subscribers go without a word.
    Clients,
}

impl Fault {
    fn any(random: &mut SmallRng) -> Self {
        let node = random.random_range(0..NODES);
        match random.random_range(0..10) {
            0 => Self::Kill(node),
            1 => Self::Term(node),
            2 | 3 => Self::Pause(node, Duration::from_millis(random.random_range(10..1500))),
            4 | 5 => Self::Clients,
            _ => Self::None,
        }
    }

    /// The node whose clients are cut off.
    fn dead(self) -> Option<usize> {
        match self {
            Self::Kill(node) | Self::Term(node) => Some(node),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    episodes: usize,
    messages: usize,
    deliveries: usize,
    subscriptions: usize,
    kills: usize,
    pauses: usize,
    lost_with_their_node: usize,
    served_elsewhere: usize,
}

struct Soak {
    cluster: Cluster,
    random: SmallRng,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    next_publisher: usize,
    /// What queue groups got in this episode: how often each message.
    groups: HashMap<(String, usize, usize), usize>,
    figures: Figures,
    /// Patterns of the queue groups that lost a member in this episode.
    shaken: Vec<String>,
    /// What is going on, for a person.
    now: String,
}

impl Soak {
    async fn new(binaries: &[Binary], seed: u64) -> Self {
        let mut cluster = Cluster::plan(binaries, Routes::ToAll);
        cluster.start_at_once().await;
        cluster.mesh().await;
        Self {
            cluster,
            random: SmallRng::seed_from_u64(seed),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            next_publisher: 0,
            groups: HashMap::new(),
            figures: Figures::default(),
            shaken: Vec::new(),
            now: String::new(),
        }
    }

    async fn episode(&mut self) {
        self.figures.episodes += 1;
        self.change_clients().await;
        self.change_subscriptions().await;
        self.settle().await;
        self.groups.clear();
        let fault = Fault::any(&mut self.random);
        self.now = format!("episode {}: {fault:?} after {}", self.figures.episodes, self.now);
        self.now.truncate(200);
        self.burst(fault).await;
        self.collect(fault).await;
        self.check(fault);
        self.heal(fault).await;
    }

    /// Fills the publishers up; subscribers come and go.
    async fn change_clients(&mut self) {
        for node in 0..NODES {
            let there = self.publishers.iter().filter(|held| held.peer.node == node).count();
            for _ in there..PUBLISHERS_PER_NODE {
                let peer = Peer::dial(&self.cluster, node).await;
                let id = self.next_publisher;
                self.next_publisher += 1;
                self.publishers.push(Publisher { id, peer, sent: Vec::new(), episode: 0 });
            }
        }
        while self.subscribers.len() < 3
            || (self.subscribers.len() < SUBSCRIBERS_MAX && self.random.random())
        {
            let node = self.random.random_range(0..NODES);
            let mut peer = Peer::dial(&self.cluster, node).await;
            assert!(peer.say(&format!("SUB end {END_SID}\r\n")).await.unwrap().is_empty());
            self.subscribers.push(Subscriber {
                peer,
                subs: HashMap::new(),
                next_sid: 1,
                ended: Vec::new(),
                probed: Vec::new(),
                gone: false,
            });
        }
    }

    async fn change_subscriptions(&mut self) {
        for index in 0..self.subscribers.len() {
            let mut text = String::new();
            let subscriber = &mut self.subscribers[index];
            let mut going: Vec<String> = subscriber.subs.keys().cloned().collect();
            going.sort();
            going.retain(|_| self.random.random_ratio(1, 3));
            for sid in &going {
                text += &format!("UNSUB {sid}\r\n");
            }
            let mut coming = Vec::new();
            for _ in 0..self.random.random_range(0..4) {
                let pattern = match self.random.random_range(0..4) {
                    0 => "soak.*".to_owned(),
                    1 => "soak.>".to_owned(),
                    _ => format!("soak.{}", self.random.random_range(0..SUBJECTS)),
                };
                // A group has one pattern, so that one message means one delivery.
                let queue = self.random.random_ratio(1, 3).then(|| format!("q-{pattern}"));
                let sid = subscriber.next_sid.to_string();
                subscriber.next_sid += 1;
                text += &format!("SUB {pattern} {} {sid}\r\n", queue.as_deref().unwrap_or(""));
                let (last, got, seen) = (HashMap::new(), BTreeMap::new(), HashSet::new());
                coming.push((sid, Sub { pattern, queue, last, seen, got }));
            }
            self.figures.subscriptions += coming.len();
            subscriber.subs.extend(coming);
            let late = self.subscribers[index].peer.say(&text).await.unwrap();
            for delivery in late {
                self.take(index, &delivery);
            }
            // The answer has come: from now on these sids are unknown, and `take` objects.
            for sid in &going {
                self.subscribers[index].subs.remove(sid);
            }
        }
    }

    /// Waits until every node of a publisher knows the interest of every subscriber: the probe's
    /// subscription is the last one made, and interest travels in order.
    async fn settle(&mut self) {
        let probe = format!("probe.{}", self.figures.episodes);
        for index in 0..self.subscribers.len() {
            self.subscribers[index].probed.clear();
            let said = format!("SUB {probe} {PROBE_SID}\r\n");
            for delivery in self.subscribers[index].peer.say(&said).await.unwrap() {
                self.take(index, &delivery);
            }
        }
        let wanted = self.publishers.len();
        let end = Instant::now() + DEADLINE;
        while self.subscribers.iter().any(|held| held.probed.len() < wanted) {
            assert!(Instant::now() < end, "interest is not known everywhere in time");
            for publisher in &mut self.publishers {
                let body = format!("{} 0 ", publisher.id);
                let text = format!("PUB {probe} {}\r\n{body}\r\n", body.len());
                assert!(publisher.peer.say(&text).await.unwrap().is_empty());
            }
            for index in 0..self.subscribers.len() {
                for delivery in self.subscribers[index].peer.say("").await.unwrap() {
                    self.take(index, &delivery);
                }
            }
        }
        for index in 0..self.subscribers.len() {
            let said = format!("UNSUB {PROBE_SID}\r\n");
            for delivery in self.subscribers[index].peer.say(&said).await.unwrap() {
                self.take(index, &delivery);
            }
            self.subscribers[index].ended.clear();
            for sub in self.subscribers[index].subs.values_mut() {
                sub.got.clear();
                sub.seen.clear();
            }
        }
    }

    /// All publishers at once, and the fault in the middle of it.
    async fn burst(&mut self, fault: Fault) {
        let count = self.random.random_range(20..400);
        let delay = Duration::from_millis(self.random.random_range(0..30));
        let mut randoms = Vec::new();
        for publisher in &mut self.publishers {
            publisher.episode = publisher.sent.len();
            randoms.push(SmallRng::seed_from_u64(self.random.random()));
        }
        if fault == Fault::Clients {
            for subscriber in &mut self.subscribers {
                subscriber.gone = self.random.random_ratio(1, 3);
            }
        }
        let going = |held: &&Subscriber| held.gone || Some(held.peer.node) == fault.dead();
        let subs = self.subscribers.iter().filter(going).flat_map(|held| held.subs.values());
        let members = subs.filter(|sub| sub.queue.is_some());
        self.shaken = members.map(|sub| sub.pattern.clone()).collect();
        let (cluster, subscribers) = (&mut self.cluster, &mut self.subscribers);
        let bursts = self.publishers.iter_mut().zip(randoms);
        let bursts = join_all(bursts.map(async |(publisher, random)| {
            (publisher.peer.node, publisher.burst(count, random).await)
        }));
        let trouble = async {
            sleep(delay).await;
            match fault {
                Fault::None => {}
                Fault::Kill(node) => cluster.kill(node),
                Fault::Term(node) => cluster.node(node).signal(Signal::TERM),
                Fault::Pause(node, pause) => {
                    cluster.node(node).signal(Signal::STOP);
                    sleep(pause).await;
                    cluster.node(node).signal(Signal::CONT);
                }
                Fault::Clients => subscribers.retain(|subscriber| !subscriber.gone),
            }
        };
        let (ends, ()) = tokio::join!(bursts, trouble);
        for (node, end) in ends {
            let excused = fault.dead() == Some(node);
            assert!(end.is_ok() || excused, "{fault:?}: a publisher on node {node}: {end:?}");
        }
        self.figures.messages += count * self.publishers.len();
    }

    /// Reads everything that has to come: each publisher on a living node ends with a marker.
    async fn collect(&mut self, fault: Fault) {
        let dead = fault.dead();
        self.subscribers.retain(|held| Some(held.peer.node) != dead);
        let alive = self.publishers.iter().filter(|held| Some(held.peer.node) != dead);
        let wanted: Vec<usize> = alive.map(|held| held.id).collect();
        for index in 0..self.subscribers.len() {
            while !wanted.iter().all(|id| self.subscribers[index].ended.contains(id)) {
                let next = self.subscribers[index].peer.next().await;
                let next = next.unwrap_or_else(|missed| {
                    let ended = &self.subscribers[index].ended;
                    panic!("{fault:?}: ends of {ended:?}, not of all of {wanted:?}: {missed}")
                });
                self.take(index, &next.expect("no PONG is due"));
            }
        }
    }

    /// Enters what came, and objects to what must never come.
    fn take(&mut self, index: usize, delivery: &Delivery) {
        let subscriber = &mut self.subscribers[index];
        let (id, seq) = (delivery.publisher, delivery.seq);
        let from = self.publishers.iter().find(|held| held.id == id).map(|held| held.peer.node);
        if delivery.sid == END_SID {
            assert!(!subscriber.ended.contains(&id), "an end marker came twice");
            return subscriber.ended.push(id);
        }
        if delivery.sid == PROBE_SID {
            if !subscriber.probed.contains(&id) {
                subscriber.probed.push(id);
            }
            return;
        }
        let Some(sub) = subscriber.subs.get_mut(&delivery.sid) else {
            panic!("message {id}/{seq} came for sid {}, unsubscribed", delivery.sid)
        };
        assert!(sub.matches(&delivery.subject), "{} came for {}", delivery.subject, sub.pattern);
        let first_time = sub.seen.insert((id, seq));
        if self.shaken.iter().any(|pattern| matches(pattern, &delivery.subject)) {
            // It may have overtaken others by its other way, or come by both.
            self.figures.served_elsewhere += usize::from(!first_time);
        } else {
            let last = sub.last.insert(id, seq);
            assert!(
                last.is_none_or(|last| last < seq),
                "{} {seq} came after {last:?}, from node {from:?} to {}, {} {:?}, shaken: {:?}, {}",
                delivery.subject,
                subscriber.peer.node,
                sub.pattern,
                sub.queue,
                self.shaken,
                self.now,
            );
        }
        if first_time {
            *sub.got.entry(id).or_default() += 1;
        }
        if let Some(queue) = &sub.queue {
            let times = self.groups.entry((queue.clone(), id, seq)).or_default();
            *times += 1;
            assert!(*times == 1, "{queue} got {id}/{seq} twice");
        }
        self.figures.deliveries += 1;
    }

    /// Compares what came with what had to come.
    fn check(&mut self, fault: Fault) {
        let dead = fault.dead();
        let sound = |publisher: &&Publisher| Some(publisher.peer.node) != dead;
        let mut groups: BTreeMap<&str, &Sub> = BTreeMap::new();
        for subscriber in &self.subscribers {
            for (sid, sub) in &subscriber.subs {
                if let Some(queue) = &sub.queue {
                    groups.insert(queue, sub);
                    continue;
                }
                for publisher in self.publishers.iter().filter(sound) {
                    let expected = publisher.expected(sub);
                    let got = sub.got.get(&publisher.id).copied().unwrap_or(0);
                    let (from, to) = (publisher.peer.node, subscriber.peer.node);
                    let what = format!("{fault:?}: {} sid {sid}: {from} to {to}", sub.pattern);
                    assert_eq!(got, expected, "{what}");
                }
            }
        }
        // Members that went, with their node or alone, take messages with them.
        let members_went = dead.is_some() || fault == Fault::Clients;
        for (queue, sub) in groups {
            for publisher in self.publishers.iter().filter(sound) {
                let got = self.groups.keys().filter(|key| {
                    key.0 == queue && key.1 == publisher.id && key.2 >= publisher.episode
                });
                let (got, expected) = (got.count(), publisher.expected(sub));
                self.figures.lost_with_their_node += expected.saturating_sub(got);
                assert!(got <= expected);
                assert!(got == expected || members_went, "{fault:?}: {queue}: {got} of {expected}");
            }
        }
    }

    /// Makes the cluster whole again, and waits until nothing of the gone clients is left.
    async fn heal(&mut self, fault: Fault) {
        if let Fault::Pause(..) = fault {
            self.figures.pauses += 1;
        }
        if let Some(node) = fault.dead() {
            self.figures.kills += 1;
            self.publishers.retain(|held| held.peer.node != node);
            if let Fault::Term(_) = fault {
                self.cluster.kill(node);
            }
            self.cluster.mesh().await;
            self.cluster.start(node).await;
        }
        self.cluster.mesh().await;
        for node in 0..NODES {
            let publishers = self.publishers.iter().filter(|held| held.peer.node == node).count();
            let subscribers = self.subscribers.iter().filter(|held| held.peer.node == node).count();
            let what = format!("node {node} has {} clients", publishers + subscribers);
            eventually(&what, async || {
                let varz = self.cluster.node(node).monitor("/varz").await;
                (varz["connections"] == publishers + subscribers).then_some(())
            })
            .await;
        }
    }
}

impl Publisher {
    /// How many messages of this episode the pattern of a subscription matches.
    fn expected(&self, sub: &Sub) -> usize {
        let sent = self.sent[self.episode..].iter();
        sent.filter(|subject| sub.matches(&format!("soak.{subject}"))).count()
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

async fn soak(binaries: &[Binary]) {
    let seconds = number("SOAK_SECONDS").unwrap_or(60);
    let seed = number("SOAK_SEED").unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}");
    let mut soak = Soak::new(binaries, seed).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let episode = soak.figures.episodes + 1;
        // Every wait in it has a deadline of its own; this one names the episode.
        let result = timeout(DEADLINE * 10, soak.episode()).await;
        assert!(result.is_ok(), "episode {episode} does not end");
    }
    println!("{seconds} s: {:?}", soak.figures);
    for node in 0..NODES {
        let log = soak.cluster.node(node).log();
        assert!(!log.contains("panicked at"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; run by .ci/run"]
async fn every_message_is_accounted_for() {
    soak(&[Binary::under_test(), Binary::under_test(), Binary::under_test()]).await;
}

/// Needs `NATS_SERVER_BIN`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; run by .ci/run"]
async fn every_message_is_accounted_for_in_a_mixed_cluster() {
    soak(&[Binary::under_test(), Binary::stock(), Binary::under_test()]).await;
}
