//! Live and recently closed connections, for monitoring, for INFO and for shutdown.
//!
//! Counters of a connection are written by its own task only and read by anyone; sums over
//! all connections are made when somebody asks, so that no message touches a shared counter.

mod client_entry;
mod closed;
mod vitals;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::account::Account;
use crate::close::CloseReason;
use crate::protocol::error;
pub use client_entry::{About, ClientEntry, Traffic, TrafficCounters, Transport};
pub use closed::{ClosedClient, ClosedClients, ClosedSubscription};
pub use vitals::Vitals;

/// How often it is logged at most that there is no room (nats-server 2.15).
const FULL_LOGGED_EVERY: Duration = Duration::from_secs(1);

/// All client connections of this server.
#[derive(Debug)]
pub struct Registry {
    clients: RwLock<HashMap<u64, Arc<ClientEntry>>>,
    closed: Mutex<ClosedClients>,
    /// Clients ever accepted.
    total: AtomicU64,
    /// What clients that are gone left behind, by account.
    gone: Mutex<HashMap<Arc<str>, Gone>>,
    /// How many of the gone were slow consumers.
    slow_consumers: AtomicU64,
    /// How many of the gone were stale.
    stale_connections: AtomicU64,
    /// When it was last logged that there is no room.
    full_logged: Mutex<Option<Instant>>,
    listener: OnceLock<Sender<Event>>,
}

/// A client came or went.
#[derive(Clone, Debug)]
pub enum Event {
    /// It said CONNECT and is welcome.
    Connected(Arc<ClientEntry>),
    /// It is gone.
    Disconnected(Arc<ClosedClient>),
}

/// What the clients of an account that are gone left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// What they sent and got.
    pub traffic: Traffic,
    /// How many were slow consumers.
    pub slow_consumers: u64,
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
            full_logged: Mutex::default(),
            listener: OnceLock::new(),
        }
    }

    /// Adds a client; returns how many there are now.
    pub fn add(&self, client: &Arc<ClientEntry>) -> usize {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut clients = self.clients.write();
        clients.insert(client.id, Arc::clone(client));
        clients.len()
    }

    /// Moves a client to the closed ones; its subscriptions still stand.
    pub fn remove(&self, client: &Arc<ClientEntry>, reason: CloseReason) {
        let slow = matches!(
            reason,
            CloseReason::SlowConsumerPendingBytes | CloseReason::SlowConsumerWriteDeadline
        );
        {
            // Before the live ones, so that sums over both never miss a client.
            let mut gone = self.gone.lock();
            if !self.remove_live(client.id) {
                return;
            }
            let gone = gone.entry(client.account_name()).or_default();
            gone.traffic.add(&client.traffic());
            gone.slow_consumers += u64::from(slow);
        }
        self.slow_consumers.fetch_add(u64::from(slow), Ordering::Relaxed);
        let stale = reason == CloseReason::StaleConnection;
        self.stale_connections.fetch_add(u64::from(stale), Ordering::Relaxed);
        let closed = Arc::new(ClosedClient::new(Arc::clone(client), reason));
        self.tell(|| Event::Disconnected(Arc::clone(&closed)));
        self.closed.lock().push(closed);
    }

    /// A client was late in reading, and stays.
    pub fn note_slow(&self, client: &ClientEntry) {
        self.gone.lock().entry(client.account_name()).or_default().slow_consumers += 1;
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is to be logged now that there is no room for another client: those who are sent
    /// away come again at once, and would fill the log.
    pub fn logs_full(&self) -> bool {
        let now = Instant::now();
        let mut last = self.full_logged.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= FULL_LOGGED_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    fn remove_live(&self, id: u64) -> bool {
        let mut clients = self.clients.write();
        let was_there = clients.remove(&id).is_some();
        if clients.capacity() > 1024 && clients.len() * 4 < clients.capacity() {
            clients.shrink_to_fit();
        }
        was_there
    }

    /// Has somebody told of clients that come and go; only the first one is.
    pub fn tell_of_changes(&self, listener: Sender<Event>) {
        // A second listener would be a mistake of the composition, not of a caller.
        drop(self.listener.set(listener));
    }

    /// A client has said who it is.
    pub fn connected(&self, client: &Arc<ClientEntry>) {
        self.tell(|| Event::Connected(Arc::clone(client)));
    }

    /// Tells the listener, if there is one and it keeps up: clients do not wait for it.
    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = self.listener.get() {
            drop(listener.try_send(event()));
        }
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

    /// The clients of an account, the oldest first.
    #[must_use]
    pub fn members(&self, account: &Arc<Account>) -> Vec<Arc<ClientEntry>> {
        let mut members = self.clients();
        members.retain(|client| {
            client.about().account.is_some_and(|held| Arc::ptr_eq(&held, account))
        });
        members.sort_by_key(|client| client.id);
        members
    }

    /// Dismisses the clients of an account beyond what it may have, the youngest first.
    pub fn dismiss_surplus(&self, account: &Arc<Account>) {
        let Some(most) = account.clients_max() else { return };
        for client in self.members(account).iter().skip(most) {
            tracing::error!("{} - {}", client.label(), error::MAX_ACCOUNT_CONNECTIONS);
            client.dismiss(
                error::MAX_ACCOUNT_CONNECTIONS,
                CloseReason::MaxAccountConnectionsExceeded,
            );
        }
    }

    /// Closes so many clients that no more than this number stay, and says how many; which ones is
    /// chance.
    pub fn close_beyond(&self, most: usize, close: impl Fn(&ClientEntry)) -> usize {
        let clients = self.clients();
        clients.iter().skip(most).for_each(|client| close(client));
        clients.len().saturating_sub(most)
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
    pub fn closed(&self) -> Vec<Arc<ClosedClient>> {
        self.closed.lock().all()
    }

    /// Traffic of all clients, gone ones included.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        let gone = self.gone.lock();
        gone.values().for_each(|gone| sum.add(&gone.traffic));
        for client in self.clients.read().values() {
            sum.add(&client.traffic());
        }
        drop(gone);
        sum
    }

    /// What the clients of an account that are gone left behind.
    #[must_use]
    pub fn gone(&self, account: &str) -> Gone {
        self.gone.lock().get(account).copied().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_server_says_so_once_a_second() {
        let registry = Registry::new(0);
        assert!(registry.logs_full() && !registry.logs_full());
        tokio::time::advance(FULL_LOGGED_EVERY).await;
        assert!(registry.logs_full() && !registry.logs_full());
    }
}
