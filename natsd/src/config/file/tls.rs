//! `tls { }`, of every listener.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::entry::{Entry, Report, Rule, read_or};
use crate::config::conf::{Surroundings, Value, why};
use crate::config::duration;
use crate::config::{CertificatePair, HandshakeFirst, Tls, TlsVersion};

/// Who reads the block: only servers dialed by others can check known URLs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Clients,
    Servers,
}

/// A TLS block as written.
struct Block {
    side: Side,
    tls: Tls,
    cert_file: String,
    key_file: String,
    allow_insecure: bool,
    insecure_suites: Vec<String>,
    cert_store: bool,
}

/// How long INFO is held back for a client that starts TLS, with `handshake_first: auto`.
const FALLBACK: Duration = Duration::from_millis(50);

/// Reads a TLS block; nothing is returned if anything is wrong with it.
pub(super) fn tls(entry: Entry<'_>, side: Side, report: &mut Report<'_>) -> Option<Tls> {
    let map = entry.map(report)?;
    let errors = report.errors.len();
    let mut block = Block {
        side,
        tls: Tls::default(),
        cert_file: String::new(),
        key_file: String::new(),
        allow_insecure: false,
        insecure_suites: Vec::new(),
        cert_store: false,
    };
    read_or(map, RULES, &mut block, report, |entry, report| {
        entry.error(report, format!("error parsing tls config, unknown field {:?}", entry.key));
    });
    block.finish(entry, report);
    if report.errors.len() > errors {
        return None;
    }
    if let Err(error) = readable(&block.tls, block.cert_file.is_empty(), report.around) {
        entry.error(report, error);
        return None;
    }
    Some(block.tls)
}

impl Block {
    fn finish(&mut self, entry: Entry<'_>, report: &mut Report<'_>) {
        if !self.insecure_suites.is_empty() && !self.allow_insecure {
            let names = self.insecure_suites.join(", ");
            entry.error(report, format!("insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: {names}"));
        }
        match (self.cert_file.is_empty(), self.key_file.is_empty()) {
            (false, _) if !self.tls.certificates.is_empty() => entry.error(
                report,
                "error parsing tls config, cannot combine 'cert_file' option with 'certs' option",
            ),
            (false, true) => entry.error(report, "missing 'key_file' in TLS configuration"),
            (true, false) => entry.error(report, "missing 'cert_file' in TLS configuration"),
            (false, false) => self.tls.certificates.push(CertificatePair {
                cert_file: (&self.cert_file).into(),
                key_file: (&self.key_file).into(),
            }),
            (true, true) => {}
        }
    }
}

/// Looks whether the files of a TLS block can be read and look like PEM; they are loaded later.
/// Errors count the certificates if they came as a list.
pub(crate) fn readable(tls: &Tls, listed: bool, around: &dyn Surroundings) -> Result<(), String> {
    let read = |path: &Path| -> Result<Vec<u8>, String> {
        let error = |error: io::Error| why(&path.to_string_lossy(), &error);
        around.read(path).map_err(error)
    };
    let pem = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("-----BEGIN ");
    let pairs = tls.certificates.len();
    for (i, pair) in tls.certificates.iter().enumerate() {
        let which = if listed { format!(" {}/{pairs}", i + 1) } else { String::new() };
        let fault = |why: String| format!("error parsing X509 certificate/key pair{which}: {why}");
        let certificate = read(&pair.cert_file).map_err(fault)?;
        let key = read(&pair.key_file).map_err(fault)?;
        if !pem(&certificate) {
            let why = "tls: failed to find any PEM data in certificate input";
            return Err(fault(why.into()));
        }
        if !pem(&key) {
            return Err(fault("tls: failed to find any PEM data in key input".into()));
        }
    }
    if let Some(path) = &tls.ca_file
        && !pem(&read(path)?)
    {
        return Err("failed to parse root ca certificate".into());
    }
    Ok(())
}

