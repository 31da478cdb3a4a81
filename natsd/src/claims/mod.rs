//! What follows from account JWTs for live accounts: they are fetched, applied, and ended.
//!
//! The [`Clerk`] fetches what clients wait for from the `resolver`, or from other servers by way
//! of the system account, and makes accounts of it. New claims change an account in use: limits,
//! imports, exports; clients that may not stay are cut off. Nobody's message waits for this room:
//! connections hand errands in (`errand`), and the disk is read on threads that serve nobody.

mod callout;
mod cut;
mod fetch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::account::{Account, Applied};
use crate::config::Operators;
use crate::errand::Errand;
use crate::net::with_publisher;
use crate::node::Node;
use crate::resolver::Resolver;
use crate::trust::{AccountError, Claims};

/// How often it is looked whether something has expired.
const TICK: Duration = Duration::from_secs(1);
/// How often a directory is searched for what has expired.
const TICKS_PER_SEARCH: u32 = 30;

/// Told of every account that can be used from now on.
pub type OnAccount = Box<dyn Fn(&Arc<Account>) + Send + Sync>;

/// Keeps accounts as their JWTs say.
pub struct Clerk {
    node: Arc<Node>,
    resolver: Option<Resolver>,
    on_account: OnAccount,
    /// Whoever changes accounts holds it.
    changing: Mutex<()>,
    /// Accounts that others import from and that could not be had.
    missing: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl Clerk {
    /// Makes a clerk; without operators it has only services to ask.
    #[must_use]
    pub fn new(node: Arc<Node>, resolver: Option<Resolver>, on_account: OnAccount) -> Arc<Self> {
        Arc::new(Self {
            node,
            resolver,
            on_account,
            changing: Mutex::default(),
            missing: Mutex::default(),
        })
    }

    /// Where JWTs come from.
    #[must_use]
    pub const fn resolver(&self) -> Option<&Resolver> {
        self.resolver.as_ref()
    }

    /// Has the system account before there are clients, if it can be had at once; else lets its
    /// own users in for the time being, since they may be the ones to bring its JWT.
    ///
    /// # Errors
    /// When it must be there, and is not.
    pub fn bootstrap(self: &Arc<Self>) -> Result<bool, String> {
        let (Some(resolver), Some(trust)) = (&self.resolver, &self.node.trust) else {
            return Ok(true);
        };
        let Some(key) = self.node.config().system_account.clone() else { return Ok(true) };
        let held = match resolver {
            Resolver::Memory(held) => held.lock().get(&key).cloned(),
            Resolver::Url(_) => None,
            Resolver::Directory(directory) => directory.store.load(&key, now()).ok().flatten(),
        };
        match held.map(|jwt| self.verified(&jwt)) {
            Some(Ok(claims)) => {
                self.complete(&self.apply(claims));
                return Ok(true);
            }
            Some(Err(error)) if matches!(resolver, Resolver::Memory(_)) => {
                return Err(format!("can't set system account: {error}"));
            }
            None if matches!(resolver, Resolver::Memory(_)) => {
                return Err("can't set system account: account missing".into());
            }
            _ => {}
        }
        if let Some(claims) = trust.provisional(&key) {
            tracing::info!("Using bootstrapping system account");
            self.apply(claims);
        }
        Ok(false)
    }

    /// Looks for the JWT of the system account until it is there.
    pub async fn complete_system_account(self: Arc<Self>) {
        let Some(key) = self.node.config().system_account.clone() else { return };
        loop {
            tokio::time::sleep(TICK).await;
            let provisional = self.node.accounts.system.claims().is_none_or(|c| c.jwt.is_empty());
            if !provisional {
                return;
            }
            if let Ok(jwt) = self.look_up(&key).await
                && self.update(&jwt).is_ok()
            {
                tracing::info!("System account fetched and updated");
                return;
            }
        }
    }

    /// Runs errands until it is aborted.
    pub async fn run(self: Arc<Self>, mut errands: mpsc::Receiver<Errand>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ticks: u32 = 0;
        loop {
            tokio::select! {
                Some(errand) = errands.recv() => Arc::clone(&self).start(errand),
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.end_what_expired();
                    if ticks.is_multiple_of(TICKS_PER_SEARCH) {
                        self.search_directory().await;
                    }
                }
            }
        }
    }

    fn start(self: Arc<Self>, errand: Errand) {
        match errand {
            Errand::Fetch { account, done } => {
                tokio::spawn(async move {
                    if let Err(error) = self.fetch(&account).await {
                        tracing::debug!("Account JWT lookup error: {error}");
                    }
                    if done.send(()).is_err() {
                        tracing::debug!("Nobody waits for account {account} any more");
                    }
                });
            }
            Errand::Decide { question, ruling } => {
                tokio::spawn(async move {
                    let ruled = self.decide(&question).await;
                    drop(ruling.send(ruled));
                });
            }
        }
    }

