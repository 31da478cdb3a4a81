//! Reports of traced messages: what became of each on this server.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::System;
use crate::monitor::json;
use crate::monitor::view::ServerInfo;
use crate::protocol::headers::TraceHeaders;
use crate::router::{Egress, Event, Kind, Trace};

/// More events than this take a millisecond.
const AT_ONCE: usize = 1000;

/// The report, in the reference's order.
#[derive(Serialize)]
struct Report<'a> {
    server: ServerInfo,
    request: Request<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    hops: usize,
    events: &'a [Event],
}

#[derive(Serialize)]
struct Request<'a> {
    header: &'a TraceHeaders,
    msgsize: usize,
}

impl System {
    /// Does so where nobody waits for it, if the text is a long one.
    pub(super) async fn report_aside(self: Arc<Self>, trace: Trace) {
        let count = trace.events.len();
        if count > AT_ONCE {
            let system = Arc::clone(&self);
            // It cannot fail, and if it did nothing would follow from it.
            drop(spawn_blocking(move || system.report_trace(trace)).await);
        } else {
            self.report_trace(trace);
        }
        self.node().note_reported(count);
    }

    /// Publishes what became of a traced message, where its sender wanted to know.
    fn report_trace(&self, mut trace: Trace) {
        let peers: HashMap<u64, String> = self
            .monitor
            .mesh()
            .map(|mesh| mesh.entries())
            .into_iter()
            .flatten()
            .map(|entry| (entry.id, entry.remote().name))
            .collect();
        for event in &mut trace.events {
            if let Event::Egress(egress) = event {
                egress.name = self.name_of(egress, &peers);
            }
        }
        let report = Report {
            server: self.signature(),
            request: Request { header: &trace.headers, msgsize: trace.size },
            hops: trace.hops,
            events: &trace.events,
        };
        let destination = trace.destination.as_bytes();
        self.publish(&trace.account, destination, &[], &json::compact(&report));
    }

    fn name_of(&self, egress: &Egress, peers: &HashMap<u64, String>) -> String {
        match egress.kind {
            Kind::Route => peers.get(&egress.cid).cloned().unwrap_or_default(),
            Kind::Client => self
                .node()
                .registry
                .client(egress.cid)
                .map(|client| client.about().name)
                .unwrap_or_default(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
