//! Header blocks (ADR-4): the status line the server itself writes, and look-ups in a block.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use smallvec::SmallVec;

/// First line of every header block.
pub const VERSION: &[u8] = b"NATS/1.0";

/// The header block of a no-responders reply (observed: nats-server 2.15.1):
/// status 503 and the subject nobody listens to. Its length is 32 + the subject's.
#[must_use]
pub fn no_responders(subject: &[u8]) -> Vec<u8> {
    [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat()
}

/// Finds the value of a header by name, case as written.
#[must_use]
pub fn find<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    block.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

/// A block with one header more, in place of any of that name; `block` may be empty.
#[must_use]
pub fn with(block: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut made = Vec::with_capacity(block.len() + name.len() + value.len() + 16);
    let mut lines = block.split_inclusive(|&byte| byte == b'\n');
    match lines.next() {
        Some(first) => made.extend_from_slice(first),
        None => made.extend_from_slice(b"NATS/1.0\r\n"),
    }
    for line in lines.filter(|line| *line != b"\r\n" && !is_named(line, name)) {
        made.extend_from_slice(line);
    }
    made.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
    made
}

/// Whether a header line is of this name, in whatever case: nobody forges it by writing it
/// differently.
fn is_named(line: &[u8], name: &str) -> bool {
    line.split_at_checked(name.len()).is_some_and(|(head, rest)| {
        head.eq_ignore_ascii_case(name.as_bytes()) && rest.trim_ascii_start().starts_with(b":")
    })
}

/// Header that asks for a trace, and where to.
pub const TRACE_DEST: &str = "Nats-Trace-Dest";
/// Header that numbers the way of a traced message over peers.
pub const TRACE_HOP: &str = "Nats-Trace-Hop";
/// In place of a destination: not to be traced any further.
pub const TRACE_DISABLED: &str = "trace disabled";

/// All headers of a block, names as they are written.
pub type TraceHeaders = BTreeMap<String, Vec<String>>;

/// The headers of a message that asks for tracing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRequest {
    /// All of them.
    pub all: TraceHeaders,
    /// Only a `traceparent` asks, which means other systems' tracing.
    pub external: bool,
}

/// Whether a block may hold tracing headers of NATS; cheap, and never wrong when it says no.
#[must_use]
pub fn may_ask_for_trace(block: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Nats-Trace-"));
    NAME.find(block).is_some()
}

/// What a message asks for, if it asks to be traced: by `Nats-Trace-Dest`, or by a `traceparent`
/// (in any case) that says "sampled". Source: nats-server 2.15.1, msgtrace.go.
#[must_use]
pub fn trace_headers(block: &[u8]) -> Option<TraceRequest> {
    let lines = block.strip_prefix(VERSION)?.strip_prefix(b"\r\n")?;
    let mut all = TraceHeaders::new();
    let (mut asked, mut sampled) = (false, false);
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || value.is_empty() {
            continue;
        }
        if name.eq_ignore_ascii_case(b"traceparent") {
            sampled |= is_sampled(value);
        } else if name == TRACE_DEST.as_bytes() {
            if value == TRACE_DISABLED.as_bytes() {
                return None;
            }
            asked = true;
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        all.entry(text(name)).or_default().push(text(value));
    }
    (asked || sampled).then_some(TraceRequest { all, external: !asked })
}

/// The headers of a block by name, as Go's `http.Header` would write these: `X-B3-TraceId` is
/// `X-B3-Traceid`.
#[must_use]
pub fn all(block: &[u8]) -> TraceHeaders {
    let mut all = TraceHeaders::new();
    for line in block.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let Some((name, value)) = line.split_at_checked(colon) else { continue };
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        all.entry(canonical(&text(name))).or_default().push(text(value));
    }
    all
}

/// A capital at the start and behind each hyphen, small letters elsewhere.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    });
    parts.collect::<Vec<_>>().join("-")
}

/// Whether the flags of a `traceparent` (W3C trace context) say that it is sampled.
#[must_use]
pub fn is_sampled(value: &[u8]) -> bool {
    let parts: SmallVec<[&[u8]; 4]> = value.split(|&byte| byte == b'-').collect();
    let [_, _, _, flags] = *parts else { return false };
    let flags = std::str::from_utf8(flags).ok().filter(|flags| flags.len() == 2);
    // Eight bits with a sign in the reference: what is above 7f is no number there.
    flags.is_some_and(|flags| i8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_header_replaces_all_of_its_name() {
        assert_eq!(with(b"", "A", "1"), b"NATS/1.0\r\nA: 1\r\n\r\n");
        assert_eq!(
            with(b"NATS/1.0\r\na : 0\r\nAB: 2\r\nA:3\r\n\r\n", "A", "1"),
            b"NATS/1.0\r\nAB: 2\r\nA: 1\r\n\r\n"
        );
    }

    #[test]
    fn no_responders_has_the_observed_length() {
        let block = no_responders(b"svc.none");
        assert_eq!(block.len(), 32 + b"svc.none".len());
        assert_eq!(find(&block, "Nats-Subject"), Some(&b"svc.none"[..]));
        assert_eq!(find(&block, "Nats"), None);
    }

    #[test]
    fn tracing_is_asked_for_in_two_ways() {
        let ask = |block: &[u8]| trace_headers(block).map(|found| found.external);
        assert_eq!(ask(b"NATS/1.0\r\nA: b\r\n\r\n"), None);
        assert_eq!(ask(b"NATS/1.0\r\nNats-Trace-Dest: d\r\n\r\n"), Some(false));
        assert_eq!(ask(b"NATS/1.0\r\nNats-Trace-Dest: trace disabled\r\n\r\n"), None);
        assert_eq!(ask(b"NATS/1.0\r\nTraceParent: 00-1-2-01\r\n\r\n"), Some(true));
        assert_eq!(ask(b"NATS/1.0\r\ntraceparent: 00-1-2-00\r\n\r\n"), None);
        let both =
            b"NATS/1.0\r\ntraceparent: 0-1-2-01\r\nNats-Trace-Dest: d\r\nX: 1\r\nX:2\r\n\r\n";
        let found = trace_headers(both).unwrap();
        assert_eq!((found.external, &found.all["X"][..]), (false, &["1".into(), "2".into()][..]));
    }
}
