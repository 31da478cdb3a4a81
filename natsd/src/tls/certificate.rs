//! The parts of an X.509 certificate that natsd looks at itself: names and the public key.
//!
//! Signature, validity and chain are rustls's business; what is read here was verified before it
//! is believed. A certificate that cannot be read has no names.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
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
    /// SHA-256 of the whole, in lower-case hex.
    pub digest: String,
    /// The subject in one line, as Go writes it.
    pub subject_text: String,
    /// When it ends.
    pub not_after: Option<Timestamp>,
    /// The whole, as it was shown.
    pub der: Vec<u8>,
}

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
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

/// The fields of a certificate from its issuer on.
fn from_issuer(der: &[u8]) -> Option<Der<'_>> {
    let mut outer = Der(der).open(SEQUENCE)?;
    let mut body = outer.open(SEQUENCE)?;
    if body.peek() == Some(VERSION) {
        body.next()?;
    }
    body.open(INTEGER)?; // serial number
    body.open(SEQUENCE)?; // signature algorithm
    Some(body)
}

/// Issuer and subject of a certificate, as they are encoded.
pub(super) fn issued(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut body = from_issuer(der)?;
    let issuer = body.whole(SEQUENCE)?;
    body.open(SEQUENCE)?; // validity
    Some((issuer, body.whole(SEQUENCE)?))
}

impl Certificate {
    /// Reads a certificate in DER.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut body = from_issuer(der)?;
        body.open(SEQUENCE)?; // issuer
        let validity = body.open(SEQUENCE)?;
        let subject = body.open(SEQUENCE)?;
        let key = body.whole(SEQUENCE)?;
        let mut certificate = Self {
            names: PeerNames { subject: subject_of(subject)?, ..PeerNames::default() },
            addresses: Vec::new(),
            key_digest: hex(&Sha256::digest(key)),
            digest: hex(&Sha256::digest(der)),
            subject_text: text_of(subject)?,
            not_after: end_of(validity),
            der: der.to_vec(),
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

/// The second of two times.
fn end_of(mut validity: Der<'_>) -> Option<Timestamp> {
    validity.next()?;
    let (tag, content, _) = validity.next()?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    // Years of two digits are those from 1950 to 2049 (RFC 5280).
    let text = match (tag, text.as_bytes().first()) {
        (UTC_TIME, Some(b'0'..=b'4')) => format!("20{text}"),
        (UTC_TIME, _) => format!("19{text}"),
        _ => text.to_owned(),
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

/// A subject as Go writes it: known attributes in its order, whatever the order in the
/// certificate, several values of one joined by `+`; then what it does not know, by number.
fn text_of(mut name: Der<'_>) -> Option<String> {
    const ORDER: [u8; 9] = [5, 3, 11, 10, 17, 9, 7, 8, 6];
    let (mut known, mut others) = (vec![Vec::new(); ORDER.len()], Vec::new());
    while let Some(mut set) = name.open(SET) {
        while let Some(mut pair) = set.open(SEQUENCE) {
            let id = pair.open(OBJECT_ID)?.0;
            let (_, value, _) = pair.next()?;
            let place = ORDER.iter().position(|last| id == [0x55, 0x04, *last]);
            let text = escaped(&String::from_utf8_lossy(value));
            match place.and_then(|place| known.get_mut(place)) {
                Some(values) => values.push(format!("{}={text}", attribute(id))),
                None => others.push(format!("{}={text}", dotted(id))),
            }
        }
    }
    // Of serial number and common name the last one counts.
    for single in known.iter_mut().take(2) {
        single.drain(..single.len().saturating_sub(1));
    }
    let known = known.iter().filter(|values| !values.is_empty()).map(|values| values.join("+"));
    Some(known.chain(others.into_iter().rev()).collect::<Vec<_>>().join(","))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What would be read as something else gets a backslash (RFC 2253).
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, letter) in value.char_indices() {
        let is_special = match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => place == 0 || place == last,
            '#' => place == 0,
            _ => false,
        };
        if is_special {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// An object identifier in numbers: base 128, the first two in one.
fn dotted(id: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in id {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, rest) = numbers.split_first().unwrap_or((&0, &[]));
    let root = (first / 40).min(2);
    let mut text = format!("{root}.{}", first - root * 40);
    rest.iter().for_each(|number| text.push_str(&format!(".{number}")));
    text
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
        assert_eq!(found.digest, hex(&Sha256::digest(&der)));
        // What rcgen sets where nothing is said.
        assert_eq!(found.not_after.unwrap().to_string(), "4096-01-01T00:00:00Z");
    }

    #[test]
    fn the_subject_reads_as_go_writes_it() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (DnType::CommonName, " a,b "),
            (DnType::CountryName, "DE"),
            (DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "a@b.c"),
            (DnType::OrganizationName, "Acme"),
            (DnType::OrganizationalUnitName, "#1"),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let found = Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(
            found.subject_text,
            "CN=\\ a\\,b\\ ,OU=\\#1,O=Acme,C=DE,1.2.840.113549.1.9.1=a@b.c"
        );
        assert_eq!(found.not_after.unwrap().to_string(), "2031-02-03T00:00:00Z");
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
