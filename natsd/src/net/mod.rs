//! Sockets: the only room that waits.
//!
//! A connection is one task on one thread for life. It reads into a buffer of the thread, hands
//! the bytes to its [`Conversation`] (a plain function: nothing awaits between bytes and
//! queue), writes every queue that was touched, and goes back to wait.

mod busy_poll;
mod connection;
mod crowding;
mod descriptors;
mod desk;
mod driver;
mod interfaces;
mod listener;
pub mod ops;
mod owed;
mod pace;
mod patience;
mod rest;
mod tls;
mod upgrade;
mod websocket;
mod workers;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::close::CloseReason;
use crate::outbound::Outbound;
use crate::router::Publisher;
use crate::tls::Secured;

pub use connection::{Reader, serve, split, split_tls};
pub use descriptors::raise_descriptor_limit;
pub use desk::with_publisher;
pub use interfaces::interface_addresses;
pub use listener::{Bound, Listener, accept_loop, bind};
pub use patience::Patience;
pub use rest::Rest;
pub use tls::Role as TlsRole;
pub use upgrade::{TlsPlan, TlsStart};
pub use websocket::{Upgraded, WebsocketPlan, accept_websocket};
pub use workers::{Workers, serving_runtime};

/// One end of a connection as a state machine: bytes in, queues touched.
pub trait Conversation: Send + 'static {
    /// Its own queue.
    fn outbound(&self) -> &Arc<Outbound>;

    /// The connection is there; what it is carried by has yet to be agreed on.
    fn on_begin(&mut self) {}

    /// Called once, before anything is read.
    ///
    /// # Errors
    /// Closes the connection.
    fn on_open(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason>;

    /// TLS was agreed on.
    ///
    /// # Errors
    /// Closes the connection.
    fn on_secured(&mut self, secured: Secured) -> Result<(), CloseReason>;

    /// TLS was not agreed on; the connection ends.
    fn on_insecure(&mut self, error: &std::io::Error);

    /// The peer broke the rules of what carries the conversation; the connection ends.
    fn on_broken(&mut self, _text: &str) {}

    /// The peer is late in reading, and it is for the first time since it last kept up. It is
    /// given more time: an end is told by [`Self::on_close`].
    fn on_slow(&mut self, _is_first: bool) {}

    /// Something worth a line in the log.
    fn notice(&self, _text: &str) {}

    /// The largest message that may be unpacked for it.
    fn payload_max(&self) -> usize {
        usize::MAX
    }

    /// Takes the bytes that were read; what they ask for is queued when it returns. `lent` is the
    /// read buffer that holds them, if it may be lent to queues until they are written.
    ///
    /// # Errors
    /// Closes the connection after what is queued for it was written.
    fn on_bytes(
        &mut self,
        input: &[u8],
        lent: Option<&Bytes>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason>;

    /// How many bytes it was given and has not worked on, because its turn was over: nothing is
    /// read until it has.
    fn left(&self) -> usize;

    /// Goes on with them.
    ///
    /// # Errors
    /// As of [`Self::on_bytes`].
    fn go_on(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason>;

    /// Goes on with all of them, however long it takes: the peer has said goodbye.
    ///
    /// # Errors
    /// As of [`Self::on_bytes`].
    fn finish(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        while self.left() > 0 {
            self.go_on(publisher)?;
        }
        Ok(())
    }

    /// Where a large message continues, if one is being read: the socket is read straight into
    /// it, up to so many more bytes. `on_bytes` is called with no input afterwards.
    fn read_into(&mut self) -> Option<(&mut BytesMut, usize)> {
        None
    }

    /// Whether it waits for an answer from elsewhere (a slow check of credentials). As long as
    /// it does nothing is read from the socket.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Goes on if the answer is there; otherwise the task is woken by it.
    ///
    /// # Errors
    /// Closes the connection.
    fn poll_answer(
        &mut self,
        _cx: &mut Context<'_>,
        _publisher: &mut Publisher,
    ) -> Poll<Result<(), CloseReason>> {
        Poll::Ready(Ok(()))
    }

    /// The longest that nothing is read at once when a receiver of what it sent is far behind.
    fn longest_pause(&self) -> Duration {
        Duration::MAX
    }

    /// When it wants to be called next if nothing happens.
    fn deadline(&self) -> Option<Instant>;

    /// That time has come.
    ///
    /// # Errors
    /// Closes the connection.
    fn on_deadline(&mut self, now: Instant, publisher: &mut Publisher) -> Result<(), CloseReason>;

    /// Called once at the end, whatever the reason.
    fn on_close(&mut self, reason: CloseReason, publisher: &mut Publisher);

    /// Does a part of what is left to do after [`Self::on_close`], and says whether there is more:
    /// other connections of the thread get their turn in between.
    fn wind_down(&mut self, publisher: &mut Publisher) -> bool;
}
