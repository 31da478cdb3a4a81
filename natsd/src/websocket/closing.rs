//! Close frames: status and text.

use crate::close::CloseReason;

/// Most bytes of text behind the status: a control frame holds 125.
const BODY_MAX: usize = 123;

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Status; `None` says nothing at all.
    pub status: Option<u16>,
    /// Text behind it.
    pub body: String,
}

impl Closing {
    /// The peer broke the rules of the protocol.
    #[must_use]
    pub fn protocol_error(text: &str) -> Self {
        Self { status: Some(1002), body: text.to_owned() }
    }

    /// The goodbye of a connection that ends for this reason (statuses of nats-server 2.15);
    /// `None` when the peer could not take one any more.
    #[must_use]
    pub fn of(reason: CloseReason) -> Option<Self> {
        use CloseReason as R;
        let status = match reason {
            R::ReadError
            | R::WriteError
            | R::SlowConsumerPendingBytes
            | R::SlowConsumerWriteDeadline
            | R::TlsHandshakeError => return None,
            R::ClientClosed => 1000,
            R::StaleConnection | R::ServerShutdown => 1001,
            R::ParseError | R::ProtocolViolation | R::BadClientProtocolVersion => 1002,
            R::AuthenticationTimeout
            | R::AuthenticationFailure
            | R::MaxAccountConnectionsExceeded
            | R::MaxConnectionsExceeded
            | R::MaxControlLineExceeded
            | R::MaxSubscriptionsExceeded
            | R::MissingAccount
            | R::AuthenticationExpired
            | R::Revocation => 1008,
            R::MaxPayloadExceeded => 1009,
            _ => 1011,
        };
        Some(Self { status: Some(status), body: reason.to_string() })
    }

    /// Reads the payload of a close frame; the answer to it is the same again.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, String> {
        let (status, body) = match payload {
            [] => return Ok(Self { status: None, body: String::new() }),
            [_] => return Err("close frame payload cannot be 1 byte".into()),
            [high, low, body @ ..] => (u16::from_be_bytes([*high, *low]), body),
        };
        if !is_valid(status) {
            return Err(format!("invalid close status code {status}"));
        }
        Ok(std::str::from_utf8(body).map_or_else(
            |_invalid| Self {
                status: Some(1007),
                body: "invalid utf8 body in close frame".to_owned(),
            },
            |body| Self { status: Some(status), body: body.to_owned() },
        ))
    }

    /// The payload of a close frame; a text that is too long ends in dots.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let Some(status) = self.status else { return Vec::new() };
        let mut payload = status.to_be_bytes().to_vec();
        if self.body.len() <= BODY_MAX {
            payload.extend_from_slice(self.body.as_bytes());
        } else {
            let end = self.body.floor_char_boundary(BODY_MAX - 3);
            payload.extend_from_slice(self.body.get(..end).unwrap_or_default().as_bytes());
            payload.extend_from_slice(b"...");
        }
        payload
    }
}

/// Whether a peer may send this status (RFC 6455, 7.4).
fn is_valid(status: u16) -> bool {
    matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_a_peer_may_send() {
        for (status, valid) in [
            (0, false),
            (999, false),
            (1000, true),
            (1003, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1007, true),
            (1014, true),
            (1015, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
        ] {
            assert_eq!(is_valid(status), valid, "{status}");
        }
    }

    #[test]
    fn the_answer_to_a_close_repeats_it() {
        for payload in [&b""[..], b"\x03\xe8", b"\x03\xe8bye"] {
            assert_eq!(Closing::parse(payload).unwrap().payload(), payload);
        }
        let bad = Closing::parse(b"\x03\xe8\xff").unwrap();
        assert_eq!((bad.status, &*bad.body), (Some(1007), "invalid utf8 body in close frame"));
        assert!(Closing::parse(b"x").is_err());
        assert_eq!(Closing::parse(b"\x03\xed").unwrap_err(), "invalid close status code 1005");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = Closing::protocol_error(&"ä".repeat(100));
        let payload = long.payload();
        assert_eq!(payload.len(), 125);
        assert!(std::str::from_utf8(&payload[2..]).unwrap().ends_with("ä..."));
    }
}
