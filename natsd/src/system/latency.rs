//! Reports of how long services take, and the halves that servers tell each other.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::System;
use super::event::event_id;
use super::inlet::Request;
use crate::account::{Measured, Outcome, Party, Reasons, Sample};
use crate::monitor::json;

/// Halves that may wait for the other half.
const HALVES_MAX: usize = 4096;
/// How long they wait.
const HALVES_PATIENCE: Duration = Duration::from_secs(120);
const KIND: &str = "io.nats.server.metric.v1.service_latency";
/// A half that another server measured arrives here.
const REMOTE: &str = "$SYS.LATENCY.M2.";

/// What is known so far of requests that are answered on another server.
#[derive(Debug, Default)]
pub(super) struct Halves(HashMap<Vec<u8>, (Half, Instant)>);

#[derive(Debug)]
enum Half {
    /// Ours, which waits for theirs.
    Asked(Box<Sample>),
    /// Theirs, which came first.
    Served(Box<ServiceLatency>),
}

/// The report, keys in nats-server's order. Durations are in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ServiceLatency {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    timestamp: Timestamp,
    status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestor: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<Value>,
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    header: Reasons,
    start: Timestamp,
    service: i64,
    system: i64,
    total: i64,
}

/// The half of a server whose client answered.
#[derive(Debug, Serialize, Deserialize)]
struct Remote {
    account: String,
    req_id: String,
    m2: ServiceLatency,
}

impl Request {
    pub(super) fn is_latency(&self) -> bool {
        self.subject.starts_with(REMOTE)
    }
}

impl System {
    /// Where other servers tell this one what they measured.
    pub(super) fn latency_subject(&self) -> String {
        format!("{REMOTE}{}", self.node().identity.id)
    }

    /// Something was measured here.
    pub(super) fn take_measured(&self, measured: Measured) {
        match measured {
            Measured::Asked(sample) => match sample.outcome {
                Outcome::AnsweredElsewhere { .. } => self.join_halves(sample),
                _ => self.report_latency(&sample, report_of(&sample)),
            },
            Measured::Served { account, reply, started, took, responder } => {
                let Ok(reply) = String::from_utf8(reply) else { return };
                let Some(server) = reply.rsplit('.').nth(1) else { return };
                let subject = format!("{REMOTE}{server}");
                let service = took.saturating_sub(responder.rtt);
                let m2 = ServiceLatency {
                    timestamp: Timestamp::now(),
                    status: 200,
                    start: started,
                    service: nanos(service),
                    total: nanos(service + responder.rtt),
                    responder: shown(&responder),
                    ..ServiceLatency::default()
                };
                let remote = Remote { account: account.to_string(), req_id: reply, m2 };
                self.publish(&self.account, subject.as_bytes(), &[], &json::compact(&remote));
            }
        }
    }

    /// Another server has measured its half.
    pub(super) fn take_remote_latency(&self, request: &Request) {
        let remote: Remote = match serde_json::from_slice(request.payload()) {
            Ok(remote) => remote,
            Err(error) => {
                tracing::error!("Error unmarshalling remote latency measurement: {error}");
                return;
            }
        };
        let mut halves = self.halves.lock();
        let key = remote.req_id.into_bytes();
        match halves.0.remove(&key) {
            Some((Half::Asked(sample), _)) => {
                drop(halves);
                self.report_latency(&sample, merged(&sample, &remote.m2));
            }
            _ => halves.keep(key, Half::Served(Box::new(remote.m2))),
        }
    }

    fn join_halves(&self, sample: Sample) {
        let mut halves = self.halves.lock();
        match halves.0.remove(&sample.reply) {
            Some((Half::Served(theirs), _)) => {
                drop(halves);
                self.report_latency(&sample, merged(&sample, &theirs));
            }
            _ => halves.keep(sample.reply.clone(), Half::Asked(Box::new(sample))),
        }
    }

    fn report_latency(&self, sample: &Sample, report: ServiceLatency) {
        let report = ServiceLatency {
            kind: KIND.into(),
            id: event_id(),
            timestamp: Timestamp::now(),
            ..report
        };
        let subject = sample.destination.as_bytes();
        self.publish(&sample.exporter, subject, &[], &json::compact(&report));
    }

    /// Reports measured requests that nobody has answered in time, or whose askers are gone.
    pub(super) fn report_unanswered(&self) {
        for account in self.node().accounts.all() {
            for sample in account.unanswered() {
                self.report_latency(&sample, report_of(&sample));
            }
        }
    }
}

impl Halves {
    fn keep(&mut self, key: Vec<u8>, half: Half) {
        let now = Instant::now();
        if self.0.len() >= HALVES_MAX {
            self.0.retain(|_, (_, since)| now.duration_since(*since) < HALVES_PATIENCE);
        }
        if self.0.len() < HALVES_MAX {
            self.0.insert(key, (half, now));
        }
    }
}

/// What is told of a request that was measured here alone.
fn report_of(sample: &Sample) -> ServiceLatency {
    let rtt = sample.requestor.rtt;
    let failed = |status, description: &str| ServiceLatency {
        status,
        description: description.into(),
        ..begun(sample)
    };
    match &sample.outcome {
        Outcome::BadRequest => failed(400, "Bad Request"),
        Outcome::Left => failed(408, "Request Timeout"),
        Outcome::Open | Outcome::Unavailable => failed(503, "Service Unavailable"),
        Outcome::Late => failed(504, "Service Timeout"),
        Outcome::Answered { took, system, responder } => ServiceLatency {
            status: 200,
            responder: shown(responder),
            service: nanos(took.saturating_sub(responder.rtt)),
            system: nanos(*system),
            total: nanos(rtt + *took + *system),
            ..begun(sample)
        },
        Outcome::AnsweredElsewhere { took } => ServiceLatency {
            status: 200,
            service: nanos(*took),
            total: nanos(rtt + *took),
            ..begun(sample)
        },
    }
}

fn begun(sample: &Sample) -> ServiceLatency {
    ServiceLatency {
        requestor: shown(&sample.requestor),
        header: sample.reasons.clone(),
        // The request set out before it came here.
        start: sample.started.checked_sub(sample.requestor.rtt).unwrap_or(sample.started),
        ..ServiceLatency::default()
    }
}

/// Both halves: the total is ours, how long the service took is theirs, the rest is the system.
fn merged(ours: &Sample, theirs: &ServiceLatency) -> ServiceLatency {
    let report = report_of(ours);
    let rtt = theirs.responder.as_ref().and_then(|party| party.get("rtt")?.as_i64()).unwrap_or(0);
    let system = report.service.saturating_sub(theirs.service.saturating_add(rtt));
    ServiceLatency {
        system: system.max(0),
        service: theirs.service.max(0),
        responder: theirs.responder.clone(),
        ..report
    }
}

fn shown(party: &Party) -> Option<Value> {
    serde_json::from_str(&party.info).ok()
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
