use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{
    CompressionMode, HandshakeFirst, HostPort, Listen, PermissionSubject, ResponseType,
};

/// A file; all others hold a certificate, or so it seems.
struct File(String);

impl Surroundings for File {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("x.conf") {
            return Ok(self.0.clone().into_bytes());
        }
        Err(io::Error::from_raw_os_error(2))
    }
}

fn loaded(text: &str) -> Loaded {
    load_from(Path::new("x.conf"), &File(text.into())).unwrap()
}

fn config(text: &str) -> Config {
    loaded(text).config
}

#[test]
fn an_empty_file_gives_the_defaults_and_a_warning() {
    let loaded = loaded("");
    assert_eq!(loaded.warnings[0].to_string(), "x.conf: config has no values or is empty");
    let defaults = Config { source: loaded.config.source.clone(), ..Config::default() };
    assert_eq!(loaded.config, defaults);
}

#[test]
fn ports_of_zero_and_minus_one_have_their_meaning() {
    assert_eq!(config("port: 0").client.port, 4222);
    assert_eq!(config("port: -1").client.port, 0);
    assert_eq!(config("http: -1").monitor.unwrap().listen.port, 0);
    assert!(config("http_port: 0").monitor.is_none());
    assert!(config("cluster { port: 0, name: c }").cluster.is_none());
    assert_eq!(config("cluster { port: 0, name: c }").cluster_name.as_deref(), Some("c"));
    assert_eq!(config("cluster { listen: -1 }").cluster.unwrap().listen.port, 0);
}

#[test]
fn zeros_mean_the_default() {
    let limits =
        config("max_payload: 0, max_pending: 0, ping_max: 0, write_deadline: \"0s\"").limits;
    assert_eq!(limits, crate::config::Limits::default());
}

#[test]
fn no_connections_can_be_told_from_no_limit() {
    assert_eq!(config("max_connections: 0").limits.max_connections, Some(0));
    assert_eq!(config("max_connections: -1").limits.max_connections, Some(0));
    assert_eq!(config("port: 1").limits.max_connections, Some(65_536));
}

#[test]
fn monitoring_follows_the_client_address() {
    let monitor =
        config("host: 127.0.0.1, http_port: 8222, http_base_path: \"a/b/\"").monitor.unwrap();
    assert_eq!(monitor.listen, Listen { host: "127.0.0.1".into(), port: 8222 });
    assert_eq!(monitor.base_path, "/a/b");
    assert_eq!(config("http: 8222").monitor.unwrap().base_path, "");
    assert_eq!(config("http: \"h:1\"").monitor.unwrap().listen.host, "h");
}

#[test]
fn what_ends_the_start_later_is_kept_for_then() {
    let refusals = config("http: 1, https: 2, client_advertise: \"a:b:c\"").refusals;
    assert_eq!(
        refusals,
        [
            "Error setting server INFO with ClientAdvertise value of a:b:c, err=address a:b:c: too many colons in address",
            "Can't start monitoring: can't specify both HTTP (1) and HTTPs (2) ports",
            "Can't start monitoring: TLS cert and key required for HTTPS",
        ]
    );
}

