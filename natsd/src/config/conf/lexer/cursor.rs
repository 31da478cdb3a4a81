//! The place in the text: reading on, stepping back, taking what was read.

use super::super::text;
use super::{Bracket, DEPTH_MAX, END, Expect, Fault, Item, Lexer, Step, Token};

impl<'a> Lexer<'a> {
    pub(super) fn next(&mut self) -> char {
        let Some(byte) = self.input.get(self.pos) else {
            self.width = 0;
            return END;
        };
        if *byte == b'\n' {
            self.line += 1;
            self.line_start = self.pos;
        }
        let (c, width) = self.decode(*byte);
        self.width = width;
        self.pos += width;
        c
    }

    /// Decodes one character; a byte that is none counts as one.
    pub(super) fn decode(&self, first: u8) -> (char, usize) {
        if first.is_ascii() {
            return (char::from(first), 1);
        }
        for width in 2..=4 {
            let bytes = self.input.get(self.pos..self.pos + width).unwrap_or_default();
            if let Ok(text) = std::str::from_utf8(bytes)
                && let Some(c) = text.chars().next()
            {
                return (c, width);
            }
        }
        (char::REPLACEMENT_CHARACTER, 1)
    }

    /// Takes the last `next` back, once.
    pub(super) fn back(&mut self) {
        self.pos -= self.width;
        if self.width > 0 && self.input.get(self.pos) == Some(&b'\n') {
            self.line -= 1;
        }
    }

    pub(super) fn peek(&mut self) -> char {
        let c = self.next();
        self.back();
        c
    }

    pub(super) fn ignore(&mut self) {
        self.start = self.pos;
        self.item_line_start = self.line_start;
    }

    pub(super) fn go(&mut self, expect: Expect) {
        self.ignore();
        self.expect = expect;
    }

    /// Passes a comment if `c` starts one.
    pub(super) fn comment(&mut self, c: char) -> bool {
        if c == '/' {
            if self.next() != '/' {
                self.back();
                return false;
            }
        } else if c != '#' {
            return false;
        }
        self.skip_comment();
        true
    }

    pub(super) fn skip_comment(&mut self) {
        while !matches!(self.peek(), '\n' | '\r' | END) {
            self.next();
        }
        self.ignore();
    }

    pub(super) fn deeper(&self) -> Result<(), Fault> {
        if self.brackets.len() + self.blocks >= DEPTH_MAX {
            return Err(self.fault(format!("Nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    pub(super) fn after_value(&mut self) {
        self.expect = match self.brackets.last() {
            Some(Bracket::Map) => Expect::AfterMapValue,
            Some(Bracket::List) => Expect::AfterListValue,
            None if self.blocks > 0 => Expect::AfterBlock,
            None => Expect::AfterTop,
        };
    }

    pub(super) fn taken_bytes(&self) -> &'a [u8] {
        self.input.get(self.start..self.pos).unwrap_or_default()
    }

    /// Takes the text of the item being read, escapes resolved.
    pub(super) fn taken(&mut self) -> String {
        if !self.escaped {
            return text(self.taken_bytes());
        }
        self.escaped = false;
        let mut bytes = std::mem::take(&mut self.unescaped);
        bytes.extend_from_slice(self.taken_bytes());
        // The column is counted back from the end of the item, by the length of its value.
        self.start = self.pos.saturating_sub(bytes.len());
        text(&bytes)
    }

    pub(super) fn emit(&mut self, token: Token) -> Step {
        let length = match &token {
            Token::ListStart | Token::ListEnd | Token::MapStart | Token::MapEnd => 0,
            _ => self.pos - self.start,
        };
        let column = self.pos.saturating_sub(self.item_line_start).saturating_sub(length);
        let item = Item { token, line: self.line, column };
        self.ignore();
        Ok(Some(item))
    }

    pub(super) fn fault(&self, text: impl Into<String>) -> Fault {
        Fault { line: self.line, text: text.into() }
    }
}
