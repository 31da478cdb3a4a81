//! What is asked for: the target of a request, as people type it and as a path that is known.
//!
//! hyper refuses a target that RFC 3986 does not allow before anybody sees it; the reference takes
//! all but blanks and control characters, so that `/subsz?subs=1&test=foo.>` works there. Here
//! such characters are percent-encoded on their way to hyper, which means the same.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use super::query;

/// Bytes read at once.
const READ_BYTES: usize = 1024;

/// The reading side of a connection, whose targets hyper will take.
#[derive(Debug)]
pub(super) struct Lenient<R> {
    read: R,
    place: Place,
    /// Encoded, and not yet asked for.
    ready: BytesMut,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A request begins with it.
    Begin,
    /// The request line.
    Target,
    /// Headers; the line is empty so far.
    Headers { empty: bool },
    /// A request that may have a body, which ends who knows where: nothing is changed any more.
    Unknown,
}

impl Place {
    /// What the byte behind this one belongs to.
    const fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Begin, b'\r' | b'\n') => Self::Begin,
            (Self::Begin, b'G' | b'H') => Self::Target, // GET, HEAD
            (Self::Begin | Self::Unknown, _) => Self::Unknown,
            (Self::Target, b'\n') => Self::Headers { empty: true },
            (Self::Target, _) => Self::Target,
            (Self::Headers { empty: true }, b'\n') => Self::Begin,
            (Self::Headers { .. }, b'\n') => Self::Headers { empty: true },
            (Self::Headers { empty }, b'\r') => Self::Headers { empty },
            (Self::Headers { .. }, _) => Self::Headers { empty: false },
        }
    }
}

impl<R> Lenient<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, place: Place::Begin, ready: BytesMut::new() }
    }

    fn encode(&mut self, input: &[u8]) {
        for &byte in input {
            if self.place == Place::Target && is_refused(byte) {
                self.ready.extend_from_slice(format!("%{byte:02X}").as_bytes());
            } else {
                self.ready.extend_from_slice(&[byte]);
            }
            self.place = self.place.behind(byte);
        }
    }
}

/// Whether hyper refuses a byte in a target, or takes what follows it for a fragment.
const fn is_refused(byte: u8) -> bool {
    matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`' | 0x80..)
}

impl<R: AsyncRead + Unpin> AsyncRead for Lenient<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.is_empty() {
            let mut input = [0; READ_BYTES];
            let mut input = ReadBuf::new(&mut input);
            ready!(Pin::new(&mut self.read).poll_read(cx, &mut input))?;
            self.encode(input.filled());
        }
        let count = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// Why a target names no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// It is no path, or an escape is broken.
    Nowhere,
    /// This is to be asked for instead: the same without doubled slashes and dots.
    Elsewhere(String),
}

/// The path that a target names, as Go has it.
pub(super) fn path_of(target: &str) -> Result<String, Astray> {
    let path = query::unescaped(target).filter(|path| path.starts_with('/'));
    let path = path.ok_or(Astray::Nowhere)?;
    let mut parts = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if target.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    if clean == target { Ok(path) } else { Err(Astray::Elsewhere(clean)) }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn through(input: &[u8]) -> String {
        let mut out = Vec::new();
        Lenient::new(input).read_to_end(&mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn only_targets_are_encoded() {
        for (input, wanted) in [
            (
                "GET /subsz?test=foo.> HTTP/1.1\r\nX: <a>\r\n\r\nGET /#\"`é HTTP/1.1\r\n\r\n",
                "GET /subsz?test=foo.%3E HTTP/1.1\r\nX: <a>\r\n\r\n\
                 GET /%23%22%60%C3%A9 HTTP/1.1\r\n\r\n",
            ),
            (
                "\r\nHEAD /< HTTP/1.0\n\nGET /%3E HTTP/1.0\n\n",
                "\r\nHEAD /%3C HTTP/1.0\n\nGET /%3E HTTP/1.0\n\n",
            ),
            (
                "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET /<\r\n\r",
                "POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET /<\r\n\r",
            ),
        ] {
            assert_eq!(through(input.as_bytes()).await, wanted);
        }
    }

    #[tokio::test]
    async fn what_grows_beyond_the_reader_s_buffer_is_kept() {
        let input = format!("GET /{} HTTP/1.1\r\n\r\n", "<".repeat(3 * READ_BYTES));
        let mut read = Lenient::new(input.as_bytes());
        let mut out = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match read.read(&mut buffer).await.unwrap() {
                0 => break,
                count => out.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(out, input.replace('<', "%3C").as_bytes());
    }

    #[test]
    fn paths_are_decoded_and_clean() {
        let elsewhere = |path: &str| Err(Astray::Elsewhere(path.to_owned()));
        for (target, path) in [
            ("/varz", Ok("/varz")),
            ("/%76arz", Ok("/varz")),
            ("/", Ok("/")),
            ("/nats/", Ok("/nats/")),
            ("/a+b", Ok("/a+b")),
            ("//varz", elsewhere("/varz")),
            ("/./a/../varz", elsewhere("/varz")),
            ("/..//nats//", elsewhere("/nats/")),
            ("/%2Fvarz", Ok("//varz")),
            ("/%zz", Err(Astray::Nowhere)),
            ("//varz%2", Err(Astray::Nowhere)),
            ("", Err(Astray::Nowhere)),
            ("*", Err(Astray::Nowhere)),
        ] {
            assert_eq!(path_of(target), path.map(str::to_owned), "{target}");
        }
    }
}
