//! Items to values: maps and lists, variables, includes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lexer::{Item, Lexer, Token};
use super::surroundings::{Surroundings, why};
use super::value::{Map, Node, Place, Value};

/// Files that may be open inside each other by `include`.
const INCLUDE_DEPTH_MAX: usize = 32;

/// Bytes that the values of one configuration may take, about: an inclusion or a variable can be
/// used many times over, and a hundred lines of doubling would otherwise fill any memory.
const SIZE_MAX: usize = 64 << 20;

/// What opening a file counts against [`SIZE_MAX`], so that their number is bounded too.
const FILE_COST: usize = 4096;

/// A configuration that cannot be read, in nats-server's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ParseError {
    /// What is wrong.
    pub text: String,
}

impl ParseError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

/// Parses a file and all that it includes.
///
/// # Errors
/// The first fault of the text, or a file that cannot be read.
pub fn parse_file(path: &Path, around: &dyn Surroundings) -> Result<Map, ParseError> {
    Ledger::new(around).file(path)
}

/// Parses a text, calling it `name` in places; includes are looked for beside `name`.
///
/// # Errors
/// The first fault of the text, or an included file that cannot be read.
pub fn parse_text(input: &[u8], name: &str, around: &dyn Surroundings) -> Result<Map, ParseError> {
    Ledger::new(around).text(input, name)
}

/// What all files of one configuration share.
struct Ledger<'a> {
    around: &'a dyn Surroundings,
    /// Files being read, the outermost first.
    open_files: Vec<PathBuf>,
    size: usize,
}

impl<'a> Ledger<'a> {
    fn new(around: &'a dyn Surroundings) -> Self {
        Self { around, open_files: Vec::new(), size: 0 }
    }

    fn file(&mut self, path: &Path) -> Result<Map, ParseError> {
        let name = path.to_string_lossy();
        if self.open_files.iter().any(|open| open == path) {
            return Err(ParseError::new(format!("include cycle: {name} includes itself")));
        }
        if self.open_files.len() >= INCLUDE_DEPTH_MAX {
            return Err(ParseError::new(format!(
                "include of {name} is nested deeper than {INCLUDE_DEPTH_MAX} files"
            )));
        }
        let input = self.around.read(path).map_err(|error| ParseError::new(why(&name, &error)))?;
        self.spend(input.len().saturating_add(FILE_COST))?;
        self.open_files.push(path.to_owned());
        let map = self.text(&input, &name);
        self.open_files.pop();
        map
    }

    fn text(&mut self, input: &[u8], name: &str) -> Result<Map, ParseError> {
        Parser::new(self, input, name, Vec::new()).run()
    }

    fn spend(&mut self, size: usize) -> Result<(), ParseError> {
        self.size = self.size.saturating_add(size);
        if self.size > SIZE_MAX {
            return Err(ParseError::new(format!(
                "configuration takes more than {SIZE_MAX} bytes once variables and includes are resolved"
            )));
        }
        Ok(())
    }
}

/// A map or list being filled.
enum Open {
    Map(Map),
    List(Vec<Node>),
}

/// A key that waits for its value.
struct Key {
    name: String,
    line: usize,
    column: usize,
}

struct Parser<'l, 'a, 'i> {
    ledger: &'l mut Ledger<'a>,
    lexer: Lexer<'i>,
    file: Arc<str>,
    open: Vec<Open>,
    keys: Vec<Key>,
    /// Environment variables whose text is being parsed.
    resolving: Vec<String>,
    /// The last variable was one of the environment.
    resolved_outside: bool,
}

impl<'l, 'a, 'i> Parser<'l, 'a, 'i> {
    fn new(
        ledger: &'l mut Ledger<'a>,
        input: &'i [u8],
        name: &str,
        resolving: Vec<String>,
    ) -> Self {
        let open = vec![Open::Map(Map::default())];
        let lexer = Lexer::new(input);
        Self {
            ledger,
            lexer,
            file: Arc::from(name),
            open,
            keys: Vec::new(),
            resolving,
            resolved_outside: false,
        }
    }

