//! Blocks of features that natsd lacks: known, checked for misspelt keys, without effect.

use super::entry::{Entry, Report};
use crate::config::conf::{Map, Value};

/// The keys of a block; behind some of them another block or a list of such.
pub(super) struct Shape {
    keys: &'static [&'static str],
    inside: &'static [(&'static [&'static str], &'static Self)],
}

/// Keys of a block that natsd does not look into.
const ANY: Shape = Shape { keys: &["*"], inside: &[] };

const JETSTREAM: Shape = Shape {
    keys: &[
        "strict",
        "store",
        "store_dir",
        "storedir",
        "sync",
        "sync_interval",
        "max_memory_store",
        "max_mem_store",
        "max_mem",
        "max_file_store",
        "max_file",
        "domain",
        "enable",
        "enabled",
        "key",
        "ek",
        "encryption_key",
        "prev_key",
        "prev_ek",
        "prev_encryption_key",
        "cipher",
        "extension_hint",
        "unique_tag",
        "max_outstanding_catchup",
        "max_buffered_size",
        "max_buffered_msgs",
        "request_queue_limit",
        "info_queue_limit",
        "meta_compact",
        "meta_compact_size",
        "meta_compact_sync",
        "max_concurrent_io",
    ],
    inside: &[
        (
            &["limits"],
            &Shape {
                keys: &[
                    "max_ack_pending",
                    "max_ha_assets",
                    "max_request_batch",
                    "default_max_consumers",
                    "duplicate_window",
                ],
                inside: &[(
                    &["batch"],
                    &Shape {
                        keys: &[
                            "max_inflight_per_stream",
                            "max_inflight_total",
                            "max_msgs",
                            "timeout",
                        ],
                        inside: &[],
                    },
                )],
            },
        ),
        (
            &["tpm"],
            &Shape {
                keys: &["keys_file", "encryption_password", "srk_password", "pcr", "cipher"],
                inside: &[],
            },
        ),
    ],
};

const GATEWAY: Shape = Shape {
    keys: &[
        "name",
        "listen",
        "port",
        "host",
        "net",
        "advertise",
        "connect_retries",
        "connect_backoff",
        "reject_unknown",
        "reject_unknown_cluster",
        "write_deadline",
        "write_timeout",
    ],
    inside: &[
        (&["authorization", "tls"], &ANY),
        (&["gateways"], &Shape { keys: &["name", "url", "urls"], inside: &[(&["tls"], &ANY)] }),
    ],
};

const LEAFNODES: Shape = Shape {
    keys: &[
        "listen",
        "port",
        "host",
        "net",
        "reconnect",
        "reconnect_delay",
        "reconnect_interval",
        "dial_timeout",
        "leafnode_advertise",
        "advertise",
        "no_advertise",
        "min_version",
        "minimum_version",
        "compression",
        "isolate_leafnode_interest",
        "isolate",
        "write_deadline",
        "write_timeout",
    ],
    inside: &[
        (&["tls"], &ANY),
        (
            &["authorization"],
            &Shape {
                keys: &[
                    "user",
                    "username",
                    "pass",
                    "password",
                    "nkey",
                    "timeout",
                    "account",
                    "proxy_required",
                ],
                inside: &[(
                    &["users"],
                    &Shape {
                        keys: &[
                            "user",
                            "username",
                            "pass",
                            "password",
                            "account",
                            "proxy_required",
                        ],
                        inside: &[],
                    },
                )],
            },
        ),
        (
            &["remotes"],
            &Shape {
                keys: &[
                    "no_randomize",
                    "dont_randomize",
                    "url",
                    "urls",
                    "account",
                    "local",
                    "creds",
                    "credentials",
                    "nkey",
                    "seed",
                    "hub",
                    "deny_imports",
                    "deny_import",
                    "deny_exports",
                    "deny_export",
                    "ws_compress",
                    "ws_compression",
                    "websocket_compress",
                    "websocket_compression",
                    "ws_no_masking",
                    "websocket_no_masking",
                    "jetstream_cluster_migrate",
                    "js_cluster_migrate",
                    "isolate_leafnode_interest",
                    "isolate",
                    "request_isolation",
                    "compression",
                    "first_info_timeout",
                    "dial_timeout",
                    "disabled",
                    "ignore_discovered_servers",
                ],
                inside: &[
                    (&["tls"], &ANY),
                    (
                        &["proxy"],
                        &Shape {
                            keys: &["url", "username", "password", "timeout"],
                            inside: &[(&["tls"], &ANY)],
                        },
                    ),
                ],
            },
        ),
    ],
};

