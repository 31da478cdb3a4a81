//! How long services take, as exporting accounts are told: who asked, who answered, where the time
//! went. Holds for natsd and for a stock nats-server alike; clusters of both need one of those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use blackbox::eventually;
use blackbox::operator::{Heard, Peer, account, in_memory, operator, user};
use blackbox::server::{Binary, Server, Setup};
use nkeys::KeyPair;
use serde_json::{Value, json};

const CONFIG: &str = r#"
    accounts {
        S {
            users: [ { user: s, password: p } ]
            exports: [
                { service: "all.*", latency: { sampling: 100, subject: lat.all } }
                { service: traced, latency: { sampling: headers, subject: lat.traced } }
                { service: "quick", response_threshold: "1s", latency: lat.quick }
                { service: unmeasured }
            ]
        }
        C {
            users: [ { user: c, password: p } ]
            imports: [
                { service: { account: S, subject: "all.*" } }
                { service: { account: S, subject: traced } }
                { service: { account: S, subject: quick } }
                { service: { account: S, subject: unmeasured } }
            ]
        }
        D {
            users: [ { user: d, password: p } ]
            imports: [ { service: { account: S, subject: "all.*" }, share: true, to: "asked.*" } ]
        }
        $SYS { users: [ { user: sys, password: p } ] }
    }"#;

async fn login(server: &Server, name: &str) -> Peer {
    let mut peer = Peer::dial(server.client()).await;
    peer.connect(json!({ "user": name, "pass": "p", "name": format!("the {name}") })).await;
    assert_eq!(peer.hear().await, Heard::Line("PONG".into()));
    peer
}

/// The next report, without what differs from time to time; numbers are checked.
async fn report(peer: &mut Peer) -> Value {
    let got = peer.got().await;
    let mut report: Value = serde_json::from_slice(&got.payload).unwrap();
    let map = report.as_object_mut().unwrap();
    assert_eq!(map.remove("type").unwrap(), "io.nats.server.metric.v1.service_latency");
    assert!(map.remove("id").unwrap().as_str().unwrap().len() == 22);
    for key in ["timestamp", "start"] {
        let time = map.remove(key).unwrap();
        assert!(time.as_str().unwrap().starts_with("20"), "{key}: {time}");
    }
    let number = |value: Option<Value>| value.and_then(|value| value.as_i64()).unwrap();
    let (service, system, total) =
        (number(map.remove("service")), number(map.remove("system")), number(map.remove("total")));
    if map["status"] == 200 {
        assert!(service >= 0 && system >= 0 && total > 0, "{service} {system} {total}");
    } else {
        assert_eq!((service, system, total), (0, 0, 0));
    }
    for party in ["requestor", "responder"] {
        if let Some(party) = map.get_mut(party).and_then(Value::as_object_mut) {
            assert!(party.remove("rtt").and_then(|rtt| rtt.as_i64()).unwrap() > 0);
            for key in ["start", "id", "host", "server", "cluster"] {
                if let Some(value) = party.remove(key) {
                    assert!(value.is_u64() || !value.as_str().unwrap().is_empty(), "{key}");
                }
            }
        }
    }
    json!([got.subject, report])
}

fn full(account: &str, user: &str) -> Value {
    json!({
        "acc": account, "user": user, "name": format!("the {user}"), "lang": "test", "ver": "1",
        "kind": "Client", "client_type": "nats",
    })
}

/// One who asks once and is answered.
async fn ask(asker: &mut Peer, servant: &mut Peer, subject: &str, headers: &str) {
    asker.say("SUB in.* i\r\n").await;
    let block = format!("NATS/1.0\r\n{headers}\r\n");
    let (size, total) = (block.len(), block.len() + 1);
    asker.say(&format!("HPUB {subject} in.1 {size} {total}\r\n{block}?\r\n")).await;
    let request = servant.got().await;
    assert_eq!(request.reply.ends_with(".T"), !subject.starts_with("un"), "{}", request.reply);
    servant.publish(&request.reply, "", b"answer").await;
    assert_eq!(asker.got().await.payload, b"answer");
    asker.say("UNSUB i\r\n").await;
}

