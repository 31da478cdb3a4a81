//! Configuration that changes while the server runs: read again, compared, applied.
//!
//! A bad file, or a change that cannot be made, changes nothing and says why.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;

use crate::auth::{Authenticator, Identity, Proof, Standing};
use crate::client::enforce;
use crate::close::CloseReason;
use crate::config::conf::System;
use crate::config::reload::{ClusterChange, Effect, diff};
use crate::config::{Config, Tls, flags};
use crate::discovery::host_port;
use crate::net::with_publisher;
use crate::outbound::Outbound;
use crate::protocol::error;
use crate::registry::{About, Transport};
use crate::server::{
    Server, StartError, own_address, read_certificates, read_monitoring_certificates,
    read_websocket_certificates,
};
use crate::tls::Secured;

const BY_WEBSOCKET: Transport = Transport::Websocket { forwarded_for: None };

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
    /// Something changed that cannot while the server runs.
    #[error("{0}")]
    Refused(String),
    /// It asks for what this server does not have.
    #[error(transparent)]
    Missing(#[from] StartError),
}

impl Server {
    /// Reads the configuration file again under the flags of the start, and applies it.
    pub(crate) fn reload(&mut self, args: &[OsString]) -> Result<(), ReloadError> {
        let (config, warnings) = flags::reread(args, &System).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ReloadError::File(lines.join("\n"))
        })?;
        let changes = diff(&self.node.config(), &config).map_err(ReloadError::Refused)?;
        refuse_what_stays(&self.node.config(), &config)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let digest = config.source.as_ref().map_or("", |source| &source.digest).to_owned();
        // Certificates may have changed under the same names: they are read anew every time.
        let (client_tls, route_tls) = read_certificates(&config)?;
        let websocket_tls = read_websocket_certificates(&config)?;
        let monitoring_tls = read_monitoring_certificates(&config)?;
        let old = self.node.config();
        self.reconfigure_operators(&old, &config).map_err(ReloadError::Refused)?;
        self.node.set_tls(client_tls, route_tls);
        self.node.set_websocket_tls(websocket_tls);
        self.node.set_monitoring_tls(monitoring_tls);
        self.tell_of_tls(&config);
        let earlier = (self.node.auth(), self.node.auth_of(&BY_WEBSOCKET));
        self.node.set_config(config.clone());
        let accounts = &self.node.accounts;
        let added = with_publisher(|publisher| accounts.reconfigure(&old, &config, publisher));
        if let Some(system) = &self.system {
            added.iter().for_each(|account| system.join(account));
        }
        self.look_at_clients(&earlier.0, &earlier.1);
        self.close_unpinned(&old, &config);
        for client in self.node.registry.clients() {
            let drops = config.limits.no_fast_producer_stall;
            client.subscriber.outbound.set_drops_when_choked(drops);
        }
        // Where a limit may have fallen below what is there.
        for account in accounts.all().iter().filter(|account| account.is_full()) {
            self.node.registry.dismiss_surplus(account);
        }
        for change in changes {
            self.apply(&change.effect, &config);
            tracing::info!("{}", change.message);
        }
        tracing::info!("Reloaded server configuration ({digest})");
        Ok(())
    }

    /// In operator mode: who is served, and where accounts come from.
    fn reconfigure_operators(&self, old: &Config, new: &Config) -> Result<(), String> {
        let Some(trust) = &self.node.trust else { return Ok(()) };
        trust.reconfigure(new)?;
        let done = self.clerk.reconfigure(&old.operators, &new.operators);
        if done.is_err() {
            // What held is known to be good.
            drop(trust.reconfigure(old));
        }
        done
    }

    /// Does what a change asks for beyond using the new configuration.
    fn apply(&mut self, effect: &Effect, config: &Config) {
        match effect {
            Effect::Logging | Effect::TraceLevel => {
                if let Err(error) = self.logger.reconfigure(&config.log) {
                    tracing::error!("Could not change the log: {error}");
                }
            }
            Effect::ClientAdvertise => self.advertise(config),
            Effect::MaxConnections => self.close_surplus_clients(config),
            Effect::MaxPayload => {
                let most = i64::try_from(config.limits.max_payload).unwrap_or(i64::MAX);
                self.node.discovery.update(|info| info.max_payload = most);
            }
            Effect::PidFile => report(crate::server::write_pid_file(config)),
            Effect::PortsFile => report(self.rewrite_ports_file(config)),
            Effect::Cluster(change) => self.change_cluster(change, config),
            Effect::Routes { add, remove } => {
                remove
                    .iter()
                    .for_each(|route| self.drop_route(&host_port(&route.host, route.port)));
                add.iter().for_each(|route| self.keep_route(route.clone()));
            }
            Effect::Proxies { removed } => self.close_clients_of_proxies(removed),
            // Applied with the configuration: see `Server::reload`.
            Effect::Authorization | Effect::Accounts => {}
            // Read from the configuration with every batch, or of what is refused above.
            Effect::None
            | Effect::MaxControlLine
            | Effect::Tls
            | Effect::PinnedCerts
            | Effect::Statz => {}
        }
    }

    fn advertise(&self, config: &Config) {
        let own = own_address(config, self.listening.client.port());
        self.node.discovery.set_own(&own.host, own.port, own.urls);
        self.node.discovery.tell_all(&self.node.registry);
        if let Some(mesh) = &self.mesh {
            mesh.tell_members();
        }
    }

    /// New connections begin with TLS, or without, from now on.
    fn tell_of_tls(&self, config: &Config) {
        let tls = config.tls.as_ref();
        self.node.discovery.update(|info| {
            info.tls_required = tls.is_some() && !config.allow_non_tls;
            info.tls_available = tls.is_some() && config.allow_non_tls;
            info.tls_verify = tls.is_some_and(|tls| tls.verify || tls.verify_and_map);
        });
    }

    /// Connections whose certificates are not among the pinned ones any more end.
    fn close_unpinned(&self, old: &Config, new: &Config) {
        let by_tcp = newly_pinned(old, new, |config| config.tls.as_ref());
        let by_websocket = newly_pinned(old, new, |config| config.websocket.as_ref()?.tls.as_ref());
        let by_route = newly_pinned(old, new, |config| config.cluster.as_ref()?.tls.as_ref());
        let mut unpinned: Vec<Arc<Outbound>> = Vec::new();
        for client in self.node.registry.clients() {
            let pinned = if client.transport.is_websocket() { &by_websocket } else { &by_tcp };
            let certificate = client.secured().and_then(Secured::certificate);
            if !pinned.admits(certificate.map(|held| &*held.key_digest)) {
                unpinned.push(Arc::clone(&client.subscriber.outbound));
            }
        }
        for entry in self.mesh.iter().flat_map(|mesh| mesh.entries()) {
            if !by_route.admits(entry.key_digest()) {
                unpinned.push(Arc::clone(&entry.outbound));
            }
        }
        if !unpinned.is_empty() {
            tracing::info!("Disconnect {} clients due to pinned certs reload", unpinned.len());
        }
        for outbound in unpinned {
            outbound.close(CloseReason::TlsHandshakeError);
        }
    }

    /// Clients who are somebody else by now, or nobody, are sent away; they may connect again as
    /// what they are now. Those whose permissions changed stay, without what they lost.
    fn look_at_clients(&self, by_tcp: &Authenticator, by_websocket: &Authenticator) {
        let auth = self.node.auth();
        let required = self.node.trust.is_some() || auth.required();
        self.node.discovery.update(|info| info.auth_required = required);
        for client in self.node.registry.clients() {
            let about = client.about();
            let auth = self.node.auth_of(&client.transport);
            let earlier = if client.transport.is_websocket() { by_websocket } else { by_tcp };
            // Whoever is on the way in is judged by the new configuration.
            let standing = match &about.identity {
                Some(identity) if !self.serves(identity) => Standing::Stranger,
                Some(identity) => auth.standing(earlier, identity),
                None if auth.required() && !earlier.required() => Standing::Stranger,
                None => Standing::Same,
            };
            match standing {
                Standing::Same => {}
                Standing::Changed(identity) => {
                    let changed = about
                        .identity
                        .is_some_and(|held| client.change_identity(&held, identity.clone()));
                    if changed {
                        with_publisher(|publisher| enforce(&client, &identity, publisher));
                    }
                }
                Standing::Gone => client.subscriber.outbound.close(CloseReason::ClientClosed),
                Standing::Stranger => {
                    let name = shown_by(&about);
                    tracing::error!("{} - authentication error{name}", client.label());
                    client.dismiss(
                        error::AUTHORIZATION_VIOLATION,
                        CloseReason::AuthenticationFailure,
                    );
                }
            }
        }
        self.node.begin_epoch();
    }

    /// Whether the account of somebody is one of those that are served.
    fn serves(&self, identity: &Identity) -> bool {
        match (&self.node.trust, &identity.account) {
            (Some(trust), Some(account)) if identity.proof == Proof::Jwt => trust.serves(account),
            _ => true,
        }
    }

    /// Proxies are trusted no more: neither are those who came through them.
    fn close_clients_of_proxies(&self, removed: &[String]) {
        for client in self.node.registry.clients() {
            let proxy = client.about().proxy;
            if proxy.is_some_and(|proxy| removed.iter().any(|key| **key == *proxy)) {
                let name = shown_by(&client.about());
                tracing::error!("{} - authentication error{name}", client.label());
                client.dismiss(error::AUTHORIZATION_VIOLATION, CloseReason::ProxyNotTrusted);
            }
        }
    }

    fn close_surplus_clients(&self, config: &Config) {
        let Some(most) = config.limits.max_connections else { return };
        let closed = self.node.registry.close_beyond(most, |client| {
            client.dismiss(error::MAX_CONNECTIONS, CloseReason::MaxConnectionsExceeded);
        });
        if closed > 0 {
            tracing::info!("Closed {closed} connections to fall within max_connections");
        }
    }

    fn change_cluster(&self, change: &ClusterChange, config: &Config) {
        let name = config.cluster.as_ref().and_then(|cluster| cluster.name.as_ref());
        if let (true, Some(mesh), Some(name)) = (change.name, &self.mesh, name) {
            mesh.rename(name);
        }
        if let (true, Some(mesh), Some(cluster)) = (change.permissions, &self.mesh, &config.cluster)
        {
            with_publisher(|publisher| mesh.set_terms(&cluster.permissions, publisher));
        }
    }
}

