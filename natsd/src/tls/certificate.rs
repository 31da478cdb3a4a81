//! The parts of an X.509 certificate that natsd looks at itself: names and the public key.
//!
//! Signature, validity and chain are rustls's business; what is read here was verified before it
//! is believed. A certificate that cannot be read has no names.

use sha2::{Digest, Sha256};

use crate::auth::PeerNames;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject and alternative names.
    pub names: PeerNames,
    /// IP addresses among the alternative names, as they stand there.
    pub addresses: Vec<Vec<u8>>,
    /// SHA-256 of the SubjectPublicKeyInfo, in lower-case hex.
    pub key_digest: String,
}

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `GeneralName` choices.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Issuer and subject of a certificate, as they are encoded.
pub(super) fn issued(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Der(der).open(SEQUENCE)?;
    let mut body = outer.open(SEQUENCE)?;
    if body.peek() == Some(VERSION) {
        body.next()?;
    }
    body.open(INTEGER)?; // serial number
    body.open(SEQUENCE)?; // signature algorithm
    let issuer = body.whole(SEQUENCE)?;
    body.open(SEQUENCE)?; // validity
    Some((issuer, body.whole(SEQUENCE)?))
}

impl Certificate {
    /// Reads a certificate in DER.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut outer = Der(der).open(SEQUENCE)?;
        let mut body = outer.open(SEQUENCE)?;
        if body.peek() == Some(VERSION) {
            body.next()?;
        }
        body.open(INTEGER)?; // serial number
        body.open(SEQUENCE)?; // signature algorithm
        body.open(SEQUENCE)?; // issuer
        body.open(SEQUENCE)?; // validity
        let subject = body.open(SEQUENCE)?;
        let key = body.whole(SEQUENCE)?;
        let mut certificate = Self {
            names: PeerNames { subject: subject_of(subject)?, ..PeerNames::default() },
            addresses: Vec::new(),
            key_digest: Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        while let Some((tag, content, _)) = body.next() {
            if tag == EXTENSIONS {
                certificate.read_extensions(Der(content).open(SEQUENCE)?)?;
            }
        }
        Some(certificate)
    }

    fn read_extensions(&mut self, mut extensions: Der<'_>) -> Option<()> {
        while let Some(mut extension) = extensions.open(SEQUENCE) {
            if extension.open(OBJECT_ID)?.0 != ALTERNATIVE_NAMES {
                continue;
            }
            // A flag may stand before the value.
            let value = loop {
                let (tag, content, _) = extension.next()?;
                if tag == OCTETS {
                    break content;
                }
            };
            let mut names = Der(value).open(SEQUENCE)?;
            while let Some((tag, content, _)) = names.next() {
                let text = || String::from_utf8_lossy(content).into_owned();
                match tag {
                    EMAIL => self.names.emails.push(text()),
                    DNS => self.names.dns.push(text()),
                    URI => self.names.uris.push(text()),
                    ADDRESS => self.addresses.push(content.to_vec()),
                    _ => {}
                }
            }
        }
        Some(())
    }

    /// Whether one of its names or addresses is this host.
    #[must_use]
    pub fn names_host(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<std::net::IpAddr>() {
            let octets = match address {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            return self.addresses.contains(&octets);
        }
        self.names.dns.iter().any(|name| super::covers(name, host))
    }
}

/// Attributes of a name, the last one first as RFC 2253 writes them.
fn subject_of(mut name: Der<'_>) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    while let Some(mut set) = name.open(SET) {
        while let Some(mut pair) = set.open(SEQUENCE) {
            let id = pair.open(OBJECT_ID)?.0;
            let (_, value, _) = pair.next()?;
            parts.push((attribute(id), String::from_utf8_lossy(value).into_owned()));
        }
    }
    parts.reverse();
    Some(parts)
}

/// The short name of an attribute, or its number.
fn attribute(id: &[u8]) -> String {
    let known = match id {
        [0x55, 0x04, 3] => "CN",
        [0x55, 0x04, 5] => "SERIALNUMBER",
        [0x55, 0x04, 6] => "C",
        [0x55, 0x04, 7] => "L",
        [0x55, 0x04, 8] => "ST",
        [0x55, 0x04, 9] => "STREET",
        [0x55, 0x04, 10] => "O",
        [0x55, 0x04, 11] => "OU",
        [0x55, 0x04, 17] => "POSTALCODE",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 1] => "UID",
        _ => return id.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    known.to_owned()
}

/// Elements of DER, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: tag, content, and all of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (digits, after) = rest.split_at_checked(count)?;
            length = digits.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content, all.get(..all.len() - after.len())?))
    }

    /// The content of the next element, which must be of this kind.
    fn open(&mut self, wanted: u8) -> Option<Self> {
        let (tag, content, _) = self.next()?;
        (tag == wanted).then_some(Self(content))
    }

    fn whole(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, _, whole) = self.next()?;
        (tag == wanted).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData, SanType};

    use super::*;

    fn der() -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["*.example.com".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::CommonName, "n1");
        for name in [
            SanType::Rfc822Name("a@example.com".try_into().unwrap()),
            SanType::URI("nats://x".try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ] {
            params.subject_alt_names.push(name);
        }
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn names_and_key() {
        let (der, key) = der();
        let found = Certificate::parse(&der).unwrap();
        assert_eq!(found.names.emails, ["a@example.com"]);
        assert_eq!(found.names.dns, ["*.example.com"]);
        assert_eq!(found.names.uris, ["nats://x"]);
        assert_eq!(found.names.subject_line(), "CN=n1,O=Acme");
        assert!(found.names_host("127.0.0.1") && found.names_host("a.example.com"));
        assert!(!found.names_host("127.0.0.2") && !found.names_host("example.com"));
        let digest: String = Sha256::digest(key.subject_public_key_info())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found.key_digest, digest);
    }

    #[test]
    fn a_cut_or_changed_certificate_is_read_or_not_but_never_panics() {
        let (der, _) = der();
        for cut in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..cut]), None, "cut at {cut}");
            let mut changed = der.clone();
            for value in [0, 0x30, 0x7f, 0x84, 0xff] {
                changed[cut] = value;
                let _read = Certificate::parse(&changed);
            }
        }
    }
}
