//! One subject made of another: what imports do to subjects.

use super::{matches, tokens};

/// Makes subjects of one pattern into subjects of another: what the wildcards of the one stood
/// for is put where the wildcards (or `$1`, `{{wildcard(1)}}`) of the other are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    from: Box<[u8]>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    /// What the n-th `*` stood for, from 0.
    Wildcard(usize),
    /// What `>` stood for.
    Rest,
}

impl Transform {
    /// Makes a transform; `None` when the other pattern asks for what the first does not have.
    #[must_use]
    pub fn new(from: &[u8], to: &[u8]) -> Option<Self> {
        let stars = tokens(from).filter(|token| *token == b"*").count();
        let has_rest = tokens(from).last() == Some(b">");
        let mut used = 0;
        let mut parts = Vec::new();
        for token in tokens(to) {
            let part = match token {
                b"*" => {
                    used += 1;
                    Part::Wildcard(used - 1)
                }
                b">" => Part::Rest,
                _ => match number(token) {
                    Some(number) => Part::Wildcard(number.checked_sub(1)?),
                    None => Part::Literal(token.into()),
                },
            };
            let known = match &part {
                Part::Wildcard(index) => *index < stars,
                Part::Rest => has_rest,
                Part::Literal(_) => true,
            };
            if !known {
                return None;
            }
            parts.push(part);
        }
        Some(Self { from: from.into(), parts: parts.into() })
    }

    /// The pattern whose subjects it takes.
    #[must_use]
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// The subject made of this one; `None` when the pattern does not match it. A wildcard in it
    /// goes where it belongs, so that patterns can be transformed too.
    #[must_use]
    pub fn apply(&self, subject: &[u8]) -> Option<Vec<u8>> {
        if !matches(&self.from, subject) {
            return None;
        }
        let mut stars: smallvec::SmallVec<[&[u8]; 8]> = smallvec::SmallVec::new();
        let mut rest: &[u8] = &[];
        let mut at = 0;
        for (wanted, given) in tokens(&self.from).zip(tokens(subject)) {
            match wanted {
                b"*" => stars.push(given),
                b">" => {
                    rest = subject.get(at..).unwrap_or_default();
                    break;
                }
                _ => {}
            }
            at += given.len() + 1;
        }
        let mut made = Vec::with_capacity(subject.len() + 16);
        for part in &self.parts {
            if !made.is_empty() {
                made.push(b'.');
            }
            made.extend_from_slice(match part {
                Part::Literal(token) => token,
                Part::Wildcard(index) => stars.get(*index)?,
                Part::Rest => rest,
            });
        }
        Some(made)
    }
}

/// The number in `$1` or `{{wildcard(1)}}`.
fn number(token: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(token).ok()?;
    if let Some(digits) = text.strip_prefix('$') {
        return digits.parse().ok();
    }
    let call = text.strip_prefix("{{")?.strip_suffix("}}")?.trim().to_ascii_lowercase();
    call.strip_prefix("wildcard(")?.strip_suffix(')')?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_go_where_they_belong() {
        for (from, to, subject, expected) in [
            ("a", "b.c", "a", Some("b.c")),
            ("a", "b", "x", None),
            ("a.*.*", "x.$2.$1", "a.1.2", Some("x.2.1")),
            ("a.*.*", "x.*.*", "a.1.2", Some("x.1.2")),
            ("a.*", "x.{{wildcard(1)}}.y", "a.1", Some("x.1.y")),
            ("ev.>", "fromA.ev.>", "ev.z.w", Some("fromA.ev.z.w")),
            ("ev.*.>", "$1.>", "ev.1.2.3", Some("1.2.3")),
            (">", "p.>", "a.b", Some("p.a.b")),
            ("ev.>", "p.ev.>", "ev.*", Some("p.ev.*")),
        ] {
            let made = Transform::new(from.as_bytes(), to.as_bytes())
                .unwrap()
                .apply(subject.as_bytes())
                .map(|made| String::from_utf8(made).unwrap());
            assert_eq!(made.as_deref(), expected, "{from} -> {to}: {subject}");
        }
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        for (from, to) in [("a", "*"), ("a.*", "$2"), ("a.*", "b.>"), ("a.*", "$0")] {
            assert!(Transform::new(from.as_bytes(), to.as_bytes()).is_none(), "{from} -> {to}");
        }
    }
}
