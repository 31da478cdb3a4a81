//! Threads that serve connections: one per core, each with its own readiness loop. A
//! connection stays where it was put; nothing is ever stolen.

use std::future::Future;
use std::io;
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;

use crate::outbound::give_back_spares;

/// How often a thread looks for memory that it does not need.
const REST: Duration = Duration::from_secs(1);

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
        let mut all = vec![Worker::new(own)];
        for index in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            all.push(Worker::new(runtime.handle().clone()));
            std::thread::Builder::new()
                .name(format!("natsd-{index}"))
                .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        }
        for worker in &all {
            worker.handle.spawn(rest());
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
async fn rest() {
    loop {
        sleep(REST).await;
        give_back_spares();
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
