//! YAML as a tree that remembers where everything stands.
//!
//! Scalars keep their text, so `image: 24.10` stays `24.10`; what type they are is decided by
//! whoever reads them. Bounded: depth, and size after aliases are followed.

use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deepest nesting; cluster.yaml needs five.
const DEPTH_MAX: usize = 32;
/// Most values, counted after following aliases (a bomb of aliases ends here).
const VALUES_MAX: usize = 200_000;

/// A place in the file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// How many characters to underline, at least 1.
    pub width: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where it begins.
    pub spot: Spot,
    /// What it is.
    pub value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar; `plain` when written without quotes, so that it may mean a number.
    Scalar {
        /// Its text, unquoted.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// `- item` or `[item]`.
    List(Vec<Rc<Tree>>),
    /// `key: value`, in file order.
    Map(Vec<(Key, Rc<Tree>)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub spot: Spot,
}

/// The file is no YAML, or none that we accept.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub spot: Spot,
    /// Why.
    pub text: String,
}

impl Tree {
    /// Reads the one document of a file; `None` when there is nothing in it.
    ///
    /// # Errors
    /// The first place where the text is not YAML, or a bound is passed.
    pub fn parse(text: &str) -> Result<Option<Rc<Self>>, SyntaxError> {
        Builder::default().build(text)
    }

    /// Whether it is an empty value (`key:` with nothing after it, `~` or `null`).
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in the words of an error text.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Scalar { .. } if self.is_null() => "nothing".into(),
            Value::Scalar { text, .. } => format!("`{}`", shorten(text)),
        }
    }

    /// The same value as JSON, scalars typed by YAML's core rules.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::List(items) => items.iter().map(|item| item.to_json()).collect(),
            Value::Map(pairs) => {
                pairs.iter().map(|(key, value)| (key.text.clone(), value.to_json())).collect()
            }
            Value::Scalar { text, plain: true } => typed(text),
            Value::Scalar { text, plain: false } => text.clone().into(),
        }
    }
}

/// At most 40 characters of a text, for quoting in an error.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn typed(text: &str) -> serde_json::Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return serde_json::Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let numeric = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => number.into(),
        _ => text.into(),
    }
}

/// A collection that is being read.
enum Open {
    List { spot: Spot, anchor: usize, items: Vec<Rc<Tree>> },
    Map { spot: Spot, anchor: usize, pairs: Vec<(Key, Rc<Tree>)>, key: Option<Key> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: Vec<(usize, Rc<Tree>, usize)>,
    root: Option<Rc<Tree>>,
    values: usize,
}

impl Builder {
    fn build(mut self, text: &str) -> Result<Option<Rc<Tree>>, SyntaxError> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| SyntaxError {
                spot: spot_at(error.marker().line(), error.marker().col(), 1),
                text: format!("this is not YAML: {}", error.info()),
            })?;
            self.take(event, spot_of(span))?;
        }
        Ok(self.root)
    }

    fn take(&mut self, event: Event<'_>, spot: Spot) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                fail(spot, "a second document begins here; one file holds one cluster")
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), plain };
                self.place(Rc::new(Tree { spot, value }), anchor, 1)
            }
            Event::SequenceStart(anchor, _) => {
                self.enter(spot, Open::List { spot, anchor, items: Vec::new() })
            }
            Event::MappingStart(anchor, _) => {
                self.enter(spot, Open::Map { spot, anchor, pairs: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.follow(spot, anchor),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, spot: Spot, open: Open) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return fail(spot, "nested too deeply");
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return fail(spot, "a key must be a plain word");
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let (tree, anchor) = match self.open.pop() {
            Some(Open::List { spot, anchor, items }) => {
                (Tree { spot, value: Value::List(items) }, anchor)
            }
            Some(Open::Map { spot, anchor, pairs, .. }) => {
                (Tree { spot, value: Value::Map(pairs) }, anchor)
            }
            None => return Ok(()),
        };
        self.place(Rc::new(tree), anchor, 1)
    }

    fn follow(&mut self, spot: Spot, anchor: usize) -> Result<(), SyntaxError> {
        let found = self.anchors.iter().rev().find(|(id, ..)| *id == anchor);
        let Some((_, tree, weight)) =
            found.map(|(id, tree, weight)| (id, Rc::clone(tree), *weight))
        else {
            return fail(spot, "refers to itself");
        };
        self.place(tree, 0, weight)
    }

    /// Puts a finished value where it belongs. `weight` is its size after aliases.
    fn place(&mut self, tree: Rc<Tree>, anchor: usize, weight: usize) -> Result<(), SyntaxError> {
        let spot = tree.spot;
        self.values = self.values.saturating_add(weight);
        if self.values > VALUES_MAX {
            return fail(spot, "too many values");
        }
        if anchor != 0 {
            // An upper bound: everything read so far. Bombs grow by doubling, so it suffices.
            let weight = if matches!(tree.value, Value::Scalar { .. }) { 1 } else { self.values };
            self.anchors.push((anchor, Rc::clone(&tree), weight));
        }
        match self.open.last_mut() {
            None => self.root = Some(tree),
            Some(Open::List { items, .. }) => items.push(tree),
            Some(Open::Map { pairs, key, .. }) => match key.take() {
                Some(key) => pairs.push((key, tree)),
                None => match &tree.value {
                    Value::Scalar { text, .. } => *key = Some(Key { text: text.clone(), spot }),
                    _ => return fail(spot, "a key must be a plain word"),
                },
            },
        }
        Ok(())
    }
}

fn fail<T>(spot: Spot, text: &str) -> Result<T, SyntaxError> {
    Err(SyntaxError { spot, text: text.to_owned() })
}

fn spot_of(span: Span) -> Spot {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    spot_at(span.start.line(), span.start.col(), width)
}

fn spot_at(line: usize, column_from_0: usize, width: usize) -> Spot {
    Spot { line: line.max(1), column: column_from_0 + 1, width: width.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_where_they_stand() {
        let tree = Tree::parse("a: 1\nb:\n  - x: 24.10\n").unwrap().unwrap();
        let Value::Map(pairs) = &tree.value else { panic!("a map") };
        assert_eq!((pairs[1].0.spot.line, pairs[1].0.spot.column), (2, 1));
        let Value::List(items) = &pairs[1].1.value else { panic!("a list") };
        let Value::Map(inner) = &items[0].value else { panic!("a map") };
        assert_eq!(
            (inner[0].1.spot.line, inner[0].1.spot.column, inner[0].1.spot.width),
            (3, 8, 5)
        );
        assert!(matches!(&inner[0].1.value, Value::Scalar { text, .. } if text == "24.10"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = level - 1;
            let ten = vec![format!("*a{below}"); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
        }
        assert_eq!(Tree::parse(&text).unwrap_err().text, "too many values");
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Tree::parse(&"[".repeat(5000)).is_err());
        assert!(Tree::parse(&format!("a: {}1{}", "[".repeat(100), "]".repeat(100))).is_err());
    }

    #[test]
    fn json_follows_the_core_rules() {
        let tree = Tree::parse("{a: 1, b: yes, c: '1', d: 1.5, e: ~, f: true, g: inf}").unwrap();
        let json = tree.unwrap().to_json();
        let want = serde_json::json!(
            {"a": 1, "b": "yes", "c": "1", "d": 1.5, "e": null, "f": true, "g": "inf"});
        assert_eq!(json, want);
    }
}
