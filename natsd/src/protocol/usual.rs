//! The usual form of a message, read in one go: the keyword in capitals, single spaces, CRLF, and
//! all of the message there.
//!
//! Whatever else there is, errors included, is left to the careful way (`client.rs`, `route.rs`),
//! which says the same of this form.

use super::args::size;
use super::line::Bounds;
use super::message::{CRLF, Message};

/// Most arguments: those of `HMSG account subject reply header-size total-size`.
const ARGUMENTS_MAX: usize = 5;

/// A message in the usual form.
pub(super) struct Usual<'a> {
    /// Where it is named.
    pub(super) account: Option<&'a [u8]>,
    pub(super) message: Message<'a>,
    /// Bytes of its control line.
    pub(super) line_len: usize,
    /// Bytes in all.
    pub(super) total: usize,
}

/// Reads `KEYWORD [account] subject [reply] [header size] size`; `None` unless it has the usual
/// form. A keyword with an H has a header size.
pub(super) fn message<'a, const N: usize>(
    input: &'a [u8],
    keyword: &[u8; N],
    names_account: bool,
    bounds: &Bounds,
) -> Option<Usual<'a>> {
    let line = input.strip_prefix(keyword)?.strip_prefix(b" ")?;
    let (arguments, count, len) = arguments(line)?;
    let all = arguments.get(..count)?;
    let (account, rest) = match all.split_first()? {
        (account, rest) if names_account => (Some(*account), rest),
        _ => (None, all),
    };
    let has_headers = keyword.first() == Some(&b'H');
    let (subject, reply, header_text, size_text) = match (has_headers, rest) {
        (false, &[subject, size]) => (subject, &[][..], &b"0"[..], size),
        (false, &[subject, reply, size]) => (subject, reply, &b"0"[..], size),
        (true, &[subject, header, size]) => (subject, &[][..], header, size),
        (true, &[subject, reply, header, size]) => (subject, reply, header, size),
        _ => return None,
    };
    let (header_len, size) = (size(header_text)?, size(size_text)?);
    // Without a header block it goes out as MSG, which has one size less.
    let is_fine = header_len <= size
        && (header_len > 0) == has_headers
        && size <= bounds.payload_max
        && len - CRLF.len() <= bounds.control_line_max;
    if !is_fine {
        return None;
    }
    let start = input.len() - line.len();
    let line_len = start + len;
    let total = line_len + size + CRLF.len();
    let body = input.get(line_len..total).filter(|body| body.ends_with(CRLF))?;
    let before_subject = account.map_or(0, |account| account.len() + 1);
    let tail = input.get(start + before_subject + subject.len() + 1..total)?;
    let message = Message { subject, reply, header_len, body, tail, shared: None };
    Some(Usual { account, message, line_len, total })
}

/// The arguments of a line, how many there are, and how many bytes the line has.
///
/// Inlined, since what it returns would go through memory: measured, a fifth of the time.
#[inline(always)]
fn arguments(line: &[u8]) -> Option<([&[u8]; ARGUMENTS_MAX], usize, usize)> {
    let mut arguments = [&[][..]; ARGUMENTS_MAX];
    let mut start = 0;
    for (count, place) in (1..).zip(&mut arguments) {
        let rest = line.get(start..)?;
        let (argument, blank) = rest.split_at_checked(first_blank(rest))?;
        if matches!(argument, [] | [b'|' | b'+']) {
            return None; // two blanks, or the queue groups of a routed message
        }
        *place = argument;
        match blank {
            [b' ', ..] => start += argument.len() + 1,
            [b'\r', b'\n', ..] => {
                return Some((arguments, count, start + argument.len() + CRLF.len()));
            }
            _ => return None,
        }
    }
    None
}

/// Where the first byte is that is a space or less; eight bytes at a time.
fn first_blank(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut passed = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The top bit of each byte that is less than 0x21; exact up to the first such.
        let blank = word.wrapping_sub(EACH * 0x21) & !word & (EACH * 0x80);
        if blank != 0 {
            return passed + blank.trailing_zeros() as usize / 8;
        }
        passed += 8;
    }
    passed + rest.iter().position(|&byte| byte <= b' ').unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_blank_is_found_wherever_it_is(
            bytes in prop::collection::vec(prop_oneof![8 => 0x1e_u8.., 1 => any::<u8>()], 0..40),
        ) {
            let expected = bytes.iter().position(|&byte| byte <= b' ').unwrap_or(bytes.len());
            prop_assert_eq!(first_blank(&bytes), expected);
        }
    }
}
