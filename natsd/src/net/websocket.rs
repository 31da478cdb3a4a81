//! WebSocket under a connection: the upgrade, a sink that frames what is queued, and a reader
//! that takes frames apart.
//!
//! As with TLS, producers of other threads write in [`Sink::try_write`] under the lock of the
//! sink and never wait. An uncompressed frame is a header and the queue's own bytes behind it,
//! not copied; a compressed one is made beforehand, and the bytes it stands for count as
//! unwritten until all of it is gone. So the queue's bound holds as without. Answers to pings go
//! out between frames.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

use super::Conversation;
use super::connection::{Carrier, Reader, TcpSink};
use super::rest::Rest;
use super::tls::TlsSink;
use super::upgrade::TlsPlan;
use crate::close::CloseReason;
use crate::outbound::Sink;
use crate::router::Publisher;
use crate::tls::Secured;
use crate::websocket::{
    Answer, BROWSER_FRAME_BYTES, COMPRESSED_ABOVE, Closing, Decoder, Inflater, Opcode, Packed,
    Piece, Refusal, Session, Terms, answer, deflate, put_control, put_header,
};

/// Bytes that are compressed, or cut into small frames, at once.
const FRAMED_AT_ONCE: usize = 256 * 1024;
/// So many unpacked bytes cost about as much as one delivery.
const UNPACKED_PER_STEP: usize = 256;
/// Answers to pings that may wait, in bytes; a peer that sends more does not read.
const CONTROLS_MAX: usize = 64 * 1024;
/// Bytes of a request that are read at once.
const REQUEST_BYTES: usize = 4096;

/// What is planned for the connections of a WebSocket listener.
#[derive(Clone, Debug)]
pub struct WebsocketPlan {
    /// Whom to let in.
    pub terms: Arc<Terms>,
    /// TLS before all else.
    pub tls: Option<TlsPlan>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// A connection that was upgraded.
pub struct Upgraded {
    /// For [`super::serve`].
    pub reader: Reader,
    /// For the connection's queue.
    pub sink: Arc<dyn Sink>,
    /// What was agreed on.
    pub session: Session,
    /// What TLS told.
    pub secured: Option<Secured>,
}

/// Has a peer upgrade; whatever it does wrong is answered and logged here.
pub async fn accept_websocket(
    stream: TcpStream,
    peer: SocketAddr,
    plan: &WebsocketPlan,
) -> Option<Upgraded> {
    let (read, write) = stream.into_split();
    let (tls, wire): (_, Arc<dyn Sink>) = match &plan.tls {
        None => (None, Arc::new(TcpSink::new(write))),
        Some(_) => {
            let sink = Arc::new(TlsSink::new(write));
            (Some(Arc::clone(&sink)), sink)
        }
    };
    let negotiation = Negotiation { read, tls, wire, peer };
    timeout(plan.timeout, negotiation.run(plan)).await.ok().flatten()
}

/// A connection that is not yet a WebSocket.
struct Negotiation {
    read: OwnedReadHalf,
    tls: Option<Arc<TlsSink>>,
    wire: Arc<dyn Sink>,
    peer: SocketAddr,
}

impl Negotiation {
    async fn run(self, plan: &WebsocketPlan) -> Option<Upgraded> {
        let secured = match (&plan.tls, &self.tls) {
            (Some(tls), Some(sink)) => match tls.secure(&self.read, sink).await {
                Ok(secured) => Some(secured),
                Err(error) => {
                    let peer = self.peer;
                    tracing::error!("websocket: http: TLS handshake error from {peer}: {error}");
                    return None;
                }
            },
            _ => None,
        };
        let session = self.upgrade(&plan.terms).await;
        let Some(session) = session else {
            self.wire.finish();
            return None;
        };
        let sink = Arc::new(WebsocketSink::new(self.wire, &session));
        let frames = Frames {
            decoder: Decoder::new(!session.unmasked, session.compression),
            inflater: Inflater::default(),
            rest: Rest::default(),
            tls: self.tls,
            sink: Arc::clone(&sink),
        };
        let reader = Reader { read: self.read, carrier: Carrier::Websocket(Box::new(frames)) };
        Some(Upgraded { reader, sink, session, secured })
    }

