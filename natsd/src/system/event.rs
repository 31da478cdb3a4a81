//! What the server reports unasked.

use std::sync::Arc;

use jiff::Timestamp;

use super::System;
use crate::account::{Account, GLOBAL_ACCOUNT};
use crate::close::CloseReason;
use crate::monitor::view::{AccountConnections, ClientInfo, Connected, DataStats, Disconnected};
use crate::monitor::{json, rounded_rtt};
use crate::registry::{About, ClientEntry, ClosedClient, Event, Transport};

const CONNECT: &str = "io.nats.server.advisory.v1.client_connect";
const DISCONNECT: &str = "io.nats.server.advisory.v1.client_disconnect";
const CONNECTIONS: &str = "io.nats.server.advisory.v1.account_connections";

impl System {
    /// Reports that a client came or went.
    pub(super) fn report(&self, event: &Event) {
        match event {
            // How many there are is known first, as in the reference.
            Event::Connected(client) => {
                self.report_connections_of(client.about().account.as_ref());
                self.report_connect(client);
            }
            Event::Disconnected(client) => {
                if client.reason == CloseReason::AuthenticationFailure {
                    self.report_disconnect(&self.server_subject("CLIENT.AUTH.ERR"), client);
                }
                self.report_connections_of(client.about.account.as_ref());
                let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", account_of(&client.about));
                self.report_disconnect(&subject, client);
            }
        }
    }

    /// The heartbeat, if anybody listens.
    pub(super) fn report_stats(&self) {
        let subject = self.server_subject("STATSZ");
        if self.is_wanted(subject.as_bytes()) {
            self.publish(&self.account, subject.as_bytes(), &[], &self.stats());
        }
    }

    /// This server stops, or is about to: tools and peers are told before routes are closed.
    pub fn report_end(&self, lame_duck: bool) {
        let subject = self.server_subject(if lame_duck { "LAMEDUCK" } else { "SHUTDOWN" });
        let body = json::compact(&self.signature());
        self.publish(&self.account, subject.as_bytes(), &[], &body);
    }

    fn report_connect(&self, client: &ClientEntry) {
        let about = client.about();
        let subject = format!("$SYS.ACCOUNT.{}.CONNECT", account_of(&about));
        if !self.is_wanted(subject.as_bytes()) {
            return;
        }
        let event = Connected {
            kind: CONNECT.into(),
            id: event_id(),
            timestamp: Timestamp::now(),
            server: self.signature(),
            client: client_info(
                &about,
                client.id,
                client.peer,
                &client.transport,
                client.vitals.started,
            ),
        };
        self.publish(&self.account, subject.as_bytes(), &[], &json::compact(&event));
    }

    fn report_disconnect(&self, subject: &str, client: &ClosedClient) {
        if !self.is_wanted(subject.as_bytes()) {
            return;
        }
        let traffic = client.traffic;
        let event = Disconnected {
            kind: DISCONNECT.into(),
            id: event_id(),
            timestamp: client.stopped,
            server: self.signature(),
            client: ClientInfo {
                rtt: rounded_rtt(client.rtt_nanos),
                stop: Some(client.stopped),
                ..client_info(
                    &client.about,
                    client.id,
                    client.peer,
                    &client.transport,
                    client.started,
                )
            },
            // From the client's point of view.
            sent: data(traffic.in_messages, traffic.in_bytes),
            received: data(traffic.out_messages, traffic.out_bytes),
            reason: client.reason.to_string(),
        };
        self.publish(&self.account, subject.as_bytes(), &[], &json::compact(&event));
    }

    /// Repeats how many clients each account has.
    pub(super) fn report_all_connections(&self) {
        for account in self.node().accounts.all() {
            if account.clients.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                self.report_connections_of(Some(&account));
            }
        }
    }

    /// How many clients an account has here; of the global one nobody is told.
    fn report_connections_of(&self, account: Option<&Arc<Account>>) {
        let Some(account) = account.filter(|account| *account.name != *GLOBAL_ACCOUNT) else {
            return;
        };
        let subjects = [
            format!("$SYS.SERVER.ACCOUNT.{}.CONNS", account.name),
            format!("$SYS.ACCOUNT.{}.SERVER.CONNS", account.name),
        ];
        for subject in subjects.iter().filter(|subject| self.is_wanted(subject.as_bytes())) {
            let body = self.connections_event(account);
            self.publish(&self.account, subject.as_bytes(), &[], &body);
        }
    }

    /// The same on request; silent without clients.
    pub(super) fn account_connections(&self, name: &str) -> Option<Vec<u8>> {
        let account = self.node().accounts.find(name.as_bytes())?;
        let any = self.monitor.account_stat(&account).conns > 0;
        any.then(|| self.connections_event(&account))
    }

    fn connections_event(&self, account: &Arc<Account>) -> Vec<u8> {
        json::compact(&AccountConnections {
            kind: CONNECTIONS.into(),
            id: event_id(),
            timestamp: Timestamp::now(),
            server: self.signature(),
            stat: self.monitor.account_stat(account),
        })
    }
}

fn account_of(about: &About) -> &str {
    about.account.as_ref().map_or(GLOBAL_ACCOUNT, |account| &account.name)
}

fn data(msgs: u64, bytes: u64) -> DataStats {
    DataStats { msgs, bytes, ..DataStats::default() }
}

fn client_info(
    about: &About,
    id: u64,
    peer: std::net::SocketAddr,
    transport: &Transport,
    started: Timestamp,
) -> ClientInfo {
    let account = account_of(about);
    let grant = about.identity.as_ref().and_then(|identity| identity.grant.as_deref());
    ClientInfo {
        start: Some(started),
        host: peer.ip().to_canonical().to_string(),
        id,
        acc: account.into(),
        user: about.user.clone(),
        name: about.name.clone(),
        lang: about.lang.clone(),
        ver: about.version.clone(),
        name_tag: about.account.as_ref().map_or_else(|| account.into(), |held| held.name_tag()),
        jwt: grant.map(|grant| grant.jwt.expose().to_owned()).unwrap_or_default(),
        issuer_key: grant.map(|grant| grant.issuer_key.clone()).unwrap_or_default(),
        tags: grant.map(|grant| grant.tags.clone()).unwrap_or_default(),
        kind: "Client".into(),
        client_type: transport.client_type().into(),
        ..ClientInfo::default()
    }
}

/// 22 characters that nobody else chooses.
pub(super) fn event_id() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = |_| {
        let index = rand::random::<u32>() as usize % LETTERS.len();
        char::from(LETTERS.get(index).copied().unwrap_or(b'0'))
    };
    (0..22).map(letter).collect()
}
