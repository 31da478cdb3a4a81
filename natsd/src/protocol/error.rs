//! The `-ERR` texts, word for word those of nats-server 2.15.1: clients compare them.

/// Parser state error; closes.
pub const UNKNOWN_PROTOCOL_OPERATION: &str = "Unknown Protocol Operation";
/// Bad or missing credentials; closes.
pub const AUTHORIZATION_VIOLATION: &str = "Authorization Violation";
/// The JWT of a user ran out.
pub const USER_EXPIRED: &str = "User Authentication Expired";
/// The JWT of an account ran out.
pub const ACCOUNT_EXPIRED: &str = "Account Authentication Expired";
/// The JWT of a user was revoked.
pub const USER_REVOKED: &str = "User Authentication Revoked";
/// No CONNECT in time; closes.
pub const AUTHENTICATION_TIMEOUT: &str = "Authentication Timeout";
/// Credentials ran out; closes.
pub const AUTHENTICATION_EXPIRED: &str = "User Authentication Expired";
/// `max_connections`; closes.
pub const MAX_CONNECTIONS: &str = "maximum connections exceeded";
/// Account limit; closes.
pub const MAX_ACCOUNT_CONNECTIONS: &str = "maximum account active connections exceeded";
/// `max_subscriptions`; the connection stays.
pub const MAX_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";
/// `max_payload`; closes.
pub const MAX_PAYLOAD: &str = "Maximum Payload Violation";
/// `max_control_line`; closes.
pub const MAX_CONTROL_LINE: &str = "maximum control line exceeded";
/// SUB with an invalid subject; the connection stays.
pub const INVALID_SUBJECT: &str = "Invalid Subject";
/// Pedantic PUB with an invalid subject; the connection stays.
pub const INVALID_PUBLISH_SUBJECT: &str = "Invalid Publish Subject";
/// CONNECT with a protocol version that does not exist; closes.
pub const INVALID_CLIENT_PROTOCOL: &str = "invalid client protocol";
/// CONNECT with `no_responders` but no `headers`; closes.
pub const NO_RESPONDERS_REQUIRES_HEADERS: &str = "no responders requires headers support";
/// PINGs stayed unanswered; closes.
pub const STALE_CONNECTION: &str = "Stale Connection";
/// A client on the route port; closes.
pub const CLIENT_ON_ROUTE_PORT: &str = "attempted to connect to route port";
/// More TLS handshakes a second than configured; closes.
pub const CONNECTION_THROTTLED: &str = "Connection throttling is active. Please try again later.";
/// RS+ with an invalid subject; the connection stays.
pub const INVALID_SUBSCRIPTION: &str = "Invalid Subscription";

/// A connection for one account between servers that do not pool; closes.
#[must_use]
pub fn dedicated_route_impossible(account: &str) -> String {
    format!(
        "Not possible to have a dedicated route for account \"{account}\" between those servers"
    )
}

/// A pool slot beyond the pool; closes.
#[must_use]
pub fn invalid_pool_index(index: u64, pool_size: u64) -> String {
    format!("Invalid route pool index: {index} - pool size is {pool_size}")
}

/// An acceptor that names a pool slot; closes.
#[must_use]
pub fn unexpected_pool_index(index: u64) -> String {
    format!("Route pool index should not be set but is set to {index}")
}

/// A connection for an account that has none of its own here; closes.
#[must_use]
pub fn no_route_for_account(account: &str) -> String {
    format!("No route for account \"{account}\"")
}

/// A connection for an account that does not exist here; closes.
#[must_use]
pub fn no_such_account(account: &str) -> String {
    format!("Unable to lookup account \"{account}\": account missing")
}

/// A compression mode that does not exist; closes.
#[must_use]
pub fn unsupported_compression(mode: &str) -> String {
    format!("unsupported route compression mode \"{mode}\"")
}

/// Renders a whole `-ERR` line.
#[must_use]
pub fn line(text: &str) -> String {
    format!("-ERR '{text}'\r\n")
}

/// Text in quotes as Go's `%q` writes it: what can be printed stays, also beyond ASCII.
#[must_use]
pub fn quoted(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push_quoted(char, &mut quoted));
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn push_quoted(char: char, quoted: &mut String) {
    match char {
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0b' => quoted.push_str("\\v"),
        '\x0c' => quoted.push_str("\\f"),
        '\'' => quoted.push(char),
        '\0'..' ' | '\x7f' if !matches!(char, '\t' | '\r' | '\n') => {
            quoted.push_str(&format!("\\x{:02x}", u32::from(char)));
        }
        _ => match char.escape_debug().nth(1) {
            Some('u') if char > '\u{ffff}' => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(char)));
            }
            Some('u') => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => quoted.extend(char.escape_debug()),
        },
    }
}

/// Text of a refused publish.
#[must_use]
pub fn publish_violation(subject: &[u8]) -> String {
    format!("Permissions Violation for Publish to {}", quoted(subject))
}

/// Text of a refused reply subject.
#[must_use]
pub fn reply_violation(reply: &[u8]) -> String {
    format!("Permissions Violation for Publish with Reply of {}", quoted(reply))
}

/// Text of a refused subscription.
#[must_use]
pub fn subscription_violation(subject: &[u8], queue: Option<&[u8]>) -> String {
    let refused = format!("Permissions Violation for Subscription to {}", quoted(subject));
    match queue {
        None => refused,
        Some(queue) => format!("{refused} using queue {}", quoted(queue)),
    }
}

/// Text of a subscription that a reload took away.
#[must_use]
pub fn subscription_removed(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> String {
    format!("{} (sid {})", subscription_violation(subject, queue), quoted(sid))
}

/// The same for the log: what was removed.
#[must_use]
pub fn removed(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> String {
    let queue = queue.map_or_else(String::new, |q| format!(" using queue {}", quoted(q)));
    format!("{}{queue} (sid {})", quoted(subject), quoted(sid))
}

/// Text of a subscription with too many tokens.
#[must_use]
pub fn too_many_tokens(subject: &[u8]) -> String {
    format!("{}, too many tokens", subscription_violation(subject, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_go() {
        for (text, expected) in [
            (&b"a.b"[..], "\"a.b\""),
            ("\u{e9}.'\u{65e5}".as_bytes(), "\"\u{e9}.'\u{65e5}\""),
            (b"\"\\\t\r\n\x07", r#""\"\\\t\r\n\a""#),
            (b"\0\x1b\x7f\xff", r#""\x00\x1b\x7f\xff""#),
            ("\u{200b}\u{e0001}".as_bytes(), r#""\u200b\U000e0001""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
