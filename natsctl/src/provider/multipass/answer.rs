//! Reads Multipass's JSON, and only that: unknown keys ignored, every field optional.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::provider::MachineState;

/// One row of `list --format json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: MachineState,
}

/// Instances of everybody, in whatever order. `None` when it is not the JSON we know.
pub(super) fn rows(stdout: &str) -> Option<Vec<Row>> {
    let answer: Value = serde_json::from_str(stdout).ok()?;
    let list = answer.get("list")?.as_array()?;
    let row = |value: &Value| {
        let name = value.get("name")?.as_str()?.to_owned();
        Some(Row { name, state: state(value) })
    };
    Some(list.iter().filter_map(row).collect())
}

/// State and management address of one instance out of `info NAME --format json`.
pub(super) fn details(stdout: &str, name: &str) -> Option<(MachineState, Option<IpAddr>)> {
    let answer: Value = serde_json::from_str(stdout).ok()?;
    let instance = answer.get("info")?.get(name)?;
    Some((state(instance), address(instance)))
}

/// The versions of client and daemon; no daemon version means that it did not answer.
pub(super) fn versions(stdout: &str) -> Option<(String, Option<String>)> {
    let answer: Value = serde_json::from_str(stdout).ok()?;
    let text = |key| answer.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    Some((text("multipass")?, text("multipassd")))
}

/// Major and minor out of `1.16.3`, `1.14.0-rc2`, `1.17.0-dev.306+gfa2b29055`.
pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The first entry is the management address, when it is one at all: `"N/A"` occurs.
fn address(instance: &Value) -> Option<IpAddr> {
    let texts = instance.get("ipv4")?.as_array()?.iter().filter_map(Value::as_str);
    let address = texts.filter_map(|text| text.parse::<Ipv4Addr>().ok()).next()?;
    (!address.is_loopback()).then_some(IpAddr::V4(address))
}

fn state(instance: &Value) -> MachineState {
    match instance.get("state").and_then(Value::as_str).unwrap_or("") {
        // A delayed shutdown is still up; `start` calls it off.
        "Running" | "Delayed Shutdown" | "Delayed shutdown" => MachineState::Running,
        "Starting" | "Restarting" => MachineState::Starting,
        "Stopped" => MachineState::Stopped,
        "Suspended" | "Suspending" => MachineState::Suspended,
        "Deleted" => MachineState::Deleted,
        _ => MachineState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        for (text, expected) in [
            ("1.16.3", Some((1, 16))),
            ("1.14.0-rc2", Some((1, 14))),
            ("1.17.0-dev.306+gfa2b29055", Some((1, 17))),
            ("1.13.1+mac", Some((1, 13))),
            ("unknown", None),
        ] {
            assert_eq!(major_minor(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_none() {
        for (ipv4, expected) in [
            (r#"["10.97.0.76", "172.17.0.1"]"#, Some("10.97.0.76")),
            (r#"["N/A"]"#, None),
            (r#"["127.0.0.1"]"#, None),
            ("[]", None),
        ] {
            let text = format!(r#"{{"info": {{"a": {{"state": "Running", "ipv4": {ipv4}}}}}}}"#);
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(details(&text, "a"), Some((MachineState::Running, expected)), "{ipv4}");
        }
    }

    #[test]
    fn what_is_not_json_is_no_answer() {
        assert_eq!(rows("update available\n"), None);
        assert_eq!(rows("{}"), None);
        assert_eq!(rows(r#"{"list": [{"ipv4": []}]}"#), Some(vec![]));
    }
}
