//! One message to all its receivers.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::groups::Group;
use super::import::Nested;
use super::matches::Matches;
use super::peer::{Directed, direct};
use super::queue_group::{Dice, candidates};
use super::stint::Stint;
use crate::account::{Account, LocalTarget, Subscription, Take, Tally, Target, Touch};
use crate::log;
use crate::outbound::{Outbound, Pauses};
use crate::protocol::message::Message;

/// Where a message comes from: decides who may get it.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A client; with `echo` off its own subscriptions get nothing.
    Client {
        /// Connection id.
        id: u64,
        /// Deliver to subscriptions of the same connection.
        echo: bool,
        /// Can say who that is, should a service ask.
        asker: &'a dyn Asker,
    },
    /// A peer server: local receivers only, and these queue groups (one hop).
    Route {
        /// Queue groups to serve.
        queues: &'a [&'a [u8]],
    },
    /// The server itself.
    Server,
}

/// A client as services of other accounts see it.
pub trait Asker {
    /// The JSON of `Nats-Request-Info`; with `share` everything that may be told.
    fn describe(&self, account: &str, share: bool) -> String;

    /// Its last measured round trip.
    fn rtt(&self) -> Duration;
}

/// Carries messages to receivers on behalf of one reading thread, and flushes what it touched.
#[derive(Debug)]
pub struct Publisher {
    pub(super) touched: Vec<Arc<Outbound>>,
    pub(super) sizes: Vec<u8>,
    pub(super) dice: Dice,
    pub(super) pauses: Pauses,
    /// What went to peers of which account.
    pub(super) tally: Tally,
    /// Bytes queued since the last flush.
    pub(super) queued: usize,
    /// Messages carried since somebody asked.
    carried: usize,
    /// What was done for the connection whose turn it is.
    pub(super) stint: Stint,
    /// How deep in imports of imports it is, and matches for each depth.
    pub(super) nested: Nested,
}

