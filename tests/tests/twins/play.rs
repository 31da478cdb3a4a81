//! Plays a story to one server and collects what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blackbox::server::Server;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::heard::Heard;
use crate::story::{Act, Step, Who};

/// What became of a story on one server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) heard: Vec<Heard>,
    pub(crate) counters: BTreeMap<String, String>,
}

impl Outcome {
    /// The first difference, in words.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        for (one, two) in self.heard.iter().zip(&other.heard) {
            if one != two {
                return Some(format!("{} was told\n  {one:?}\nand\n  {two:?}", one.who));
            }
        }
        for (name, one) in &self.counters {
            let two = other.counters.get(name);
            if two != Some(one) {
                return Some(format!("{name} is\n  {one}\nand\n  {}", two.map_or("-", |t| t)));
            }
        }
        None
    }
}

/// How long to wait for an answer that may never come: times are multiplied by this.
pub(crate) type Patience = u32;

/// Longest wait for the PONG of a PING that may have been part of a payload.
const PONG_WAIT: Duration = Duration::from_millis(8);
/// Wait after what has no answer.
const MOMENT: Duration = Duration::from_millis(2);

/// Plays the steps, ends all connections, and reads the counters.
pub(crate) async fn play(server: &Server, steps: &[Step], patience: Patience) -> Outcome {
    let before = server.monitor("/varz").await;
    let mut lines: BTreeMap<Who, Line> = BTreeMap::new();
    let mut gone: Vec<Line> = Vec::new();
    for step in steps {
        match &step.act {
            Act::Open => {
                let line = Line::dial(server, step.who).await;
                if let Some(old) = lines.insert(step.who, line) {
                    gone.push(old.ended());
                    sleep(MOMENT * 2 * patience).await;
                }
            }
            Act::Send(bytes) => say(lines.get_mut(&step.who), bytes, None, patience).await,
            Act::Cut(bytes, at) => {
                say(lines.get_mut(&step.who), bytes, Some(*at), patience).await;
            }
        }
    }
    settle(&lines, patience).await;
    gone.extend(lines.into_values().map(Line::ended));
    let mut counters = counters(server, &before).await;
    // nats-server counts as sent what was traced instead.
    if steps.iter().any(|step| step.to_string().contains("Nats-Trace-Only")) {
        counters.remove("/varz out_msgs");
        counters.remove("/varz out_bytes");
    }
    // And the headers that it takes away for clients without them.
    let said = |word| steps.iter().any(|step| step.to_string().to_uppercase().contains(word));
    if said("HPUB") || said("HMSG") {
        counters.remove("/varz out_bytes");
    }
    // It does not count what came in one read with what it closes for.
    if gone.iter().any(|line| line.told.lock().closed) {
        counters.remove("/varz in_msgs");
        counters.remove("/varz in_bytes");
    }
    let mut heard = Vec::new();
    for line in &gone {
        let name = format!("{} (number {})", line.who, heard.len());
        if let Some(cid) = line.cid() {
            counters.insert(format!("/connz of {name}"), closed(server, cid).await);
        }
        let told = line.told.lock();
        heard.push(Heard::of(name, &told.bytes, told.closed));
    }
    Outcome { heard, counters }
}

async fn say(line: Option<&mut Line>, bytes: &[u8], cut: Option<usize>, patience: Patience) {
    let Some(line) = line else { return };
    let bytes = line.with_reply(bytes);
    let mark = line.told.lock().bytes.len();
    match cut.filter(|&at| at < bytes.len()) {
        Some(at) => {
            line.write(&bytes[..at]).await;
            sleep(MOMENT * patience).await;
            line.write(&bytes[at..]).await;
        }
        None => line.write(&bytes).await,
    }
    let pings = bytes.ends_with(b"PING\r\n");
    let end = Instant::now() + if pings { PONG_WAIT } else { MOMENT } * patience;
    while Instant::now() < end {
        {
            let told = line.told.lock();
            let new = told.bytes.get(mark..).unwrap_or_default();
            if told.closed || pings && new.windows(6).any(|part| part == b"PONG\r\n") {
                break;
            }
        }
        sleep(Duration::from_micros(200)).await;
    }
    if patience > 1 {
        sleep(MOMENT * patience).await;
    }
}

/// Waits until nothing comes any more.
async fn settle(lines: &BTreeMap<Who, Line>, patience: Patience) {
    let heard = || lines.values().map(|line| line.told.lock().bytes.len()).sum::<usize>();
    let mut last = heard();
    loop {
        sleep(MOMENT * 3 * patience).await;
        let now = heard();
        if now == last {
            return;
        }
        last = now;
    }
}

