//! When TLS begins on a connection, and what the peer's certificate must be.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use super::tls::{Role, TlsSink, handshake};
use crate::tls::Secured;

/// First byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// What is planned for a connection.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    /// Which side it is.
    pub role: Role,
    /// When TLS begins.
    pub start: TlsStart,
    /// How long the handshake may take.
    pub timeout: Duration,
    /// Digests of public keys, one of which the peer must have; empty admits all.
    pub pinned: BTreeSet<String>,
    /// Hosts, one of which the peer's certificate must name; `None` admits all.
    pub known_hosts: Option<Vec<String>>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// Before anything else.
    First,
    /// Before anything else if the peer begins so soon, else behind the greeting.
    FirstWithin(Duration),
    /// Behind the greeting.
    AfterGreeting,
    /// Behind the greeting, if the peer wants it.
    Optional,
}

impl TlsPlan {
    /// Whether TLS comes before the greeting.
    pub(super) async fn comes_first(&self, read: &OwnedReadHalf) -> bool {
        match self.start {
            TlsStart::First => true,
            TlsStart::FirstWithin(patience) => first_byte(read.as_ref(), patience).await.is_some(),
            TlsStart::AfterGreeting | TlsStart::Optional => false,
        }
    }

    /// Whether TLS comes behind the greeting, once that was sent.
    pub(super) async fn comes_next(&self, read: &OwnedReadHalf) -> bool {
        match self.start {
            TlsStart::Optional => first_byte(read.as_ref(), self.timeout).await == Some(HANDSHAKE),
            _ => true,
        }
    }

    /// Shakes hands and looks at the peer's certificate.
    pub(super) async fn secure(
        &self,
        read: &OwnedReadHalf,
        sink: &Arc<TlsSink>,
    ) -> io::Result<Secured> {
        sink.begin();
        let (connection, secured) =
            timeout(self.timeout, handshake(read, &self.role)).await.map_err(|_elapsed| {
                io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timeout")
            })??;
        self.check(&secured)?;
        sink.secure(connection);
        Ok(secured)
    }

    fn check(&self, secured: &Secured) -> io::Result<()> {
        let certificate = secured.certificate();
        let pinned = |digest: &String| self.pinned.contains(digest);
        if !self.pinned.is_empty() && !certificate.is_some_and(|held| pinned(&held.key_digest)) {
            return Err(io::Error::other("certificate not pinned"));
        }
        let Some(hosts) = &self.known_hosts else { return Ok(()) };
        if certificate.is_some_and(|held| hosts.iter().any(|host| held.names_host(host))) {
            return Ok(());
        }
        let names = certificate.map(|held| held.names.dns.join(", ")).unwrap_or_default();
        Err(io::Error::other(format!(
            "certificate names [{names}], none of which is among the known urls [{}]",
            hosts.join(", ")
        )))
    }
}

/// The first byte of the peer, left where it is; `None` when it says nothing in time.
async fn first_byte(stream: &TcpStream, patience: Duration) -> Option<u8> {
    let mut byte = [0];
    let peeked = timeout(patience, stream.peek(&mut byte)).await;
    matches!(peeked, Ok(Ok(1))).then_some(byte[0])
}
