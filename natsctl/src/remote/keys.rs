//! SSH keys of a cluster: made once, kept in OpenSSH's own format, readable by their owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {attempt} the key {}", path.display())]
    File {
        /// `read` or `write`.
        attempt: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is there and is not a key we can use.
    #[error("cannot use the key {}: {reason}", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// In the user's words.
        reason: String,
    },
}

/// Loads a private key.
///
/// # Errors
/// When it is not there, has a passphrase, or is of a kind we cannot sign with (RSA, DSA).
pub fn load(path: &Path) -> Result<PrivateKey, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError::File {
        attempt: "read",
        path: path.to_owned(),
        source,
    })?;
    let unusable = |reason: String| KeyError::Unusable { path: path.to_owned(), reason };
    let key = russh::keys::decode_secret_key(&text, None).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => {
            unusable("it has a passphrase, and natsctl never asks for one".into())
        }
        // What kind it is, is said below in clearer words.
        other => match kind_of(&text) {
            Some(kind) if !signs(&kind) => unusable(unsupported(&kind)),
            _ => unusable(other.to_string()),
        },
    })?;
    match key.algorithm() {
        kind if signs(&kind) => Ok(key),
        kind => Err(unusable(unsupported(&kind))),
    }
}

/// Whether we can sign with such a key: with `ring` alone there is no RSA.
fn signs(kind: &Algorithm) -> bool {
    matches!(kind, Algorithm::Ed25519 | Algorithm::Ecdsa { .. })
}

fn unsupported(kind: &Algorithm) -> String {
    format!(
        "natsctl cannot sign with {kind} keys; make another with `ssh-keygen -t ed25519`, put its \
         public half (.pub) into authorized_keys on the machine, and name it in cluster.yaml"
    )
}

/// What kind of key a file holds that could not be read as one.
fn kind_of(text: &str) -> Option<Algorithm> {
    match PrivateKey::from_openssh(text) {
        Ok(key) => Some(key.algorithm()),
        Err(_) if text.contains("BEGIN RSA PRIVATE KEY") => Some(Algorithm::Rsa { hash: None }),
        Err(_) if text.contains("BEGIN DSA PRIVATE KEY") => Some(Algorithm::Dsa),
        Err(_) => None,
    }
}

/// Loads the ed25519 key at `path`, making it and its public half (`.pub`) first when there is
/// none. Two callers at once get the same key.
///
/// # Errors
/// When it cannot be made, or what is there is not a key.
pub fn load_or_make(path: &Path, comment: &str) -> Result<PrivateKey, KeyError> {
    match load(path) {
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let failed = |source| KeyError::File { attempt: "write", path: path.to_owned(), source };
    make(path, comment).map_err(failed)?;
    load(path)
}

/// The public half as one line of `authorized_keys`.
#[must_use]
pub fn public_line(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap_or_default()
}

/// The private half as OpenSSH writes it.
///
/// # Errors
/// Never for the keys that [`load_or_make`] gives.
pub fn private_text(key: &PrivateKey) -> Result<String, russh::keys::ssh_key::Error> {
    Ok(key.to_openssh(LineEnding::LF)?.to_string())
}

/// `SHA256:…`, as OpenSSH shows it.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Writes a fresh key under another name and links it into place: never half a key, and never
/// over another's.
fn make(path: &Path, comment: &str) -> io::Result<()> {
    let mut key =
        PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    key.set_comment(comment);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = path.with_extension(format!("{:08x}.new", rand::random::<u32>()));
    let text = private_text(&key).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&fresh, path));
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => fs::write(path.with_extension("pub"), public_line(&key) + "\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh").join("id_ed25519");
        let made = load_or_make(&path, "natsctl demo").unwrap();
        let again = load_or_make(&path, "other").unwrap();
        assert_eq!(public_line(&made), public_line(&again));
        assert!(public_line(&made).ends_with(" natsctl demo"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 2, "only the key and its public half: {left:?}");
    }

    #[test]
    fn a_key_that_we_cannot_sign_with_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, pem) in [("ssh-rsa", "RSA"), ("ssh-dss", "DSA")] {
            let path = folder.path().join(kind);
            let text = format!(
                "-----BEGIN {pem} PRIVATE KEY-----\nAAAA\n-----END {pem} PRIVATE KEY-----\n"
            );
            fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(kind) && error.contains("ssh-keygen -t ed25519"), "{error}");
        }
    }

    #[test]
    fn what_is_not_a_key_is_said_to_be_none_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        fs::write(&path, "nonsense").unwrap();
        let error = load_or_make(&path, "x").unwrap_err().to_string();
        assert!(error.contains("cannot use the key"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
