//! `/`: an index of the documents, for people.

use crate::node::VERSION;

/// Names and paths, as the reference orders them.
const DOCUMENTS: [(&str, &str); 12] = [
    ("General", "varz"),
    ("JetStream", "jsz"),
    ("Connections", "connz"),
    ("Accounts", "accountz"),
    ("Account Stats", "accstatz"),
    ("Subscriptions", "subsz"),
    ("Routes", "routez"),
    ("LeafNodes", "leafz"),
    ("Gateways", "gatewayz"),
    ("Raft Groups", "raftz"),
    ("Health Probe", "healthz"),
    ("Expvar", "debug/vars"),
];

/// The index; `base` is where the documents are, relative to it.
pub(super) fn index(base: &str) -> String {
    let links: String = DOCUMENTS
        .iter()
        .map(|(name, path)| {
            format!("  <a href=.{base}/{path}>{name}<span class=\"path\"> /{path}</span></a>\n")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<title>natsd</title>\n<style>\n  \
         body {{ font-family: system-ui, sans-serif; margin: 2rem }}\n  \
         a {{ display: block; padding-bottom: 6px; color: rgb(72 72 92); text-decoration: none }}\n  \
         a:hover {{ color: rgb(59 50 202) }}\n  \
         .path {{ font: 12px monospace; color: #999 }}\n\
         </style>\n</head>\n<body>\n<h1>natsd</h1>\n<p>v{VERSION}</p>\n{links}</body>\n</html>\n"
    )
}