    fn run(mut self) -> Result<Map, ParseError> {
        let mut dangling = false;
        loop {
            let item = self.lexer.item().map_err(|fault| {
                ParseError::new(format!("Parse error on line {}: '{}'", fault.line, fault.text))
            })?;
            match &item.token {
                Token::End if dangling => {
                    let place = self.place(item.line, item.column);
                    return Err(ParseError::new(format!("config is invalid ({place})")));
                }
                Token::End => break,
                // A brace too many at the end is let pass, for the sake of JSON.
                Token::Key(name) => dangling = name != "}",
                _ => dangling = false,
            }
            self.take(item)?;
        }
        match self.open.into_iter().next() {
            Some(Open::Map(map)) => Ok(map),
            _ => Err(ParseError::new("config is invalid: no map around it")),
        }
    }

    fn take(&mut self, item: Item) -> Result<(), ParseError> {
        let Item { token, line, column } = item;
        let value = match token {
            Token::Key(name) => {
                self.keys.push(Key { name, line, column });
                return Ok(());
            }
            Token::MapStart => {
                self.open.push(Open::Map(Map::default()));
                return Ok(());
            }
            Token::ListStart => {
                self.open.push(Open::List(Vec::new()));
                return Ok(());
            }
            Token::MapEnd | Token::ListEnd => match self.open.pop() {
                Some(Open::Map(map)) => Value::Map(map),
                Some(Open::List(list)) => Value::List(list),
                None => return Err(ParseError::new("config is invalid: nothing to close")),
            },
            Token::Text(text) => Value::Text(text),
            Token::Bool(bool) => Value::Bool(bool),
            Token::Int(digits) => match integer(&digits)? {
                Some(number) => Value::Int(number),
                // A suffix that means nothing (`5kbb`): observed to leave the key without a value.
                None => return Ok(()),
            },
            Token::Float(digits) => Value::Float(float(&digits)?),
            Token::Time(time) => {
                if !zulu(&time) {
                    return Err(ParseError::new(format!(
                        "expected Zulu formatted DateTime, but got '{time}'"
                    )));
                }
                Value::Time(time)
            }
            Token::Variable(name) => {
                let mut value = self.variable(&name, line)?;
                if self.resolved_outside {
                    move_to(&mut value, &self.place(line, column));
                }
                value
            }
            Token::Include(path) => return self.include(&path),
            Token::End => return Ok(()),
        };
        self.set(value, line, column)
    }

    fn place(&self, line: usize, column: usize) -> Place {
        Place { file: Arc::clone(&self.file), line, column }
    }

