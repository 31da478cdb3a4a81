//! Subjects and patterns: what a valid one is and what matches what.
//!
//! Pure bytes; nothing here knows of connections. A subject is a list of tokens separated by
//! `.`; a pattern may hold `*` (exactly one token) and a last `>` (one or more tokens), each
//! only as a whole token: `foo*bar` is an ordinary token (observed: nats-server 2.15.1).

mod transform;

pub use transform::Transform;

/// Separator of tokens.
const DOT: u8 = b'.';

/// Iterates over the tokens of a subject.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|&byte| byte == DOT)
}

/// Whether the bytes may be subscribed to: no empty token, no blank, `>` only at the end.
#[must_use]
pub fn is_valid_pattern(subject: &[u8]) -> bool {
    let mut full_wildcard_seen = false;
    for token in tokens(subject) {
        if full_wildcard_seen || token.is_empty() || token.iter().copied().any(is_blank) {
            return false;
        }
        full_wildcard_seen = token == b">";
    }
    true
}

/// Whether the bytes are a valid subject without wildcards.
#[must_use]
pub fn is_valid_literal(subject: &[u8]) -> bool {
    is_valid_pattern(subject) && !has_wildcard(subject)
}

/// Whether any token is a wildcard.
#[must_use]
pub fn has_wildcard(subject: &[u8]) -> bool {
    // Most subjects hold neither byte; look at tokens only when one does.
    memchr::memchr2(b'*', b'>', subject).is_some()
        && tokens(subject).any(|token| token == b"*" || token == b">")
}

/// Whether a pattern matches a literal subject, token by token.
#[must_use]
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut wanted = tokens(pattern);
    let mut given = tokens(subject);
    loop {
        match (wanted.next(), given.next()) {
            (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(_)) => {}
            (Some(want), Some(give)) if want == give => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether every subject that `narrow` matches is matched by `wide` too.
#[must_use]
pub fn is_subset(narrow: &[u8], wide: &[u8]) -> bool {
    let mut wanted = tokens(wide);
    let mut given = tokens(narrow);
    loop {
        match (wanted.next(), given.next()) {
            (Some(b">"), Some(_)) => return true,
            (Some(b"*"), Some(give)) if give != b">" && !give.is_empty() => {}
            (Some(want), Some(give)) if want == give && give != b"*" => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether some subject is matched by both patterns.
#[must_use]
pub fn overlaps(one: &[u8], other: &[u8]) -> bool {
    let mut left = tokens(one);
    let mut right = tokens(other);
    loop {
        match (left.next(), right.next()) {
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == b"*" || b == b"*" => {}
            _ => return false,
        }
    }
}

/// Whether some token is empty (`a..b`, `.a`, `a.`): such a subject matches nothing.
#[must_use]
pub fn has_empty_token(subject: &[u8]) -> bool {
    let mut previous = DOT;
    for &byte in subject {
        if byte == DOT && previous == DOT {
            return true;
        }
        previous = byte;
    }
    previous == DOT
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_follows_the_reference() {
        for good in ["a", "a.b", "*", ">", "a.*", "a.>", "*.*.>", "foo*bar", "f>o", "ü.x"] {
            assert!(is_valid_pattern(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a b", "a\tb"] {
            assert!(!is_valid_pattern(bad.as_bytes()), "{bad}");
        }
        assert!(is_valid_literal(b"foo*bar"));
        assert!(!is_valid_literal(b"foo.*"));
    }

    #[test]
    fn matching() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*", "a.b", false),
            ("a.*.c", "a.b.d", false),
            ("foo.>", "foo.*", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), subject.as_bytes()), expected, "{pattern}");
        }
    }

    #[test]
    fn subsets_and_overlaps() {
        assert!(is_subset(b"a.b", b"a.*"));
        assert!(is_subset(b"a.*", b"a.>"));
        assert!(!is_subset(b"a.>", b"a.*"));
        assert!(!is_subset(b"*", b"a"));
        assert!(overlaps(b"a.*", b"*.b"));
        assert!(!overlaps(b"a.*.c", b"a.b"));
        assert!(overlaps(b"a.>", b"a.b.c"));
    }
}
