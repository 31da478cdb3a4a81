//! A directory of account JWTs, one file each (`<key>.jwt`), with an index in memory.
//!
//! Laid out as nats-server's, which may take over the directory and hand it back. Works on the
//! disk: to be called where nobody else waits. The time comes in, in seconds since 1970.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::nkey::{Kind, is_public};
use crate::jwt::Token;

const EXTENSION: &str = ".jwt";
/// A larger file is none of ours.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How a directory is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub dir: PathBuf,
    /// What deleting does.
    pub deletion: Deletion,
    /// Most JWTs held.
    pub limit: Option<u64>,
    /// At the limit the one that was not used for longest goes; else nothing more is taken.
    pub evicts: bool,
    /// How long each is kept after its last use, whatever it says itself.
    pub ttl: Option<Duration>,
}

/// What deleting does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is refused.
    None,
    /// The file gets another name.
    Rename,
    /// The file goes.
    Remove,
}

/// Why a directory did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no key.
    #[error("invalid public key")]
    Key,
    /// There is nothing to store.
    #[error("invalid JWT")]
    Empty,
    /// The limit is reached.
    #[error("jwt store is full")]
    Full,
    /// Deleting is not allowed.
    #[error("store is not set up to for delete")]
    NoDelete,
    /// It is about another key.
    #[error("jwt subject nkey and provided nkey do not match")]
    Subject,
    /// A package cannot be read.
    #[error("line in package didn't contain 2 entries: {0:?}")]
    Package(String),
    /// A token cannot be read.
    #[error(transparent)]
    Jwt(#[from] crate::jwt::JwtError),
}

/// A directory of account JWTs.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    held: HashMap<String, Held>,
    /// All hashes, one over the other: equal for equal sets.
    hash: [u8; 32],
    uses: u64,
}

#[derive(Debug)]
struct Held {
    hash: [u8; 32],
    /// Seconds since 1970; `None` is never.
    ends: Option<i64>,
    used: u64,
}

type Generic = Token<Map<String, Value>>;

impl Store {
    /// Opens a directory, which is made if it is not there, and looks what is in it.
    ///
    /// # Errors
    /// When the disk does not let it.
    pub fn open(settings: Settings, now: i64) -> Result<Self, StoreError> {
        let dir = settings.dir.clone();
        let store = Self { settings, index: Mutex::default() };
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            let key = path.file_name().and_then(|name| name.to_str()?.strip_suffix(EXTENSION));
            if let Some(key) = key
                && let Ok(jwt) = read(&path)
            {
                store.index.lock().track(key, &jwt, store.ends(&jwt, now));
            }
        }
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    /// Whether deleting is allowed.
    #[must_use]
    pub fn may_delete(&self) -> bool {
        self.settings.deletion != Deletion::None
    }

