//! Makes `/accountz` and `/accstatz`.

mod offers;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::options::AccountStatzOptions;
use super::query::BadRequest;
use super::subsz::stats_of;
use super::varz::{received, sent};
use super::view::{
    AccountInfo, AccountStat, AccountStatz, Accountz, DataStats, Import, MappedTo,
    Traffic as Portion,
};
use super::{Monitor, now, text};
use crate::account::{Account, Destination};
use crate::config;
use crate::jwt::{Standard, payload};
use crate::registry::Traffic;
use crate::trust::Claims;

impl Monitor {
    /// All accounts by name, or one of them.
    ///
    /// # Errors
    /// When there is no account of that name.
    pub fn accountz(&self, name: &str) -> Result<Accountz, BadRequest> {
        let base = Accountz {
            server_id: self.server_id(),
            now: now(),
            system_account: self.system_account_name(),
            ..Accountz::default()
        };
        if !name.is_empty() {
            let detail = self.account_info(name)?;
            return Ok(Accountz { account_detail: Some(detail), ..base });
        }
        let accounts = self.accounts().iter().map(|held| held.name.to_string()).collect();
        Ok(Accountz { accounts, ..base })
    }

    /// One account.
    ///
    /// # Errors
    /// When there is no account of that name.
    pub fn account_info(&self, name: &str) -> Result<AccountInfo, BadRequest> {
        let missing = || BadRequest(format!("Account {name} does not exist"));
        let account = self.node.accounts.find(name.as_bytes()).ok_or_else(missing)?;
        let configured = account.claimed().or_else(|| self.configured_account(name));
        let is_system = *account.name == *self.system_account_name();
        let claims = account.claims();
        let standard = claims.as_ref().map(|claims| &claims.standard);
        let said = |part: fn(&Standard) -> &String| standard.map(part).cloned().unwrap_or_default();
        Ok(AccountInfo {
            account_name: account.name.to_string(),
            update_time: account.updated().unwrap_or_else(|| self.node.config_loaded()),
            is_system,
            expired: self.node.trust.is_some()
                && claims.as_ref().is_none_or(|claims| claims.is_expired(now().as_second())),
            complete: account.is_complete(),
            jwt: claims.as_ref().map(|claims| claims.jwt.to_string()).unwrap_or_default(),
            issuer_key: said(|standard| &standard.issuer),
            tags: claims.as_ref().map(|claims| claims.account.tags.clone()).unwrap_or_default(),
            decoded_jwt: claims.as_ref().and_then(|claims| payload(&claims.jwt)),
            revoked_user: claims.as_ref().map(|claims| revoked(claims)).unwrap_or_default(),
            client_connections: self.clients_of(&account),
            subscriptions: account.subscriptions(),
            mappings: mappings_of(&account),
            exports: offers::exports(configured.as_ref(), is_system),
            imports: offers::imports(configured.as_ref(), self.system_imports(&account)),
            name_tag: account.name_tag(),
            sublist_stats: Some(stats_of(&account)),
            ..AccountInfo::default()
        })
    }

    /// An account as it is configured.
    fn configured_account(&self, name: &str) -> Option<config::Account> {
        self.node.config().accounts.iter().find(|account| account.name == name).cloned()
    }

    /// What every account has of the system account, if there is one.
    fn system_imports(&self, account: &Account) -> Vec<Import> {
        let system = self.system_account_name();
        if system.is_empty() { Vec::new() } else { offers::of_system(&account.name, &system) }
    }

    /// What each account did.
    #[must_use]
    pub fn accstatz(&self, options: &AccountStatzOptions) -> AccountStatz {
        let asked = |name: &str| {
            options.accounts.is_empty() || options.accounts.iter().any(|asked| asked == name)
        };
        let account_statz = self
            .accounts()
            .iter()
            .filter(|account| asked(&account.name))
            .map(|account| self.account_stat(account))
            .filter(|stat| options.include_unused || stat.conns > 0)
            .collect();
        AccountStatz { server_id: self.server_id(), now: now(), account_statz }
    }

    /// What one account did, with its clients and with peers.
    #[must_use]
    pub fn account_stat(&self, account: &Arc<Account>) -> AccountStat {
        let gone = self.node.registry.gone(&account.name);
        let mut traffic: Traffic = gone.traffic;
        let mut conns = 0;
        for client in self.node.registry.clients() {
            if client.account_name() == account.name {
                conns += 1;
                traffic.add(&client.traffic());
            }
        }
        let routed = account.routed.read();
        let by_kind = |all: DataStats, routes: Portion| DataStats {
            msgs: all.msgs + routes.msgs,
            bytes: all.bytes + routes.bytes,
            gateways: Some(Portion::default()),
            routes: Some(routes),
            leafs: Some(Portion::default()),
        };
        let to_peers = Portion { msgs: routed.out_messages, bytes: routed.out_bytes };
        let of_peers = Portion { msgs: routed.in_messages, bytes: routed.in_bytes };
        AccountStat {
            acc: account.name.to_string(),
            name: account.name_tag(),
            conns,
            leafnodes: 0,
            total_conns: conns,
            num_subscriptions: account.subscriptions(),
            sent: by_kind(sent(traffic), to_peers),
            received: by_kind(received(traffic), of_peers),
            slow_consumers: gone.slow_consumers,
        }
    }

    /// Accounts with clients; in that of the system the server itself is one.
    pub(super) fn active_accounts(&self) -> usize {
        let system = &self.node.accounts.system;
        let used =
            |account: &&Arc<Account>| self.clients_of(account) > 0 || Arc::ptr_eq(account, system);
        self.accounts().iter().filter(used).count()
    }

    /// Name of the system account, empty if there is none.
    pub(super) fn system_account_name(&self) -> String {
        if self.node.config().no_system_account {
            return String::new();
        }
        self.node.accounts.system.name.to_string()
    }

    fn clients_of(&self, account: &Account) -> usize {
        account.clients.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// All accounts, by name; that of the system is there without a use if there should be none.
    fn accounts(&self) -> Vec<Arc<Account>> {
        let mut accounts = self.node.accounts.all();
        if self.node.config().no_system_account {
            let configured = self.configured_account(&self.node.accounts.system.name).is_some();
            accounts
                .retain(|account| configured || !Arc::ptr_eq(account, &self.node.accounts.system));
        }
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        accounts
    }
}

/// Revoked users and since when.
fn revoked(claims: &Claims) -> BTreeMap<String, Timestamp> {
    let time = |(key, at): (&String, &i64)| Some((key.clone(), Timestamp::from_second(*at).ok()?));
    claims.account.revocations.iter().filter_map(time).collect()
}

fn mappings_of(account: &Account) -> BTreeMap<String, Vec<MappedTo>> {
    let Some(mappings) = account.mappings() else { return BTreeMap::new() };
    let shown = mappings.list().iter().map(|mapping| {
        let show = |held: &Destination, cluster: &str| MappedTo {
            subject: held.subject.to_string(),
            weight: held.below,
            cluster: cluster.to_owned(),
        };
        let everywhere = mapping.everywhere.iter().map(|held| show(held, ""));
        let by_cluster = mapping
            .by_cluster
            .iter()
            .flat_map(|(cluster, list)| list.iter().map(|held| show(held, cluster)));
        (text(&mapping.source), everywhere.chain(by_cluster).collect())
    });
    shown.collect()
}
