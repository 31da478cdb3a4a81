//! The state folders that natsctl works in on this machine.
//!
//! `NATSCTL_STATE_DIR` gives a person several, and clusters of all of them share the loopback
//! addresses. So each folder is written down in one place, and whoever chooses an address holds
//! that place's lock and looks at the clusters of every folder in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

/// The folders, nobody else's to change until this is dropped.
#[derive(Debug)]
pub(super) struct Roots {
    folders: Vec<PathBuf>,
    /// Its lock ends with it.
    _file: File,
}

impl Roots {
    /// Waits until nobody else chooses, and adds `root` to the folders.
    ///
    /// # Errors
    /// When the list cannot be opened or written; with its path.
    pub(super) fn lock(root: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let base = etcetera::base_strategy::choose_native_strategy().ok();
        let list = base.map(|base| base.cache_dir().join("natsctl").join("roots"));
        Self::lock_at(list, root)
    }

    /// Without a home directory that can be written to there is but the one folder that was named.
    fn lock_at(list: Option<PathBuf>, root: &Path) -> Result<Self, (PathBuf, io::Error)> {
        if let Some(roots) = list.and_then(|list| Self::open(&list, root).ok()) {
            return Ok(roots);
        }
        let list = root.join("roots");
        Self::open(&list, root).map_err(|source| (list, source))
    }

    fn open(list: &Path, root: &Path) -> io::Result<Self> {
        let folder = list.parent().unwrap_or_else(|| Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(list)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // One that is gone holds no address.
        let mut folders: Vec<PathBuf> =
            text.lines().map(PathBuf::from).filter(|path| path != root && path.is_dir()).collect();
        folders.push(root.to_owned());
        let lines: String = folders.iter().map(|path| format!("{}\n", path.display())).collect();
        if lines != text {
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(lines.as_bytes())?;
        }
        Ok(Self { folders, _file: file })
    }

    /// The folders of all clusters in them.
    pub(super) fn clusters(&self) -> Vec<PathBuf> {
        let entries = self.folders.iter().filter_map(|root| fs::read_dir(root).ok()).flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_every_folder_are_found_until_the_folder_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let list = home.path().join("cache").join("roots");
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(one.path().join("demo")).unwrap();
        fs::create_dir(two.path().join("demo")).unwrap();
        drop(Roots::open(&list, one.path()).unwrap());
        let roots = Roots::open(&list, two.path()).unwrap();
        assert_eq!(roots.clusters(), [one.path().join("demo"), two.path().join("demo")]);
        drop(roots);
        drop(one);
        let roots = Roots::open(&list, two.path()).unwrap();
        assert_eq!(roots.clusters(), [two.path().join("demo")]);
    }

    #[test]
    fn a_home_that_cannot_be_written_to_is_not_needed() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("file");
        fs::write(&home, "").unwrap();
        let roots = Roots::lock_at(Some(home.join("natsctl").join("roots")), root.path()).unwrap();
        assert_eq!(roots.folders, [root.path()]);
        assert!(root.path().join("roots").is_file());
    }

    #[test]
    fn one_at_a_time_chooses() {
        let home = tempfile::tempdir().unwrap();
        let list = home.path().join("roots");
        let _held = Roots::open(&list, home.path()).unwrap();
        let second = File::open(&list).unwrap();
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
    }
}
