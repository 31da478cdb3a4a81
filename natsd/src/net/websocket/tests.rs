use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::outbound::Outbound;
use crate::websocket::Terms;

/// A socket that takes so many bytes at a time; 0 is a refusal.
#[derive(Default)]
struct Narrow {
    takes: Mutex<VecDeque<usize>>,
    got: Mutex<Vec<u8>>,
}

impl Sink for Narrow {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let most = self.takes.lock().pop_front().unwrap_or(usize::MAX);
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut got = self.got.lock();
        let before = got.len();
        first_bytes(slices, most).for_each(|part| got.extend_from_slice(part));
        Ok(got.len() - before)
    }
}

/// Offers a queue until it is gone, as `Outbound` does.
fn drain(sink: &WebsocketSink, queue: &[Vec<u8>]) {
    let mut all: VecDeque<u8> = queue.concat().into();
    while !all.is_empty() {
        let bytes = all.make_contiguous();
        let (a, b) = bytes.split_at(bytes.len() / 3);
        match sink.try_write(&[IoSlice::new(a), IoSlice::new(b)]) {
            Ok(count) => drop(all.drain(..count)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// What the frames of a server mean: bytes, sizes of frames, pongs, the goodbye.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    bytes: Vec<u8>,
    pongs: usize,
    closing: Option<Closing>,
}

fn heard(mut wire: Vec<u8>, compression: bool) -> Heard {
    let (mut decoder, mut inflater) = (Decoder::new(false, compression), Inflater::default());
    let (mut heard, mut at) = (Heard::default(), 0);
    while let Some(piece) = decoder.next(&mut wire, &mut at).unwrap() {
        match piece {
            Piece::Data { bytes, compressed: false, .. } => heard.bytes.extend(&wire[bytes]),
            Piece::Data { bytes, last, .. } => {
                inflater.push(&wire[bytes], 1 << 24).unwrap();
                if last {
                    let mut take = |plain: &[u8]| -> Result<(), Packed> {
                        heard.bytes.extend(plain);
                        Ok(())
                    };
                    inflater.finish(1 << 24, &mut take).unwrap();
                }
            }
            Piece::Pong => heard.pongs += 1,
            Piece::Close(closing) => heard.closing = Some(closing),
            Piece::Ping(_) => panic!("natsd sends no pings of this kind"),
        }
    }
    heard
}

fn any_session() -> impl Strategy<Value = Session> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(compression, browser, whole)| {
        Session { compression, browser, whole_when_compressed: whole, ..Session::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_the_socket_takes_the_frames_are_whole(
        session in any_session(),
        batches in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(0u8..8, 1..6000), 1..4),
            1..4,
        ),
        takes in prop::collection::vec(0usize..3000, 0..40),
    ) {
        let socket = Arc::new(Narrow::default());
        socket.takes.lock().extend(takes);
        let sink = WebsocketSink::new(Arc::clone(&socket) as Arc<dyn Sink>, &session);
        for batch in &batches {
            sink.pong(b"hi").unwrap();
            drain(&sink, batch);
        }
        sink.pong(b"").unwrap();
        while !sink.last_words(CloseReason::ClientClosed) {}
        let heard = heard(socket.got.lock().clone(), session.compression);
        prop_assert_eq!(heard.bytes, batches.concat().concat());
        prop_assert_eq!(heard.pongs, batches.len() + 1);
        prop_assert_eq!(heard.closing, Closing::of(CloseReason::ClientClosed));
    }
}

fn written(session: &Session, queue: &[u8]) -> Vec<u8> {
    let socket = Arc::new(Narrow::default());
    let sink = WebsocketSink::new(Arc::clone(&socket) as Arc<dyn Sink>, session);
    drain(&sink, &[queue.to_vec()]);
    let got = socket.got.lock();
    got.clone()
}

#[test]
fn a_queue_may_begin_with_an_empty_slice() {
    let sessions = [
        Session::default(),
        Session { browser: true, ..Session::default() },
        Session { compression: true, ..Session::default() },
    ];
    for session in sessions {
        let socket = Arc::new(Narrow::default());
        let sink = WebsocketSink::new(Arc::clone(&socket) as Arc<dyn Sink>, &session);
        let slices = [IoSlice::new(b""), IoSlice::new(b"PING"), IoSlice::new(b"\r\n")];
        assert_eq!(sink.try_write(&slices).unwrap(), 6);
        assert_eq!(heard(socket.got.lock().clone(), session.compression).bytes, b"PING\r\n");
    }
}

#[test]
fn a_batch_is_one_frame() {
    let wire = written(&Session::default(), &[b'x'; 10_000]);
    assert_eq!(wire[..4], [0x82, 126, 0x27, 0x10]);
    assert_eq!(wire.len(), 10_004);
}

#[test]
fn a_browser_gets_small_frames() {
    let browser = Session { browser: true, ..Session::default() };
    let wire = written(&browser, &[b'x'; 10_000]);
    assert_eq!(wire.len(), 10_000 + 3 * 4);
    assert_eq!(wire[..4], [0x82, 126, 0x10, 0]);
    assert_eq!(wire[4100..4104], [0x82, 126, 0x10, 0]);
}

#[test]
fn what_is_short_is_not_compressed() {
    let session = Session { compression: true, ..Session::default() };
    assert_eq!(written(&session, &[b'x'; 64])[0], 0x82);
    let wire = written(&session, &[b'x'; 65]);
    assert_eq!(wire[0], 0xc2);
    assert!(wire.len() < 40);
}

#[test]
fn a_peer_that_pings_and_does_not_read_is_cut_off() {
    let sink = WebsocketSink::new(Arc::new(Narrow::default()), &Session::default());
    let mut pings = 0;
    while sink.pong(&[0; 125]).is_ok() {
        pings += 1;
    }
    assert!(pings < 1000);
    assert_eq!(sink.pong(b""), Err(CloseReason::SlowConsumerPendingBytes));
    sink.flush_controls().unwrap();
    assert!(!sink.wants_write() && sink.pong(b"").is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_takes_too_long_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let plan = WebsocketPlan {
        terms: Arc::new(Terms::default()),
        tls: None,
        timeout: Duration::from_secs(10),
    };
    assert!(accept_websocket(stream, address, &plan).await.is_none());
    drop(peer);
}

/// Counts what it is given, as if that were work for as many deliveries.
struct Counter {
    outbound: Arc<Outbound>,
    bytes: usize,
    /// It wants another turn for what it has got.
    left: usize,
}

impl Conversation for Counter {
    fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    fn on_open(&mut self, _: &mut Publisher) -> Result<(), CloseReason> {
        Ok(())
    }

    fn on_secured(&mut self, _: Secured) -> Result<(), CloseReason> {
        Ok(())
    }

    fn on_insecure(&mut self, _: &io::Error) {}

    fn on_bytes(
        &mut self,
        input: &[u8],
        _: Option<&bytes::Bytes>,
        _: &mut Publisher,
    ) -> Result<(), CloseReason> {
        self.bytes += input.len();
        self.left = 1;
        Ok(())
    }

    fn left(&self) -> usize {
        self.left
    }

    fn go_on(&mut self, _: &mut Publisher) -> Result<(), CloseReason> {
        self.left = 0;
        Ok(())
    }

    fn deadline(&self) -> Option<tokio::time::Instant> {
        None
    }

    fn on_deadline(
        &mut self,
        _: tokio::time::Instant,
        _: &mut Publisher,
    ) -> Result<(), CloseReason> {
        Ok(())
    }

    fn on_close(&mut self, _: CloseReason, _: &mut Publisher) {}

    fn wind_down(&mut self, _: &mut Publisher) -> bool {
        false
    }
}

#[test]
fn frames_that_one_turn_is_too_short_for_wait_in_order() {
    let socket: Arc<dyn Sink> = Arc::new(Narrow::default());
    let session = Session { compression: true, ..Session::default() };
    let mut frames = Frames {
        decoder: Decoder::new(false, true),
        inflater: Inflater::default(),
        rest: Rest::default(),
        tls: None,
        sink: Arc::new(WebsocketSink::new(Arc::clone(&socket), &session)),
    };
    let frame = written(&session, &[b'x'; 20_000]);
    let mut input = frame.repeat(3);
    input.truncate(frame.len() * 3 - 1);
    let outbound = Arc::new(Outbound::new(1, socket, 1 << 20));
    let mut counter = Counter { outbound, bytes: 0, left: 0 };
    let mut publisher = Publisher::new(1);
    frames.take(&mut input.clone(), false, &mut counter, &mut publisher).unwrap();
    assert_eq!((counter.bytes, frames.waiting()), (20_000, frame.len() * 2 - 1));
    counter.go_on(&mut publisher).unwrap();
    frames.take_rest(&mut counter, &mut publisher).unwrap();
    assert_eq!((counter.bytes, frames.waiting()), (40_000, frame.len() - 1));
    counter.go_on(&mut publisher).unwrap();
    frames.take_rest(&mut counter, &mut publisher).unwrap();
    assert_eq!((counter.bytes, frames.waiting()), (40_000, 0), "the last byte is missing");
    let mut last = frame[frame.len() - 1..].to_vec();
    frames.take(&mut last, false, &mut counter, &mut publisher).unwrap();
    assert_eq!(counter.bytes, 60_000);
    frames.take(&mut frame.repeat(3), true, &mut counter, &mut publisher).unwrap();
    assert_eq!((counter.bytes, frames.waiting()), (120_000, 0), "no turn after the last one");
}
