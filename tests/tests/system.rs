//! The system account in a mixed cluster: what tools ask and hear of a natsd node, held against
//! a stock node. The tools log in at a stock node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subscriber};
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use blackbox::{eventually, shape};
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

const SYSTEM_USER: &str = r#"accounts { $SYS { users = [ { user: "sys", password: "p" } ] } }"#;

/// A stock node to log in at, another one to compare with, and the one under test.
struct Mixed {
    _door: Server,
    stock: Server,
    ours: Server,
    client: Client,
}

impl Mixed {
    async fn start() -> Self {
        let stock = Binary::stock();
        let door = Setup::new(&stock).name("door").cluster("C1", -1).config(SYSTEM_USER);
        let door = door.start().await;
        let seed = [door.cluster().port()];
        let node = |binary: &Binary, name: &str| {
            Setup::new(binary).name(name).cluster("C1", -1).routes(&seed)
        };
        let ours = node(&Binary::under_test(), "ours").start().await;
        let stock = node(&stock, "stock").start().await;
        let options = ConnectOptions::with_user_and_password("sys".into(), "p".into());
        let client = options.connect(door.url()).await.unwrap();
        let mixed = Self { _door: door, stock, ours, client };
        for name in ["stock", "ours"] {
            eventually("all nodes answer", async || mixed.ask("PING.IDZ", name).await).await;
        }
        mixed
    }

    /// The answer of one server to a request that goes to all.
    async fn ask(&self, what: &str, server: &str) -> Option<Value> {
        self.ask_with(what, json!({"server_name": server, "exact_match": true}), server).await
    }

    async fn ask_with(&self, what: &str, options: Value, server: &str) -> Option<Value> {
        self.ask_by(&format!("$SYS.REQ.SERVER.{what}"), options, server).await
    }

    async fn ask_by(&self, subject: &str, options: Value, server: &str) -> Option<Value> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let payload = options.to_string().into();
        self.client.publish_with_reply(subject.to_owned(), inbox, payload).await.unwrap();
        // IDZ knows no filter: all answer.
        while let Ok(Some(answer)) = timeout(Duration::from_millis(700), answers.next()).await {
            let document: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            if document["server"]["name"] == server || document["name"] == server {
                return Some(document);
            }
        }
        None
    }

    async fn id(&self, server: &str) -> String {
        let document = self.ask("PING", server).await.unwrap();
        document["server"]["id"].as_str().unwrap().to_owned()
    }

    async fn events(&self, subject: &str) -> Subscriber {
        let subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.client.flush().await.unwrap();
        // The interest has to travel to the other nodes.
        self.ask("PING", "ours").await.unwrap();
        self.ask("PING", "stock").await.unwrap();
        subscriber
    }
}

async fn next(events: &mut Subscriber) -> (String, Value) {
    let event = timeout(blackbox::DEADLINE, events.next()).await.expect("an event").unwrap();
    (event.subject.to_string(), serde_json::from_slice(&event.payload).unwrap())
}

