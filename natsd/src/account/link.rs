//! A connection to a peer server, as seen by accounts: where interest is announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Touch;
use crate::outbound::Outbound;
use crate::protocol::args::Decimal;

/// A registered route connection.
#[derive(Debug)]
pub struct Link {
    /// Its queue of bytes.
    pub outbound: Arc<Outbound>,
    /// Server id of the peer: a message goes to one link of each peer only.
    pub peer: Arc<str>,
    /// Counts registrations: of several links to one peer the youngest is used.
    pub order: u64,
    /// Carries one account only; ops do not name it.
    pub dedicated: bool,
    /// The peer understands headers.
    pub headers: bool,
    open: AtomicBool,
}

impl Link {
    /// Makes an open link.
    #[must_use]
    pub fn new(
        outbound: Arc<Outbound>,
        peer: Arc<str>,
        order: u64,
        dedicated: bool,
        headers: bool,
    ) -> Self {
        Self { outbound, peer, order, dedicated, headers, open: AtomicBool::new(true) }
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
        if !self.dedicated {
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

    /// Queues bytes for the peer.
    pub fn send(&self, bytes: &[u8], touched: &mut dyn Touch) {
        if self.outbound.append_bytes(bytes).is_some_and(|appended| appended.first_touch) {
            touched.touch(&self.outbound);
        }
    }
}
