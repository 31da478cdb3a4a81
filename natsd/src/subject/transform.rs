//! One subject made of another: what imports and mappings do to subjects.

mod function;

use smallvec::SmallVec;

use super::{is_subset, matches, tokens};
use function::Function;

/// The tokens of a subject; most have few.
type Tokens<'a> = SmallVec<[&'a [u8]; 16]>;

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
    /// The token at this place, from 0.
    Token(usize),
    /// All tokens from this place on.
    Rest(usize),
    /// What a function makes of tokens.
    Call(Function),
}

impl Transform {
    /// Makes a transform for imports; `None` when the other pattern asks for what the first does
    /// not have.
    #[must_use]
    pub fn new(from: &[u8], to: &[u8]) -> Option<Self> {
        let (stars, rest) = places(from);
        let mut used = 0;
        let mut parts = Vec::new();
        for token in tokens(to) {
            parts.push(match token {
                b"*" => {
                    used += 1;
                    Part::Token(*stars.get(used - 1)?)
                }
                b">" => Part::Rest(rest?),
                _ => match number(token) {
                    Some(number) => Part::Token(*stars.get(number.checked_sub(1)?)?),
                    None => Part::Literal(token.into()),
                },
            });
        }
        Some(Self { from: from.into(), parts: parts.into() })
    }

    /// Makes a transform for services of other accounts: of subjects that match `taken` into those
    /// of `from`. `taken` is `to` with a `*` for each `$1`. The n-th wildcard of `from` is what the
    /// n-th number in `to` says, as in nats-server (`subjectTransform.reverse`); `None` when there
    /// are too few.
    #[must_use]
    pub fn service(from: &[u8], to: &[u8], taken: &[u8]) -> Option<Self> {
        let mut stars = 1..;
        let numbers: Vec<usize> = tokens(to)
            .filter_map(|token| if token == b"*" { stars.next() } else { number(token) })
            .collect();
        let mut numbers = numbers.into_iter();
        let made = tokens(from).map(|token| match token {
            b"*" => numbers.next().map(|number| format!("${number}").into_bytes()),
            other => Some(other.to_vec()),
        });
        Self::new(taken, &made.collect::<Option<Vec<_>>>()?.join(&super::DOT))
    }

    /// Makes a transform for mappings, which know functions; `None` when the destination is not
    /// a valid one.
    #[must_use]
    pub fn mapping(from: &[u8], to: &[u8]) -> Option<Self> {
        let (stars, rest) = places(from);
        // Whatever is not the number of a wildcard means the first token (nats-server 2.15).
        let place = |number: i64| match usize::try_from(number) {
            Ok(number @ 1..) => stars.get(number - 1).copied(),
            _ => Some(0),
        };
        let mut parts = Vec::new();
        for token in tokens(to) {
            let text = std::str::from_utf8(token).unwrap_or_default();
            let part = if token == b">" {
                Part::Rest(rest?)
            } else if let Some(number) = text.strip_prefix('$').and_then(|n| n.parse().ok()) {
                Part::Token(place(number)?)
            } else if text.len() > 4 && text.starts_with("{{") && text.ends_with("}}") {
                function::parse(text, place)?
            } else {
                Part::Literal(token.into())
            };
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
        matches(&self.from, subject).then(|| self.make(subject, subject))
    }

    /// The same for mappings, which a wildcard in a subject does not match. `key` is what stands
    /// for the whole subject where a partition names no tokens.
    #[must_use]
    pub fn map(&self, subject: &[u8], key: &[u8]) -> Option<Vec<u8>> {
        is_subset(subject, &self.from).then(|| self.make(subject, key))
    }

    fn make(&self, subject: &[u8], key: &[u8]) -> Vec<u8> {
        let given: Tokens<'_> = tokens(subject).collect();
        let mut made = Vec::with_capacity(subject.len() + 16);
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                made.push(super::DOT);
            }
            match part {
                Part::Literal(token) => made.extend_from_slice(token),
                Part::Token(place) => {
                    made.extend_from_slice(given.get(*place).copied().unwrap_or_default());
                }
                Part::Rest(place) => {
                    let rest = given.get(*place..).unwrap_or_default();
                    made.extend_from_slice(&rest.join(&super::DOT));
                }
                Part::Call(function) => function.write(&given, key, &mut made),
            }
        }
        made
    }
}

