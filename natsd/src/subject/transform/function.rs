//! The functions of a mapping's destination. Source: nats-server 2.15.1, subject_transform.go.

use super::Part;
use crate::subject::DOT;

/// What is made of tokens. `place` is that of the token, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// The bucket that a hash of these tokens (or of the whole subject) falls into.
    Partition { buckets: u32, places: Box<[usize]> },
    /// A number below this one.
    Random { below: u32 },
    /// The parts between separators.
    Split { place: usize, separator: Box<str> },
    /// The token cut somehow.
    Cut { place: usize, cut: Cut, size: usize },
}

/// How a token is cut. One that is not longer than the size stays whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    SplitFromLeft,
    SplitFromRight,
    SliceFromLeft,
    SliceFromRight,
    Left,
    Right,
}

/// Reads `{{ name(arguments) }}`; `place` finds the token of a wildcard's number.
pub(super) fn parse(text: &str, place: impl Fn(i64) -> Option<usize>) -> Option<Part> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let (name, rest) = inside.split_once('(')?;
    let arguments: Vec<&str> = rest.strip_suffix(')')?.split(',').map(str::trim_start).collect();
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let cut = match (name.trim_end().to_ascii_lowercase().as_str(), arguments.as_slice()) {
        ("wildcard", [index]) => return Some(Part::Token(place(number(index)?)?)),
        ("random", [below]) => {
            let below = i32::try_from(number(below)?).ok()?.unsigned_abs();
            return Some(Part::Call(Function::Random { below }));
        }
        ("partition", [buckets, indexes @ ..]) => {
            // A negative number of buckets is a large one, as in the reference.
            let buckets = i32::try_from(number(buckets)?).ok()?.cast_unsigned();
            let places =
                indexes.iter().map(|index| place(number(index)?)).collect::<Option<_>>()?;
            return Some(Part::Call(Function::Partition { buckets, places }));
        }
        ("split", [index, separator]) => {
            let place = place(number(index)?)?;
            return Some(Part::Call(Function::Split { place, separator: (*separator).into() }));
        }
        ("splitfromleft", _) => Cut::SplitFromLeft,
        ("splitfromright", _) => Cut::SplitFromRight,
        ("slicefromleft", _) => Cut::SliceFromLeft,
        ("slicefromright", _) => Cut::SliceFromRight,
        ("left", _) => Cut::Left,
        ("right", _) => Cut::Right,
        _ => return None,
    };
    let [index, size] = *arguments else { return None };
    let (place, size) = (place(number(index)?)?, number(size)?);
    let size = usize::try_from(size).unwrap_or(0);
    Some(Part::Call(Function::Cut { place, cut, size }))
}

impl Function {
    /// Appends what it makes of a subject's tokens; `key` stands for the whole subject.
    pub(super) fn write(&self, tokens: &[&[u8]], key: &[u8], out: &mut Vec<u8>) {
        let token = |place: usize| tokens.get(place).copied().unwrap_or_default();
        match self {
            Self::Partition { buckets, places } => {
                let hash = if places.is_empty() {
                    fnv1a(key.iter())
                } else {
                    fnv1a(places.iter().flat_map(|place| token(*place)))
                };
                let bucket = hash.checked_rem(*buckets).unwrap_or(0);
                out.extend_from_slice(bucket.to_string().as_bytes());
            }
            Self::Random { below } => {
                let number = rand::random::<u32>() >> 1;
                let number = number.checked_rem(*below).unwrap_or(0);
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Self::Split { place, separator } => split(token(*place), separator.as_bytes(), out),
            Self::Cut { place, cut, size } => {
                let token = token(*place);
                if *size == 0 || *size >= token.len() {
                    out.extend_from_slice(token);
                } else {
                    cut.write(token, *size, out);
                }
            }
        }
    }
}

impl Cut {
    /// Appends a token that is longer than the size, which is not zero.
    fn write(self, token: &[u8], size: usize, out: &mut Vec<u8>) {
        let len = token.len();
        let (left, right) = match self {
            Self::SplitFromLeft | Self::Left => token.split_at(size),
            Self::SplitFromRight | Self::Right => token.split_at(len - size),
            Self::SliceFromLeft => (&[][..], token),
            Self::SliceFromRight => token.split_at(len % size),
        };
        match self {
            Self::Left => out.extend_from_slice(left),
            Self::Right => out.extend_from_slice(right),
            Self::SplitFromLeft | Self::SplitFromRight => {
                out.extend_from_slice(&[left, right].join(&DOT));
            }
            Self::SliceFromLeft | Self::SliceFromRight => {
                let first = (!left.is_empty()).then_some(left);
                let slices: Vec<&[u8]> = first.into_iter().chain(right.chunks(size)).collect();
                out.extend_from_slice(&slices.join(&DOT));
            }
        }
    }
}

/// The parts between separators, empty ones left out; an empty separator is between all letters.
fn split(token: &[u8], separator: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(token);
    let separator = String::from_utf8_lossy(separator);
    let parts: Vec<String> = if separator.is_empty() {
        text.chars().map(String::from).collect()
    } else {
        text.split(&*separator).map(str::to_owned).collect()
    };
    for (index, part) in parts.iter().enumerate() {
        out.extend_from_slice(part.as_bytes());
        let next_is_there = parts.get(index + 1).is_some_and(|next| !next.is_empty());
        if next_is_there && !(index == 0 && part.is_empty()) {
            out.push(DOT);
        }
    }
}

/// FNV-1a of 32 bits.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    const OFFSET: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    bytes.fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}
