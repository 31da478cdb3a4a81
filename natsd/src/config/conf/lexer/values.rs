//! Values: strings of all kinds, numbers, and what starts like one.

use super::super::text;
use super::{Bracket, END, Expect, Fault, Lexer, Step, Token, shown};

impl Lexer<'_> {
    /// Reads a value of any kind.
    pub(super) fn value(&mut self) -> Step {
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
