//! Account JWTs told, asked for and compared: `CLAIMS.UPDATE` and its like.
//!
//! Which subjects are served depends on the resolver, as in nats-server 2.15: a full directory
//! answers everything and keeps in step with other full ones, a cache takes what it uses, the
//! others only hear of changes.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::System;
use super::inlet::{JWT_BYTES_MAX, Request};
use crate::claims::{Clerk, now};
use crate::config::nkey::{Kind, is_public};
use crate::jwt::{Account, Token};
use crate::monitor::json;
use crate::resolver::{Resolver, Store};
use crate::trust::check_mappings;

const OK: u16 = 200;
const INTERNAL_ERROR: u16 = 500;
const UPDATES: [&str; 2] = ["$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"];
const PACK: &str = "$SYS.REQ.CLAIMS.PACK";

/// What became of an update or a deletion.
struct Outcome {
    account: String,
    message: String,
    error: Option<String>,
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    description: &'a str,
}

impl Outcome {
    fn new(account: &str, message: &str, error: Option<String>) -> Self {
        Self { account: account.into(), message: message.into(), error }
    }
}

impl System {
    /// Subscribes to what the resolver has to do with.
    pub(super) fn subscribe_claims(&self) {
        let mut patterns: Vec<&str> = UPDATES.to_vec();
        match self.clerk.resolver() {
            // Nobody's JWT is wanted, which whoever tells one is told.
            None => {}
            Some(Resolver::Directory(directory)) => {
                patterns.extend([
                    "$SYS.REQ.CLAIMS.UPDATE",
                    "$SYS.REQ.CLAIMS.LIST",
                    "$SYS.REQ.CLAIMS.DELETE",
                ]);
                if directory.is_full {
                    patterns.push("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP");
                    patterns.push(&self.pack_inbox);
                    self.add_in_group(&self.account, PACK, Some(b"responder"), None, JWT_BYTES_MAX);
                }
                let what = if directory.is_full { "all" } else { "some" };
                let dir = directory.store.dir().display();
                tracing::info!("Managing {what} jwt in exclusive directory {dir}");
            }
            Some(_) => {}
        }
        for pattern in patterns {
            self.add(&self.account, pattern, None, JWT_BYTES_MAX);
        }
    }

    /// Asks other full directories for what this one lacks.
    pub(super) fn compare_claims(&self) {
        if let Some(directory) = self.clerk.resolver().and_then(Resolver::directory) {
            let hash = directory.store.hash();
            self.publish(&self.account, PACK.as_bytes(), self.pack_inbox.as_bytes(), &hash);
        }
    }

    /// Does what a request about JWTs asks for.
    pub(super) async fn answer_claims(&self, request: &Request) {
        let tokens: Vec<&str> = request.subject.split('.').collect();
        match *tokens.as_slice() {
            _ if request.subject == self.pack_inbox => self.take_package(request).await,
            ["$SYS", "REQ", "CLAIMS", "UPDATE"] => self.update(None, request).await,
            ["$SYS", "REQ", "ACCOUNT", key, "CLAIMS", "UPDATE"]
            | ["$SYS", "ACCOUNT", key, "CLAIMS", "UPDATE"] => {
                self.update(Some(key), request).await;
            }
            _ if request.reply.is_empty() => {}
            ["$SYS", "REQ", "ACCOUNT", key, "CLAIMS", "LOOKUP"] => self.look_up(key, request).await,
            ["$SYS", "REQ", "CLAIMS", "PACK"] => self.give_package(request).await,
            ["$SYS", "REQ", "CLAIMS", "LIST"] => self.list(request).await,
            ["$SYS", "REQ", "CLAIMS", "DELETE"] => self.delete(request).await,
            _ => {}
        }
    }

    /// Takes in the JWT of an account.
    async fn update(&self, key: Option<&str>, request: &Request) {
        let text = String::from_utf8_lossy(request.payload()).into_owned();
        let outcome = match self.clerk.resolver() {
            Some(Resolver::Directory(directory)) => self.store(key, &text, directory.is_full).await,
            _ => self.hear_of(key.unwrap_or_default(), &text),
        };
        self.tell(&request.reply, &outcome);
    }

