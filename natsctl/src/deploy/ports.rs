//! Who listens where, from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Its inode, by which its process is found.
    pub inode: u64,
}

impl Listener {
    /// Reads a line of `/proc/net/tcp`; `None` when it is not a listening socket.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&local, &state, &inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let address = parse_address(address)?;
        let inode = inode.parse().ok()?;
        (state == "0A").then(|| Self { address: SocketAddr::new(address, port), inode })
    }

    /// Whether it keeps others from listening at `wanted`.
    #[must_use]
    pub fn blocks(&self, wanted: SocketAddr) -> bool {
        let same = self.address.ip() == wanted.ip();
        let any = self.address.ip().is_unspecified() || wanted.ip().is_unspecified();
        self.address.port() == wanted.port() && (same || any)
    }
}

/// Hex, in groups of four bytes, each in the machine's own order (little endian everywhere we
/// run).
fn parse_address(hex: &str) -> Option<IpAddr> {
    let group = |nth: usize| u32::from_str_radix(hex.get(nth * 8..nth * 8 + 8)?, 16).ok();
    match hex.len() {
        8 => Some(Ipv4Addr::from(group(0)?.swap_bytes()).into()),
        32 => {
            let mut bytes = [0; 16];
            for (nth, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&group(nth)?.to_le_bytes());
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "   0: 0B00007F:107E 00000000:0000 0A 00000000:00000000 00:00000000 \
                      00000000     0        0 2112571 1 0000000000000000 100 0 0 10 0";
    const V6: &str = "   1: 00000000000000000000000000000000:107E \
                      00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 \
                      00000000     0        0 77 1 0000000000000000 100 0 0 10 0";

    #[test]
    fn a_listener_blocks_its_own_address_and_every_address_when_it_has_all() {
        let one = Listener::parse(V4).unwrap();
        assert_eq!((one.address.to_string().as_str(), one.inode), ("127.0.0.11:4222", 2112571));
        assert!(one.blocks("127.0.0.11:4222".parse().unwrap()));
        assert!(one.blocks("0.0.0.0:4222".parse().unwrap()));
        assert!(!one.blocks("127.0.0.12:4222".parse().unwrap()));
        let all = Listener::parse(V6).unwrap();
        assert!(all.blocks("127.0.0.12:4222".parse().unwrap()));
        assert!(!all.blocks("127.0.0.12:4223".parse().unwrap()));
    }
}
