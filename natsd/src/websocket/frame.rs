//! Frames: taken apart whatever way the bytes are cut, and made.

use std::ops::Range;

use super::Closing;

/// Most payload of a control frame (RFC 6455, 5.5).
const CONTROL_MAX: usize = 125;

const FINAL: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// Kind of a frame that natsd sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation = 0,
    /// Begins a message.
    Binary = 2,
    /// Says goodbye.
    Close = 8,
    /// Answers a ping.
    Pong = 10,
}

/// The peer broke the rules; the text says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

fn violation<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

/// What a frame, or a piece of one, brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Part of a message, unmasked where it lies in the input.
    Data {
        /// Where.
        bytes: Range<usize>,
        /// It belongs to a compressed message.
        compressed: bool,
        /// The message ends here.
        last: bool,
    },
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// Asks for nothing.
    Pong,
    /// The peer goes; this is the answer to it.
    Close(Closing),
}

/// Takes the frames of one peer apart.
#[derive(Debug)]
pub struct Decoder {
    /// The peer must mask.
    masked: bool,
    /// The peer may compress.
    compression: bool,
    /// What is known of the current frame's header.
    header: Header,
    /// A message was begun and goes on in the next frame.
    unfinished: bool,
    /// That message is compressed.
    compressed: bool,
    body: Body,
}

#[derive(Debug, Default)]
struct Header {
    bytes: [u8; 14],
    len: usize,
}

#[derive(Debug)]
enum Body {
    /// The header is not complete.
    None,
    Data {
        left: u64,
        mask: Mask,
    },
    Control {
        opcode: u8,
        left: usize,
        mask: Mask,
        payload: Vec<u8>,
    },
}

/// The key of a frame and how far it was applied.
#[derive(Clone, Copy, Debug, Default)]
struct Mask {
    key: [u8; 4],
    at: usize,
}

impl Mask {
    /// Takes the mask off the next bytes.
    fn apply(&mut self, bytes: &mut [u8]) {
        if self.key == [0; 4] {
            return;
        }
        let mut key = self.key;
        key.rotate_left(self.at % 4);
        self.at = (self.at + bytes.len()) % 4;
        let wide = u32::from_ne_bytes(key);
        let wide = u64::from(wide) | u64::from(wide) << 32;
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
    }
}

impl Decoder {
    /// Begins with the first frame. `masked` says that the peer must mask, `compression` that it
    /// may compress.
    #[must_use]
    pub fn new(masked: bool, compression: bool) -> Self {
        Self {
            masked,
            compression,
            header: Header::default(),
            unfinished: false,
            compressed: false,
            body: Body::None,
        }
    }

