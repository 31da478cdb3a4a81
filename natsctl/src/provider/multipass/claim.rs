//! What we keep about a machine we made: its planted host key and where it last was.
//!
//! The claim is written before the launch of a name that nobody had, and it is the only licence
//! to power or remove an instance of that name. The address is a cache: `list` of a running
//! machine must not ask the daemon (which would ask the guest) when the guest still answers
//! where it was.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use russh::keys::PrivateKey;
use serde::{Deserialize, Serialize};

use crate::remote::keys::{self, KeyError};

/// The folder of one node's claim.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    folder: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Notes {
    instance: String,
    address: Option<IpAddr>,
}

impl Claim {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Every claim below a folder, with the node it is for.
    pub(super) fn all(nodes: &Path) -> Vec<(String, Self)> {
        let entries = fs::read_dir(nodes).into_iter().flatten().filter_map(Result::ok);
        let named = entries.filter_map(|entry| {
            let claim = Self::new(entry.path());
            Some((entry.file_name().into_string().ok()?, claim))
        });
        named.filter(|(_, claim)| claim.exists()).collect()
    }

    fn notes_file(&self) -> PathBuf {
        self.folder.join("multipass.json")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("host_ed25519")
    }

    pub(super) fn exists(&self) -> bool {
        self.notes_file().is_file() && self.key_file().is_file()
    }

    /// The host key planted on the machine, made when there is none yet.
    pub(super) fn host_key(&self, instance: &str) -> Result<PrivateKey, KeyError> {
        keys::load_or_make(&self.key_file(), instance)
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        let text = fs::read_to_string(self.notes_file()).ok()?;
        serde_json::from_str::<Notes>(&text).ok()?.address
    }

    /// Claims the instance, or remembers its new address.
    pub(super) fn note(&self, instance: &str, address: Option<IpAddr>) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let notes = Notes { instance: instance.to_owned(), address };
        let fresh = self.folder.join(format!("multipass.json.{:08x}", rand::random::<u32>()));
        fs::write(&fresh, serde_json::to_vec_pretty(&notes)?)?;
        fs::rename(&fresh, self.notes_file())
    }

    /// Gives the claim up. The folder goes too when nobody else keeps anything there.
    pub(super) fn drop_it(&self) {
        for file in [self.notes_file(), self.key_file(), self.key_file().with_extension("pub")] {
            // Not there is as good.
            drop(fs::remove_file(file));
        }
        drop(fs::remove_dir(&self.folder));
    }
}