async fn client_of(server: &Server) -> Conversation {
    let mut peer = Conversation::dial(server.client()).await.unwrap();
    peer.line().await.unwrap();
    let connect =
        br#"CONNECT {"verbose":false,"protocol":1,"name":"bob","lang":"x","version":"1"}"#;
    peer.send(&[&connect[..], b"\r\nPING\r\n"].concat()).await.unwrap();
    assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
    peer
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn documents_have_the_keys_types_and_order_of_the_stock_server() {
    let mixed = Mixed::start().await;
    let _clients = (client_of(&mixed.stock).await, client_of(&mixed.ours).await);
    for what in [
        "PING",
        "PING.IDZ",
        "PING.STATSZ",
        "PING.VARZ",
        "PING.CONNZ",
        "PING.SUBSZ",
        "PING.ROUTEZ",
        "PING.GATEWAYZ",
        "PING.LEAFZ",
        "PING.ACCOUNTZ",
        "PING.JSZ",
        "PING.HEALTHZ",
        "PING.RAFTZ",
        "PING.PROFILEZ",
    ] {
        let stock = mixed.ask(what, "stock").await.unwrap_or_else(|| panic!("{what} of stock"));
        let ours = mixed.ask(what, "ours").await.unwrap_or_else(|| panic!("{what} of ours"));
        let mut faults = shape::differences(&shape::of(&stock), &shape::of(&ours));
        faults.retain(|fault| !fault.contains(".http_req_stats"));
        assert!(faults.is_empty(), "{what}: {}", faults.join("\n"));
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn refusals_are_those_of_the_stock_server() {
    let mixed = Mixed::start().await;
    for (what, options) in [
        ("PING.CONNZ", json!({"sort": "foo"})),
        ("PING.CONNZ", json!({"filter_subject": "a"})),
        ("PING.SUBSZ", json!({"test": "a.*"})),
        ("PING.ACCOUNTZ", json!({"account": "nobody"})),
        ("PING.HEALTHZ", json!({"stream": "s", "details": true})),
        ("PING.PROFILEZ", json!({})),
        ("PING.CONNZ", json!({"state": "closed"})),
        ("PING.CONNZ", json!({"limit": 1.5})),
        ("PING.CONNZ", json!({"cid": -1})),
        ("PING.CONNZ", json!({"Auth": "x"})),
        ("PING.SUBSZ", json!({"subscriptions": 1})),
        ("PING.ACCOUNTZ", json!({"account": true})),
        ("PING.VARZ", json!({"tags": "x"})),
        ("PING.VARZ", json!({"exact_match": {}})),
        ("PING.VARZ", json!([])),
        ("PING.CONNZ", json!(5)),
        ("PING.STATSZ", json!("x")),
        ("PING.PROFILEZ", json!({"name": "nothing"})),
        ("PING.PROFILEZ", json!({"name": "cpu"})),
        ("PING.PROFILEZ", json!({"name": "cpu", "duration": 16_000_000_000_u64})),
        ("PING.IPQUEUESZ", json!({"filter": "nothing", "all": true})),
    ] {
        let mut answers = Vec::new();
        for server in ["stock", "ours"] {
            let mut options = options.clone();
            if options.is_object() {
                options["server_name"] = server.into();
            }
            let mut answer = mixed.ask_with(what, options, server).await.expect(what);
            answer["server"] = Value::Null;
            answers.push(answer);
        }
        assert_eq!(answers[1], answers[0], "{what} {options}");
    }
    for filter in [
        json!({"server_name": "nobody"}),
        json!({"cluster": "C", "exact_match": true}),
        json!({"tags": ["t"]}),
        json!({"host": "10."}),
    ] {
        assert_eq!(mixed.ask_with("PING", filter.clone(), "ours").await, None, "{filter}");
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn options_are_read_as_go_reads_them() {
    let mixed = Mixed::start().await;
    for server in ["stock", "ours"] {
        // Surveyor asks so.
        let all = json!({"accounts": null, "include_unused": true, "server_name": server});
        let answer = mixed.ask_by("$SYS.REQ.ACCOUNT.PING.STATZ", all, server).await.unwrap();
        assert!(answer["data"]["account_statz"].is_array(), "{answer}");
        let some = json!({"LIMIT": 7, "sort": null, "tags": null, "Server_Name": server, "x": 1});
        let answer = mixed.ask_with("PING.CONNZ", some, server).await.unwrap();
        assert_eq!(answer["data"]["limit"], 7, "{answer}");
        let other = json!({"SERVER_NAME": "nobody"});
        assert_eq!(mixed.ask_with("PING.CONNZ", other, server).await, None);
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn accounts_in_use_are_counted_alike() {
    let mixed = Mixed::start().await;
    let counts = async || {
        let mut counts = Vec::new();
        for server in ["stock", "ours"] {
            let answer = mixed.ask("PING", server).await.unwrap();
            counts.push(answer["statsz"]["active_accounts"].as_u64().unwrap());
        }
        counts
    };
    assert_eq!(counts().await, [1, 1], "the system itself");
    let _clients = (client_of(&mixed.stock).await, client_of(&mixed.ours).await);
    assert_eq!(counts().await, [2, 2]);
}

/// The answer to `$SYS.DEBUG.SUBSCRIBERS`.
async fn subscribers(asker: &Client, what: &str) -> u64 {
    let answer = asker.request("$SYS.DEBUG.SUBSCRIBERS", what.to_owned().into()).await.unwrap();
    std::str::from_utf8(&answer.payload).unwrap().parse().unwrap()
}

#[tokio::test]
async fn subscribers_are_counted_in_the_whole_cluster() {
    let binary = Binary::under_test();
    let node = |name: &str| Setup::new(&binary).name(name).cluster("C1", -1).config(SYSTEM_USER);
    let first = node("one").start().await;
    let second = node("two").routes(&[first.cluster().port()]).start().await;
    let connect = async |server: &Server| {
        ConnectOptions::with_user_and_password("sys".into(), "p".into())
            .connect(server.url())
            .await
            .unwrap()
    };
    let (here, there) = (connect(&first).await, connect(&second).await);
    let mut held = Vec::new();
    for client in [&here, &there] {
        held.push(client.subscribe("dbg.x").await.unwrap());
        held.push(client.queue_subscribe("dbg.*", "q".into()).await.unwrap());
        client.flush().await.unwrap();
    }
    eventually("all four are counted", async || {
        (subscribers(&here, "dbg.x").await == 4).then_some(())
    })
    .await;
    for (what, count) in [("dbg.*", 4), ("dbg.x q", 2), ("dbg.* q", 2), ("dbg.y", 2), ("no", 0)] {
        assert_eq!(subscribers(&here, what).await, count, "{what}");
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn clients_that_come_and_go_are_reported() {
    let mixed = Mixed::start().await;
    let mut events = mixed.events("$SYS.ACCOUNT.*.*").await;
    let mut shapes = Vec::new();
    for server in [&mixed.stock, &mixed.ours] {
        let peer = client_of(server).await;
        let (subject, connected) = next(&mut events).await;
        assert_eq!(subject, "$SYS.ACCOUNT.$G.CONNECT");
        assert_eq!(connected["client"]["name"], "bob");
        drop(peer);
        let (subject, disconnected) = next(&mut events).await;
        assert_eq!(subject, "$SYS.ACCOUNT.$G.DISCONNECT");
        assert_eq!(disconnected["reason"], "Client Closed");
        shapes.push((shape::of(&connected), shape::of(&disconnected)));
    }
    assert_eq!(shape::differences(&shapes[0].0, &shapes[1].0), [""; 0]);
    assert_eq!(shape::differences(&shapes[0].1, &shapes[1].1), [""; 0]);
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn a_client_is_kicked_and_one_is_asked_to_move() {
    let mixed = Mixed::start().await;
    let id = mixed.id("ours").await;
    let mut peer = client_of(&mixed.ours).await;
    peer.line().await.unwrap(); // the INFO behind the first PONG
    let connz = mixed.ask(&format!("{id}.CONNZ"), "ours").await.unwrap();
    let cid = connz["data"]["connections"][0]["cid"].clone();
    let done = mixed.ask_with(&format!("{id}.LDM"), json!({"cid": cid}), "ours").await.unwrap();
    assert_eq!(done.get("error"), None);
    let info = String::from_utf8(peer.line().await.unwrap()).unwrap();
    assert!(info.starts_with("INFO ") && info.contains(r#""ldm":true"#), "{info}");
    let done = mixed.ask_with(&format!("{id}.KICK"), json!({"cid": cid}), "ours").await.unwrap();
    assert_eq!(done.get("error"), None);
    let (_, closed) = mixed.ours.monitor_text("/connz?state=closed").await;
    assert!(closed.contains(r#""reason": "Kicked""#), "{closed}");
    let again = mixed.ask_with(&format!("{id}.KICK"), json!({"cid": cid}), "ours").await.unwrap();
    assert_eq!(again["error"]["description"], "no such client or leafnode id");
    let reload = mixed.ask(&format!("{id}.RELOAD"), "ours").await.unwrap();
    assert_eq!(
        reload["error"]["description"],
        "can only reload config when a file is provided using -c or --config"
    );
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn heartbeats_and_the_end_are_reported() {
    let mut mixed = Mixed::start().await;
    let id = mixed.id("ours").await;
    let mut stats = mixed.events(&format!("$SYS.SERVER.{id}.STATSZ")).await;
    let mut end = mixed.events(&format!("$SYS.SERVER.{id}.SHUTDOWN")).await;
    let (_, heartbeat) = next(&mut stats).await;
    assert_eq!(heartbeat["server"]["name"], "ours");
    assert_eq!(heartbeat["statsz"]["active_servers"], 3);
    mixed.ours.signal(Signal::TERM);
    mixed.ours.exit().await;
    let (_, event) = next(&mut end).await;
    assert_eq!(event["id"], id.as_str());
}

/// No system user is needed for what an ordinary account may ask.
#[tokio::test]
async fn an_ordinary_account_may_ask_about_itself() {
    let binary = Binary::under_test();
    let first = Setup::new(&binary).name("one").cluster("C1", -1).start().await;
    let seed = [first.cluster().port()];
    let second = Setup::new(&binary).name("two").cluster("C1", -1).routes(&seed).start().await;
    let options = ConnectOptions::new().name("asker");
    let client = options.connect(second.url()).await.unwrap();
    let who = client.request("$SYS.REQ.USER.INFO", "".into()).await.unwrap();
    let who: Value = serde_json::from_slice(&who.payload).unwrap();
    assert_eq!(who["server"]["name"], "two");
    assert_eq!(who["data"]["account"], "$G");
    let names = eventually("both servers answer", async || {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        let subject = "$SYS.REQ.SERVER.PING.CONNZ";
        client.publish_with_reply(subject, inbox, "".into()).await.unwrap();
        let mut names = Vec::new();
        while let Ok(Some(answer)) = timeout(Duration::from_millis(300), answers.next()).await {
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
            names.push((answer["server"]["name"].clone(), answer["data"]["total"].clone()));
        }
        names.sort_by_key(|(name, _)| name.to_string());
        (names.len() == 2).then_some(names)
    })
    .await;
    assert_eq!(names, [(json!("one"), json!(0)), (json!("two"), json!(1))]);
    let denied = client.request("$SYS.REQ.SERVER.PING.VARZ", "".into()).await;
    assert!(denied.is_err(), "{denied:?}");
}