    /// Reads on at `at`, which moves behind what was read; `None` when the input is used up.
    ///
    /// # Errors
    /// When the peer broke the rules; nothing more is to be read then.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Piece>, Violation> {
        loop {
            match &mut self.body {
                Body::None => {
                    if !self.header.fill(input, at, self.masked)? {
                        return Ok(None);
                    }
                    if let Some(piece) = self.begin(*at)? {
                        return Ok(Some(piece));
                    }
                }
                Body::Data { left, mask } => {
                    let rest = input.len().saturating_sub(*at);
                    if rest == 0 {
                        return Ok(None);
                    }
                    let count = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                    let bytes = *at..*at + count;
                    mask.apply(input.get_mut(bytes.clone()).unwrap_or_default());
                    *at += count;
                    *left -= count as u64;
                    let ended = *left == 0;
                    if ended {
                        self.end();
                    }
                    let last = ended && !self.unfinished;
                    return Ok(Some(Piece::Data { bytes, compressed: self.compressed, last }));
                }
                Body::Control { opcode, left, mask, payload } => {
                    let rest = input.get_mut(*at..).unwrap_or_default();
                    let count = rest.len().min(*left);
                    let bytes = rest.get_mut(..count).unwrap_or_default();
                    mask.apply(bytes);
                    payload.extend_from_slice(bytes);
                    *at += count;
                    *left -= count;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let piece = control(*opcode, std::mem::take(payload))?;
                    self.end();
                    return Ok(Some(piece));
                }
            }
        }
    }

    /// The header is complete: what follows? An empty frame is a piece at once.
    fn begin(&mut self, at: usize) -> Result<Option<Piece>, Violation> {
        let (length, key) = self.header.length_and_key(self.masked)?;
        let [first, ..] = self.header.bytes;
        let opcode = first & 0x0f;
        let (last, compressed) = (first & FINAL != 0, first & COMPRESSED != 0);
        if compressed && !self.compression {
            return violation("compressed frame received without negotiated permessage-deflate");
        }
        let mask = Mask { key, at: 0 };
        match opcode {
            8..=10 => {
                check_control(length, last, compressed)?;
                let left = usize::try_from(length).unwrap_or(CONTROL_MAX);
                self.body = Body::Control { opcode, left, mask, payload: Vec::with_capacity(left) };
                return Ok(None);
            }
            1 | 2 if self.unfinished => {
                return violation(
                    "new message started before final frame for previous message was received",
                );
            }
            1 | 2 => self.compressed = compressed,
            0 if !self.unfinished || compressed => {
                return violation("invalid continuation frame");
            }
            0 => {}
            other => return violation(format!("unknown opcode {other}")),
        }
        self.unfinished = !last;
        if length == 0 {
            self.end();
            return Ok(Some(Piece::Data { bytes: at..at, compressed: self.compressed, last }));
        }
        self.body = Body::Data { left: length, mask };
        Ok(None)
    }

    fn end(&mut self) {
        self.header.len = 0;
        self.body = Body::None;
    }
}

impl Header {
    /// Takes header bytes; true when all are there.
    fn fill(&mut self, input: &[u8], at: &mut usize, masked: bool) -> Result<bool, Violation> {
        while self.len < self.wanted(masked)? {
            let Some(&byte) = input.get(*at) else { return Ok(false) };
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
            }
            self.len += 1;
            *at += 1;
        }
        Ok(true)
    }

    /// How many bytes the header has, as far as that is known.
    fn wanted(&self, masked: bool) -> Result<usize, Violation> {
        let [first, second, ..] = self.bytes;
        if self.len > 0 && first & RESERVED != 0 {
            return violation("RSV2 and RSV3 must be clear");
        }
        if self.len < 2 {
            return Ok(2);
        }
        if masked && second & MASKED == 0 {
            return violation("mask bit missing");
        }
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        // As the reference has it, a peer that need not mask must not: the bit is ignored.
        Ok(2 + length + if masked { 4 } else { 0 })
    }

    fn length_and_key(&self, masked: bool) -> Result<(u64, [u8; 4]), Violation> {
        let [_, second, a, b, c, d, e, f, g, h, i, j, k, l] = self.bytes;
        let (length, key) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l]),
            short => (u64::from(short), [a, b, c, d]),
        };
        if length >> 63 != 0 {
            return violation("invalid 64-bit payload length");
        }
        Ok((length, if masked { key } else { [0; 4] }))
    }
}

fn check_control(length: u64, last: bool, compressed: bool) -> Result<(), Violation> {
    if length > CONTROL_MAX as u64 {
        return violation(format!(
            "control frame length bigger than maximum allowed of {CONTROL_MAX} bytes"
        ));
    }
    if !last {
        return violation("control frame does not have final bit set");
    }
    if compressed {
        return violation("control frame must not be compressed");
    }
    Ok(())
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Piece, Violation> {
    match opcode {
        8 => Closing::parse(&payload).map(Piece::Close).map_err(Violation),
        9 => Ok(Piece::Ping(payload)),
        _ => Ok(Piece::Pong),
    }
}

/// Appends the header of a frame that a server sends.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, last: bool, compressed: bool, len: usize) {
    let flags = if last { FINAL } else { 0 } | if compressed { COMPRESSED } else { 0 };
    out.push(opcode as u8 | flags);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a control frame; its payload is at most 125 bytes.
pub fn put_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = payload.get(..payload.len().min(CONTROL_MAX)).unwrap_or_default();
    put_header(out, opcode, true, false, payload.len());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
