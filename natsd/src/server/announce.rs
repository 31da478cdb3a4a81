//! What a server says of itself when it starts, in nats-server's lines.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::jwt::payload;
use crate::node::{GIT_COMMIT, Node, TOOLCHAIN, VERSION};

pub(super) fn start(node: &Node) {
    let config = node.config();
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  {VERSION}");
    tracing::info!("  Git:      [{}]", GIT_COMMIT.unwrap_or("not set"));
    tracing::debug!("  Go build: {TOOLCHAIN}");
    if let Some(name) = config.cluster.as_ref().and_then(|cluster| cluster.name.as_ref()) {
        tracing::info!("  Cluster:  {name}");
    }
    tracing::info!("  Name:     {}", node.identity.name);
    tracing::info!("  ID:       {}", node.identity.id);
    if node.auth().has_plain_passwords() {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if let Some(source) = &config.source {
        tracing::info!("Using configuration file: {} ({})", source.path.display(), source.digest);
    }
    if !config.operators.jwts.is_empty() {
        trusted(&config.operators.jwts);
        if config.system_account.is_none() {
            tracing::warn!("Trusted Operators should utilize a System Account");
        }
    }
    if config.limits.max_payload > PAYLOAD_COMFORTABLE {
        tracing::warn!(
            "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance"
        );
    }
}

/// Beyond this a payload holds others up for long.
const PAYLOAD_COMFORTABLE: usize = 8 << 20;

fn trusted(operators: &[String]) {
    tracing::info!("Trusted Operators");
    for claims in operators.iter().filter_map(|jwt| payload(jwt)) {
        let text = |key: &str| claims.get(key).and_then(Value::as_str).unwrap_or_default();
        let time = |key: &str| claims.get(key).and_then(Value::as_i64).unwrap_or_default();
        tracing::info!("  System  : {:?}", text("aud"));
        tracing::info!("  Operator: {:?}", text("name"));
        tracing::info!("  Issued  : {}", shown(time("iat")));
        match time("exp") {
            0 => tracing::info!("  Expires : Never"),
            seconds => tracing::info!("  Expires : {}", shown(seconds)),
        }
    }
}

/// Shows a time as Go does.
fn shown(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_date_and_zone() {
        let shown = shown(1_700_000_000);
        assert!(shown.starts_with("2023-11-1") && shown.split(' ').count() == 4, "{shown}");
    }
}
