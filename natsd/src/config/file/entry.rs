//! One key with its value, and the report that every reader writes to.

use std::time::Duration;

use crate::config::conf::{Map, Node, Place, Surroundings, Value};
use crate::config::duration;

/// Something wrong or doubtful in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; absent for what concerns the whole file or a flag.
    pub place: Option<Place>,
    /// What.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// All that was found while reading; reading goes on after an error.
pub(crate) struct Report<'a> {
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    /// Where files named by keys are looked at.
    pub(crate) around: &'a dyn Surroundings,
}

impl<'a> Report<'a> {
    pub(crate) fn new(around: &'a dyn Surroundings) -> Self {
        Self { errors: Vec::new(), warnings: Vec::new(), around }
    }

    /// Notes an error at a place.
    pub(crate) fn error(&mut self, place: &Place, text: impl Into<String>) {
        self.errors.push(Problem { place: Some(place.clone()), text: text.into() });
    }

    /// Notes a warning at a place.
    pub(crate) fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.warnings.push(Problem { place: Some(place.clone()), text: text.into() });
    }
}

/// A key as written, and its value.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    pub(crate) node: &'a Node,
}

impl<'a> Entry<'a> {
    pub(crate) fn value(self) -> &'a Value {
        &self.node.value
    }

    pub(crate) fn error(self, report: &mut Report<'_>, text: impl Into<String>) {
        report.error(&self.node.place, text);
    }

    pub(crate) fn warn(self, report: &mut Report<'_>, text: impl Into<String>) {
        report.warn(&self.node.place, text);
    }

    /// Warns as nats-server does about a value that is accepted for old times' sake.
    pub(crate) fn warn_use(
        self,
        report: &mut Report<'_>,
        field: &str,
        text: impl std::fmt::Display,
    ) {
        self.warn(report, format!("invalid use of field {field:?}: {text}"));
    }

    /// Notes that natsd has no such feature.
    pub(crate) fn unsupported(self, report: &mut Report<'_>) {
        self.warn(
            report,
            format!("{:?} is not supported by natsd yet and has no effect", self.key),
        );
    }

    /// Shows a plain value that is no secret.
    pub(crate) fn written(self) -> String {
        match self.value() {
            Value::Text(text) | Value::Time(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(bool) => bool.to_string(),
            other => other.kind().to_owned(),
        }
    }

    fn mismatch<T>(self, report: &mut Report<'_>, wanted: &str) -> Option<T> {
        let found = self.value().kind();
        self.error(report, format!("{:?} should be {wanted}, but is {found}", self.key));
        None
    }

    pub(crate) fn text(self, report: &mut Report<'_>) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => self.mismatch(report, "a string"),
        }
    }

    pub(crate) fn bool(self, report: &mut Report<'_>) -> Option<bool> {
        match self.value() {
            Value::Bool(bool) => Some(*bool),
            _ => self.mismatch(report, "true or false"),
        }
    }

    pub(crate) fn int(self, report: &mut Report<'_>) -> Option<i64> {
        match self.value() {
            Value::Int(number) => Some(*number),
            _ => self.mismatch(report, "an integer"),
        }
    }

    pub(crate) fn list(self, report: &mut Report<'_>) -> Option<&'a [Node]> {
        match self.value() {
            Value::List(nodes) => Some(nodes),
            _ => self.mismatch(report, "an array"),
        }
    }

    pub(crate) fn map(self, report: &mut Report<'_>) -> Option<&'a Map> {
        match self.value() {
            Value::Map(map) => Some(map),
            _ => self.mismatch(report, "a map"),
        }
    }

    /// Reads a path or another string of which the empty one means none.
    pub(crate) fn filled(self, report: &mut Report<'_>) -> Option<Option<String>> {
        self.text(report).map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    /// Reads an integer of which zero and less mean none or no limit.
    pub(crate) fn count<T: TryFrom<i64>>(self, report: &mut Report<'_>) -> Option<Option<T>> {
        let number = self.int(report)?;
        if number <= 0 {
            return Some(None);
        }
        match T::try_from(number) {
            Ok(number) => Some(Some(number)),
            Err(_) => {
                self.error(report, format!("{} value is too big", self.key));
                None
            }
        }
    }

    /// Reads a port; -1 lets the system choose.
    pub(crate) fn port(self, report: &mut Report<'_>) -> Option<i64> {
        let port = self.int(report)?;
        if !(-1..=65535).contains(&port) {
            self.error(report, format!("invalid port {port}, should be -1 to 65535"));
            return None;
        }
        Some(port)
    }

    /// Reads a duration; a bare number is taken for seconds, with a warning. Zero means the default.
    pub(crate) fn duration(self, field: &str, report: &mut Report<'_>) -> Option<Duration> {
        match self.value() {
            Value::Text(text) => match duration::parse(text) {
                Ok(nanos) => self.positive(field, nanos, report),
                Err(error) => {
                    self.error(report, format!("error parsing {field}: {error}"));
                    None
                }
            },
            Value::Int(seconds) => {
                let advice = format!("{field} should be converted to a duration");
                self.warn_use(report, field, advice);
                self.positive(field, seconds.saturating_mul(1_000_000_000), report)
            }
            _ => self.mismatch(report, "a duration like \"10s\""),
        }
    }

    /// Reads a duration that must be a string.
    pub(crate) fn duration_text(self, report: &mut Report<'_>) -> Option<Result<i64, String>> {
        self.text(report).map(duration::parse)
    }

    fn positive(self, field: &str, nanos: i64, report: &mut Report<'_>) -> Option<Duration> {
        match u64::try_from(nanos) {
            Ok(nanos) => Some(Duration::from_nanos(nanos)),
            Err(_) => {
                self.error(report, format!("invalid {field}, needs to be positive"));
                None
            }
        }
    }

    /// Reads seconds, whole or not, or a duration string, as authorization and TLS timeouts are
    /// written. `Err` holds a message to put behind the block's own words.
    pub(crate) fn timeout(self) -> Result<Duration, String> {
        let seconds = match self.value() {
            Value::Int(seconds) => Duration::from_secs(u64::try_from(*seconds).unwrap_or(0)),
            Value::Float(seconds) => {
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
            }
            Value::Text(text) => {
                let nanos = duration::parse(text)?;
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
            }
            _ => return Err("wrong type".into()),
        };
        // More than a century is for ever, and safe to add to any instant.
        Ok(seconds.min(Duration::from_secs(100 * 365 * 86_400)))
    }

    /// Reads a string or an array of strings.
    pub(crate) fn texts(self, field: &str, report: &mut Report<'_>) -> Option<Vec<String>> {
        match self.value() {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(nodes) => {
                let mut texts = Vec::with_capacity(nodes.len());
                for node in nodes {
                    match &node.value {
                        Value::Text(text) => texts.push(text.clone()),
                        other => report.error(
                            &node.place,
                            format!(
                                "error parsing {field}: unsupported type in array {}",
                                other.go_type()
                            ),
                        ),
                    }
                }
                Some(texts)
            }
            other => {
                let found = other.go_type();
                self.error(report, format!("error parsing {field}: unsupported type {found}"));
                None
            }
        }
    }
}

/// Puts a value that could be read into its slot.
pub(crate) fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Reads one key into `T`.
pub(crate) type Reader<T> = fn(&mut T, Entry<'_>, &mut Report<'_>);

/// A key under all its names, and how it is read.
pub(crate) type Rule<T> = (&'static [&'static str], Reader<T>);

/// Reads a map by rules; keys without a rule are unknown.
pub(crate) fn read<T>(map: &Map, rules: &[Rule<T>], into: &mut T, report: &mut Report<'_>) {
    read_or(map, rules, into, report, unknown);
}

/// Reports a key that nobody knows, unless it is a variable that is used.
pub(crate) fn unknown(entry: Entry<'_>, report: &mut Report<'_>) {
    if !entry.node.referenced {
        entry.error(report, format!("unknown field {:?}", entry.key));
    }
}

/// Reads a map by rules; keys without a rule go to `other`.
pub(crate) fn read_or<T>(
    map: &Map,
    rules: &[Rule<T>],
    into: &mut T,
    report: &mut Report<'_>,
    other: impl Fn(Entry<'_>, &mut Report<'_>),
) {
    for (key, node) in map.iter() {
        let entry = Entry { key, node };
        let lower = key.to_lowercase();
        match rules.iter().find(|(names, _)| names.contains(&lower.as_str())) {
            Some((_, reader)) => reader(into, entry, report),
            None => other(entry, report),
        }
    }
}