    /// Stores a JWT in the directory, and has the account follow.
    async fn store(&self, key: Option<&str>, text: &str, is_full: bool) -> Outcome {
        let (failed, void, skipped, done) = if is_full {
            ("jwt update resulted in error", "jwt validation failed", "", "jwt updated")
        } else {
            (
                "jwt update cache resulted in error",
                "jwt update cache validation failed",
                "jwt update cache skipped",
                "jwt updated cache",
            )
        };
        let token = match Token::<Account>::decode(text) {
            Ok(token) => token,
            Err(error) => {
                let about = key.filter(|_| !is_full).unwrap_or("n/a");
                return Outcome::new(about, failed, Some(error.to_string()));
            }
        };
        let subject = token.standard.subject.clone();
        let issues = token.validate(now());
        let errors: Vec<&str> = issues.errors().collect();
        let trust = self.node().trust.as_ref();
        if key.is_some_and(|key| key != subject) {
            let error = "subject does not match jwt content";
            return Outcome::new(key.unwrap_or_default(), failed, Some(error.into()));
        }
        if trust.is_none_or(|trust| trust.is_issued_loosely(&token.standard.issuer)) {
            let error = "operator requires issuer to be a signing key";
            return Outcome::new(&subject, failed, Some(error.into()));
        }
        if !is_full && self.node().accounts.find(subject.as_bytes()).is_none() {
            return Outcome::new(&subject, skipped, None);
        }
        if !errors.is_empty() {
            let error = format!("validation errors: [{}]", errors.join(" "));
            return Outcome::new(&subject, void, Some(error));
        }
        if let Err(error) = check_mappings(&token.body) {
            return Outcome::new(&subject, void, Some(error));
        }
        let (place, jwt) = (subject.clone(), text.to_owned());
        match self.on_disk(move |store| store.save(&place, &jwt, now())).await {
            Some(Ok(changed)) => {
                if changed {
                    self.follow(&subject, text);
                }
                Outcome::new(&subject, done, None)
            }
            Some(Err(error)) => Outcome::new(&subject, failed, Some(error.to_string())),
            None => Outcome::new(&subject, failed, Some("no directory".into())),
        }
    }

    fn follow(&self, key: &str, jwt: &str) {
        if let Err(error) = self.clerk.update(jwt) {
            tracing::error!("DirResolver - Update for account {key:?} resulted in error {error}");
        }
    }

    /// Without a directory only accounts that are in use follow.
    fn hear_of(&self, key: &str, text: &str) -> Outcome {
        if text.is_empty() {
            return Outcome::new(key, "jwt update error", Some("request body is empty".into()));
        }
        let failed = |error: String| Outcome::new(key, "jwt update resulted in error", Some(error));
        let token = match Token::<Account>::decode(text) {
            Ok(token) => token,
            Err(error) => return failed(error.to_string()),
        };
        if token.standard.subject != key {
            return failed("subject does not match jwt content".into());
        }
        if self.node().accounts.find(key.as_bytes()).is_none() {
            return Outcome::new(key, "jwt update skipped", None);
        }
        match self.clerk.update(text) {
            Ok(()) => Outcome::new(key, "jwt updated", None),
            Err(error) => failed(error.to_string()),
        }
    }

    /// Says what became of it, in the log and to whoever asked.
    fn tell(&self, reply: &[u8], outcome: &Outcome) {
        let Outcome { account, message, error } = outcome;
        match error {
            None if account.is_empty() => tracing::debug!("{message}"),
            None => tracing::debug!("{message} - {account}"),
            Some(error) if account.is_empty() => tracing::error!("{message} - {error}"),
            Some(error) => tracing::error!("{message} - {account} - {error}"),
        }
        if reply.is_empty() {
            return;
        }
        let mut body = b"{\"server\":".to_vec();
        body.extend(json::compact(&self.signature()));
        match error {
            None => {
                body.extend_from_slice(b",\"data\":");
                body.extend(json::compact(&Status { account, code: OK, message }));
            }
            Some(error) => {
                let description = &format!("{message} - {error}");
                body.extend_from_slice(b",\"error\":");
                body.extend(json::compact(&Failure { account, code: INTERNAL_ERROR, description }));
            }
        }
        body.push(b'}');
        self.publish(&self.account, reply, &[], &body);
    }

    /// Gives a JWT out; an empty answer says that it is not here.
    async fn look_up(&self, key: &str, request: &Request) {
        match self.clerk.load(key).await {
            Ok(jwt) => {
                let jwt = jwt.unwrap_or_default();
                self.publish(&self.account, &request.reply, &[], jwt.as_bytes());
            }
            Err(error) => {
                tracing::error!("DirResolver - Error looking up account {key:?}: {error}");
            }
        }
    }

