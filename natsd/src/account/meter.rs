//! How long services take: what is measured of requests from account to account.
//!
//! Few requests are measured, those that the export's `latency` samples. Such a request carries a
//! [`Sample`] while it waits for its answer (`answers.rs`); where the service is on another server
//! that one measures its half and tells ours, which it finds by a token of the reply subject:
//! `_R_.<exporter>.<request>.<server>.T` (nats-server 2.15). Here nothing is published: what is
//! measured goes to the system account's task, with a bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Account;

/// What reply subjects of measured requests end with.
const MEASURED: &[u8] = b".T";
/// Requests of other servers that may wait for answers here; more are not measured.
const REMOTE_MAX: usize = 1 << 16;
/// How long such answers are waited for.
const REMOTE_PATIENCE: Duration = Duration::from_secs(120);

/// Where measurements go, and what is needed for them.
#[derive(Debug)]
pub struct Meter {
    /// By which other servers find this one.
    token: Box<[u8]>,
    reports: mpsc::Sender<Box<Measured>>,
    /// Requests of other servers that services here have got.
    remote: Mutex<HashMap<Box<[u8]>, Came>>,
}

/// When a request came, on the clock of the world and on the one that never jumps.
type Came = (Timestamp, Instant);

/// What was measured.
#[derive(Debug)]
pub enum Measured {
    /// A request that was made here.
    Asked(Sample),
    /// An answer that was given here to a request of another server.
    Served {
        /// Account that has the service.
        account: Arc<str>,
        /// The reply subject, which names the request.
        reply: Vec<u8>,
        /// When the request came.
        started: Timestamp,
        /// Until the answer came.
        took: Duration,
        /// Who answered.
        responder: Party,
    },
}

/// A client as reports show it.
#[derive(Clone, Debug)]
pub struct Party {
    /// JSON.
    pub info: String,
    /// Its round trip.
    pub rtt: Duration,
}

/// The headers because of which a request is measured.
pub type Reasons = BTreeMap<String, Vec<String>>;

/// A measured request.
#[derive(Debug)]
pub struct Sample {
    /// Account that has the service.
    pub exporter: Arc<Account>,
    /// Where the report goes there.
    pub destination: Arc<str>,
    /// The reply subject that the service sees; empty if there is none.
    pub reply: Vec<u8>,
    /// The headers because of which it is measured.
    pub reasons: Reasons,
    /// Who asks.
    pub requestor: Party,
    /// When it came.
    pub started: Timestamp,
    /// The same, on the clock that never jumps.
    pub since: Instant,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a measured request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing yet.
    Open,
    /// There is nowhere to answer to.
    BadRequest,
    /// Nobody serves.
    Unavailable,
    /// Nobody waits for the answer any more.
    Left,
    /// No answer came in time.
    Late,
    /// Answered by a client of this server.
    Answered {
        /// Until the answer came.
        took: Duration,
        /// Passing it on took so long.
        system: Duration,
        /// Who answered.
        responder: Party,
    },
    /// Answered on another server, which measures its half.
    AnsweredElsewhere {
        /// Until the answer came.
        took: Duration,
    },
}

impl Meter {
    /// Makes a meter; `token` is how other servers find this one.
    #[must_use]
    pub fn new(token: &str, reports: mpsc::Sender<Box<Measured>>) -> Self {
        Self { token: token.as_bytes().into(), reports, remote: Mutex::default() }
    }

    /// What the reply subject of a measured request ends with.
    #[must_use]
    pub fn suffix(&self) -> Vec<u8> {
        [b".", &*self.token, MEASURED].concat()
    }

    /// Hands over what was measured; what does not fit is not reported.
    pub fn report(&self, measured: Measured) {
        drop(self.reports.try_send(Box::new(measured)));
    }

    /// A request of another server is about to be delivered here.
    pub fn note_remote(&self, reply: &[u8]) {
        let now = Instant::now();
        let mut remote = self.remote.lock();
        if remote.len() >= REMOTE_MAX {
            remote.retain(|_, (_, since)| now.duration_since(*since) < REMOTE_PATIENCE);
        }
        if remote.len() < REMOTE_MAX {
            remote.insert(reply.into(), (Timestamp::now(), now));
        }
    }

    /// When a request of another server came that is answered now, and how long ago that is.
    pub fn take_remote(&self, reply: &[u8]) -> Option<(Timestamp, Duration)> {
        let (started, since) = self.remote.lock().remove(reply)?;
        Some((started, since.elapsed()))
    }
}

/// Whether a reply subject is that of a measured request.
#[must_use]
pub fn is_measured(reply: &[u8]) -> bool {
    reply.ends_with(MEASURED) && reply.starts_with(b"_R_.")
}
