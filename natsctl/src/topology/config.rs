//! `server.config`: what is passed through to the server's config file, checked as far as natsctl
//! has a say in it. Whether the server knows a key is the server's to say.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::fields::Check;
use super::size::parse_server_size;
use super::yaml::{Key, Tree, Value};

/// Keys of the server's config file that natsctl sets itself, and what to use instead.
const OWNED: &[(&str, &str)] = &[
    ("server_name", "`name` of the node"),
    ("listen", "`server.client_port`"),
    ("host", "nothing: natsctl chooses the address"),
    ("addr", "nothing: natsctl chooses the address"),
    ("net", "nothing: natsctl chooses the address"),
    ("port", "`server.client_port`"),
    ("http", "`server.monitor_port`"),
    ("http_port", "`server.monitor_port`"),
    ("monitor_port", "`server.monitor_port`"),
    ("https", "`server.monitor_port`"),
    ("https_port", "`server.monitor_port`"),
    ("debug", "`server.log: debug`"),
    ("trace", "`server.log: trace`"),
    ("logtime_utc", "nothing: logs of all nodes are merged by UTC time"),
    ("log_file", "nothing: `natsctl logs` knows where they are"),
    ("logfile", "nothing: `natsctl logs` knows where they are"),
    ("pid_file", "nothing: natsctl keeps track of the process"),
    ("pidfile", "nothing: natsctl keeps track of the process"),
    ("http_base_path", "nothing: natsctl asks for monitoring at `/`"),
];
const OWNED_IN_CLUSTER: &[(&str, &str)] = &[
    ("name", "`name` of the cluster"),
    ("listen", "`server.cluster_port`"),
    ("host", "nothing: natsctl chooses the address"),
    ("port", "`server.cluster_port`"),
    ("routes", "`nodes`"),
];

type Pairs = [(Key, Rc<Tree>)];

impl Check {
    pub(super) fn config(&mut self, tree: &Tree) -> Map<String, Json> {
        let Value::Map(pairs) = &tree.value else {
            let text = format!("`config` must be a mapping, not {}", tree.kind());
            self.add(tree.spot, text, Some("directives of the server's config file"));
            return Map::new();
        };
        self.owned(pairs, OWNED);
        for (key, value) in pairs {
            if key.text.eq_ignore_ascii_case("cluster")
                && let Value::Map(pairs) = &value.value
            {
                self.owned(pairs, OWNED_IN_CLUSTER);
                self.route_login(pairs);
            }
        }
        self.settings(pairs, true)
    }

    /// Servers log in to each other with what stands in `cluster.authorization`.
    fn route_login(&mut self, cluster: &Pairs) {
        let is = |key: &Key, words: &[&str]| words.iter().any(|w| key.text.eq_ignore_ascii_case(w));
        let blocks = cluster.iter().filter(|(key, _)| is(key, &["authorization"]));
        let pairs = blocks.filter_map(|(_, block)| match &block.value {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        });
        for (key, value) in pairs.flatten().filter(|(key, _)| is(key, &["password", "pass"])) {
            if let Value::Scalar { text, .. } = &value.value
                && is_hash(text)
            {
                let text = format!("`{}` of the cluster is a bcrypt hash", key.text);
                self.add(
                    value.spot,
                    text,
                    Some("servers log in to each other by it: give it plain"),
                );
            }
        }
    }

    fn owned(&mut self, pairs: &Pairs, owned: &[(&str, &str)]) {
        for (key, _) in pairs {
            let found = owned.iter().find(|(name, _)| key.text.eq_ignore_ascii_case(name));
            if let Some((_, instead)) = found {
                let text = format!("`{}` is set by natsctl", key.text);
                self.add(key.spot, text, Some(&format!("use {instead}")));
            }
        }
    }

