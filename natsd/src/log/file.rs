//! A log file that is put aside when it has grown: names, limits and what is kept as
//! nats-server's (logger/log.go).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, Zoned};

use super::zone;

/// What `log_size_limit` and `log_max_num` ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotation {
    /// Put aside beyond this many bytes; `None` never does.
    pub(super) size_limit: Option<u64>,
    /// Files to keep, the current one among them; `None` keeps all.
    pub(super) files_max: Option<usize>,
}

/// What came of a rotation; the caller logs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The file now has this name.
    Saved(PathBuf),
    /// An old one was removed.
    Purged(String),
    /// Something did not work; tried again at the next rotation.
    Failed(String),
}

/// The open log file. Owned by the logger, written under its lock.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    rotation: Rotation,
    size: u64,
    /// Grows after a failed rotation, so that not every line tries again.
    limit: Option<u64>,
}

impl LogFile {
    /// Opens a file to append to.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let rotation = Rotation {
            size_limit: rotation.size_limit.filter(|limit| *limit > 0),
            files_max: rotation.files_max.filter(|most| *most > 0),
        };
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, rotation, size, limit: rotation.size_limit })
    }

    /// Opens the same name anew.
    ///
    /// # Errors
    /// When the system refuses; the old file is kept.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }

    /// Whether the next line will put the file aside.
    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.size > limit)
    }

    /// Writes one line; a line is never divided between two files.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.size += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Puts the file aside, begins a new one and removes what is too old.
    pub(super) fn rotate(&mut self) -> Vec<Rotated> {
        let aside = self.name_aside(&zone::now());
        let moved = std::fs::rename(&self.path, &aside).and_then(|()| append_to(&self.path));
        match moved {
            Err(error) => {
                let limit = self.limit.map(|limit| limit.saturating_mul(2));
                self.limit = limit;
                vec![Rotated::Failed(format!(
                    "Unable to rotate logfile ({error}), will attempt next rotation at size {}",
                    limit.unwrap_or_default()
                ))]
            }
            Ok(file) => {
                self.file = file;
                self.size = 0;
                self.limit = self.rotation.size_limit;
                let mut news = vec![Rotated::Saved(aside)];
                news.extend(self.purge());
                news
            }
        }
    }

    fn name_aside(&self, now: &Zoned) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(now.strftime(".%Y.%m.%d.%H.%M.%S.%9f").to_string());
        name.into()
    }

    fn purge(&self) -> Vec<Rotated> {
        let Some(most) = self.rotation.files_max else { return Vec::new() };
        let folder = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut names = match self.set_aside(folder) {
            Ok(names) => names,
            Err(error) => {
                return vec![Rotated::Failed(format!(
                    "Unable to read directory {folder:?} for log purge ({error}), \
                     will attempt next rotation"
                ))];
            }
        };
        // The time in the name sorts them: the oldest first.
        names.sort_unstable();
        let surplus = names.len().saturating_sub(most - 1);
        let mut news = Vec::new();
        for name in names.into_iter().take(surplus) {
            match std::fs::remove_file(folder.join(&name)) {
                Ok(()) => news.push(Rotated::Purged(name)),
                Err(error) => {
                    news.push(Rotated::Failed(format!(
                        "Unable to remove backup log file {name:?} ({error}), \
                         will attempt next rotation"
                    )));
                    break;
                }
            }
        }
        news
    }

    /// Names of the files that rotations of this one left.
    fn set_aside(&self, folder: &Path) -> io::Result<Vec<String>> {
        let own = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let stamp = name.strip_prefix(&own).and_then(|rest| rest.strip_prefix('.'));
            if stamp.is_some_and(is_stamp) && !entry.file_type()?.is_dir() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Whether this is the time that a rotation puts behind a name, so that other files which begin
/// alike are left alone.
fn is_stamp(text: &str) -> bool {
    Timestamp::strptime("%Y.%m.%d.%H.%M.%S%.f %z", format!("{text} +0000")).is_ok()
        && text.split('.').count() == 7
}

fn append_to(path: &Path) -> io::Result<File> {
    // Not for everybody's eyes, as nats-server's (0640).
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_names_that_a_rotation_made_are_counted() {
        assert!(is_stamp("2026.11.22.16.55.23.442362001"));
        for other in ["gz", "2026.11.22", "2026.13.22.16.55.23.442362001", "1", ""] {
            assert!(!is_stamp(other), "{other:?}");
        }
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("n.log");
        std::fs::write(folder.path().join("n.log.notes"), "mine").expect("written");
        let rotation = Rotation { size_limit: Some(8), files_max: Some(2) };
        let mut log = LogFile::open(&path, rotation).expect("opened");
        for round in ["first line", "second line"] {
            log.write(round.as_bytes()).expect("written");
            assert!(log.is_full());
            assert!(matches!(log.rotate().first(), Some(Rotated::Saved(_))));
            assert!(!log.is_full());
        }
        let left = names(folder.path());
        assert_eq!(left.len(), 3, "the file, one aside and a stranger: {left:?}");
        assert!(left.contains(&"n.log.notes".to_owned()));
        let aside = left.iter().find(|name| name.starts_with("n.log.20")).expect("one aside");
        let text = std::fs::read_to_string(folder.path().join(aside)).expect("readable");
        assert_eq!(text, "second line");
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_written_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("n.log");
        let mut log = LogFile::open(&path, Rotation { size_limit: Some(4), files_max: None })
            .expect("opened");
        log.write(b"12345").expect("written");
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(log.rotate().as_slice(), [Rotated::Failed(_)]));
        assert!(!log.is_full(), "the next try comes at twice the size");
        log.write(b"6").expect("still open");
    }
}
