//! CONNECT and INFO between servers: who is there, and may it join.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::mesh::{Admission, Admitted};
use super::{Phase, Remote, Role, Route};
use crate::account::{Link, PATTERNS_AT_ONCE, Scope, takes_interest};
use crate::auth::Verdict;
use crate::close::CloseReason;
use crate::protocol::error;
use crate::protocol::info::{Info, InfoEnd, RouteConnect, SubjectPermission};
use crate::router::Publisher;
use crate::verifier::Answer;

/// A server whose password is being checked.
#[derive(Debug)]
pub(super) struct Waiting {
    answer: Answer,
    connect: RouteConnect,
    /// What it sent behind its CONNECT: at most one read, since nothing more is read meanwhile.
    pub(super) held: Vec<u8>,
}

impl Route {
    /// The first bytes: INFO when accepted, CONNECT when dialed. A dialer's INFO names the slot
    /// or account of the connection, so it waits until the peer said whether it pools.
    pub(super) fn greet(&self, publisher: &mut Publisher) {
        match &self.role {
            Role::Accepted => {
                self.send(&self.mesh.own_info().to_line(InfoEnd::Spaced), publisher);
            }
            Role::Dialed(dialed) => {
                let connect = self.mesh.own_connect(dialed.credentials.as_ref());
                self.send(&connect.to_line(), publisher);
                tracing::debug!("{} - Route connect msg sent", self.entry.label());
            }
        }
    }

    /// The dialer's answer to the acceptor's INFO.
    fn answer(&self, scope: &Scope, publisher: &mut Publisher) {
        let Role::Dialed(dialed) = &self.role else { return };
        let mut info = Info { gossip_mode: dialed.gossip_mode, ..self.mesh.own_info() };
        match scope {
            Scope::All => {}
            Scope::Slot { index, .. } => info.route_pool_idx = u64::from(*index),
            Scope::Account(name) => info.route_account = name.to_string(),
        }
        self.send(&info.to_line(InfoEnd::Spaced), publisher);
    }

    pub(super) fn on_connect(
        &mut self,
        json: &[u8],
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let connect = RouteConnect::parse(json).map_err(|error| {
            self.log_error(&error.to_string());
            CloseReason::ProtocolViolation
        })?;
        if !connect.lang.is_empty() {
            self.log_error("Attempted to connect to route port");
            self.send_error(error::CLIENT_ON_ROUTE_PORT, publisher);
            return Err(CloseReason::WrongPort);
        }
        if !connect.gateway.is_empty() {
            let text = format!(
                "Rejecting connection from gateway \"{}\" on the Route port",
                connect.gateway
            );
            self.log_error(&text);
            self.send_error(&text, publisher);
            return Err(CloseReason::WrongPort);
        }
        if self.phase != Phase::AwaitConnect {
            return self.admit(&connect, publisher);
        }
        match self.mesh.judge(&connect.user, &connect.pass) {
            Verdict::Same => self.admit(&connect, publisher),
            Verdict::Different => Err(self.refuse_stranger(&connect, publisher)),
            Verdict::Hashed(check) => {
                let answer = self.node.verifier.ask(check);
                let held = Vec::new();
                self.waiting = Some(Box::new(Waiting { answer, connect, held }));
                Ok(())
            }
        }
    }

