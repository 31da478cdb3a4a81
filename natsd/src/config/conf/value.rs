//! Values of a parsed configuration, each with its place in the text.

use std::fmt;
use std::sync::Arc;

/// Where something stands: `file:line:column`, counted as nats-server counts.
///
/// Lines start at 1. The column is 0-based in the first line and 1-based in all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File as it was named on the command line or by `include`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and where it stands: at its key inside a map, at itself inside a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub place: Place,
    /// A `$variable` was resolved by this entry, so that its key may be one nobody knows.
    pub referenced: bool,
}

/// What the grammar can express.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// An integer with its size suffix applied.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Any string.
    Text(String),
    /// A datetime, as written (`2006-01-02T15:04:05Z`).
    Time(String),
    /// `[ .. ]`
    List(Vec<Node>),
    /// `{ .. }`
    Map(Map),
}

impl Value {
    /// Names the type for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Time(_) => "a datetime",
            Self::List(_) => "an array",
            Self::Map(_) => "a map",
        }
    }

    /// Shows a plain value as nats-server's messages do; what is inside of brackets is left out.
    pub fn shown(&self) -> String {
        match self {
            Self::Bool(on) => on.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::Time(time) => format!("{} +0000 UTC", time.replace('T', " ").replace('Z', "")),
            Self::List(nodes) if nodes.is_empty() => "[]".into(),
            Self::List(_) => "[..]".into(),
            Self::Map(map) if map.is_empty() => "map[]".into(),
            Self::Map(_) => "map[..]".into(),
        }
    }

    /// Names the type as nats-server's messages do.
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }
}

/// Entries in the order of the file. A key that comes again replaces the earlier value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    entries: Vec<(String, Node)>,
    index: std::collections::HashMap<String, usize>,
}

impl Map {
    /// Sets a key; a later entry wins.
    pub(super) fn insert(&mut self, key: String, node: Node) {
        let place = self.index.get(&key).and_then(|at| self.entries.get_mut(*at));
        if let Some(entry) = place {
            entry.1 = node;
            return;
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, node));
    }

    /// Finds a key, case and all.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.index.get(key).and_then(|at| self.entries.get(*at)).map(|(_, node)| node)
    }

    /// Finds a key to mark it as referenced.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let at = *self.index.get(key)?;
        self.entries.get_mut(at).map(|(_, node)| node)
    }

    /// Walks the entries in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Walks the values to change them.
    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.entries.iter_mut().map(|(_, node)| node)
    }

    /// Gives the entries away.
    pub(super) fn into_entries(self) -> Vec<(String, Node)> {
        self.entries
    }

    /// Tells whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts the entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
