//! A connection to a peer server, as seen by accounts: where interest is announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::{Terms, Touch};
use crate::log::{
    self,
    wire::{self, Way},
};
use crate::outbound::Outbound;
use crate::protocol::args::Decimal;

/// The accounts that a route connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All: the peer does not pool.
    All,
    /// Those that hash to one slot of a pool of so many connections, without the dedicated ones.
    Slot {
        /// The slot.
        index: u32,
        /// Our own pool size, whatever the peer's: it decides what is sent where.
        pool_size: u32,
        /// Accounts with a connection of their own.
        dedicated: Arc<[String]>,
    },
    /// This one only; ops do not name it.
    Account(Arc<str>),
}

impl Scope {
    /// Whether an account's interest and messages go this way.
    #[must_use]
    pub fn carries(&self, account: &str) -> bool {
        match self {
            Self::All => true,
            Self::Slot { index, pool_size, dedicated } => {
                slot_of(account, *pool_size) == *index
                    && !dedicated.iter().any(|name| name == account)
            }
            Self::Account(name) => **name == *account,
        }
    }

    /// Whether two connections to one peer have the same task.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Slot { index: one, .. }, Self::Slot { index: two, .. }) => one == two,
            (one, two) => one == two,
        }
    }
}

/// The slot of an account: FNV-1a of its name, modulo the pool size (nats-server 2.15).
fn slot_of(account: &str, pool_size: u32) -> u32 {
    const OFFSET: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    let hash =
        account.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    hash % pool_size.max(1)
}

/// What is known of a peer when it registers.
#[derive(Clone, Debug)]
pub struct PeerAbout {
    /// Server id.
    pub id: Arc<str>,
    /// It understands headers.
    pub headers: bool,
    /// It goes on tracing messages that are traced.
    pub traces: bool,
    /// How its connection is named in the log.
    pub label: String,
}

/// A registered route connection.
#[derive(Debug)]
pub struct Link {
    /// Its queue of bytes.
    pub outbound: Arc<Outbound>,
    /// Server id of the peer: a message goes to one link of each peer only.
    pub peer: Arc<str>,
    /// Counts registrations: of several links to one peer the youngest is used.
    pub order: u64,
    /// The accounts that it carries.
    pub scope: Scope,
    /// The peer understands headers.
    pub headers: bool,
    /// The peer goes on tracing messages that are traced.
    pub traces: bool,
    /// How it is named in the log.
    pub label: String,
    /// What may cross it; `None` is everything.
    terms: ArcSwapOption<Terms>,
    open: AtomicBool,
}

impl Link {
    /// Makes an open link.
    #[must_use]
    pub fn new(
        outbound: Arc<Outbound>,
        peer: PeerAbout,
        order: u64,
        scope: Scope,
        terms: Option<Arc<Terms>>,
    ) -> Self {
        Self {
            outbound,
            peer: peer.id,
            order,
            scope,
            headers: peer.headers,
            traces: peer.traces,
            label: peer.label,
            terms: ArcSwapOption::new(terms),
            open: AtomicBool::new(true),
        }
    }

    /// From now on this may cross it. Those who announce and match look again afterwards.
    pub fn set_terms(&self, terms: Option<Arc<Terms>>) {
        self.terms.store(terms);
    }

    /// Whether the terms, if there are any, allow it.
    fn lets(&self, allow: impl FnOnce(&Terms) -> bool) -> bool {
        self.terms.load().as_ref().is_none_or(|terms| allow(terms))
    }

    /// Whether local interest is told to the peer.
    #[must_use]
    pub fn may_announce(&self, pattern: &[u8]) -> bool {
        self.lets(|terms| terms.may_import(pattern))
    }

    /// Whether interest of the peer counts.
    #[must_use]
    pub fn may_take(&self, pattern: &[u8]) -> bool {
        self.lets(|terms| terms.may_export(pattern))
    }

    /// Whether a message goes to the peer, which announced this pattern. Asked when matches are
    /// taken, not for every message.
    #[must_use]
    pub(super) fn delivers(&self, pattern: &[u8], subject: &[u8]) -> bool {
        self.lets(|terms| terms.delivers(pattern, subject))
    }

    /// Whether ops on it do not name the account.
    #[must_use]
    pub fn is_dedicated(&self) -> bool {
        matches!(self.scope, Scope::Account(_))
    }

    /// No more messages go this way.
    pub fn shut(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether messages may go this way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Renders `RS+` (count above zero) or `RS-` of one pattern and queue group.
    pub(super) fn write_interest(
        &self,
        out: &mut Vec<u8>,
        account: &str,
        pattern: &[u8],
        queue: Option<&[u8]>,
        count: usize,
    ) {
        out.extend_from_slice(if count > 0 { b"RS+ " } else { b"RS- " });
        if !self.is_dedicated() {
            out.extend_from_slice(account.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(pattern);
        if let Some(queue) = queue {
            out.push(b' ');
            out.extend_from_slice(queue);
            if count > 0 {
                out.push(b' ');
                out.extend_from_slice(Decimal::new(count).as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Queues one change of interest for the peer, and logs it.
    pub(super) fn announce(&self, line: &[u8], touched: &mut dyn Touch) {
        self.send(line, touched);
        if log::tracing_wire() {
            wire::op(&self.label, Way::Out, &String::from_utf8_lossy(line.trim_ascii_end()));
        }
    }

    /// Queues bytes for the peer.
    pub fn send(&self, bytes: &[u8], touched: &mut dyn Touch) {
        if self.outbound.append_bytes(bytes).is_some_and(|appended| appended.first_touch) {
            touched.touch(&self.outbound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_the_slots_of_the_reference() {
        assert_eq!(slot_of("$G", 3), 2, "observed: nats-server 2.15.1");
        let scope = Scope::Slot { index: 2, pool_size: 3, dedicated: [].into() };
        assert!(scope.carries("$G"));
        let pinned = Scope::Slot { index: 2, pool_size: 3, dedicated: ["$G".to_owned()].into() };
        assert!(!pinned.carries("$G"));
        assert!(Scope::Account("$SYS".into()).carries("$SYS"));
        assert!(!Scope::Account("$SYS".into()).carries("$G"));
    }
}
