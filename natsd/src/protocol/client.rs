//! What a client says: CONNECT, PUB, HPUB, SUB, UNSUB, PING, PONG.

use super::args::{self, size};
use super::line::{
    After, Bounds, Line, LineStep, Need, ParseError, Step, bare, body, line, with_args,
};
use super::message::{Body, Message};
use super::usual::{self, Usual};

/// One op of a client.
#[derive(Debug)]
pub enum ClientOp<'a> {
    /// `CONNECT {json}`.
    Connect(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `PUB` or `HPUB`. The second field is the length of its control line.
    Publish(Message<'a>, usize),
    /// `SUB subject [queue] sid`.
    Subscribe {
        /// Subject, unchecked.
        subject: &'a [u8],
        /// Queue group.
        queue: Option<&'a [u8]>,
        /// Subscription id, chosen by the client.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsubscribe {
        /// Subscription id.
        sid: &'a [u8],
        /// Remove after this many deliveries since SUB; now when absent.
        max: Option<u64>,
    },
    /// `INFO {json}`: ignored if it is one.
    Info(&'a [u8]),
    /// `+OK`: accepted and ignored.
    Ignored,
}

type Parsed<'a> = Result<Step<ClientOp<'a>>, ParseError>;

/// Reads the next op of a client from a non-empty input.
///
/// # Errors
/// Says what the peer must be told; the connection is to be closed after any.
pub fn parse<'a>(input: &'a [u8], bounds: &Bounds, headers: bool) -> Parsed<'a> {
    let Some(first) = input.first() else { return Ok(Step::More(Need::LineEnd)) };
    match first {
        b'P' | b'p' => match input.get(1) {
            None => Ok(Step::More(Need::LineEnd)),
            Some(b'U' | b'u') => publish(input, b"PUB", bounds),
            Some(b'I' | b'i') => bare(input, b"PING", bounds, ClientOp::Ping),
            Some(_) => bare(input, b"PONG", bounds, ClientOp::Pong),
        },
        b'H' | b'h' if headers => publish(input, b"HPUB", bounds),
        b'H' | b'h' => without_headers(input, bounds),
        b'S' | b's' => with_args(input, b"SUB", After::Blank, bounds, subscribe),
        b'U' | b'u' => with_args(input, b"UNSUB", After::Blank, bounds, unsubscribe),
        b'C' | b'c' => with_args(input, b"CONNECT", After::Optional, bounds, |line| {
            Ok(ClientOp::Connect(line.args))
        }),
        b'I' | b'i' => {
            with_args(input, b"INFO", After::Optional, bounds, |line| Ok(ClientOp::Info(line.args)))
        }
        b'+' => bare(input, b"+OK", bounds, ClientOp::Ignored),
        b'-' => with_args(input, b"-ERR", After::Blank, bounds, |line| {
            Err(ParseError::PeerReported(String::from_utf8_lossy(line.args).into_owned()))
        }),
        _ => Err(ParseError::UnknownOperation),
    }
}

fn without_headers<'a>(input: &'a [u8], bounds: &Bounds) -> Parsed<'a> {
    match line(input, b"HPUB", After::Blank, bounds)? {
        LineStep::Whole(_) => Err(ParseError::Arguments("message headers not supported".into())),
        LineStep::More(need) => Ok(Step::More(need)),
    }
}

fn subscribe<'a>(line: &Line<'a>) -> Result<ClientOp<'a>, ParseError> {
    match *args::split(line.args) {
        [subject, sid] => Ok(ClientOp::Subscribe { subject, queue: None, sid }),
        [subject, queue, sid] => Ok(ClientOp::Subscribe { subject, queue: Some(queue), sid }),
        _ => Err(bad_arguments("processSub Parse Error", line.args)),
    }
}

fn unsubscribe<'a>(line: &Line<'a>) -> Result<ClientOp<'a>, ParseError> {
    match *args::split(line.args) {
        [sid] => Ok(ClientOp::Unsubscribe { sid, max: None }),
        // An unreadable or zero maximum removes at once, as the reference does.
        [sid, max] => Ok(ClientOp::Unsubscribe {
            sid,
            max: size(max).filter(|&max| max > 0).map(|max| max as u64),
        }),
        _ => Err(bad_arguments("processUnsub Parse Error", line.args)),
    }
}

/// `PUB subject [reply] size` and `HPUB subject [reply] header-size total-size`.
pub(super) fn publish<'a, const N: usize>(
    input: &'a [u8],
    keyword: &[u8; N],
    bounds: &Bounds,
) -> Parsed<'a> {
    match usual::message(input, keyword, false, bounds) {
        Some(Usual { message, line_len, total, .. }) => {
            Ok(Step::Op(ClientOp::Publish(message, line_len), total))
        }
        None => publish_carefully(input, keyword, bounds),
    }
}

