//! Authorization services: a client that answers the server's questions about other clients.
//!
//! The same expectations hold for a stock nats-server (`NATSD_UNDER_TEST`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;

use blackbox::cluster::settle;
use blackbox::operator::{Draft, Heard, Peer, account, claims, in_memory, now, operator, user};
use blackbox::server::{Binary, Setup};
use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};

const REFUSED: &str = "-ERR 'Authorization Violation'";

/// A service that knows `joe`, and everybody whom it is told to know.
struct Service<'a> {
    peer: Peer,
    issuer: &'a KeyPair,
    /// Its key, where requests are encrypted.
    curve: Option<XKey>,
}

impl Service<'_> {
    /// Waits for a question; gives the request's claims and where the answer goes.
    async fn asked(&mut self) -> (Value, String, Option<XKey>) {
        let got = self.peer.got().await;
        assert_eq!(got.subject, "$SYS.REQ.USER.AUTH");
        let (token, server) = match &self.curve {
            None => (got.payload, None),
            Some(curve) => {
                let key = got.headers.lines().find_map(|line| {
                    line.strip_prefix("Nats-Server-Xkey:").map(|key| key.trim().to_owned())
                });
                let server = XKey::from_public_key(&key.unwrap()).unwrap();
                (curve.open(&got.payload, &server).unwrap(), Some(server))
            }
        };
        let token = String::from_utf8(token).unwrap();
        (Value::Object(claims(&token)), got.reply, server)
    }

    /// Answers with a user that is made of the request, or with a word of refusal.
    async fn answer(
        &mut self,
        user: impl FnOnce(&KeyPair, &str) -> Result<String, String>,
    ) -> Value {
        let (request, reply, server) = self.asked().await;
        let nkey = request["nats"]["user_nkey"].as_str().unwrap().to_owned();
        let body = match user(self.issuer, &nkey) {
            Ok(jwt) => json!({ "jwt": jwt }),
            Err(text) => json!({ "error": text }),
        };
        let response = Draft::new("authorization_response", &nkey)
            .with(&json!({ "aud": request["nats"]["server_id"]["id"] }))
            .nats(&body)
            .sign(self.issuer);
        let sealed = match (&self.curve, server) {
            (Some(curve), Some(server)) => curve.seal(response.as_bytes(), &server).unwrap(),
            _ => response.into_bytes(),
        };
        self.peer.publish(&reply, "", &sealed).await;
        request
    }
}

fn made(nkey: &str, audience: &str, more: &Value) -> Draft {
    Draft::new("user", nkey)
        .with(&json!({ "aud": audience, "name": "joe" }))
        .nats(&json!({ "subs": -1, "data": -1, "payload": -1 }))
        .nats(more)
}

/// A client logs in while the service answers; gives the client, what it heard and the request.
async fn ask<'a>(
    server: SocketAddr,
    service: &mut Service<'a>,
    keys: Value,
    user: impl FnOnce(&KeyPair, &str) -> Result<String, String>,
) -> (Peer, Heard, Value) {
    let mut peer = Peer::dial(server).await;
    peer.connect(keys).await;
    let request = service.answer(user).await;
    let heard = peer.hear().await;
    (peer, heard, request)
}

fn config(issuer: &KeyPair, xkey: Option<&XKey>) -> String {
    let xkey = xkey.map(|key| format!("xkey: {}", key.public_key())).unwrap_or_default();
    format!(
        "accounts {{ AUTH {{ users: [{{ user: auth, password: p }}] }}, APP {{ users: [{{ user: own, password: p }}] }} }}\n\
         authorization {{ timeout: 2\n auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth], {xkey} }} }}",
        issuer.public_key()
    )
}

async fn service<'a>(server: SocketAddr, issuer: &'a KeyPair, curve: Option<XKey>) -> Service<'a> {
    let mut peer = Peer::dial(server).await;
    peer.connect(json!({ "user": "auth", "pass": "p" })).await;
    assert_eq!(peer.hear().await, Heard::Line("PONG".into()));
    peer.say("SUB $SYS.REQ.USER.AUTH 1\r\n").await;
    assert_eq!(peer.heard().await, []);
    Service { peer, issuer, curve }
}

