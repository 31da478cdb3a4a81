//! The life of one connection: read, converse, write, wait.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Conversation;
use super::desk::{self, Desk};
use crate::close::CloseReason;
use crate::outbound::{Attend, Outbound, Sink};

/// A producer of a receiver that cannot keep up pauses this long after a batch. nats-server
/// stalls 2 to 5 ms a message and 10 ms a read; here only this producer's reading pauses, no
/// thread does.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the last bytes of a closing connection may take.
const FAREWELL: Duration = Duration::from_millis(250);

/// The reading half of a socket; the writing half lives in the connection's queue.
#[derive(Debug)]
pub struct Reader(OwnedReadHalf);

/// The writing half of a TCP socket.
#[derive(Debug)]
struct TcpSink(OwnedWriteHalf);

/// Splits a connected stream into what [`serve`] reads and what the queue writes to.
#[must_use]
pub fn split(stream: TcpStream) -> (Reader, Arc<dyn Sink>) {
    // Small writes go out at once: batches are made here, not by the kernel. If the peer is
    // gone already, the first read tells.
    drop(stream.set_nodelay(true));
    let (read, write) = stream.into_split();
    (Reader(read), Arc::new(TcpSink(write)))
}

impl Sink for TcpSink {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }
}

/// Serves a connection to its end. A peer that takes no byte for `write_deadline` is a slow
/// consumer.
pub async fn serve(reader: Reader, mut conversation: impl Conversation, write_deadline: Duration) {
    let opened = desk::with(|desk| {
        let result = conversation.on_open(&mut desk.publisher);
        desk.publisher.flush();
        result
    });
    let reason = match opened {
        Err(reason) => reason,
        Ok(()) => converse(reader.0, &mut conversation, write_deadline).await,
    };
    let outbound = Arc::clone(conversation.outbound());
    outbound.close(reason);
    let reason = outbound.closed().unwrap_or(reason);
    if reason.wants_last_flush() {
        farewell(&outbound).await;
    }
    outbound.release();
    desk::with(|desk| {
        conversation.on_close(reason, &mut desk.publisher);
        desk.publisher.flush();
    });
}

async fn converse(
    read: OwnedReadHalf,
    conversation: &mut impl Conversation,
    write_deadline: Duration,
) -> CloseReason {
    let mut alarm = pin!(sleep_until(Instant::now()));
    let mut driver = Driver { read, paused_until: None, write_deadline };
    poll_fn(|cx| driver.poll(cx, conversation, alarm.as_mut())).await
}

struct Driver {
    read: OwnedReadHalf,
    paused_until: Option<Instant>,
    write_deadline: Duration,
}

impl Driver {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
        mut alarm: Pin<&mut Sleep>,
    ) -> Poll<CloseReason> {
        loop {
            if let Poll::Ready(reason) = self.poll_write(cx, conversation.outbound()) {
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
    fn poll_write(&self, cx: &mut Context<'_>, outbound: &Outbound) -> Poll<CloseReason> {
        loop {
            match outbound.attend(cx.waker()) {
                Attend::Closed(reason) => return Poll::Ready(reason),
                Attend::Nothing => return Poll::Pending,
                Attend::AwaitWritable(since) => {
                    if since.elapsed() >= self.write_deadline {
                        return Poll::Ready(CloseReason::SlowConsumerWriteDeadline);
                    }
                    match self.read.as_ref().poll_write_ready(cx) {
                        Poll::Ready(_) => {
                            outbound.unblock();
                            outbound.flush();
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// Reads once and converses. After a full buffer other connections of the thread get
    /// their turn first.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        conversation: &mut impl Conversation,
    ) -> Poll<Result<(), CloseReason>> {
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
            let mut buffer = ReadBuf::new(&mut desk.buffer);
            ready!(Pin::new(&mut self.read).poll_read(cx, &mut buffer))
                .map_err(|_lost| CloseReason::ReadError)?;
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Err(CloseReason::ClientClosed));
            }
            let full = buffer.remaining() == 0;
            self.hand_over(conversation, desk, Some(count))?;
            if full {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Gives the bytes to the conversation and writes what it touched.
    fn hand_over(
        &mut self,
        conversation: &mut impl Conversation,
        desk: &mut Desk,
        count: Option<usize>,
    ) -> Result<(), CloseReason> {
        let Desk { buffer, publisher } = desk;
        let input = count.and_then(|count| buffer.get(..count)).unwrap_or_default();
        let result = conversation.on_bytes(input, publisher);
        publisher.flush();
        if publisher.take_choked() {
            self.paused_until = Some(Instant::now() + PAUSE);
        }
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
            Attend::AwaitWritable(since) => Some(since + self.write_deadline),
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

/// Writes the last bytes, for a short time only.
async fn farewell(outbound: &Outbound) {
    let end = Instant::now() + FAREWELL;
    while !outbound.last_flush() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
