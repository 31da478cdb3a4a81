//! A client as services of other accounts see it.

use serde::Serialize;

use crate::node::Node;
use crate::protocol::info::to_go_json;
use crate::registry::ClientEntry;
use crate::router::Asker;

/// The publishing client as services of other accounts see it.
pub(super) struct Requester<'a> {
    pub(super) entry: &'a ClientEntry,
    pub(super) node: &'a Node,
}

impl Asker for Requester<'_> {
    fn describe(&self, account: &str, share: bool) -> String {
        let rtt = self.entry.vitals.rtt_nanos();
        if !share {
            return to_go_json(&RequestInfo { acc: account, rtt, ..RequestInfo::default() });
        }
        let about = self.entry.about();
        let name = &self.node.identity.name;
        let config = self.node.config();
        to_go_json(&RequestInfo {
            start: &self.entry.vitals.started.to_string(),
            host: &self.entry.peer.ip().to_canonical().to_string(),
            id: self.entry.id,
            acc: account,
            user: &about.user,
            name: &about.name,
            lang: &about.lang,
            ver: &about.version,
            rtt,
            server: name,
            cluster: config.cluster_name.as_deref().unwrap_or_default(),
            kind: "Client",
            client_type: "nats",
        })
    }
}

/// The JSON of `Nats-Request-Info`, keys in nats-server's order.
#[derive(Default, Serialize)]
struct RequestInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    start: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    id: u64,
    acc: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ver: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    rtt: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    server: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_type: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
