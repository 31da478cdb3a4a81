//! Several connections to one peer: which there have to be, and keeping them complete.
//!
//! Whoever dialed a peer first opens the other connections too and opens them anew when they
//! are lost, as long as the peer is a member at all.

use std::sync::Arc;

use tokio::time::sleep;

use super::dial::Pauses;
use super::{Dialed, Mesh, Purpose, Role};
use crate::account::{Link, Scope};
use crate::protocol::error;
use crate::protocol::info::Info;

impl Mesh {
    /// Our own pool size; `None` when we do not pool.
    pub(super) fn pool_size(&self) -> Option<u32> {
        self.node.config().cluster.as_ref().and_then(|cluster| cluster.pool_size)
    }

    /// Accounts with a connection of their own: those configured, and the system account.
    pub(super) fn dedicated_accounts(&self) -> Arc<[String]> {
        let config = self.node.config();
        let configured = config.cluster.iter().flat_map(|cluster| &cluster.pinned_accounts);
        let mut accounts: Vec<String> = configured.cloned().collect();
        if let Some(system) = config.system_account_name()
            && !accounts.iter().any(|account| account == system)
        {
            accounts.push(system.to_owned());
        }
        accounts.into()
    }

    /// What a connection to a peer is for, by its INFO.
    ///
    /// # Errors
    /// Why it cannot be, in the reference's words.
    pub(super) fn scope_of(&self, info: &Info, role: &Role) -> Result<Scope, String> {
        let wanted_account = match role {
            Role::Dialed(Dialed { purpose: Purpose::Account(name), .. }) => name,
            _ => &info.route_account,
        };
        let is_there = || self.node.accounts.find(wanted_account.as_bytes()).is_some();
        if !wanted_account.is_empty() && !is_there() {
            return Err(error::no_such_account(wanted_account));
        }
        let pool_size = self.pool_size().filter(|_| info.route_pool_size > 0);
        let Some(pool_size) = pool_size else {
            return if wanted_account.is_empty() {
                Ok(Scope::All)
            } else {
                Err(error::dedicated_route_impossible(wanted_account))
            };
        };
        let dedicated = self.dedicated_accounts();
        if !wanted_account.is_empty() {
            return Self::account_scope(wanted_account, &dedicated);
        }
        let index = match role {
            Role::Dialed(Dialed { purpose: Purpose::Slot(slot), .. }) => {
                if info.route_pool_idx != 0 {
                    return Err(error::unexpected_pool_index(info.route_pool_idx));
                }
                *slot
            }
            _ => u32::try_from(info.route_pool_idx)
                .ok()
                .filter(|index| u64::from(*index) < info.route_pool_size.max(pool_size.into()))
                .ok_or_else(|| {
                    error::invalid_pool_index(info.route_pool_idx, info.route_pool_size)
                })?,
        };
        Ok(Scope::Slot { index, pool_size, dedicated })
    }

    fn account_scope(name: &str, dedicated: &[String]) -> Result<Scope, String> {
        if !dedicated.iter().any(|held| held == name) {
            return Err(error::no_route_for_account(name));
        }
        Ok(Scope::Account(name.into()))
    }

    /// Opens what is missing beside the first connection to a peer, and keeps it open.
    pub(super) fn complete_pool(self: &Arc<Self>, first: &Arc<Link>, dialed: &Dialed, info: &Info) {
        let Scope::Slot { pool_size, dedicated, .. } = &first.scope else { return };
        let theirs = u32::try_from(info.route_pool_size).unwrap_or_default();
        let slots = (0..theirs.max(*pool_size)).map(Purpose::Slot);
        let accounts = dedicated.iter().cloned().map(Purpose::Account);
        for purpose in slots.chain(accounts) {
            let dialed = Dialed { purpose, ..dialed.clone() };
            let scope = match &dialed.purpose {
                Purpose::Slot(index) => Scope::Slot {
                    index: *index,
                    pool_size: *pool_size,
                    dedicated: Arc::clone(dedicated),
                },
                Purpose::Account(name) => Scope::Account(name.as_str().into()),
            };
            let id = Arc::clone(&first.peer);
            tokio::spawn(Arc::clone(self).keep_link(id, scope, dialed));
        }
    }

    /// Keeps one connection of a pool open as long as the peer is a member.
    async fn keep_link(self: Arc<Self>, id: Arc<str>, scope: Scope, dialed: Dialed) {
        let mut pauses = Pauses::for_route();
        while self.is_member(&id) {
            let changed = self.changed.notified();
            if self.has_link(&id, &scope) {
                changed.await;
                continue;
            }
            drop(changed);
            let Some((host, port)) = dialed.url.rsplit_once(':') else { return };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let Ok(port) = port.parse() else { return };
            match self.dial_if_free(&id, host, port, dialed.clone()).await {
                // Another server answers there now.
                Ok(served) if !served.id.is_empty() && *served.id != *id => return,
                Ok(served) => pauses.note(&served),
                Err(_unreachable) => {}
            }
            sleep(pauses.take()).await;
        }
    }
}
