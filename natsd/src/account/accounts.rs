//! All accounts of this server, by name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Config;

use super::imports;
use super::{Account, GLOBAL_ACCOUNT, Link, SYSTEM_ACCOUNT, Touch};

/// All accounts of this server, by name.
#[derive(Debug)]
pub struct Accounts {
    /// The account of clients that name none.
    pub global: Arc<Account>,
    /// The account of servers.
    pub system: Arc<Account>,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: HashMap<Arc<str>, Arc<Account>>,
    /// All routes; a new account joins those that carry it.
    links: Vec<Arc<Link>>,
}

impl Accounts {
    /// Makes the two accounts that every server has.
    #[must_use]
    pub fn new() -> Self {
        Self::configured(&Config::default())
    }

    /// Makes the two accounts that every server has, and the configured ones.
    #[must_use]
    pub fn configured(config: &Config) -> Self {
        let system = config.system_account.as_deref().unwrap_or(SYSTEM_ACCOUNT);
        let mut by_name: HashMap<Arc<str>, Arc<Account>> = HashMap::new();
        for source in &config.accounts {
            let account = Arc::new(Account::configured(source));
            by_name.insert(Arc::clone(&account.name), account);
        }
        let mut one = |name: &str| {
            let account = by_name.entry(name.into()).or_insert_with(|| Account::new(name).into());
            Arc::clone(account)
        };
        let (global, system) = (one(GLOBAL_ACCOUNT), one(system));
        imports::connect(&by_name, &config.accounts);
        Self { global, system, inner: RwLock::new(Inner { by_name, links: Vec::new() }) }
    }

    /// The account of a name as it stands on the wire.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<Account>> {
        let name = std::str::from_utf8(name).ok()?;
        self.inner.read().by_name.get(name).cloned()
    }

    /// The account of a name, which is made if it is not there; nobody can use it before
    /// something is known of it.
    pub fn known_or_new(&self, name: &str, touched: &mut dyn Touch) -> Arc<Account> {
        if let Some(account) = self.find(name.as_bytes()) {
            return account;
        }
        let mut inner = self.inner.write();
        if let Some(account) = inner.by_name.get(name) {
            return Arc::clone(account);
        }
        let account = Arc::new(Account::new(name));
        for link in inner.links.iter().filter(|link| link.scope.carries(name)) {
            account.add_link(link, touched);
        }
        inner.by_name.insert(Arc::clone(&account.name), Arc::clone(&account));
        account
    }

    /// All accounts, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.inner.read().by_name.values().cloned().collect()
    }

    /// Tells a new route all local interest of all accounts, and every change from now on.
    pub fn add_link(&self, link: &Arc<Link>, touched: &mut dyn Touch) {
        let mut inner = self.inner.write();
        inner.links.push(Arc::clone(link));
        let carried = |account: &&Arc<Account>| link.scope.carries(&account.name);
        for account in inner.by_name.values().filter(carried) {
            account.add_link(link, touched);
        }
    }

    /// No longer tells this route anything.
    pub fn remove_link(&self, link: &Arc<Link>) {
        let mut inner = self.inner.write();
        inner.links.retain(|held| !Arc::ptr_eq(held, link));
        for account in inner.by_name.values() {
            account.remove_link(link);
        }
    }

    /// Subscriptions in all accounts, those of peers included.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.inner.read().by_name.values().map(|account| account.subscriptions()).sum()
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new()
    }
}
