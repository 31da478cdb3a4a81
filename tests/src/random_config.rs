//! Configuration files at random, from the grammar of nats-server's: right, nearly right, wrong.
//!
//! [`Tree::random`] grows a configuration from the table of blocks below; [`Tree::write`] writes it
//! down in one of its many spellings, and [`spoil`] changes single characters of that.

mod keys;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use self::keys::{BLOCKS, POOLS};

/// A value of a configuration.
#[derive(Clone, Debug)]
pub enum Tree {
    /// As written: numbers, booleans, anything.
    Raw(String),
    /// A string, to be quoted or not.
    Text(String),
    /// `[ .. ]`
    List(Vec<Self>),
    /// `{ .. }`
    Map(Vec<(String, Self)>),
}

/// A configuration as files, the first of which includes the others.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Name and text.
    pub files: Vec<(String, String)>,
    /// Variables for the environment.
    pub variables: Vec<(String, String)>,
}

/// How many values in a thousand are wrong.
#[derive(Clone, Copy, Debug)]
pub struct Wrong(pub u32);

impl Tree {
    /// A whole configuration.
    pub fn random(random: &mut SmallRng, wrong: Wrong) -> Self {
        block("top", 0, random, wrong)
    }

    /// Another one that has most entries in common with this one.
    #[must_use]
    pub fn varied(&self, random: &mut SmallRng) -> Self {
        let (Self::Map(own), Self::Map(other)) = (self, Self::random(random, Wrong(0))) else {
            panic!("a configuration is a map: {self:?}");
        };
        let mut entries: Vec<_> =
            own.iter().filter(|_| random.random_range(0..10) < 8).cloned().collect();
        for (key, value) in other {
            // Of two names of one key in one file either may win.
            let there = entries.iter_mut().find(|(held, _)| same_key(held, &key));
            match there {
                Some((_, held)) if random.random_range(0..2) == 0 => *held = value,
                None if random.random_range(0..4) == 0 => entries.push((key, value)),
                _ => {}
            }
        }
        Self::Map(entries)
    }

    /// Writes it down, with the freedoms that the grammar gives.
    pub fn write(&self, random: &mut SmallRng) -> Files {
        let mut pen = Pen { random, files: Files::default(), definitions: String::new() };
        let Self::Map(entries) = self else { panic!("a configuration is a map: {self:?}") };
        let mut text = String::new();
        let braces = pen.chance(30);
        for (i, (key, value)) in entries.iter().enumerate() {
            if !braces && pen.chance(40) {
                let name = format!("inc{i}.conf");
                let included = pen.entry(key, value, 0);
                pen.files.files.push((name.clone(), included));
                let quote = pen.pick(&["\"", "'", ""]);
                text.push_str(&format!("include {quote}{name}{quote}\n"));
            } else {
                let entry = pen.entry(key, value, 0);
                text.push_str(&entry);
            }
        }
        let mut text = format!("{}{text}", pen.definitions);
        if braces {
            text = format!("{{\n{text}}}\n");
        }
        let mut files = pen.files;
        files.files.insert(0, ("x.conf".into(), text));
        files
    }
}

/// Whether two are names of one key of the top level.
fn same_key(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let top = BLOCKS.iter().filter(|(name, _)| *name == "top").flat_map(|(_, keys)| keys.iter());
    one == other
        || top.map(|(names, _)| names.trim_start_matches(['!', '?'])).any(|names| {
            let has = |key: &str| names.split('/').any(|name| name == key);
            has(&one) && has(&other)
        })
}

fn block(name: &str, depth: usize, random: &mut SmallRng, wrong: Wrong) -> Tree {
    let blocks: Vec<_> = BLOCKS.iter().filter(|(other, _)| *other == name).collect();
    let keys = blocks.choose(random).unwrap_or_else(|| panic!("no block {name}")).1;
    let share = (400 / keys.len()).clamp(8, 60);
    let mut entries: Vec<(String, Tree)> = Vec::new();
    for (names, values) in keys {
        let (share, names) = match (names.strip_prefix('!'), names.strip_prefix('?')) {
            (Some(names @ "listen"), _) => (100, names),
            (Some(names), _) => (96, names),
            (_, Some(names)) => (1, names),
            _ => (share, *names),
        };
        if random.random_range(0..100) >= share {
            continue;
        }
        let names: Vec<&str> = names.split('/').collect();
        let mut key = (*names.choose(random).expect("a key has a name")).to_owned();
        match random.random_range(0..100_000) {
            // These two are looked into with case and all.
            0..1500 if !matches!(name, "resolver" | "latency") => key = key.to_uppercase(),
            other if other < 1500 + wrong.0 * 50 => key.push('x'),
            _ => {}
        }
        let value = if random.random_range(0..1000) < wrong.0 {
            alternative("<wrong>", depth, random, wrong)
        } else {
            alternative(values, depth, random, wrong)
        };
        entries.push((key, value));
    }
    // The order of a file means nothing, except to a key that comes twice.
    for at in (1..entries.len()).rev() {
        entries.swap(at, random.random_range(0..=at));
    }
    Tree::Map(entries)
}