fn publish_carefully<'a>(input: &'a [u8], keyword: &[u8], bounds: &Bounds) -> Parsed<'a> {
    let line = match line(input, keyword, After::Blank, bounds)? {
        LineStep::Whole(line) => line,
        LineStep::More(need) => return Ok(Step::More(need)),
    };
    let head = head(&line, keyword)?;
    if head.size > bounds.payload_max {
        return Err(ParseError::Payload { got: head.size, max: bounds.payload_max });
    }
    let body = match body(input, line.len, head.size)? {
        Body::Whole(body) => body,
        Body::Missing(total) => return Ok(Step::More(Need::Bytes(total))),
    };
    let total = line.len + body.len();
    // What follows the subject is sent on as it stands, if it stands in the usual form.
    let tail = if head.canonical && line.crlf {
        input.get(line.len - 2 - head.after_subject..total).unwrap_or_default()
    } else {
        &[]
    };
    let message = Message {
        subject: head.subject,
        reply: head.reply,
        header_len: head.header_len,
        body,
        tail,
        shared: None,
    };
    Ok(Step::Op(ClientOp::Publish(message, line.len), total))
}

struct Head<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    header_len: usize,
    size: usize,
    /// Single spaces between arguments. Leading zeros of a size travel on, as in the reference.
    canonical: bool,
    /// Bytes from behind `subject ` to the end of the arguments.
    after_subject: usize,
}

fn head<'a>(line: &Line<'a>, keyword: &[u8]) -> Result<Head<'a>, ParseError> {
    if keyword.len() == b"HPUB".len() { head_of_hpub(line) } else { head_of_pub(line) }
}

fn head_of_pub<'a>(line: &Line<'a>) -> Result<Head<'a>, ParseError> {
    let (subject, reply, size_text) = match *args::split_publish(line.args) {
        [subject, size] => (subject, &[][..], size),
        [subject, reply, size] => (subject, reply, size),
        _ => return Err(bad_arguments("processPub Parse Error", line.args)),
    };
    let size = size(size_text)
        .ok_or_else(|| bad_arguments("processPub Bad or Missing Size", line.args))?;
    let after_subject = length_with_space(reply) + size_text.len();
    Ok(Head {
        subject,
        reply,
        header_len: 0,
        size,
        canonical: is_canonical(line.args, subject, after_subject),
        after_subject,
    })
}

fn head_of_hpub<'a>(line: &Line<'a>) -> Result<Head<'a>, ParseError> {
    let (subject, reply, header_text, size_text) = match *args::split_publish(line.args) {
        [subject, header, size] => (subject, &[][..], header, size),
        [subject, reply, header, size] => (subject, reply, header, size),
        _ => return Err(bad_arguments("processHeaderPub Parse Error", line.args)),
    };
    let header_len = size(header_text)
        .ok_or_else(|| bad_arguments("processHeaderPub Bad or Missing Header Size", line.args))?;
    let size = size(size_text)
        .ok_or_else(|| bad_arguments("processHeaderPub Bad or Missing Total Size", line.args))?;
    if header_len > size {
        let text = "processHeaderPub Header Size larger then TotalSize";
        return Err(bad_arguments(text, line.args));
    }
    let after_subject = length_with_space(reply) + header_text.len() + 1 + size_text.len();
    Ok(Head {
        subject,
        reply,
        header_len,
        size,
        // Without a header block it goes out as MSG, which has one size less.
        canonical: header_len > 0 && is_canonical(line.args, subject, after_subject),
        after_subject,
    })
}

/// The subject of a PUB or HPUB whose line is right, but whose message is not there or wrong.
#[must_use]
pub fn unfinished_subject<'a>(input: &'a [u8], bounds: &Bounds) -> Option<&'a [u8]> {
    let keyword = if let Some(b'H' | b'h') = input.first() { &b"HPUB"[..] } else { b"PUB" };
    let LineStep::Whole(line) = line(input, keyword, After::Blank, bounds).ok()? else {
        return None;
    };
    Some(head(&line, keyword).ok()?.subject)
}

fn length_with_space(reply: &[u8]) -> usize {
    if reply.is_empty() { 0 } else { reply.len() + 1 }
}

/// Single spaces only: the lengths add up and no other blank is in the line.
fn is_canonical(args: &[u8], subject: &[u8], after_subject: usize) -> bool {
    args.len() == subject.len() + 1 + after_subject && !args.contains(&b'\t')
}

fn bad_arguments(what: &str, args: &[u8]) -> ParseError {
    ParseError::Arguments(format!("{what}: \"{}\"", args.escape_ascii()))
}

#[cfg(test)]
mod tests;