/// How somebody who was in is named in an authentication error, by what was shown then.
fn shown_by(about: &About) -> String {
    let proof = about.identity.as_ref().map_or(Proof::None, |identity| identity.proof);
    match (proof, about.user.as_str()) {
        (_, "") => String::new(),
        (Proof::Token, _) => " - Token \"[REDACTED]\"".into(),
        (Proof::Nkey, user) => format!(" - Nkey {user:?}"),
        (Proof::Jwt, user) => format!(" - JWT User {user:?}"),
        (Proof::User | Proof::Callout | Proof::None, user) => format!(" - User {user:?}"),
    }
}

/// Pinned certificates that have changed; `None` when there is nothing to look at.
struct Pinned<'a>(Option<&'a BTreeSet<String>>);

impl Pinned<'_> {
    fn admits(&self, key_digest: Option<&str>) -> bool {
        self.0.is_none_or(|set| key_digest.is_some_and(|digest| set.contains(digest)))
    }
}

fn newly_pinned<'a>(
    old: &'a Config,
    new: &'a Config,
    part: impl Fn(&'a Config) -> Option<&'a Tls>,
) -> Pinned<'a> {
    let set = |config| part(config).map(|tls| &tls.pinned_certs).filter(|set| !set.is_empty());
    let now = set(new);
    Pinned(now.filter(|_| now != set(old)))
}

/// natsd does not yet change these while it runs, and never pretends to.
fn refuse_what_stays(old: &Config, new: &Config) -> Result<(), ReloadError> {
    let changed = [
        (old.system_account != new.system_account, "system_account"),
        (has_websocket_tls(old) != has_websocket_tls(new), "websocket tls"),
    ];
    match changed.iter().find(|(changed, _)| *changed) {
        None => Ok(()),
        Some((_, what)) => Err(ReloadError::Refused(format!(
            "config reload not supported for {what} by natsd yet: restart the server"
        ))),
    }
}

fn has_websocket_tls(config: &Config) -> bool {
    config.websocket.as_ref().is_some_and(|websocket| websocket.tls.is_some())
}

fn report(result: Result<(), StartError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}
