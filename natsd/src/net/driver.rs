//! One conversation: reads once, converses, writes, and waits for whatever comes first.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Conversation;
use super::crowding::is_crowded;
use super::desk::{self, CIPHER_BYTES, Desk};
use super::owed::Owed;
use super::pace::Pace;
use super::patience::Patience;
use super::tls::TlsSink;
use super::websocket::Frames;
use crate::close::CloseReason;
use crate::config::show_duration;
use crate::outbound::{Attend, Waiting};
use crate::router::Publisher;

pub(super) async fn converse(
    read: OwnedReadHalf,
    flow: Flow,
    conversation: &mut impl Conversation,
    patience: Patience,
) -> CloseReason {
    let mut alarm = pin!(sleep_until(Instant::now()));
    let pace = Pace::up_to(patience.most_at_once);
    let owed = Owed::default();
    let mut driver = Driver { read, flow, owed, paused_until: None, patience, pace, late: None };
    let reason = poll_fn(|cx| driver.poll(cx, conversation, alarm.as_mut())).await;
    driver.owed.pay().await;
    reason
}

/// How bytes come in.
pub(super) enum Flow {
    Clear,
    Tls(Arc<TlsSink>),
    Websocket(Box<Frames>),
}

impl Flow {
    /// How much was read and waits for the next turn.
    const fn waiting(&self) -> usize {
        match self {
            Self::Clear | Self::Tls(_) => 0,
            Self::Websocket(frames) => frames.waiting(),
        }
    }
}

struct Driver {
    read: OwnedReadHalf,
    flow: Flow,
    owed: Owed,
    paused_until: Option<Instant>,
    patience: Patience,
    pace: Pace,
    /// The peer did not read in time, got time again and has not caught up yet.
    late: Option<Late>,
}

/// What a peer that was late has to read, and since when it has time for it.
struct Late {
    since: Instant,
    chunks: usize,
    bytes: usize,
}

