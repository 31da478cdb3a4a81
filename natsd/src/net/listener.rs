//! Listening sockets: one accept loop each, connections handed to the least busy thread.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::config::Listen;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Pause after the system refuses to give another descriptor.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket, not yet accepting.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: std::net::TcpListener,
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
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// Accepts for ever; ends when its task is aborted.
pub async fn accept_loop(
    listener: TcpListener,
    on_accept: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => on_accept(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!("Accept error: {error}");
                tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
            }
        }
    }
}
