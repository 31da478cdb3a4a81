//! Messages that go from one account to another: imported streams, requests, answers.

use std::sync::Arc;

use super::Matches;
use super::frame::share;
use super::publish::{Origin, Publisher};
use super::sample::sample;
use super::trace::Trace;
use crate::account::{
    Account, Answers, Measured, Outcome, Party, RenamedTarget, Sample, ServiceTarget,
};
use crate::protocol::headers;
use crate::protocol::message::{CRLF, Message};

/// Header that tells a service who asks.
const REQUEST_INFO: &str = "Nats-Request-Info";
/// Imports of imports are followed so far; the configuration has no cycles.
const DEPTH_MAX: usize = 16;
/// Matches kept between messages.
const SPARE_MAX: usize = 4;

/// What publishing within publishing needs.
#[derive(Debug, Default)]
pub(super) struct Nested {
    depth: usize,
    spare: Vec<Matches>,
}

impl Publisher {
    /// Delivers a message of an imported stream under the importer's subject.
    pub(super) fn deliver_renamed(
        &mut self,
        renamed: &RenamedTarget,
        message: &Message<'_>,
        origin: Origin<'_>,
    ) -> bool {
        let Some((subject, importer)) = renamed.resolve(message.subject) else {
            return false;
        };
        let Some(target) = renamed.original.local() else { return false };
        let head = [b"HMSG ", subject.as_slice(), b" "].concat();
        self.deliver_to(&importer, &renamed.original, target, message, &head, origin)
    }

    /// Carries a request to a service of another account; false when nobody is there.
    pub(super) fn ask(
        &mut self,
        importer: &Arc<Account>,
        service: &ServiceTarget,
        message: &Message<'_>,
        origin: Origin<'_>,
        trace: Option<&mut Trace>,
    ) -> bool {
        // The asker's own server has done it already.
        if matches!(origin, Origin::Route { .. }) || self.nested.depth >= DEPTH_MAX {
            return false;
        }
        let Some(subject) = service.subject_of(message.subject) else { return false };
        let sample = match &service.latency {
            None => None,
            Some(latency) => sample(latency, importer, service, message, origin),
        };
        let (answers, reply) = if message.reply.is_empty() {
            report(sample, Outcome::BadRequest);
            (None, Vec::new())
        } else {
            let answers = Arc::clone(service.exporter.answers(self));
            match answers.expect(importer, message.reply, service, sample) {
                Some(reply) => (Some(answers), reply),
                None => return false,
            }
        };
        let (body, header_len) = with_asker(message, importer, service, origin);
        let shared = share(&body, None);
        let request = Message {
            subject: &subject,
            reply: &reply,
            header_len,
            body: &body,
            tail: &[],
            shared: shared.as_ref(),
        };
        let only = trace.as_ref().is_some_and(|trace| trace.only);
        let served = self.publish_nested(&service.exporter, &request, origin, trace) > 0;
        if let Some(answers) = answers.filter(|_| !served || only) {
            report(answers.forget(&reply).map(|sample| *sample), Outcome::Unavailable);
        }
        served
    }

    /// Carries an answer back to the account of the asker.
    pub(super) fn answer(
        &mut self,
        answers: &Answers,
        message: &Message<'_>,
        origin: Origin<'_>,
    ) -> bool {
        if self.nested.depth >= DEPTH_MAX {
            return false;
        }
        let Some(asked) = answers.take(message.subject, message.size() == 0) else { return false };
        if let Some(sample) = asked.sample {
            let outcome = answered(&sample, origin);
            report(Some(*sample), outcome);
        }
        let answer = Message { subject: &asked.reply, ..*message };
        self.publish_nested(&asked.importer, &answer, Origin::Server, None) > 0
    }

    /// Publishes while a message is being published.
    fn publish_nested(
        &mut self,
        account: &Arc<Account>,
        message: &Message<'_>,
        origin: Origin<'_>,
        trace: Option<&mut Trace>,
    ) -> usize {
        let spare = &mut self.nested.spare;
        let held = spare.iter().position(|matches| matches.hold_for(account, message.subject));
        let mut matches = match held {
            Some(index) => spare.swap_remove(index),
            None => {
                let mut matches =
                    if spare.len() < SPARE_MAX { Matches::default() } else { spare.remove(0) };
                matches.take(account, message.subject);
                self.stint.note(matches.steps());
                matches
            }
        };
        // The sizes of the outer message are still needed.
        let sizes = std::mem::take(&mut self.sizes);
        self.nested.depth += 1;
        let count = match trace {
            None => self.publish(account, message, &matches, origin),
            Some(trace) => self.publish_traced(account, message, &matches, origin, trace),
        };
        self.nested.depth -= 1;
        self.sizes = sizes;
        if message.subject.starts_with(b"_R_.") || message.subject.starts_with(b"_INBOX.") {
            matches.clear(); // never asked for again
        }
        self.nested.spare.push(matches);
        count
    }
}

/// Hands over what was measured of a request, if it was.
fn report(sample: Option<Sample>, outcome: Outcome) {
    let Some(sample) = sample else { return };
    let meter = sample.exporter.meter().cloned();
    if let Some(meter) = meter {
        meter.report(Measured::Asked(Sample { outcome, ..sample }));
    }
}

/// What an answer says of a measured request.
fn answered(sample: &Sample, origin: Origin<'_>) -> Outcome {
    let took = sample.since.elapsed();
    let Origin::Client { asker, .. } = origin else { return Outcome::AnsweredElsewhere { took } };
    let info = asker.describe(&sample.exporter.name, true);
    let responder = Party { info, rtt: asker.rtt() };
    let system = sample.since.elapsed().saturating_sub(took);
    Outcome::Answered { took, system, responder }
}

/// The body of a request with a header that tells who asks; whatever the asker put there itself
/// goes.
fn with_asker(
    message: &Message<'_>,
    importer: &Account,
    service: &ServiceTarget,
    origin: Origin<'_>,
) -> (Vec<u8>, usize) {
    let Origin::Client { asker, .. } = origin else {
        return (message.body.to_vec(), message.header_len);
    };
    let info = asker.describe(&importer.name, service.share);
    let block = headers::with(message.headers(), REQUEST_INFO, &info);
    let body = [block.as_slice(), message.payload(), CRLF].concat();
    (body, block.len())
}