    /// A mapping's settings. `words`: its keys are words of the server, which reads them in any
    /// case; natsctl keeps them in lower case. Elsewhere they may be names, of accounts say.
    fn settings(&mut self, pairs: &Pairs, words: bool) -> Map<String, Json> {
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut settings = Map::new();
        for (key, value) in pairs {
            let name = if words { key.text.to_ascii_lowercase() } else { key.text.clone() };
            if let Some(line) = lines.insert(name.clone(), key.spot.line) {
                let text = format!("`{}` is given twice; the first is in line {line}", key.text);
                self.add(key.spot, text, Some("keep one"));
            }
            let value = self.setting(&name.to_ascii_lowercase(), value);
            settings.insert(name, value);
        }
        settings
    }

    fn setting(&mut self, key: &str, tree: &Tree) -> Json {
        match &tree.value {
            Value::Map(pairs) => {
                let words = ["cluster", "authorization"].contains(&key);
                self.settings(pairs, words).into()
            }
            Value::List(items) => items.iter().map(|item| self.setting("", item)).collect(),
            Value::Scalar { text, plain: true } if is_size(key) => {
                parse_server_size(text).map_or_else(|| tree.to_json(), Json::from)
            }
            Value::Scalar { .. } => tree.to_json(),
        }
    }
}

/// Whether a server compares a password with this by bcrypt: `$2a$11$...`.
pub(crate) fn is_hash(secret: &str) -> bool {
    match secret.as_bytes() {
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', cost @ ..] => {
            matches!(cost, [a, b, b'$', ..] if a.is_ascii_digit() && b.is_ascii_digit())
        }
        _ => false,
    }
}

/// Whether `2M` without quotes is a number there, as it is in the server's own file. Not decided
/// by the value alone: `2m` is two minutes in `ping_interval`, and may be somebody's password.
fn is_size(key: &str) -> bool {
    key.starts_with("max_")
        || key.ends_with("_limit")
        || key.ends_with("_bytes")
        // JetStream's, of the server and of an account.
        || ["mem", "memory", "store", "disk"].contains(&key)
        // Of a user's or an account's limits.
        || ["subs", "data", "payload"].contains(&key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::file::parse;
    use crate::topology::problem::Problems;

    fn config(text: &str) -> Result<Json, Problems> {
        let text = text.replace('\n', "\n    ");
        let text = format!(
            "version: 1\nname: demo\nprovider: local\nserver:\n  config:\n    {text}\n\
             nodes: [{{name: node1}}]\n"
        );
        parse(&text, Path::new("cluster.yaml"), None).map(|topology| topology.server.config.into())
    }

    #[test]
    fn a_size_without_quotes_is_a_number_where_the_server_takes_sizes() {
        let got = config(
            "max_payload: 2MB\nMax_Control_Line: 4k\nmax_pending: \"64MB\"\nping_interval: 2m\n\
             jetstream: {max_mem: 1GiB}\nauthorization: {user: 1k, password: 2m}",
        );
        let want = serde_json::json!({
            "max_payload": 2 << 20, "max_control_line": 4000, "max_pending": "64MB",
            "ping_interval": "2m", "jetstream": {"max_mem": 1 << 30},
            "authorization": {"user": "1k", "password": "2m"},
        });
        assert_eq!(got.unwrap(), want);
    }

    #[test]
    fn natsctls_own_keys_and_doubles_are_found_in_any_case() {
        insta::assert_snapshot!(
            config(
                "max_payload: 1\nMax_Payload: 2\nServer_Name: boss\nhttp_base_path: /nats\n\
                 Cluster: {Name: zzz, pool_size: 1, pool_size: 2}"
            )
            .unwrap_err()
        );
    }

    #[test]
    fn the_login_of_servers_is_no_hash() {
        let login = |password: &str| {
            config(&format!("cluster: {{Authorization: {{user: r, Password: {password}}}}}"))
        };
        assert!(login("plain").is_ok());
        insta::assert_snapshot!(login("$2a$11$abcdefghijklmnopqrstuu").unwrap_err());
    }

    #[test]
    fn accounts_may_differ_by_case_but_not_be_given_twice() {
        assert!(config("accounts: {A: {}, a: {}}").is_ok());
        assert!(config("accounts: {A: {}, A: {}}").is_err());
    }
}
