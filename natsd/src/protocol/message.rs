//! A message on its way through the server.

use bytes::Bytes;

use super::args::Decimal;

/// A message as published: borrowed from the input, nothing copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Subject as published.
    pub subject: &'a [u8],
    /// Reply subject; empty when there is none.
    pub reply: &'a [u8],
    /// Length of the header block in bytes; 0 when there is none.
    pub header_len: usize,
    /// Header block, payload and the final CRLF.
    pub body: &'a [u8],
    /// `[reply ][header size ]total size CRLF body`, when the input holds it in exactly the
    /// form in which it is sent on (single spaces, CRLF); then one copy does. Else empty.
    pub tail: &'a [u8],
    /// The same bytes as `body`, shared; only for bodies that are too large to copy.
    pub shared: Option<&'a Shared>,
}

/// A body that several queues can hold.
#[derive(Clone, Debug)]
pub enum Shared {
    /// It has memory of its own, which is held as long as it takes.
    Own(Bytes),
    /// It is part of a read buffer, which is wanted back when the batch is written.
    Lent(Bytes),
}

/// A buffer that holds the input and can be shared.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// One large message and nothing else.
    Own(&'a Bytes),
    /// A read buffer.
    Lent(&'a Bytes),
}

impl Message<'_> {
    /// Header block and payload together, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len().saturating_sub(CRLF.len())
    }

    /// Whether it carries a header block.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        self.header_len > 0
    }

    /// The header block.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        self.body.get(..self.header_len).unwrap_or_default()
    }

    /// What follows the header block, without the final CRLF.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.header_len..self.size()).unwrap_or_default()
    }

    /// Renders what stands between subject (or sid) and body:
    /// `[reply ][header size ]total size CRLF`.
    pub fn write_sizes(&self, out: &mut Vec<u8>) {
        if !self.reply.is_empty() {
            out.extend_from_slice(self.reply);
            out.push(b' ');
        }
        if self.has_headers() {
            out.extend_from_slice(Decimal::new(self.header_len).as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(Decimal::new(self.size()).as_bytes());
        out.extend_from_slice(CRLF);
    }
}

/// The line end of the protocol.
pub const CRLF: &[u8] = b"\r\n";

/// A message body in the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// All of it, CRLF included.
    Whole(&'a [u8]),
    /// The input ends too early; the op needs this many bytes in all.
    Missing(usize),
}
