//! Accounts that somebody needs and that are not here.

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::{Clerk, now};
use crate::account::Account;
use crate::config::nkey::{Kind, is_public};
use crate::post::{self, Inbox};
use crate::resolver::{Directory, Resolver, TIMEOUT};
use crate::trust::Claims;

/// Accounts that import from accounts that import are followed so far.
const DEPTH_MAX: usize = 16;

impl Clerk {
    /// Fetches an account with all that it imports from, and makes it usable.
    ///
    /// # Errors
    /// When there is no valid JWT of it to be had.
    pub async fn fetch(self: &Arc<Self>, key: &str) -> Result<Arc<Account>, String> {
        self.fetch_within(key.to_owned(), DEPTH_MAX).await
    }

    fn fetch_within(
        self: &Arc<Self>,
        key: String,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Account>, String>> + Send>> {
        let clerk = Arc::clone(self);
        Box::pin(async move {
            let jwt = clerk.look_up(&key).await.inspect_err(|error| {
                tracing::warn!("Account fetch failed: {error}");
            })?;
            let claims = clerk.verified(&jwt).map_err(|error| error.to_string())?;
            if claims.standard.subject != key {
                return Err("account validation failed".into());
            }
            clerk.fetch_exporters_within(&claims, depth).await;
            Ok(clerk.apply(claims))
        })
    }

    /// Those from which an account imports must be there before it is.
    pub(super) async fn fetch_exporters(self: &Arc<Self>, claims: &Claims) {
        self.fetch_exporters_within(claims, DEPTH_MAX).await;
    }

    async fn fetch_exporters_within(self: &Arc<Self>, claims: &Claims, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        for import in &claims.account.imports {
            let known = self.node.accounts.find(import.account.as_bytes());
            if known.is_some_and(|account| account.claims().is_some())
                || import.account == claims.standard.subject
                || self.missing.lock().contains(&import.account)
            {
                continue;
            }
            // Whoever comes back here by imports in a circle does not wait for himself.
            self.missing.lock().insert(import.account.clone());
            let found = self.fetch_within(import.account.clone(), depth).await;
            self.missing.lock().remove(&import.account);
            if let Err(error) = found {
                tracing::error!(
                    "Can't locate account [{}] for import of [{}] {} (err={error})",
                    import.account,
                    import.subject,
                    import.kind
                );
            }
        }
    }

    /// The JWT of an account, wherever it is.
    pub(super) async fn look_up(self: &Arc<Self>, key: &str) -> Result<String, String> {
        if !is_public(key, Kind::Account) {
            return Err("will only fetch valid account keys".into());
        }
        match self.resolver() {
            None => Err("no account resolver".into()),
            Some(Resolver::Memory(held)) => {
                held.lock().get(key).cloned().ok_or_else(|| "account missing".into())
            }
            Some(Resolver::Url(web)) => web.load_full().get(key, TIMEOUT).await,
            Some(Resolver::Directory(directory)) => match self.load(key).await? {
                Some(jwt) => Ok(jwt),
                None => self.ask_others(key, directory).await,
            },
        }
    }

    /// The JWT of an account from the directory.
    ///
    /// # Errors
    /// When the disk does not give it out.
    pub async fn load(self: &Arc<Self>, key: &str) -> Result<Option<String>, String> {
        let (clerk, key) = (Arc::clone(self), key.to_owned());
        let load = spawn_blocking(move || match clerk.resolver().and_then(Resolver::directory) {
            Some(directory) => directory.store.load(&key, now()).map_err(|e| e.to_string()),
            None => Ok(None),
        });
        load.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Asks the other servers of the cluster; what they have is stored here, too.
    async fn ask_others(
        self: &Arc<Self>,
        key: &str,
        directory: &Directory,
    ) -> Result<String, String> {
        let account = &self.node.accounts.system;
        let subject = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP");
        let mut inbox = Inbox::open(account);
        let until = Instant::now() + directory.timeout;
        // Peers that have it all answer; a cache among them stays silent.
        let mut expected = post::publish(account, &subject, &inbox.subject, &[], &[]);
        while expected > 0 {
            let patience = until.saturating_duration_since(Instant::now());
            let Some(answer) = inbox.next(patience).await else {
                return Err("fetching jwt timed out".into());
            };
            expected -= 1;
            if answer.is_empty() {
                continue;
            }
            let jwt = String::from_utf8(answer).map_err(|error| error.to_string())?;
            self.keep_newer(key, &jwt).await?;
            return Ok(jwt);
        }
        Err("account jwt not found".into())
    }

    async fn keep_newer(self: &Arc<Self>, key: &str, jwt: &str) -> Result<(), String> {
        let (clerk, key, jwt) = (Arc::clone(self), key.to_owned(), jwt.to_owned());
        let save = spawn_blocking(move || match clerk.resolver().and_then(Resolver::directory) {
            Some(directory) => directory
                .store
                .save_if_newer(&key, &jwt, now())
                .map(|_changed| ())
                .map_err(|error| error.to_string()),
            None => Ok(()),
        });
        save.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}