/// Longest wait for a server to forget who is gone; if it does not, that is a difference.
const FORGET_WAIT: Duration = Duration::from_secs(3);

const COUNTED: [&str; 10] = [
    "connections",
    "routes",
    "total_connections",
    "subscriptions",
    "slow_consumers",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "stale_connections",
];

/// What the story added to the server's counters, once it has forgotten all connections.
async fn counters(server: &Server, before: &Value) -> BTreeMap<String, String> {
    let end = Instant::now() + FORGET_WAIT;
    let after = loop {
        let varz = server.monitor("/varz").await;
        let same = |key| varz[key].as_i64() == before[key].as_i64();
        if same("connections") && same("routes") && same("subscriptions") || Instant::now() > end {
            break varz;
        }
        sleep(MOMENT).await;
    };
    let mut counters = BTreeMap::new();
    for key in COUNTED {
        let added = after[key].as_i64().unwrap_or(0) - before[key].as_i64().unwrap_or(0);
        counters.insert(format!("/varz {key}"), added.to_string());
    }
    counters
}

/// Times, ports, and what had not been written when it was closed.
const OWN_TO_A_CONNECTION: [&str; 9] =
    ["cid", "port", "start", "last_activity", "stop", "uptime", "idle", "rtt", "pending_bytes"];

/// What the server remembers of a client that is gone.
async fn closed(server: &Server, cid: u64) -> String {
    let path = format!("/connz?state=closed&auth=true&cid={cid}");
    let connz = blackbox::eventually("a closed connection is remembered", async || {
        let connz = server.monitor(&path).await;
        connz["connections"][0].as_object().cloned()
    })
    .await;
    let mut fields: BTreeMap<String, Value> = connz.into_iter().collect();
    fields.retain(|name, _| !OWN_TO_A_CONNECTION.contains(&name.as_str()));
    // The same here; and it takes some of a CONNECT that it cannot read to its end.
    if fields.get("reason").is_none_or(|reason| reason != "Client Closed") {
        const HALF: [&str; 7] =
            ["in_msgs", "in_bytes", "authorized_user", "name", "lang", "version", "jwt"];
        fields.retain(|name, _| !HALF.contains(&name.as_str()));
    }
    format!("{fields:?}")
}

/// One connection, read by a task of its own.
struct Line {
    who: Who,
    writer: Option<OwnedWriteHalf>,
    told: Arc<Mutex<Told>>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    closed: bool,
}

impl Line {
    async fn dial(server: &Server, who: Who) -> Self {
        let address = match who {
            Who::Client(_) => server.client(),
            Who::Peer(_) => server.cluster(),
        };
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("no delay");
        let (mut read, writer) = stream.into_split();
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        let reader = tokio::spawn(async move {
            let mut chunk = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = read.read(&mut chunk).await {
                shared.lock().bytes.extend_from_slice(&chunk[..count]);
            }
            shared.lock().closed = true;
        });
        let line = Self { who, writer: Some(writer), told, reader };
        blackbox::eventually("the server greets", async || {
            let told = line.told.lock();
            (told.closed || told.bytes.ends_with(b"\r\n")).then_some(())
        })
        .await;
        line
    }

    /// A server may close at any time; then this is not heard.
    async fn write(&mut self, bytes: &[u8]) {
        if let Some(writer) = &mut self.writer {
            let _closed = writer.write_all(bytes).await;
        }
    }

    fn with_reply(&self, bytes: &[u8]) -> Vec<u8> {
        const PLACE: &[u8] = b"${reply}";
        let Some(at) = bytes.windows(PLACE.len()).position(|part| part == PLACE) else {
            return bytes.to_vec();
        };
        let told = self.told.lock();
        let text = String::from_utf8_lossy(&told.bytes);
        let shown = text.lines().rev().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["MSG", _, _, reply, _] | ["HMSG", _, _, reply, _, _] => Some((*reply).to_owned()),
                _ => None,
            }
        });
        let shown = shown.unwrap_or_else(|| "none".to_owned());
        [&bytes[..at], shown.as_bytes(), &bytes[at + PLACE.len()..]].concat()
    }

    fn cid(&self) -> Option<u64> {
        let told = self.told.lock();
        let text = String::from_utf8_lossy(&told.bytes);
        let (_, rest) = text.lines().next()?.split_once("\"client_id\":")?;
        rest.split([',', '}']).next()?.parse().ok()
    }

    /// Ends it, and keeps what it was told until now.
    fn ended(mut self) -> Self {
        let told = std::mem::take(&mut *self.told.lock());
        self.told = Arc::new(Mutex::new(told));
        self.reader.abort();
        self.writer = None;
        self
    }
}