    /// The hash of all that is held.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.index.lock().hash
    }

    /// The JWT of an account, if it is held.
    ///
    /// # Errors
    /// When the disk does not give it out.
    pub fn load(&self, key: &str, now: i64) -> Result<Option<String>, StoreError> {
        let path = self.path(key)?;
        match read(&path) {
            Ok(jwt) => {
                self.index.lock().touch(key, self.kept_until(now));
                Ok(Some(jwt))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Disk { path, source }),
        }
    }

    /// Stores a JWT; false when it was there already.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn save(&self, key: &str, jwt: &str, now: i64) -> Result<bool, StoreError> {
        let path = self.path(key)?;
        if jwt.is_empty() {
            return Err(StoreError::Empty);
        }
        let mut index = self.index.lock();
        if let Some(held) = index.held.get(key) {
            let same = held.hash == hash_of(jwt);
            index.touch(key, self.kept_until(now));
            if same {
                return Ok(false);
            }
        } else if self.settings.limit.is_some_and(|most| index.held.len() as u64 >= most) {
            self.make_room(&mut index)?;
        }
        write(&path, jwt).map_err(at(&path))?;
        let ends = self.ends(jwt, now);
        index.track(key, jwt, ends);
        Ok(true)
    }

    /// Stores a JWT unless the one held is as new; false when nothing changed.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn save_if_newer(&self, key: &str, jwt: &str, now: i64) -> Result<bool, StoreError> {
        if let Ok(existing) = read(&self.path(key)?) {
            let new = Generic::decode(jwt)?.standard;
            if let Ok(Token { standard: old, .. }) = Generic::decode(&existing) {
                if old.id == new.id || old.issued_at > new.issued_at {
                    return Ok(false);
                }
                if new.subject != key || old.subject != new.subject {
                    return Err(StoreError::Subject);
                }
            }
        }
        self.save(key, jwt, now)
    }

    fn make_room(&self, index: &mut Index) -> Result<(), StoreError> {
        if !self.settings.evicts {
            return Err(StoreError::Full);
        }
        let oldest = index.held.iter().min_by_key(|(_, held)| held.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            let path = self.path(&key)?;
            fs::remove_file(&path).map_err(at(&path))?;
            index.forget(&key);
        }
        Ok(())
    }

    /// Deletes a JWT; one that is not there is deleted already.
    ///
    /// # Errors
    /// When that is not allowed, or the disk does not let it.
    pub fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let path = self.path(key)?;
        let mut index = self.index.lock();
        let done = match self.settings.deletion {
            Deletion::None => return Err(StoreError::NoDelete),
            Deletion::Rename => {
                let mut other = path.clone().into_os_string();
                other.push(".deleted");
                fs::rename(&path, other)
            }
            Deletion::Remove => fs::remove_file(&path),
        };
        match done {
            Ok(()) => {
                index.forget(key);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Disk { path, source }),
        }
    }

    /// Removes what has ended.
    pub fn expire(&self, now: i64) {
        let mut index = self.index.lock();
        let ended: Vec<String> = index
            .held
            .iter()
            .filter(|(_, held)| held.ends.is_some_and(|ends| ends <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            let removed = self.path(&key).is_ok_and(|path| fs::remove_file(path).is_ok());
            if removed {
                index.forget(&key);
            }
        }
    }

    /// The keys of all that is held and has not ended.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.index.lock().held.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// A line of a package for every JWT that has not ended: `key|jwt`.
    #[must_use]
    pub fn lines(&self, now: i64) -> Vec<String> {
        let line = |key: &String| {
            let jwt = read(&self.path(key).ok()?).ok().filter(|jwt| !jwt.is_empty())?;
            let ended = Generic::decode(&jwt)
                .is_ok_and(|token| token.standard.expires > 0 && token.standard.expires < now);
            (!ended).then(|| format!("{key}|{jwt}"))
        };
        self.keys().iter().filter_map(line).collect()
    }

    /// Takes in what is newer of a package; gives the keys that changed.
    ///
    /// # Errors
    /// When a line cannot be taken; those before it are.
    pub fn merge(&self, package: &str, now: i64) -> (Vec<String>, Result<(), StoreError>) {
        let mut changed = Vec::new();
        let mut merge = || {
            for line in package.split('\n').filter(|line| !line.is_empty()) {
                let mut parts = line.split('|');
                let (Some(key), Some(jwt), None) = (parts.next(), parts.next(), parts.next())
                else {
                    return Err(StoreError::Package(line.chars().take(100).collect()));
                };
                if !is_public(key, Kind::Account) {
                    return Err(StoreError::Key);
                }
                if self.save_if_newer(key, jwt, now)? {
                    changed.push(key.to_owned());
                }
            }
            Ok(())
        };
        let outcome = merge();
        (changed, outcome)
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        // Nothing but a key becomes part of a path.
        if !is_public(key, Kind::Any) {
            return Err(StoreError::Key);
        }
        Ok(self.settings.dir.join(format!("{key}{EXTENSION}")))
    }

    /// When a JWT goes that is stored or used now.
    fn ends(&self, jwt: &str, now: i64) -> Option<i64> {
        self.kept_until(now).or_else(|| {
            if self.settings.ttl.is_some() {
                return None;
            }
            let expires = Generic::decode(jwt).ok()?.standard.expires;
            (expires > 0).then_some(expires)
        })
    }

    fn kept_until(&self, now: i64) -> Option<i64> {
        let seconds = i64::try_from(self.settings.ttl?.as_secs()).ok()?;
        now.checked_add(seconds.max(1))
    }
}

impl Index {
    fn track(&mut self, key: &str, jwt: &str, ends: Option<i64>) {
        self.forget(key);
        self.uses += 1;
        let hash = hash_of(jwt);
        self.mix(&hash);
        self.held.insert(key.to_owned(), Held { hash, ends, used: self.uses });
    }

    fn touch(&mut self, key: &str, ends: Option<i64>) {
        self.uses += 1;
        if let Some(held) = self.held.get_mut(key) {
            held.used = self.uses;
            held.ends = ends.or(held.ends);
        }
    }

    fn forget(&mut self, key: &str) {
        if let Some(held) = self.held.remove(key) {
            self.mix(&held.hash);
        }
    }

    fn mix(&mut self, hash: &[u8; 32]) {
        self.hash.iter_mut().zip(hash).for_each(|(all, one)| *all ^= one);
    }
}

fn hash_of(jwt: &str) -> [u8; 32] {
    Sha256::digest(jwt).into()
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Disk { path: path.clone(), source }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "file is too large for a JWT"));
    }
    fs::read_to_string(path)
}

/// A reader sees the old file or the new one, whatever happens in between.
fn write(path: &Path, jwt: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, jwt)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests;
