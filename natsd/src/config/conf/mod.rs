//! The configuration grammar of nats-server: text to a tree of values that know where they stand.
//!
//! Nothing here knows a key by name. Any bytes give a tree or one [`ParseError`], never a panic:
//! nesting, includes and the room that variables may take are bounded. `file` is the one caller.
//!
//! The grammar is that of nats-server 2.15 to the letter, traps included (a number directly before
//! `]`, a lone `/` between values): a file means the same to both servers, or is refused by both.

mod digest;
mod lexer;
mod parser;
mod surroundings;
mod value;

pub use digest::digest;
pub use parser::{ParseError, parse_file, parse_text};
pub use surroundings::{Surroundings, System};
pub(crate) use surroundings::{reason, why};
pub use value::{Map, Node, Place, Value};

#[cfg(test)]
mod tests;

/// Makes a string of bytes; each byte that is not UTF-8 becomes one replacement character.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}
