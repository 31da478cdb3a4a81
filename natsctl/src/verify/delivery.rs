//! A message from every node to every other: the proof that interest travels both ways.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Subject;
use crate::clients::{self, Login};

/// How long a message may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interest crosses a cluster after the subscription is confirmed, so the first message may come
/// before it: it is sent again until one arrives.
const AGAIN: Duration = Duration::from_millis(25);

/// How one ordered pair fared.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Publisher's node.
    pub from: String,
    /// Subscriber's node.
    pub to: String,
    /// Time on the way, or why none arrived.
    pub outcome: Result<Duration, Lost>,
}

/// Why no message arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Lost {
    /// The node that let no client in, if that is why: no pair with it can be well.
    pub outside: Option<String>,
    /// In words.
    pub why: String,
}

/// Sends across every ordered pair, a node to itself included. Dead nodes cost one timeout.
pub async fn deliver(subjects: &[Subject], login: &Login) -> Vec<Delivery> {
    let run = format!("natsctl.verify.{:016x}", rand::random::<u64>());
    let clients = join_all(subjects.iter().map(|subject| open(subject, login))).await;
    let inboxes = join_all(subjects.iter().zip(&clients).map(|(subject, client)| {
        let subject = format!("{run}.{}.*", subject.node);
        listen(client.as_ref().ok().cloned(), subject)
    }))
    .await;
    let names: Vec<&str> = subjects.iter().map(|subject| subject.node.as_str()).collect();
    let receive = join_all(
        inboxes
            .into_iter()
            .map(|inbox| receive(inbox, names.len(), clients.iter().flatten().count())),
    );
    let send = join_all(
        clients
            .iter()
            .zip(&names)
            .map(|(client, from)| send(client.as_ref().ok(), &run, from, &names)),
    );
    let received = tokio::select! {
        received = receive => received,
        _never = send => Vec::new(),
    };
    let mut all = Vec::new();
    for (from, client) in names.iter().zip(&clients) {
        for (nth, to) in names.iter().enumerate() {
            let outside = |node: &str, why: &str| {
                Err(Lost { outside: Some(node.to_owned()), why: why.to_owned() })
            };
            let outcome = match (client, clients.get(nth)) {
                (Err(why), _) => outside(from, why),
                (_, Some(Err(why))) => outside(to, why),
                _ => received
                    .get(nth)
                    .and_then(|by_sender| by_sender.get(*from).copied())
                    .ok_or_else(|| Lost {
                        outside: None,
                        why: format!("no message within {}s", PATIENCE.as_secs()),
                    }),
            };
            all.push(Delivery { from: (*from).to_owned(), to: (*to).to_owned(), outcome });
        }
    }
    all
}

async fn open(subject: &Subject, login: &Login) -> Result<Client, String> {
    let address = subject.client().ok_or(super::NOWHERE)?;
    let client = clients::pinned(address, login, "natsctl verify").await;
    // The node says where.
    let where_to = format!("connect to {address}: ");
    let client = client
        .map_err(|why| why.strip_prefix(&where_to).map_or_else(|| why.clone(), str::to_owned))?;
    let name = client.server_info().server_name;
    if name == subject.node {
        return Ok(client);
    }
    Err(format!("at {address} answers `{name}`, not `{}`", subject.node))
}

async fn listen(client: Option<Client>, subject: String) -> Option<async_nats::Subscriber> {
    let client = client?;
    let subscriber = client.subscribe(subject).await.ok()?;
    client.flush().await.ok()?;
    Some(subscriber)
}

/// Takes the first message of every sender; its payload says when it was sent.
async fn receive(
    inbox: Option<async_nats::Subscriber>,
    nodes: usize,
    senders: usize,
) -> HashMap<String, Duration> {
    let mut seen = HashMap::with_capacity(nodes);
    let Some(mut inbox) = inbox else { return seen };
    let until = Instant::now() + PATIENCE;
    while seen.len() < senders {
        let Ok(Some(message)) = tokio::time::timeout_at(until, inbox.next()).await else { break };
        let from = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
        let sent = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
        let Some(sent) = sent.map(Duration::from_nanos) else { continue };
        seen.entry(from).or_insert_with(|| clock().saturating_sub(sent));
    }
    seen
}

/// Sends to every node, again and again until the receivers have had enough.
async fn send(client: Option<&Client>, run: &str, from: &str, to: &[&str]) {
    let Some(client) = client else { return std::future::pending().await };
    loop {
        for to in to {
            let now = clock().as_nanos().to_string();
            drop(client.publish(format!("{run}.{to}.{from}"), now.into()).await);
        }
        drop(client.flush().await);
        tokio::time::sleep(AGAIN).await;
    }
}

/// One monotonic clock for both ends, which are in this process.
fn clock() -> Duration {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}
