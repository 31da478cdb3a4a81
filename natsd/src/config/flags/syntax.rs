//! Go's flag syntax: which words are flags and what belongs to them.

/// Why the words cannot be used: text for stderr.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Text,
}

/// A flag's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
}

/// Takes words apart. `kind` tells what a flag takes, `each` gets every flag in order; the words
/// from the first that is no flag on are given back.
pub(super) fn walk(
    words: &[String],
    kind: impl Fn(&str) -> Option<Kind>,
    mut each: impl FnMut(&str, Value),
) -> Result<&[String], Fault> {
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { break };
        rest = after;
        if name == "-" {
            break;
        }
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.starts_with(['-', '=']) {
            return Err(Fault(format!("bad flag syntax: {word}")));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let Some(kind) = kind(name) else {
            return Err(Fault(format!("flag provided but not defined: -{name}")));
        };
        if kind == Kind::Bool {
            each(name, boolean(name, value)?);
            continue;
        }
        let value = match (value, rest.split_first()) {
            (Some(value), _) => value,
            (None, Some((value, after))) => {
                rest = after;
                value
            }
            (None, None) => {
                return Err(Fault(format!("flag needs an argument: -{name}")));
            }
        };
        each(
            name,
            if kind == Kind::Int { integer(name, value)? } else { Value::Text(value.into()) },
        );
    }
    Ok(rest)
}

fn boolean(name: &str, value: Option<&str>) -> Result<Value, Fault> {
    match value {
        None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Value::Bool(true)),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Value::Bool(false)),
        Some(value) => {
            Err(Fault(format!("invalid boolean value {value:?} for -{name}: parse error")))
        }
    }
}

/// Reads a number as Go does with base 0: `0x1f`, `0b1`, `0o17`, `017`, `1_000`.
fn integer(name: &str, text: &str) -> Result<Value, Fault> {
    let fault = |why: &str| Fault(format!("invalid value {text:?} for flag -{name}: {why}"));
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", text.get(1..).unwrap_or_default()),
        Some(b'+') => ("", text.get(1..).unwrap_or_default()),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match (lower.get(..2), lower.get(2..)) {
        (Some("0x"), Some(rest)) => (16, rest),
        (Some("0b"), Some(rest)) => (2, rest),
        (Some("0o"), Some(rest)) => (8, rest),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, lower.get(1..).unwrap_or_default()),
        _ => (10, lower.as_str()),
    };
    let prefixed = digits.len() < lower.len();
    let stray =
        digits.contains("__") || digits.ends_with('_') || (digits.starts_with('_') && !prefixed);
    let plain = digits.replace('_', "");
    if stray || !plain.chars().all(|c| c.is_digit(radix)) || plain.is_empty() {
        return Err(fault("parse error"));
    }
    match i64::from_str_radix(&format!("{sign}{plain}"), radix) {
        Ok(number) => Ok(Value::Int(number)),
        Err(_) => Err(fault("value out of range")),
    }
}
