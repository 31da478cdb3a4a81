//! `mappings { }` of the default account and of others.

use super::entry::{Entry, Report, Rule, read_or};
use super::top::{name, text};
use crate::config::conf::{Place, Value};
use crate::config::subjects::{check_mapping, is_valid};
use crate::config::{Mapping, MappingDestination};

/// Reads mappings; those with an error are left out.
pub(super) fn mappings(entry: Entry<'_>, report: &mut Report<'_>) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let Some(map) = entry.map(report) else { return mappings };
    for (source, node) in map.iter() {
        if !is_valid(source) {
            entry.error(report, format!("Subject {source:?} is not a valid subject"));
            continue;
        }
        let from = Entry { key: source, node };
        let destinations = match from.value() {
            Value::Text(subject) => {
                if let Err(error) = check_mapping(source, subject) {
                    from.error(
                        report,
                        format!("Error adding mapping for {source:?} to {subject:?} : {error}"),
                    );
                    continue;
                }
                vec![MappingDestination { subject: subject.clone(), weight: 100, cluster: None }]
            }
            Value::List(nodes) => nodes
                .iter()
                .filter_map(|node| destination(&node.value, &node.place, report))
                .collect(),
            other => destination(other, &node.place, report).into_iter().collect(),
        };
        let mapping = Mapping { source: source.to_owned(), destinations };
        match mapping.check() {
            Ok(()) => mappings.push(mapping),
            Err(error) => {
                from.error(report, format!("Error adding mapping for {source:?} : {error}"));
            }
        }
    }
    mappings
}

/// A destination as written.
#[derive(Default)]
struct Draft {
    subject: String,
    weight: Option<u8>,
    cluster: Option<String>,
}

fn destination(
    value: &Value,
    place: &Place,
    report: &mut Report<'_>,
) -> Option<MappingDestination> {
    let Value::Map(map) = value else {
        report.error(place, "Expected an entry for the mapping destination");
        return None;
    };
    let mut draft = Draft::default();
    let errors = report.errors.len();
    read_or(map, RULES, &mut draft, report, |entry, report| {
        let key = entry.key;
        entry.error(report, format!("Unknown field {key:?} for mapping destination"));
    });
    if report.errors.len() > errors {
        return None;
    }
    let Some(weight) = draft.weight else {
        let subject = draft.subject;
        report.error(place, format!("Missing weight for mapping destination {subject:?}"));
        return None;
    };
    Some(MappingDestination { subject: draft.subject, weight, cluster: draft.cluster })
}

const RULES: &[Rule<Draft>] = &[
    (&["dest", "destination"], |d, e, r| text(&mut d.subject, e, r)),
    (&["cluster"], |d, e, r| name(&mut d.cluster, e, r)),
    (&["weight"], |d, e, r| {
        let weight = match e.value() {
            Value::Int(number) => *number,
            Value::Text(text) => match text.strip_suffix('%').unwrap_or(text).parse() {
                Ok(number) => number,
                Err(_) => {
                    let shown = text.strip_suffix('%').unwrap_or(text);
                    e.error(r, format!("Invalid weight {shown:?} for mapping destination"));
                    return;
                }
            },
            other => {
                let found = other.shown();
                e.error(r, format!("Unknown entry type for weight of {found}\n"));
                return;
            }
        };
        match u8::try_from(weight) {
            Ok(weight @ 0..=100) => d.weight = Some(weight),
            _ => e.error(r, format!("Invalid weight {weight} for mapping destination")),
        }
    }),
];
