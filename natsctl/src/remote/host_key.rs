//! Whether the machine that answers is the one we mean: host keys, checked on every connection.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate, known_hosts};

use super::keys::fingerprint;

/// What makes a host key the right one.
#[derive(Clone, Debug)]
pub enum Trust {
    /// We put this very key on the machine before its first boot.
    Planted(PublicKey),
    /// The user's `known_hosts` says; where it says nothing, what we recorded; where that says
    /// nothing either, the key seen now is recorded, if `learn` says so, or refused.
    Known {
        /// Host name or address, as the user wrote it.
        host: String,
        /// SSH port.
        port: u16,
        /// Read, never written.
        user_file: Option<PathBuf>,
        /// Ours.
        recorded: PathBuf,
        /// Whether a key never seen is trusted from now on.
        learn: bool,
    },
}

/// What the check of one connection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The expected key.
    Expected,
    /// A key never seen, now recorded.
    Recorded {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A key never seen, not trusted.
    Unknown {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// Another key than the expected one.
    Other {
        /// Fingerprint shown.
        seen: String,
        /// Fingerprint expected.
        expected: String,
    },
    /// It could not be looked up or recorded.
    Unchecked(String),
}

impl Trust {
    /// Kinds of key to ask the server for: only those it is known by, when it is known.
    pub(super) fn algorithms(&self) -> Option<Vec<Algorithm>> {
        let known: Vec<Algorithm> =
            self.expected().ok()?.iter().map(PublicKey::algorithm).collect();
        (!known.is_empty()).then_some(known)
    }

    fn check(&self, seen: &PublicKey) -> Found {
        match self.expected() {
            Err(error) => Found::Unchecked(error),
            Ok(expected) if expected.iter().any(|key| key.key_data() == seen.key_data()) => {
                Found::Expected
            }
            Ok(expected) => match expected.first() {
                Some(other) => {
                    Found::Other { seen: fingerprint(seen), expected: fingerprint(other) }
                }
                None => self.record(seen),
            },
        }
    }

    /// The keys this host may show; empty when it was never seen.
    fn expected(&self) -> Result<Vec<PublicKey>, String> {
        match self {
            Self::Planted(key) => Ok(vec![key.clone()]),
            Self::Known { host, port, user_file, recorded, .. } => {
                for file in user_file.iter().chain([recorded]) {
                    let keys = known_keys(host, *port, file)?;
                    if !keys.is_empty() {
                        return Ok(keys);
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    fn record(&self, key: &PublicKey) -> Found {
        let Self::Known { host, port, recorded, learn: true, .. } = self else {
            return Found::Unknown { fingerprint: fingerprint(key) };
        };
        match append(recorded, &known_hosts_line(host, *port, key)) {
            Ok(()) => Found::Recorded { fingerprint: fingerprint(key) },
            Err(error) => Found::Unchecked(format!("cannot write {}: {error}", recorded.display())),
        }
    }
}

/// Keys of a host in one file, of the kinds we can check (no RSA without its crate).
fn known_keys(host: &str, port: u16, file: &Path) -> Result<Vec<PublicKey>, String> {
    let rows = known_hosts::known_host_keys_path(host, port, file)
        .map_err(|error| format!("cannot understand {}: {error}", file.display()))?;
    let usable =
        |key: &PublicKey| matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { .. });
    Ok(rows.into_iter().map(|(_, key)| key).filter(usable).collect())
}

fn known_hosts_line(host: &str, port: u16, key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    let name = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
    format!("{name} {}\n", key.to_openssh().unwrap_or_default())
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())
}

/// One connection's view of the server's key; russh asks it before any secret is sent.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    found: Arc<OnceLock<Found>>,
}

impl Verifier {
    pub(super) fn new(trust: Trust) -> (Self, Arc<OnceLock<Found>>) {
        let found = Arc::new(OnceLock::new());
        (Self { trust, found: Arc::clone(&found) }, found)
    }
}

impl russh::client::Handler for Verifier {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let found = self.trust.check(&shown.public_key());
        let accept = matches!(found, Found::Expected | Found::Recorded { .. });
        // Asked again at each re-keying; the first answer is the one that is reported.
        drop(self.found.set(found));
        Ok(accept)
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;

    use super::*;

    fn key() -> PublicKey {
        PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap().public_key().clone()
    }

    fn known(folder: &Path, user_file: Option<PathBuf>, learn: bool) -> Trust {
        let recorded = folder.join("ssh/known_hosts");
        Trust::Known { host: "box".into(), port: 2222, user_file, recorded, learn }
    }

    #[test]
    fn only_the_planted_key_is_accepted() {
        let (planted, other) = (key(), key());
        let trust = Trust::Planted(planted.clone());
        assert_eq!(trust.check(&planted), Found::Expected);
        assert_eq!(
            trust.check(&other),
            Found::Other { seen: fingerprint(&other), expected: fingerprint(&planted) }
        );
    }

    #[test]
    fn a_key_seen_first_is_recorded_and_a_changed_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let trust = known(folder.path(), None, true);
        let (first, other) = (key(), key());
        let cautious = known(folder.path(), None, false);
        assert_eq!(cautious.check(&first), Found::Unknown { fingerprint: fingerprint(&first) });
        assert_eq!(trust.check(&first), Found::Recorded { fingerprint: fingerprint(&first) });
        assert_eq!(cautious.check(&first), Found::Expected);
        assert!(matches!(trust.check(&other), Found::Other { .. }));
        let line = fs::read_to_string(folder.path().join("ssh/known_hosts")).unwrap();
        assert!(line.starts_with("[box]:2222 ssh-ed25519 "), "{line}");
    }

    #[test]
    fn the_users_known_hosts_is_believed_and_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let (theirs, other) = (key(), key());
        let text = known_hosts_line("box", 2222, &theirs);
        fs::write(&file, &text).unwrap();
        let trust = known(folder.path(), Some(file.clone()), true);
        assert_eq!(trust.check(&theirs), Found::Expected);
        assert!(matches!(trust.check(&other), Found::Other { .. }));
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(!folder.path().join("ssh").exists());
    }
}