    /// Takes in the claims of an account that is known here.
    ///
    /// # Errors
    /// When they are not valid.
    pub fn update(self: &Arc<Self>, jwt: &str) -> Result<(), AccountError> {
        let claims = self.verified(jwt)?;
        let account = self.node.accounts.find(claims.standard.subject.as_bytes());
        let same = account.as_ref().and_then(|account| account.claims()).is_some_and(|held| {
            held.jwt == claims.jwt && account.as_ref().is_some_and(|account| account.is_complete())
        });
        if account.is_some() && !same {
            self.complete(&self.apply(claims));
        }
        Ok(())
    }

    /// Has accounts fetched that an account imports from; when they come, they are connected.
    fn complete(self: &Arc<Self>, account: &Arc<Account>) {
        let Some(claims) = account.claims().filter(|_| !account.is_complete()) else { return };
        let clerk = Arc::clone(self);
        tokio::spawn(async move { clerk.fetch_exporters(&claims).await });
    }

    /// From now on accounts come from where another configuration says. Those in memory are what
    /// it says of them at once; those of which it says nothing are no more.
    ///
    /// # Errors
    /// When that cannot be; then nothing has changed.
    pub fn reconfigure(self: &Arc<Self>, old: &Operators, new: &Operators) -> Result<(), String> {
        let Some(resolver) = &self.resolver else { return Ok(()) };
        resolver.reconfigure(old, new, now())?;
        let Resolver::Memory(held) = resolver else { return Ok(()) };
        for account in self.node.accounts.all() {
            let name = &*account.name;
            if account.claims().is_none() || Arc::ptr_eq(&account, &self.node.accounts.system) {
                continue;
            }
            let jwt = held.lock().get(name).cloned();
            let why = match jwt.map(|jwt| self.update(&jwt)) {
                Some(Ok(())) => continue,
                Some(Err(_)) => "bad claims",
                None => "removed",
            };
            tracing::info!("Reloaded: deleting account [{why}]: {name:?}");
            self.withdraw(&account);
            cut::refuse_all(&self.node, &account);
        }
        Ok(())
    }

    /// Nothing is to be had of an account any more.
    pub fn remove(&self, key: &str) {
        let Some(account) = self.node.accounts.find(key.as_bytes()) else { return };
        tracing::debug!("Disable account {key} due to remove");
        self.withdraw(&account);
        cut::expire_all(&self.node, &account);
    }

    fn withdraw(&self, account: &Arc<Account>) {
        let _one = self.changing.lock();
        with_publisher(|publisher| self.node.accounts.withdraw(account, publisher));
    }

    fn verified(&self, jwt: &str) -> Result<Claims, AccountError> {
        let trust = self.node.trust.as_ref().ok_or(AccountError::Validation)?;
        trust.account(jwt, now())
    }

    /// From now on an account is what its claims say, for those who use it, too.
    fn apply(&self, claims: Claims) -> Arc<Account> {
        let claims = Arc::new(claims);
        tracing::debug!("Updating account claims: {}", claims.label());
        let _one = self.changing.lock();
        let Applied { account, earlier, is_new, faults } = with_publisher(|publisher| {
            let applied = self.node.accounts.apply(Arc::clone(&claims));
            self.node.accounts.relink(&applied.account, now(), publisher);
            applied
        });
        for (source, why) in faults {
            tracing::error!(
                "Error adding subject mapping {source:?} for account [{}]: {why}",
                claims.label()
            );
        }
        for (subject, why) in account.missing_imports() {
            tracing::debug!(
                "Error adding import of {subject:?} to account [{}]: {why}",
                claims.label()
            );
        }
        if is_new {
            (self.on_account)(&account);
        }
        cut::judge_anew(&self.node, &account, &claims, earlier.as_deref());
        account
    }

    /// Ends the connections of accounts whose time is up, and imports whose leave is.
    fn end_what_expired(&self) {
        if self.resolver.is_none() {
            return;
        }
        let now = now();
        for account in self.node.accounts.all() {
            if account.claims().is_some_and(|claims| claims.is_expired(now)) {
                cut::expire_all(&self.node, &account);
            }
        }
        for account in self.node.accounts.with_ended_leave(now) {
            let _one = self.changing.lock();
            with_publisher(|publisher| self.node.accounts.relink(&account, now, publisher));
        }
    }

    /// Removes what has expired from a directory.
    async fn search_directory(self: &Arc<Self>) {
        if self.resolver.as_ref().is_some_and(|resolver| resolver.directory().is_some()) {
            let clerk = Arc::clone(self);
            let search = spawn_blocking(move || {
                if let Some(directory) = clerk.resolver().and_then(Resolver::directory) {
                    directory.store.expire(now());
                }
            });
            drop(search.await);
        }
    }
}

/// Now, as tokens count.
#[must_use]
pub fn now() -> i64 {
    Timestamp::now().as_second()
}
