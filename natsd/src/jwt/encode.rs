//! Tokens of our own: what the server asks an authorization service.

use base64::Engine;
use nkeys::KeyPair;
use serde_json::{Map, Value};
use sha2::{Digest, Sha512_256};

use super::UnixSeconds;
use super::token::{BASE64, VERSION};

/// Signs claims. `nats` must name its `type`; issuer, time, id and version are filled in.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(
    mut standard: Map<String, Value>,
    mut nats: Map<String, Value>,
    key: &KeyPair,
    now: UnixSeconds,
) -> Result<String, nkeys::error::Error> {
    standard.insert("iss".into(), key.public_key().into());
    standard.insert("iat".into(), now.into());
    let id = Sha512_256::digest(Value::Object(standard.clone()).to_string());
    standard.insert("jti".into(), base32(&id).into());
    nats.insert("version".into(), VERSION.into());
    standard.insert("nats".into(), Value::Object(nats));
    let header = BASE64.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let payload = BASE64.encode(Value::Object(standard).to_string());
    let signed = format!("{header}.{payload}");
    let signature = BASE64.encode(key.sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// Base 32 without padding.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter =
        |value: u32| char::from(LETTERS.get((value & 31) as usize).copied().unwrap_or(b'A'));
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(letter(bits >> count));
        }
    }
    if count > 0 {
        text.push(letter(bits << (5 - count)));
    }
    text
}