impl Publisher {
    /// Makes a publisher; the seed makes queue group choices differ between threads.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            touched: Vec::new(),
            sizes: Vec::new(),
            dice: Dice::new(seed),
            pauses: Pauses::default(),
            tally: Tally::of_sent(),
            queued: 0,
            carried: 0,
            stint: Stint::default(),
            nested: Nested::default(),
        }
    }

    /// How long the producer of this batch should pause, because a receiver is far behind.
    pub fn take_pause(&mut self, is_crowded: impl FnOnce() -> bool) -> Option<Duration> {
        self.pauses.take(is_crowded)
    }

    /// The turn of a connection begins.
    pub fn begin_turn(&mut self) {
        self.stint = Stint::default();
    }

    /// To be called after every op: whether others of the thread should have their turn now.
    pub fn turn_is_over(&mut self) -> bool {
        self.stint.is_over(self.touched.len())
    }

    /// Notes work that the turn is for: about as much as so many deliveries.
    pub const fn note(&mut self, steps: usize) {
        self.stint.note(steps);
    }

    /// Whether the turn could have brought twice as much.
    pub fn turn_was_easy(&self) -> bool {
        self.stint.was_easy()
    }

    /// How many messages were carried since the last call, whether anybody took them or not.
    pub fn take_carried(&mut self) -> usize {
        std::mem::take(&mut self.carried)
    }

    /// Queues bytes on one connection.
    pub fn send(&mut self, outbound: &Arc<Outbound>, bytes: &[u8]) {
        if outbound.append_bytes(bytes).is_some_and(|appended| appended.first_touch) {
            self.touch(outbound);
        }
    }

    /// Queues a message for all its receivers and returns how many took it, peers included.
    pub fn publish(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &Matches,
        origin: Origin<'_>,
    ) -> usize {
        self.carried += 1;
        if matches.is_nobody() {
            return 0;
        }
        self.set_sizes(message);
        self.stint.note(matches.plain.len());
        let mut count = 0;
        for subscription in &matches.plain {
            count += usize::from(self.deliver(account, subscription, message, matches, origin));
        }
        if !matches.links.is_empty() || !matches.groups.is_empty() {
            count += self.publish_further(account, message, matches, origin);
        }
        self.note_published(message);
        count
    }

    /// Serves queue groups and peers.
    fn publish_further(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &Matches,
        origin: Origin<'_>,
    ) -> usize {
        let mut count = 0;
        let mut directed = Directed::new();
        if let Origin::Route { queues } = origin {
            count += self.serve_named_groups(account, message, matches, queues, &mut directed);
        } else {
            directed.extend(
                matches.links.iter().filter(|l| l.is_open()).map(|link| (link, SmallVec::new())),
            );
            for group in matches.groups.iter() {
                count += usize::from(self.serve_group(
                    account,
                    message,
                    matches,
                    group,
                    origin,
                    &mut directed,
                ));
            }
        }
        for (link, queues) in &directed {
            self.send_to_peer(account, message, link, queues);
        }
        count + directed.len()
    }

    /// Delivers to one member of a group, here or on a peer.
    fn serve_group<'m>(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &'m Matches,
        group: &'m Group,
        origin: Origin<'_>,
        directed: &mut Directed<'m>,
    ) -> bool {
        if group.reaches_peers {
            self.stint.note(group.members.len());
        }
        for member in candidates(group, &mut self.dice) {
            self.stint.note(1);
            match &member.target {
                Target::Peer(peer) if peer.link.is_open() => {
                    direct(directed, &peer.link, &group.name);
                    return false; // counted with the peer
                }
                Target::Peer(_) => {}
                _ if self.deliver(account, member, message, matches, origin) => return true,
                _ => {}
            }
        }
        false
    }

    /// Serves the groups that a peer named: a local member, or, if the last one has just left,
    /// a member on another peer (the only second hop there is).
    fn serve_named_groups<'m>(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &'m Matches,
        names: &[&[u8]],
        directed: &mut Directed<'m>,
    ) -> usize {
        let named = |group: &&Group| names.contains(&&*group.name);
        let mut serve = |group: &'m Group| {
            usize::from(self.serve_named_group(account, message, matches, group, names, directed))
        };
        if matches.groups.are_many() {
            matches.groups.named(names).map(&mut serve).sum()
        } else {
            matches.groups.iter().filter(named).map(&mut serve).sum()
        }
    }

    /// True when a local member got it.
    fn serve_named_group<'m>(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &'m Matches,
        group: &'m Group,
        names: &[&[u8]],
        directed: &mut Directed<'m>,
    ) -> bool {
        self.stint.note(group.members.len());
        let origin = Origin::Route { queues: names };
        let mut order = candidates(group, &mut self.dice);
        let mut local = order.clone().filter(|member| member.is_local());
        if local.any(|member| self.deliver(account, member, message, matches, origin)) {
            return true;
        }
        let link = order.find_map(|member| match &member.target {
            Target::Peer(peer) if peer.link.is_open() => Some(&peer.link),
            _ => None,
        });
        if let Some(link) = link {
            direct(directed, link, &group.name);
        }
        false
    }

    /// Delivers to one local subscription; false when it does not want the message.
    pub(super) fn deliver(
        &mut self,
        account: &Arc<Account>,
        subscription: &Arc<Subscription>,
        message: &Message<'_>,
        matches: &Matches,
        origin: Origin<'_>,
    ) -> bool {
        let target = match &subscription.target {
            Target::Local(target) => target,
            Target::Internal(handler) => {
                handler.on_message(message, origin.client());
                return true;
            }
            Target::Peer(_) => return false,
            Target::Renamed(renamed) => return self.deliver_renamed(renamed, message, origin),
            Target::Service(service) => {
                return self.ask(account, service, message, origin, None);
            }
            Target::Answers(answers) => return self.answer(answers, message, origin),
        };
        self.deliver_to(account, subscription, target, message, &matches.head, origin)
    }

    /// Delivers to a client; `head` is `HMSG subject `.
    pub(super) fn deliver_to(
        &mut self,
        account: &Account,
        subscription: &Arc<Subscription>,
        target: &LocalTarget,
        message: &Message<'_>,
        head: &[u8],
        origin: Origin<'_>,
    ) -> bool {
        let outbound = &target.subscriber.outbound;
        if origin.is_echo_to(outbound) {
            return false;
        }
        if !message.reply.is_empty() && target.subscriber.tracks_replies() {
            target.subscriber.note_request(message.reply);
        }
        let Some(mut queue) = outbound.append() else { return false };
        if queue.drops() && matches!(origin, Origin::Client { .. }) {
            return false;
        }
        let take = target.take(&queue);
        if take == Take::No {
            return false;
        }
        self.write_frame(&mut queue, target, message, head);
        let appended = queue.finish();
        if log::tracing_wire() {
            self.log_delivery(target, message, head);
        }
        self.note_appended(outbound, &appended, message);
        self.note_queued(message);
        if take == Take::Last {
            target.subscriber.remove(subscription);
            account.unsubscribe(subscription, self);
        }
        true
    }
}

impl Origin<'_> {
    fn client(self) -> Option<u64> {
        match self {
            Self::Client { id, .. } => Some(id),
            Self::Route { .. } | Self::Server => None,
        }
    }

    pub(super) fn is_echo_to(self, outbound: &Outbound) -> bool {
        matches!(self, Self::Client { id, echo: false, .. } if id == outbound.id)
    }
}

impl Matches {
    /// Whether nobody gets a message.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.plain.is_empty() && self.links.is_empty() && self.groups.is_empty()
    }
}
