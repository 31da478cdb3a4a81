//! Which requests are measured: some in a hundred, or those whose tracing headers say so.
//!
//! Source: nats-server 2.15, `shouldSample`.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::publish::Origin;
use crate::account::{Account, Outcome, Party, Reasons, Sample, ServiceTarget};
use crate::config::Latency;
use crate::protocol::headers;
use crate::protocol::message::Message;

/// Begins to measure a request if it is one of those.
pub(super) fn sample(
    latency: &Latency,
    importer: &Arc<Account>,
    service: &ServiceTarget,
    message: &Message<'_>,
    origin: Origin<'_>,
) -> Option<Sample> {
    let Origin::Client { asker, .. } = origin else { return None };
    let reasons = reasons(latency, message)?;
    let requestor = Party { info: asker.describe(&importer.name, service.share), rtt: asker.rtt() };
    Some(Sample {
        exporter: Arc::clone(&service.exporter),
        destination: latency.subject.as_str().into(),
        reply: Vec::new(),
        reasons,
        requestor,
        started: Timestamp::now(),
        since: Instant::now(),
        outcome: Outcome::Open,
    })
}

fn reasons(latency: &Latency, message: &Message<'_>) -> Option<Reasons> {
    match latency.sampling {
        Some(100..) => return Some(Reasons::new()),
        // As in the reference 1 in 100 is 2 in 100.
        Some(percent) if rand::random_range(0..100_u8) <= percent => return Some(Reasons::new()),
        _ => {}
    }
    if message.has_headers() { sampled_by(&headers::all(message.headers())) } else { None }
}

/// The headers that ask for it, in the order in which the reference looks.
fn sampled_by(all: &Reasons) -> Option<Reasons> {
    // Names are compared as Go's http.Header would write them.
    let first = |name: &str| all.get(name).and_then(|values| values.first()).map(String::as_str);
    let keep = |wanted: &dyn Fn(&str) -> bool| {
        all.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    };
    if let Some(trace) = first("Uber-Trace-Id") {
        let parts: Vec<&str> = trace.split(':').collect();
        let [_, _, _, flags] = *parts else { return None };
        let sampled = (1..=2).contains(&flags.len())
            && u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        let wanted = |name: &str| name == "Uber-Trace-Id" || name.starts_with("Uberctx-");
        return sampled.then(|| keep(&wanted));
    }
    let b3 = |name: &str| {
        ["X-B3-Sampled", "X-B3-Traceid", "X-B3-Parentspanid", "X-B3-Spanid"].contains(&name)
    };
    match first("X-B3-Sampled") {
        Some("1") => return Some(keep(&b3)),
        Some("0") => return None,
        _ if all.contains_key("X-B3-Traceid") => return Some(keep(&b3)),
        _ => {}
    }
    if let Some(single) = first("B3") {
        let parts: Vec<&str> = single.split('-').collect();
        let denied = matches!(*parts, ["0"] | [_, _, "0", ..]);
        return (!denied).then(|| keep(&|name| name == "B3"));
    }
    let parent = first("Traceparent")?;
    let wanted = |name: &str| name == "Traceparent" || name == "Tracestate";
    headers::is_sampled(parent.as_bytes()).then(|| keep(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(block: &str) -> Option<Vec<String>> {
        let block = format!("NATS/1.0\r\n{block}\r\n\r\n");
        sampled_by(&headers::all(block.as_bytes())).map(|found| found.into_keys().collect())
    }

    #[test]
    fn headers_of_several_systems_ask_for_measurements() {
        for (block, expected) in [
            ("Other: 1", None),
            ("Uber-Trace-Id: 479f:5adb:479f:1", Some(&["Uber-Trace-Id"][..])),
            ("uber-trace-id: 1:2:3:ff\r\nUberctx-X: y", Some(&["Uber-Trace-Id", "Uberctx-X"])),
            ("Uber-Trace-Id: 479f:5adb:479f:0", None),
            ("Uber-Trace-Id: 479f:1", None),
            ("X-B3-Sampled: 1\r\nX-B3-TraceId: 8", Some(&["X-B3-Sampled", "X-B3-Traceid"])),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: 8", None),
            ("X-B3-TraceId: 8", Some(&["X-B3-Traceid"])),
            ("b3: 80f1-e457-1-05e3", Some(&["B3"])),
            ("b3: 80f1-e457-0-05e3", None),
            ("b3: 0", None),
            ("traceparent: 00-4bf9-00f0-01\r\ntracestate: a", Some(&["Traceparent", "Tracestate"])),
            ("traceparent: 00-4bf9-00f0-00", None),
        ] {
            let expected =
                expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(kept(block), expected, "{block}");
        }
    }
}