const RULES: &[Rule<Block>] = &[
    (&["cert_file"], |b, e, r| file(e, r, &mut b.cert_file)),
    (&["key_file"], |b, e, r| file(e, r, &mut b.key_file)),
    (&["ca_file"], |b, e, r| {
        let mut path = String::new();
        file(e, r, &mut path);
        b.tls.ca_file = (!path.is_empty()).then(|| path.into());
    }),
    (&["insecure"], |b, e, r| b.tls.insecure = flag(e, r)),
    (&["verify"], |b, e, r| b.tls.verify |= flag(e, r)),
    (&["verify_and_map"], |b, e, r| {
        b.tls.verify_and_map = flag(e, r);
        b.tls.verify |= b.tls.verify_and_map;
    }),
    (&["verify_cert_and_check_known_urls"], |b, e, r| {
        let on = flag(e, r);
        if on && b.side == Side::Clients {
            e.error(r, "verify_cert_and_check_known_urls not supported in this context");
        }
        b.tls.check_known_urls = on;
        b.tls.verify |= on;
    }),
    (&["allow_insecure_cipher_suites"], |b, e, r| b.allow_insecure = flag(e, r)),
    (&["cipher_suites"], cipher_suites),
    (&["curve_preferences"], curve_preferences),
    (&["timeout"], |b, e, r| match e.timeout() {
        // Zero means the default.
        Ok(timeout) if timeout.is_zero() => {}
        Ok(timeout) => b.tls.timeout = timeout,
        Err(error) => e.error(r, format!("error parsing tls config, 'timeout' {error}")),
    }),
    (&["connection_rate_limit"], |b, e, r| match e.value() {
        Value::Int(limit) => {
            b.tls.connection_rate_limit = u64::try_from(*limit).ok().filter(|limit| *limit > 0);
        }
        _ => e.error(r, "error parsing tls config, 'connection_rate_limit' wrong type"),
    }),
    (&["pinned_certs"], pinned_certs),
    (&["handshake_first", "first", "immediate"], handshake_first),
    (&["min_version"], min_version),
    (&["certs", "certificates"], certificates),
    (&["ocsp_peer"], |_, e, r| {
        if *e.value() != Value::Bool(false) {
            e.unsupported(r);
        }
    }),
    (
        &["cert_store", "cert_match_by", "cert_match", "cert_match_skip_invalid", "ca_certs_match"],
        |b, e, r| {
            // Certificate stores exist on Windows only.
            if !std::mem::replace(&mut b.cert_store, true) {
                e.unsupported(r);
            }
        },
    ),
];

fn file(entry: Entry<'_>, report: &mut Report<'_>, slot: &mut String) {
    match entry.value() {
        Value::Text(path) => slot.clone_from(path),
        _ => {
            let key = entry.key.to_lowercase();
            entry.error(
                report,
                format!("error parsing tls config, expected '{key}' to be filename"),
            );
        }
    }
}

fn flag(entry: Entry<'_>, report: &mut Report<'_>) -> bool {
    if let Value::Bool(on) = entry.value() {
        return *on;
    }
    let key = entry.key.to_lowercase();
    entry.error(report, format!("error parsing tls config, expected '{key}' to be a boolean"));
    false
}

/// Suites that can be spoken; TLS 1.3 ones are always offered.
const SUITES: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Suites that nats-server speaks and natsd does not: CBC without a good reason to go on.
const OLD_SUITES: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Suites that nats-server speaks only with `allow_insecure_cipher_suites`.
const INSECURE_SUITES: [&str; 13] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
];

fn cipher_suites(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(nodes) = entry.list(report) else { return };
    if nodes.is_empty() {
        entry.error(report, "error parsing tls config, 'cipher_suites' cannot be empty");
    }
    for node in nodes {
        let Some(name) = (Entry { key: entry.key, node }).text(report) else { continue };
        if SUITES.contains(&name) {
            block.tls.cipher_suites.push(name.to_owned());
        } else if OLD_SUITES.contains(&name) || INSECURE_SUITES.contains(&name) {
            if INSECURE_SUITES.contains(&name) {
                block.insecure_suites.push(name.to_owned());
            }
            report.warn(&node.place, format!("cipher suite {name} is not spoken by natsd"));
        } else {
            report.error(&node.place, format!("unrecognized cipher {name}"));
        }
    }
}

