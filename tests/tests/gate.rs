//! Who is let near the door: addresses whose logins fail, proxies that vouch for clients, users
//! who are their certificates, hashes that natsctl made.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blackbox::ctl::natsctl_binary;
use blackbox::eventually;
use blackbox::operator::{Heard, Peer, outcome};
use blackbox::server::{Binary, Setup};
use nkeys::KeyPair;
use serde_json::{Value, json};

const REFUSED: &str = "-ERR 'Authorization Violation'";
const THROTTLED: &str = "-ERR 'Connection throttling is active. Please try again later.'";

/// natsd's own: a stock server has no bound on failed logins.
#[tokio::test]
async fn an_address_that_guesses_is_not_heard_for_a_while() {
    let users = "authorization { users: [ { user: a, password: right } ] }\n";
    let config = format!("{users}failed_logins {{ max: 3, per: \"6s\" }}");
    let server = Setup::new(&Binary::natsd()).config(&config).start().await;
    let address = server.client();
    let (right, wrong) =
        (json!({ "user": "a", "pass": "right" }), json!({ "user": "a", "pass": "wrong" }));
    let mut inside = Peer::dial(address).await;
    inside.connect(right.clone()).await;
    assert_eq!(inside.hear().await, Heard::Line("PONG".into()));
    // Whoever is right may come as often as he likes.
    for _ in 0..10 {
        assert_eq!(outcome(address, right.clone()).await, "PONG");
    }
    // One that connected before the others failed is not judged either.
    let mut early = Peer::dial(address).await;
    for _ in 0..3 {
        assert_eq!(outcome(address, wrong.clone()).await, REFUSED);
    }
    early.connect(right.clone()).await;
    assert_eq!(early.hear().await, Heard::Line(REFUSED.into()));
    assert_eq!(outcome(address, right.clone()).await, THROTTLED);
    assert_eq!(outcome(address, wrong.clone()).await, THROTTLED);
    // Who is in stays in, and after a third of the time the next one is heard.
    assert_eq!(inside.heard().await, []);
    eventually("somebody is heard again", async || {
        (outcome(address, right.clone()).await == "PONG").then_some(())
    })
    .await;
    let log = server.log();
    let said = log.matches("Too many failed logins from 127.0.0.1, more than 3 in 6s").count();
    assert!((1..=2).contains(&said), "{log}");
    // It may be lifted.
    for _ in 0..4 {
        outcome(address, wrong.clone()).await;
    }
    assert_eq!(outcome(address, right.clone()).await, THROTTLED);
    server.reload(users).await;
    assert_eq!(outcome(address, right).await, "PONG");
    for _ in 0..20 {
        assert_eq!(outcome(address, wrong.clone()).await, REFUSED);
    }
}

#[tokio::test]
async fn a_hash_of_natsctl_lets_its_password_in() {
    let mut tool = Command::new(natsctl_binary())
        .args(["passwd", "--cost", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all("pass phräse\n".as_bytes()).unwrap();
    let made = tool.wait_with_output().unwrap();
    assert!(made.status.success());
    let hash = String::from_utf8(made.stdout).unwrap();
    // As the help says: without quotes.
    let config = format!("authorization {{ users: [ {{ user: a, password: {} }} ] }}", hash.trim());
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    for (password, expected) in
        [("pass phräse", "PONG"), ("pass phrase", REFUSED), ("", REFUSED), (hash.trim(), REFUSED)]
    {
        let keys = json!({ "user": "a", "pass": password });
        assert_eq!(outcome(server.client(), keys).await, expected, "{password:?}");
    }
    assert!(!server.log().contains("Plaintext passwords detected"), "{}", server.log());
}

/// A login with the word of a proxy.
async fn through(server: SocketAddr, proxy: Option<&KeyPair>, keys: Value) -> String {
    let mut peer = Peer::dial(server).await;
    let mut keys = keys;
    if let Some(proxy) = proxy {
        let nonce = peer.info["nonce"].as_str().unwrap();
        let signature = proxy.sign(nonce.as_bytes()).unwrap();
        keys["proxy_sig"] = URL_SAFE_NO_PAD.encode(signature).into();
    }
    peer.connect(keys).await;
    peer.answer().await
}

#[tokio::test]
async fn users_come_through_proxies_that_are_trusted() {
    let (trusted, other, key) = (KeyPair::new_user(), KeyPair::new_user(), KeyPair::new_user());
    let config = |proxy: &KeyPair| {
        format!(
            "proxies {{ trusted: [ {{ key: {} }} ] }}\n\
             authorization {{ users: [\n\
             {{ user: far, password: p, proxy_required: true }}\n\
             {{ user: near, password: p }}\n\
             {{ nkey: {}, proxy_required: true }} ] }}",
            proxy.public_key(),
            key.public_key()
        )
    };
    let server = Setup::new(&Binary::under_test()).config(config(&trusted)).start().await;
    let address = server.client();
    let (far, near) =
        (json!({ "user": "far", "pass": "p" }), json!({ "user": "near", "pass": "p" }));
    for (what, proxy, keys, expected) in [
        ("through the proxy", Some(&trusted), &far, "PONG"),
        ("past it", None, &far, REFUSED),
        ("through another", Some(&other), &far, REFUSED),
        ("who need not", None, &near, "PONG"),
        ("who need not, through it", Some(&trusted), &near, "PONG"),
        ("who need not, through another", Some(&other), &near, REFUSED),
        ("through it, wrong", Some(&trusted), &json!({ "user": "far", "pass": "q" }), REFUSED),
    ] {
        assert_eq!(through(address, proxy, keys.clone()).await, expected, "{what}");
    }
    let mut keyed = Peer::dial(address).await;
    let sig = keyed.signed(&key);
    keyed.connect(json!({ "nkey": key.public_key(), "sig": sig })).await;
    assert_eq!(keyed.hear().await, Heard::Line(REFUSED.into()));

    let mut inside = Peer::dial(address).await;
    let proxy_sig = inside.signed(&trusted);
    inside.connect(json!({ "user": "far", "pass": "p", "proxy_sig": proxy_sig })).await;
    assert_eq!(inside.hear().await, Heard::Line("PONG".into()));
    let connz = server.monitor("/connz").await;
    assert_eq!(connz["connections"][0]["proxy"]["key"], trusted.public_key());
    let reasons = async || {
        let connz = server.monitor("/connz?state=closed").await;
        let all = connz["connections"].as_array().unwrap().clone();
        all.iter().map(|held| held["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (lacking, void) = ("Proxy Required".to_owned(), "Proxy Not Trusted".to_owned());
    eventually("both reasons are listed", async || {
        let reasons = reasons().await;
        (reasons.contains(&lacking) && reasons.contains(&void)).then_some(())
    })
    .await;
    // Its proxy is trusted no more.
    server.reload(&config(&other)).await;
    assert_eq!(inside.hear().await, Heard::Line(REFUSED.into()));
    assert_eq!(inside.hear().await, Heard::Closed);
    assert_eq!(through(address, Some(&other), far).await, "PONG");
}
