//! A bounded memory of closed connections.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::{About, ClientEntry, Traffic, Transport};
use crate::account::{LocalTarget, Sid, Subscription};
use crate::close::CloseReason;
use crate::tls::Secured;

/// A connection that is gone.
#[derive(Clone, Debug)]
pub struct ClosedClient {
    /// Connection id.
    pub id: u64,
    /// Where it came from.
    pub peer: std::net::SocketAddr,
    /// What carried its protocol.
    pub transport: Transport,
    /// When it was accepted.
    pub started: Timestamp,
    /// When it ended.
    pub stopped: Timestamp,
    /// Milliseconds between acceptance and last activity.
    pub activity_millis: u64,
    /// Why it ended.
    pub reason: CloseReason,
    /// What it said of itself.
    pub about: About,
    /// What it sent and got.
    pub traffic: Traffic,
    /// Last round trip in nanoseconds; 0 is unknown.
    pub rtt_nanos: u64,
    /// What TLS it had; its certificates are forgotten.
    pub secured: Option<Secured>,
    /// How many subscriptions it had.
    pub subscription_count: usize,
    /// The first of them.
    pub subscriptions: Box<[ClosedSubscription]>,
}

/// A subscription of a connection that is gone.
#[derive(Clone, Debug)]
pub struct ClosedSubscription {
    /// What it was; its target is gone.
    pub pattern: Box<[u8]>,
    /// Queue group.
    pub queue: Option<Box<[u8]>>,
    /// The client's name for it.
    pub sid: Sid,
    /// Deliveries.
    pub delivered: u64,
    /// The maximum of deliveries, 0 for none.
    pub max: u64,
}

/// So many subscriptions of a closed connection are remembered: the memory stays bounded
/// whatever clients do.
const SUBSCRIPTIONS_KEPT: usize = 32;

impl ClosedClient {
    /// Takes the last look at a connection, whose subscriptions still stand.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the connection ends here")]
    pub fn new(client: Arc<ClientEntry>, reason: CloseReason) -> Self {
        let subscriptions = client.subscriber.some(SUBSCRIPTIONS_KEPT);
        Self {
            subscription_count: client.subscriber.count(),
            subscriptions: subscriptions.iter().map(|held| ClosedSubscription::new(held)).collect(),
            id: client.id,
            peer: client.peer,
            transport: client.transport.clone(),
            started: client.vitals.started,
            stopped: Timestamp::now(),
            activity_millis: client.vitals.activity_millis(),
            reason,
            about: client.about(),
            traffic: client.traffic(),
            rtt_nanos: client.vitals.rtt_nanos(),
            secured: client.secured().map(|held| Secured {
                chain: Vec::new(),
                cipher: held.cipher.clone(),
                ..*held
            }),
        }
    }
}

impl ClosedSubscription {
    fn new(held: &Subscription) -> Self {
        let target = held.local();
        Self {
            pattern: held.pattern.clone(),
            queue: held.queue.clone(),
            sid: target.map(|target| Sid::from_slice(target.sid())).unwrap_or_default(),
            delivered: target.map_or(0, LocalTarget::delivered),
            max: target.map_or(0, LocalTarget::max),
        }
    }
}

/// The last so many closed connections.
#[derive(Debug)]
pub struct ClosedClients {
    kept: VecDeque<Arc<ClosedClient>>,
    most: usize,
}

impl ClosedClients {
    /// Makes an empty memory.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most }
    }

    /// Adds one, forgetting the oldest at the bound.
    pub fn push(&mut self, client: Arc<ClosedClient>) {
        if self.most == 0 {
            return;
        }
        if self.kept.len() >= self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(client);
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ClosedClient>> {
        self.kept.iter().cloned().collect()
    }
}
