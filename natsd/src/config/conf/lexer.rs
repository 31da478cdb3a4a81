//! Characters to items: keys, values and the brackets around them.
//!
//! The scanner keeps what it expects next ([`Expect`]) and a stack of open brackets; it never
//! calls itself, so nesting costs a byte here and no stack.

mod cursor;
mod values;

/// Depth of brackets beyond which a file is refused; real ones use less than ten.
const DEPTH_MAX: usize = 256;

/// One thing the parser can act on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Key(String),
    Text(String),
    Bool(bool),
    Int(String),
    Float(String),
    Time(String),
    Variable(String),
    Include(String),
    ListStart,
    ListEnd,
    MapStart,
    MapEnd,
    End,
}

/// A token and where it started.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) token: Token,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What is wrong with the text, and in which line.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) text: String,
}

/// An open bracket inside of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bracket {
    List,
    Map,
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// A key at the top level.
    Top,
    /// The end of a top-level entry.
    AfterTop,
    /// A key inside of braces around the whole file.
    Block,
    /// The end of an entry there.
    AfterBlock,
    /// The closing one of those braces.
    BlockEnd,
    /// A separator or the value of a key outside of maps.
    KeyEnd,
    /// The same inside of a map.
    MapKeyEnd,
    Value,
    MapKey,
    MapValue,
    AfterMapValue,
    ListValue,
    AfterListValue,
}

/// Stands for the end of the text, as a NUL in it does.
const END: char = '\0';

type Step = Result<Option<Item>, Fault>;

