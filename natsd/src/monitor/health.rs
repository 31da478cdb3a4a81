//! Makes `/healthz`, and the documents of what natsd does not have.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::options::{HealthzOptions, IpQueueszOptions, ProfilezOptions};
use super::usage::resident_bytes;
use super::view::{
    Expvarz, Gatewayz, HealthFault, Healthz, IpQueue, IpQueuesz, Jsz, Leafz, MemStats, Profilez,
};
use super::{Monitor, now};
use crate::config::show_duration;

/// HTTP statuses.
const OK: u16 = 200;
const BAD_REQUEST: u16 = 400;
const INTERNAL_ERROR: u16 = 500;

impl Monitor {
    /// Whether clients are served. Without JetStream there is nothing else to check.
    #[must_use]
    pub fn healthz(&self, options: &HealthzOptions) -> Healthz {
        let empty = |what: &str, of: &str| {
            format!("\"{what}\" must not be empty when checking {of} health")
        };
        if options.account.is_empty() && !options.stream.is_empty() {
            let text = empty("account", "stream");
            return fault(options, BAD_REQUEST, "BAD_REQUEST", text);
        }
        if options.stream.is_empty() && !options.consumer.is_empty() {
            let text = empty("stream", "consumer");
            return fault(options, BAD_REQUEST, "BAD_REQUEST", text);
        }
        if self.node.is_lame_duck() || !self.accepting.load(Ordering::Acquire) {
            let text = "failed to be ready for connections after 1ms: server";
            return fault(options, INTERNAL_ERROR, "CONNECTION", text.into());
        }
        Healthz { status: "ok".into(), status_code: OK, ..Healthz::default() }
    }

    /// Leafnodes, of which there are none.
    #[must_use]
    pub fn leafz(&self) -> Leafz {
        Leafz { server_id: self.server_id(), now: now(), ..Leafz::default() }
    }

    /// Gateways, of which there are none.
    #[must_use]
    pub fn gatewayz(&self) -> Gatewayz {
        Gatewayz { server_id: self.server_id(), now: now(), ..Gatewayz::default() }
    }

    /// JetStream, which is not there.
    #[must_use]
    pub fn jsz(&self) -> Jsz {
        Jsz { server_id: self.server_id(), now: now(), disabled: true, ..Jsz::default() }
    }

    /// What Go's runtime publishes, as far as it makes sense here.
    #[must_use]
    pub fn expvarz(&self) -> Expvarz {
        let arguments = std::env::args_os().map(|held| held.to_string_lossy().into_owned());
        Expvarz { memstats: MemStats { sys: resident_bytes() }, cmdline: arguments.collect() }
    }

    /// Queues between parts of the server. natsd has one: requests to the system account; the
    /// reference lists its own without `all` only when something waits in them.
    #[must_use]
    pub fn ipqueuesz(&self, options: &IpQueueszOptions) -> IpQueuesz {
        let idle = [("System recvQ".to_owned(), IpQueue::default())];
        let asked = |name: &str| options.all && name.contains(&options.filter);
        idle.into_iter().filter(|(name, _)| asked(name)).collect()
    }

    /// A profile: there is none, and the reason is the reference's.
    #[must_use]
    pub fn profilez(&self, options: &ProfilezOptions) -> Profilez {
        const MOST: i64 = 15_000_000_000;
        let error = match options.name.as_str() {
            "" => "Profile name not specified".to_owned(),
            "cpu" if !(1..=MOST).contains(&options.duration) => {
                let sign = if options.duration < 0 { "-" } else { "" };
                let shown = show_duration(Duration::from_nanos(options.duration.unsigned_abs()));
                format!("Duration {sign}{shown} should be between 0s and 15s")
            }
            "cpu" => "Failed to start CPU profile: not supported by natsd".to_owned(),
            other => format!("Profile {other:?} not found"),
        };
        Profilez { error, ..Profilez::default() }
    }
}

fn fault(options: &HealthzOptions, status_code: u16, kind: &str, error: String) -> Healthz {
    let status = "error".to_owned();
    if options.details {
        let fault = HealthFault { kind: kind.into(), error, ..HealthFault::default() };
        return Healthz { status, status_code, errors: vec![fault], ..Healthz::default() };
    }
    Healthz { status, status_code, error, ..Healthz::default() }
}