#[tokio::test]
async fn a_service_decides_who_comes_in() {
    let issuer = KeyPair::new_account();
    let server = Setup::new(&Binary::under_test()).config(config(&issuer, None)).start().await;
    let address = server.client();
    let mut service = service(address, &issuer, None).await;
    let only_a = json!({ "pub": { "allow": ["a"] } });
    let (mut peer, heard, request) =
        ask(address, &mut service, json!({ "user": "joe", "pass": "s" }), |issuer, nkey| {
            Ok(made(nkey, "APP", &only_a).sign(issuer))
        })
        .await;
    assert_eq!(heard, Heard::Line("PONG".into()));
    assert_eq!(request["aud"], "nats-authorization-request");
    assert_eq!(request["sub"], issuer.public_key());
    assert_eq!(request["iss"], request["nats"]["server_id"]["id"]);
    assert_eq!(request["nats"]["connect_opts"]["user"], "joe");
    assert_eq!(request["nats"]["connect_opts"]["pass"], "s");
    assert_eq!(request["nats"]["client_info"]["kind"], "Client");
    assert_eq!(request["nats"]["client_info"]["host"], "127.0.0.1");
    peer.say("PUB b 0\r\n\r\n").await;
    let refused = "-ERR 'Permissions Violation for Publish to \"b\"'";
    assert_eq!(peer.heard().await, [Heard::Line(refused.into())]);
    let about = server.monitor("/connz?auth=1&acc=APP").await;
    assert_eq!(about["connections"][0]["authorized_user"], "joe");

    // It has the last word about known users, too.
    let keys = json!({ "user": "own", "pass": "p" });
    let (_, heard, _) = ask(address, &mut service, keys, |_, _| Err("no".into())).await;
    assert_eq!(heard, Heard::Line(REFUSED.into()));
    let stranger = KeyPair::new_account();
    let other = KeyPair::new_user();
    type Maker<'m> = Box<dyn FnOnce(&KeyPair, &str) -> Result<String, String> + 'm>;
    let wrong: Vec<(&str, Maker<'_>)> = vec![
        ("another issuer", Box::new(|_, nkey| Ok(made(nkey, "APP", &json!({})).sign(&stranger)))),
        (
            "another user",
            Box::new(|issuer, _| Ok(made(&other.public_key(), "APP", &json!({})).sign(issuer))),
        ),
        (
            "an unknown account",
            Box::new(|issuer, nkey| Ok(made(nkey, "NONE", &json!({})).sign(issuer))),
        ),
        (
            "an expired user",
            Box::new(|issuer, nkey| {
                Ok(made(nkey, "APP", &json!({})).with(&json!({ "exp": 1 })).sign(issuer))
            }),
        ),
        (
            "an issuer account",
            Box::new(|issuer, nkey| {
                Ok(made(nkey, "APP", &json!({ "issuer_account": issuer.public_key() }))
                    .sign(issuer))
            }),
        ),
        (
            "another connection",
            Box::new(|issuer, nkey| {
                Ok(made(nkey, "APP", &json!({ "allowed_connection_types": ["MQTT"] })).sign(issuer))
            }),
        ),
        ("no JWT", Box::new(|_, _| Ok("x".into()))),
    ];
    for (what, user) in wrong {
        // nats-server 2.15.1 does not look at that; its source at 2.15.2 does.
        if what == "another connection" && Binary::under_test().is_stock() {
            continue;
        }
        let (_, heard, _) = ask(address, &mut service, json!({ "user": "joe" }), user).await;
        assert_eq!(heard, Heard::Line(REFUSED.into()), "{what}");
    }
    // Its own users do not ask in the server's name.
    let subject = "$SYS.REQ.USER.AUTH";
    service.peer.publish(subject, "", b"").await;
    let refused = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'");
    assert_eq!(service.peer.heard().await, [Heard::Line(refused)]);
}

