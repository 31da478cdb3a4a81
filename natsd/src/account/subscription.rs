//! A subscription: a pattern, maybe a queue group, and where its messages go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use smallvec::SmallVec;

use super::{Answers, Link, RenamedTarget, ServiceTarget, Subscriber};
use crate::interest::Interested;
use crate::outbound::Append;
use crate::protocol::message::Message;
use crate::subject;

/// A subscription id as the client chose it. Sixteen bytes fit without a heap block.
pub type Sid = SmallVec<[u8; 16]>;

/// A pattern, maybe a queue group, and where its messages go.
#[derive(Debug)]
pub struct Subscription {
    /// Subject with wildcards, valid.
    pub pattern: Box<[u8]>,
    /// Queue group.
    pub queue: Option<Box<[u8]>>,
    /// Where its messages go.
    pub target: Target,
}

/// Where the messages of a subscription go.
#[derive(Debug)]
pub enum Target {
    /// To a client of this server.
    Local(LocalTarget),
    /// To a peer server that announced interest.
    Peer(PeerTarget),
    /// To the server itself.
    Internal(Box<dyn InternalHandler>),
    /// To a client of an account that imports the stream.
    Renamed(Box<RenamedTarget>),
    /// To a service of another account. Peers do this themselves: it is not announced.
    Service(Box<ServiceTarget>),
    /// To whoever of another account asked a service of this one.
    Answers(Arc<Answers>),
}

/// Delivery to a client of this server.
#[derive(Debug)]
pub struct LocalTarget {
    /// The receiving connection.
    pub subscriber: Arc<Subscriber>,
    /// The client's name for the subscription and a blank, as they stand in each message.
    sid_and_blank: SmallVec<[u8; 16]>,
    /// Deliveries so far. Changed only while the subscriber's queue is open for appending.
    delivered: AtomicU64,
    /// Ends after this many deliveries; 0 is never.
    max: AtomicU64,
}

/// Delivery to a peer server.
#[derive(Debug)]
pub struct PeerTarget {
    /// The connection that announced the interest.
    pub link: Arc<Link>,
    /// Members of the queue group there.
    pub weight: AtomicU32,
}

/// Something in the server that receives messages.
pub trait InternalHandler: Send + Sync + std::fmt::Debug {
    /// Takes a message, from a client of this server if one is named. Called in the middle of a
    /// publish with no lock held: it must not block, nor publish itself (a handler that answers
    /// queues the request for a task of its own).
    fn on_message(&self, message: &Message<'_>, client: Option<u64>);

    /// Whether peers are told, so that their messages come here too.
    fn is_announced(&self) -> bool {
        true
    }
}

/// Whether a delivery may take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Yes.
    Yes,
    /// Yes, and it is the last one: remove the subscription afterwards.
    Last,
    /// No: its maximum is reached.
    No,
}

impl LocalTarget {
    /// Makes a target without a maximum.
    #[must_use]
    pub fn new(subscriber: Arc<Subscriber>, sid: &[u8]) -> Self {
        Self {
            subscriber,
            sid_and_blank: sid.iter().copied().chain([b' ']).collect(),
            delivered: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    /// The client's name for the subscription.
    #[must_use]
    pub fn sid(&self) -> &[u8] {
        self.sid_and_blank.split_last().map_or(&[], |(_blank, sid)| sid)
    }

    /// The same and a blank.
    #[must_use]
    pub fn sid_and_blank(&self) -> &[u8] {
        &self.sid_and_blank
    }

    /// Counts a delivery if it may take place. The open queue is the lock of the counter:
    /// plain loads and stores do, where a read-modify-write would cost twice as much.
    pub fn take(&self, _open: &Append<'_>) -> Take {
        let delivered = self.delivered.load(Ordering::Relaxed) + 1;
        let max = self.max.load(Ordering::Relaxed);
        if max != 0 && delivered > max {
            return Take::No;
        }
        self.delivered.store(delivered, Ordering::Relaxed);
        if delivered == max { Take::Last } else { Take::Yes }
    }

    /// Deliveries so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// The maximum, 0 for none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets a maximum of deliveries since the subscription began; true when it is reached
    /// already, so that the subscription is to be removed now.
    pub fn limit(&self, max: u64) -> bool {
        let open = self.subscriber.outbound.append();
        self.max.store(max, Ordering::Relaxed);
        let reached = self.delivered.load(Ordering::Relaxed) >= max;
        drop(open);
        reached
    }

    /// No delivery takes place any more, not even from matches that were taken before.
    pub fn end(&self) {
        self.max.store(1, Ordering::Relaxed);
        self.delivered.fetch_max(1, Ordering::Relaxed);
    }
}

impl Subscription {
    /// Whether it belongs to this server (a client or the server itself), not to a peer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self.target, Target::Peer(_))
    }

    /// Whether peers are told of it: those of clients, and of the server where it wants them.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        match &self.target {
            Target::Local(_) | Target::Renamed(_) | Target::Answers(_) => true,
            Target::Peer(_) | Target::Service(_) => false,
            Target::Internal(handler) => handler.is_announced(),
        }
    }

    /// Whether it takes a subject that its pattern matches: permissions of the receiving client
    /// or of the cluster may keep it away, and an import may be wider than what the client subscribed to.
    #[must_use]
    pub fn takes(&self, subject: &[u8]) -> bool {
        match &self.target {
            Target::Local(target) => {
                !target.subscriber.is_kept_from(subject, self.queue.as_deref())
            }
            Target::Peer(peer) => peer.link.delivers(&self.pattern, subject),
            Target::Renamed(target) => target.rename.apply(subject).is_some_and(|subject| {
                subject::matches(&target.original.pattern, &subject)
                    && target.original.takes(&subject)
            }),
            _ => true,
        }
    }

    /// The local target, if it has one.
    #[must_use]
    pub fn local(&self) -> Option<&LocalTarget> {
        match &self.target {
            Target::Local(target) => Some(target),
            _ => None,
        }
    }
}

impl Interested for Arc<Subscription> {
    fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    fn identity(&self) -> usize {
        Self::as_ptr(self).addr()
    }
}
