//! JSON as Go's encoder writes it, byte for byte: `<`, `>` and `&` escaped, `2` for a whole
//! floating point number, two spaces of indentation or none.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Writes a document with two spaces of indentation.
#[must_use]
pub fn indented<T: Serialize + ?Sized>(document: &T) -> Vec<u8> {
    written(document, PrettyFormatter::new())
}

/// Writes a document without white space.
#[must_use]
pub fn compact<T: Serialize + ?Sized>(document: &T) -> Vec<u8> {
    written(document, CompactFormatter)
}

/// The shapes have string keys only and no writer fails in memory, so there is always a text.
fn written<T: Serialize + ?Sized, F: Formatter>(document: &T, layout: F) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    let result = document.serialize(&mut Serializer::with_formatter(&mut text, Go(layout)));
    debug_assert!(result.is_ok(), "{result:?}");
    text
}

/// Go's way of strings and numbers on top of any layout.
struct Go<F>(F);

impl<F: Formatter> Formatter for Go<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((index, found, code)) = first_escaped(rest) {
            let (before, after) = rest.split_at(index);
            writer.write_all(before.as_bytes())?;
            writer.write_all(code)?;
            rest = after.get(found.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value}")
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

fn first_escaped(text: &str) -> Option<(usize, char, &'static [u8])> {
    text.char_indices().find_map(|(index, found)| {
        let code: &[u8] = match found {
            '<' => b"\\u003c",
            '>' => b"\\u003e",
            '&' => b"\\u0026",
            '\u{2028}' => b"\\u2028",
            '\u{2029}' => b"\\u2029",
            _ => return None,
        };
        Some((index, found, code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn strings_and_numbers_are_written_as_go_writes_them() {
        let written =
            text(compact(&json!({"a>": ["<x&y>", 2.0, 0.25, -1, true, null, "\"ü\u{2028}\n"]})));
        assert_eq!(
            written,
            r#"{"a\u003e":["\u003cx\u0026y\u003e",2,0.25,-1,true,null,"\"ü\u2028\n"]}"#
        );
    }

    #[test]
    fn indentation_is_two_spaces_and_empty_containers_stay_on_their_line() {
        let written = text(indented(&json!({"a": {"b": [1]}, "c": [], "d": {}})));
        assert_eq!(
            written,
            "{\n  \"a\": {\n    \"b\": [\n      1\n    ]\n  },\n  \"c\": [],\n  \"d\": {}\n}"
        );
    }
}