fn curve_preferences(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    let Some(nodes) = entry.list(report) else { return };
    if nodes.is_empty() {
        entry.error(report, "error parsing tls config, 'curve_preferences' cannot be empty");
    }
    for node in nodes {
        let Some(name) = (Entry { key: entry.key, node }).text(report) else { continue };
        match name {
            "X25519" | "CurveP256" | "CurveP384" => {
                block.tls.curve_preferences.push(name.to_owned());
            }
            // The hybrids and P-521 are not in the crypto library; the others are then preferred.
            "CurveP521" | "X25519MLKEM768" | "SecP256r1MLKEM768" | "SecP384r1MLKEM1024" => {
                report.warn(&node.place, format!("curve {name} is not spoken by natsd"));
            }
            _ => report.error(&node.place, format!("unrecognized curve preference {name}")),
        }
    }
}

fn pinned_certs(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    const WHAT: &str = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo";
    let Value::List(nodes) = entry.value() else {
        let text =
            format!("error parsing tls config, expected 'pinned_certs' to be a list of {WHAT}");
        entry.error(report, text);
        return;
    };
    for node in nodes {
        let Some(key) = (Entry { key: entry.key, node }).text(report) else { continue };
        let key = key.to_lowercase();
        if key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()) {
            block.tls.pinned_certs.insert(key);
        } else {
            let text = format!(
                "error parsing tls config, 'pinned_certs' key {key} does not look like {WHAT}"
            );
            report.error(&node.place, text);
        }
    }
}

fn handshake_first(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    let key = entry.key;
    let first = match entry.value() {
        Value::Bool(true) => HandshakeFirst::On,
        Value::Bool(false) => HandshakeFirst::Off,
        Value::Text(text) => match text.to_lowercase().as_str() {
            "true" | "on" => HandshakeFirst::On,
            "false" | "off" => HandshakeFirst::Off,
            "auto" | "auto_fallback" => HandshakeFirst::Fallback(FALLBACK),
            _ => match duration::parse(text) {
                Ok(nanos) => match u64::try_from(nanos) {
                    Ok(nanos @ 1..) => HandshakeFirst::Fallback(Duration::from_nanos(nanos)),
                    _ => HandshakeFirst::On,
                },
                Err(_) => {
                    entry.error(report, format!("field {key:?}'s value {text:?} is invalid"));
                    return;
                }
            },
        },
        other => {
            let found = other.go_type();
            entry.error(
                report,
                format!("field {key:?} should be a boolean or a string, got {found}"),
            );
            return;
        }
    };
    block.tls.handshake_first = first;
}

fn min_version(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    let error = match entry.value() {
        Value::Text(version) => match version.as_str() {
            "1.2" => {
                block.tls.min_version = TlsVersion::V1_2;
                return;
            }
            "1.3" => {
                block.tls.min_version = TlsVersion::V1_3;
                return;
            }
            "1.0" | "1.1" => format!("unsupported TLS version: TLS {version}"),
            _ => format!("unknown version: {version}"),
        },
        Value::Float(number) => format!("'min_version' wrong type: {number}"),
        other => format!("'min_version' wrong type: {}", other.kind()),
    };
    entry.error(report, format!("error parsing tls config: {error}"));
}

fn certificates(block: &mut Block, entry: Entry<'_>, report: &mut Report<'_>) {
    let Value::List(nodes) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("error parsing certificates config: unsupported type {found}"));
        return;
    };
    for node in nodes {
        let Value::Map(map) = &node.value else {
            let found = node.value.go_type();
            report.error(
                &node.place,
                format!("error parsing certificates config: unsupported type {found}"),
            );
            continue;
        };
        let (mut cert, mut key) = (String::new(), String::new());
        for (name, node) in map.iter() {
            let entry = Entry { key: name, node };
            let Value::Text(path) = entry.value() else {
                let found = entry.value().go_type();
                entry.error(
                    report,
                    format!("error parsing certificates config: unsupported type {found}"),
                );
                continue;
            };
            match name {
                "cert_file" => cert.clone_from(path),
                "key_file" => key.clone_from(path),
                _ => entry.error(
                    report,
                    format!("error parsing tls certs config, unknown field {name:?}"),
                ),
            }
        }
        if cert.is_empty() || key.is_empty() {
            let place = map.iter().last().map_or(&node.place, |(_, node)| &node.place);
            report.error(place, "error parsing certificates config: both 'cert_file' and 'cert_key' options are required");
            continue;
        }
        block
            .tls
            .certificates
            .push(CertificatePair { cert_file: cert.into(), key_file: key.into() });
    }
}
