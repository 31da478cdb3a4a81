//! Checks of subjects that stand in a configuration: permissions, exports, imports, mappings.

use super::Mapping;
use crate::subject;

/// Tells whether a text is a subject, wildcards included.
pub(crate) fn is_valid(text: &str) -> bool {
    subject::is_valid_pattern(text.as_bytes())
}

/// Tells whether a subject has no wildcard, so that one can publish to it.
pub(crate) fn is_literal(text: &str) -> bool {
    !subject::has_wildcard(text.as_bytes())
}

/// Tells whether every subject that `inner` stands for is one that `outer` stands for.
pub(crate) fn is_subset(inner: &str, outer: &str) -> bool {
    subject::is_subset(inner.as_bytes(), outer.as_bytes())
}

/// Tells whether there is a subject that both stand for.
pub(crate) fn collide(left: &str, right: &str) -> bool {
    subject::overlaps(left.as_bytes(), right.as_bytes())
}

/// The pattern of what a destination with `$1` or `{{wildcard(1)}}` makes.
#[must_use]
pub fn untokenize(destination: &str) -> String {
    let tokens = destination.split('.').map(|token| {
        if token.starts_with('$') && token.len() > 1 || token.starts_with("{{") {
            "*"
        } else {
            token
        }
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// The functions that a mapping's destination may use, lower case.
const FUNCTIONS: [&str; 10] = [
    "wildcard",
    "partition",
    "splitfromleft",
    "splitfromright",
    "slicefromleft",
    "slicefromright",
    "split",
    "left",
    "right",
    "random",
];

/// What one token of a destination does.
enum Part {
    Literal,
    /// Uses these wildcards of the source, by number from 1.
    Uses(Vec<i64>),
    /// Does not look at the source.
    Free,
}

/// Checks the destination of a mapping against its source.
///
/// # Errors
/// In nats-server's words.
pub(crate) fn check_mapping(source: &str, destination: &str) -> Result<(), String> {
    if destination.is_empty() {
        return Ok(());
    }
    let fault = |what: &str, token: &str| format!("invalid mapping destination: {what} in {token}");
    let mut ended = false;
    for token in destination.split('.') {
        if token.is_empty() || ended {
            let place = if token.is_empty() { String::new() } else { format!(" in {token}") };
            return Err(format!("invalid mapping destination: invalid transform{place}"));
        }
        if is_call(token) {
            if call(token).is_none() {
                return Err(fault("unknown function", token));
            }
        } else if token.contains([' ', '\t', '\n', '\r', '\u{c}']) {
            return Err("invalid mapping destination: invalid transform".into());
        }
        ended = token == ">";
    }
    let wildcards = source.split('.').filter(|token| *token == "*").count();
    let open = source.ends_with('>') && source.split('.').next_back() == Some(">");
    if !is_valid(source) || destination.split('.').any(|token| token == "*") || open != ended {
        return Err("invalid subject".into());
    }
    let wild = wildcards > 0 || open;
    for token in destination.split('.') {
        match part(token).map_err(|what| fault(what, token))? {
            Part::Literal | Part::Free => {}
            Part::Uses(list) if wild => {
                let most = i64::try_from(wildcards).unwrap_or(i64::MAX);
                if let Some(index) = list.into_iter().find(|index| *index > most) {
                    let place = format!("{token}: [{index}]");
                    return Err(fault("wildcard index out of range", &place));
                }
            }
            Part::Uses(_) if call(token).is_some_and(|(name, _)| name == "partition") => {}
            Part::Uses(_) => return Err(fault("wildcard index out of range", token)),
        }
    }
    Ok(())
}

/// What is wrong with a mapping, in nats-server's words.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct MappingFault {
    /// The destination that it is about, if it is about that alone.
    pub destination: Option<String>,
    /// What is wrong.
    pub text: String,
}

impl Mapping {
    /// Checks destinations and weights.
    ///
    /// # Errors
    /// At the first fault.
    pub fn check(&self) -> Result<(), MappingFault> {
        for (i, destination) in self.destinations.iter().enumerate() {
            let subject = &destination.subject;
            let fault = |text: String| Err(MappingFault { destination: None, text });
            let before = self.destinations.get(..i).unwrap_or_default();
            if before.iter().any(|other| other.subject == *subject) {
                return fault(format!("duplicate entry for {subject:?}"));
            }
            let of_cluster = before.iter().filter(|other| other.cluster == destination.cluster);
            let total: u32 = of_cluster.map(|other| u32::from(other.weight)).sum();
            if total + u32::from(destination.weight) > 100 {
                return fault("total weight needs to be <= 100".into());
            }
            check_mapping(&self.source, subject)
                .map_err(|text| MappingFault { destination: Some(subject.clone()), text })?;
        }
        Ok(())
    }
}

fn is_call(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// Takes `{{ name(arguments) }}` apart.
fn call(token: &str) -> Option<(String, &str)> {
    let inside = token.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let (name, rest) = inside.split_once('(')?;
    let name = name.trim_end().to_ascii_lowercase();
    let arguments = rest.strip_suffix(')')?;
    FUNCTIONS.contains(&name.as_str()).then_some((name, arguments))
}

fn part(token: &str) -> Result<Part, &'static str> {
    const INVALID: &str = "function argument is invalid or in the wrong format";
    if let Some(index) = token.strip_prefix('$') {
        // Subjects that begin with a dollar are common: only a number makes it a wildcard.
        return Ok(index.parse().map_or(Part::Literal, |index| Part::Uses(vec![index])));
    }
    if !is_call(token) {
        return Ok(Part::Literal);
    }
    let Some((name, arguments)) = call(token) else { return Err("unknown function") };
    let list: Vec<&str> = arguments.split(',').map(str::trim_start).collect();
    let number = |text: &&str| text.trim().parse::<i64>().ok().ok_or(INVALID);
    match (name.as_str(), list.as_slice()) {
        ("wildcard", [""]) => Err("not enough arguments passed to the function"),
        ("wildcard", [index]) => Ok(Part::Uses(vec![number(index)?])),
        ("wildcard", _) => Err("too many arguments passed to the function"),
        ("random", [max]) => number(max).and_then(small).map(|()| Part::Free),
        ("random", _) => Err("not enough arguments passed to the function"),
        ("partition", [buckets, indexes @ ..]) => {
            number(buckets).and_then(small)?;
            let indexes: Result<Vec<i64>, _> = indexes.iter().map(number).collect();
            Ok(Part::Uses(indexes?))
        }
        (_, []) | (_, [_]) => Err("not enough arguments passed to the function"),
        ("split", [index, separator]) if !separator.contains([' ', '.']) => {
            Ok(Part::Uses(vec![number(index)?]))
        }
        ("split", [_, _]) => Err(INVALID),
        (_, [index, count]) => {
            let index = number(index)?;
            number(count).and_then(small)?;
            Ok(Part::Uses(vec![index]))
        }
        _ => Err("too many arguments passed to the function"),
    }
}

fn small(number: i64) -> Result<(), &'static str> {
    match i32::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err("function argument is invalid or in the wrong format"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_checked_as_nats_server_does() {
        let invalid = "invalid mapping destination";
        for (source, destination, text) in [
            ("a.*", "b.$1", ""),
            ("a.*", "b.{{wildcard(1)}}", ""),
            ("a.*.*", "b.{{ Partition(5, 1, 2) }}.{{SplitFromLeft(1,2)}}", ""),
            ("a", "b.{{partition(5)}}.{{random(3)}}", ""),
            ("a.>", "b.>", ""),
            ("a.>", "b", "invalid subject"),
            ("a.*", "b.*", "invalid subject"),
            ("a.*", "b.$2", ": wildcard index out of range in $2: [2]"),
            ("a", "b.$1", ": wildcard index out of range in $1"),
            ("a.*", "b.{{nope(1)}}", ": unknown function in {{nope(1)}}"),
            (
                "a.*",
                "b.{{wildcard()}}",
                ": not enough arguments passed to the function in {{wildcard()}}",
            ),
            (
                "a.*",
                "b.{{split(1)}}",
                ": not enough arguments passed to the function in {{split(1)}}",
            ),
            (
                "a.*",
                "b.{{left(x,1)}}",
                ": function argument is invalid or in the wrong format in {{left(x,1)}}",
            ),
        ] {
            let expected = match text {
                "" => Ok(()),
                text if text.starts_with(':') => Err(format!("{invalid}{text}")),
                text => Err(text.to_owned()),
            };
            assert_eq!(check_mapping(source, destination), expected, "{source} {destination}");
        }
    }
}