#[tokio::test]
async fn what_a_service_is_asked_may_be_encrypted() {
    let issuer = KeyPair::new_account();
    let curve = XKey::new();
    let config = config(&issuer, Some(&curve));
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let mut service = service(server.client(), &issuer, Some(curve)).await;
    let keys = json!({ "auth_token": "t" });
    let (peer, heard, request) = ask(server.client(), &mut service, keys, |issuer, nkey| {
        Ok(made(nkey, "APP", &json!({})).sign(issuer))
    })
    .await;
    assert_eq!(heard, Heard::Line("PONG".into()));
    assert_eq!(request["nats"]["connect_opts"]["auth_token"], "t");
    assert_eq!(request["nats"]["server_id"]["xkey"], peer.info["xkey"]);
}

#[tokio::test]
async fn a_silent_service_lets_nobody_in() {
    let issuer = KeyPair::new_account();
    let server = Setup::new(&Binary::under_test()).config(config(&issuer, None)).start().await;
    let mut peer = Peer::dial(server.client()).await;
    peer.connect(json!({ "user": "joe" })).await;
    let Heard::Line(line) = peer.hear().await else { panic!("no reason") };
    assert!(line == REFUSED || line == "-ERR 'Authentication Timeout'", "{line}");
    assert_eq!(peer.hear().await, Heard::Closed);
}

