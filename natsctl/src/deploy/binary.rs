//! The server's binary: which file, for which architecture, with which hash.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A binary that may be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The file here.
    pub path: PathBuf,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Why there is no binary.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// None is bundled for this architecture.
    #[error("no bundled natsd for {arch}; looked at {}", looked_at(.looked))]
    NotBundled {
        /// Architecture of the machine.
        arch: String,
        /// Where it could have been.
        looked: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a program for other machines.
    #[error("{} is built for {built_for}, the machine is {arch}", path.display())]
    WrongArchitecture {
        /// Which.
        path: PathBuf,
        /// What it is for.
        built_for: String,
        /// What the machine is.
        arch: String,
    },
}

fn looked_at(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Binary {
    /// Finds the binary for an architecture (as `uname -m` says it): the given file, else
    /// `$NATSCTL_NATSD`, else `natsd-<arch>` or `natsd` beside this program.
    ///
    /// # Errors
    /// When there is none, or it is for other machines.
    pub fn find(given: Option<&Path>, arch: &str) -> Result<Self, BinaryError> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => bundled(arch)?,
        };
        fits(&path, arch)?;
        Self::measure(&path)
    }

    fn measure(path: &Path) -> Result<Self, BinaryError> {
        let failed = |source| BinaryError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 17];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut block).map_err(failed)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(block.get(..read).unwrap_or_default());
        }
        Ok(Self { path: path.to_owned(), sha256: hex(&hash.finalize()), bytes })
    }
}

/// The bundled natsd, for `natsctl version` too.
///
/// # Errors
/// Where it could have been.
pub fn bundled(arch: &str) -> Result<PathBuf, BinaryError> {
    if let Some(path) = std::env::var_os("NATSCTL_NATSD").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    let folder = program.ok().and_then(|program| program.parent().map(Path::to_owned));
    let folder = folder.unwrap_or_default();
    let looked = vec![folder.join(format!("natsd-{}", canonical(arch))), folder.join("natsd")];
    match looked.iter().find(|path| path.is_file() && fits(path, arch).is_ok()) {
        Some(path) => Ok(path.clone()),
        None => Err(BinaryError::NotBundled { arch: arch.to_owned(), looked }),
    }
}

/// One name per architecture.
fn canonical(arch: &str) -> &str {
    match arch {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        "armv7l" | "armv6l" => "arm",
        other => other,
    }
}

/// Refuses an ELF file of another architecture. What is no ELF file is left to the machine.
fn fits(path: &Path, arch: &str) -> Result<(), BinaryError> {
    let mut head = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    let read = read.map_err(|source| BinaryError::Read { path: path.to_owned(), source })?;
    let [0x7f, b'E', b'L', b'F', .., low, high] = head else { return Ok(()) };
    if read < head.len() {
        return Ok(());
    }
    // e_machine, as the ELF specification numbers them.
    let built_for = match u16::from_le_bytes([low, high]) {
        0x3e => "x86_64".to_owned(),
        0xb7 => "aarch64".to_owned(),
        0x28 => "arm".to_owned(),
        0xf3 => "riscv64".to_owned(),
        0x03 => "i686".to_owned(),
        other => format!("ELF machine {other}"),
    };
    if built_for == canonical(arch) {
        return Ok(());
    }
    Err(BinaryError::WrongArchitecture { path: path.to_owned(), built_for, arch: arch.to_owned() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        bytes.extend(machine.to_le_bytes());
        bytes
    }

    #[test]
    fn a_binary_for_other_machines_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("natsd");
        std::fs::write(&path, elf(0xb7)).unwrap();
        assert!(Binary::find(Some(&path), "arm64").is_ok());
        let error = Binary::find(Some(&path), "x86_64").unwrap_err().to_string();
        assert!(error.ends_with("is built for aarch64, the machine is x86_64"), "{error}");
    }

    #[test]
    fn the_hash_is_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("natsd");
        std::fs::write(&path, b"abc").unwrap();
        let binary = Binary::find(Some(&path), "x86_64").unwrap();
        assert_eq!(binary.bytes, 3);
        assert!(binary.sha256.starts_with("ba7816bf8f01cfea"));
    }
}
