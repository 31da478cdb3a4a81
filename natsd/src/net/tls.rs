//! TLS under a connection: a sink that anybody may write to, and a reader that decrypts.
//!
//! Producers of other threads encrypt in [`Sink::try_write`] under the lock of the session and
//! never wait: what the socket does not take stays with the session as ciphertext, and the bytes
//! behind it count as unwritten until all of it is gone. So the queue's bound and its accounting
//! hold with TLS as without.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::outbound::Sink;
use crate::tls::{Certificate, Secured, handshake_fault};

/// Bytes encrypted at once: four records, one system call.
const ENCRYPTED_AT_ONCE: usize = 64 * 1024;

/// How TLS begins on a connection.
#[derive(Clone, Debug)]
pub enum Role {
    /// As the server.
    Server(Arc<ServerConfig>),
    /// As the client, to a server of this name.
    Client(Arc<rustls::ClientConfig>, ServerName<'static>),
}

/// The writing side of a socket that speaks TLS from some moment on.
#[derive(Debug)]
pub(super) struct TlsSink {
    socket: OwnedWriteHalf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not yet, or never.
    Clear,
    /// Nothing may be written in clear any more.
    Handshake,
    Secure(Box<Session>),
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    /// Bytes that are encrypted and not yet reported as written.
    ahead: usize,
}

impl TlsSink {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self { socket, state: Mutex::new(State::Clear) }
    }

    /// From now on nothing is written in clear.
    pub(super) fn begin(&self) {
        *self.state.lock() = State::Handshake;
    }

    pub(super) fn secure(&self, connection: Connection) {
        *self.state.lock() = State::Secure(Box::new(Session { connection, ahead: 0 }));
    }

    /// Takes bytes from the socket and puts what they mean into `out`; returns how many, and
    /// whether the peer has said goodbye.
    pub(super) fn decrypt(&self, mut input: &[u8], out: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut state = self.state.lock();
        let State::Secure(session) = &mut *state else { return Ok((0, false)) };
        let mut filled = 0;
        loop {
            filled += session.read_plain(out.get_mut(filled..).unwrap_or_default())?;
            if input.is_empty() {
                break;
            }
            session.connection.read_tls(&mut input)?;
            let result = session.connection.process_new_packets();
            // Alerts and key updates go out now or with the next write.
            drop(session.write_cipher(&self.socket));
            match result {
                Ok(told) if told.peer_has_closed() => {
                    filled += session.read_plain(out.get_mut(filled..).unwrap_or_default())?;
                    return Ok((filled, true));
                }
                Ok(_) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok((filled, false))
    }
}

impl Session {
    fn read_plain(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.connection.reader().read(out.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The end without a goodbye shows at the socket.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes what is encrypted; `WouldBlock` when some is left.
    fn write_cipher(&mut self, socket: &OwnedWriteHalf) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Socket(socket.as_ref()))?;
        }
        Ok(())
    }

    fn write(&mut self, socket: &OwnedWriteHalf, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_cipher(socket)?;
        if self.ahead == 0 {
            self.ahead = self.connection.writer().write_vectored(slices)?;
            self.write_cipher(socket)?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }
}

impl Sink for TlsSink {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut *self.state.lock() {
            State::Clear => self.socket.try_write_vectored(slices),
            State::Handshake => Err(io::ErrorKind::WouldBlock.into()),
            State::Secure(session) => session.write(&self.socket, slices),
        }
    }

    fn finish(&self) {
        if let State::Secure(session) = &mut *self.state.lock() {
            session.connection.send_close_notify();
            // A last courtesy: the peer may not read any more.
            drop(session.write_cipher(&self.socket));
        }
    }
}

/// A non-blocking socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shakes hands; the caller bounds the time.
pub(super) async fn handshake(
    read: &OwnedReadHalf,
    role: &Role,
) -> io::Result<(Connection, Secured)> {
    let mut connection = match role {
        Role::Server(config) => {
            Connection::Server(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?)
        }
        Role::Client(config, name) => Connection::Client(
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?,
        ),
    };
    connection.set_buffer_limit(Some(ENCRYPTED_AT_ONCE));
    let stream = read.as_ref();
    loop {
        while connection.wants_write() {
            match connection.write_tls(&mut Socket(stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.writable().await?;
                }
                result => drop(result?),
            }
        }
        if !connection.is_handshaking() {
            break;
        }
        match connection.read_tls(&mut Socket(stream)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.readable().await?;
                continue;
            }
            result => drop(result?),
        }
        if let Err(error) = connection.process_new_packets() {
            // The alert says to the peer what was wrong, if it still listens.
            drop(connection.write_tls(&mut Socket(stream)));
            return Err(handshake_fault(&error));
        }
    }
    let secured = Secured {
        // Behind one that cannot be read nothing counts.
        chain: connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map_while(|shown| Certificate::parse(shown))
            .collect(),
        is_first: false,
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .map(|name| name.replace("TLS13_", "TLS_"))
            .unwrap_or_default(),
    };
    Ok((connection, secured))
}