#[tokio::test]
async fn a_service_of_an_account_places_users() {
    let op = KeyPair::new_operator();
    let (sys, auth, app, far) = (
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let (own, sentinel) = (KeyPair::new_user(), KeyPair::new_user());
    let block = json!({ "authorization": {
        "auth_users": [own.public_key()], "allowed_accounts": [app.public_key()],
    } });
    let sign = |key: &KeyPair, more: &Value| account(key, more).sign(&op);
    let config = in_memory(
        &operator(&op, &json!({})),
        &sys,
        &[
            (&sys, &sign(&sys, &json!({}))),
            (&auth, &sign(&auth, &block)),
            (&app, &sign(&app, &json!({}))),
            (&far, &sign(&far, &json!({}))),
        ],
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let address = server.client();
    let mut peer = Peer::login(address, &user(&own, &json!({})).sign(&auth), &own).await;
    peer.say("SUB $SYS.REQ.USER.AUTH 1\r\n").await;
    assert_eq!(peer.heard().await, []);
    let mut service = Service { peer, issuer: &auth, curve: None };
    let bearer = user(&sentinel, &json!({ "bearer_token": true })).sign(&auth);
    let keys = || json!({ "jwt": bearer, "user": "joe", "pass": "s" });
    let (_, heard, request) =
        ask(address, &mut service, keys(), |_, nkey| Ok(made(nkey, "", &json!({})).sign(&app)))
            .await;
    assert_eq!(heard, Heard::Line("PONG".into()));
    assert_eq!(request["nats"]["connect_opts"]["jwt"], bearer);
    assert_eq!(request["sub"], auth.public_key());
    let (_, heard, _) =
        ask(address, &mut service, keys(), |_, nkey| Ok(made(nkey, "", &json!({})).sign(&far)))
            .await;
    assert_eq!(heard, Heard::Line(REFUSED.into()), "an account that is not allowed");
    let (_, heard, _) = ask(address, &mut service, keys(), |_, _| Err("no".into())).await;
    assert_eq!(heard, Heard::Line(REFUSED.into()));
}

#[tokio::test]
async fn a_service_is_told_of_certificates() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, SanType};
    let dir = tempfile::TempDir::new().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority =
        CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    params.distinguished_name.push(DnType::CommonName, "both");
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(dir.path().join("both.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.path().join("both.key"), key.serialize_pem()).unwrap();
    let file = |name: &str| dir.path().join(name);

    let issuer = KeyPair::new_account();
    let tls = format!(
        "\ntls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        file("both.pem").display(),
        file("both.key").display(),
        file("ca.pem").display()
    );
    let config = config(&issuer, None) + &tls;
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let login = |user: &str, password: &str| {
        async_nats::ConnectOptions::with_user_and_password(user.into(), password.into())
            .add_root_certificates(file("ca.pem"))
            .add_client_certificate(file("both.pem"), file("both.key"))
            .require_tls(true)
    };
    let url = format!("tls://127.0.0.1:{}", server.client().port());
    let service = login("auth", "p").connect(&url).await.unwrap();
    let mut questions = service.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    settle(&service, &service).await;
    let asking = tokio::spawn(login("joe", "s").connect(url));
    let question = futures_util::StreamExt::next(&mut questions).await.unwrap();
    let request = Value::Object(claims(std::str::from_utf8(&question.payload).unwrap()));
    let told = &request["nats"]["client_tls"];
    let plain = |pem: &str| pem.replace('\r', "");
    let chain = json!([[plain(&certificate.pem()), plain(&authority.pem())]]);
    assert_eq!(told["verified_chains"], chain, "{told}");
    assert_eq!((&told["version"], told["certs"].is_null()), (&json!("1.3"), true));
    asking.abort();
}

#[tokio::test]
async fn an_answer_counts_once_and_for_its_question() {
    let issuer = KeyPair::new_account();
    let server = Setup::new(&Binary::under_test()).config(config(&issuer, None)).start().await;
    let mut service = service(server.client(), &issuer, None).await;
    let (stranger, other) = (KeyPair::new_account(), KeyPair::new_user().public_key());
    let good = |nkey: &str| made(nkey, "APP", &json!({})).sign(&issuer);
    let response = |nkey: &str, id: &str, jwt: String| {
        Draft::new("authorization_response", nkey)
            .with(&json!({ "aud": id }))
            .nats(&json!({ "jwt": jwt }))
    };
    let mut earlier = String::new();
    let cases = [
        "good",
        "replayed",
        "good",
        "by a stranger",
        "for another user",
        "for another server",
        "expired",
        "not yet valid",
        "with a user who is not yet",
        "forged",
        "nothing",
        "good",
    ];
    for what in cases {
        let mut peer = Peer::dial(server.client()).await;
        peer.connect(json!({ "user": "joe" })).await;
        let (request, reply, _) = service.asked().await;
        let facts = &request["nats"];
        let (nkey, id) =
            (facts["user_nkey"].as_str().unwrap(), facts["server_id"]["id"].as_str().unwrap());
        let early = json!({ "nbf": now() + 3600 });
        let answer = match what {
            "replayed" => earlier.clone(),
            "by a stranger" => response(nkey, id, good(nkey)).sign(&stranger),
            "for another user" => response(&other, id, good(nkey)).sign(&issuer),
            "for another server" => response(nkey, "NX", good(nkey)).sign(&issuer),
            "expired" => {
                let past = json!({ "exp": now() - 5 });
                response(nkey, id, good(nkey)).with(&past).sign(&issuer)
            }
            "not yet valid" => response(nkey, id, good(nkey)).with(&early).sign(&issuer),
            "with a user who is not yet" => {
                let user = made(nkey, "APP", &json!({})).with(&early).sign(&issuer);
                response(nkey, id, user).sign(&issuer)
            }
            "forged" => {
                let (one, two) = (response(nkey, id, good(nkey)), response(nkey, id, good(&other)));
                let (one, two) = (one.sign(&issuer), two.sign(&issuer));
                let signature = two.rsplit_once('.').unwrap().1;
                format!("{}.{signature}", one.rsplit_once('.').unwrap().0)
            }
            "nothing" => String::new(),
            _ => response(nkey, id, good(nkey)).sign(&issuer),
        };
        service.peer.publish(&reply, "", answer.as_bytes()).await;
        let expected = if what == "good" { "PONG" } else { REFUSED };
        assert_eq!(peer.hear().await, Heard::Line(expected.into()), "an answer that is {what}");
        earlier = answer;
    }
}
