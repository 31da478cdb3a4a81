//! Characters to items: keys, values and the brackets around them.
//!
//! The scanner keeps what it expects next ([`Expect`]) and a stack of open brackets; it never
//! calls itself, so nesting costs a byte here and no stack.

use super::text;

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

    // Values.

    fn value(&mut self) -> Step {
        let mut c = self.next();
        while matches!(c, ' ' | '\t') {
            self.ignore();
            c = self.next();
        }
        match c {
            '[' => self.open(Bracket::List, Expect::ListValue, Token::ListStart),
            '{' => self.open(Bracket::Map, Expect::MapKey, Token::MapStart),
            '\'' => self.single_quoted(),
            '"' => {
                self.ignore();
                self.string(true)
            }
            '-' => self.negative(),
            '(' => self.paragraph(),
            '0'..='9' => self.number(),
            '.' => Err(self.fault("Floats must start with a digit")),
            '\n' | '\r' => Err(self.fault("Expected value but found new line")),
            _ => {
                self.back();
                self.string(false)
            }
        }
    }

    fn open(&mut self, bracket: Bracket, expect: Expect, token: Token) -> Step {
        self.ignore();
        self.deeper()?;
        self.brackets.push(bracket);
        self.expect = expect;
        self.emit(token)
    }

    fn single_quoted(&mut self) -> Step {
        self.ignore();
        loop {
            match self.next() {
                '\'' => break,
                END => return self.end(),
                _ => {}
            }
        }
        self.back();
        let text = self.taken();
        self.closing_quote(Token::Text(text))
    }

    /// Emits what came before the quote just stepped back over, and passes it.
    fn closing_quote(&mut self, token: Token) -> Step {
        self.after_value();
        let item = self.emit(token);
        self.next();
        self.ignore();
        item
    }

    /// Reads a bare or a double-quoted string, both of which have escapes.
    fn string(&mut self, quoted: bool) -> Step {
        loop {
            match self.next() {
                '\\' => self.escape()?,
                '"' if quoted => {
                    self.back();
                    let text = self.taken();
                    return self.closing_quote(Token::Text(text));
                }
                END if quoted => return self.end(),
                _ if quoted => {}
                '\n' | '\r' | END | ';' | ',' | ']' | '}' | ' ' | '\t' => {
                    self.back();
                    return self.bare_end();
                }
                '\'' => {
                    self.back();
                    let text = self.taken();
                    return self.closing_quote(Token::Text(text));
                }
                _ => {}
            }
        }
    }

    fn bare_end(&mut self) -> Step {
        self.after_value();
        if !self.escaped {
            if let Some(bool) = boolean(self.taken_bytes()) {
                return self.emit(Token::Bool(bool));
            }
            if self.taken_bytes().first() == Some(&b'$') {
                self.start += 1;
                let name = self.taken();
                return self.emit(Token::Variable(name));
            }
        }
        let text = self.taken();
        self.emit(Token::Text(text))
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let before = self.input.get(self.start..self.pos - 1).unwrap_or_default();
        self.unescaped.extend_from_slice(before);
        self.escaped = true;
        let byte = match self.next() {
            'x' => self.hex_escape()?,
            't' => b'\t',
            'n' => b'\n',
            'r' => b'\r',
            '"' => b'"',
            '\\' => b'\\',
            c => {
                return Err(self.fault(format!(
                    "Invalid escape character '{}'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                    shown(c)
                )));
            }
        };
        self.unescaped.push(byte);
        self.start = self.pos;
        Ok(())
    }

    fn hex_escape(&mut self) -> Result<u8, Fault> {
        for _ in 0..2 {
            if matches!(self.next(), '\n' | '\r') {
                return Err(
                    self.fault("Expected two hexadecimal digits after '\\x', but hit end of line")
                );
            }
        }
        let digits = self.input.get(self.pos - 2..self.pos).unwrap_or_default();
        let value = match digits {
            [high, low] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        value.ok_or_else(|| {
            let digits = text(digits);
            self.fault(format!("Expected two hexadecimal digits after '\\x', but got '{digits}'"))
        })
    }

    /// Reads a block string: up to a `)` on a line of its own.
    fn paragraph(&mut self) -> Step {
        self.ignore();
        loop {
            match self.next() {
                ')' if self.input.get(self.pos.wrapping_sub(2)) == Some(&b'\n') => {
                    match self.input.get(self.pos) {
                        Some(b'\n') => {
                            self.pos -= 1;
                            let text = self.taken();
                            return self.closing_quote(Token::Text(text));
                        }
                        // Observed: at the very end of the file the `)` is part of the string.
                        None | Some(0) => {
                            if self.pos < self.input.len() {
                                self.pos -= 1;
                            }
                            let text = self.taken();
                            return self.closing_quote(Token::Text(text));
                        }
                        _ => {}
                    }
                }
                END => return Err(self.fault("Unexpected EOF processing block.")),
                _ => {}
            }
        }
    }

    // Numbers, and what starts like one.

    fn number(&mut self) -> Step {
        loop {
            match self.next() {
                '0'..='9' => {}
                '-' => return self.date(),
                '.' => return self.float(),
                'k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T' | 'p' | 'P' | 'e' | 'E' => {
                    return self.sized();
                }
                '\n' | '\r' | END | '}' | ';' | ',' | ' ' | '\t' => {
                    self.back();
                    return self.integer();
                }
                // The character is part of a word now, were it even `]`: a trap that people know.
                _ => return self.string(false),
            }
        }
    }

    fn integer(&mut self) -> Step {
        self.after_value();
        let digits = self.taken();
        self.emit(Token::Int(digits))
    }

    /// Reads on behind the first letter of a size suffix.
    fn sized(&mut self) -> Step {
        let mut c = self.next();
        while matches!(c, 'b' | 'B' | 'i' | 'I') {
            c = self.next();
        }
        self.back();
        if matches!(c, '\n' | '\r' | END | '}' | ';' | ',' | ' ' | '\t') {
            return self.integer();
        }
        self.string(false)
    }

    fn negative(&mut self) -> Step {
        match self.next() {
            '0'..='9' => {}
            '.' => return Err(self.fault("Floats must start with a digit, not '.'.")),
            c => return Err(self.fault(format!("Expected a digit but got '{}'.", shown(c)))),
        }
        loop {
            match self.next() {
                '0'..='9' => {}
                '.' => return self.float(),
                'k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T' | 'p' | 'P' | 'e' | 'E' => {
                    return self.sized();
                }
                _ => {
                    self.back();
                    return self.integer();
                }
            }
        }
    }

    /// Reads on behind the dot; a second dot makes it an address.
    fn float(&mut self) -> Step {
        let c = self.next();
        if !c.is_ascii_digit() {
            return Err(self.fault(format!(
                "Floats must have a digit after the '.', but got '{}' instead.",
                shown(c)
            )));
        }
        let mut c = self.next();
        while c.is_ascii_digit() {
            c = self.next();
        }
        let address = c == '.';
        while address && (c.is_ascii_digit() || matches!(c, '.' | ':' | '-')) {
            c = self.next();
        }
        self.back();
        self.after_value();
        let text = self.taken();
        self.emit(if address { Token::Text(text) } else { Token::Float(text) })
    }

    fn date(&mut self) -> Step {
        if self.pos - self.start != "2006-".len() {
            return Err(self.fault("All ISO8601 dates must be in full Zulu form."));
        }
        for wanted in "00-00T00:00:00Z".chars() {
            let c = self.next();
            if wanted == '0' && !c.is_ascii_digit() {
                return Err(self.fault(format!(
                    "Expected digit in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                )));
            }
            if wanted != '0' && wanted != c {
                return Err(self.fault(format!(
                    "Expected '{wanted}' in ISO8601 datetime, but found '{}' instead.",
                    shown(c)
                )));
            }
        }
        self.after_value();
        let text = self.taken();
        self.emit(Token::Time(text))
    }

    // The cursor.

    fn next(&mut self) -> char {
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
    fn decode(&self, first: u8) -> (char, usize) {
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
    fn back(&mut self) {
        self.pos -= self.width;
        if self.width > 0 && self.input.get(self.pos) == Some(&b'\n') {
            self.line -= 1;
        }
    }

    fn peek(&mut self) -> char {
        let c = self.next();
        self.back();
        c
    }

    fn ignore(&mut self) {
        self.start = self.pos;
        self.item_line_start = self.line_start;
    }

    fn go(&mut self, expect: Expect) {
        self.ignore();
        self.expect = expect;
    }

    /// Passes a comment if `c` starts one.
    fn comment(&mut self, c: char) -> bool {
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

    fn skip_comment(&mut self) {
        while !matches!(self.peek(), '\n' | '\r' | END) {
            self.next();
        }
        self.ignore();
    }

    fn deeper(&self) -> Result<(), Fault> {
        if self.brackets.len() + self.blocks >= DEPTH_MAX {
            return Err(self.fault(format!("Nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn after_value(&mut self) {
        self.expect = match self.brackets.last() {
            Some(Bracket::Map) => Expect::AfterMapValue,
            Some(Bracket::List) => Expect::AfterListValue,
            None if self.blocks > 0 => Expect::AfterBlock,
            None => Expect::AfterTop,
        };
    }

    fn taken_bytes(&self) -> &'a [u8] {
        self.input.get(self.start..self.pos).unwrap_or_default()
    }

    /// Takes the text of the item being read, escapes resolved.
    fn taken(&mut self) -> String {
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

    fn emit(&mut self, token: Token) -> Step {
        let length = match &token {
            Token::ListStart | Token::ListEnd | Token::MapStart | Token::MapEnd => 0,
            _ => self.pos - self.start,
        };
        let column = self.pos.saturating_sub(self.item_line_start).saturating_sub(length);
        let item = Item { token, line: self.line, column };
        self.ignore();
        Ok(Some(item))
    }

    fn fault(&self, text: impl Into<String>) -> Fault {
        Fault { line: self.line, text: text.into() }
    }
}

fn boolean(word: &[u8]) -> Option<bool> {
    let is = |list: [&str; 3]| list.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()));
    if is(["true", "on", "yes"]) {
        return Some(true);
    }
    is(["false", "off", "no"]).then_some(false)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Shows a character in a message.
fn shown(c: char) -> String {
    if c == '\n' { "\\n".into() } else { c.to_string() }
}
