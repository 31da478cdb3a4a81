//! A client as services of other accounts see it.

use std::time::Duration;

use serde::Serialize;

use crate::auth::Proof;
use crate::node::Node;
use crate::protocol::go_json;
use crate::registry::ClientEntry;
use crate::router::Asker;

/// The publishing client as services of other accounts see it.
pub(super) struct Requester<'a> {
    pub(super) entry: &'a ClientEntry,
    pub(super) node: &'a Node,
}

impl Asker for Requester<'_> {
    fn rtt(&self) -> Duration {
        Duration::from_nanos(self.entry.vitals.rtt_nanos())
    }

    fn describe(&self, account: &str, share: bool) -> String {
        let rtt = self.entry.vitals.rtt_nanos();
        if !share {
            return go_json::encode(&RequestInfo { acc: account, rtt, ..RequestInfo::default() });
        }
        let about = self.entry.about();
        let name = &self.node.identity.name;
        let config = self.node.config();
        let identity = about.identity.as_ref();
        let grant = identity.and_then(|identity| identity.grant.as_deref());
        let by_key = identity.is_some_and(|identity| identity.proof == Proof::Nkey);
        let issuer_key = match grant {
            Some(grant) => &grant.issuer_key,
            None if by_key => account,
            None => "",
        };
        go_json::encode(&RequestInfo {
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
            jwt: grant.map(|grant| grant.jwt.expose()).unwrap_or_default(),
            issuer_key,
            name_tag: grant.map(|grant| grant.name.as_str()).unwrap_or_default(),
            tags: grant.map(|grant| grant.tags.as_slice()).unwrap_or_default(),
            kind: "Client",
            client_type: self.entry.transport.client_type(),
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
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    issuer_key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name_tag: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_type: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
