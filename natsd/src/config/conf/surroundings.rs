//! What a configuration may look at besides its own text: the environment and other files.

use std::io;
use std::path::Path;

/// The environment and the files, so that tests and fuzzers can bring their own.
pub trait Surroundings {
    /// Looks an environment variable up.
    fn variable(&self, name: &str) -> Option<String>;

    /// Reads a file.
    ///
    /// # Errors
    /// As the system says; nothing has changed.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The process's own environment and file system.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<String> {
        // A name with `=` or NUL in it is never set; the standard library asks for no such name.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// Says why a file could not be read, in the words of nats-server (`open x: no such file or directory`).
pub(crate) fn why(path: &str, error: &io::Error) -> String {
    let doing = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{doing} {path}: {}", reason(error))
}

/// An error of the system in Go's words (`no such process`).
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" (os error").next().unwrap_or_default();
    let mut chars = reason.chars();
    let first = chars.next().map(|c| c.to_lowercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}", chars.as_str())
}