/// Where the `*` of a pattern are, and where its `>`.
fn places(pattern: &[u8]) -> (Vec<usize>, Option<usize>) {
    let stars = tokens(pattern).enumerate().filter(|(_, token)| *token == b"*");
    let last = tokens(pattern).enumerate().last().filter(|(_, token)| *token == b">");
    (stars.map(|(place, _)| place).collect(), last.map(|(place, _)| place))
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
    fn services_are_asked_in_the_order_of_the_import() {
        // As services of other accounts get them, nats-server 2.15.1.
        for (from, to, taken, subject, expected) in [
            ("svc.w.*.*", "my.$2.$1", "my.*.*", "my.x.y", "svc.w.y.x"),
            ("svc.w.*.*", "my.{{wildcard(2)}}.{{wildcard(1)}}", "my.*.*", "my.x.y", "svc.w.y.x"),
            ("svc.*.w.*", "$2.my.$1", "*.my.*", "x.my.y", "svc.y.w.x"),
            ("svc.*.*.*", "my.$3.$1.$2", "my.*.*.*", "my.x.y.z", "svc.z.x.y"),
            ("svc.*.*", "my.*.*", "my.*.*", "my.x.y", "svc.x.y"),
            ("svc.*.>", "my.*.>", "my.*.>", "my.x.y.z", "svc.x.y.z"),
            ("svc", "my", "my", "my", "svc"),
        ] {
            let [from, to, taken] = [from, to, taken].map(str::as_bytes);
            let made = Transform::service(from, to, taken).unwrap().apply(subject.as_bytes());
            assert_eq!(String::from_utf8(made.unwrap()).unwrap(), expected, "{subject}");
        }
        assert_eq!(Transform::service(b"svc.*.*", b"my.$1", b"my.*"), None);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        for (from, to) in [("a", "*"), ("a.*", "$2"), ("a.*", "b.>"), ("a.*", "$0")] {
            assert!(Transform::new(from.as_bytes(), to.as_bytes()).is_none(), "{from} -> {to}");
        }
    }

    #[test]
    fn functions_do_what_those_of_the_reference_do() {
        // Expected values: the table of subject_transform_test.go, nats-server 2.15.
        for (from, to, subject, expected) in [
            ("a.*", "b.{{SplitFromLeft(1,3)}}", "a.12345", "b.123.45"),
            ("a.*", "b.{{splitFromLeft(1,9)}}", "a.12345", "b.12345"),
            ("a.*", "b.{{SplitFromRight(1,3)}}.x", "a.12345", "b.12.345.x"),
            ("a.*", "b.{{slicefromleft(1,2)}}", "a.12345", "b.12.34.5"),
            ("a.*", "b.{{slicefromleft(1,3)}}", "a.123456", "b.123.456"),
            ("a.*", "b.{{SliceFromRight(1,3)}}", "a.1234567890", "b.1.234.567.890"),
            ("a.*", "b.{{split(1,-)}}", "a.-abc-def--ghi-", "b.abc.def.ghi"),
            ("a.*", "b.{{split( 1 , ab)}}", "a.1ab2", "b.1.2"),
            ("a.*", "{{left(1,2)}}.{{right(1,2)}}", "a.12345", "12.45"),
            ("a.*", "{{left(1,0)}}", "a.12345", "12345"),
            ("a.*.>", "{{wildcard(1)}}.x.>", "a.1.2.3", "1.x.2.3"),
            ("a.*", "{{random(1)}}", "a.1", "0"),
            ("a.*", "{{random(0)}}.{{partition(0,1)}}", "a.1", "0.0"),
            ("a.*", "$0.$1", "a.b", "a.b"),
            ("a.*.*", "{{partition(10,1,2)}}", "a.b.c", "6"),
            ("a.*.*", "{{partition(10)}}", "a.b.c", "1"),
        ] {
            let transform = Transform::mapping(from.as_bytes(), to.as_bytes()).unwrap();
            let made = transform.map(subject.as_bytes(), subject.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), expected, "{from} -> {to}: {subject}");
        }
    }
}
