//! Is it a mesh? Judged by protocol alone: every server's view of its routes, and a message from
//! every node to every other. Never by a log line or a sleep.

mod delivery;
mod verdict;
mod views;

pub use delivery::{Delivery, Lost, deliver};
pub use verdict::Verdict;
pub use views::{View, apart, not_whole, silent, views, wait_for_mesh};

use std::net::SocketAddr;

use crate::topology::Endpoint;

/// Why a node without an address cannot be asked.
const NOWHERE: &str = "its machine is off, or there is none";

/// A node to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name; also what its server must call itself.
    pub node: String,
    /// Where it is; `None` when its machine is off, or there is none.
    pub endpoint: Option<Endpoint>,
}

impl Subject {
    fn client(&self) -> Option<SocketAddr> {
        self.endpoint.map(|endpoint| endpoint.client())
    }
}