const MQTT: Shape = Shape {
    keys: &[
        "listen",
        "port",
        "host",
        "net",
        "no_auth_user",
        "ack_wait",
        "ackwait",
        "js_api_timeout",
        "api_timeout",
        "max_ack_pending",
        "max_pending",
        "max_inflight",
        "js_domain",
        "stream_replicas",
        "consumer_replicas",
        "consumer_memory_storage",
        "consumer_inactive_threshold",
        "consumer_auto_cleanup",
        "reject_qos2_publish",
        "downgrade_qos2_subscribe",
    ],
    inside: &[
        (&["tls"], &ANY),
        (
            &["authorization", "authentication"],
            &Shape {
                keys: &["user", "username", "pass", "password", "token", "timeout"],
                inside: &[],
            },
        ),
    ],
};

const ACCOUNT_JETSTREAM: Shape = Shape {
    keys: &[
        "max_memory",
        "max_mem",
        "mem",
        "memory",
        "max_store",
        "max_file",
        "max_disk",
        "store",
        "disk",
        "max_streams",
        "streams",
        "max_consumers",
        "consumers",
        "max_bytes_required",
        "max_stream_bytes",
        "max_bytes",
        "mem_max_stream_bytes",
        "memory_max_stream_bytes",
        "disk_max_stream_bytes",
        "store_max_stream_bytes",
        "max_ack_pending",
        "cluster_traffic",
    ],
    inside: &[],
};

/// Reads `jetstream` of an account.
pub(super) fn account_jetstream(entry: Entry<'_>, report: &mut Report<'_>) {
    switchable(entry, &ACCOUNT_JETSTREAM, report);
}

/// Reads `jetstream` of the server.
pub(super) fn jetstream(entry: Entry<'_>, report: &mut Report<'_>) {
    switchable(entry, &JETSTREAM, report);
}

/// Reads a block that may be switched off.
fn switchable(entry: Entry<'_>, shape: &Shape, report: &mut Report<'_>) {
    match entry.value() {
        Value::Bool(false) => {}
        Value::Bool(true) => entry.unsupported(report),
        Value::Text(text) => match text.to_lowercase().as_str() {
            "enabled" | "enable" => entry.unsupported(report),
            "disabled" | "disable" => {}
            _ => {
                let wanted = "Expected 'enabled' or 'disabled' for string value";
                entry.error(report, format!("{wanted}, got '{text}'"));
            }
        },
        Value::Map(map) => {
            let off = ["enabled", "enable"].into_iter().filter_map(|key| map.get(key));
            let off = off.into_iter().any(|node| node.value == Value::Bool(false));
            if !off {
                entry.unsupported(report);
            }
            walk(map, shape, report);
        }
        other => {
            let found = other.go_type();
            let wanted = "Expected map, bool or string to define JetStream";
            entry.error(report, format!("{wanted}, got {found}"));
        }
    }
}

pub(super) fn gateway(entry: Entry<'_>, report: &mut Report<'_>) {
    block(entry, "Expected gateway to be a map", &GATEWAY, report);
}

pub(super) fn leafnodes(entry: Entry<'_>, report: &mut Report<'_>) {
    block(entry, "Expected map to define a leafnode", &LEAFNODES, report);
}

pub(super) fn mqtt(entry: Entry<'_>, report: &mut Report<'_>) {
    block(entry, "Expected mqtt to be a map", &MQTT, report);
}

fn block(entry: Entry<'_>, wanted: &str, shape: &Shape, report: &mut Report<'_>) {
    let Value::Map(map) = entry.value() else {
        let found = entry.value().go_type();
        entry.error(report, format!("{wanted}, got {found}"));
        return;
    };
    entry.unsupported(report);
    walk(map, shape, report);
}

/// Looks for keys that nobody knows.
fn walk(map: &Map, shape: &Shape, report: &mut Report<'_>) {
    if shape.keys == ANY.keys {
        return;
    }
    for (key, node) in map.iter() {
        let lower = key.to_lowercase();
        let inside = shape.inside.iter().find(|(names, _)| names.contains(&lower.as_str()));
        if let Some((_, shape)) = inside {
            match &node.value {
                Value::Map(map) => walk(map, shape, report),
                Value::List(nodes) => {
                    for node in nodes {
                        if let Value::Map(map) = &node.value {
                            walk(map, shape, report);
                        }
                    }
                }
                _ => {}
            }
        } else if !shape.keys.contains(&lower.as_str()) && !node.referenced {
            report.error(&node.place, format!("unknown field {key:?}"));
        }
    }
}
