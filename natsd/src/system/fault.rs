//! What is wrong with a request, in the words of Go's JSON library.

use serde_json::{Map, Value};

use super::request::BAD_REQUEST;
use crate::monitor::view::ApiError;
use crate::protocol::go_json;

const TEXTS: [&str; 14] = [
    "account",
    "acc",
    "cluster",
    "consumer",
    "domain",
    "filter",
    "filter_subject",
    "host",
    "mqtt_client",
    "name",
    "server_name",
    "stream",
    "test",
    "user",
];
const FLAGS: [&str; 7] = [
    "all",
    "auth",
    "details",
    "exact_match",
    "include_unused",
    "subscriptions",
    "subscriptions_detail",
];

/// Refuses what is JSON but no object; `name` is that of the document.
pub(super) fn of_object(payload: &[u8], name: &str) -> Result<(), ApiError> {
    let kind = match payload.trim_ascii_start().first() {
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'-' | b'0'..=b'9') => "number",
        _ => return Ok(()),
    };
    let options = options_of(name);
    Err(bad(format!("json: cannot unmarshal {kind} into Go value of type server.{options}")))
}

/// Names the option that is of the wrong kind, if that is what is wrong.
pub(super) fn in_go_s_words(error: ApiError, payload: &[u8], name: &str) -> ApiError {
    if error.code != BAD_REQUEST {
        return error;
    }
    let Ok(options) = serde_json::from_slice::<Map<String, Value>>(payload) else { return error };
    let wrong = options.iter().find_map(|(key, value)| {
        let (wanted, fits) = wanted_of(&go_json::in_lower_case(key), value)?;
        (!fits && !value.is_null()).then(|| {
            let (kind, options) = (kind_of(value, wanted), options_of(name));
            format!(
                "json: cannot unmarshal {kind} into Go struct field {options}.{key} of type {wanted}"
            )
        })
    });
    wrong.map_or(error, bad)
}

/// What an option is to be, and whether this is one.
fn wanted_of(key: &str, value: &Value) -> Option<(&'static str, bool)> {
    Some(match key {
        key if TEXTS.contains(&key) => ("string", value.is_string()),
        key if FLAGS.contains(&key) => ("bool", value.is_boolean()),
        "sort" => ("server.SortOpt", value.is_string()),
        "offset" | "limit" => ("int", value.is_i64()),
        "cid" => ("uint64", value.is_u64()),
        "state" => ("server.ConnState", value.is_i64()),
        "duration" => ("time.Duration", value.is_i64()),
        "tags" | "accounts" => ("[]string", value.is_array()),
        _ => return None,
    })
}

/// What a value is. A number that is none of the wanted kind is shown.
fn kind_of(value: &Value, wanted: &str) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(number) if matches!(wanted, "int" | "uint64" | "server.ConnState") => {
            format!("number {number}")
        }
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// `ConnzEventOptions` of `CONNZ`.
fn options_of(name: &str) -> String {
    let capital = |(place, letter): (usize, char)| {
        if place == 0 { letter } else { letter.to_ascii_lowercase() }
    };
    name.char_indices().map(capital).chain("EventOptions".chars()).collect()
}

const fn bad(description: String) -> ApiError {
    ApiError { code: BAD_REQUEST, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_of_the_wrong_kind_is_named() {
        let theirs = || bad("theirs".into());
        for (payload, wanted) in [
            (
                r#"{"state":"closed"}"#,
                "string into Go struct field ConnzEventOptions.state of type server.ConnState",
            ),
            (
                r#"{"limit":1.5}"#,
                "number 1.5 into Go struct field ConnzEventOptions.limit of type int",
            ),
            (
                r#"{"cid":-1}"#,
                "number -1 into Go struct field ConnzEventOptions.cid of type uint64",
            ),
            (r#"{"Auth":1}"#, "number into Go struct field ConnzEventOptions.Auth of type bool"),
        ] {
            let error = in_go_s_words(theirs(), payload.as_bytes(), "CONNZ");
            assert_eq!(error.description, format!("json: cannot unmarshal {wanted}"));
        }
        for payload in [r#"{"auth":true}"#, r#"{"unknown":{}}"#, "{bad"] {
            assert_eq!(in_go_s_words(theirs(), payload.as_bytes(), "CONNZ").description, "theirs");
        }
        let other = ApiError { code: 500, description: "other".into() };
        let same = in_go_s_words(other, br#"{"auth":1}"#, "CONNZ");
        assert_eq!((same.code, same.description.as_str()), (500, "other"));
    }
}
