//! A traced message to all its receivers: the way of `publish.rs`, step by step and noted.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::event::{Egress, Event, Kind, error};
use super::{Trace, with_header, without_tracing};
use crate::account::{Account, Link, LocalTarget, ServiceTarget, Subscription, Target};
use crate::protocol::headers::{TRACE_DEST, TRACE_HOP};
use crate::protocol::message::Message;
use crate::router::groups::Group;
use crate::router::peer::{Directed, direct};
use crate::router::queue_group::candidates;
use crate::router::{Matches, Origin, Publisher};

/// To note a delivery costs as much as so many deliveries.
const TRACED_STEPS: usize = 8;

/// A client that matches.
struct Receiver<'a> {
    account: &'a Account,
    subscription: &'a Arc<Subscription>,
    target: &'a LocalTarget,
    /// `HMSG subject `.
    head: &'a [u8],
    /// What the report names: of an imported stream the subscription in the account that has it.
    shown: &'a Subscription,
}

impl Publisher {
    /// As [`Publisher::publish`], for a message that is traced.
    pub fn publish_traced(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &Matches,
        origin: Origin<'_>,
        trace: &mut Trace,
    ) -> usize {
        self.set_sizes(message);
        self.note(matches.plain.len() * TRACED_STEPS);
        let mut count = 0;
        for held in &matches.plain {
            count += usize::from(self.trace_one(account, held, message, matches, origin, trace));
        }
        let mut directed = Directed::new();
        let groups: Vec<&Group> = if let Origin::Route { queues } = origin {
            matches.groups.named(queues).collect()
        } else {
            let open = matches.links.iter().filter(|link| link.is_open());
            directed.extend(open.map(|link| (link, SmallVec::new())));
            matches.groups.iter().collect()
        };
        for group in groups {
            let served =
                self.trace_group(account, message, matches, group, origin, &mut directed, trace);
            count += usize::from(served);
        }
        for (link, queues) in &directed {
            count += usize::from(self.trace_to_peer(account, message, link, queues, trace));
        }
        trace.note_denied(account, message.subject);
        count
    }

