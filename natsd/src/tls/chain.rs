//! The way from a client's certificate to the authority that it was verified by.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::certificate::{Certificate, issued};

/// Letters of a line.
const LINE: usize = 64;

/// The certificates in PEM, the client's first, the authority's last. Whether each signed the one
/// before was verified by the handshake; here they are only put in order, by the names of their
/// issuers.
#[must_use]
pub fn chain(shown: &[Certificate], authorities: &[Vec<u8>]) -> Vec<String> {
    let mut chain: Vec<&[u8]> = shown.first().map(|own| own.der.as_slice()).into_iter().collect();
    while let Some((issuer, subject)) = chain.last().and_then(|last| issued(last)) {
        let shown = shown.iter().map(|held| held.der.as_slice());
        let mut all = shown.chain(authorities.iter().map(Vec::as_slice));
        let is_next = |der: &&[u8]| {
            !chain.contains(der) && issued(der).is_some_and(|(_, name)| name == issuer)
        };
        match all.find(is_next) {
            Some(next) if issuer != subject => chain.push(next),
            _ => break,
        }
    }
    chain.into_iter().map(pem).collect()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + "-----END CERTIFICATE-----\n"
}
