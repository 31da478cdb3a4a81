use std::task::Waker;

use bytes::Bytes;

use super::*;

/// A socket that takes a given number of bytes and then refuses.
struct Choked {
    room: Mutex<usize>,
    seen: Mutex<Vec<u8>>,
}

impl Choked {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self { room: Mutex::new(room), seen: Mutex::default() })
    }
}

impl Sink for Choked {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = self.room.lock();
        let mut count = 0;
        for slice in slices {
            let part = slice.len().min(*room);
            self.seen.lock().extend_from_slice(&slice[..part]);
            *room -= part;
            count += part;
        }
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
}

fn queue(sink: &Arc<Choked>, max: usize) -> Outbound {
    Outbound::new(1, Arc::clone(sink) as Arc<dyn Sink>, max)
}

#[test]
fn bytes_come_out_in_order_whatever_the_socket_takes() {
    let mut expected = Vec::new();
    let sink = Choked::with_room(0);
    let out = queue(&sink, usize::MAX);
    for round in 0..400_usize {
        let part = vec![u8::try_from(round % 256).unwrap(); round * 7 % 3000];
        expected.extend_from_slice(&part);
        if round % 5 < 2 {
            let mut append = out.append().unwrap();
            let part = Bytes::from(part);
            if round % 5 == 0 {
                append.share(&part)
            } else {
                append.lend(&part)
            }
            append.finish();
        } else {
            out.append_bytes(&part);
        }
        *sink.room.lock() = round * 13 % 2000;
        out.unblock();
        out.flush();
    }
    *sink.room.lock() = usize::MAX;
    out.unblock();
    assert_eq!(out.flush(), Flush::Done);
    assert!(*sink.seen.lock() == expected);
    assert_eq!(out.delivered().pending_bytes, 0);
}

#[test]
fn what_is_lent_is_written_in_its_place() {
    let sink = Choked::with_room(usize::MAX);
    let out = queue(&sink, usize::MAX);
    let buffer = Bytes::from_static(b"one two");
    for part in [buffer.slice(..3), buffer.slice(4..)] {
        let mut append = out.append().unwrap();
        append.put(b"<");
        append.lend(&part);
        append.put(b">");
        append.finish();
    }
    assert_eq!(out.flush(), Flush::Done);
    assert_eq!(*sink.seen.lock(), b"<one><two>");
}

#[test]
fn what_is_lent_is_given_back_wherever_the_socket_stops() {
    let whole = b"<onetwo>!".to_vec();
    for room in 0..=whole.len() {
        let sink = Choked::with_room(room);
        let out = queue(&sink, usize::MAX);
        let buffer = Bytes::from(b"onetwo".to_vec());
        let send = |before: &[u8], lent: &Bytes, after: &[u8]| {
            let mut append = out.append().unwrap();
            append.put(before);
            append.lend(lent);
            append.put(after);
            append.finish().pending_bytes
        };
        send(b"<", &buffer.slice(..3), b"");
        send(b"", &buffer.slice(3..), b">!");
        out.flush();
        assert!(buffer.is_unique(), "with room for {room}");
        assert_eq!(out.delivered().pending_bytes, whole.len() - room);
        // A socket that is full gets no loan at all.
        let pending = send(b"", &buffer, b"");
        assert_eq!(pending, whole.len() - room + buffer.len());
        assert_eq!(buffer.is_unique(), room < whole.len());
        *sink.room.lock() = usize::MAX;
        out.unblock();
        out.flush();
        assert_eq!(*sink.seen.lock(), [&*whole, b"onetwo"].concat(), "with room for {room}");
        assert_eq!(out.delivered().pending_bytes, 0);
    }
}

#[test]
fn a_queue_that_waits_is_no_larger_than_its_bytes() {
    let out = queue(&Choked::with_room(0), usize::MAX);
    let body = Bytes::from(vec![7; LENT_BODY_BYTES]);
    for _ in 0..100 {
        let mut append = out.append().unwrap();
        append.put(b"MSG a 1 4096\r\n");
        append.lend(&body);
        append.finish();
    }
    out.flush();
    assert!(out.chunks() <= 8, "{} chunks for 410 KiB", out.chunks());
}

#[test]
fn a_slow_consumer_is_cut_off_at_its_bound() {
    let out = queue(&Choked::with_room(0), 100);
    assert!(out.append_bytes(&[0; 100]).is_some());
    assert_eq!(out.closed(), None);
    out.append_bytes(b"x");
    assert_eq!(out.closed(), Some(CloseReason::SlowConsumerPendingBytes));
    assert!(out.append().is_none());
}

