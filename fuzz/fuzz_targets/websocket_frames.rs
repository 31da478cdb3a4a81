//! Frames of a WebSocket peer: whatever comes, however it is cut, means the same; what is packed
//! is unpacked within bounds, and the upgrade request is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::websocket::{Answer, Decoder, Inflater, Packed, Piece, Terms, answer};

/// Bytes that a message may hold.
const PAYLOAD_MAX: usize = 64 * 1024;

/// What a stream means: its data, and everything else as text.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    data: Vec<u8>,
    unpacked: Vec<u8>,
    others: Vec<String>,
}

/// Reads a stream in pieces of `at_once` bytes; false when it ended.
fn read(masked: bool, compression: bool, stream: &[u8], at_once: usize) -> Heard {
    let (mut decoder, mut inflater) = (Decoder::new(masked, compression), Inflater::default());
    let mut heard = Heard::default();
    for piece in stream.chunks(at_once) {
        let (mut input, mut at) = (piece.to_vec(), 0);
        loop {
            match decoder.next(&mut input, &mut at) {
                Ok(None) => break,
                Ok(Some(Piece::Data { bytes, compressed: false, last })) => {
                    heard.data.extend_from_slice(&input[bytes]);
                    if last {
                        heard.others.push(format!("message ends at {}", heard.data.len()));
                    }
                }
                Ok(Some(Piece::Data { bytes, last, .. })) => {
                    let mut result = inflater.push(&input[bytes], PAYLOAD_MAX);
                    if last && result.is_ok() {
                        let before = heard.unpacked.len();
                        result = inflater.finish(PAYLOAD_MAX, |plain| {
                            heard.unpacked.extend_from_slice(plain);
                            Ok::<(), Packed>(())
                        });
                        assert!(heard.unpacked.len() - before <= PAYLOAD_MAX);
                    }
                    if let Err(packed) = result {
                        heard.others.push(packed.to_string());
                        return heard;
                    }
                }
                Ok(Some(Piece::Close(closing))) => {
                    assert!(closing.payload().len() <= 125);
                    heard.others.push(format!("{closing:?}"));
                    return heard;
                }
                Ok(Some(other)) => heard.others.push(format!("{other:?}")),
                Err(violation) => {
                    heard.others.push(violation.to_string());
                    return heard;
                }
            }
        }
        assert_eq!(at, input.len());
    }
    heard
}

fuzz_target!(|input: &[u8]| {
    let [flags, cut, stream @ ..] = input else { return };
    let (masked, compression) = (flags & 1 != 0, flags & 2 != 0);
    let whole = read(masked, compression, stream, usize::MAX);
    let cut = read(masked, compression, stream, usize::from(*cut).max(1));
    assert_eq!(cut, whole);
    if let Answer::Upgraded(upgrade) = answer(stream, &Terms::default(), "now") {
        assert!(upgrade.response.starts_with(b"HTTP/1.1 101 "));
    }
});
