//! Header blocks (ADR-4): the status line the server itself writes, and look-ups in a block.

use std::sync::LazyLock;

use memchr::memmem::Finder;

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

/// Whether a block may hold tracing headers; cheap, and never wrong when it says no.
#[must_use]
pub fn may_ask_for_trace(block: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Nats-Trace-"));
    NAME.find(block).is_some()
}

/// Whether a message is to be traced only, not delivered (ADR-41).
#[must_use]
pub fn is_trace_only(block: &[u8]) -> bool {
    if !may_ask_for_trace(block) {
        return false;
    }
    let on =
        |value: &[u8]| matches!(value, b"1" | b"true" | b"True" | b"TRUE" | b"on" | b"On" | b"ON");
    find(block, "Nats-Trace-Dest").is_some() && find(block, "Nats-Trace-Only").is_some_and(on)
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
}
