//! What client and route parsers share: keywords, control lines, message bodies.

use super::message::Body;

/// A step of a parser over the input it was given.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<Op> {
    /// One whole op; the second field is how many bytes it took.
    Op(Op, usize),
    /// The op goes on beyond the input.
    More(Need),
}

/// What is missing to finish an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The end of the control line.
    LineEnd,
    /// The same, and of what is there so far only this many bytes matter: the rest is ignored,
    /// so it need not be kept.
    LineEndAfter(usize),
    /// This many bytes in all, counted from the start of the op.
    Bytes(usize),
}

/// Bounds that the parser itself enforces, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest argument part of a control line.
    pub control_line_max: usize,
    /// Largest message, headers included.
    pub payload_max: usize,
}

/// Why input cannot be understood. Each variant decides what the peer is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not the protocol: `-ERR 'Unknown Protocol Operation'`, then close.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// Line too long: `-ERR 'maximum control line exceeded'`, then close.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// Message too large: `-ERR 'Maximum Payload Violation'`, then close.
    #[error("maximum payload exceeded: {got} vs {max}")]
    Payload {
        /// Announced size.
        got: usize,
        /// Allowed size.
        max: usize,
    },
    /// Bad arguments: closed without a word; the text is for the log.
    #[error("{0}")]
    Arguments(String),
    /// The peer itself reported an error: closed without a word.
    #[error("{0}")]
    PeerReported(String),
}

/// The argument part of a control line and what it took.
pub(super) struct Line<'a> {
    /// Arguments, without the line end.
    pub(super) args: &'a [u8],
    /// Bytes from the start of the op to the end of the line.
    pub(super) len: usize,
    /// The line ended with CRLF, not with a bare LF.
    pub(super) crlf: bool,
}

/// Whether the input starts with a keyword, in any case; `None` when it ends too early to tell.
pub(super) fn starts_with(input: &[u8], keyword: &[u8]) -> Option<bool> {
    let common = input.len().min(keyword.len());
    let same = input.get(..common)?.eq_ignore_ascii_case(keyword.get(..common)?);
    match (same, input.len() < keyword.len()) {
        (false, _) => Some(false),
        (true, true) => None,
        (true, false) => Some(true),
    }
}

/// How a keyword is separated from its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// At least one blank (`PUB`, `SUB`).
    Blank,
    /// Blanks are optional (`CONNECT`, `INFO`).
    Optional,
    /// Whatever stands there is ignored (`PING`).
    Ignored,
}

/// A control line, or what is missing of it.
pub(super) enum LineStep<'a> {
    Whole(Line<'a>),
    More(Need),
}

/// Reads the control line of an op whose keyword is one of `keyword`'s spelling.
pub(super) fn line<'a>(
    input: &'a [u8],
    keyword: &[u8],
    after: After,
    bounds: &Bounds,
) -> Result<LineStep<'a>, ParseError> {
    let more = Ok(LineStep::More(Need::LineEnd));
    match starts_with(input, keyword) {
        Some(false) => return Err(ParseError::UnknownOperation),
        None => return more,
        Some(true) => {}
    }
    let Some(rest) = input.get(keyword.len()..) else { return more };
    let Some(&first) = rest.first() else { return more };
    let blanks = match after {
        After::Ignored => 0,
        After::Optional | After::Blank => {
            rest.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count()
        }
    };
    if after == After::Blank && first != b' ' && first != b'\t' {
        return Err(ParseError::UnknownOperation);
    }
    let rest = rest.get(blanks..).unwrap_or_default();
    let Some(end) = line_end(rest, after) else {
        // Were its LF to come now: the same line, in one piece or in many.
        let waiting = without_cr(rest).len();
        return match after {
            After::Ignored => Ok(LineStep::More(Need::LineEndAfter(keyword.len()))),
            _ if waiting > bounds.control_line_max => Err(ParseError::ControlLine),
            _ if rest.is_empty() => Ok(LineStep::More(Need::LineEndAfter(keyword.len() + 1))),
            _ => more,
        };
    };
    let line = rest.get(..end).unwrap_or_default();
    let args = without_cr(line);
    if args.len() > bounds.control_line_max && after != After::Ignored {
        return Err(ParseError::ControlLine);
    }
    let len = keyword.len() + blanks + end + 1;
    Ok(LineStep::Whole(Line { args, len, crlf: line.ends_with(b"\r") }))
}

/// Where the line ends. The first byte of arguments is one of them, whatever it is (observed).
fn line_end(rest: &[u8], after: After) -> Option<usize> {
    let passed = usize::from(after != After::Ignored);
    memchr::memchr(b'\n', rest.get(passed..)?).map(|end| end + passed)
}

/// Arguments without their CR. A CR further inside costs a line that has none at its end its
/// last byte (observed).
fn without_cr(line: &[u8]) -> &[u8] {
    match line.split_last() {
        Some((b'\r', args)) if !args.is_empty() => args,
        Some((_, args)) if args.iter().skip(1).any(|&byte| byte == b'\r') => args,
        _ => line,
    }
}

/// An op whose line carries nothing of interest.
pub(super) fn bare<Op>(
    input: &[u8],
    keyword: &[u8],
    bounds: &Bounds,
    op: Op,
) -> Result<Step<Op>, ParseError> {
    with_args(input, keyword, After::Ignored, bounds, |_| Ok(op))
}

/// An op that is made of the arguments of its line.
pub(super) fn with_args<'a, Op>(
    input: &'a [u8],
    keyword: &[u8],
    after: After,
    bounds: &Bounds,
    op: impl FnOnce(&Line<'a>) -> Result<Op, ParseError>,
) -> Result<Step<Op>, ParseError> {
    match line(input, keyword, after, bounds)? {
        LineStep::Whole(line) => Ok(Step::Op(op(&line)?, line.len)),
        LineStep::More(need) => Ok(Step::More(need)),
    }
}

/// Reads a message body of `size` bytes and its CRLF, which starts at `start` of the input.
pub(super) fn body(input: &[u8], start: usize, size: usize) -> Result<Body<'_>, ParseError> {
    let whole = input.get(start..).unwrap_or_default();
    let end = whole.get(size..).unwrap_or_default();
    match end {
        [b'\r', b'\n', ..] => Ok(Body::Whole(whole.get(..size + 2).unwrap_or_default())),
        [] | [b'\r'] => Ok(Body::Missing(start + size + 2)),
        _ => Err(ParseError::UnknownOperation),
    }
}