    /// One member of a group, here or on a peer; local ones first for a message of a peer.
    #[expect(clippy::too_many_arguments, reason = "those of `serve_group`, and the trace")]
    fn trace_group<'m>(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        matches: &'m Matches,
        group: &'m Group,
        origin: Origin<'_>,
        directed: &mut Directed<'m>,
        trace: &mut Trace,
    ) -> bool {
        let mut order: SmallVec<[&Arc<Subscription>; 8]> =
            candidates(group, &mut self.dice).collect();
        if let Origin::Route { .. } = origin {
            order.sort_by_key(|member| !member.is_local());
        }
        for member in order {
            match &member.target {
                Target::Peer(peer) if peer.link.is_open() => {
                    direct(directed, &peer.link, &group.name);
                    return false; // counted with the peer
                }
                Target::Peer(_) => {}
                _ if self.trace_one(account, member, message, matches, origin, trace) => {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// One local receiver; false when it does not want the message.
    fn trace_one(
        &mut self,
        account: &Arc<Account>,
        subscription: &Arc<Subscription>,
        message: &Message<'_>,
        matches: &Matches,
        origin: Origin<'_>,
        trace: &mut Trace,
    ) -> bool {
        match &subscription.target {
            Target::Local(target) => {
                let receiver = Receiver {
                    account,
                    subscription,
                    target,
                    shown: subscription,
                    head: &matches.head,
                };
                self.trace_client(&receiver, message, origin, trace)
            }
            Target::Renamed(renamed) => {
                let Some((subject, importer)) = renamed.resolve(message.subject) else {
                    return false;
                };
                let Some(target) = renamed.original.local() else { return false };
                trace.events.push(Event::Stream {
                    ts: Timestamp::now(),
                    acc: importer.name.to_string(),
                    to: text(&subject),
                });
                if !renamed.allow_trace {
                    return trace.only || self.deliver_renamed(renamed, message, origin);
                }
                let head = [b"HMSG ", subject.as_slice(), b" "].concat();
                let receiver = Receiver {
                    account: &importer,
                    subscription: &renamed.original,
                    target,
                    shown: subscription,
                    head: &head,
                };
                self.trace_client(&receiver, message, origin, trace)
            }
            Target::Service(service) => {
                self.trace_service(account, service, message, origin, trace)
            }
            Target::Internal(_) | Target::Answers(_) | Target::Peer(_) => {
                self.deliver(account, subscription, message, matches, origin)
            }
        }
    }

    /// One client.
    fn trace_client(
        &mut self,
        receiver: &Receiver<'_>,
        message: &Message<'_>,
        origin: Origin<'_>,
        trace: &mut Trace,
    ) -> bool {
        let Receiver { account, subscription, target, head, shown } = *receiver;
        let outbound = &target.subscriber.outbound;
        if origin.is_echo_to(outbound) {
            trace.note_client(account, shown, target, error::NO_ECHO);
            return false;
        }
        if trace.only {
            trace.note_client(account, shown, target, "");
            return true;
        }
        let delivered = self.deliver_to(account, subscription, target, message, head, origin);
        let fault = match delivered {
            true => "",
            false if outbound.append().is_none() => error::CLIENT_CLOSED,
            false => error::AUTO_UNSUBSCRIBED,
        };
        trace.note_client(account, shown, target, fault);
        delivered
    }

    /// A service of another account. What happens there is noted only if its export allows it.
    fn trace_service(
        &mut self,
        importer: &Arc<Account>,
        service: &ServiceTarget,
        message: &Message<'_>,
        origin: Origin<'_>,
        trace: &mut Trace,
    ) -> bool {
        if matches!(origin, Origin::Route { .. }) {
            return false;
        }
        let Some(subject) = service.subject_of(message.subject) else { return false };
        trace.events.push(Event::Service {
            ts: Timestamp::now(),
            acc: service.exporter.name.to_string(),
            from: text(message.subject),
            to: text(&subject),
        });
        if !service.allow_trace {
            if trace.only {
                return false;
            }
            let (body, header_len) = without_tracing(message);
            let message = Message { header_len, body: &body, tail: &[], shared: None, ..*message };
            return self.ask(importer, service, &message, origin, None);
        }
        // Peers report into the service's account; from there it comes back as an answer does.
        let answers = Arc::clone(service.exporter.answers(self));
        let to = trace.told.clone().unwrap_or_else(|| trace.destination.clone());
        let told = answers.expect_reports(importer, to.as_bytes());
        let Some(told) = told.and_then(|told| String::from_utf8(told).ok()) else { return false };
        let (body, header_len) = with_header(message, TRACE_DEST, &told);
        let message = Message { header_len, body: &body, tail: &[], shared: None, ..*message };
        let hops = trace.hops;
        let before = trace.told.replace(told.clone());
        let served = self.ask(importer, service, &message, origin, Some(trace));
        trace.told = before;
        if trace.hops == hops {
            answers.forget(told.as_bytes()); // no peer will report
        }
        served
    }

    /// One peer, which goes on tracing under a number of its own.
    fn trace_to_peer(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        link: &Arc<Link>,
        queues: &[&[u8]],
        trace: &mut Trace,
    ) -> bool {
        trace.hops += 1;
        let hop = match trace.hop.as_str() {
            "" => trace.hops.to_string(),
            hop => format!("{hop}.{}", trace.hops),
        };
        if trace.only && !link.traces {
            trace.note_peer(link, hop, error::ONLY_NO_SUPPORT);
            return false;
        }
        let (body, header_len) = with_header(message, TRACE_HOP, &hop);
        let message = Message { header_len, body: &body, tail: &[], shared: None, ..*message };
        self.set_sizes(&message);
        self.send_to_peer(account, &message, link, queues);
        trace.note_peer(link, hop, if link.traces { "" } else { error::NO_SUPPORT });
        true
    }
}

impl Trace {
    fn note_client(
        &mut self,
        account: &Account,
        subscription: &Subscription,
        target: &LocalTarget,
        error: &'static str,
    ) {
        let elsewhere = *account.name != *self.origin();
        self.events.push(Event::Egress(Egress {
            ts: Timestamp::now(),
            kind: Kind::Client,
            cid: target.subscriber.outbound.id,
            name: String::new(),
            hop: String::new(),
            acc: if elsewhere { account.name.to_string() } else { String::new() },
            sub: text(&subscription.pattern),
            queue: subscription.queue.as_deref().map(text).unwrap_or_default(),
            error,
        }));
    }

    fn note_peer(&mut self, link: &Link, hop: String, error: &'static str) {
        self.events.push(Event::Egress(Egress {
            ts: Timestamp::now(),
            kind: Kind::Route,
            cid: link.outbound.id,
            name: String::new(),
            hop,
            acc: String::new(),
            sub: String::new(),
            queue: String::new(),
            error,
        }));
    }

    /// Notes clients whom permissions keep from what their subscriptions match.
    fn note_denied(&mut self, account: &Account, subject: &[u8]) {
        let mut denied = Vec::new();
        account.for_each_match(subject, |held| {
            if held.queue.is_none() && !held.takes(subject) {
                denied.push(Arc::clone(held));
            }
        });
        for held in &denied {
            if let Target::Local(target) = &held.target {
                self.note_client(account, held, target, error::DENIED);
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
