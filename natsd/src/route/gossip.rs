//! What members are told of each other, so that every server dials every other.
//!
//! News go to a member by one of its connections, and that one may be about to end: two servers
//! that dial each other have two for a moment, and whoever closes the second no longer reads what
//! is on its way there. Or there is none for them yet. So news are kept as long as they hold, and
//! a member that lost a connection, or got its first one after there were news for it, is told all
//! of them once more. It ignores what it knows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Role;
use super::mesh::{HeldLink, Member};
use crate::account::{Scope, Touch};
use crate::discovery::host_port;
use crate::protocol::info::{Info, InfoEnd};

/// News of a server are passed on once more although they came by gossip.
const OVERRIDE: u64 = 2;
/// News of a server are not passed on.
const DISABLED: u64 = 1;

/// What the others are told of a member: once for its pool and once for each account that has a
/// connection of its own, since nats-server dials for each apart.
#[derive(Debug)]
pub(super) struct News {
    info: Info,
    account: Option<Arc<str>>,
    dialed: bool,
    explicit: bool,
}

impl News {
    /// What is to be told of a new connection, unless the server at its other end was told of us
    /// by gossip, as the others were of it.
    pub(super) fn of(info: Info, scope: &Scope, role: &Role, peer: SocketAddr) -> Option<Self> {
        let (dialed, explicit, own_mode) = match role {
            Role::Accepted => (false, false, 0),
            Role::Dialed(dialed) => (true, dialed.explicit, dialed.gossip_mode),
        };
        let from_gossip = dialed && !explicit;
        if (from_gossip && own_mode != OVERRIDE) || info.gossip_mode == DISABLED {
            return None;
        }
        let mut info = Info { nonce: String::new(), ..info };
        if info.ip.is_empty() {
            let port = u16::try_from(info.port).unwrap_or_default();
            let host = peer.ip().to_canonical().to_string();
            info.ip = format!("nats-route://{}/", host_port(&host, port));
        }
        let account = match scope {
            Scope::Account(name) => Some(Arc::clone(name)),
            Scope::All | Scope::Slot { .. } => None,
        };
        Some(Self { info, account, dialed, explicit })
    }

    /// The line for a member by this connection of it.
    fn line_by(&self, held: &HeldLink) -> Vec<u8> {
        let gossip_mode = match (self.dialed, self.explicit || (!self.dialed && held.explicit)) {
            (_, true) => OVERRIDE,
            (false, false) => DISABLED,
            (true, false) => 0,
        };
        Info { gossip_mode, ..self.info.clone() }.to_line(InfoEnd::Plain)
    }
}

/// Tells all other members of one.
pub(super) fn spread(
    news: &News,
    of: &str,
    members: &mut HashMap<Arc<str>, Member>,
    touched: &mut dyn Touch,
) {
    for (_, member) in members.iter_mut().filter(|(id, _)| ***id != *of) {
        let heard = member.hear(news, touched);
        member.missed_news |= !heard && news.account.is_none();
    }
}

/// Tells one member of all others.
pub(super) fn repeat(to: &str, members: &HashMap<Arc<str>, Member>, touched: &mut dyn Touch) {
    let Some(member) = members.get(to) else { return };
    let others = members.iter().filter(|(id, _)| ***id != *to);
    for news in others.flat_map(|(_, other)| &other.news) {
        member.hear(news, touched);
    }
}

impl Member {
    /// From now on this is what is to be told of it.
    pub(super) fn keep(&mut self, news: News) {
        self.news.retain(|held| held.account != news.account);
        self.news.push(news);
    }

    /// Whether there were news that it had no connection for; it has one now.
    pub(super) fn takes_missed_news(&mut self) -> bool {
        std::mem::take(&mut self.missed_news)
    }

    /// Is told of another server, if it has a connection for that. Of a dedicated connection only
    /// who could have one too.
    fn hear(&self, news: &News, touched: &mut dyn Touch) -> bool {
        let by = match &news.account {
            Some(account) => {
                let scope = Scope::Account(Arc::clone(account));
                self.in_place(&scope).last().or_else(|| self.any_slot())
            }
            None => self.link_for_many(),
        };
        if let Some(held) = by {
            held.link.send(&news.line_by(held), touched);
        }
        by.is_some()
    }
}