#[tokio::test]
async fn exporters_are_told_how_long_their_services_take() {
    let server = Setup::new(&Binary::under_test()).config(CONFIG).start().await;
    let mut servant = login(&server, "s").await;
    let mut listener = login(&server, "s").await;
    listener.say("SUB lat.> 1\r\n").await;
    servant.say("SUB all.x 1\r\nSUB traced 2\r\nSUB unmeasured 3\r\nSUB quick 4\r\n").await;
    assert_eq!((listener.heard().await, servant.heard().await), (vec![], vec![]));
    let mut asker = login(&server, "c").await;
    let short = json!({ "acc": "C" });

    ask(&mut asker, &mut servant, "all.x", "").await;
    let good = json!({ "status": 200, "requestor": short, "responder": full("S", "s") });
    assert_eq!(report(&mut listener).await, json!(["lat.all", good]));

    // Whose account shares it is shown.
    let mut open = login(&server, "d").await;
    ask(&mut open, &mut servant, "asked.x", "").await;
    let shared = json!({ "status": 200, "requestor": full("D", "d"), "responder": full("S", "s") });
    assert_eq!(report(&mut listener).await, json!(["lat.all", shared]));

    // Headers decide where that is said, and are shown.
    ask(&mut asker, &mut servant, "traced", "X-B3-Sampled: 1\r\nX-Other: 2\r\n").await;
    let by_header = json!({
        "status": 200, "requestor": short, "responder": full("S", "s"),
        "header": { "X-B3-Sampled": ["1"] },
    });
    assert_eq!(report(&mut listener).await, json!(["lat.traced", by_header]));

    // Nowhere to answer to; nobody there; nobody answers in time; nobody waits any more.
    asker.publish("all.x", "", b"?").await;
    let bad = json!({ "status": 400, "description": "Bad Request", "requestor": short });
    assert_eq!(report(&mut listener).await, json!(["lat.all", bad]));
    assert_eq!(servant.got().await.reply, "");
    asker.say("SUB in.* j\r\n").await;
    asker.publish("all.nobody", "in.2", b"?").await;
    let nobody = json!({ "status": 503, "description": "Service Unavailable", "requestor": short });
    assert_eq!(report(&mut listener).await, json!(["lat.all", nobody]));
    asker.publish("quick", "in.3", b"?").await;
    let late = json!({ "status": 504, "description": "Service Timeout", "requestor": short });
    assert_eq!(report(&mut listener).await, json!(["lat.quick", late]));
    asker.publish("all.x", "in.4", b"?").await;
    assert_eq!(asker.heard().await.len(), 1, "the answer that nobody serves");
    asker.say("UNSUB j\r\n").await;
    let left = json!({ "status": 408, "description": "Request Timeout", "requestor": short });
    assert_eq!(report(&mut listener).await, json!(["lat.all", left]));

    servant.heard().await;
    ask(&mut asker, &mut servant, "unmeasured", "X-B3-Sampled: 1\r\n").await;
    assert_eq!(listener.heard().await, []);
}

/// The asker on one server, the servant on the other.
async fn over_a_route(binaries: [&Binary; 2]) {
    let first = Setup::new(binaries[0]).config(CONFIG).name("n0").cluster("c", -1).start().await;
    let second = Setup::new(binaries[1]).config(CONFIG).name("n1").cluster("c", -1);
    let second = second.routes(&[first.port("cluster")]).start().await;
    let mut servant = login(&second, "s").await;
    servant.say("SUB all.x 1\r\n").await;
    let mut listener = login(&second, "s").await;
    listener.say("SUB lat.> 1\r\n").await;
    assert_eq!((listener.heard().await, servant.heard().await), (vec![], vec![]));
    let mut asker = login(&first, "d").await;
    eventually("a request crosses the route", async || {
        asker.publish("asked.x", "nowhere", b"?").await;
        asker.heard().await;
        (!servant.heard().await.is_empty()).then_some(())
    })
    .await;
    // More of the search may be on their way; the last one is behind them all.
    asker.publish("asked.x", "nowhere", b"last").await;
    while servant.got().await.payload != b"last" {}
    // Those that the search cost are reported as abandoned, or were never answered.
    listener.heard().await;
    ask(&mut asker, &mut servant, "asked.x", "").await;
    let shared = json!({ "status": 200, "requestor": full("D", "d"), "responder": full("S", "s") });
    eventually("the measured request is reported", async || {
        let told = report(&mut listener).await;
        (told == json!(["lat.all", shared])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn both_servers_measure_their_halves() {
    let binary = Binary::under_test();
    over_a_route([&binary, &binary]).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn natsd_and_nats_server_measure_their_halves() {
    let (natsd, stock) = (Binary::under_test(), Binary::stock());
    over_a_route([&natsd, &stock]).await;
    over_a_route([&stock, &natsd]).await;
}

#[tokio::test]
async fn account_jwts_ask_for_it_too() {
    let (op, sys) = (KeyPair::new_operator(), KeyPair::new_account());
    let (service, client) = (KeyPair::new_account(), KeyPair::new_account());
    let (s, c) = (KeyPair::new_user(), KeyPair::new_user());
    let exports = json!({ "exports": [{
        "name": "x", "subject": "x", "type": "service",
        "service_latency": { "sampling": 100, "results": "lat" },
    }] });
    let imports = json!({ "imports": [{
        "name": "x", "subject": "x", "account": service.public_key(), "type": "service", "share": true,
    }] });
    let config = in_memory(
        &operator(&op, &json!({})),
        &sys,
        &[
            (&sys, &account(&sys, &json!({})).sign(&op)),
            (&service, &account(&service, &exports).sign(&op)),
            (&client, &account(&client, &imports).sign(&op)),
        ],
    );
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    let mut servant = Peer::login(server.client(), &user(&s, &json!({})).sign(&service), &s).await;
    servant.say("SUB x 1\r\nSUB lat 2\r\n").await;
    assert_eq!(servant.heard().await, []);
    let asks = user(&c, &json!({ "tags": ["t:1"] })).sign(&client);
    let mut asker = Peer::login(server.client(), &asks, &c).await;
    ask(&mut asker, &mut servant, "x", "").await;
    let told = report(&mut servant).await;
    assert_eq!((&told[0], &told[1]["status"]), (&json!("lat"), &json!(200)));
    for (party, jwt, account, key) in [
        ("requestor", &asks, &client, &c),
        ("responder", &user(&s, &json!({})).sign(&service), &service, &s),
    ] {
        let party = &told[1][party];
        assert_eq!(party["acc"], account.public_key(), "{party}");
        assert_eq!(party["issuer_key"], account.public_key(), "{party}");
        assert_eq!(party["user"], key.public_key(), "{party}");
        assert_eq!(party["jwt"].as_str().unwrap().is_empty(), jwt.is_empty(), "{party}");
    }
    assert_eq!(told[1]["requestor"]["tags"], json!(["t:1"]));
    assert_eq!(told[1]["requestor"]["name_tag"], "user");
}
