//! Threads that serve connections: one per core, each with its own readiness loop. A
//! connection stays where it was put; nothing is ever stolen.

use std::future::Future;
use std::io;
use std::net;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::desk;
use crate::outbound::{give_back_shared_spares, give_back_spares};

/// How often a thread looks for memory that it does not need.
const REST: Duration = Duration::from_secs(1);

/// So many full buffers does a thread read until it asks its readiness loop. By itself the runtime
/// asks after 61 turns only: four publishers on two cores kept it for 100 ms from seeing that
/// their subscriber read, which was then cut off as too slow. Asking after each one costs 5 to 10 %
/// of the CPU where one publisher sends to one subscriber.
const FULL_BUFFERS_MAX: u8 = 4;
/// It reads no further one when they took this long.
const FULL_BUFFERS_TIME: Duration = Duration::from_millis(4);

/// A readiness loop of a thread that serves connections.
///
/// # Errors
/// When the system has no descriptor for it.
pub fn serving_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().on_thread_park(desk::before_rest).build()
}

/// The serving threads.
#[derive(Clone, Debug)]
pub struct Workers {
    all: Arc<[Worker]>,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    load: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count - 1` threads; the calling thread, which runs `own`, is the first worker.
    ///
    /// # Errors
    /// When a thread or its readiness loop cannot be made.
    pub fn start(own: Handle, count: usize) -> io::Result<Self> {
        own.spawn(rest(give_back_shared_spares));
        let mut all = vec![Worker::new(own)];
        for index in 1..count {
            let runtime = serving_runtime()?;
            all.push(Worker::new(runtime.handle().clone()));
            std::thread::Builder::new()
                .name(format!("natsd-{index}"))
                .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        }
        for worker in &all {
            worker.handle.spawn(rest(give_back_spares));
            worker.handle.spawn(desk::sleepless());
        }
        Ok(Self { all: all.into() })
    }

    /// Moves a connection to the thread that has the fewest, and serves it there.
    pub fn serve<F>(
        &self,
        stream: net::TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(worker) = self.all.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed))
        else {
            return;
        };
        let load = Load::on(worker);
        worker.handle.spawn(async move {
            let _load = load;
            // Registers the socket with the readiness loop of its new thread.
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(stream).await;
            }
        });
    }
}

impl Worker {
    fn new(handle: Handle) -> Self {
        Self { handle, load: Arc::default() }
    }
}

/// Gives memory back that a busy moment needed.
async fn rest(give_back: fn()) {
    loop {
        sleep(REST).await;
        give_back();
    }
}

/// Full buffers that a thread has read since it asked its readiness loop.
#[derive(Default)]
pub(super) struct Turns {
    count: u8,
    since: Option<Instant>,
}

impl Turns {
    /// To be called by a connection after a full buffer: it goes on when the others of the thread
    /// had their turn and, every few times, the readiness loop was asked.
    pub(super) fn give_way<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.count += 1;
        if self.count < FULL_BUFFERS_MAX && now - since < FULL_BUFFERS_TIME {
            cx.waker().wake_by_ref();
        } else {
            *self = Self::default();
            let _pending = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }
}

/// Counts a connection on a worker as long as it lives.
struct Load(Arc<AtomicUsize>);

impl Load {
    fn on(worker: &Worker) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&worker.load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicBool;

    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_flood_does_not_keep_a_thread_from_seeing_what_is_ready() {
        let (near, far) = UnixStream::pair().unwrap();
        let was_seen = Arc::new(AtomicBool::new(false));
        let sees = Arc::clone(&was_seen);
        tokio::spawn(async move {
            near.readable().await.unwrap();
            sees.store(true, Ordering::Relaxed);
        });
        yield_now().await;
        far.try_write(b"x").unwrap();
        let flood = tokio::spawn(async move {
            let (mut turns, mut count) = (Turns::default(), 0);
            poll_fn(|cx| {
                if was_seen.load(Ordering::Relaxed) {
                    return Poll::Ready(count);
                }
                count += 1;
                turns.give_way(cx)
            })
            .await
        });
        let count = flood.await.unwrap();
        assert!((1..=8).contains(&count), "it took {count} turns");
    }
}
