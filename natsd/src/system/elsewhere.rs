//! Clients of accounts on other servers: they count where an account may have only so many.
//!
//! Servers tell each other with every client that comes or goes, and again every 30 seconds. Only
//! of accounts with a limit anybody listens: for the others nothing is made or sent.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::System;
use super::inlet::{REQUEST_BYTES_MAX, Request};
use crate::account::Account;

/// A server that was silent for so long is gone: five times the pause between two reports, as
/// for nats-server.
const SILENCE: Duration = Duration::from_secs(150);
/// Every server says this when it stops.
const SHUTDOWN: &str = "$SYS.SERVER.*.SHUTDOWN";

/// `$SYS.ACCOUNT.<account>.SERVER.CONNS`, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Told {
    server: Teller,
    acc: String,
    #[serde(default)]
    conns: usize,
}

#[derive(Debug, Deserialize)]
struct Teller {
    id: String,
}

/// What other servers told.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// By server id.
    servers: Mutex<HashMap<String, Server>>,
    /// Accounts that are listened for.
    heard: Mutex<HashSet<Arc<str>>>,
}

#[derive(Debug)]
struct Server {
    last: Instant,
    /// By account.
    clients: HashMap<String, usize>,
}

impl Elsewhere {
    fn note(&self, told: Told) {
        let mut servers = self.servers.lock();
        let server = servers
            .entry(told.server.id)
            .or_insert_with(|| Server { last: Instant::now(), clients: HashMap::new() });
        server.last = Instant::now();
        server.clients.insert(told.acc, told.conns);
    }

    /// Accounts that had clients on a server that is gone.
    fn forget(&self, id: &str) -> Vec<String> {
        let gone = self.servers.lock().remove(id);
        gone.map(|server| server.clients.into_keys().collect()).unwrap_or_default()
    }

    /// The same of all servers that have been silent for too long.
    fn forget_silent(&self) -> Vec<String> {
        let silent = |server: &mut Server| server.last.elapsed() > SILENCE;
        let gone: Vec<Server> =
            self.servers.lock().extract_if(|_, server| silent(server)).map(|(_, s)| s).collect();
        gone.into_iter().flat_map(|server| server.clients.into_keys()).collect()
    }

    fn clients(&self, account: &str) -> usize {
        self.servers.lock().values().filter_map(|server| server.clients.get(account)).sum()
    }
}

impl Request {
    /// Whether another server tells how many clients of an account it has, or that it stops.
    pub(super) fn is_of_elsewhere(&self) -> bool {
        self.subject.ends_with(".SERVER.CONNS") || self.is_farewell()
    }

    fn is_farewell(&self) -> bool {
        self.subject.starts_with("$SYS.SERVER.") && self.subject.ends_with(".SHUTDOWN")
    }
}

impl System {
    /// Listens for servers that stop.
    pub(super) fn subscribe_farewells(&self) {
        self.add(&self.account, SHUTDOWN, None, REQUEST_BYTES_MAX);
    }

    /// Listens for clients elsewhere of an account that may have only so many, once.
    pub(super) fn heed_elsewhere(&self, account: &Arc<Account>) {
        if account.limits().max_connections.is_none()
            || !self.elsewhere.heard.lock().insert(Arc::clone(&account.name))
        {
            return;
        }
        let subject = format!("$SYS.ACCOUNT.{}.SERVER.CONNS", account.name);
        self.add(&self.account, &subject, None, REQUEST_BYTES_MAX);
        // Whoever has some already says so.
        let question = format!("$SYS.REQ.ACCOUNT.{}.CONNS", account.name);
        self.publish(&self.account, question.as_bytes(), subject.as_bytes(), b"{}");
    }

    /// Another server tells of its clients, or that it stops.
    pub(super) fn hear_of_elsewhere(&self, request: &Request) {
        if request.is_farewell() {
            let id = request.subject.split('.').nth(2).unwrap_or_default();
            return self.recount(&self.elsewhere.forget(id));
        }
        let Ok(told) = serde_json::from_slice::<Told>(request.payload()) else { return };
        if told.server.id == self.node().identity.id {
            return;
        }
        let account = told.acc.clone();
        self.elsewhere.note(told);
        self.recount(&[account]);
    }

    /// Now and then: forgets servers that are gone, and heeds accounts that have a limit now.
    pub(super) fn look_elsewhere(&self) {
        self.recount(&self.elsewhere.forget_silent());
        for account in self.node().accounts.all() {
            self.heed_elsewhere(&account);
        }
    }

    fn recount(&self, accounts: &[String]) {
        for name in accounts {
            let Some(account) = self.node().accounts.find(name.as_bytes()) else { continue };
            account.set_clients_elsewhere(self.elsewhere.clients(name));
            self.node().registry.dismiss_surplus(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(server: &str, conns: usize) -> Told {
        Told { server: Teller { id: server.into() }, acc: "A".into(), conns }
    }

    #[tokio::test(start_paused = true)]
    async fn servers_count_until_they_stop_or_are_silent() {
        let elsewhere = Elsewhere::default();
        elsewhere.note(told("one", 3));
        elsewhere.note(told("two", 4));
        elsewhere.note(told("one", 2));
        assert_eq!(elsewhere.clients("A"), 6);
        assert_eq!(elsewhere.clients("B"), 0);
        assert_eq!(elsewhere.forget("two"), ["A"]);
        assert_eq!(elsewhere.clients("A"), 2);
        tokio::time::advance(SILENCE / 2).await;
        elsewhere.note(told("three", 1));
        tokio::time::advance(SILENCE / 2 + Duration::from_secs(1)).await;
        assert_eq!(elsewhere.forget_silent(), ["A"]);
        assert_eq!(elsewhere.clients("A"), 1);
    }
}
