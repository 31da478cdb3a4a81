//! A look into JWTs of the configuration; their signatures are `auth`'s business.

use serde_json::Value;

/// Reads the claims of a JWT, unverified.
pub(crate) fn claims(jwt: &str) -> Option<Value> {
    serde_json::from_slice(&base64url(jwt.split('.').nth(1)?)?).ok()
}

/// Reads the kind of claims (`operator`, `account`, `user`).
pub(crate) fn kind(jwt: &str) -> Option<String> {
    let claims = claims(jwt)?;
    let kind = claims.get("nats").and_then(|nats| nats.get("type"));
    Some(kind.or_else(|| claims.get("type"))?.as_str()?.to_owned())
}

/// Reads a text of the NATS part of the claims; empty counts as none.
pub(crate) fn text(jwt: &str, key: &str) -> Option<String> {
    let claims = claims(jwt)?;
    let text = claims.get("nats")?.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Decodes base 64 in the alphabet of URLs, without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_without_a_key() {
        // {"nats":{"type":"operator","system_account":"ASYS","account_server_url":""}}
        let jwt = "eyJhbGciOiJub25lIn0.eyJuYXRzIjp7InR5cGUiOiJvcGVyYXRvciIsInN5c3RlbV9hY2NvdW50IjoiQVNZUyIsImFjY291bnRfc2VydmVyX3VybCI6IiJ9fQ.x";
        assert_eq!(kind(jwt).as_deref(), Some("operator"));
        assert_eq!(text(jwt, "system_account").as_deref(), Some("ASYS"));
        assert_eq!(text(jwt, "account_server_url"), None);
        assert_eq!(kind("no.jwt.at all"), None);
        assert_eq!(kind(""), None);
    }
}
