//! Listening sockets: one accept loop each, connections handed to the least busy thread.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Listen;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Pauses while the system refuses to give another descriptor, as nats-server's: the first, and
/// the longest of those that each double the one before.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A bound socket, not yet accepting.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// Where it is bound, port included.
    pub address: SocketAddr,
}

/// Binds a listen address.
///
/// # Errors
/// When the name has no address or the address cannot be had.
pub fn bind(listen: &Listen) -> io::Result<Bound> {
    let address = (listen.host.as_str(), listen.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address for this host"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Small writes go out at once: batches are made here, not by the kernel. Those that are
    // accepted inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// A listening socket that is known to the readiness loop of the thread that made it so.
#[derive(Debug)]
pub struct Listener(AsyncFd<TcpListener>);

impl TryFrom<Bound> for Listener {
    type Error = io::Error;

    #[expect(
        deprecated,
        reason = "the unsafe successor wants the descriptor to stay open, which a listener that \
                  is owned and not replaced sees to"
    )]
    fn try_from(bound: Bound) -> io::Result<Self> {
        AsyncFd::with_interest(bound.listener, Interest::READABLE).map(Self)
    }
}

impl Listener {
    /// The connection does not block and is known to no readiness loop yet: the thread that
    /// will serve it tells its own.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.async_io(Interest::READABLE, TcpListener::accept).await?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }
}

/// Accepts for ever; ends when its task is aborted.
pub async fn accept_loop(
    listener: Listener,
    on_accept: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync>,
) {
    let mut pause = REFUSED_PAUSE;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = REFUSED_PAUSE;
                on_accept(stream, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let millis = pause.as_millis();
                tracing::error!("Temporary Accept Error ({error}), sleeping {millis}ms");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(REFUSED_PAUSE_MAX);
            }
        }
    }
}
