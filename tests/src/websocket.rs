//! A raw WebSocket conversation: an upgrade as text, frames as bytes.

use std::io::{self, Read};
use std::net::SocketAddr;

use flate2::read::DeflateDecoder;
use flate2::{Compression, FlushCompress};
use serde_json::Value;

use crate::wire::{Conversation, Missed};

/// Masks every frame of these tests.
const KEY: &[u8; 4] = b"mask";
/// What a server leaves out at the end of a compressed message (RFC 7692).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// First bytes of frames: whole text, binary, close, ping and pong, and compressed binary.
pub const TEXT: u8 = 0x81;
/// See [`TEXT`].
pub const BINARY: u8 = 0x82;
/// See [`TEXT`].
pub const CLOSE: u8 = 0x88;
/// See [`TEXT`].
pub const PING: u8 = 0x89;
/// See [`TEXT`].
pub const PONG: u8 = 0x8a;
/// See [`TEXT`].
pub const COMPRESSED: u8 = 0xc2;

/// An upgrade request with these further header lines.
pub fn request(target: &str, headers: &[&str]) -> Vec<u8> {
    let mut text = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost:1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into()
}

/// A frame with this first byte, masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..=125), _) => frame.push(0x80 | len),
        (_, Ok(len)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A message, packed.
pub fn packed(message: &[u8]) -> Vec<u8> {
    let mut machine = flate2::Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(message.len() + 1024);
    machine.compress_vec(message, &mut out, FlushCompress::Sync).expect("a message");
    out.truncate(out.len() - TAIL.len());
    out
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let whole = [packed, TAIL, &[1, 0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::new();
    DeflateDecoder::new(&*whole).read_to_end(&mut out).expect("a packed message");
    out
}

/// One end of an upgraded connection.
#[derive(Debug)]
pub struct Websocket {
    conversation: Conversation,
    /// The head of the answer to the upgrade.
    pub answer: String,
}

/// A frame from a server: first byte and payload, unpacked if it was packed.
pub type Frame = (u8, Vec<u8>);

impl Websocket {
    /// Dials and upgrades.
    ///
    /// # Panics
    /// When the answer is not an upgrade.
    pub async fn dial(address: SocketAddr, headers: &[&str]) -> io::Result<Self> {
        let mut conversation = Conversation::dial(address).await?;
        conversation.send(&request("/", headers)).await?;
        let answer = head(&mut conversation).await.map_err(|m| io::Error::other(m.to_string()))?;
        assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
        Ok(Self { conversation, answer })
    }

    /// The same, with INFO read.
    ///
    /// # Panics
    /// When INFO does not come.
    pub async fn greeted(address: SocketAddr, headers: &[&str]) -> (Self, Value) {
        let mut websocket = Self::dial(address, headers).await.expect("a websocket");
        let (_, info) = websocket.next().await.expect("INFO");
        let text = info.strip_prefix(b"INFO ").expect("INFO");
        let info = serde_json::from_slice(text).expect("JSON");
        (websocket, info)
    }

    /// Sends one frame.
    pub async fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.conversation.send(&frame(first, payload)).await
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.conversation.send(bytes).await
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<Frame, Missed> {
        let header = self.conversation.take(2).await?;
        let len = match header[1] {
            126 => {
                let long = self.conversation.take(2).await?;
                usize::from(u16::from_be_bytes([long[0], long[1]]))
            }
            127 => {
                let long = self.conversation.take(8).await?;
                long.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
            short => usize::from(short),
        };
        let payload = self.conversation.take(len).await?;
        let packed = header[0] == COMPRESSED;
        Ok((header[0], if packed { unpacked(&payload) } else { payload }))
    }

    /// The bytes of the next frames that are no control frames, until they hold this.
    ///
    /// # Panics
    /// When they do not.
    pub async fn until(&mut self, end: &str) -> String {
        let mut all = String::new();
        while !all.contains(end) {
            match self.next().await {
                Ok((first, bytes)) if first & 0x08 == 0 => {
                    all.push_str(&String::from_utf8_lossy(&bytes));
                }
                Ok(_) => {}
                Err(missed) => panic!("{all:?}, then {missed}"),
            }
        }
        all
    }

    /// What comes before the end.
    pub async fn closed(&mut self) -> Result<Vec<u8>, Missed> {
        self.conversation.closed().await
    }
}

/// The head of an HTTP answer.
pub async fn head(conversation: &mut Conversation) -> Result<String, Missed> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let line = conversation.line().await?;
        head.push_str(&String::from_utf8_lossy(&line));
        if !head.ends_with("\r\n") {
            head.push_str("\r\n");
        }
    }
    Ok(head)
}