#[test]
fn a_cluster_is_read_in_full() {
    let cluster = config(
        "cluster {
            name: C, listen: \"127.0.0.1:6222\", advertise: me, no_advertise: true
            authorization { user: r, password: s, timeout: 1.5 }
            routes: [ nats-route://r:s%40@h1:6222, nats://h2 ]
            connect_retries: 3, connect_backoff: true, pool_size: -1, ping_interval: 60
            permissions { import: \"a.>\", export { deny: [ b ] } }
            compression: { mode: auto, rtt_thresholds: [ 1ms, 0s ] }
            write_deadline: 3s, dead_peer_timeout: 4s, start_gate: 5s
        }",
    )
    .cluster
    .unwrap();
    assert_eq!(cluster.advertise, Some(HostPort { host: "me".into(), port: 0 }));
    assert_eq!(cluster.routes[0].credentials, Some(("r".into(), "s@".into())));
    assert_eq!((cluster.routes[1].host.as_str(), cluster.routes[1].port), ("h2", 6222));
    assert_eq!(cluster.authorization.as_ref().unwrap().timeout, Duration::from_millis(1500));
    assert_eq!(cluster.pool_size, None);
    assert_eq!(cluster.ping_interval, Some(Duration::from_secs(30)));
    assert_eq!(cluster.permissions.import.unwrap().allow.unwrap()[0].subject, "a.>");
    assert_eq!(cluster.permissions.export.unwrap().allow, None);
    assert_eq!(cluster.compression.mode, CompressionMode::Auto);
    assert_eq!(cluster.compression.rtt_thresholds, [Duration::from_millis(1)]);
    assert_eq!(cluster.dead_peer_timeout, Some(Duration::from_secs(4)));
    assert_eq!(cluster.start_gate, Some(Duration::from_secs(5)));
}

#[test]
fn permissions_tell_everything_from_nothing() {
    let auth = config(
        "authorization {
            default_permissions { publish: a }
            users: [
                { user: u1 }
                { user: u2, permissions { subscribe: [ \"b q\" ], allow_responses: true } }
                { user: u3, permissions { publish { allow: [] }, allow_responses { max: -1, expires: \"-1s\" } } }
            ]
        }",
    )
    .auth;
    let of = |name: &str| {
        auth.users.iter().find(|user| user.name == name).unwrap().permissions.clone().unwrap()
    };
    assert_eq!(of("u1").publish.unwrap().allow.unwrap()[0].subject, "a");
    let u2 = of("u2");
    assert_eq!(u2.publish.unwrap().allow, Some(Vec::new()));
    assert_eq!(
        u2.subscribe.unwrap().allow.unwrap(),
        [PermissionSubject { subject: "b".into(), queue: Some("q".into()) }]
    );
    let responses = of("u3").responses.unwrap();
    assert_eq!((responses.max, responses.expires), (None, None));
}

#[test]
fn accounts_are_read_in_full() {
    let config = config(
        "accounts {
            A { users: [ { user: a, password: p } ], default_permissions { publish: x }
                exports: [
                    { service: help, response_type: stream, response_threshold: \"1s\", accounts: [ B ] }
                    { service: lat, latency: { sampling: headers, subject: l } }
                    { stream: \"ev.>\" }
                ] }
            B { imports: [
                    { service: { account: A, subject: help }, to: hilfe, share: true }
                    { stream: { account: A, subject: \"ev.>\" }, prefix: a }
                ]
                limits { max_connections: 5, max_subs: -1 }
                mappings { foo: bar, \"w.*\": [ { dest: \"v.$1\", weight: 50%, cluster: C } ] }
                msg_trace { dest: t, sampling: \"5%\" } }
        }",
    );
    let [a, b] = config.accounts.as_slice() else { panic!("{config:?}") };
    assert_eq!(config.auth.users[0].account.as_deref(), Some("A"));
    assert!(config.auth.users[0].permissions.is_some());
    assert_eq!(a.service_exports[0].response_type, ResponseType::Stream);
    assert_eq!(a.service_exports[0].accounts, ["B"]);
    assert_eq!(a.service_exports[1].latency.as_ref().unwrap().sampling, None);
    assert_eq!(a.stream_exports[0].subject, "ev.>");
    assert_eq!(b.service_imports[0].to, "hilfe");
    assert!(b.service_imports[0].share);
    assert_eq!(b.stream_imports[0].prefix.as_deref(), Some("a"));
    assert_eq!((b.limits.max_connections, b.limits.max_subscriptions), (Some(5), None));
    assert_eq!(b.mappings[1].destinations[0].weight, 50);
    assert_eq!(b.trace.as_ref().unwrap().sampling, 5);
}

#[test]
fn an_imported_stream_has_a_prefix_or_another_name() {
    // Observed: nats-server says so or not, as the order of its map has it.
    let text = "accounts { B { exports: [ { stream: x } ] }
        A { imports: [ { stream: { account: B, subject: x }, prefix: p, to: t } ] } }";
    let problems = load_from(Path::new("x.conf"), &File(text.into())).unwrap_err();
    let text = "x.conf:2:73: Stream import can not have a 'prefix' and a 'to' property";
    assert_eq!(problems[0].to_string(), text);
}

#[test]
fn tls_is_read_in_full() {
    let tls = config(
        "tls { ca_file: \"\", verify_and_map: true, timeout: 0.5, handshake_first: auto
               min_version: \"1.3\", curve_preferences: [ X25519 ], connection_rate_limit: 10
               pinned_certs: [ 7F83B1657FF1FC53B92DC18148A1D65DFC2D4B1FA3D677284ADDD200126D9069 ] }",
    )
    .tls
    .unwrap();
    assert!(tls.verify && tls.verify_and_map);
    assert_eq!(tls.timeout, Duration::from_millis(500));
    assert_eq!(tls.handshake_first, HandshakeFirst::Fallback(Duration::from_millis(50)));
    assert!(tls.pinned_certs.iter().next().unwrap().starts_with("7f83b165"));
    assert_eq!(tls.connection_rate_limit, Some(10));
}

#[test]
fn tls_makes_the_authentication_timeout_longer() {
    assert_eq!(config("tls { timeout: 3 }").limits.auth_timeout, Duration::from_secs(4));
    assert_eq!(config("port: 1").limits.auth_timeout, Duration::from_secs(2));
}

#[test]
fn features_not_there_yet_are_warned_about_once_each() {
    let text = "jetstream { store_dir: x }\nleafnodes { port: 1 }\ngateway { name: a }\nmqtt { port: 1 }\nstore_dir: y";
    let warnings: Vec<String> = loaded(text).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(
        warnings[1],
        "x.conf:2:1: \"leafnodes\" is not supported by natsd yet and has no effect"
    );
}

#[test]
fn no_route_shows_its_password() {
    for text in [
        "cluster { routes: [ \"nats://u:hunter2@h:port\" ] }",
        "cluster { routes: [ \"u:hunter2@h:1\" ] }",
    ] {
        let problems = load_from(Path::new("x.conf"), &File(text.into())).unwrap_err();
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
    let text =
        "cluster { port: 1, routes: [ \"nats://u:hunter2@h:1\", \"nats://u:hunter2@h:1\" ] }";
    assert!(!format!("{:?}", loaded(text)).contains("hunter2"));
}

/// Keys and values at random, some of which fit together.
fn tree(depth: u32) -> BoxedStrategy<String> {
    let keys: Vec<&str> = "port|listen|http|cluster|name|routes|authorization|users|user|nkey|permissions|publish|allow|\
        deny|allow_responses|max|expires|accounts|A|exports|imports|stream|service|account|subject|latency|sampling|\
        mappings|dest|weight|tls|verify|timeout|certs|pinned_certs|websocket|headers|resolver|type|dir|operator|\
        server_tags|compression|rtt_thresholds|ping_interval|jetstream|leafnodes|remotes|limits|proxies|trusted|key|\
        no_auth_user|auth_callout|issuer|auth_users|msg_trace|max_payload|max_pending|lame_duck_duration|strict"
        .split('|')
        .collect();
    let values = "1|-1|99999999999|1.5|true|\"a\"|\"a.b\"|\">\"|\"10s\"|\"-3h\"|\"nats://u:p@h:1\"|\"URL(http://h)\"|[ ]|{ }|MEM|full|\"$1\"";
    let leaf = prop::sample::select(values.split('|').collect::<Vec<_>>()).prop_map(str::to_owned);
    let value = if depth == 0 {
        leaf.boxed()
    } else {
        prop_oneof![
            leaf,
            tree(depth - 1).prop_map(|tree| format!("{{ {tree} }}")),
            prop::collection::vec(tree(depth - 1), 0..3).prop_map(|list| {
                let list: Vec<String> = list.iter().map(|tree| format!("{{ {tree} }}")).collect();
                format!("[ {} ]", list.join(", "))
            }),
        ]
        .boxed()
    };
    prop::collection::vec((prop::sample::select(keys), value), 0..5)
        .prop_map(|list| {
            list.iter().map(|(key, value)| format!("{key}: {value}\n")).collect::<String>()
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_keys_and_values_make_it_panic(text in tree(4)) {
        drop(load_from(Path::new("x.conf"), &File(text)));
    }
}

/// What is wrong with a file, line by line.
fn faults(text: &str) -> Vec<String> {
    let problems = load_from(Path::new("x.conf"), &File(text.into())).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn faults_are_told_in_the_words_of_nats_server() {
    // Observed on nats-server 2.15.1: what `-t` printed for these files.
    for (text, fault) in [
        ("authorization { users: 70000 }", "1:16: Expected users field to be an array, got 70000"),
        (
            "authorization { users: [ 10s ] }",
            "1:25: Expected user entry to be a map/struct, got 10s",
        ),
        (
            "authorization { permissions: true }",
            "1:16: Expected permissions to be a map/struct, got true",
        ),
        (
            "authorization { permissions { publish: [ a, 1.5 ] } }",
            "1:44: Subject in permissions array cannot be cast to string",
        ),
        (
            "accounts { A { msg_trace { dest: a, sampling: 101 } } }",
            "1:36: Ttrace destination sampling value 101 is invalid, needs to be [1..100]",
        ),
        (
            "accounts { A { exports: [ { service: a, latency { sampling: x, subject: b } } ] } }",
            "1:50: Failed to parse latency sample: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "mappings { a: { dest: b, weight: true } }",
            "1:25: Unknown entry type for weight of true\n",
        ),
    ] {
        assert_eq!(faults(text), [format!("x.conf:{fault}")], "{text}");
    }
}

#[test]
fn an_unknown_key_hides_no_missing_one() {
    let text = "authorization { auth_callout { auth_users: [ a ], isuer: b } }";
    assert_eq!(
        faults(text),
        [
            "x.conf:1:50: Unknown field \"isuer\" parsing authorization callout",
            "x.conf:1:50: Authorization callouts require an issuer to be specified",
        ]
    );
}

#[test]
fn a_system_account_must_be_there() {
    let missing = "error resolving system account: account missing";
    for text in ["system_account: S", "system_account: \"$SYS\"", "system: S, resolver: MEMORY"] {
        let found = faults(text);
        assert!(found[0].starts_with("error resolving system account: "), "{found:?}");
    }
    assert_eq!(faults("system_account: S, accounts { A { } }"), [missing]);
    for text in ["system_account: \"$G\"", "system_account: S, accounts { S { } }"] {
        assert!(config(text).system_account.is_some());
    }
}

#[test]
fn a_resolver_alone_asks_nobody_for_credentials() {
    assert!(!config("resolver: MEMORY").requires_auth());
    assert!(config("authorization { token: t }").requires_auth());
}

#[test]
fn the_system_account_is_one_of_those_pinned() {
    let text = "cluster { listen: -1, accounts: [ B, B ] }";
    let fault = "found duplicate account name \"B\" in pinned accounts list [\"B\" \"B\" \"$SYS\"]";
    assert_eq!(faults(text), [fault]);
    assert_eq!(
        faults("cluster { listen: -1, accounts: [ B, B ], compression: weird }"),
        ["unsupported compression mode \"weird\""]
    );
}
