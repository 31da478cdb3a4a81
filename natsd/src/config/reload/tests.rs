use std::path::Path;

use super::*;
use crate::config::conf::Surroundings;
use crate::config::file::load_from;

struct Text(&'static str);

impl Surroundings for Text {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

fn config(text: &'static str) -> Config {
    load_from(Path::new("x.conf"), &Text(text)).unwrap().config
}

fn messages(old: &'static str, new: &'static str) -> Vec<String> {
    diff(&config(old), &config(new)).unwrap().into_iter().map(|change| change.message).collect()
}

fn refusal(old: &'static str, new: &'static str) -> String {
    diff(&config(old), &config(new)).unwrap_err()
}

#[test]
fn users_and_accounts_count_as_changed_on_every_reload() {
    assert_eq!(
        messages("port: 1", "port: 1"),
        ["Reloaded: authorization users", "Reloaded: accounts"]
    );
}

/// Observed on nats-server 2.15.1, line by line.
#[test]
fn changes_are_told_in_nats_server_s_order_and_words() {
    let new = "cluster { port: -1, name: a, pool_size: 5, compression: s2_fast, routes: [ nats://u:p@127.0.0.1:1 ] }
        max_payload: 1000
        ping_interval: 5s
        authorization { token: x, timeout: 1.5 }
        server_tags: [a,b]
        client_advertise: 'foo:1'
        no_fast_producer_stall: true
        write_deadline: 3s
        max_connections: 0
        debug: true";
    assert_eq!(
        messages("cluster { port: -1, name: a }", new),
        [
            "Reload: client_advertise = foo:1",
            "Reloaded: debug = true",
            "Reloaded: max_connections = -1",
            "Reloaded: authorization users",
            "Reloaded: accounts",
            "Reloaded: authorization token",
            "Reloaded: ping_interval = 5s",
            "Reloaded: authorization timeout = 1.5",
            "Reloaded: max_payload = 1000",
            "Reloaded: fast producers will not be stalled",
            "Reloaded: cluster",
            "Reloaded: cluster routes",
            "Reloaded: write_deadline = 3s",
            "Reloaded: tags",
        ]
    );
}

#[test]
fn what_cannot_change_refuses_the_whole() {
    for (old, new, text) in [
        ("port: 14222", "port: 14333", "Port: old=14222, new=14333"),
        ("", "server_name: a", "ServerName: old=, new=a"),
        ("", "max_subs: 10", "MaxSubs: old=0, new=10"),
        ("", "max_pending: 100MB", "MaxPending: old=67108864, new=104857600"),
        ("http: 8222", "http: 8223", "HTTPPort: old=8222, new=8223"),
        ("", "http: -1", "HTTPPort: old=0, new=-1"),
        ("", "log_size_limit: 1000", "LogSizeLimit: old=0, new=1000"),
        ("", "write_timeout: close", "WriteTimeout: old=, new=close"),
        ("", "lame_duck_duration: 1m", "LameDuckDuration: old=2m0s, new=1m0s"),
        ("", "system_account: X, accounts { X {} }", "SystemAccount: old=, new=X"),
        (
            "cluster { listen: '127.0.0.1:1' }",
            "cluster { listen: 'localhost:1' }",
            "cluster host: old=127.0.0.1, new=localhost",
        ),
        ("", "cluster { listen: '127.0.0.1:1' }", "cluster host: old=, new=127.0.0.1"),
        (
            "no_auth_user: a, authorization { users: [{user: a}] }",
            "no_auth_user: b, authorization { users: [{user: b}] }",
            "NoAuthUser: old=a, new=b",
        ),
    ] {
        let old = if old.is_empty() { "debug: false" } else { old };
        // The lame duck duration is written as a string.
        let new = if new.contains("1m") { "lame_duck_duration: \"1m\"" } else { new };
        assert_eq!(refusal(old, new), format!("config reload not supported for {text}"));
    }
}

#[test]
fn a_port_chosen_by_the_system_stays() {
    assert!(diff(&config("port: 1234"), &config("port: -1")).is_ok());
}

#[test]
fn no_auth_user_may_be_given_up_with_its_user() {
    let old = "no_auth_user: a, authorization { users: [{user: a}] }";
    assert!(diff(&config(old), &config("authorization { users: [{user: b}] }")).is_ok());
    assert!(diff(&config(old), &config("authorization { users: [{user: a}] }")).is_err());
}

#[test]
fn routes_are_told_apart_from_the_cluster_itself() {
    let changes = diff(
        &config("cluster { port: 1, routes: [ nats://a:1, nats://b:1 ] }"),
        &config("cluster { port: 1, routes: [ nats://b:1, nats://c:1 ] }"),
    )
    .unwrap();
    let routes: Vec<_> = changes
        .iter()
        .filter_map(|change| match &change.effect {
            Effect::Routes { add, remove } => Some((add[0].host.as_str(), remove[0].host.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(routes, [("c", "a")]);
    assert!(!changes.iter().any(|change| change.message == "Reloaded: cluster"));
}

#[test]
fn secrets_do_not_show() {
    let text = "authorization { user: u, password: hunter2 }
        cluster { port: -1, authorization { user: r, password: hunter2 }
            routes: [ nats://r:hunter2@h:1 ] }";
    let config = config(text);
    assert!(!format!("{config:?}").contains("hunter2"));
    let changes = diff(&Config::default(), &config);
    assert!(!format!("{changes:?}").contains("hunter2"));
}

#[test]
fn an_address_nobody_can_dial_changes_nothing() {
    let refused = diff(&config("port: 1"), &config("port: 1, client_advertise: \"a:b:c\""));
    let text =
        "invalid ClientAdvertise value of a:b:c, err=address a:b:c: too many colons in address";
    assert_eq!(refused.unwrap_err(), text);
}
