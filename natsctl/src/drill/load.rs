//! The clients of a drill: one that subscribes at the victim, one that publishes elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clients::{self, Login, Move, Roamer};

/// How long the first message may take to arrive before the drill begins.
const WARM_UP: Duration = Duration::from_secs(3);
/// How often the publisher wakes; at higher rates it sends several at once.
const TICK: Duration = Duration::from_millis(1);

/// What the subscriber saw, on the clock of this process.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Numbers in the order they came, and when.
    pub numbers: Vec<(u64, Instant)>,
    /// What happened to its connection.
    pub moves: Vec<Move>,
}

/// Why the clients could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt}")]
pub struct LoadError {
    /// What was attempted, and where.
    attempt: String,
    /// In words.
    #[source]
    why: Box<dyn std::error::Error + Send + Sync>,
}

/// Both clients at work.
pub struct Load {
    heard: Arc<Mutex<Heard>>,
    sent: Arc<Mutex<Vec<Instant>>>,
    stop: CancellationToken,
    done: CancellationToken,
    publisher: JoinHandle<Result<(), String>>,
    subscriber: JoinHandle<()>,
}

impl Load {
    /// Connects both clients, each to a node by name and address, waits until a first message
    /// came through, and begins to count.
    ///
    /// # Errors
    /// Who could not connect, or that nothing came through.
    pub async fn begin(
        (to, subscriber): (&str, SocketAddr),
        (from, publisher): (&str, SocketAddr),
        login: &Login,
        rate: u32,
    ) -> Result<Self, LoadError> {
        let failed = |attempt: String, why: String| LoadError { attempt, why: why.into() };
        let subject = format!("natsctl.drill.{:016x}", rand::random::<u64>());
        let roamer = Roamer::connect(subscriber, login, "natsctl drill subscriber").await;
        let roamer = roamer.map_err(|why| failed(format!("connect a subscriber to {to}"), why))?;
        let subscribed = roamer.client.subscribe(subject.clone()).await;
        let mut messages =
            subscribed.map_err(|error| failed(format!("subscribe on {to}"), error.to_string()))?;
        let sender = clients::pinned(publisher, login, "natsctl drill publisher").await;
        let sender = sender.map_err(|why| failed(format!("connect a publisher to {from}"), why))?;
        let warm = warm_up(&roamer, &sender, &subject, &mut messages).await;
        warm.map_err(|why| failed(format!("get a message from {from} to {to}"), why))?;
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let subscriber = tokio::spawn(hear(roamer, messages, Arc::clone(&heard), done.clone()));
        let publisher = tokio::spawn(send(sender, subject, rate, Arc::clone(&sent), stop.clone()));
        Ok(Self { heard, sent, stop, done, publisher, subscriber })
    }

    /// Whether the subscriber was cut off and is connected again.
    #[must_use]
    pub fn is_back(&self) -> bool {
        let heard = self.heard.lock();
        heard.moves.iter().any(|happened| matches!(happened, Move::Back(..)))
    }

    /// Stops the publisher, gives the last messages time to arrive, and returns what was sent
    /// (number `n + 1` at `sent[n]`) and heard.
    ///
    /// # Errors
    /// When the publisher could not go on: then the numbers prove nothing.
    pub async fn end(self, settle: Duration) -> Result<(Vec<Instant>, Heard), String> {
        self.stop.cancel();
        let published = self.publisher.await.map_err(|error| error.to_string())?;
        tokio::time::sleep(settle).await;
        self.done.cancel();
        drop(self.subscriber.await);
        published?;
        let sent = std::mem::take(&mut *self.sent.lock());
        let heard = std::mem::take(&mut *self.heard.lock());
        Ok((sent, heard))
    }
}

/// Sends unnumbered messages until one arrives: from then on interest is known on the way.
async fn warm_up(
    roamer: &Roamer,
    sender: &async_nats::Client,
    subject: &str,
    messages: &mut Subscriber,
) -> Result<(), String> {
    roamer.client.flush().await.map_err(|error| error.to_string())?;
    let until = Instant::now() + WARM_UP;
    while Instant::now() < until {
        let sent = sender.publish(subject.to_owned(), "0".into()).await;
        sent.map_err(|error| error.to_string())?;
        sender.flush().await.map_err(|error| error.to_string())?;
        let wait = tokio::time::timeout(Duration::from_millis(50), messages.next());
        if let Ok(Some(_)) = wait.await {
            return Ok(());
        }
    }
    Err(format!("none came within {}s", WARM_UP.as_secs()))
}

async fn hear(
    mut roamer: Roamer,
    mut messages: Subscriber,
    heard: Arc<Mutex<Heard>>,
    done: CancellationToken,
) {
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            message = messages.next() => {
                let Some(message) = message else { return };
                let at = Instant::now();
                let text = std::str::from_utf8(&message.payload).ok();
                if let Some(number) = text.and_then(|text| text.parse().ok()) {
                    heard.lock().numbers.push((number, at));
                }
            }
            happened = roamer.next_move() => {
                let Some(happened) = happened else { return };
                heard.lock().moves.push(happened);
            }
        }
    }
}

async fn send(
    client: async_nats::Client,
    subject: String,
    rate: u32,
    sent: Arc<Mutex<Vec<Instant>>>,
    stop: CancellationToken,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    let mut number: u64 = 0;
    while !stop.is_cancelled() {
        tick.tick().await;
        // As many as are due by now, so that a late tick does not lower the rate.
        let due = begun.elapsed().as_micros() * u128::from(rate) / 1_000_000 + 1;
        while u128::from(number) < due && !stop.is_cancelled() {
            number += 1;
            sent.lock().push(Instant::now());
            let published = client.publish(subject.clone(), number.to_string().into()).await;
            published.map_err(|error| format!("the publisher failed: {error}"))?;
        }
    }
    client.flush().await.map_err(|error| format!("the publisher failed: {error}"))
}
