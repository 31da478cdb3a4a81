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
    fn no_responders_has_the_observed_length() {
        let block = no_responders(b"svc.none");
        assert_eq!(block.len(), 32 + b"svc.none".len());
        assert_eq!(find(&block, "Nats-Subject"), Some(&b"svc.none"[..]));
        assert_eq!(find(&block, "Nats"), None);
    }
}