pub(super) struct Lexer<'a> {
    input: &'a [u8],
    /// Where the item being read starts.
    start: usize,
    pos: usize,
    /// Bytes of the last character read, for `back`.
    width: usize,
    line: usize,
    /// Offset of the newline that opened the line being read.
    line_start: usize,
    /// The same for the item being read.
    item_line_start: usize,
    expect: Expect,
    brackets: Vec<Bracket>,
    /// Open braces around the whole file.
    blocks: usize,
    /// The part of a string before its last escape.
    unescaped: Vec<u8>,
    escaped: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            start: 0,
            pos: 0,
            width: 0,
            line: 1,
            line_start: 0,
            item_line_start: 0,
            expect: Expect::Top,
            brackets: Vec::new(),
            blocks: 0,
            unescaped: Vec::new(),
            escaped: false,
        }
    }

    /// Reads up to the next item.
    pub(super) fn item(&mut self) -> Result<Item, Fault> {
        loop {
            let step = match self.expect {
                Expect::Top => self.top(),
                Expect::AfterTop => self.after_top(),
                Expect::Block => self.block(),
                Expect::AfterBlock => self.after_block(),
                Expect::BlockEnd => self.block_end(),
                Expect::KeyEnd => self.key_end(),
                Expect::MapKeyEnd => self.map_key_end(),
                Expect::Value => self.value(),
                Expect::MapKey => self.map_key(),
                Expect::MapValue => self.map_value(),
                Expect::AfterMapValue => self.after_map_value(),
                Expect::ListValue => self.list_value(),
                Expect::AfterListValue => self.after_list_value(),
            };
            if let Some(item) = step? {
                return Ok(item);
            }
        }
    }

    // Entries outside of maps.

    fn top(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.ignore(),
            '{' => self.open_block()?,
            _ if self.comment(c) => {}
            '/' | END => return self.end(),
            _ => {
                self.back();
                return self.key(END);
            }
        }
        Ok(None)
    }

    fn after_top(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if self.comment(c) => self.expect = Expect::Top,
            '/' | ' ' | '\t' => {}
            '\n' | '\r' | END | ';' | ',' | '}' => self.go(Expect::Top),
            _ => {
                return Err(self.fault(format!(
                    "Expected a top-level value to end with a new line, comment or EOF, but got '{}' instead.",
                    shown(c)
                )));
            }
        }
        Ok(None)
    }

    fn block(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.ignore(),
            '{' => self.open_block()?,
            '}' => self.close_block(),
            _ if self.comment(c) => {}
            '/' | END => return self.end(),
            _ => {
                self.back();
                return self.key(END);
            }
        }
        Ok(None)
    }

    fn after_block(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if self.comment(c) => {}
            '/' | ' ' | '\t' => {}
            '\n' | '\r' | ';' | ',' => self.go(Expect::Block),
            '}' => {
                self.back();
                self.expect = Expect::BlockEnd;
            }
            _ => {
                return Err(self.fault(format!(
                    "Expected a block-level value to end with a new line, comment or EOF, but got '{}' instead.",
                    shown(c)
                )));
            }
        }
        Ok(None)
    }

    fn block_end(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if self.comment(c) => self.expect = Expect::Block,
            '/' | ' ' | '\t' | '\n' | '\r' => {}
            ';' | ',' => self.go(Expect::Block),
            '}' => self.close_block(),
            _ => {
                return Err(self.fault(format!(
                    "Expected a block-level to end with a '}}', but got '{}' instead.",
                    shown(c)
                )));
            }
        }
        Ok(None)
    }

    fn open_block(&mut self) -> Result<(), Fault> {
        self.deeper()?;
        self.blocks += 1;
        self.go(Expect::Block);
        Ok(())
    }

    fn close_block(&mut self) {
        self.blocks = self.blocks.saturating_sub(1);
        self.go(if self.blocks == 0 { Expect::Top } else { Expect::BlockEnd });
    }

    /// Ends the text, unless something was begun.
    fn end(&mut self) -> Step {
        if self.pos > self.start {
            return Err(self.fault("Unexpected EOF."));
        }
        self.emit(Token::End)
    }

    // Keys.

    /// Reads a key; `'}'` as `scope` means inside of a map, where the file must not end.
    fn key(&mut self, scope: char) -> Step {
        let in_map = scope == '}';
        loop {
            match self.peek() {
                c @ ('=' | ':') => {
                    let stop = if in_map { "." } else { "" };
                    return Err(self.fault(format!("Unexpected key separator '{c}'{stop}")));
                }
                c if c.is_whitespace() => {
                    self.next();
                    self.ignore();
                }
                quote @ ('"' | '\'') => {
                    self.next();
                    self.ignore();
                    return self.quoted_key(quote, in_map);
                }
                _ => break,
            }
        }
        self.ignore();
        self.next();
        self.bare_key(in_map)
    }

    fn quoted_key(&mut self, quote: char, in_map: bool) -> Step {
        loop {
            match self.peek() {
                END if in_map => {
                    let double = if quote == '"' { "double " } else { "" };
                    return Err(
                        self.fault(format!("Unexpected EOF processing {double}quoted map key."))
                    );
                }
                END => return self.end(),
                c if c == quote => {
                    let key = self.taken();
                    let item = self.emit(Token::Key(key));
                    self.next();
                    self.go(if in_map { Expect::MapKeyEnd } else { Expect::KeyEnd });
                    return item;
                }
                _ => self.next(),
            };
        }
    }

    fn bare_key(&mut self, in_map: bool) -> Step {
        loop {
            match self.peek() {
                END if in_map => {
                    return Err(self.fault("Unexpected EOF processing map key."));
                }
                c if c.is_whitespace() && self.taken_bytes().eq_ignore_ascii_case(b"include") => {
                    self.ignore();
                    return self.include();
                }
                c if c.is_whitespace() || matches!(c, '=' | ':' | END) => {
                    self.expect = if in_map { Expect::MapKeyEnd } else { Expect::KeyEnd };
                    let key = self.taken();
                    return self.emit(Token::Key(key));
                }
                _ => self.next(),
            };
        }
    }

    fn key_end(&mut self) -> Step {
        match self.next() {
            c if c.is_whitespace() => self.ignore(),
            '=' | ':' => self.go(Expect::Value),
            END => return self.emit(Token::End),
            _ => {
                self.back();
                self.expect = Expect::Value;
            }
        }
        Ok(None)
    }

    fn map_key_end(&mut self) -> Step {
        match self.next() {
            c if c.is_whitespace() => self.ignore(),
            '=' | ':' => self.go(Expect::MapValue),
            _ => {
                self.back();
                self.expect = Expect::MapValue;
            }
        }
        Ok(None)
    }

    // Includes.

    fn include(&mut self) -> Step {
        let mut c = self.next();
        while matches!(c, ' ' | '\t') {
            self.ignore();
            c = self.next();
        }
        let what = match c {
            '\'' | '"' => {
                self.ignore();
                return self.quoted_include(c);
            }
            '[' => "start of an array",
            '{' => "start of a map",
            '(' => "start of a block",
            '0'..='9' | '-' => "start of a number",
            '\\' => "escape sequence",
            '\n' | '\r' => "new line",
            _ => {
                self.back();
                return self.bare_include();
            }
        };
        Err(self.fault(format!("Expected include value but found {what}")))
    }

    fn quoted_include(&mut self, quote: char) -> Step {
        loop {
            match self.next() {
                END => {
                    let double = if quote == '"' { "double " } else { "" };
                    return Err(self.fault(format!("Unexpected EOF in {double}quoted include")));
                }
                c if c == quote => break,
                _ => {}
            }
        }
        self.back();
        let item = self.included();
        self.next();
        self.ignore();
        item
    }

    fn bare_include(&mut self) -> Step {
        loop {
            match self.next() {
                '\n' | '\r' | END | ';' | '}' | ' ' | '\t' => {
                    self.back();
                    return self.included();
                }
                '\'' => {
                    self.back();
                    let item = self.included();
                    self.next();
                    self.ignore();
                    return item;
                }
                _ => {}
            }
        }
    }

    fn included(&mut self) -> Step {
        let path = self.taken();
        self.after_value();
        self.emit(Token::Include(path))
    }

    // Maps and lists.

    fn map_key(&mut self) -> Step {
        match self.peek() {
            ']' => return Err(self.fault("Unexpected array end ']' processing map.")),
            c if c.is_whitespace() => {
                self.next();
                self.ignore();
                return Ok(None);
            }
            '}' => {
                self.next();
                return self.map_end();
            }
            '#' => {
                self.next();
                self.skip_comment();
                return Ok(None);
            }
            '/' => {
                self.next();
                if self.next() == '/' {
                    self.skip_comment();
                    return Ok(None);
                }
                // A lone slash counts for nothing; the key starts behind it.
                self.back();
                self.ignore();
                self.next();
                return self.bare_key(true);
            }
            END => return Err(self.fault("Unexpected EOF processing map.")),
            _ => {}
        }
        self.key('}')
    }

    fn map_value(&mut self) -> Step {
        match self.next() {
            c if c.is_whitespace() => self.ignore(),
            ',' => return Err(self.fault("Unexpected map value terminator \",\".")),
            '}' => return self.map_end(),
            _ => {
                self.back();
                self.expect = Expect::Value;
            }
        }
        Ok(None)
    }

    fn after_map_value(&mut self) -> Step {
        let c = self.next();
        match c {
            ' ' | '\t' => self.ignore(),
            _ if self.comment(c) => {}
            '/' | ';' | ',' | '\n' | '\r' => self.go(Expect::MapKey),
            '}' => return self.map_end(),
            _ => {
                return Err(self.fault(format!(
                    "Expected a map value terminator \",\" or a map terminator \"}}\", but got '{}' instead.",
                    shown(c)
                )));
            }
        }
        Ok(None)
    }

    fn map_end(&mut self) -> Step {
        self.ignore();
        self.brackets.pop();
        self.after_value();
        self.emit(Token::MapEnd)
    }

    fn list_value(&mut self) -> Step {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.ignore(),
            _ if self.comment(c) => {}
            '/' | ',' => return Err(self.fault("Unexpected array value terminator ','.")),
            ']' => return self.list_end(),
            _ => {
                self.back();
                self.expect = Expect::Value;
            }
        }
        Ok(None)
    }

    fn after_list_value(&mut self) -> Step {
        let c = self.next();
        match c {
            ' ' | '\t' => self.ignore(),
            _ if self.comment(c) => {}
            '/' | ',' | '\n' | '\r' => self.go(Expect::ListValue),
            ']' => return self.list_end(),
            _ => {
                return Err(self.fault(format!(
                    "Expected an array value terminator \",\" or an array terminator \"]\", but got '{}' instead.",
                    shown(c)
                )));
            }
        }
        Ok(None)
    }

    fn list_end(&mut self) -> Step {
        self.ignore();
        self.brackets.pop();
        self.after_value();
        self.emit(Token::ListEnd)
    }
}

/// Shows a character in a message.
fn shown(c: char) -> String {
    if c == '\n' { "\\n".into() } else { c.to_string() }
}
