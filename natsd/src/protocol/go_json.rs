//! JSON as Go's library reads and writes it.
//!
//! Keys are matched in any case, unknown ones are ignored, and null says nothing; `<`, `>` and `&`
//! are escaped on the way out.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Compact JSON as Go's encoder writes it. Outside strings JSON has none of the three bytes.
#[must_use]
pub fn encode(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    if json.contains(['<', '>', '&']) {
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        json
    }
}

/// The entries of an object, as they are written.
pub type Object = BTreeMap<String, Box<RawValue>>;

/// Reads an object whose keys are in lower case; null is an empty one.
///
/// # Errors
/// When it is no JSON, no object, or a value is of another kind than its field.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    read(&entries::<T>(json)?)
}

/// Reads entries.
///
/// # Errors
/// When a value is of another kind than its field.
pub fn read<T: DeserializeOwned>(object: &Object) -> Result<T, serde_json::Error> {
    serde_json::from_str(&serde_json::to_string(object)?)
}

/// The entries of an object as Go's decoder takes them: keys in any case, null says nothing, what
/// is no character is replaced, and of several with one key the last one counts, though the others
/// must be of the right kind, too. Nobody looks into those that are no fields.
///
/// # Errors
/// When it is no JSON, no object, or a value that does not count is of another kind than its field.
pub fn entries<T: DeserializeOwned>(json: &[u8]) -> Result<Object, serde_json::Error> {
    let Entries(written) = serde_json::from_str(&whole_characters(&utf8(json)))?;
    let mut entries = Object::new();
    for (key, value) in written.into_iter().filter(|(_, value)| value.get() != "null") {
        let key = in_lower_case(&key);
        if let Some(earlier) = entries.insert(key.clone(), value) {
            read::<T>(&Object::from([(key, earlier)]))?;
        }
    }
    Ok(entries)
}

/// As the names of fields are written; two letters that are not ASCII stand for one that is, too.
#[must_use]
pub fn in_lower_case(key: &str) -> String {
    let lower = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(lower).collect()
}

/// Each byte that belongs to no character is replaced.
fn utf8(json: &[u8]) -> String {
    let mut text = String::with_capacity(json.len());
    for chunk in json.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Each escape that is half a character is replaced.
fn whole_characters(json: &str) -> String {
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        whole.push_str(before);
        let is_half = surrogate(escape).is_some();
        let len = match (surrogate(escape), escape.get(ESCAPE_LEN..).and_then(surrogate)) {
            (Some(..0xdc00), Some(0xdc00..)) => 2 * ESCAPE_LEN,
            (Some(_), _) => ESCAPE_LEN,
            (None, _) => escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end),
        };
        let (escape, behind) = escape.split_at(len);
        whole.push_str(if is_half && len == ESCAPE_LEN { "\\ufffd" } else { escape });
        rest = behind;
    }
    whole + rest
}

/// Bytes of `\ud83d`.
const ESCAPE_LEN: usize = 6;

/// The half character that a text begins with.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..ESCAPE_LEN - 2)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// Reads an object within an object by the same rules.
///
/// # Errors
/// As of [`parse`].
pub fn nested<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Box::<RawValue>::deserialize(deserializer)?;
    parse(value.get().as_bytes()).map(Some).map_err(D::Error::custom)
}

/// An object in the order in which it is written; null is an empty one.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Named {
        name: String,
        tags: Vec<String>,
    }

    #[test]
    fn what_says_nothing_is_as_if_it_were_not_there() {
        for json in ["null", "{}", r#"{"name":null,"TAGS":null,"other":[null]}"#] {
            assert_eq!(parse::<Named>(json.as_bytes()).unwrap(), Named::default(), "{json}");
        }
        for json in ["", "[]", "1", r#"{"tags":[1]}"#, r#"{"name":1,"name":"x"}"#] {
            assert!(parse::<Named>(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        for (written, name) in [
            (&br"\ud83d\ude00 \u00e9 \\ud800"[..], "\u{1f600} é \\ud800"),
            (br"\ud800", "\u{fffd}"),
            (br"\uD800\uD83D\uDE00\ude00x", "\u{fffd}\u{1f600}\u{fffd}x"),
            (b"\xe2\x82x\xff", "\u{fffd}\u{fffd}x\u{fffd}"),
        ] {
            let json = [br#"{"name":""#, written, br#""}"#].concat();
            assert_eq!(parse::<Named>(&json).unwrap().name, name);
        }
        assert!(parse::<Named>(br#"{"name":"\ud80"}"#).is_err());
    }
}