    /// Goes on with a server whose password was checked; returns what it said meanwhile.
    pub(super) fn on_answer(
        &mut self,
        cx: &mut Context<'_>,
        publisher: &mut Publisher,
    ) -> Poll<Result<Vec<u8>, CloseReason>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(Vec::new())) };
        let right = ready!(waiting.answer.poll(cx));
        let Some(waiting) = self.waiting.take() else { return Poll::Ready(Ok(Vec::new())) };
        Poll::Ready(if right {
            self.admit(&waiting.connect, publisher).map(|()| waiting.held)
        } else {
            Err(self.refuse_stranger(&waiting.connect, publisher))
        })
    }

    fn admit(
        &mut self,
        connect: &RouteConnect,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        if let Err(text) = self.check_cluster_name(&connect.cluster, connect.cluster_dynamic) {
            self.send_error(&text, publisher);
            return Err(CloseReason::ClusterNameConflict);
        }
        self.verbose = connect.verbose;
        if self.phase == Phase::AwaitConnect {
            self.phase = Phase::AwaitInfo;
        }
        Ok(())
    }

    fn refuse_stranger(&self, connect: &RouteConnect, publisher: &mut Publisher) -> CloseReason {
        let label = match connect.user.as_str() {
            "" => String::new(),
            user => format!(" - User {user:?}"),
        };
        self.log_error(&format!("authentication error{label}"));
        self.send_error(error::AUTHORIZATION_VIOLATION, publisher);
        CloseReason::AuthenticationFailure
    }

    /// Cluster names must be equal; a generated one gives way. The error says why not.
    fn check_cluster_name(&self, theirs: &str, dynamic: bool) -> Result<(), String> {
        self.mesh.agree_on_name(self.entry.id, theirs, dynamic).map_err(|ours| {
            let text = format!(
                "Rejecting connection, cluster name \"{theirs}\" does not match \"{ours}\""
            );
            self.log_error(&text);
            text
        })
    }

    /// Whether a peer's compression is unknown, in the reference's words.
    fn unknown_compression(info: &Info) -> Option<String> {
        const KNOWN: [&str; 9] = [
            "",
            "not supported",
            "off",
            "accept",
            "s2_auto",
            "s2_uncompressed",
            "s2_fast",
            "s2_better",
            "s2_best",
        ];
        if !KNOWN.contains(&info.compression.as_str()) {
            return Some(error::unsupported_compression(&info.compression));
        }
        None
    }

    fn turn_away(&self, text: &str, publisher: &mut Publisher) -> CloseReason {
        self.log_error(text);
        self.send_error(text, publisher);
        CloseReason::ProtocolViolation
    }

    pub(super) fn on_info(
        &mut self,
        json: &[u8],
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let info = Info::parse(json).map_err(|error| {
            self.log_error(&error.to_string());
            CloseReason::ProtocolViolation
        })?;
        if self.phase == Phase::Registered {
            return self.on_later_info(&info);
        }
        self.introduce(info, publisher)
    }

    /// The peer says who it is: it becomes a member, or it is told to go.
    fn introduce(&mut self, info: Info, publisher: &mut Publisher) -> Result<(), CloseReason> {
        if info.server_id == self.node.identity.id {
            if let Role::Dialed(dialed) = &self.role {
                tracing::debug!("Detected route to self, ignoring \"{}\"", dialed.url);
                self.mesh.note_self(&dialed.url);
            }
            return Err(CloseReason::DuplicateRoute);
        }
        // Here the reference closes without a word: the peer was told at its CONNECT.
        self.check_cluster_name(&info.cluster, info.cluster_dynamic)
            .map_err(|_told| CloseReason::ClusterNameConflict)?;
        if let Some(text) = Self::unknown_compression(&info) {
            return Err(self.turn_away(&text, publisher));
        }
        if self.role == Role::Accepted && info.server_name == self.node.identity.name {
            self.log_error(&format!(
                "Remote server has a duplicate name: \"{}\"",
                info.server_name
            ));
            return Err(CloseReason::DuplicateServerName);
        }
        let scope = self
            .mesh
            .scope_of(&info, &self.role)
            .map_err(|text| self.turn_away(&text, publisher))?;
        let account = match &scope {
            Scope::Account(name) => name.to_string(),
            _ => String::new(),
        };
        self.dedicated = self.node.accounts.find(account.as_bytes());
        self.entry.set_remote(Remote {
            id: info.server_id.clone(),
            name: info.server_name.clone(),
            account,
            compression: match info.compression.as_str() {
                "" | "not supported" => "not supported",
                _ => "off",
            },
            import: info.import.clone(),
            export: info.export.clone(),
        });
        self.answer(&scope, publisher);
        let admission = Admission {
            outbound: &self.entry.outbound,
            peer_address: self.entry.peer,
            role: &self.role,
            scope,
            info,
        };
        match self.mesh.register(admission, publisher) {
            Admitted::Member(link, announcement) => {
                tracing::debug!(
                    "{} - Registering remote route \"{}\"",
                    self.entry.label(),
                    link.peer
                );
                self.link = Some(link);
                self.phase = Phase::Registered;
                self.announcement = Some(announcement);
                Ok(())
            }
            Admitted::Duplicate => {
                tracing::debug!("Detected duplicate remote route \"{}\"", self.entry.remote().id);
                Err(CloseReason::DuplicateRoute)
            }
        }
    }

    /// A member says something new of itself, or tells of another server.
    fn on_later_info(&mut self, info: &Info) -> Result<(), CloseReason> {
        let Some(link) = self.link.clone() else { return Ok(()) };
        if info.server_id == self.node.identity.id {
            return Err(CloseReason::DuplicateRoute);
        }
        if *info.server_id == *link.peer {
            self.mesh.update_peer(&link, info);
            if !info.ldm {
                self.note_terms_of_peer(&link, info);
            }
        } else {
            self.mesh.learn(info);
        }
        Ok(())
    }

    /// A peer that takes interest which it did not take before is told it again.
    fn note_terms_of_peer(&mut self, link: &Arc<Link>, info: &Info) {
        let mut remote = self.entry.remote();
        if remote.import == info.import && remote.export == info.export {
            return;
        }
        let takes = |export: &Option<SubjectPermission>, pattern: &[u8]| {
            export
                .as_ref()
                .is_none_or(|export| takes_interest(&export.allow, &export.deny, pattern))
        };
        let (before, now) = (remote.export.take(), info.export.clone());
        remote.import.clone_from(&info.import);
        remote.export.clone_from(&now);
        self.entry.set_remote(remote);
        let terms = Arc::clone(link);
        let change = move |pattern: &[u8]| {
            let news = takes(&now, pattern) && !takes(&before, pattern);
            (news && terms.may_announce(pattern)).then_some(true)
        };
        self.announcement = Some(self.node.accounts.announce_anew(link, change));
    }

    /// Goes on telling the peer of interest, and says whether the turn was too short for that. It
    /// is not heard meanwhile: what it hears of later cannot be asked for before.
    pub(super) fn still_announces(&mut self, publisher: &mut Publisher) -> bool {
        let Some(mut announcement) = self.announcement.take() else { return false };
        while announcement.go_on(publisher) {
            publisher.note(PATTERNS_AT_ONCE);
            if publisher.turn_is_over() {
                self.announcement = Some(announcement);
                return true;
            }
        }
        tracing::debug!("{} - Sent local subscriptions to route", self.entry.label());
        self.take_early_interest(publisher);
        false
    }
}