#[test]
fn a_peer_server_slows_producers_down_before_it_is_cut_off() {
    let body = Bytes::from(vec![0; 1 << 20]);
    let sink = Choked::with_room(0) as Arc<dyn Sink>;
    let out = Outbound::to_peer(1, sink, 16 << 20);
    let send = || {
        let mut append = out.append()?;
        append.share(&body);
        Some(append.finish().pause)
    };
    let pauses: Vec<_> = std::iter::from_fn(send).collect();
    assert_eq!(pauses.len(), 65, "four times max_pending, and the one that was too much");
    assert!(pauses[..12].iter().all(|pause| pause.is_none()));
    assert!(pauses[12..64].iter().all(|pause| !pause.is_none()));
    assert!(pauses[12..64].is_sorted());
    assert_eq!(out.closed(), Some(CloseReason::SlowConsumerPendingBytes));
}

#[tokio::test(start_paused = true)]
async fn producers_pause_for_a_client_as_long_as_it_may_go_on_reading() {
    let out = queue(&Choked::with_room(0), 1000);
    out.append_bytes(&[0; 760]);
    out.flush();
    let pause = || {
        let mut pauses = Pauses::default();
        pauses.add(out.append_bytes(b"x").unwrap().pause);
        pauses.take(|| false).unwrap_or_default().as_millis()
    };
    assert_eq!(pause(), 5);
    tokio::time::advance(Duration::from_millis(399)).await;
    assert_eq!(pause(), 5);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(pause(), 0);
}

#[test]
fn only_the_first_append_of_a_batch_touches() {
    let sink = Choked::with_room(usize::MAX);
    let out = queue(&sink, usize::MAX);
    assert!(out.append_bytes(b"a").unwrap().first_touch);
    assert!(!out.append_bytes(b"b").unwrap().first_touch);
    out.flush();
    assert!(out.append_bytes(b"c").unwrap().first_touch);
}

#[test]
fn the_owner_learns_that_the_socket_is_full() {
    let sink = Choked::with_room(1);
    let out = queue(&sink, usize::MAX);
    out.append_bytes(b"abc");
    assert_eq!(out.flush(), Flush::Blocked);
    assert!(matches!(out.attend(Waker::noop()), Attend::AwaitWritable(_)));
    assert_eq!(out.flush(), Flush::Done, "somebody else waits for the socket");
    *sink.room.lock() = 10;
    out.unblock();
    assert_eq!(out.flush(), Flush::Done);
    assert_eq!(*sink.seen.lock(), b"abc");
}

/// What the owner is told of a socket that is full.
fn waiting(out: &Outbound) -> Waiting {
    match out.attend(Waker::noop()) {
        Attend::AwaitWritable(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_behind_until_what_waited_is_written() {
    let sink = Choked::with_room(1);
    let out = queue(&sink, usize::MAX);
    let start = Instant::now();
    out.append_bytes(b"abcdef");
    out.flush();
    assert_eq!(waiting(&out), Waiting { since: start, took_nothing: true });
    let again = |room| {
        out.append_bytes(b"more");
        *sink.room.lock() = room;
        out.unblock();
        out.flush();
    };
    tokio::time::advance(Duration::from_secs(1)).await;
    again(3);
    assert_eq!(waiting(&out), Waiting { since: start, took_nothing: false });
    again(3);
    // The first five are written by now: what waits came later.
    assert_eq!(waiting(&out), Waiting { since: Instant::now(), took_nothing: true });
    tokio::time::advance(Duration::from_secs(1)).await;
    out.give_time();
    assert_eq!(waiting(&out), Waiting { since: Instant::now(), took_nothing: true });
    again(usize::MAX);
    assert_eq!(out.attend(Waker::noop()), Attend::Nothing);
}

#[test]
fn beyond_three_quarters_messages_are_dropped_if_that_is_wanted() {
    let out = queue(&Choked::with_room(0), 100);
    assert!(!out.append_bytes(&[0; 76]).unwrap().pause.is_none());
    assert!(!out.append().unwrap().drops());
    out.set_drops_when_choked(true);
    assert!(out.append().unwrap().drops());
    assert!(out.append_bytes(b"x").unwrap().pause.is_none(), "nobody is slowed down");
}
