//! The folder of one cluster: `$NATSCTL_STATE_DIR/<name>`, else `$XDG_STATE_HOME/natsctl/<name>`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::{State, StateError};

/// The folder that holds everything natsctl keeps about one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDir {
    name: String,
    path: PathBuf,
}

impl ClusterDir {
    /// The folder all clusters' folders are in. Nothing is created.
    ///
    /// # Errors
    /// When there is neither `NATSCTL_STATE_DIR` nor a home directory.
    pub fn root() -> Result<PathBuf, StateError> {
        if let Some(root) = std::env::var_os("NATSCTL_STATE_DIR").filter(|root| !root.is_empty()) {
            let root = PathBuf::from(root);
            return Ok(std::path::absolute(&root).unwrap_or(root));
        }
        let base = etcetera::base_strategy::choose_native_strategy().ok();
        let base = base.and_then(|base| base.state_dir().or_else(|| Some(base.data_dir())));
        base.map(|dir| dir.join("natsctl")).ok_or(StateError::NoHome)
    }

    /// Opens the folder of a cluster, making it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(name: &str) -> Result<Self, StateError> {
        let dir = Self::at(name)?;
        make_private(&dir.path)?;
        Ok(dir)
    }

    /// Names the folder of a cluster without making it.
    ///
    /// # Errors
    /// When there is no home directory.
    pub fn at(name: &str) -> Result<Self, StateError> {
        Ok(Self { name: name.to_owned(), path: Self::root()?.join(name) })
    }

    /// The folders of all clusters that natsctl knows, by name; those whose record is lost, too.
    ///
    /// # Errors
    /// When the root exists and cannot be read.
    pub fn all() -> Result<Vec<Self>, StateError> {
        let root = Self::root()?;
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::File { attempt: "read", path: root, source }),
        };
        let mut dirs: Vec<Self> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some(Self { name, path: entry.path() })
            })
            .filter(|dir| dir.is_recorded() || dir.has_made_something())
            .collect();
        dirs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dirs)
    }

    /// Whether anything is remembered of this cluster.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.path.join("state.json").is_file()
    }

    /// Whether a provider left here what comes with a node: its folder, or keys of machines.
    #[must_use]
    pub fn has_made_something(&self) -> bool {
        let nodes = fs::read_dir(self.path.join("nodes"));
        let keys = [self.host_key(), self.path.join("known_hosts")];
        nodes.is_ok_and(|mut nodes| nodes.next().is_some()) || keys.iter().any(|key| key.is_file())
    }

    /// Name of the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Private half of the SSH key pair made for this cluster; the public half has `.pub`.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.path.join("id_ed25519")
    }

    /// Private half of the host key planted on every machine of this cluster.
    #[must_use]
    pub fn host_key(&self) -> PathBuf {
        self.path.join("host_ed25519")
    }

    /// Folder of one node, for what a provider keeps about its machine.
    #[must_use]
    pub fn node(&self, node: &str) -> PathBuf {
        self.path.join("nodes").join(node)
    }

    /// Takes the cluster's lock for a verb that changes something. Released when dropped, and
    /// by the system when this process dies.
    ///
    /// # Errors
    /// [`StateError::Busy`] at once when another natsctl holds it.
    pub fn lock(&self, verb: &str) -> Result<Lock, StateError> {
        let path = self.path.join("lock");
        let failed = |source| StateError::File { attempt: "lock", path: path.clone(), source };
        loop {
            make_private(&self.path)?;
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(self.busy(file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // `down` removes the file while it holds it: a lock on a removed file is no lock.
            if !is_same_file(&file, &path) {
                continue;
            }
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{verb}, pid {}", std::process::id()))
                .map_err(failed)?;
            return Ok(Lock { _file: file });
        }
    }

    fn busy(&self, mut file: File) -> StateError {
        let mut holder = String::new();
        if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
            "starting".clone_into(&mut holder);
        }
        StateError::Busy { cluster: self.name.clone(), holder }
    }

    /// Recalls what is remembered; `None` when nothing is.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(&self) -> Result<Option<State>, StateError> {
        let path = self.path.join("state.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::File { attempt: "read", path, source }),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StateError::Corrupt { path, source })
    }

    /// Remembers, replacing the old record in one step.
    ///
    /// # Errors
    /// The old record stands then.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        make_private(&self.path)?;
        let path = self.path.join("state.json");
        let fresh = self.path.join("state.json.new");
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|source| StateError::Corrupt { path: path.clone(), source })?;
        let failed = |source| StateError::File { attempt: "write", path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }

    /// Removes the folder, and the root when this was the last. Not there is not an error.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StateError::File {
                    attempt: "remove",
                    path: self.path.clone(),
                    source,
                });
            }
        }
        if let Some(root) = self.path.parent() {
            // Refused while other clusters are there, which is what we want.
            drop(fs::remove_dir(root));
        }
        Ok(())
    }
}

/// Proof that this process alone changes the cluster.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn make_private(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::File { attempt: "create", path: path.to_owned(), source })
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(found)) => held.ino() == found.ino() && held.dev() == found.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir_in(root: &Path) -> ClusterDir {
        ClusterDir { name: "demo".into(), path: root.join("natsctl").join("demo") }
    }

    #[test]
    fn the_lock_is_held_by_one_and_says_by_whom() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir_in(root.path());
        let held = dir.lock("up").unwrap();
        let refused = dir.lock("down").unwrap_err().to_string();
        assert!(refused.contains("another natsctl (up, pid "), "{refused}");
        drop(held);
        dir.lock("down").unwrap();
    }

    #[test]
    fn a_folder_with_nodes_is_a_cluster_also_without_its_record() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir_in(root.path());
        let _held = dir.lock("up").unwrap();
        assert!(!dir.has_made_something() && !dir.is_recorded());
        fs::create_dir_all(dir.node("node1")).unwrap();
        assert!(dir.has_made_something() && !dir.is_recorded());
    }

    #[test]
    fn removal_leaves_nothing_and_can_be_repeated() {
        let root = tempfile::tempdir().unwrap();
        let dir = dir_in(root.path());
        let held = dir.lock("down").unwrap();
        dir.remove().unwrap();
        dir.remove().unwrap();
        drop(held);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
