//! The lab as a test sees it: real guests on a bridge of their own, a played `multipass`.
//!
//! Everything goes through the script `tests/lab/lab`; see there for what a guest is. A test
//! that needs the lab must be run by `tests/lab/run`, which says so when it was not.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The lab, cleared of what the test before left.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// Enters it.
    ///
    /// # Panics
    /// When this process does not run inside the lab.
    #[must_use]
    pub fn enter() -> Self {
        assert!(
            std::env::var_os("IN_LAB").is_some(),
            "this test needs the lab: run tests/lab/run (as root)"
        );
        let dir = std::env::var_os("LAB_DIR").map(PathBuf::from).unwrap_or_default();
        let lab = Self { dir };
        lab.script(&["clear"]);
        lab
    }

    /// Boots a machine as the `hosts` provider finds it; whoever has the private half of the
    /// key may log in as `ubuntu` (password-less sudo) and as root.
    #[must_use]
    pub fn guest(&self, name: &str, public_key: &Path) -> IpAddr {
        let address = self.script(&["guest", name, &public_key.to_string_lossy()]);
        address.trim().parse().unwrap_or_else(|e| panic!("{address:?} is no address: {e}"))
    }

    /// Runs the lab's script, which must succeed, and returns what it said.
    ///
    /// # Panics
    /// When it fails.
    pub fn script(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab").join("lab");
        let output = run(Command::new(script).args(arguments));
        assert!(
            output.status.success(),
            "lab {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the played Multipass fail, in the words of `tests/lab/bin/multipass`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn faults(&self, faults: &serde_json::Value) {
        let file = self.dir.join("faults.json");
        std::fs::write(&file, faults.to_string())
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// Every call of `multipass` since the lab was entered, as one line of words each.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.join("calls.log")).unwrap_or_default();
        let words =
            |line: &str| serde_json::from_str::<Vec<String>>(line).unwrap_or_default().join(" ");
        log.lines().map(words).collect()
    }

    /// Names of the guests there are, alive or not.
    #[must_use]
    pub fn guests(&self) -> Vec<String> {
        let list = self.script(&["list"]);
        let mut names: Vec<String> =
            list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}