    /// Reads requests until one is good, or the connection ends.
    async fn upgrade(&self, terms: &Terms) -> Option<Session> {
        let mut request = Vec::new();
        loop {
            match answer(&request, terms, &http_date()) {
                Answer::More => self.read_more(&mut request).await?,
                Answer::Upgraded(upgrade) => {
                    self.write(&upgrade.response).await.ok()?;
                    if upgrade.leafnode {
                        tracing::error!("Not configured to accept leaf node connections");
                        return None;
                    }
                    return Some(upgrade.session);
                }
                Answer::Refused(Refusal { response, reason, next_at }) => {
                    if let Some(reason) = reason {
                        tracing::error!("{} - websocket handshake error: {reason}", self.peer);
                    }
                    self.write(&response).await.ok()?;
                    request.drain(..next_at?);
                }
            }
        }
    }

    /// Reads once; `None` at the end.
    async fn read_more(&self, request: &mut Vec<u8>) -> Option<()> {
        let mut input = [0; REQUEST_BYTES];
        let mut plain = [0; 2 * REQUEST_BYTES];
        loop {
            if let Some(tls) = &self.tls {
                let (count, ended) = tls.decrypt(&[], &mut plain).ok()?;
                if count > 0 {
                    request.extend_from_slice(plain.get(..count)?);
                    return Some(());
                }
                if ended {
                    return None;
                }
            }
            self.read.readable().await.ok()?;
            let read = match self.read.try_read(&mut input) {
                Ok(0) => return None,
                Ok(count) => input.get(..count)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return None,
            };
            let Some(tls) = &self.tls else {
                request.extend_from_slice(read);
                return Some(());
            };
            let (count, ended) = tls.decrypt(read, &mut plain).ok()?;
            request.extend_from_slice(plain.get(..count)?);
            if count > 0 {
                return Some(());
            }
            if ended {
                return None;
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.wire.try_write(&[IoSlice::new(bytes)]) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.read.as_ref().writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The time of day as HTTP writes it (RFC 9110, 5.6.7).
fn http_date() -> String {
    Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The reading side: frames to what they hold.
#[derive(Debug)]
pub(super) struct Frames {
    decoder: Decoder,
    inflater: Inflater,
    rest: Rest,
    pub(super) tls: Option<Arc<TlsSink>>,
    pub(super) sink: Arc<WebsocketSink>,
}

/// Why a compressed message was not taken.
enum Untaken {
    Packed(Packed),
    Closed(CloseReason),
}

impl From<Packed> for Untaken {
    fn from(packed: Packed) -> Self {
        Self::Packed(packed)
    }
}

impl Frames {
    /// How much input waits for the next turn.
    pub(super) const fn waiting(&self) -> usize {
        self.rest.waiting()
    }

    /// Gives what the frames hold to the conversation, until the turn is over: frames of a few bytes
    /// may hold millions. The rest is kept, unless it is the last that came.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        is_last: bool,
        conversation: &mut impl Conversation,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let at = self.take_some(input, is_last, conversation, publisher)?;
        self.rest.append(input.get(at..).unwrap_or_default());
        Ok(())
    }

    /// Goes on with input that was kept.
    pub(super) fn take_rest(
        &mut self,
        conversation: &mut impl Conversation,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let mut rest = BytesMut::from(self.rest.take());
        let at = self.take_some(&mut rest, false, conversation, publisher)?;
        let left = rest.len().saturating_sub(at);
        self.rest.restore(rest.freeze(), left);
        Ok(())
    }

    /// Takes frames as long as the turn is; returns how far it came.
    fn take_some(
        &mut self,
        input: &mut [u8],
        is_last: bool,
        conversation: &mut impl Conversation,
        publisher: &mut Publisher,
    ) -> Result<usize, CloseReason> {
        let mut at = 0;
        loop {
            if !is_last && at < input.len() && (conversation.left() > 0 || publisher.turn_is_over())
            {
                return Ok(at);
            }
            match self.decoder.next(input, &mut at) {
                Ok(None) => return Ok(input.len()),
                Ok(Some(Piece::Data { bytes, compressed, last })) => {
                    let bytes = input.get(bytes).unwrap_or_default();
                    if compressed {
                        self.unpack(bytes, last, conversation, publisher)?;
                    } else if !bytes.is_empty() {
                        conversation.on_bytes(bytes, None, publisher)?;
                    }
                }
                Ok(Some(Piece::Ping(payload))) => self.sink.pong(&payload)?,
                Ok(Some(Piece::Pong)) => {}
                Ok(Some(Piece::Close(closing))) => {
                    conversation.finish(publisher)?;
                    self.sink.say_goodbye(closing);
                    return Err(CloseReason::ClientClosed);
                }
                Err(violation) => {
                    let text = violation.to_string();
                    conversation.on_broken(&text);
                    self.sink.say_goodbye(Closing::protocol_error(&text));
                    return Err(CloseReason::ReadError);
                }
            }
        }
    }

    fn unpack(
        &mut self,
        bytes: &[u8],
        last: bool,
        conversation: &mut impl Conversation,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let most = conversation.payload_max();
        let mut result = self.inflater.push(bytes, most).map_err(Untaken::from);
        if last && result.is_ok() {
            result = self.inflater.finish(most, |plain| {
                publisher.note(plain.len() / UNPACKED_PER_STEP);
                conversation.on_bytes(plain, None, publisher).map_err(Untaken::Closed)
            });
        }
        result.map_err(|untaken| match untaken {
            Untaken::Closed(reason) => reason,
            Untaken::Packed(packed) => {
                conversation.on_broken(&packed.to_string());
                let status = if packed == Packed::TooLong { 1009 } else { 1007 };
                let body = packed.to_string();
                self.sink.say_goodbye(Closing { status: Some(status), body });
                CloseReason::ReadError
            }
        })
    }
}

/// The writing side: what is queued goes out in frames.
pub(super) struct WebsocketSink {
    wire: Arc<dyn Sink>,
    compression: bool,
    /// Frames are no larger than this.
    frame_max: Option<usize>,
    /// The same of compressed messages.
    compressed_frame_max: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of frames that are made and not written, and how many of them are.
    ready: Vec<u8>,
    written: usize,
    /// Queued bytes that `ready` stands for; they count as written when it is.
    ahead: usize,
    /// Queued bytes that still belong to the frame whose header is behind `ready`.
    left: usize,
    /// Control frames that wait for the end of the current frame.
    controls: Vec<u8>,
    /// The last frame of all.
    goodbye: Option<Closing>,
    said_goodbye: bool,
}

impl std::fmt::Debug for WebsocketSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebsocketSink").field("state", &self.state).finish_non_exhaustive()
    }
}

impl WebsocketSink {
    fn new(wire: Arc<dyn Sink>, session: &Session) -> Self {
        let frame_max = session.browser.then_some(BROWSER_FRAME_BYTES);
        Self {
            wire,
            compression: session.compression,
            frame_max,
            compressed_frame_max: frame_max.filter(|_| !session.whole_when_compressed),
            state: Mutex::default(),
        }
    }

    /// Queues the answer to a ping.
    fn pong(&self, payload: &[u8]) -> Result<(), CloseReason> {
        let mut state = self.state.lock();
        if state.controls.len() > CONTROLS_MAX {
            return Err(CloseReason::SlowConsumerPendingBytes);
        }
        put_control(&mut state.controls, Opcode::Pong, payload);
        Ok(())
    }

    /// Whether control frames wait that nobody else is about to write.
    pub(super) fn wants_write(&self) -> bool {
        let state = self.state.lock();
        state.is_between_frames() && !(state.ready.is_empty() && state.controls.is_empty())
    }

    /// Writes control frames that wait, as far as the socket takes them.
    pub(super) fn flush_controls(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.is_between_frames() {
            return Ok(()); // whoever writes the frame writes them behind it
        }
        state.make_controls_ready();
        match state.write_ready(&*self.wire) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// Sets the last frame of all, unless there is one already.
    fn say_goodbye(&self, closing: Closing) {
        self.state.lock().goodbye.get_or_insert(closing);
    }

    /// Writes the last frame of all; false when the socket does not take it now.
    pub(super) fn last_words(&self, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        if !state.is_between_frames() {
            return true; // in the middle of a frame there is no room for words
        }
        let goodbye = state.goodbye.clone().or_else(|| Closing::of(reason));
        let Some(goodbye) = goodbye else { return true };
        state.make_controls_ready();
        if !std::mem::replace(&mut state.said_goodbye, true) {
            put_control(&mut state.ready, Opcode::Close, &goodbye.payload());
        }
        let result = state.write_ready(&*self.wire);
        !matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Sink for WebsocketSink {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state.lock();
        if state.is_between_frames() {
            state.make_controls_ready();
            self.begin(&mut state, slices);
        }
        if state.left > 0 {
            let count = state.write_body(&*self.wire, slices)?;
            if state.left > 0 {
                return Ok(count);
            }
            // The frame is out: controls may follow it.
            state.ahead = count;
            state.make_controls_ready();
        }
        state.write_ready(&*self.wire)?;
        Ok(std::mem::take(&mut state.ahead))
    }

    fn finish(&self) {
        self.wire.finish();
    }
}

impl WebsocketSink {
    /// Begins one frame, or makes some, of what is queued.
    fn begin(&self, state: &mut State, slices: &[IoSlice<'_>]) {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.compression && total > COMPRESSED_ABOVE {
            state.ahead = total.min(FRAMED_AT_ONCE);
            let mut packed = Vec::new();
            deflate(first_bytes(slices, state.ahead), state.ahead, &mut packed);
            let most = self.compressed_frame_max.unwrap_or(packed.len()).max(1);
            let count = packed.len().div_ceil(most);
            for (index, part) in packed.chunks(most).enumerate() {
                let (first, last) = (index == 0, index + 1 == count);
                let opcode = if first { Opcode::Binary } else { Opcode::Continuation };
                put_header(&mut state.ready, opcode, last, first, part.len());
                state.ready.extend_from_slice(part);
            }
        } else if let Some(most) = self.frame_max {
            state.ahead = total.min(FRAMED_AT_ONCE);
            put_small_frames(&mut state.ready, slices, state.ahead, most);
        } else {
            state.left = total;
            put_header(&mut state.ready, Opcode::Binary, true, false, total);
        }
    }
}

impl State {
    const fn is_between_frames(&self) -> bool {
        self.ahead == 0 && self.left == 0
    }

    fn make_controls_ready(&mut self) {
        self.ready.append(&mut self.controls);
    }

    /// Writes what is ready; `WouldBlock` when some is left.
    fn write_ready(&mut self, wire: &dyn Sink) -> io::Result<()> {
        while self.written < self.ready.len() {
            let rest = self.ready.get(self.written..).unwrap_or_default();
            self.written += nonzero(wire.try_write(&[IoSlice::new(rest)])?)?;
        }
        self.forget_ready();
        Ok(())
    }

    /// Writes what is ready and the frame's queued bytes behind it; returns how many of these.
    fn write_body(&mut self, wire: &dyn Sink, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let head = self.ready.get(self.written..).unwrap_or_default();
            let head_len = head.len();
            let count = {
                let mut parts: SmallVec<[IoSlice<'_>; 65]> = SmallVec::new();
                if head_len > 0 {
                    parts.push(IoSlice::new(head));
                }
                parts.extend(first_bytes(slices, self.left).map(IoSlice::new));
                nonzero(wire.try_write(&parts)?)?
            };
            if count < head_len {
                self.written += count;
                continue;
            }
            self.forget_ready();
            let of_body = count - head_len;
            self.left -= of_body;
            if of_body > 0 {
                return Ok(of_body);
            }
        }
    }

    fn forget_ready(&mut self) {
        self.written = 0;
        if self.ready.capacity() > REQUEST_BYTES {
            self.ready = Vec::new(); // an idle connection holds no large buffer
        } else {
            self.ready.clear();
        }
    }
}

fn nonzero(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

/// The first `most` bytes of some slices.
fn first_bytes<'s>(slices: &'s [IoSlice<'_>], most: usize) -> impl Iterator<Item = &'s [u8]> {
    let mut left = most;
    let parts = slices.iter().map(move |slice| {
        let part = slice.get(..slice.len().min(left)).unwrap_or_default();
        left -= part.len();
        part
    });
    parts.filter(|part| !part.is_empty())
}

/// Frames of at most `most` bytes, each a message of its own.
fn put_small_frames(out: &mut Vec<u8>, slices: &[IoSlice<'_>], total: usize, most: usize) {
    let (mut left, mut room) = (total, 0);
    for mut part in first_bytes(slices, total) {
        while !part.is_empty() {
            if room == 0 {
                room = left.min(most);
                put_header(out, Opcode::Binary, true, false, room);
            }
            let (now, later) = part.split_at(part.len().min(room));
            out.extend_from_slice(now);
            part = later;
            room -= now.len();
            left -= now.len();
        }
    }
}

#[cfg(test)]
mod tests;