    /// Puts a value where it belongs: at the end of the open list or under the waiting key.
    fn set(&mut self, value: Value, line: usize, column: usize) -> Result<(), ParseError> {
        self.ledger.spend(size_of::<Node>())?;
        let place = self.place(line, column);
        let node = Node { value, place, referenced: false };
        match self.open.last_mut() {
            Some(Open::List(list)) => list.push(node),
            Some(Open::Map(map)) => {
                let Some(key) = self.keys.pop() else {
                    return Err(ParseError::new("config is invalid: a value without a key"));
                };
                let place = Place { line: key.line, column: key.column, ..node.place };
                map.insert(key.name, Node { place, ..node });
            }
            None => return Err(ParseError::new("config is invalid: no map around it")),
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, line: usize) -> Result<Value, ParseError> {
        self.resolved_outside = false;
        // An unquoted bcrypt hash looks like a variable.
        if name.starts_with("2a$") {
            return Ok(Value::Text(format!("${name}")));
        }
        for open in self.open.iter_mut().rev() {
            let Open::Map(map) = open else { continue };
            if let Some(node) = map.get_mut(name) {
                self.ledger.spend(weight(&node.value))?;
                node.referenced = true;
                return Ok(node.value.clone());
            }
        }
        self.resolved_outside = true;
        match self.environment(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(ParseError::new(format!(
                "variable reference for '{name}' on line {line} can not be found"
            ))),
            Err(error) => Err(ParseError::new(format!(
                "variable reference for '{name}' on line {line} could not be parsed: {error}"
            ))),
        }
    }

    /// Reads an environment variable as if its text stood here.
    fn environment(&mut self, name: &str) -> Result<Option<Value>, ParseError> {
        if self.resolving.iter().any(|open| open == name) {
            return Err(ParseError::new(format!("variable reference cycle for '{name}'")));
        }
        let Some(text) = self.ledger.around.variable(name) else { return Ok(None) };
        if self.resolving.len() >= INCLUDE_DEPTH_MAX {
            return Err(ParseError::new("variables refer to each other too deeply"));
        }
        self.ledger.spend(text.len())?;
        let mut resolving = self.resolving.clone();
        resolving.push(name.to_owned());
        let line = format!("pk={text}");
        let mut map =
            Parser::new(self.ledger, line.as_bytes(), "", resolving).run()?.into_entries();
        let at = map.iter().position(|(key, _)| key == "pk");
        Ok(at.map(|at| map.swap_remove(at).1.value))
    }

    fn include(&mut self, path: &str) -> Result<(), ParseError> {
        let full = beside(&self.file, path);
        let map = self.ledger.file(Path::new(&full)).map_err(|error| {
            ParseError::new(format!("error parsing include file '{path}', {error}"))
        })?;
        match self.open.last_mut() {
            Some(Open::Map(into)) => {
                for (key, node) in map.into_entries() {
                    into.insert(key, node);
                }
                Ok(())
            }
            _ => Err(ParseError::new("config is invalid: an include outside of any map")),
        }
    }
}

/// Joins an included path to the directory of the including file, as Go's `filepath.Join` does:
/// an absolute path is taken below that directory too.
fn beside(file: &str, path: &str) -> String {
    let directory = match file.rfind('/') {
        Some(at) => file.get(..=at).unwrap_or_default(),
        None => "./",
    };
    let joined = format!("{directory}{path}");
    let rooted = joined.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let clean = parts.join("/");
    match (rooted, clean.is_empty()) {
        (true, _) => format!("/{clean}"),
        (false, true) => ".".into(),
        (false, false) => clean,
    }
}

/// Reads an integer with its suffix; `None` if the suffix is none.
fn integer(written: &str) -> Result<Option<i64>, ParseError> {
    let end = written.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(written.len());
    let (digits, suffix) = written.split_at(end);
    let number: i64 = digits.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        ParseError::new(match error.kind() {
            PosOverflow | NegOverflow => format!("integer '{written}' is out of the range"),
            _ => format!("expected integer, but got '{written}'"),
        })
    })?;
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.chars().next() {
        None => return Ok(Some(number)),
        Some(letter) => "kmgtpe".find(letter),
    };
    let Some(power) = power.and_then(|power| u32::try_from(power + 1).ok()) else {
        return Ok(None);
    };
    let factor = match suffix.get(1..) {
        Some("") => 1000_i64.pow(power),
        Some("b" | "i" | "ib") => 1024_i64.pow(power),
        _ => return Ok(None),
    };
    // Too large a product wraps around, as it does in nats-server.
    Ok(Some(number.wrapping_mul(factor)))
}

fn float(digits: &str) -> Result<f64, ParseError> {
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(ParseError::new(format!("float '{digits}' is out of the range"))),
        Err(_) => Err(ParseError::new(format!("expected float, but got '{digits}'"))),
    }
}

/// Checks the numbers of `2006-01-02T15:04:05Z`, whose form the lexer has checked.
fn zulu(time: &str) -> bool {
    let part = |from: usize, to: usize| time.get(from..to).and_then(|t| t.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (part(0, 4), part(5, 7), part(8, 10)) else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (part(11, 13), part(14, 16), part(17, 19))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60
}

/// Gives all that came out of an environment variable the place where the variable stands.
fn move_to(value: &mut Value, place: &Place) {
    match value {
        Value::List(nodes) => {
            for node in nodes {
                node.place = place.clone();
                move_to(&mut node.value, place);
            }
        }
        Value::Map(map) => {
            for node in map.nodes_mut() {
                node.place = place.clone();
                move_to(&mut node.value, place);
            }
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Time(_) => {}
    }
}

/// Estimates what a copy of a value takes.
fn weight(value: &Value) -> usize {
    let inner = match value {
        Value::Text(text) | Value::Time(text) => text.len(),
        Value::List(nodes) => nodes.iter().map(|node| weight(&node.value)).sum(),
        Value::Map(map) => map.iter().map(|(key, node)| 2 * key.len() + weight(&node.value)).sum(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    };
    inner.saturating_add(size_of::<Node>())
}
