//! Operator mode: who gets in with which JWT, and what new claims do to those who are in.
//!
//! The same expectations hold for a stock nats-server (`NATSD_UNDER_TEST`). Clusters of both and
//! the official tool need more than cargo and are ignored unless asked for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::process::Command;

use blackbox::eventually;
use blackbox::operator::{
    Draft, Heard, Peer, account, in_memory, now, operator, outcome, outcome_of, unlimited, user,
};
use blackbox::server::{Binary, Server, Setup};
use nkeys::KeyPair;
use rustix::process::Signal;
use serde_json::{Value, json};

const REFUSED: &str = "-ERR 'Authorization Violation'";
const IN: &str = "PONG";

/// Signs the claims of the first version: they alone.
fn first_version(mut draft: Draft, issuer: &KeyPair) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    draft.header = json!({ "typ": "jwt", "alg": "ed25519" });
    draft.claims["iss"] = issuer.public_key().into();
    draft.claims["type"] = draft.claims["nats"]["type"].take();
    draft.claims["nats"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != "type" && key != "version");
    let payload = URL_SAFE_NO_PAD.encode(draft.claims.to_string());
    let header = URL_SAFE_NO_PAD.encode(draft.header.to_string());
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(payload.as_bytes()).unwrap());
    format!("{header}.{payload}.{signature}")
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn only_good_credentials_get_in() {
    let op = KeyPair::new_operator();
    let op_signer = KeyPair::new_operator();
    let (sys, a, b) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let (old, foreign, own, late) = (
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let (signer, scoped, stranger) =
        (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let (u, revoked, other) = (KeyPair::new_user(), KeyPair::new_user(), KeyPair::new_user());
    let template = json!({ "pub": { "allow": ["t.{{name()}}"] }, "subs": 3 });
    let a_jwt = account(
        &a,
        &json!({
            "signing_keys": [
                signer.public_key(),
                { "kind": "user_scope", "key": scoped.public_key(), "role": "r", "template": template },
            ],
            "revocations": { revoked.public_key(): now() },
        }),
    )
    .sign(&op_signer);
    let no_bearer = json!({ "disallow_bearer": true });
    let mut limits = unlimited();
    limits.as_object_mut().unwrap().extend(no_bearer.as_object().unwrap().clone());
    let b_jwt = account(&b, &json!({ "limits": limits, "revocations": { "*": now() } })).sign(&op);
    let past = json!({ "exp": now() - 5 });
    let config = in_memory(
        &operator(&op, &json!({ "signing_keys": [op_signer.public_key()] })),
        &sys,
        &[
            (&sys, &account(&sys, &json!({})).sign(&op)),
            (&a, &a_jwt),
            (&b, &b_jwt),
            (&old, &account(&old, &json!({})).with(&past).sign(&op)),
            (&foreign, &account(&foreign, &json!({})).sign(&KeyPair::new_operator())),
            (&own, &account(&own, &json!({})).sign(&own)),
            (&late, &first_version(account(&late, &json!({})), &op)),
        ],
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let server = server.client();

    let of_a = json!({ "issuer_account": a.public_key() });
    let good = user(&u, &json!({})).sign(&a);
    let mut forged: Vec<String> = good.split('.').map(str::to_owned).collect();
    let fake = user(&u, &json!({ "payload": 5 }));
    let fake = fake.with(&json!({ "iss": a.public_key() })).sign(&stranger);
    let lie = {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut claims = blackbox::operator::claims(&fake);
        claims.insert("iss".into(), a.public_key().into());
        URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
    };
    forged[1] = lie;
    let changed = |standard: Value, nats: Value| user(&u, &nats).with(&standard).sign(&a);
    let plain = |nats: Value| changed(json!({}), nats);
    let scoped_user = || {
        let mut draft = Draft::new("user", &u.public_key()).nats(&of_a);
        draft.claims["name"] = "me".into();
        draft
    };
    let mut unsigned = user(&u, &json!({}));
    unsigned.header = json!({ "typ": "JWT", "alg": "none" });
    let mut strange = user(&u, &json!({}));
    strange.header = json!({ "typ": "JWE", "alg": "ed25519-nkey" });
    let hour = |hours: i64| {
        let seconds = (now() + hours * 3600).rem_euclid(86_400);
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    let times = |from: i64, to: i64| json!({ "times": [{ "start": hour(from), "end": hour(to) }], "times_location": "UTC" });

    let cases: Vec<(&str, String, &str)> = vec![
        ("good", good.clone(), IN),
        ("by a signing key", user(&u, &of_a).sign(&signer), IN),
        ("by a signing key that names no account", user(&u, &json!({})).sign(&signer), REFUSED),
        (
            "of an account that is not expired",
            changed(json!({ "exp": now() + 3600 }), json!({})),
            IN,
        ),
        ("of the first version", first_version(user(&u, &json!({})), &a), IN),
        ("in an account of the first version", user(&u, &json!({})).sign(&late), IN),
        ("by a scoped key", scoped_user().sign(&scoped), IN),
        (
            "by a scoped key, with rights",
            scoped_user().nats(&json!({ "subs": -1 })).sign(&scoped),
            REFUSED,
        ),
        (
            "by a scoped key, with permissions",
            scoped_user().nats(&json!({ "pub": { "allow": [">"] } })).sign(&scoped),
            REFUSED,
        ),
        ("none", String::new(), REFUSED),
        ("no token", "eyJ0.eyJ0".into(), REFUSED),
        ("with a fourth part", format!("{good}.x"), REFUSED),
        ("cut short", good[..good.len() - 4].into(), REFUSED),
        ("forged claims", forged.join("."), REFUSED),
        ("without a signature algorithm", unsigned.sign(&a), REFUSED),
        ("of a strange type", strange.sign(&a), REFUSED),
        ("of a newer version", plain(json!({ "version": 3 })), REFUSED),
        ("of no version", plain(json!({ "version": 0 })), REFUSED),
        ("expired", changed(json!({ "exp": now() - 5 }), json!({})), REFUSED),
        ("not yet valid", changed(json!({ "nbf": now() + 3600 }), json!({})), REFUSED),
        ("by an unknown key", user(&u, &of_a).sign(&stranger), REFUSED),
        ("by an unknown account", user(&u, &json!({})).sign(&stranger), REFUSED),
        ("by another account for this one", user(&u, &of_a).sign(&b), REFUSED),
        ("by the operator", user(&u, &of_a).sign(&op), REFUSED),
        ("by the user itself", user(&u, &of_a).sign(&u), REFUSED),
        ("for another user", user(&other, &json!({})).sign(&a), REFUSED),
        ("of an expired account", user(&u, &json!({})).sign(&old), REFUSED),
        ("of a foreign operator's account", user(&u, &json!({})).sign(&foreign), REFUSED),
        ("of an account that made itself", user(&u, &json!({})).sign(&own), REFUSED),
        ("an account's", a_jwt.clone(), REFUSED),
        ("an operator's", operator(&op, &json!({})), REFUSED),
        ("an activation", Draft::new("activation", &u.public_key()).sign(&a), REFUSED),
        ("of a kind that nobody knows", Draft::new("generic", &u.public_key()).sign(&a), REFUSED),
        ("where all are revoked", user(&u, &json!({})).sign(&b), REFUSED),
        ("from here", plain(json!({ "src": ["10.0.0.0/8", "127.0.0.0/8"] })), IN),
        ("from elsewhere", plain(json!({ "src": ["10.0.0.0/8"] })), REFUSED),
        ("from nowhere", plain(json!({ "src": ["10.0.0.0"] })), REFUSED),
        ("at this hour", plain(times(-1, 1)), IN),
        ("at another hour", plain(times(2, 4)), REFUSED),
        ("at no hour", plain(json!({ "times": [{ "start": "25:00:00", "end": "x" }] })), REFUSED),
        ("in no time zone", plain(json!({ "times_location": "Mars/Olympus" })), REFUSED),
        ("for this connection", plain(json!({ "allowed_connection_types": ["standard"] })), IN),
        ("for another connection", plain(json!({ "allowed_connection_types": ["MQTT"] })), REFUSED),
        (
            "for connections that nobody knows",
            plain(json!({ "allowed_connection_types": ["X"] })),
            REFUSED,
        ),
        ("by way of a proxy", plain(json!({ "proxy_required": true })), REFUSED),
        ("with subjects that are none", plain(json!({ "pub": { "allow": ["a..b"] } })), REFUSED),
        ("with an account that is none", plain(json!({ "issuer_account": "X" })), REFUSED),
    ];
    for (what, jwt, expected) in &cases {
        assert_eq!(outcome_of(server, jwt, &u).await, *expected, "a JWT {what}");
    }
    let jwt = user(&revoked, &json!({})).sign(&a);
    assert_eq!(outcome_of(server, &jwt, &revoked).await, REFUSED, "a revoked user");
    let jwt = user(&revoked, &json!({})).with(&json!({ "iat": now() + 5 })).sign(&a);
    assert_eq!(outcome_of(server, &jwt, &revoked).await, IN, "issued after it was revoked");

    // Signatures.
    let first = Peer::dial(server).await;
    let stolen = first.signed(&u);
    let bearer = plain(json!({ "bearer_token": true }));
    let late_b =
        user(&u, &json!({ "bearer_token": true })).with(&json!({ "iat": now() + 5 })).sign(&b);
    for (what, keys, expected) in [
        ("nothing at all", json!({}), REFUSED),
        ("no signature", json!({ "jwt": good }), REFUSED),
        ("another connection's signature", json!({ "jwt": good, "sig": stolen }), REFUSED),
        ("a signature that is none", json!({ "jwt": good, "sig": "!!!" }), REFUSED),
        ("a user's key without a JWT", json!({ "nkey": u.public_key(), "sig": stolen }), REFUSED),
        ("a name and a password", json!({ "user": "a", "pass": "b" }), REFUSED),
        ("a bearer", json!({ "jwt": bearer }), IN),
        ("a bearer where there are none", json!({ "jwt": late_b }), REFUSED),
    ] {
        assert_eq!(outcome(server, keys).await, expected, "{what}");
    }
    assert_eq!(outcome_of(server, &good, &other).await, REFUSED, "someone else's signature");
}

#[tokio::test]
async fn a_strict_operator_signs_with_signing_keys() {
    let (op, op_signer) = (KeyPair::new_operator(), KeyPair::new_operator());
    let (sys, a, b) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let signer = KeyPair::new_account();
    let keys = json!({ "signing_keys": [signer.public_key()] });
    let config = in_memory(
        &operator(
            &op,
            &json!({ "signing_keys": [op_signer.public_key()], "strict_signing_key_usage": true }),
        ),
        &sys,
        &[
            (&sys, &account(&sys, &json!({})).sign(&op_signer)),
            (&a, &account(&a, &keys).sign(&op_signer)),
            (&b, &account(&b, &json!({})).sign(&op)),
        ],
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let server = server.client();
    let u = KeyPair::new_user();
    let of_a = json!({ "issuer_account": a.public_key() });
    assert_eq!(outcome_of(server, &user(&u, &of_a).sign(&signer), &u).await, IN);
    assert_eq!(outcome_of(server, &user(&u, &json!({})).sign(&a), &u).await, REFUSED);
    assert_eq!(outcome_of(server, &user(&u, &json!({})).sign(&b), &u).await, REFUSED);
}

#[tokio::test]
async fn a_jwt_says_what_its_user_may_do() {
    let op = KeyPair::new_operator();
    let (sys, a, scoped) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let template = json!({
        "pub": { "allow": ["{{name()}}.{{tag(team)}}.x"] },
        "sub": { "allow": ["{{account-name()}}.>", "_INBOX.>"], "deny": ["acme.{{subject()}}"] },
        "subs": 2, "payload": 8,
    });
    let a_jwt = account(
        &a,
        &json!({
            "signing_keys": [{ "kind": "user_scope", "key": scoped.public_key(), "template": template }],
            "default_permissions": { "pub": { "allow": ["d.>"] } },
        }),
    )
    .with(&json!({ "name": "acme" }))
    .sign(&op);
    let sys_jwt = account(&sys, &json!({})).sign(&op);
    let config = in_memory(&operator(&op, &json!({})), &sys, &[(&sys, &sys_jwt), (&a, &a_jwt)]);
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let u = KeyPair::new_user();
    let jwt = Draft::new("user", &u.public_key())
        .with(&json!({ "name": "joe" }))
        .nats(&json!({ "issuer_account": a.public_key(), "tags": ["team:red", "team:blue"] }))
        .sign(&scoped);
    let mut peer = Peer::login(server.client(), &jwt, &u).await;
    let key = u.public_key();
    peer.say(&format!(
        "PUB joe.red.x 0\r\n\r\nPUB joe.blue.x 0\r\n\r\nPUB joe.green.x 0\r\n\r\n\
         SUB acme.a 1\r\nSUB acme.{key} 2\r\nSUB b 3\r\nSUB acme.b 4\r\nSUB acme.c 5\r\n"
    ))
    .await;
    let line = |text: String| Heard::Line(format!("-ERR '{text}'"));
    let expected = [
        line("Permissions Violation for Publish to \"joe.green.x\"".into()),
        line(format!("Permissions Violation for Subscription to \"acme.{key}\"")),
        line("Permissions Violation for Subscription to \"b\"".into()),
        line("maximum subscriptions exceeded".into()),
    ];
    assert_eq!(peer.heard().await, expected);
    peer.say("PUB joe.red.x 9\r\n123456789\r\n").await;
    assert_eq!(peer.hear().await, line("Maximum Payload Violation".into()));
    assert_eq!(peer.hear().await, Heard::Closed);

    // Whoever says nothing has the account's permissions.
    let mut peer = Peer::login(server.client(), &user(&u, &json!({})).sign(&a), &u).await;
    peer.say("PUB d.x 0\r\n\r\nPUB e 0\r\n\r\n").await;
    let refused = line("Permissions Violation for Publish to \"e\"".into());
    assert_eq!(peer.heard().await, [refused]);

    let about = server.monitor("/connz?auth=1").await;
    let about = &about["connections"][0];
    assert_eq!(about["authorized_user"], key);
    assert_eq!(about["account"], a.public_key());
    assert_eq!(about["name_tag"], "acme");
    assert_eq!(about["issuer_key"], a.public_key());
    assert!(about["jwt"].as_str().unwrap().starts_with("eyJ"));
    let detail = server.monitor(&format!("/accountz?acc={}", a.public_key())).await;
    let detail = &detail["account_detail"];
    assert_eq!(detail["jwt"], a_jwt);
    assert_eq!(detail["issuer_key"], op.public_key());
    assert_eq!(detail["decoded_jwt"]["name"], "acme");
    let varz = server.monitor("/varz").await;
    assert_eq!(varz["trusted_operators_claim"][0]["sub"], op.public_key());
}

/// A cluster of servers with full directories, and the keys to it.
struct Full {
    servers: Vec<Server>,
    op: KeyPair,
    sys: KeyPair,
    sys_user: KeyPair,
    sys_user_jwt: String,
    _dirs: Vec<tempfile::TempDir>,
}

impl Full {
    async fn start(binaries: &[Binary]) -> Self {
        let (op, sys, sys_user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let mut servers: Vec<Server> = Vec::new();
        let mut dirs = Vec::new();
        for (index, binary) in binaries.iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let config = format!(
                "operator: \"{}\"\nsystem_account: {}\nresolver {{ type: full, dir: \"{}\", \
                 allow_delete: true, interval: \"1s\" }}\n\
                 resolver_preload {{ {}: \"{}\" }}\n",
                operator(&op, &json!({})),
                sys.public_key(),
                dir.path().display(),
                sys.public_key(),
                account(&sys, &json!({})).sign(&op),
            );
            let mut setup = Setup::new(binary).config(config);
            if binaries.len() > 1 {
                setup = setup.name(&format!("n{index}"));
                let ports: Vec<u16> = servers.iter().map(|server| server.port("cluster")).collect();
                setup = setup.cluster("c", -1).routes(&ports);
            }
            servers.push(setup.start().await);
            dirs.push(dir);
        }
        let sys_user_jwt = user(&sys_user, &json!({})).sign(&sys);
        Self { servers, op, sys, sys_user, sys_user_jwt, _dirs: dirs }
    }

    async fn system(&self, index: usize) -> Peer {
        let server = self.servers[index].client();
        Peer::login(server, &self.sys_user_jwt, &self.sys_user).await
    }

    /// Tells a server of an account.
    async fn push(&self, peer: &mut Peer, jwt: &str) {
        let answer = peer.ask("$SYS.REQ.CLAIMS.UPDATE", jwt.as_bytes()).await;
        assert_eq!(answer["data"]["code"], 200, "{answer}");
    }
}

/// Claims of an account as they come a moment later than earlier ones.
fn newer(draft: Draft) -> Draft {
    draft.with(&json!({ "iat": now() }))
}

#[tokio::test]
async fn new_claims_change_those_who_are_in() {
    let full = Full::start(&[Binary::under_test()]).await;
    let server = full.servers[0].client();
    let mut sys = full.system(0).await;
    let (a, signer, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let jwt = user(&u, &json!({})).sign(&a);
    assert_eq!(outcome_of(server, &jwt, &u).await, REFUSED, "nobody knows the account");
    let keys = json!({ "signing_keys": [signer.public_key()] });
    full.push(&mut sys, &account(&a, &keys).sign(&full.op)).await;

    let mut first = Peer::login(server, &jwt, &u).await;
    let by_signer = user(&u, &json!({ "issuer_account": a.public_key() })).sign(&signer);
    let mut second = Peer::login(server, &by_signer, &u).await;
    // The signing key goes: so does who came by it.
    full.push(&mut sys, &newer(account(&a, &json!({}))).sign(&full.op)).await;
    assert_eq!(second.hear().await, Heard::Closed);
    assert_eq!(first.heard().await, []);

    // Fewer connections: the youngest go.
    let mut third = Peer::login(server, &jwt, &u).await;
    let mut limits = unlimited();
    limits["conn"] = 1.into();
    full.push(&mut sys, &newer(account(&a, &json!({ "limits": limits }))).sign(&full.op)).await;
    let full_up = "-ERR 'maximum account active connections exceeded'";
    assert_eq!(third.hear().await, Heard::Line(full_up.into()));
    assert_eq!(third.hear().await, Heard::Closed);
    assert_eq!(outcome_of(server, &jwt, &u).await, full_up);
    assert_eq!(first.heard().await, []);

    // Default permissions reach those who live by them.
    first.say("SUB gone 1\r\nSUB stays 2\r\n").await;
    assert_eq!(first.heard().await, []);
    let defaults = json!({ "default_permissions": {
        "pub": { "allow": ["only"] }, "sub": { "allow": ["stays"] },
    } });
    full.push(&mut sys, &newer(account(&a, &defaults)).sign(&full.op)).await;
    let lost = "-ERR 'Permissions Violation for Subscription to \"gone\" (sid \"1\")'";
    assert_eq!(first.heard().await, [Heard::Line(lost.into())]);
    first.say("PUB other 0\r\n\r\n").await;
    let refused = "-ERR 'Permissions Violation for Publish to \"other\"'";
    assert_eq!(first.heard().await, [Heard::Line(refused.into())]);

    // Revoked.
    let revocations = json!({ "revocations": { u.public_key(): now() } });
    full.push(&mut sys, &newer(account(&a, &revocations)).sign(&full.op)).await;
    assert_eq!(first.hear().await, Heard::Line("-ERR 'User Authentication Revoked'".into()));
    assert_eq!(first.hear().await, Heard::Closed);
    assert_eq!(outcome_of(server, &jwt, &u).await, REFUSED);
}

#[tokio::test]
async fn mappings_of_claims_count_and_outlive_a_reload() {
    let full = Full::start(&[Binary::under_test()]).await;
    let server = &full.servers[0];
    let mut sys = full.system(0).await;
    let (a, u) = (KeyPair::new_account(), KeyPair::new_user());
    let mapped = |to: Value| newer(account(&a, &json!({ "mappings": to }))).sign(&full.op);
    full.push(&mut sys, &mapped(json!({ "m.*": [{ "subject": "one.$1", "weight": 100 }] }))).await;
    let mut peer = Peer::login(server.client(), &user(&u, &json!({})).sign(&a), &u).await;
    peer.say("SUB > 1\r\nPUB m.x 1\r\n1\r\nPUB n.x 1\r\n2\r\n").await;
    assert_eq!(peer.heard().await, [message("one.x", "1"), message("n.x", "2")]);
    let shown = server.monitor(&format!("/accountz?acc={}", a.public_key())).await;
    let shown = &shown["account_detail"]["mappings"];
    assert_eq!(*shown, json!({ "m.*": [{ "subject": "one.$1", "weight": 100 }] }));

    full.push(&mut sys, &mapped(json!({ "m.*": [{ "subject": "two.$1" }] }))).await;
    peer.say("PUB m.x 1\r\n3\r\n").await;
    assert_eq!(peer.heard().await, [message("two.x", "3")]);

    // A reload is about what the configuration says, which is nothing of this account.
    let path = server.dir().join("server.conf");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\nmax_payload: 100000\n")).unwrap();
    server.signal(Signal::HUP);
    eventually("the configuration is reloaded", async || {
        server.log().contains("Reloaded server configuration").then_some(())
    })
    .await;
    peer.say("PUB m.x 1\r\n4\r\n").await;
    assert_eq!(peer.heard().await, [message("two.x", "4")]);
    assert_eq!(Peer::dial(server.client()).await.info["auth_required"], true);
    assert_eq!(outcome(server.client(), json!({})).await, REFUSED);
    Peer::login(server.client(), &user(&u, &json!({})).sign(&a), &u).await;

    // One that is none is refused and takes nothing away.
    let void = mapped(json!({ "k.*": [{ "subject": "k.$2" }] }));
    let answer = sys.ask("$SYS.REQ.CLAIMS.UPDATE", void.as_bytes()).await;
    assert_eq!(
        answer["error"]["description"],
        "jwt validation failed - mapping \"k.*\" -> \"k.$2\": invalid mapping destination: \
         wildcard index out of range in $2: [2]"
    );
    peer.say("PUB m.x 1\r\n5\r\n").await;
    assert_eq!(peer.heard().await, [message("two.x", "5")]);
    full.push(&mut sys, &mapped(json!({}))).await;
    peer.say("PUB m.x 1\r\n6\r\n").await;
    assert_eq!(peer.heard().await, [message("m.x", "6")]);
}

#[tokio::test]
async fn time_ends_connections() {
    let full = Full::start(&[Binary::under_test()]).await;
    let server = full.servers[0].client();
    let mut sys = full.system(0).await;
    let (a, b, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    full.push(&mut sys, &account(&a, &json!({})).sign(&full.op)).await;
    let soon = json!({ "exp": now() + 7 });
    full.push(&mut sys, &account(&b, &json!({})).with(&soon).sign(&full.op)).await;
    let jwt = user(&u, &json!({})).with(&json!({ "exp": now() + 6 })).sign(&a);
    let mut short = Peer::login(server, &jwt, &u).await;
    let mut member = Peer::login(server, &user(&u, &json!({})).sign(&b), &u).await;
    assert_eq!(short.hear().await, Heard::Line("-ERR 'User Authentication Expired'".into()));
    assert_eq!(short.hear().await, Heard::Closed);
    assert_eq!(member.hear().await, Heard::Line("-ERR 'Account Authentication Expired'".into()));
    assert_eq!(member.hear().await, Heard::Closed);
    assert_eq!(outcome_of(server, &user(&u, &json!({})).sign(&b), &u).await, REFUSED);
}

#[tokio::test]
async fn the_directory_is_asked_and_told() {
    let full = Full::start(&[Binary::under_test()]).await;
    let server = full.servers[0].client();
    let mut sys = full.system(0).await;
    let (a, u) = (KeyPair::new_account(), KeyPair::new_user());
    let a_jwt = account(&a, &json!({})).sign(&full.op);
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS", a.public_key());
    assert_eq!(sys.request(&format!("{subject}.LOOKUP"), b"").await, b"");
    let told =
        |answer: &Value| answer["error"]["description"].as_str().unwrap_or("none").to_owned();
    for (what, jwt, text) in [
        ("no JWT", "x".to_owned(), "jwt update resulted in error - expected 3 chunks"),
        (
            "another account's",
            account(&KeyPair::new_account(), &json!({})).sign(&full.op),
            "jwt update resulted in error - subject does not match jwt content",
        ),
    ] {
        let answer = sys.ask(&format!("{subject}.UPDATE"), jwt.as_bytes()).await;
        assert_eq!(told(&answer), text, "{what}");
    }
    let void = account(&a, &json!({ "signing_keys": ["x"] })).sign(&full.op);
    let answer = sys.ask("$SYS.REQ.CLAIMS.UPDATE", void.as_bytes()).await;
    assert_eq!(
        told(&answer),
        "jwt validation failed - validation errors: [\"x\" is not a valid account signing key]"
    );
    let answer = sys.ask(&format!("{subject}.UPDATE"), a_jwt.as_bytes()).await;
    assert_eq!(answer["data"]["message"], "jwt updated");
    assert_eq!(answer["data"]["account"], a.public_key());
    assert_eq!(sys.request(&format!("{subject}.LOOKUP"), b"").await, a_jwt.as_bytes());
    let list = sys.ask("$SYS.REQ.CLAIMS.LIST", b"").await;
    let mut keys = [a.public_key(), full.sys.public_key()];
    keys.sort();
    let mut listed: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, keys);

    let mut member = Peer::login(server, &user(&u, &json!({})).sign(&a), &u).await;
    let ask_deletion = |issuer: &KeyPair, keys: Value| {
        Draft::new("generic", &issuer.public_key()).nats(&json!({ "accounts": keys })).sign(issuer)
    };
    let by_another = ask_deletion(&KeyPair::new_operator(), json!([a.public_key()]));
    let answer = sys.ask("$SYS.REQ.CLAIMS.DELETE", by_another.as_bytes()).await;
    assert!(told(&answer).ends_with("failed - not trusted"), "{answer}");
    let system = ask_deletion(&full.op, json!([full.sys.public_key()]));
    let answer = sys.ask("$SYS.REQ.CLAIMS.DELETE", system.as_bytes()).await;
    assert!(told(&answer).ends_with("not allowed to delete system account"), "{answer}");
    let wanted = ask_deletion(&full.op, json!([a.public_key()]));
    let answer = sys.ask("$SYS.REQ.CLAIMS.DELETE", wanted.as_bytes()).await;
    assert_eq!(answer["data"]["message"], "deleted 1 accounts");
    assert_eq!(member.hear().await, Heard::Line("-ERR 'Account Authentication Expired'".into()));
    assert_eq!(outcome_of(server, &user(&u, &json!({})).sign(&a), &u).await, REFUSED);
    assert_eq!(sys.request(&format!("{subject}.LOOKUP"), b"").await, b"");
}

/// An account that exports a stream and a service, in public and by token.
fn exporter(key: &KeyPair) -> Draft {
    account(
        key,
        &json!({ "exports": [
            { "name": "s", "subject": "s.>", "type": "stream" },
            { "name": "svc", "subject": "svc", "type": "service" },
            { "name": "p", "subject": "p.>", "type": "stream", "token_req": true },
            { "name": "pos", "subject": "pos.*.x", "type": "stream", "account_token_position": 2 },
        ] }),
    )
}

#[tokio::test]
async fn imports_come_and_go_with_claims() {
    let full = Full::start(&[Binary::under_test()]).await;
    imports(&full, 0, 0).await;
}

/// Accounts `a` on one server and `b`, which imports from it, on another.
async fn imports(full: &Full, at_a: usize, at_b: usize) {
    let mut sys = full.system(at_a).await;
    let (a, b, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    full.push(&mut sys, &exporter(&a).sign(&full.op)).await;
    full.push(&mut sys, &account(&b, &json!({})).sign(&full.op)).await;
    let (a_jwt, b_jwt) = (user(&u, &json!({})).sign(&a), user(&u, &json!({})).sign(&b));
    if at_a != at_b {
        let mut other = full.system(at_b).await;
        for key in [&a, &b] {
            let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", key.public_key());
            eventually("the other server has it", async || {
                (!other.request(&subject, b"").await.is_empty()).then_some(())
            })
            .await;
        }
    }
    let mut from = Peer::login(full.servers[at_a].client(), &a_jwt, &u).await;
    let mut to = Peer::login(full.servers[at_b].client(), &b_jwt, &u).await;
    to.say("SUB s.x 1\r\nSUB in.> 2\r\nSUB p.x 3\r\n").await;
    from.say("SUB svc 1\r\n").await;
    assert_eq!(to.heard().await, []);
    assert_eq!(from.heard().await, []);
    let token = Draft::new("activation", &b.public_key())
        .nats(&json!({ "subject": "p.>", "kind": "stream" }))
        .sign(&a);
    let key = a.public_key();
    let stream = |subject: &str| json!({ "name": subject, "subject": subject, "account": key, "type": "stream" });
    let mut own = stream("pos.X.x");
    own["subject"] = format!("pos.{}.x", b.public_key()).into();
    own["local_subject"] = "in.own".into();
    let mut foreign = stream("pos.X.x");
    foreign["subject"] = format!("pos.{key}.x").into();
    foreign["local_subject"] = "in.foreign".into();
    let mut private = stream("p.>");
    private["token"] = token.into();
    let service = json!({ "name": "svc", "subject": "svc", "local_subject": "ask", "account": key, "type": "service" });
    let all = json!({ "imports": [stream("s.>"), private, own, foreign, service] });
    full.push(&mut sys, &newer(account(&b, &all)).sign(&full.op)).await;
    // What was subscribed to before counts for the new imports, too.
    eventually("the imported stream arrives", async || {
        from.say("PUB s.x 1\r\n1\r\n").await;
        from.heard().await;
        to.heard().await.contains(&message("s.x", "1")).then_some(())
    })
    .await;
    let others = format!("PUB pos.{}.x 1\r\n3\r\nPUB pos.{key}.x 1\r\n4\r\n", b.public_key());
    from.say(&format!("PUB p.x 1\r\n2\r\n{others}PUB s.x 1\r\n5\r\n")).await;
    let mut heard = Vec::new();
    while !heard.contains(&message("s.x", "5")) {
        heard.push(to.hear().await);
    }
    heard.retain(|heard| *heard != message("s.x", "1"));
    assert_eq!(heard, [message("p.x", "2"), message("in.own", "3"), message("s.x", "5")]);
    to.say("SUB inbox 9\r\nPUB ask inbox 1\r\n?\r\n").await;
    let asked = from.got().await;
    assert_eq!((asked.subject.as_str(), asked.payload.as_slice()), ("svc", &b"?"[..]));
    from.publish(&asked.reply, "", b"!").await;
    assert_eq!(to.hear().await, message("inbox", "!"));
    // The exporter revokes the token.
    let mut without = exporter(&a);
    without.claims["nats"]["exports"][2]["revocations"] = json!({ "*": now() });
    full.push(&mut sys, &newer(without).sign(&full.op)).await;
    eventually("the private stream ends", async || {
        from.say("PUB p.x 1\r\n6\r\nPUB s.x 1\r\n7\r\n").await;
        let mut heard = Vec::new();
        while !heard.contains(&message("s.x", "7")) {
            heard.push(to.hear().await);
        }
        (!heard.contains(&message("p.x", "6"))).then_some(())
    })
    .await;
}

fn message(subject: &str, payload: &str) -> Heard {
    Heard::Message(blackbox::operator::Got {
        subject: subject.into(),
        payload: payload.as_bytes().to_vec(),
        ..Default::default()
    })
}

/// Claims that are told to one server arrive at the others; accounts cross routes.
async fn in_step(binaries: &[Binary]) {
    let full = Full::start(binaries).await;
    let mut sys = full.system(0).await;
    let (a, u) = (KeyPair::new_account(), KeyPair::new_user());
    let a_jwt = account(&a, &json!({})).sign(&full.op);
    full.push(&mut sys, &a_jwt).await;
    let jwt = user(&u, &json!({})).sign(&a);
    for server in &full.servers {
        eventually("the account is known everywhere", async || {
            (outcome_of(server.client(), &jwt, &u).await == IN).then_some(())
        })
        .await;
    }
    let mut there = Peer::login(full.servers[1].client(), &jwt, &u).await;
    let mut here = Peer::login(full.servers[0].client(), &jwt, &u).await;
    there.say("SUB x 1\r\n").await;
    assert_eq!(there.heard().await, []);
    eventually("a message crosses", async || {
        here.say("PUB x 1\r\n!\r\n").await;
        here.heard().await;
        there.heard().await.contains(&message("x", "!")).then_some(())
    })
    .await;
    // Told at the second, felt at the first.
    let mut other = full.system(1).await;
    let revocations = json!({ "revocations": { "*": now() } });
    full.push(&mut other, &newer(account(&a, &revocations)).sign(&full.op)).await;
    assert_eq!(here.hear().await, Heard::Line("-ERR 'User Authentication Revoked'".into()));
    imports(&full, 0, 1).await;
    imports(&full, 1, 0).await;
}

#[tokio::test]
async fn directories_keep_in_step() {
    in_step(&[Binary::under_test(), Binary::under_test()]).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn directories_keep_in_step_with_nats_server() {
    in_step(&[Binary::under_test(), Binary::stock()]).await;
    in_step(&[Binary::stock(), Binary::under_test()]).await;
}

#[tokio::test]
#[ignore = "needs the nats command line tool (NATS_CLI)"]
async fn the_official_tool_makes_accounts_and_pushes_them() {
    let tool = std::env::var_os("NATS_CLI").expect("NATS_CLI names the nats command line tool");
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let made = Command::new(&tool)
            .args(args)
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("config"))
            .env("XDG_DATA_HOME", home.path().join("data"))
            .current_dir(home.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&made.stdout).into_owned()
            + &String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "nats {args:?}: {text}");
        text
    };
    run(&["auth", "operator", "add", "OP"]);
    run(&["auth", "account", "add", "A", "--operator", "OP", "--defaults"]);
    for (user, account) in [("sys", "SYSTEM"), ("u", "A")] {
        let file = format!("{user}.creds");
        run(&[
            "auth",
            "user",
            "add",
            user,
            account,
            "--operator",
            "OP",
            "--defaults",
            "--credential",
            &file,
        ]);
    }
    let store = home.path().join("data/nats/nsc/stores/OP");
    let jwt = std::fs::read_to_string(store.join("accounts/SYSTEM/SYSTEM.jwt")).unwrap();
    let token = jwt.split_whitespace().find(|word| word.starts_with("eyJ")).unwrap();
    let config = format!(
        "operator: \"{}\"\nsystem_account: {}\nresolver {{ type: full, dir: \"{}\" }}\n",
        store.join("OP.jwt").display(),
        blackbox::operator::claims(token)["sub"].as_str().unwrap(),
        home.path().join("jwts").display(),
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let url = server.url();
    // Its own key lets the system account's user in, who brings the JWTs of all.
    for account in ["SYSTEM", "A"] {
        let said = run(&[
            "-s",
            &url,
            "--creds",
            "sys.creds",
            "auth",
            "account",
            "push",
            account,
            "--operator",
            "OP",
        ]);
        assert!(said.contains("Success 1"), "{said}");
    }
    let said = run(&["-s", &url, "--creds", "u.creds", "account", "info"]);
    assert!(said.contains("User: u ("), "{said}");
    assert!(said.contains("Account: A ("), "{said}");
    let said = run(&[
        "-s",
        &url,
        "--creds",
        "sys.creds",
        "auth",
        "account",
        "query",
        "A",
        "--operator",
        "OP",
    ]);
    assert!(said.contains("Name: A"), "{said}");
}

#[tokio::test]
async fn the_start_tells_whom_it_trusts() {
    let (op, sys) = (KeyPair::new_operator(), KeyPair::new_account());
    let system = account(&sys, &json!({})).sign(&op);
    let config = in_memory(&operator(&op, &json!({})), &sys, &[(&sys, &system)]);
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let log = server.log();
    let lines = log.lines().filter_map(|line| Some(line.split_once("[INF] ")?.1));
    let mut lines = lines.skip_while(|line| *line != "Trusted Operators").skip(1);
    assert_eq!(lines.next(), Some("  System  : \"\""));
    assert!(lines.next().unwrap().starts_with("  Operator: \""));
    let issued = lines.next().unwrap().strip_prefix("  Issued  : ").unwrap().to_owned();
    // As Go shows a time: date, time, offset, zone.
    assert_eq!(issued.split(' ').count(), 4, "{issued}");
    assert_eq!(lines.next(), Some("  Expires : Never"));
}
