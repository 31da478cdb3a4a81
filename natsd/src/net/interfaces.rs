//! The addresses of this machine.

use std::net::IpAddr;

/// All addresses of this machine's interfaces; empty if the system does not tell.
#[must_use]
pub fn interface_addresses() -> Vec<IpAddr> {
    if_addrs::get_if_addrs()
        .map(|all| all.into_iter().map(|interface| interface.ip()).collect())
        .unwrap_or_default()
}