fn alternative(text: &str, depth: usize, random: &mut SmallRng, wrong: Wrong) -> Tree {
    let all: Vec<&str> = split(text);
    let one = (*all.choose(random).expect("an alternative")).trim();
    if let Some(pool) = one.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        let found = POOLS.iter().find(|(name, _)| *name == pool);
        return alternative(
            found.unwrap_or_else(|| panic!("no pool {pool}")).1,
            depth,
            random,
            wrong,
        );
    }
    let inside = |open, close| one.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    if let Some(name) = inside('{', '}')
        && BLOCKS.iter().any(|(block, _)| *block == name)
    {
        return block(name, depth + 1, random, wrong);
    }
    if let Some(element) = inside('[', ']')
        && (element.starts_with(['<', '{', '"']) && !element.contains("\" \""))
    {
        let empty = random.random_range(0..10) == 0;
        let size = if empty { 0 } else { random.random_range(1..4) };
        let elements = (0..size).map(|_| {
            let text = if random.random_range(0..2000) < wrong.0 { "<wrong>" } else { element };
            alternative(text, depth + 1, random, wrong)
        });
        return Tree::List(elements.collect());
    }
    match inside('"', '"') {
        Some(text) => Tree::Text(text.to_owned()),
        None => Tree::Raw(one.to_owned()),
    }
}

/// Splits at `|` outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

struct Pen<'a> {
    random: &'a mut SmallRng,
    files: Files,
    /// Variables at the top of the file.
    definitions: String,
}

impl Pen<'_> {
    fn chance(&mut self, in_a_thousand: u32) -> bool {
        self.random.random_range(0..1000) < in_a_thousand
    }

    fn pick<'b>(&mut self, of: &[&'b str]) -> &'b str {
        of.choose(self.random).expect("something to choose from")
    }

    fn entry(&mut self, key: &str, value: &Tree, depth: usize) -> String {
        let indent = " ".repeat(2 * depth + usize::from(self.chance(50)));
        let key = match self.random.random_range(0..20) {
            0 if !key.contains('"') => format!("\"{key}\""),
            1 if !key.contains('"') => format!("'{key}'"),
            _ => key.to_owned(),
        };
        let separator = self.pick(&[": ", ": ", " = ", " ", ":", "=", " :  "]);
        let value = self.value(value, depth);
        let end =
            self.pick(&["\n", "\n", "\n", ",\n", ";\n", " # why\n", " // why\n", "\n\n", "\r\n"]);
        let before = if self.chance(30) { "# a comment { \"\n" } else { "" };
        format!("{before}{indent}{key}{separator}{value}{end}")
    }

    fn value(&mut self, value: &Tree, depth: usize) -> String {
        if self.chance(12) && !matches!(value, Tree::Raw(raw) if raw.starts_with('$')) {
            return self.variable(value, depth);
        }
        match value {
            Tree::Raw(raw) => raw.clone(),
            Tree::Text(text) => self.text(text),
            Tree::List(elements) => {
                let elements: Vec<_> =
                    elements.iter().map(|element| self.value(element, depth + 1)).collect();
                match self.random.random_range(0..4) {
                    0 => format!("[\n{}\n]", elements.join("\n")),
                    1 => format!("[ {} ]", elements.join(",\n")),
                    _ => format!("[ {} ]", elements.join(", ")),
                }
            }
            Tree::Map(entries) => {
                let entries: String =
                    entries.iter().map(|(key, value)| self.entry(key, value, depth + 1)).collect();
                format!("{{\n{entries}{}}}", " ".repeat(2 * depth))
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        match self.random.random_range(0..10) {
            0..3 if bare => text.to_owned(),
            3 => format!("'{text}'"),
            4 => {
                let at = text.char_indices().nth(1).map_or(text.len(), |(at, _)| at);
                let (first, rest) = text.split_at(at);
                let first: String = first.bytes().map(|b| format!("\\x{b:02x}")).collect();
                format!("\"{first}{rest}\"")
            }
            _ => format!("\"{text}\""),
        }
    }

    fn variable(&mut self, value: &Tree, depth: usize) -> String {
        let name = format!("TWIN_{}", self.random.random_range(0..1_000_000));
        let text = self.value(value, depth);
        // Of the environment the stock server understands plain values alone.
        if matches!(value, Tree::Map(_) | Tree::List(_)) || self.chance(500) {
            self.definitions.push_str(&format!("{name}: {text}\n"));
        } else {
            self.files.variables.push((name.clone(), text));
        }
        format!("${name}")
    }
}

/// Changes, drops, doubles or swaps a few bytes.
pub fn spoil(text: &str, random: &mut SmallRng) -> String {
    const BYTES: &[u8] = b"{}[]()\"'#/\\:=,; \n\r\t$a1.-%\0";
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        let byte = *BYTES.choose(random).expect("bytes");
        match random.random_range(0..4) {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, byte),
            _ => bytes.truncate(bytes.len().saturating_sub(random.random_range(1..40))),
        }
    }
    // The grammar is about text; other bytes are looked at elsewhere.
    String::from_utf8_lossy(&bytes).into_owned()
}
