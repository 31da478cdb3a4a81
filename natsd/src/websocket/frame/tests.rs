use proptest::prelude::*;

use super::*;

/// What a stream of frames means, data joined.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Data(Vec<u8>, bool),
    End,
    Ping(Vec<u8>),
    Pong,
    Close(Closing),
    Violation(Violation),
}

/// Reads a stream that arrives in pieces that end at `cuts`.
fn read(decoder: &mut Decoder, stream: &[u8], cuts: &[usize]) -> Vec<Meaning> {
    let mut all: Vec<Meaning> = Vec::new();
    let mut rest = stream;
    for &cut in cuts.iter().chain([&usize::MAX]) {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        rest = later;
        let (mut input, mut at) = (now.to_vec(), 0);
        loop {
            match decoder.next(&mut input, &mut at) {
                Ok(None) => break assert_eq!(at, input.len()),
                Ok(Some(Piece::Data { bytes, compressed, last })) => {
                    let bytes = &input[bytes];
                    match all.last_mut() {
                        Some(Meaning::Data(held, same)) if *same == compressed => {
                            held.extend_from_slice(bytes);
                        }
                        _ => all.push(Meaning::Data(bytes.to_vec(), compressed)),
                    }
                    if last {
                        all.push(Meaning::End);
                    }
                }
                Ok(Some(Piece::Ping(payload))) => all.push(Meaning::Ping(payload)),
                Ok(Some(Piece::Pong)) => all.push(Meaning::Pong),
                Ok(Some(Piece::Close(closing))) => {
                    all.push(Meaning::Close(closing));
                    return all;
                }
                Err(violation) => {
                    all.push(Meaning::Violation(violation));
                    return all;
                }
            }
        }
    }
    all
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_header(&mut frame, Opcode::Continuation, false, false, payload.len());
    frame[0] = first;
    frame[1] |= MASKED;
    frame.extend_from_slice(b"key!");
    frame.extend(payload.iter().zip(b"key!".iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x82u8),
        Just(0x02),
        Just(0x80),
        Just(0x00),
        Just(0xc2),
        Just(0x42),
        Just(0x89),
        Just(0x8a),
        Just(0x88),
        any::<u8>(),
    ];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..130),
        prop::collection::vec(any::<u8>(), 60_000..70_000),
    ];
    (first, payload).prop_map(|(first, payload)| masked(first, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_means_the_same(
        frames in prop::collection::vec(any_frame(), 0..6),
        cuts in prop::collection::vec(0usize..200, 0..12),
    ) {
        let stream = frames.concat();
        let whole = read(&mut Decoder::new(true, true), &stream, &[]);
        prop_assert_eq!(read(&mut Decoder::new(true, true), &stream, &cuts), whole);
    }

    #[test]
    fn any_bytes_are_read_without_harm(
        stream in prop::collection::vec(any::<u8>(), 0..300),
        need_mask: bool,
        compression: bool,
    ) {
        read(&mut Decoder::new(need_mask, compression), &stream, &[1, 2, 3]);
    }
}

fn meaning(stream: &[u8]) -> Vec<Meaning> {
    read(&mut Decoder::new(true, true), stream, &[])
}

fn refused(stream: &[u8]) -> String {
    match meaning(stream).pop() {
        Some(Meaning::Violation(Violation(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fragmented_message_with_a_ping_in_between() {
    let stream =
        [masked(0x02, b"PI"), masked(0x89, b"hi"), masked(0x00, b"NG"), masked(0x80, b"\r\n")];
    let data = |bytes: &[u8]| Meaning::Data(bytes.to_vec(), false);
    assert_eq!(
        meaning(&stream.concat()),
        [data(b"PI"), Meaning::Ping(b"hi".to_vec()), data(b"NG\r\n"), Meaning::End]
    );
}

#[test]
fn what_breaks_the_rules_is_named() {
    for (stream, text) in [
        (masked(0xa2, b"x"), "RSV2 and RSV3 must be clear"),
        (b"\x82\x01x".to_vec(), "mask bit missing"),
        (masked(0x83, b""), "unknown opcode 3"),
        (masked(0x8b, b""), "unknown opcode 11"),
        (masked(0x89, &[0; 126]), "control frame length bigger than maximum allowed of 125 bytes"),
        (masked(0x09, b""), "control frame does not have final bit set"),
        (masked(0xc9, b""), "control frame must not be compressed"),
        (masked(0x80, b""), "invalid continuation frame"),
        (
            [masked(0x02, b""), masked(0x82, b"")].concat(),
            "new message started before final frame for previous message was received",
        ),
        ([masked(0x02, b""), masked(0xc0, b"")].concat(), "invalid continuation frame"),
        (b"\x82\xff\x80\0\0\0\0\0\0\0key!".to_vec(), "invalid 64-bit payload length"),
        (masked(0x88, b"x"), "close frame payload cannot be 1 byte"),
    ] {
        assert_eq!(refused(&stream), text);
    }
    let plain = read(&mut Decoder::new(true, false), &masked(0xc2, b"x"), &[]);
    let text = "compressed frame received without negotiated permessage-deflate";
    assert_eq!(plain, [Meaning::Violation(Violation(text.into()))]);
}

#[test]
fn a_peer_that_need_not_mask() {
    let mut decoder = Decoder::new(false, false);
    let all = read(&mut decoder, b"\x82\x06PING\r\n", &[]);
    assert_eq!(all, [Meaning::Data(b"PING\r\n".to_vec(), false), Meaning::End]);
}

#[test]
fn headers_of_every_length() {
    for (len, header) in [
        (125, b"\x82\x7d".to_vec()),
        (126, b"\x82\x7e\0\x7e".to_vec()),
        (65535, b"\x82\x7e\xff\xff".to_vec()),
        (65536, b"\x82\x7f\0\0\0\0\0\x01\0\0".to_vec()),
    ] {
        let mut out = Vec::new();
        put_header(&mut out, Opcode::Binary, true, false, len);
        assert_eq!(out, header);
    }
}
