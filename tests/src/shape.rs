//! The shape of JSON documents: which keys, and values of which type. Values themselves, and the
//! number of elements of an array, do not matter.

use serde_json::{Map, Value};

/// The shape of a document: objects keep their keys, an array becomes one element that has all
/// keys of all elements, a value becomes the name of its type.
pub fn of(document: &Value) -> Value {
    match document {
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), of(value))).collect())
        }
        Value::Array(items) => {
            let merged = items.iter().map(of).reduce(merge);
            Value::Array(merged.into_iter().collect())
        }
        Value::String(_) => "string".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => "null".into(),
    }
}

fn merge(a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut merged: Vec<(String, Value)> = a.into_iter().collect();
            // A key that is new stands behind the one that it follows: then it does not matter
            // which element came first.
            let mut next = 0;
            for (key, value) in b {
                match merged.iter().position(|(known, _)| *known == key) {
                    Some(place) => {
                        merged[place].1 = merge(merged[place].1.take(), value);
                        next = place + 1;
                    }
                    None => {
                        merged.insert(next, (key, value));
                        next += 1;
                    }
                }
            }
            Value::Object(merged.into_iter().collect())
        }
        // Lists of different elements say together what an element may have.
        (Value::Array(a), Value::Array(b)) => {
            Value::Array(a.into_iter().chain(b).reduce(merge).into_iter().collect())
        }
        (a, _) => a,
    }
}

/// What `actual` lacks of the shape `wanted`, one line for each key; more keys are no fault.
pub fn lacks(wanted: &Value, actual: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    compare("", wanted, actual, &mut faults);
    faults
}

fn compare(path: &str, wanted: &Value, actual: &Value, faults: &mut Vec<String>) {
    match (wanted, actual) {
        (Value::Object(wanted), Value::Object(actual)) => {
            for (key, value) in wanted {
                let path = format!("{path}.{key}");
                match actual.get(key) {
                    Some(other) => compare(&path, value, other, faults),
                    None => faults.push(format!("{path} is missing")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(actual)) => {
            if let Some(wanted) = wanted.first() {
                match actual.first() {
                    Some(actual) => compare(&format!("{path}[]"), wanted, actual, faults),
                    None => faults.push(format!("{path} is empty")),
                }
            }
        }
        (wanted, actual) if wanted == actual => {}
        (wanted, actual) => faults.push(format!("{path} is {actual}, not {wanted}")),
    }
}

/// Whether two shapes are the same, order of keys included; one line for each difference.
pub fn differences(wanted: &Value, actual: &Value) -> Vec<String> {
    let mut faults = lacks(wanted, actual);
    faults.extend(lacks(actual, wanted).into_iter().map(|fault| format!("too much: {fault}")));
    order("", wanted, actual, &mut faults);
    faults
}

fn order(path: &str, wanted: &Value, actual: &Value, faults: &mut Vec<String>) {
    match (wanted, actual) {
        (Value::Object(wanted), Value::Object(actual)) => {
            let common = |one: &Map<String, Value>, other: &Map<String, Value>| -> Vec<String> {
                one.keys().filter(|key| other.contains_key(*key)).cloned().collect()
            };
            let (first, second) = (common(wanted, actual), common(actual, wanted));
            if first != second {
                faults.push(format!("{path} has the order {second:?}, not {first:?}"));
            }
            for (key, value) in wanted {
                if let Some(other) = actual.get(key) {
                    order(&format!("{path}.{key}"), value, other, faults);
                }
            }
        }
        (Value::Array(wanted), Value::Array(actual)) => {
            if let (Some(wanted), Some(actual)) = (wanted.first(), actual.first()) {
                order(&format!("{path}[]"), wanted, actual, faults);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shape_forgets_values_and_merges_elements() {
        let shape = of(&json!({"a": 1, "b": [{"x": "1"}, {"y": true}], "c": []}));
        assert_eq!(shape, json!({"a": "number", "b": [{"x": "string", "y": "bool"}], "c": []}));
    }

    #[test]
    fn lists_within_elements_are_merged() {
        let shape = of(&json!([{"a": [{"x": 1}]}, {"a": []}, {"a": [{"y": 2}]}]));
        assert_eq!(shape, json!([{"a": [{"x": "number", "y": "number"}]}]));
    }

    #[test]
    fn a_missing_key_and_another_type_are_faults_and_more_keys_are_none() {
        let wanted = of(&json!({"a": 1, "b": {"c": "x"}, "d": [{"e": 1}]}));
        assert_eq!(
            lacks(&wanted, &of(&json!({"a": 2, "b": {"c": ""}, "d": [{"e": 3}], "z": 1}))),
            [""; 0]
        );
        let actual = of(&json!({"a": "2", "b": {}, "d": []}));
        assert_eq!(
            lacks(&wanted, &actual),
            [".a is \"string\", not \"number\"", ".b.c is missing", ".d is empty",]
        );
    }

    #[test]
    fn more_keys_and_another_order_are_differences() {
        let wanted = of(&json!({"a": 1, "b": 2}));
        assert_eq!(differences(&wanted, &wanted), [""; 0]);
        assert_eq!(
            differences(&wanted, &of(&json!({"b": 1, "a": 2, "c": 3}))),
            ["too much: .c is missing", " has the order [\"b\", \"a\"], not [\"a\", \"b\"]"]
        );
    }
}
