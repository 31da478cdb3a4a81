//! One message to all its receivers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::groups::Group;
use super::import::Nested;
use super::matches::Matches;
use super::queue_group::{Dice, candidates};
use super::stint::{Stint, turn_with};
use crate::account::{Account, Link, LocalTarget, Subscription, Take, Tally, Target, Touch};
use crate::log::{
    self,
    wire::{self, Way},
};
use crate::outbound::{Append, LENT_BODY_BYTES, Outbound, Pauses, SHARED_BODY_BYTES};
use crate::protocol::message::{Frame, Message, Shared};

/// A queue that grew beyond this within one batch is written at once: it keeps memory and the
/// receiver's latency bounded while a large batch is being read.
const EARLY_FLUSH_BYTES: usize = 512 * 1024;

/// All that was queued in one batch is written when it is more than this, behind a message, or twice
/// as much, in the middle of one: what is copied in is
/// then still in the cache when the kernel copies it out, and its blocks are soon free again.
/// Measured, 100 receivers: a third less CPU at 128 bytes, two fifths at 1 KiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// So many queues are written before the clock is looked at.
const WRITES_UNTIMED: usize = 4;

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
    touched: Vec<Arc<Outbound>>,
    pub(super) sizes: Vec<u8>,
    pub(super) dice: Dice,
    pauses: Pauses,
    /// What went to peers of which account.
    tally: Tally,
    /// Bytes queued since the last flush.
    queued: usize,
    /// Messages carried since somebody asked.
    carried: usize,
    /// What was done for the connection whose turn it is.
    pub(super) stint: Stint,
    /// How deep in imports of imports it is, and matches for each depth.
    pub(super) nested: Nested,
}

