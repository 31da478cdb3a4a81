//! Where account JWTs come from: the configuration, a web server, a directory.
//!
//! Nothing here knows a live account, and nothing here is asked by a thread that serves clients:
//! `store.rs` works on the disk, `web.rs` waits for the network. Who calls is `claims`.

mod store;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::config::{self, Operators};
use crate::jwt::{Account, Token, UnixSeconds};

pub use store::{Deletion, Settings, Store, StoreError};
pub use web::Web;

/// How long an account may take to be found (nats-server 2.15).
pub const TIMEOUT: Duration = Duration::from_millis(1900);
/// How often full directories are compared with those of other servers.
const INTERVAL: Duration = Duration::from_secs(60);
/// JWTs that a cache holds.
const CACHE_MAX: u64 = 1000;

/// Where account JWTs come from.
#[derive(Debug)]
pub enum Resolver {
    /// What the configuration says, and what was told since.
    Memory(Mutex<BTreeMap<String, String>>),
    /// A web server.
    Url(ArcSwap<Web>),
    /// A directory.
    Directory(Directory),
}

/// A directory of JWTs.
#[derive(Debug)]
pub struct Directory {
    /// What is in it.
    pub store: Store,
    /// It has them all, in step with other servers; else it has those that are used here.
    pub is_full: bool,
    /// How often it is compared with others.
    pub interval: Duration,
    /// How long others may take to answer.
    pub timeout: Duration,
}

impl Resolver {
    /// Opens what is configured, and puts in what the configuration holds.
    ///
    /// # Errors
    /// When the directory cannot be used, or nothing can be put in.
    pub fn open(operators: &Operators, now: i64) -> Result<Option<Self>, String> {
        let Some(source) = &operators.resolver else { return Ok(None) };
        let settings = |dir: &std::path::Path| Settings {
            dir: dir.to_owned(),
            deletion: Deletion::None,
            limit: None,
            evicts: false,
            ttl: None,
        };
        let opened = match source {
            config::Resolver::Memory => Self::Memory(Mutex::default()),
            config::Resolver::Url(url) => {
                let web = Web::new(url, operators.resolver_tls.as_ref())?;
                Self::Url(ArcSwap::from_pointee(web))
            }
            config::Resolver::Full { dir, allow_delete, hard_delete, interval, limit, timeout } => {
                let deletion = match (allow_delete, hard_delete) {
                    (false, _) => Deletion::None,
                    (true, false) => Deletion::Rename,
                    (true, true) => Deletion::Remove,
                };
                let limit = limit.filter(|limit| *limit > 0);
                let settings = Settings { deletion, limit, ..settings(dir) };
                Self::Directory(Directory {
                    store: Store::open(settings, now).map_err(|error| error.to_string())?,
                    is_full: true,
                    interval: interval.unwrap_or(INTERVAL),
                    timeout: timeout.unwrap_or(TIMEOUT),
                })
            }
            config::Resolver::Cache { dir, limit, ttl, timeout } => {
                let settings = Settings {
                    deletion: Deletion::Remove,
                    limit: Some(limit.filter(|limit| *limit > 0).unwrap_or(CACHE_MAX)),
                    evicts: true,
                    ttl: *ttl,
                    ..settings(dir)
                };
                Self::Directory(Directory {
                    store: Store::open(settings, now).map_err(|error| error.to_string())?,
                    is_full: false,
                    interval: INTERVAL,
                    timeout: timeout.unwrap_or(TIMEOUT),
                })
            }
        };
        opened.preload(&operators.preload, now)?;
        Ok(Some(opened))
    }

    /// Whether a web server that is to have the accounts answers at all: a server does not start
    /// without (nats-server).
    ///
    /// # Errors
    /// Says which and why.
    pub async fn probe(operators: &Operators) -> Result<(), String> {
        let Some(config::Resolver::Url(url)) = &operators.resolver else { return Ok(()) };
        Web::new(url, operators.resolver_tls.as_ref())?.get("", TIMEOUT).await.map(drop)
    }

    /// From now on accounts come from where another configuration says.
    ///
    /// # Errors
    /// When that cannot be without a restart, or at all; then nothing has changed.
    pub fn reconfigure(
        &self,
        old: &Operators,
        new: &Operators,
        now: UnixSeconds,
    ) -> Result<(), String> {
        match (self, &new.resolver) {
            (Self::Url(web), Some(config::Resolver::Url(url))) => {
                if !new.preload.is_empty() {
                    return self.preload(&new.preload, now);
                }
                let changed = Web::new(url, new.resolver_tls.as_ref())?;
                web.store(Arc::new(changed));
                Ok(())
            }
            (Self::Memory(held), Some(config::Resolver::Memory)) => {
                let fresh = Self::Memory(Mutex::default());
                fresh.preload(&new.preload, now)?;
                held.lock().clone_from(&new.preload);
                Ok(())
            }
            (Self::Directory(_), _) if old.resolver == new.resolver => {
                self.preload(&new.preload, now)
            }
            _ => {
                Err("config reload not supported for resolver by natsd yet: restart the server"
                    .into())
            }
        }
    }

    fn preload(&self, jwts: &BTreeMap<String, String>, now: i64) -> Result<(), String> {
        for (key, jwt) in jwts {
            Token::<Account>::decode(jwt)
                .map_err(|error| format!("preload account error for {key:?}: {error}"))?;
            match self {
                Self::Memory(held) => {
                    held.lock().insert(key.clone(), jwt.clone());
                }
                Self::Url(_) => {
                    return Err("resolver preloads only available for writeable resolver types \
                                MEM/DIR/CACHE_DIR"
                        .into());
                }
                Self::Directory(directory) => {
                    if let Err(error) = directory.store.save_if_newer(key, jwt, now) {
                        tracing::error!("Could not store preloaded account {key}: {error}");
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory, if it is one.
    #[must_use]
    pub const fn directory(&self) -> Option<&Directory> {
        match self {
            Self::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}
