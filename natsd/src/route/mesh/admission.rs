//! Who becomes a member, and by which of several connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{HeldLink, Member, Mesh, ROUTE_PROTO, client_urls_of};
use crate::account::{Announcement, Link, PeerAbout, Scope};
use crate::close::CloseReason;
use crate::outbound::Outbound;
use crate::protocol::info::Info;
use crate::route::Role;
use crate::route::gossip::{self, News};
use crate::router::Publisher;

/// An older connection that was heard of within this time is alive: a second one is superfluous.
/// Longer silence may be a network cut that only the dialer has noticed: the new one replaces it.
const ALIVE: Duration = Duration::from_secs(2);

/// A peer that asks to become a member.
pub(in crate::route) struct Admission<'a> {
    pub(in crate::route) outbound: &'a Arc<Outbound>,
    pub(in crate::route) peer_address: SocketAddr,
    pub(in crate::route) role: &'a Role,
    pub(in crate::route) scope: Scope,
    pub(in crate::route) info: Info,
}

/// What a connection is for its server.
struct Entered {
    /// It is the first of all.
    newcomer: bool,
    /// It is the first that is not dedicated to one account.
    begins_pool: bool,
}

/// What became of it.
pub(in crate::route) enum Admitted {
    /// It is one, and is still to be told of interest.
    Member(Arc<Link>, Announcement),
    /// It is one already, by another connection.
    Duplicate,
}

impl Mesh {
    /// Makes a peer a member, begins to tell it local interest, and tells the others and the
    /// clients of it if it is new.
    pub(in crate::route) fn register(
        self: &Arc<Self>,
        admission: Admission<'_>,
        publisher: &mut Publisher,
    ) -> Admitted {
        let link = Arc::new(self.link_of(&admission));
        let Admission { peer_address, role, info, .. } = admission;
        let mut members = self.members.lock();
        // A reload may have come between, and looks at those who are in.
        link.set_terms(self.terms.load_full());
        let Some(Entered { newcomer, begins_pool }) = self.enter(&mut members, &link, role, &info)
        else {
            return Admitted::Duplicate;
        };
        let mut announcement = self.node.accounts.add_link(&link);
        announcement.go_on(publisher);
        // Of a pool the first connection speaks, and each dedicated one for its account.
        let is_news = link.is_dedicated() || begins_pool;
        if is_news && let Some(news) = News::of(info.clone(), &link.scope, role, peer_address) {
            gossip::spread(&news, &link.peer, &mut members, publisher);
            if let Some(member) = members.get_mut(&link.peer) {
                member.keep(news);
            }
        }
        if begins_pool && members.get_mut(&link.peer).is_some_and(Member::takes_missed_news) {
            gossip::repeat(&link.peer, &members, publisher);
        }
        if newcomer {
            // Under the lock, so that news and farewells of a peer keep their order.
            self.node.discovery.add_peer(&client_urls_of(&info), &self.node.registry);
        }
        drop(members);
        if let (true, Role::Dialed(dialed)) = (is_news, role) {
            self.complete_pool(&link, dialed, &info);
        }
        self.changed.notify_waiters();
        Admitted::Member(link, announcement)
    }

    fn link_of(&self, admission: &Admission<'_>) -> Link {
        let Admission { outbound, peer_address, scope, info, .. } = admission;
        let peer = PeerAbout {
            id: info.server_id.as_str().into(),
            headers: info.headers,
            traces: info.proto >= ROUTE_PROTO,
            label: format!("{peer_address} - rid:{}", outbound.id),
        };
        let order = self.orders.fetch_add(1, Ordering::Relaxed);
        Link::new(Arc::clone(outbound), peer, order, scope.clone(), self.terms.load_full())
    }

    /// Puts a connection among those of its server, unless it is superfluous.
    fn enter(
        &self,
        members: &mut HashMap<Arc<str>, Member>,
        link: &Arc<Link>,
        role: &Role,
        info: &Info,
    ) -> Option<Entered> {
        let held = HeldLink::new(link, role);
        let Some(member) = members.get_mut(&link.peer) else {
            let (urls, info) = (client_urls_of(info), info.clone());
            let (links, news) = (vec![held], Vec::new());
            let member = Member { urls, info, links, news, missed_news: false };
            members.insert(Arc::clone(&link.peer), member);
            return Some(Entered { newcomer: true, begins_pool: !link.is_dedicated() });
        };
        if let Some(explicit) = self.is_superfluous(member, role, &link.scope, info) {
            member.links.iter_mut().for_each(|held| held.explicit |= explicit);
            return None;
        }
        let begins_pool = !link.is_dedicated() && member.link_for_many().is_none();
        member.links.push(held);
        Some(Entered { newcomer: false, begins_pool })
    }

    /// Whether another connection to a member serves already, so that this one is closed: here
    /// if we are its dialer, otherwise by the peer. With two dialers at once the one with the
    /// lesser id stays, and the other closes: exactly one side does, whatever the timing. A peer
    /// of another kind closes its own duplicates. The value says whether ours was explicit.
    fn is_superfluous(
        &self,
        member: &Member,
        role: &Role,
        scope: &Scope,
        info: &Info,
    ) -> Option<bool> {
        let Role::Dialed(dialed) = role else {
            self.close_losing_dials(member, scope, info);
            return self.is_second_of_an_alive_peer(member, scope).then_some(false);
        };
        let same_kind = is_natsd(info);
        let we_dialed_before = member.in_place(scope).any(|held| held.dialed);
        let they_win = same_kind
            && info.server_id < self.node.identity.id
            && member.in_place(scope).any(|held| !held.dialed);
        (we_dialed_before || they_win).then_some(dialed.explicit)
    }

    /// Whether the peer has dialed us before and that connection is alive. One that has been
    /// silent is ended: its place is taken.
    fn is_second_of_an_alive_peer(&self, member: &Member, scope: &Scope) -> bool {
        let entries = self.entries.lock();
        let accepted = member.in_place(scope).filter(|held| !held.dialed);
        let (alive, silent): (Vec<_>, Vec<_>) = accepted.partition(|held| {
            entries
                .get(&held.link.outbound.id)
                .is_some_and(|entry| entry.vitals.heard_within(ALIVE))
        });
        if alive.is_empty() {
            for held in silent {
                held.link.outbound.close(CloseReason::DuplicateRoute);
            }
        }
        !alive.is_empty()
    }

    /// An accepted connection of a peer that wins ends those that we dialed.
    fn close_losing_dials(&self, member: &Member, scope: &Scope, info: &Info) {
        if !is_natsd(info) || info.server_id > self.node.identity.id {
            return;
        }
        for held in member.in_place(scope).filter(|held| held.dialed) {
            held.link.outbound.close(CloseReason::DuplicateRoute);
        }
    }
}

impl HeldLink {
    fn new(link: &Arc<Link>, role: &Role) -> Self {
        let (dialed, explicit) = match role {
            Role::Accepted => (false, false),
            Role::Dialed(dialed) => (true, dialed.explicit),
        };
        Self { link: Arc::clone(link), dialed, explicit }
    }
}

/// Whether a peer is a natsd, which settles duplicates by the same rule as we do.
fn is_natsd(info: &Info) -> bool {
    info.version.contains("+natsd.")
}
