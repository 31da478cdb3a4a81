//! What a subscriber that reads gets while its neighbour has stopped reading.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blackbox::server::{Binary, Setup};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::load::{CHUNK, Counts, Pace, WARM_UP, chunks, client, pin, publish, receive};
use super::points::publisher;

/// Bytes of a message.
const PAYLOAD: usize = 1024;
const SUB: &str = "SUB t.000000 1\r\n";
/// Messages on their way to the one that reads, at most.
const PACE: Pace = Pace::Ahead(1024);

/// Shares of the rate that it has alone, one for each of so many seconds since a neighbour with
/// the same subscription came and read nothing.
pub(crate) async fn measure(binary: &Binary, seconds: usize) -> Vec<f64> {
    let server = Setup::new(binary).start().await;
    pin(&server);
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(receive(client(server.client(), None, "", SUB).await, Arc::clone(&counts)));
    let link = client(server.client(), None, "", "").await;
    let chunks = chunks(&publisher("", ["t.000000".to_owned()]), PAYLOAD, CHUNK);
    tasks.spawn(publish(link, chunks, PACE, 1, Arc::clone(&counts)));
    sleep(WARM_UP).await;
    let alone = rate(&counts).await;
    let lazy = client(server.client(), None, "", SUB).await;
    let mut shares = Vec::new();
    for _ in 0..seconds {
        shares.push(rate(&counts).await / alone);
    }
    drop(lazy);
    counts.stop.store(true, Ordering::Relaxed);
    shares
}

/// Messages that arrive in a second.
async fn rate(counts: &Counts) -> f64 {
    let (begun, received) = (Instant::now(), counts.received());
    sleep(Duration::from_secs(1)).await;
    (counts.received() - received) as f64 / begun.elapsed().as_secs_f64()
}