/// A peer server and the queue groups that are directed to it.
pub(super) type Directed<'m> = SmallVec<[(&'m Arc<Link>, SmallVec<[&'m [u8]; 2]>); 4]>;

impl Touch for Publisher {
    fn touch(&mut self, outbound: &Arc<Outbound>) {
        self.touched.push(Arc::clone(outbound));
    }
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

    /// Writes every touched queue once, without blocking.
    pub fn flush(&mut self) {
        self.queued = 0;
        self.stint.note_writes(self.touched.len());
        for outbound in self.touched.drain(..) {
            outbound.flush();
        }
        self.tally.settle();
    }

    /// The same as long as a turn takes; returns those that are left for later ones. The caller
    /// writes them, for nobody else does.
    #[must_use]
    pub fn flush_some(&mut self) -> Vec<Arc<Outbound>> {
        if self.touched.len() <= WRITES_UNTIMED {
            self.flush();
            return Vec::new();
        }
        self.flush_until(Instant::now() + turn_with(self.touched.len()));
        self.tally.settle();
        std::mem::take(&mut self.touched)
    }

    /// Writes touched queues in the middle of a batch: those that hold parts of a large body, which
    /// cost no memory, as long as the turn goes on.
    fn flush_early(&mut self, message: &Message<'_>) {
        if message.shared.is_none() {
            return self.flush();
        }
        let end = self.stint.end(self.touched.len());
        self.flush_until(end);
    }

    fn flush_until(&mut self, end: Instant) {
        self.queued = 0;
        self.stint.note_writes(self.touched.len());
        let mut written = 0;
        for some in self.touched.chunks(WRITES_UNTIMED) {
            if Instant::now() >= end {
                break;
            }
            for outbound in some {
                outbound.flush();
            }
            written += some.len();
        }
        self.touched.drain(..written);
    }

    /// Writes a queue that has become long, unless what makes it so is large and the turn is over.
    fn flush_long(&mut self, outbound: &Outbound, message: &Message<'_>) {
        if message.shared.is_none() || Instant::now() < self.stint.end(self.touched.len()) {
            outbound.flush();
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
        if self.queued > BATCH_BYTES {
            self.flush_early(message);
        }
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

    /// Renders what stands between subject and body, unless the input holds it.
    pub(super) fn set_sizes(&mut self, message: &Message<'_>) {
        self.sizes.clear();
        if message.tail.is_empty() {
            message.write_sizes(&mut self.sizes);
        }
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
        if appended.first_touch {
            self.touch(outbound);
        }
        self.pauses.add(appended.pause);
        if appended.pending_bytes > EARLY_FLUSH_BYTES {
            self.flush_long(outbound, message);
        }
        self.queued += message.size();
        if self.queued > 2 * BATCH_BYTES {
            self.flush_early(message);
        }
        if take == Take::Last {
            target.subscriber.remove(subscription);
            account.unsubscribe(subscription, self);
        }
        true
    }

    /// Logs MSG or HMSG.
    fn log_delivery(&self, target: &LocalTarget, message: &Message<'_>, head: &[u8]) {
        let label = target.subscriber.label();
        let stripped = message.has_headers() && !target.subscriber.headers();
        let (mut sizes, mut body) = (self.sizes_of(message).to_vec(), message.body);
        if stripped {
            body = body.get(message.header_len..).unwrap_or_default();
            sizes.clear();
            Message { header_len: 0, body, ..*message }.write_sizes(&mut sizes);
        }
        let with_headers = message.has_headers() && !stripped;
        let head = if with_headers { head } else { head.get(1..).unwrap_or_default() };
        let line = [head, target.sid_and_blank(), sizes.trim_ascii_end()].concat();
        wire::op(&label, Way::Out, &String::from_utf8_lossy(&line));
        wire::payload(&label, Way::Out, body, if with_headers { message.header_len } else { 0 });
    }

    /// Appends MSG or HMSG.
    fn write_frame(
        &self,
        queue: &mut Append<'_>,
        target: &LocalTarget,
        message: &Message<'_>,
        head: &[u8],
    ) {
        if message.has_headers() && !target.subscriber.headers() {
            return write_without_headers(queue, target, message, head);
        }
        let head = if message.has_headers() { head } else { head.get(1..).unwrap_or_default() };
        self.write(queue, message, &[head, target.sid_and_blank()]);
    }

    /// Appends a control line and the body, in as few pieces as there are.
    fn write(&self, queue: &mut Append<'_>, message: &Message<'_>, line: &[&[u8]]) {
        if let Some(shared) = message.shared {
            queue.put_all(line, &[self.sizes_of(message)]);
            match shared {
                Shared::Own(body) => queue.share(body),
                Shared::Lent(body) => queue.lend(body),
            }
        } else if message.tail.is_empty() {
            queue.put_all(line, &[&self.sizes, message.body]);
        } else {
            queue.put_all(line, &[message.tail]);
        }
        queue.count_message(message.size());
    }

    /// `[reply ][header size ]size CRLF`, from the input where it stands there.
    fn sizes_of<'a>(&'a self, message: &Message<'a>) -> &'a [u8] {
        let len = message.tail.len().saturating_sub(message.body.len());
        message.tail.get(..len).filter(|sizes| !sizes.is_empty()).unwrap_or(&self.sizes)
    }

    /// Appends RMSG or HMSG for a peer, once per message whatever it is for there.
    pub(super) fn send_to_peer(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        link: &Arc<Link>,
        queues: &[&[u8]],
    ) {
        let Some(mut queue) = link.outbound.append() else { return };
        let mut line: SmallVec<[&[u8]; 16]> = SmallVec::new();
        line.push(if message.has_headers() && link.headers { b"HMSG " } else { b"RMSG " });
        if !link.is_dedicated() {
            line.extend([account.name.as_bytes(), b" "]);
        }
        line.extend([message.subject, b" "]);
        let directed = directed(message, queues, link.headers);
        match &directed {
            None => self.write(&mut queue, message, &line),
            Some((sizes, message)) => {
                queue.put_all(&line, &[sizes, message.body]);
                queue.count_message(message.size());
            }
        }
        let appended = queue.finish();
        self.tally.count(account, message.size());
        if log::tracing_wire() {
            let (sizes, message) = match &directed {
                None => (self.sizes_of(message), message),
                Some((sizes, message)) => (&**sizes, message),
            };
            let line = [&*line.concat(), sizes.trim_ascii_end()].concat();
            wire::op(&link.label, Way::Out, &String::from_utf8_lossy(&line));
            wire::payload(&link.label, Way::Out, message.body, message.header_len);
        }
        if appended.first_touch {
            self.touch(&link.outbound);
        }
        self.pauses.add(appended.pause);
        if appended.pending_bytes > EARLY_FLUSH_BYTES {
            self.flush_long(&link.outbound, message);
        }
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

/// Makes a body shareable if it is large: then it goes to every receiver without a copy. `frame`
/// holds it, or it is copied once.
#[must_use]
pub fn share(body: &[u8], frame: Option<Frame<'_>>) -> Option<Shared> {
    match frame {
        Some(Frame::Lent(buffer)) => {
            (body.len() >= LENT_BODY_BYTES).then(|| Shared::Lent(buffer.slice_ref(body)))
        }
        _ if body.len() < SHARED_BODY_BYTES => None,
        Some(Frame::Own(frame)) => Some(Shared::Own(frame.slice_ref(body))),
        None => Some(Shared::Own(Bytes::copy_from_slice(body))),
    }
}

/// Directs a queue group to a peer, along with whatever else goes there.
pub(super) fn direct<'m>(directed: &mut Directed<'m>, link: &'m Arc<Link>, queue: &'m [u8]) {
    match directed.iter_mut().find(|(held, _)| held.peer == link.peer) {
        Some((_, queues)) => queues.push(queue),
        None => directed.push((link, SmallVec::from_slice(&[queue]))),
    }
}

/// What stands behind the subject, and the message as the peer gets it, where that is not as it
/// came: `+ reply queues.. sizes` or `| queues.. sizes`, headers stripped for a peer that does not
/// know them.
fn directed<'m>(
    message: &Message<'m>,
    queues: &[&[u8]],
    headers: bool,
) -> Option<(Vec<u8>, Message<'m>)> {
    if queues.is_empty() && (headers || !message.has_headers()) {
        return None;
    }
    let body = if headers {
        message.body
    } else {
        message.body.get(message.header_len..).unwrap_or_default()
    };
    let plain = Message {
        reply: &[],
        header_len: if headers { message.header_len } else { 0 },
        body,
        tail: &[],
        shared: None,
        ..*message
    };
    let mut text = Vec::with_capacity(128);
    match (queues.is_empty(), message.reply.is_empty()) {
        (true, true) => {}
        (true, false) => text.extend([message.reply, b" "].concat()),
        (false, true) => text.extend_from_slice(b"| "),
        (false, false) => text.extend([b"+ ", message.reply, b" "].concat()),
    }
    for name in queues {
        text.extend_from_slice(name);
        text.push(b' ');
    }
    plain.write_sizes(&mut text);
    Some((text, plain))
}

/// Appends MSG without the header block, for a client that did not ask for headers.
fn write_without_headers(
    queue: &mut Append<'_>,
    target: &LocalTarget,
    message: &Message<'_>,
    head: &[u8],
) {
    let body = message.body.get(message.header_len..).unwrap_or_default();
    let plain = Message { header_len: 0, body, tail: &[], shared: None, ..*message };
    let mut sizes = Vec::with_capacity(64);
    plain.write_sizes(&mut sizes);
    let head = head.get(1..).unwrap_or_default();
    queue.put_all(&[head, target.sid_and_blank()], &[&sizes, body]);
    queue.count_message(plain.size());
}
