//! The keys and values of a cluster.yaml, read by their types. What they mean is `file.rs`'s.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::problem::Problem;
use super::size::{parse_size, show_size};
use super::yaml::{Spot, SyntaxError, Tree, Value};

pub(super) const TOP_KEYS: &[&str] = &["version", "name", "provider", "vm", "server", "nodes"];
pub(super) const VM_KEYS: &[&str] = &["image", "cpus", "memory", "disk"];
pub(super) const SERVER_KEYS: &[&str] =
    &["binary", "client_port", "cluster_port", "monitor_port", "log", "config"];
pub(super) const NODE_KEYS: &[&str] =
    &["name", "seed", "vm", "address", "user", "port", "identity"];

/// Collects problems while reading; every method goes on after one.
pub(super) struct Check {
    pub(super) problems: Vec<Problem>,
    pub(super) folder: PathBuf,
}

/// A mapping's values by key.
pub(super) struct Fields<'a> {
    pub(super) spot: Spot,
    by_key: HashMap<&'a str, &'a Rc<Tree>>,
}

impl<'a> Fields<'a> {
    /// The value of a key, unless it is absent or empty.
    pub(super) fn value(&self, key: &str) -> Option<&'a Rc<Tree>> {
        self.by_key.get(key).copied().filter(|tree| !tree.is_null())
    }
}

impl Check {
    pub(super) fn add(&mut self, spot: Spot, text: impl Into<String>, help: Option<&str>) {
        let help = help.map(str::to_owned);
        self.problems.push(Problem { spot, text: text.into(), help });
    }

    pub(super) fn syntax(&mut self, text: &str, error: SyntaxError) {
        let tabbed = text.lines().enumerate().filter_map(|(nth, line)| {
            let indent = line.len() - line.trim_start().len();
            let tab = line.get(..indent)?.find('\t')?;
            Some(Spot { line: nth + 1, column: tab + 1, width: indent - tab })
        });
        let tabbed: Vec<Spot> = tabbed.take(20).collect();
        for spot in &tabbed {
            self.add(*spot, "a tab in the indentation", Some("YAML wants spaces here"));
        }
        if !tabbed.iter().any(|spot| spot.line.abs_diff(error.spot.line) <= 1) {
            self.add(error.spot, error.text, None);
        }
    }

    /// Reads a mapping: reports what is no mapping, unknown keys and keys given twice.
    pub(super) fn fields<'a>(
        &mut self,
        tree: &'a Tree,
        place: &str,
        known: &[&str],
    ) -> Option<Fields<'a>> {
        let Value::Map(pairs) = &tree.value else {
            let text = format!("{place} must be a mapping (`key: value`), not {}", tree.kind());
            self.add(tree.spot, text, None);
            return None;
        };
        let mut by_key: HashMap<&str, &Rc<Tree>> = HashMap::new();
        for (key, value) in pairs {
            if !known.contains(&key.text.as_str()) {
                let help = nearest(&key.text, known);
                self.add(key.spot, format!("unknown key `{}` in {place}", key.text), Some(&help));
            } else if by_key.insert(&key.text, value).is_some() {
                self.add(key.spot, format!("`{}` is given twice", key.text), Some("keep one"));
            }
        }
        Some(Fields { spot: tree.spot, by_key })
    }

    pub(super) fn text(&mut self, tree: &Tree, key: &str) -> Option<String> {
        match &tree.value {
            Value::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
            _ => {
                self.add(tree.spot, format!("`{key}` must be a text, not {}", tree.kind()), None);
                None
            }
        }
    }

    pub(super) fn number(&mut self, tree: &Tree, key: &str, low: u32, high: u32) -> Option<u32> {
        let number = match &tree.value {
            Value::Scalar { text, plain: true } => text.parse::<u32>().ok(),
            _ => None,
        };
        let number = number.filter(|number| (low..=high).contains(number));
        if number.is_none() {
            let mut text = format!("`{key}` must be a whole number from {low} to {high}");
            text.push_str(&format!(", not {}", tree.kind()));
            let quoted = matches!(&tree.value, Value::Scalar { text, plain: false }
                if text.parse::<u32>().is_ok());
            self.add(tree.spot, text, quoted.then_some("without quotes"));
        }
        number
    }

    pub(super) fn port(&mut self, tree: &Tree, key: &str) -> Option<u16> {
        self.number(tree, key, 1, 65535).and_then(|port| u16::try_from(port).ok())
    }

    pub(super) fn flag(&mut self, tree: &Tree, key: &str) -> bool {
        match &tree.value {
            Value::Scalar { text, plain: true } if text == "true" => return true,
            Value::Scalar { text, plain: true } if text == "false" => return false,
            _ => {}
        }
        self.add(tree.spot, format!("`{key}` must be true or false, not {}", tree.kind()), None);
        false
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        tree: &Tree,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let Value::Scalar { text, .. } = &tree.value else {
            self.add(tree.spot, format!("`{key}` must be a word, not {}", tree.kind()), None);
            return None;
        };
        let found = words.iter().find(|(word, _)| word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let text = format!("unknown {key} {}", tree.kind());
            let help = format!("one of {}", known.join(", "));
            self.add(tree.spot, text, Some(&help));
        }
        found.map(|(_, value)| *value)
    }

    /// A size in Multipass's notation.
    pub(super) fn size(&mut self, tree: &Tree, key: &str, least: u64) -> Option<u64> {
        let bytes = match &tree.value {
            Value::Scalar { text, .. } => parse_size(text),
            _ => None,
        };
        match bytes {
            None => {
                let text = format!("`{key}` must be a size, not {}", tree.kind());
                self.add(tree.spot, text, Some("such as 512M or 2G"));
                None
            }
            Some(bytes) if bytes < least => {
                let text = format!("`{key}` is too small: {}", tree.kind());
                self.add(tree.spot, text, Some(&format!("at least {}", show_size(least))));
                None
            }
            bytes => bytes,
        }
    }

    pub(super) fn missing(&mut self, fields: &Fields<'_>, key: &str, help: &str) {
        self.add(Spot { width: 1, ..fields.spot }, format!("`{key}` is missing"), Some(help));
    }
}

/// What was probably meant by an unknown key.
fn nearest(key: &str, known: &[&str]) -> String {
    let best = known.iter().map(|word| (strsim::damerau_levenshtein(key, word), *word)).min();
    if let Some((distance, word)) = best
        && distance <= 1 + word.len() / 4
    {
        return format!("did you mean `{word}`?");
    }
    for (place, keys) in [("vm", VM_KEYS), ("server", SERVER_KEYS), ("nodes", NODE_KEYS)] {
        if keys.contains(&key) {
            return format!("`{key}` belongs under `{place}`");
        }
    }
    if key == "<<" {
        return "merge keys are not supported; write the values out".into();
    }
    format!("known here: {}", known.join(", "))
}
