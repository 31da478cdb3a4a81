//! Requests of other accounts that a service of this account has not answered yet.
//!
//! The service sees a reply subject of this server (`_R_.<server>.<request>`); the asker's own
//! reply subject never leaves its account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Account, ServiceTarget};
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
}

#[derive(Debug)]
struct Request {
    importer: Arc<Account>,
    reply: Box<[u8]>,
    response_type: ResponseType,
    threshold: Duration,
    /// Asked, or last answered in part.
    since: Instant,
}

impl Answers {
    /// Makes an empty set under a subject prefix of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut prefix = b"_R_.".to_vec();
        prefix.extend_from_slice(&random_token());
        prefix.push(b'.');
        let open = Open { requests: HashMap::new(), sought_at: SOUGHT_BEYOND };
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
    ) -> Option<Vec<u8>> {
        self.hold(importer, reply, service.response_type, service.threshold)
    }

    /// Expects reports of a traced request, one from each server that it comes to.
    #[must_use]
    pub fn expect_reports(&self, importer: &Arc<Account>, to: &[u8]) -> Option<Vec<u8>> {
        self.hold(importer, to, ResponseType::Chunked, REPORTS_THRESHOLD)
    }

    fn hold(
        &self,
        importer: &Arc<Account>,
        reply: &[u8],
        response_type: ResponseType,
        threshold: Duration,
    ) -> Option<Vec<u8>> {
        let now = Instant::now();
        let subject = [&self.prefix, &random_token()[..]].concat();
        let mut open = self.open.lock();
        if open.requests.len() >= open.sought_at {
            open.requests.retain(|_, request| !request.is_late(now));
            open.sought_at = (open.requests.len() * 2).max(SOUGHT_BEYOND);
        }
        if open.requests.len() >= MOST {
            return None;
        }
        let request = Request {
            importer: Arc::clone(importer),
            reply: reply.into(),
            response_type,
            threshold,
            since: now,
        };
        open.requests.insert(subject.as_slice().into(), request);
        Some(subject)
    }

    /// Nobody got the request.
    pub fn forget(&self, subject: &[u8]) {
        self.open.lock().requests.remove(subject);
    }

    /// Whom an answer is for, and on which subject. `last` is an answer without a payload.
    #[must_use]
    pub fn take(&self, subject: &[u8], last: bool) -> Option<(Arc<Account>, Box<[u8]>)> {
        let now = Instant::now();
        let mut open = self.open.lock();
        let request = open.requests.get_mut(subject)?;
        let late = request.is_late(now);
        let found = (Arc::clone(&request.importer), request.reply.clone());
        if late || last || request.response_type == ResponseType::Singleton {
            open.requests.remove(subject);
        } else {
            request.since = now;
        }
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
}

/// Eight letters: 47 bits, so that nobody answers by guessing.
fn random_token() -> [u8; 8] {
    rand::random::<[u8; 8]>()
        .map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()).copied().unwrap_or(b'0'))
}
