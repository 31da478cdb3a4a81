//! Trace lines: what peers say and hear, as nats-server 2.15 writes it (`<<- [PUB foo 5]`,
//! `->> MSG_PAYLOAD: ["hello"]`). Callers ask [`super::tracing_wire`] first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::config::Log;

/// `max_traced_msg_len`; 0 is no bound.
static PAYLOAD_MAX: AtomicUsize = AtomicUsize::new(0);
/// `trace_headers`: the header block in place of the payload.
static HEADERS_ONLY: AtomicBool = AtomicBool::new(false);

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

impl Way {
    const fn arrow(self) -> &'static str {
        match self {
            Self::In => "<<-",
            Self::Out => "->>",
        }
    }
}

pub(super) fn configure(config: &Log) {
    PAYLOAD_MAX.store(config.max_traced_msg_len.unwrap_or(0), Ordering::Relaxed);
    HEADERS_ONLY.store(config.trace_headers, Ordering::Relaxed);
}

/// Logs the op that this input starts with, its keyword as it is usually written.
pub fn op_in(label: &str, input: &[u8]) {
    let line = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    let (keyword, args) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let keyword = keyword.to_ascii_uppercase();
    let args = args.trim_start();
    match keyword.as_str() {
        // What nats-server does not trace.
        "INFO" | "+OK" | "-ERR" => {}
        "PING" | "PONG" => op(label, Way::In, &keyword),
        "CONNECT" => op(label, Way::In, &format!("CONNECT {}", without_secrets(args))),
        _ => op(label, Way::In, &format!("{keyword} {args}")),
    }
}

/// Logs one op.
pub fn op(label: &str, way: Way, text: &str) {
    tracing::trace!("{label} - {} [{text}]", way.arrow());
}

/// Logs the end of a subscription.
pub fn unsubscribed(label: &str, sid: &[u8]) {
    tracing::trace!("{label} - <-> [DELSUB {}]", String::from_utf8_lossy(sid));
}

/// Logs what a message carries, header block included; an empty one is not worth a line.
pub fn payload(label: &str, way: Way, body: &[u8], header_len: usize) {
    let mut shown = body;
    if HEADERS_ONLY.load(Ordering::Relaxed) {
        let headers = body.get(..header_len).unwrap_or_default();
        shown = headers.strip_suffix(b"\r\n").unwrap_or(headers);
    }
    let shown = shown.strip_suffix(b"\r\n").unwrap_or(shown);
    if shown.is_empty() {
        return;
    }
    let most = PAYLOAD_MAX.load(Ordering::Relaxed);
    let (shown, more) = match shown.get(..most) {
        Some(start) if most > 0 && start.len() < shown.len() => (start, "..."),
        _ => (shown, ""),
    };
    tracing::trace!("{label} - {} MSG_PAYLOAD: [\"{}{more}\"]", way.arrow(), quoted(shown));
}

/// Bytes as Go's `%q` shows them, without the quotes.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\x07' => text.push_str("\\a"),
                '\x08' => text.push_str("\\b"),
                '\x0b' => text.push_str("\\v"),
                '\x0c' => text.push_str("\\f"),
                char if char.is_ascii_control() => push(&mut text, u32::from(char), "x", 2),
                char if char.is_control() => push(&mut text, u32::from(char), "u", 4),
                char => text.push(char),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push(&mut text, u32::from(byte), "x", 2));
    }
    text
}

fn push(text: &mut String, code: u32, kind: &str, width: usize) {
    text.push_str(&format!("\\{kind}{code:0width$x}"));
}

/// A CONNECT with its secrets taken out. Unlike nats-server's, a password ends where its JSON
/// string ends, whatever characters it holds.
fn without_secrets(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let (before, from_literal) = rest.split_at_checked(start).unwrap_or((rest, ""));
        let (literal, after) = split_literal(from_literal);
        text.push_str(before);
        text.push_str(literal);
        rest = after;
        let Some(value) = after.trim_start().strip_prefix(':').map(str::trim_start) else {
            continue;
        };
        if !is_secret(literal) {
            continue;
        }
        text.push_str(after.strip_suffix(value).unwrap_or(":"));
        rest = if value.starts_with('"') {
            text.push_str("\"[REDACTED]\"");
            split_literal(value).1
        } else {
            text.push_str("[REDACTED]");
            value.find([',', '}']).and_then(|end| value.get(end..)).unwrap_or_default()
        };
    }
    text.push_str(rest);
    text
}

/// Whether the value of this key (in quotes) is nobody's business.
fn is_secret(key: &str) -> bool {
    let key = key.trim_matches('"');
    key.starts_with("pass")
        || key.starts_with("auth_token")
        || ["sig", "proxy_sig", "nkey"].contains(&key)
}

/// Splits a JSON string, quotes included, from what follows; all of it when it does not end.
fn split_literal(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.split_at_checked(index + 1).unwrap_or((text, "")),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_by_go() {
        assert_eq!(quoted(b"a\"b\\\r\n\x00\xff"), "a\\\"b\\\\\\r\\n\\x00\\xff");
        assert_eq!(quoted("grüße\u{85}".as_bytes()), "grüße\\u0085");
    }

    #[test]
    fn secrets_are_taken_out_of_a_connect() {
        for (said, logged) in [
            (r#"{"user":"u","pass":"a\"b,}c","x":1}"#, r#"{"user":"u","pass":"[REDACTED]","x":1}"#),
            (r#"{ "auth_token" : "t" }"#, r#"{ "auth_token" : "[REDACTED]" }"#),
            (r#"{"pass":12,"sig":"s"}"#, r#"{"pass":[REDACTED],"sig":"[REDACTED]"}"#),
            (r#"{"name":"pass","lang":"go"}"#, r#"{"name":"pass","lang":"go"}"#),
            (r#"{"pass":"never ends"#, r#"{"pass":"[REDACTED]""#),
            ("{}", "{}"),
        ] {
            assert_eq!(without_secrets(said), logged);
        }
    }
}