    /// Gives out everything, unless the other has the same; an empty message ends it.
    async fn give_package(&self, request: &Request) {
        let theirs = request.payload().to_vec();
        let lines =
            self.on_disk(
                move |store| {
                    if store.hash() == *theirs { Vec::new() } else { store.lines(now()) }
                },
            );
        for line in lines.await.unwrap_or_default() {
            self.publish(&self.account, &request.reply, &[], line.as_bytes());
        }
        self.publish(&self.account, &request.reply, &[], &[]);
    }

    /// Takes in what another directory has.
    async fn take_package(&self, request: &Request) {
        let package = String::from_utf8_lossy(request.payload()).into_owned();
        if package.is_empty() {
            return;
        }
        let Some((changed, outcome)) =
            self.on_disk(move |store| store.merge(&package, now())).await
        else {
            return;
        };
        if let Err(error) = outcome {
            tracing::error!("DirResolver - Merging resulted in error: {error}");
        }
        for key in changed {
            if let Ok(Some(jwt)) = self.clerk.load(&key).await {
                self.follow(&key, &jwt);
            }
        }
    }

    async fn list(&self, request: &Request) {
        let Some(keys) = self.on_disk(Store::keys).await else { return };
        let mut body = b"{\"data\":".to_vec();
        body.extend(json::compact(&keys));
        body.extend_from_slice(b",\"server\":");
        body.extend(json::compact(&self.signature()));
        body.push(b'}');
        self.publish(&self.account, &request.reply, &[], &body);
    }

    /// Deletes accounts, if an operator signed that.
    async fn delete(&self, request: &Request) {
        let text = String::from_utf8_lossy(request.payload()).into_owned();
        let token = Token::<Map<String, Value>>::decode(&text);
        let subject =
            token.as_ref().map(|token| token.standard.subject.clone()).unwrap_or_default();
        let wanted = match token {
            Ok(token) => self.deletable(&token),
            Err(error) => Err(error.to_string()),
        };
        let keys = match wanted {
            Ok(keys) => keys,
            Err(error) => {
                let message = format!("delete accounts request by {subject} failed");
                return self.tell(&request.reply, &Outcome::new("", &message, Some(error)));
            }
        };
        let (mut passed, mut errors) = (0, Vec::new());
        for key in keys {
            let place = key.clone();
            match self.on_disk(move |store| store.delete(&place)).await {
                Some(Ok(there)) => {
                    passed += 1;
                    if there {
                        self.clerk.remove(&key);
                    }
                }
                Some(Err(error)) => errors.push(error.to_string()),
                None => errors.push("no directory".into()),
            }
        }
        let outcome = if errors.is_empty() {
            Outcome::new("", &format!("deleted {passed} accounts"), None)
        } else {
            let message = format!("deleted {passed} accounts, failed for {}", errors.len());
            Outcome::new("", &message, Some(errors.join("\n")))
        };
        self.tell(&request.reply, &outcome);
    }

    /// The accounts that a token asks to delete.
    fn deletable(&self, token: &Token<Map<String, Value>>) -> Result<Vec<String>, String> {
        let may_delete = self
            .clerk
            .resolver()
            .and_then(Resolver::directory)
            .is_some_and(|directory| directory.store.may_delete());
        if !may_delete {
            return Err("delete must be enabled in server config".into());
        }
        if token.standard.subject != token.standard.issuer {
            return Err("not self signed".into());
        }
        let trust = self.node().trust.as_ref();
        if trust.is_none_or(|trust| !trust.may_delete(&token.standard.issuer)) {
            return Err("not trusted".into());
        }
        let malformed = || "malformed request".to_owned();
        let list = token.body.get("accounts").and_then(Value::as_array).ok_or_else(malformed)?;
        let mut keys = Vec::new();
        for entry in list {
            let key = entry.as_str().filter(|key| is_public(key, Kind::Account));
            let key = key.ok_or_else(malformed)?;
            if *key == *self.account.name {
                return Err("not allowed to delete system account".into());
            }
            keys.push(key.to_owned());
        }
        Ok(keys)
    }

    /// Works on the directory where nobody else waits; `None` without one.
    async fn on_disk<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> R + Send + 'static,
    ) -> Option<R> {
        let clerk: Arc<Clerk> = Arc::clone(&self.clerk);
        let done = spawn_blocking(move || {
            let directory = clerk.resolver().and_then(Resolver::directory)?;
            Some(work(&directory.store))
        });
        done.await.ok().flatten()
    }
}
