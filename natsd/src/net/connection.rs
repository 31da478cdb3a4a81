//! The life of one connection: greet, agree on TLS, converse (`driver.rs`), say goodbye.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::Instant;

use super::Conversation;
use super::desk;
use super::driver::{Flow, converse};
use super::patience::Patience;
use super::tls::TlsSink;
use super::upgrade::TlsPlan;
use super::websocket::Frames;
use crate::close::CloseReason;
use crate::outbound::{Outbound, Sink};
use crate::tls::Secured;

/// How long the last bytes of a closing connection may take.
const FAREWELL: Duration = Duration::from_millis(250);

/// The reading half of a socket; the writing half lives in the connection's queue.
#[derive(Debug)]
pub struct Reader {
    pub(super) read: OwnedReadHalf,
    pub(super) carrier: Carrier,
}

/// What is between the socket and the conversation.
#[derive(Debug)]
pub(super) enum Carrier {
    /// Nothing.
    Clear,
    /// TLS, as planned.
    Securable(Box<TlsPlan>, Arc<TlsSink>),
    /// A WebSocket that was agreed on, with or without TLS under it.
    Websocket(Box<Frames>),
}

/// The writing half of a TCP socket.
#[derive(Debug)]
pub(super) struct TcpSink {
    write: Option<OwnedWriteHalf>,
    /// Nothing was written yet.
    fresh: AtomicBool,
}

/// Splits a connected stream into what [`serve`] reads and what the queue writes to.
#[must_use]
pub fn split(stream: TcpStream) -> (Reader, Arc<dyn Sink>) {
    let (read, write) = stream.into_split();
    (Reader { read, carrier: Carrier::Clear }, Arc::new(TcpSink::new(write)))
}

/// The same for a connection that is to speak TLS.
#[must_use]
pub fn split_tls(stream: TcpStream, plan: TlsPlan) -> (Reader, Arc<dyn Sink>) {
    let (read, write) = stream.into_split();
    let sink = Arc::new(TlsSink::new(write));
    let carrier = Carrier::Securable(Box::new(plan), Arc::clone(&sink));
    (Reader { read, carrier }, sink)
}

impl TcpSink {
    pub(super) const fn new(write: OwnedWriteHalf) -> Self {
        Self { write: Some(write), fresh: AtomicBool::new(true) }
    }
}

impl Sink for TcpSink {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(write) = &self.write else { return Err(io::ErrorKind::NotConnected.into()) };
        // Of a new socket the readiness loop knows nothing before its next turn; it takes a
        // greeting right away, without that turn.
        if self.fresh.load(Ordering::Relaxed) && self.fresh.swap(false, Ordering::Relaxed) {
            return SockRef::from(write.as_ref()).send_vectored(slices);
        }
        write.try_write_vectored(slices)
    }
}

impl Drop for TcpSink {
    /// Lets the socket end with the close of its descriptor: a shutdown before it, which the
    /// half would do by itself, tells the peer nothing more. Measured: a tenth of what a
    /// connection costs.
    fn drop(&mut self) {
        if let Some(write) = self.write.take() {
            write.forget();
        }
    }
}

/// Serves a connection to its end.
pub async fn serve(reader: Reader, mut conversation: impl Conversation, patience: Patience) {
    let frames = match &reader.carrier {
        Carrier::Websocket(frames) => Some(Arc::clone(&frames.sink)),
        _ => None,
    };
    conversation.on_begin();
    let reason = match open(&reader, &mut conversation).await {
        Err(reason) => reason,
        Ok(secured) => {
            let flow = match reader.carrier {
                Carrier::Securable(_, sink) if secured => Flow::Tls(sink),
                Carrier::Websocket(frames) => Flow::Websocket(frames),
                _ => Flow::Clear,
            };
            converse(reader.read, flow, &mut conversation, patience).await
        }
    };
    let outbound = Arc::clone(conversation.outbound());
    outbound.close(reason);
    let reason = outbound.closed().unwrap_or(reason);
    if reason == CloseReason::SlowConsumerPendingBytes {
        let most = outbound.pending_bytes_max();
        conversation.notice(&format!("Slow Consumer Detected: MaxPending of {most} Exceeded"));
    }
    let last_words = || frames.as_ref().is_none_or(|frames| frames.last_words(reason));
    if reason.wants_last_flush() {
        farewell(&outbound, last_words).await;
    } else {
        last_words();
    }
    drop(frames);
    let leftover = outbound.release();
    if leftover.is_large() {
        // Not on a thread that serves others. Nobody waits for it, and it cannot fail.
        drop(spawn_blocking(move || drop(leftover)));
    }
    desk::with(|desk| {
        conversation.on_close(reason, &mut desk.publisher);
        desk.publisher.flush();
    });
    while desk::with(|desk| {
        let more = conversation.wind_down(&mut desk.publisher);
        desk.publisher.flush();
        more
    }) {
        yield_now().await;
    }
}

/// Greets the peer and agrees on TLS, in the order that is planned; says whether there is TLS.
async fn open(reader: &Reader, conversation: &mut impl Conversation) -> Result<bool, CloseReason> {
    let Carrier::Securable(plan, sink) = &reader.carrier else {
        greet(conversation)?;
        return Ok(false);
    };
    if plan.comes_first(&reader.read).await {
        secure(reader, plan, sink, conversation, true).await?;
        greet(conversation)?;
        return Ok(true);
    }
    greet(conversation)?;
    written(&reader.read, conversation.outbound(), plan.timeout).await?;
    let wanted = plan.comes_next(&reader.read).await;
    if wanted {
        secure(reader, plan, sink, conversation, false).await?;
    }
    Ok(wanted)
}

/// Waits until all that was queued is written in clear: TLS begins right behind it.
async fn written(
    read: &OwnedReadHalf,
    outbound: &Outbound,
    patience: Duration,
) -> Result<(), CloseReason> {
    let drained = async {
        while outbound.closed().is_none() && outbound.delivered().pending_bytes > 0 {
            read.as_ref().writable().await?;
            outbound.unblock();
            outbound.flush();
        }
        Ok::<(), io::Error>(())
    };
    match tokio::time::timeout(patience, drained).await {
        Ok(Ok(())) => outbound.closed().map_or(Ok(()), Err),
        Ok(Err(_)) => Err(CloseReason::WriteError),
        Err(_) => Err(CloseReason::TlsHandshakeError),
    }
}

fn greet(conversation: &mut impl Conversation) -> Result<(), CloseReason> {
    desk::with(|desk| {
        let result = conversation.on_open(&mut desk.publisher);
        desk.publisher.flush();
        result
    })
}

async fn secure(
    reader: &Reader,
    plan: &TlsPlan,
    sink: &Arc<TlsSink>,
    conversation: &mut impl Conversation,
    is_first: bool,
) -> Result<(), CloseReason> {
    match plan.secure(&reader.read, sink).await {
        Ok(secured) => {
            // Whatever was queued during the handshake goes out now.
            conversation.outbound().unblock();
            conversation.outbound().flush();
            conversation.on_secured(Secured { is_first, ..secured })
        }
        Err(error) => {
            conversation.on_insecure(&error);
            Err(CloseReason::TlsHandshakeError)
        }
    }
}

/// Writes the last bytes and words, for a short time only.
async fn farewell(outbound: &Outbound, last_words: impl Fn() -> bool) {
    let end = Instant::now() + FAREWELL;
    while !(outbound.last_flush() && last_words()) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
