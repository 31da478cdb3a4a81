//! Live and recently closed connections, for monitoring, for INFO and for shutdown.
//!
//! Counters of a connection are written by its own task only and read by anyone; sums over
//! all connections are made when somebody asks, so that no message touches a shared counter.

mod client_entry;
mod closed;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use client_entry::{About, ClientEntry, Traffic, TrafficCounters};
pub use closed::{ClosedClient, ClosedClients};

/// All client connections of this server.
#[derive(Debug)]
pub struct Registry {
    clients: RwLock<HashMap<u64, Arc<ClientEntry>>>,
    closed: Mutex<ClosedClients>,
    /// Clients ever accepted.
    total: AtomicU64,
    /// Traffic of clients that are gone.
    gone: Mutex<Traffic>,
    /// How many of the gone were slow consumers.
    slow_consumers: AtomicU64,
    /// How many of the gone were stale.
    stale_connections: AtomicU64,
}

impl Registry {
    /// Makes an empty registry that remembers this many closed connections.
    #[must_use]
    pub fn new(closed_max: usize) -> Self {
        Self {
            clients: RwLock::default(),
            closed: Mutex::new(ClosedClients::new(closed_max)),
            total: AtomicU64::new(0),
            gone: Mutex::default(),
            slow_consumers: AtomicU64::new(0),
            stale_connections: AtomicU64::new(0),
        }
    }

    /// Adds a client; returns how many there are now.
    pub fn add(&self, client: &Arc<ClientEntry>) -> usize {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut clients = self.clients.write();
        clients.insert(client.id, Arc::clone(client));
        clients.len()
    }

    /// Moves a client to the closed ones.
    pub fn remove(&self, client: &Arc<ClientEntry>, reason: crate::close::CloseReason) {
        use crate::close::CloseReason::{
            SlowConsumerPendingBytes, SlowConsumerWriteDeadline, StaleConnection,
        };
        let was_there = {
            let mut clients = self.clients.write();
            let was_there = clients.remove(&client.id).is_some();
            if clients.capacity() > 1024 && clients.len() * 4 < clients.capacity() {
                clients.shrink_to_fit();
            }
            was_there
        };
        if !was_there {
            return;
        }
        self.gone.lock().add(&client.traffic());
        match reason {
            SlowConsumerPendingBytes | SlowConsumerWriteDeadline => {
                self.slow_consumers.fetch_add(1, Ordering::Relaxed);
            }
            StaleConnection => {
                self.stale_connections.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.closed.lock().push(ClosedClient::new(Arc::clone(client), reason));
    }

    /// The client of an id.
    #[must_use]
    pub fn client(&self, id: u64) -> Option<Arc<ClientEntry>> {
        self.clients.read().get(&id).cloned()
    }

    /// All live clients, in no order.
    #[must_use]
    pub fn clients(&self) -> Vec<Arc<ClientEntry>> {
        self.clients.read().values().cloned().collect()
    }

    /// Closes so many clients that no more than this number stay; which ones is chance.
    pub fn close_beyond(&self, most: usize, close: impl Fn(&ClientEntry)) {
        let clients = self.clients();
        clients.iter().skip(most).for_each(|client| close(client));
    }

    /// Number of live clients.
    #[must_use]
    pub fn count(&self) -> usize {
        self.clients.read().len()
    }

    /// Clients ever accepted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Recently closed clients, oldest first.
    #[must_use]
    pub fn closed(&self) -> Vec<ClosedClient> {
        self.closed.lock().all()
    }

    /// Traffic of all clients, gone ones included.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut sum = *self.gone.lock();
        for client in self.clients.read().values() {
            sum.add(&client.traffic());
        }
        sum
    }

    /// Clients that were cut off because they did not read.
    #[must_use]
    pub fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    /// Clients that were cut off because they did not answer PINGs.
    #[must_use]
    pub fn stale_connections(&self) -> u64 {
        self.stale_connections.load(Ordering::Relaxed)
    }
}