impl Driver {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<CloseReason> {
        loop {
            if let Poll::Ready(reason) = self.poll_write(cx, conversation) {
                return Poll::Ready(reason);
            }
            match self.poll_read(cx, conversation) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending => {}
            }
            match self.poll_alarm(cx, conversation, alarm.as_mut()) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Waits for the socket on behalf of everyone who queues bytes, when it is full.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
    ) -> Poll<CloseReason> {
        loop {
            match conversation.outbound().attend(cx.waker()) {
                Attend::Closed(reason) => return Poll::Ready(reason),
                Attend::Nothing => {
                    self.note_recovery(conversation);
                    return self.poll_controls(cx);
                }
                Attend::AwaitWritable(waiting) => {
                    if waiting.since.elapsed() >= self.patience.deadline
                        && !self.gives_time(waiting, conversation)
                    {
                        return Poll::Ready(CloseReason::SlowConsumerWriteDeadline);
                    }
                    match self.read.as_ref().poll_write_ready(cx) {
                        Poll::Ready(_) => {
                            let outbound = conversation.outbound();
                            outbound.unblock();
                            outbound.flush();
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// Says that the peer is late, and whether it gets more time.
    fn gives_time(&mut self, waiting: Waiting, conversation: &mut impl Conversation) -> bool {
        let outbound = conversation.outbound();
        let is_first = self.late.is_none();
        let state = if is_first { "Detected" } else { "State" };
        let (chunks, bytes) = (outbound.chunks(), outbound.delivered().pending_bytes);
        conversation.notice(&format!(
            "Slow Consumer {state}: WriteDeadline of {} exceeded with {chunks} chunks of {bytes} \
             total bytes.",
            show_duration(self.patience.deadline)
        ));
        if !self.patience.retries || waiting.took_nothing {
            return false;
        }
        outbound.give_time();
        self.late = Some(Late { since: Instant::now(), chunks, bytes });
        conversation.on_slow(is_first);
        true
    }

    /// Says that a peer that was late has read all that waited.
    fn note_recovery(&mut self, conversation: &impl Conversation) {
        if let Some(Late { since, chunks, bytes }) = self.late.take() {
            let took = since.elapsed().as_secs_f64();
            conversation.notice(&format!(
                "Slow Consumer Recovered: Flush took {took:.3}s with {chunks} chunks of {bytes} \
                 total bytes."
            ));
        }
    }

    /// Waits for the socket on behalf of control frames, of which the queue knows nothing.
    fn poll_controls(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let Flow::Websocket(frames) = &self.flow else { return Poll::Pending };
        while frames.sink.wants_write() {
            // What is wrong with the socket shows when it is written to.
            drop(ready!(self.read.as_ref().poll_write_ready(cx)));
            if frames.sink.flush_controls().is_err() {
                return Poll::Ready(CloseReason::WriteError);
            }
        }
        Poll::Pending
    }

    /// Reads once and converses.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
    ) -> Poll<Result<(), CloseReason>> {
        ready!(self.owed.poll_pay(cx));
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Poll::Pending;
        }
        self.paused_until = None;
        if conversation.is_waiting() {
            return desk::with(|desk| {
                let result = conversation.poll_answer(cx, &mut desk.publisher);
                desk.publisher.flush();
                result
            });
        }
        let left = conversation.left() + self.flow.waiting();
        if left > 0 {
            return self.go_on(left, cx, conversation);
        }
        match &self.flow {
            Flow::Clear => {}
            Flow::Tls(tls) => {
                let tls = Arc::clone(tls);
                return self.poll_read_tls(cx, conversation, &tls);
            }
            Flow::Websocket(_) => return self.poll_read_frames(cx, conversation),
        }
        if let Some((target, wanted)) = conversation.read_into() {
            let count = {
                let mut limited = target.limit(wanted);
                let read = pin!(self.read.read_buf(&mut limited));
                ready!(read.poll(cx)).map_err(|_lost| CloseReason::ReadError)?
            };
            if count == 0 {
                return Poll::Ready(Err(CloseReason::ClientClosed));
            }
            return Poll::Ready(desk::with(|desk| self.hand_over(conversation, desk, None)));
        }
        desk::with(|desk| {
            let buffer = desk.buffer.first(self.pace.most());
            let got = ready!(poll_clear(&mut self.read, cx, buffer))?;
            self.hand_over(conversation, desk, Some(got.bytes))?;
            let left = conversation.left();
            got.next(conversation, left, cx, desk)
        })
    }

    /// Goes on with so many bytes that were read in an earlier turn: first with what the
    /// conversation has got already.
    fn go_on(
        &mut self,
        left: usize,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
    ) -> Poll<Result<(), CloseReason>> {
        desk::with(|desk| {
            desk.begin_batch(left);
            let result = match &mut self.flow {
                Flow::Websocket(frames) if conversation.left() == 0 => {
                    frames.take_rest(conversation, &mut desk.publisher)
                }
                _ => conversation.go_on(&mut desk.publisher),
            };
            self.owed.add(desk.write_some());
            self.paused_until = pause_wanted(conversation, &mut desk.publisher);
            result?;
            desk.turns.give_way(cx)
        })
    }

    /// The same through TLS.
    fn poll_read_tls(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
        tls: &TlsSink,
    ) -> Poll<Result<(), CloseReason>> {
        desk::with(|desk| {
            let got = ready!(poll_decrypted(&mut self.read, cx, tls, desk, conversation))?;
            if got.bytes > 0 {
                self.hand_over(conversation, desk, Some(got.bytes))?;
            }
            let left = conversation.left();
            got.next(conversation, left, cx, desk)
        })
    }

    /// The same through frames, with or without TLS under them.
    fn poll_read_frames(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
    ) -> Poll<Result<(), CloseReason>> {
        let Self { read, flow: Flow::Websocket(frames), owed, paused_until, pace, .. } = self
        else {
            return Poll::Pending;
        };
        desk::with(|desk| {
            let got = match &frames.tls {
                Some(tls) => ready!(poll_decrypted(read, cx, tls, desk, conversation))?,
                None => ready!(poll_clear(read, cx, desk.buffer.first(pace.most())))?,
            };
            desk.begin_batch(got.bytes);
            let Desk { buffer, publisher, .. } = desk;
            let input = buffer.bytes().get_mut(..got.bytes).unwrap_or_default();
            let result = frames.take(input, got.ended, conversation, publisher);
            owed.add(desk.write_some());
            *paused_until = pause_wanted(conversation, &mut desk.publisher);
            let left = conversation.left() + frames.waiting();
            pace.note(got.bytes, left, desk.publisher.turn_was_easy());
            result?;
            let next = got.next(conversation, left, cx, desk);
            frames.sink.flush_controls().map_err(|_lost| CloseReason::WriteError)?;
            next
        })
    }

    /// Gives the bytes to the conversation and writes what it touched, or leaves that to the end of
    /// the thread's turn.
    fn hand_over(
        &mut self,
        conversation: &mut impl Conversation,
        desk: &mut Desk,
        count: Option<usize>,
    ) -> Result<(), CloseReason> {
        desk.begin_batch(count.unwrap_or_default());
        let buffer = desk.buffer.lend();
        let input = count.and_then(|count| buffer.get(..count)).unwrap_or_default();
        let result = conversation.on_bytes(input, Some(&buffer), &mut desk.publisher);
        self.owed.add(match (&result, count) {
            (Ok(()), Some(count)) => desk.end_batch(count),
            _ => desk.write_some(),
        });
        self.paused_until = pause_wanted(conversation, &mut desk.publisher);
        let was_easy = desk.publisher.turn_was_easy();
        self.pace.note(count.unwrap_or_default(), conversation.left(), was_easy);
        desk.buffer.take_back(buffer);
        result
    }

    /// Sleeps until the earliest of: the conversation's deadline, the end of a pause, the write
    /// deadline of a blocked queue.
    fn poll_alarm(
        &self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<Result<(), CloseReason>> {
        let blocked = match conversation.outbound().attend(cx.waker()) {
            Attend::AwaitWritable(waiting) => Some(waiting.since + self.patience.deadline),
            _ => None,
        };
        let wanted = [conversation.deadline(), self.paused_until, blocked];
        let Some(next) = wanted.into_iter().flatten().min() else { return Poll::Pending };
        if alarm.deadline() != next {
            alarm.as_mut().reset(next);
        }
        ready!(alarm.poll(cx));
        let now = Instant::now();
        if conversation.deadline().is_some_and(|deadline| deadline <= now) {
            return Poll::Ready(desk::with(|desk| {
                let result = conversation.on_deadline(now, &mut desk.publisher);
                desk.publisher.flush();
                result
            }));
        }
        Poll::Ready(Ok(()))
    }
}

/// Until when a producer pauses, because a receiver of its batch is far behind.
fn pause_wanted(conversation: &impl Conversation, publisher: &mut Publisher) -> Option<Instant> {
    let pause = publisher.take_pause(is_crowded)?;
    Some(Instant::now() + pause.min(conversation.longest_pause()))
}

/// What one read brought.
struct Got {
    bytes: usize,
    /// There may be more.
    is_full: bool,
    /// The peer has said goodbye.
    ended: bool,
}

impl Got {
    /// How to go on when the bytes are worked on but for so many. After a full buffer other
    /// connections of the thread get their turn first; what came last is worked on whole.
    fn next(
        &self,
        conversation: &mut impl Conversation,
        left: usize,
        cx: &mut Context<'_>,
        desk: &mut Desk,
    ) -> Poll<Result<(), CloseReason>> {
        if self.ended {
            let finished = conversation.finish(&mut desk.publisher);
            desk.write_all();
            return Poll::Ready(finished.and(Err(CloseReason::ClientClosed)));
        }
        if self.is_full || left > 0 { desk.turns.give_way(cx) } else { Poll::Ready(Ok(())) }
    }
}

/// Reads once; no byte is the end.
fn poll_clear(
    read: &mut OwnedReadHalf,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Result<Got, CloseReason>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(read).poll_read(cx, &mut buffer)).map_err(|_lost| CloseReason::ReadError)?;
    match buffer.filled().len() {
        0 => Poll::Ready(Err(CloseReason::ClientClosed)),
        bytes => Poll::Ready(Ok(Got { bytes, is_full: buffer.remaining() == 0, ended: false })),
    }
}

/// Reads through TLS into the buffer of the desk.
fn poll_decrypted(
    read: &mut OwnedReadHalf,
    cx: &mut Context<'_>,
    tls: &TlsSink,
    desk: &mut Desk,
    conversation: &mut impl Conversation,
) -> Poll<Result<Got, CloseReason>> {
    let mut decrypt = |input: &[u8], out: &mut [u8]| {
        tls.decrypt(input, out).map_err(|error| {
            conversation.on_insecure(&error);
            CloseReason::ReadError
        })
    };
    // What came with the end of the handshake is decrypted already.
    let (bytes, ended) = decrypt(&[], desk.buffer.bytes())?;
    if bytes > 0 || ended {
        return Poll::Ready(Ok(Got { bytes, is_full: false, ended }));
    }
    desk.cipher.resize(CIPHER_BYTES, 0);
    let cipher = ready!(poll_clear(read, cx, &mut desk.cipher))?;
    let input = desk.cipher.get(..cipher.bytes).unwrap_or_default();
    let (bytes, ended) = decrypt(input, desk.buffer.bytes())?;
    Poll::Ready(Ok(Got { bytes, ended, ..cipher }))
}
