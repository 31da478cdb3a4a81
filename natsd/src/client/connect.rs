//! Greeting, CONNECT, and the INFO that follows the first PONG.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Client, Options};
use crate::close::CloseReason;
use crate::log;
use crate::protocol::error;
use crate::protocol::info::{Connect, InfoEnd};
use crate::registry::About;
use crate::router::Publisher;

impl Client {
    /// INFO, the first bytes of every connection.
    pub(super) fn greet(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        let count = self.node.registry.add(&self.entry);
        self.join_account();
        if log::debugging() {
            tracing::debug!("{} - Client connection created", self.entry.label());
        }
        let line = self.node.discovery.info_for(&self.entry).to_line(InfoEnd::Spaced);
        self.send(&line, publisher);
        let most = self.node.config().limits.max_connections;
        if most.is_some_and(|most| count > most) {
            self.send_error(error::MAX_CONNECTIONS, publisher);
            self.log_error(error::MAX_CONNECTIONS);
            return Err(CloseReason::MaxConnectionsExceeded);
        }
        Ok(())
    }

    /// The client says who it is and how it wants to be served; it may say so again.
    pub(super) fn on_connect(
        &mut self,
        json: &[u8],
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let connect = Connect::parse(json).map_err(|error| {
            self.log_error(&error.to_string());
            CloseReason::ParseError
        })?;
        if self.connected {
            self.drop_subscriptions(publisher);
        }
        self.check(&connect, publisher)?;
        self.connected = true;
        self.options = Options::from(&connect);
        self.options.headers &= self.node.config().headers;
        self.last_line.forget();
        self.subscriber.set_headers(self.options.headers);
        self.entry.set_about(About {
            name: connect.name,
            lang: connect.lang,
            version: connect.version,
            user: String::new(),
            account: Some(Arc::clone(&self.account)),
        });
        if self.entry.rtt_nanos() == 0 {
            // A first estimate until a PONG measures it, as the reference makes it: the way of
            // INFO out and of CONNECT back.
            self.entry.note_rtt(self.entry.started_at.elapsed());
        }
        self.node.registry.connected(&self.entry);
        self.send_ok_if_verbose(publisher);
        Ok(())
    }

    fn check(&self, connect: &Connect, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if !(0..=1).contains(&connect.protocol) {
            self.send_error(error::INVALID_CLIENT_PROTOCOL, publisher);
            return Err(CloseReason::BadClientProtocolVersion);
        }
        if !connect.account.is_empty() || connect.new_account {
            self.send_error(error::AUTHORIZATION_VIOLATION, publisher);
            return Err(CloseReason::AuthenticationFailure);
        }
        if connect.no_responders && !(connect.headers && self.node.config().headers) {
            self.send_error(error::NO_RESPONDERS_REQUIRES_HEADERS, publisher);
            return Err(CloseReason::NoRespondersRequiresHeaders);
        }
        Ok(())
    }

    /// The INFO after the first PONG: tells the client its account; from now on it is told of
    /// every change of the cluster.
    pub(super) fn introduce(&self, publisher: &mut Publisher) {
        self.entry.start_taking_info();
        let mut info = self.node.discovery.info_for(&self.entry);
        info.connect_info = true;
        info.remote_account = self.account.name.to_string();
        self.send(&info.to_line(InfoEnd::Spaced), publisher);
    }

    fn join_account(&self) {
        self.account.clients.fetch_add(1, Ordering::Relaxed);
        self.account.clients_total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave_account(&self) {
        self.account.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
