//! Requests of other accounts that a service of this account has not answered yet.
//!
//! The service sees a reply subject of this server (`_R_.<server>.<request>`); the asker's own
//! reply subject never leaves its account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Account, Outcome, Sample, ServiceTarget};
use crate::config::ResponseType;

/// Requests that may wait for answers; more are treated as if nobody served them.
const MOST: usize = 1 << 20;
/// Requests after which those are sought whose answers never came.
const SOUGHT_BEYOND: usize = 1024;
/// How long reports of a traced request are waited for.
const REPORTS_THRESHOLD: Duration = Duration::from_secs(10);
/// Letters of the random tokens.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Requests that wait for answers.
#[derive(Debug)]
pub struct Answers {
    prefix: Box<[u8]>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    requests: HashMap<Box<[u8]>, Request>,
    sought_at: usize,
    /// How many of them are measured.
    measured: usize,
}

#[derive(Debug)]
struct Request {
    importer: Arc<Account>,
    reply: Box<[u8]>,
    response_type: ResponseType,
    threshold: Duration,
    /// Asked, or last answered in part.
    since: Instant,
    /// It is measured.
    sample: Option<Box<Sample>>,
}

/// Whom an answer is for.
#[derive(Debug)]
pub struct Asked {
    /// The asker's account.
    pub importer: Arc<Account>,
    /// The asker's own reply subject.
    pub reply: Box<[u8]>,
    /// What was measured of the request, at its first answer.
    pub sample: Option<Box<Sample>>,
}

impl Answers {
    /// Makes an empty set under a subject prefix of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut prefix = b"_R_.".to_vec();
        prefix.extend_from_slice(&random_token());
        prefix.push(b'.');
        let open = Open { requests: HashMap::new(), sought_at: SOUGHT_BEYOND, measured: 0 };
        Self { prefix: prefix.into(), open: Mutex::new(open) }
    }

    /// What all its reply subjects match.
    #[must_use]
    pub fn pattern(&self) -> Vec<u8> {
        [&self.prefix, &b">"[..]].concat()
    }

    /// Expects answers to a request; gives the subject to answer to. `None` when too many wait.
    #[must_use]
    pub fn expect(
        &self,
        importer: &Arc<Account>,
        reply: &[u8],
        service: &ServiceTarget,
        sample: Option<Sample>,
    ) -> Option<Vec<u8>> {
        self.hold(importer, reply, service.response_type, service.threshold, sample)
    }

    /// Expects reports of a traced request, one from each server that it comes to.
    #[must_use]
    pub fn expect_reports(&self, importer: &Arc<Account>, to: &[u8]) -> Option<Vec<u8>> {
        self.hold(importer, to, ResponseType::Chunked, REPORTS_THRESHOLD, None)
    }

    fn hold(
        &self,
        importer: &Arc<Account>,
        reply: &[u8],
        response_type: ResponseType,
        threshold: Duration,
        sample: Option<Sample>,
    ) -> Option<Vec<u8>> {
        let now = Instant::now();
        let meter = sample.as_ref().and_then(|sample| sample.exporter.meter());
        let suffix = meter.map(|meter| meter.suffix().to_vec()).unwrap_or_default();
        let mut open = self.open.lock();
        if open.requests.len() >= open.sought_at {
            // Those that are measured are found by whoever reports them.
            open.requests.retain(|_, request| !request.is_late(now) || request.sample.is_some());
            open.sought_at = (open.requests.len() * 2).max(SOUGHT_BEYOND);
        }
        if open.requests.len() >= MOST {
            return None;
        }
        let subject = open.free_subject(&self.prefix, &suffix);
        let sample = sample.map(|sample| Box::new(Sample { reply: subject.clone(), ..sample }));
        let request = Request {
            importer: Arc::clone(importer),
            reply: reply.into(),
            response_type,
            threshold,
            since: now,
            sample,
        };
        open.measured += usize::from(request.sample.is_some());
        open.requests.insert(subject.as_slice().into(), request);
        Some(subject)
    }

    /// Nobody got the request.
    pub fn forget(&self, subject: &[u8]) -> Option<Box<Sample>> {
        let mut open = self.open.lock();
        let sample = open.requests.remove(subject)?.sample;
        open.measured -= usize::from(sample.is_some());
        sample
    }

    /// Measured requests that were not answered in time, or whose askers wait no more.
    #[must_use]
    pub fn unanswered(&self) -> Vec<Sample> {
        let now = Instant::now();
        let mut open = self.open.lock();
        if open.measured == 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        open.requests.retain(|_, request| {
            let outcome = match &request.sample {
                None => return true,
                Some(_) if request.is_late(now) => Outcome::Late,
                Some(_) if !request.is_waited_for() => Outcome::Left,
                Some(_) => return true,
            };
            found.extend(request.sample.take().map(|sample| Sample { outcome, ..*sample }));
            false
        });
        open.measured -= found.len();
        found
    }

    /// Whom an answer is for, and on which subject. `last` is an answer without a payload.
    #[must_use]
    pub fn take(&self, subject: &[u8], last: bool) -> Option<Asked> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let request = open.requests.get_mut(subject)?;
        let late = request.is_late(now);
        if late && request.sample.is_some() {
            return None; // it is reported, and then forgotten
        }
        let sample = request.sample.take();
        let measured = usize::from(sample.is_some());
        let found =
            Asked { importer: Arc::clone(&request.importer), reply: request.reply.clone(), sample };
        if late || last || request.response_type == ResponseType::Singleton {
            open.requests.remove(subject);
        } else {
            request.since = now;
        }
        open.measured -= measured;
        (!late).then_some(found)
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl Request {
    fn is_late(&self, now: Instant) -> bool {
        now.duration_since(self.since) > self.threshold
    }

    /// Whether anybody listens to what the answer would be published on.
    fn is_waited_for(&self) -> bool {
        let mut waited_for = false;
        self.importer.for_each_match(&self.reply, |_| waited_for = true);
        waited_for
    }
}

impl Open {
    /// A subject that no request waits on.
    fn free_subject(&self, prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
        loop {
            let subject = [prefix, &random_token(), suffix].concat();
            if !self.requests.contains_key(subject.as_slice()) {
                return subject;
            }
        }
    }
}

/// As many letters as nats-server uses. With the prefix they make 71 bits, so that nobody answers
/// by guessing.
fn random_token() -> [u8; 6] {
    rand::random::<[u8; 6]>()
        .map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()).copied().unwrap_or(b'0'))
}
