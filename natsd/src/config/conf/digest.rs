//! The fingerprint of a configuration that nats-server shows in `-t`, its log and /varz.
//!
//! Observed: SHA-256 over the parsed top-level map as Go's JSON encoder writes it (keys sorted,
//! `<`, `>`, `&` escaped, a newline at the end), so comments, order and layout do not count.

use sha2::{Digest, Sha256};

use super::value::{Map, Value};

/// Gives `sha256:<hex>` of a parsed configuration.
pub fn digest(map: &Map) -> String {
    let mut json = String::new();
    write_map(&mut json, map);
    json.push('\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(json.as_bytes()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn write_map(out: &mut String, map: &Map) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push('{');
    for (i, (key, node)) in entries.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_text(out, key);
        out.push(':');
        write_value(out, &node.value);
    }
    out.push('}');
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(x) => write_float(out, *x),
        Value::Text(text) | Value::Time(text) => write_text(out, text),
        Value::Map(map) => write_map(out, map),
        Value::List(nodes) => {
            out.push('[');
            for (i, node) in nodes.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(out, &node.value);
            }
            out.push(']');
        }
    }
}

/// Writes a float as ECMAScript does: plain digits, an exponent only for the very small and large.
fn write_float(out: &mut String, x: f64) {
    let size = x.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        out.push_str(&x.to_string());
        return;
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => {
            out.push_str(digits);
            out.push_str("e+");
            out.push_str(power);
        }
        _ => out.push_str(&text),
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
