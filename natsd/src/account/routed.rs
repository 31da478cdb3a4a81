//! What an account had of its peers, and what it sent them. A message touches no shared counter:
//! whoever reads a batch keeps a [`Tally`] and adds it up at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Account;

/// Messages and bytes over routes, in both directions.
#[derive(Debug, Default)]
pub struct Routed {
    received: Counters,
    sent: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Sums at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoutedTraffic {
    /// Messages from peers.
    pub in_messages: u64,
    /// Bytes of these.
    pub in_bytes: u64,
    /// Messages to peers.
    pub out_messages: u64,
    /// Bytes of these.
    pub out_bytes: u64,
}

impl Counters {
    fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Routed {
    /// Sums so far.
    #[must_use]
    pub fn read(&self) -> RoutedTraffic {
        let (in_messages, in_bytes) = self.received.read();
        let (out_messages, out_bytes) = self.sent.read();
        RoutedTraffic { in_messages, in_bytes, out_messages, out_bytes }
    }
}

/// What is not added up yet, of one account at a time: a batch is mostly about one.
#[derive(Debug)]
pub struct Tally {
    way: Way,
    account: Option<Arc<Account>>,
    messages: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Received,
    Sent,
}

impl Tally {
    /// Of what comes from peers.
    #[must_use]
    pub const fn of_received() -> Self {
        Self::of(Way::Received)
    }

    /// Of what goes to peers.
    #[must_use]
    pub const fn of_sent() -> Self {
        Self::of(Way::Sent)
    }

    const fn of(way: Way) -> Self {
        Self { way, account: None, messages: 0, bytes: 0 }
    }

    /// Counts one message.
    pub fn count(&mut self, account: &Arc<Account>, bytes: usize) {
        if !self.account.as_ref().is_some_and(|held| Arc::ptr_eq(held, account)) {
            self.settle();
            self.account = Some(Arc::clone(account));
        }
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    /// Adds up; between two batches no account is held on to.
    pub fn settle(&mut self) {
        let Some(account) = self.account.take() else { return };
        let counters = match self.way {
            Way::Received => &account.routed.received,
            Way::Sent => &account.routed.sent,
        };
        counters.add(std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_added_up_at_its_end_and_when_the_account_changes() {
        let (a, b) = (Arc::new(Account::new("A")), Arc::new(Account::new("B")));
        let (mut came, mut went) = (Tally::of_received(), Tally::of_sent());
        came.count(&a, 5);
        came.count(&a, 6);
        went.count(&b, 7);
        assert_eq!(a.routed.read(), RoutedTraffic::default());
        came.count(&b, 1);
        assert_eq!(
            a.routed.read(),
            RoutedTraffic { in_messages: 2, in_bytes: 11, ..RoutedTraffic::default() }
        );
        came.settle();
        went.settle();
        went.settle();
        assert_eq!(
            b.routed.read(),
            RoutedTraffic { in_messages: 1, in_bytes: 1, out_messages: 1, out_bytes: 7 }
        );
    }
}
