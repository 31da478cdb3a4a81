//! All accounts of this server, by name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::{AccountLimits, Config};

use super::imports;
use super::{
    Account, Announcement, ClusterOf, GLOBAL_ACCOUNT, Link, Mappings, SYSTEM_ACCOUNT, Touch,
    Unheard,
};

/// All accounts of this server, by name.
#[derive(Debug)]
pub struct Accounts {
    /// The account of clients that name none.
    pub global: Arc<Account>,
    /// The account of servers.
    pub system: Arc<Account>,
    /// Name of this server's cluster, for mappings.
    pub(super) cluster: ClusterOf,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: HashMap<Arc<str>, Arc<Account>>,
    /// All routes; a new account joins those that carry it.
    links: Vec<Arc<Link>>,
}

impl Inner {
    fn carried_by(&self, link: &Link) -> Vec<Arc<Account>> {
        let accounts = self.by_name.values();
        accounts.filter(|account| link.scope.carries(&account.name)).cloned().collect()
    }
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
        imports::connect(&by_name, &[], &config.accounts, &mut Unheard);
        let cluster = ClusterOf::default();
        cluster.store(config.cluster_name.clone().unwrap_or_default().into());
        let inner = RwLock::new(Inner { by_name, links: Vec::new() });
        let accounts = Self { global, system, cluster, inner };
        accounts.map(config);
        accounts
    }

    /// Makes accounts what another configuration says (reload); returns those that are new. Those
    /// that it names no more go: whoever is in them is sent away by the caller. Accounts that a
    /// JWT describes are no business of it.
    pub fn reconfigure(
        &self,
        old: &Config,
        new: &Config,
        touched: &mut dyn Touch,
    ) -> Vec<Arc<Account>> {
        let mut added = Vec::new();
        let mut inner = self.inner.write();
        for source in &new.accounts {
            if let Some(held) = inner.by_name.get(source.name.as_str()) {
                held.set_limits(source.limits);
                continue;
            }
            let account = Arc::new(Account::configured(source));
            for link in inner.links.iter().filter(|link| link.scope.carries(&account.name)) {
                account.add_link(link);
            }
            inner.by_name.insert(Arc::clone(&account.name), Arc::clone(&account));
            added.push(account);
        }
        let names = |config: &Config, account: &Account| {
            config.accounts.iter().any(|source| *source.name == *account.name)
        };
        let loses_name = |account: &Account| names(old, account) && !names(new, account);
        let stays = |account: &Arc<Account>| {
            Arc::ptr_eq(account, &self.global)
                || Arc::ptr_eq(account, &self.system)
                || !loses_name(account)
        };
        let gone: Vec<Arc<Account>> =
            inner.by_name.values().filter(|account| !stays(account)).cloned().collect();
        inner.by_name.retain(|_, account| stays(account));
        let by_name = inner.by_name.clone();
        drop(inner);
        gone.iter().for_each(|account| account.remove(touched));
        imports::connect(&by_name, &old.accounts, &new.accounts, touched);
        // An account that is configured no more, but always there, takes nothing.
        for account in [&self.global, &self.system] {
            if loses_name(account) {
                account.set_imports(None, touched);
                account.set_limits(AccountLimits::default());
            }
        }
        self.map(new);
        added
    }

    /// Sets what is configured to go elsewhere, and where traces go. Mappings of the top level are
    /// those of the account of clients that name none.
    pub fn map(&self, config: &Config) {
        for account in self.all().into_iter().filter(|account| !account.was_claimed()) {
            let own = config.accounts.iter().filter(|source| *source.name == *account.name);
            let mut list: Vec<_> = own.flat_map(|source| source.mappings.clone()).collect();
            if Arc::ptr_eq(&account, &self.global) {
                list.extend(config.mappings.iter().cloned());
            }
            account.set_mappings(Mappings::new(&list, &self.cluster));
            let own = config.accounts.iter().find(|source| *source.name == *account.name);
            account.set_trace(own.and_then(|source| source.trace.clone()));
        }
    }

    /// This server's cluster has another name.
    pub fn set_cluster(&self, name: &str) {
        self.cluster.store(Arc::new(name.to_owned()));
    }

    /// The account of a name as it stands on the wire.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<Account>> {
        let name = std::str::from_utf8(name).ok()?;
        self.inner.read().by_name.get(name).cloned()
    }

    /// The account of a name, which is made if it is not there; nobody can use it before
    /// something is known of it.
    pub fn known_or_new(&self, name: &str) -> Arc<Account> {
        if let Some(account) = self.find(name.as_bytes()) {
            return account;
        }
        let mut inner = self.inner.write();
        if let Some(account) = inner.by_name.get(name) {
            return Arc::clone(account);
        }
        let account = Arc::new(Account::new(name));
        for link in inner.links.iter().filter(|link| link.scope.carries(name)) {
            account.add_link(link);
        }
        inner.by_name.insert(Arc::clone(&account.name), Arc::clone(&account));
        account
    }

    /// All accounts, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.inner.read().by_name.values().cloned().collect()
    }

    /// Tells a new route every change of local interest in all accounts from now on; what there
    /// is already is left to the caller.
    pub fn add_link(&self, link: &Arc<Link>) -> Announcement {
        let mut inner = self.inner.write();
        inner.links.push(Arc::clone(link));
        let carried = inner.carried_by(link);
        drop(inner);
        carried.iter().for_each(|account| account.add_link(link));
        let terms = Arc::clone(link);
        let change = move |pattern: &[u8]| terms.may_announce(pattern).then_some(true);
        Announcement::new(link, carried, change)
    }

    /// Begins to tell a route anew of local interest: `change` says of each pattern whether it is
    /// to be announced (true), taken back (false), or left as it is. Matches are taken anew.
    pub fn announce_anew(
        &self,
        link: &Arc<Link>,
        change: impl Fn(&[u8]) -> Option<bool> + Send + 'static,
    ) -> Announcement {
        let carried = self.inner.read().carried_by(link);
        carried.iter().for_each(|account| account.renew());
        Announcement::new(link, carried, change)
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
