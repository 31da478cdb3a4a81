//! The monitoring endpoints, held against the stock server key by key and type by type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a failed step is a failed test"
)]

use std::path::{Path, PathBuf};

use blackbox::cluster::{Cluster, Routes, connect, settle};
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use blackbox::{eventually, shape};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// The documents that are compared, each in the same situation.
const DOCUMENTS: [&str; 11] = [
    "/varz",
    "/connz",
    "/connz?subs=1",
    "/connz?subs=detail&auth=1",
    "/connz?state=closed",
    "/routez",
    "/routez?subs=1",
    "/routez?subs=detail",
    "/subsz",
    "/subsz?subs=1",
    "/healthz",
];

/// Two nodes of this binary with clients, subscriptions, traffic and a closed connection; the
/// shapes of the first node's documents, and whether its routes are pooled.
async fn shapes(binary: &Binary) -> (Value, bool) {
    shapes_of(binary, &DOCUMENTS).await
}

async fn shapes_of(binary: &Binary, documents: &[&str]) -> (Value, bool) {
    shapes_under("", binary, documents).await
}

/// Whoever says nothing is `a`, in an account that gives to another and takes from it.
const WITH_ACCOUNTS: &str = r#"
accounts {
  A {
    users: [ { user: a, password: p } ]
    exports: [ { stream: "ev.>" }, { service: "open" } ]
    imports: [ { service: { account: B, subject: "of.b" } } ]
    mappings { "from": "to" }
  }
  B {
    users: [ { user: b, password: p } ]
    exports: [ { service: "of.b", accounts: [A] } ]
    imports: [ { stream: { account: A, subject: "ev.>" }, prefix: in }, { service: { account: A, subject: "open" } } ]
  }
}
no_auth_user: a
"#;

async fn shapes_under(config: &str, binary: &Binary, documents: &[&str]) -> (Value, bool) {
    let mut cluster = Cluster::plan([binary, binary], Routes::ToSeed).config(config);
    cluster.start_all().await;
    cluster.mesh().await;
    let options = async_nats::ConnectOptions::new().name("watcher");
    let client = options.connect(cluster.url(0)).await.unwrap();
    let other = connect(&cluster.url(1)).await;
    let mut plain = client.subscribe("shape.>").await.unwrap();
    let _queue = client.queue_subscribe("shape.jobs", "workers".into()).await.unwrap();
    let _remote = other.queue_subscribe("shape.far", "workers".into()).await.unwrap();
    settle(&other, &client).await;
    settle(&client, &other).await;
    other.publish("shape.jobs", "x".into()).await.unwrap();
    other.flush().await.unwrap();
    plain.next().await.unwrap();
    let mut closed = Conversation::dial(cluster.node(0).client()).await.unwrap();
    closed.line().await.unwrap();
    closed.send(b"PING\r\n").await.unwrap();
    closed.line().await.unwrap();
    drop(closed);
    eventually("a closed connection is listed", async || {
        let closed = cluster.node(0).monitor("/connz?state=closed").await;
        (!closed["connections"].as_array()?.is_empty()).then_some(())
    })
    .await;
    eventually("round trips have been measured", async || {
        let connz = cluster.node(0).monitor("/connz").await;
        let routez = cluster.node(0).monitor("/routez").await;
        let measured = |list: &Value| {
            list.as_array().is_some_and(|all| all.iter().all(|one| one.get("rtt").is_some()))
        };
        (measured(&connz["connections"]) && measured(&routez["routes"])).then_some(())
    })
    .await;
    let mut shapes = serde_json::Map::new();
    for path in documents {
        shapes.insert((*path).to_owned(), shape::of(&cluster.node(0).monitor(path).await));
    }
    let routez = cluster.node(0).monitor("/routez").await;
    (Value::Object(shapes), routez["num_routes"].as_u64().unwrap() > 1)
}

/// Further documents that are compared side by side.
const FURTHER_DOCUMENTS: [&str; 31] = [
    "/accountz",
    "/accountz?acc=$G",
    "/accstatz",
    "/accstatz?unused=1",
    "/leafz",
    "/gatewayz",
    "/jsz",
    "/ipqueuesz",
    "/connz?auth=1&state=all",
    "/connz?auth=1&subs=1&state=closed",
    "/connz?subs=detail&state=closed",
    "/connz?acc=$G&sort=subs",
    "/connz?acc=nobody",
    "/connz?cid=999999",
    "/connz?limit=1&offset=1",
    "/subscriptionsz?subs=1&limit=1000&offset=0",
    "/subsz?subs=1&acc=$G",
    "/subsz?subs=1&test=shape.jobs",
    "/subsz?acc=nobody",
    "/accountz?acc=$SYS",
    "/healthz?details=1",
    "/healthz?js-enabled=1",
    "/healthz?js-enabled-only=1",
    "/healthz?js-server-only=1",
    "/healthz?js-meta-only=1",
    "/healthz?account=$G",
    "/healthz?account=$G&stream=s&consumer=c",
    "/leafz?subs=1&acc=$G",
    "/gatewayz?accs=1&gw_name=g&acc_name=$G&subs=1",
    "/jsz?accounts=1&streams=1&consumers=1&config=1&raft=1&acc=$G&offset=1&limit=1",
    "/ipqueuesz?all=1&queues=nothing",
];

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn keys_types_and_order_are_those_of_the_stock_server() {
    let documents = [&DOCUMENTS[..], &FURTHER_DOCUMENTS].concat();
    let (stock, _) = shapes_of(&Binary::stock(), &documents).await;
    let (ours, _) = shapes_of(&Binary::under_test(), &documents).await;
    let differences = shape::differences(&stock, &ours);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn with_accounts_keys_types_and_order_are_those_of_the_stock_server() {
    let further =
        ["/accountz?acc=A", "/accountz?acc=B", "/connz?auth=1&acc=A", "/connz?user=a&auth=1"];
    let documents = [&DOCUMENTS[..], &FURTHER_DOCUMENTS, &further].concat();
    let (stock, _) = shapes_under(WITH_ACCOUNTS, &Binary::stock(), &documents).await;
    let (ours, _) = shapes_under(WITH_ACCOUNTS, &Binary::under_test(), &documents).await;
    let differences = shape::differences(&stock, &ours);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The reference lists subscriptions in no order, so which of them are on a page is chance; how
/// many are on it, and what is said of the page, is not.
#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn pages_of_subscriptions_are_cut_as_by_the_stock_server() {
    let (stock, ours) = (pages_of(&Binary::stock()).await, pages_of(&Binary::under_test()).await);
    assert_eq!(ours, stock);
    assert!(stock.iter().any(|page| page["on_page"] == 2 && page["limit"] == 2), "{stock:?}");
}

async fn pages_of(binary: &Binary) -> Vec<Value> {
    let server = Setup::new(binary).start().await;
    let mut client = Conversation::dial(server.client()).await.unwrap();
    client.line().await.unwrap();
    client
        .send(b"SUB a 1\r\nSUB b 2\r\nSUB * 3\r\nSUB > 4\r\nSUB a q 5\r\nPING\r\n")
        .await
        .unwrap();
    client.line().await.unwrap();
    // The reference makes its own four a moment after its start.
    eventually("the server's own subscriptions are there", async || {
        (server.monitor("/subsz?acc=$G&subs=1").await["total"] == 9).then_some(())
    })
    .await;
    let mut pages = Vec::new();
    for window in ["limit=1&offset=1", "limit=2", "offset=4", "limit=2&offset=4", "offset=99"] {
        let path = format!("/subsz?subs=1&acc=$G&{window}");
        let page = server.monitor(&path).await;
        let on_page = page["subscriptions_list"].as_array().map_or(0, Vec::len);
        let (total, offset, limit) = (&page["total"], &page["offset"], &page["limit"]);
        pages.push(json!({"window": window, "total": total, "offset": offset, "limit": limit,
            "on_page": on_page}));
    }
    pages
}

/// What each account sent and got over routes counts where the reference counts it.
#[tokio::test]
async fn traffic_of_an_account_is_that_of_clients_and_of_routes() {
    let binary = Binary::under_test();
    let mut cluster = Cluster::plan([&binary, &binary], Routes::ToSeed);
    cluster.start_all().await;
    cluster.mesh().await;
    let (near, far) = (connect(&cluster.url(0)).await, connect(&cluster.url(1)).await);
    let mut messages = far.subscribe("counted").await.unwrap();
    settle(&near, &far).await;
    let stat = async |node: usize| {
        let mut statz = cluster.node(node).monitor("/accstatz").await;
        let mut all = statz["account_statz"].take().as_array().cloned().unwrap();
        let global = all.iter().position(|one| one["acc"] == "$G").expect("clients are in $G");
        all.swap_remove(global)
    };
    let (before_near, before_far) = (stat(0).await, stat(1).await);
    for _ in 0..10 {
        near.publish("counted", "12345".into()).await.unwrap();
    }
    near.flush().await.unwrap();
    for _ in 0..10 {
        messages.next().await.unwrap();
    }
    let grown = |after: &Value, before: &Value, way: &str| {
        ["/msgs", "/bytes", "/routes/msgs", "/routes/bytes"].map(|path| {
            let number = |all: &Value| all[way].pointer(path).and_then(Value::as_u64).unwrap();
            number(after) - number(before)
        })
    };
    let (after_near, after_far) = (stat(0).await, stat(1).await);
    assert_eq!(grown(&after_near, &before_near, "received"), [10, 50, 0, 0]);
    assert_eq!(grown(&after_near, &before_near, "sent"), [10, 50, 10, 50]);
    assert_eq!(grown(&after_far, &before_far, "received"), [10, 50, 10, 50]);
    assert_eq!(grown(&after_far, &before_far, "sent"), [10, 50, 0, 0]);
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn refusals_are_word_for_word_those_of_the_stock_server() {
    let (stock, ours) = (Setup::new(&Binary::stock()), Setup::new(&Binary::under_test()));
    let (stock, ours) = (stock.start().await, ours.start().await);
    for path in [
        "/connz?auth=perhaps",
        "/connz?subs=perhaps",
        "/connz?limit=x",
        "/connz?limit=99999999999999999999",
        "/connz?offset=1.5",
        "/connz?cid=-1",
        "/connz?state=foo",
        "/connz?sort=foo",
        "/connz?sort=stop",
        "/connz?sort=reason&state=all",
        "/routez?subs=perhaps",
        "/subsz?subs=detail",
        "/subsz?offset=x",
        "/subsz?test=foo.*",
        "/accountz?acc=nobody",
        "/accstatz?unused=perhaps",
        "/leafz?subs=perhaps",
        "/gatewayz?accs=perhaps",
        "/jsz?accounts=perhaps",
        "/jsz?limit=x",
        "/ipqueuesz?all=perhaps",
        "/raftz",
        "/healthz?details=perhaps",
        "/healthz?stream=s",
        "/healthz?consumer=c&details=1",
        "/nothing",
        "/varz/",
        "/VARZ",
    ] {
        assert_eq!(ours.monitor_text(path).await, stock.monitor_text(path).await, "{path}");
    }
}

#[tokio::test]
async fn a_slow_or_greedy_http_client_harms_nobody() {
    let server = server().await;
    let address = ([127, 0, 0, 1], server.port("monitoring")).into();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut peer = Conversation::dial(address).await.unwrap();
        // Those beyond the limit are cut off: writing to them may fail.
        drop(peer.send(b"GET /varz HTTP/1.1\r\nHost: x\r\nX-Slow: ").await);
        slow.push(peer);
    }
    // Clients are served as ever.
    let mut client = Conversation::dial(server.client()).await.unwrap();
    client.line().await.unwrap();
    client.send(b"PING\r\n").await.unwrap();
    assert_eq!(client.line().await.unwrap(), b"PONG\r\n");
    // And so is monitoring, once somebody makes room.
    slow.clear();
    eventually("monitoring answers again", async || {
        blackbox::wire::http_get(address, "/varz").await.ok().filter(|(status, _)| *status == 200)
    })
    .await;
    let mut greedy = Conversation::dial(address).await.unwrap();
    let head = format!("GET /varz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    drop(greedy.send(head.as_bytes()).await);
    let answer = String::from_utf8_lossy(&greedy.line().await.unwrap()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn the_base_path_stands_before_every_path() {
    let config = "http_base_path: /nats";
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    assert_eq!(server.monitor_text("/varz").await.0, 404);
    assert_eq!(server.monitor_text("/nats").await.0, 200);
    let varz = server.monitor("/nats/varz").await;
    assert_eq!(varz["http_base_path"], "/nats");
    assert_eq!(varz["http_req_stats"], json!({"/": 1, "/varz": 1}));
}

#[tokio::test]
async fn closed_connections_keep_their_subscriptions_and_reason() {
    let server = server().await;
    let mut peer = Conversation::dial(server.client()).await.unwrap();
    peer.line().await.unwrap();
    peer.send(b"CONNECT {\"verbose\":false}\r\nSUB a.> q 1\r\nUNSUB 1 9\r\nPING\r\nNO\r\n")
        .await
        .unwrap();
    peer.line().await.unwrap();
    let closed = eventually("it is listed", async || {
        let connz = server.monitor("/connz?state=closed&subs=detail").await;
        connz["connections"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(closed["reason"], "Protocol Violation");
    assert_eq!(closed["subscriptions"], 1);
    let detail = &closed["subscriptions_list_detail"][0];
    assert_eq!((&detail["subject"], &detail["qgroup"]), (&json!("a.>"), &json!("q")));
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shapes/stock.json")
}

/// What the stock server has, as recorded; [`the_recorded_shapes_are_those_of_the_stock_server`]
/// keeps the record honest.
#[tokio::test]
async fn every_document_has_the_keys_and_types_of_the_stock_server() {
    let wanted: Value = serde_json::from_slice(&std::fs::read(golden()).unwrap()).unwrap();
    let (actual, pooled) = shapes(&Binary::under_test()).await;
    let mut faults = shape::lacks(&wanted, &actual);
    if !pooled {
        // Only a route of a pinned account names one, and without a pool there is none.
        faults.retain(|fault| {
            !fault.ends_with(".routes[].account is missing")
                && !fault.ends_with(".cluster.pool_size is missing")
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn the_recorded_shapes_are_those_of_the_stock_server() {
    let (actual, _pooled) = shapes(&Binary::stock()).await;
    if std::env::var_os("RECORD_SHAPES").is_some() {
        std::fs::write(golden(), format!("{actual:#}\n")).unwrap();
    }
    let recorded: Value = serde_json::from_slice(&std::fs::read(golden()).unwrap()).unwrap();
    assert_eq!(shape::lacks(&recorded, &actual), [""; 0], "recorded, but not there");
    assert_eq!(shape::lacks(&actual, &recorded), [""; 0], "there, but not recorded");
}

async fn server() -> Server {
    Setup::new(&Binary::under_test()).name("alice").start().await
}

#[tokio::test]
async fn healthz_says_ok() {
    let server = server().await;
    let (status, body) = server.monitor_text("/healthz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let server = server().await;
    assert_eq!(server.monitor_text("/nothing").await.0, 404);
    assert_eq!(server.monitor_text("/").await.0, 200);
}

#[tokio::test]
async fn a_bad_query_is_refused_with_a_reason() {
    let server = server().await;
    for (path, reason) in [
        ("/connz?auth=perhaps", "Error decoding boolean for 'auth'"),
        ("/connz?limit=x", "Error decoding int for 'limit'"),
        ("/connz?cid=x", "Error decoding uint64 for 'cid'"),
        ("/connz?state=foo", "Error decoding state for foo"),
        ("/connz?sort=foo", "invalid sorting option: foo"),
        ("/subsz?offset=x", "Error decoding int for 'offset'"),
    ] {
        let (status, body) = server.monitor_text(path).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.contains(reason), "{path}: {body}");
    }
}

#[tokio::test]
async fn paths_and_queries_may_be_as_people_type_them() {
    let server = server().await;
    let invalid = "invalid test subject, must be valid publish subject: foo.>";
    for (path, status, text) in [
        ("/subsz?subs=1&test=foo.>", 400, invalid),
        ("/subsz?subs=1&test=foo.%3E", 400, invalid),
        ("/healthz?a=<\"`é>#b", 200, r#"{"status":"ok"}"#),
        ("/%68ealthz", 200, r#"{"status":"ok"}"#),
        ("/<healthz>", 404, "404 page not found\n"),
        ("/healthz/", 404, "404 page not found\n"),
    ] {
        let (found, body) = server.monitor_text(path).await;
        assert_eq!((found, body.trim_end()), (status, text.trim_end()), "{path}");
    }
    let mut peer =
        Conversation::dial(([127, 0, 0, 1], server.port("monitoring")).into()).await.unwrap();
    peer.send(b"GET //healthz?a=1 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head += std::str::from_utf8(&peer.line().await.unwrap()).unwrap();
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 307 "), "{head}");
    assert!(head.contains("location: /healthz?a=1\r\n"), "{head}");
}

#[tokio::test]
async fn a_path_with_a_broken_escape_is_no_request() {
    let server = server().await;
    for target in ["/%zz", "/varz%", "//varz%2", "/%2f%u1234?a=1", "varz"] {
        let mut peer =
            Conversation::dial(([127, 0, 0, 1], server.port("monitoring")).into()).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.send(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(peer.closed().await.unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{target}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        for header in ["content-type: text/plain; charset=utf-8", "connection: close"] {
            assert!(head.contains(header), "{target}: {answer}");
        }
        assert_eq!(body, "400 Bad Request", "{target}");
    }
    let (status, body) = server.monitor_text("/healthz?a=%zz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"status":"ok"}"#), "in a query it may stand");
}

#[tokio::test]
async fn a_base_path_stands_for_the_index() {
    let config = "http_base_path: /nats";
    let server = Setup::new(&Binary::under_test()).config(config).start().await;
    for (path, status) in
        [("/nats", 200), ("/nats/varz", 200), ("/nats/", 404), ("/", 404), ("/varz", 404)]
    {
        assert_eq!(server.monitor_text(path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn varz_counts_clients_messages_and_bytes() {
    let server = server().await;
    let mut peer = Conversation::dial(server.client()).await.unwrap();
    peer.line().await.unwrap();
    let hello =
        "CONNECT {\"verbose\":false,\"name\":\"bob\",\"lang\":\"x\",\"version\":\"1.2\"}\r\n";
    peer.send(hello.as_bytes()).await.unwrap();
    peer.send(b"SUB foo 1\r\nPUB foo 5\r\nhello\r\nPUB bar 2\r\nhi\r\nPING\r\n").await.unwrap();
    for wanted in ["MSG foo 1 5\r\n", "hello\r\n", "PONG\r\n"] {
        assert_eq!(peer.line().await.unwrap(), wanted.as_bytes());
    }
    let varz = server.monitor("/varz").await;
    for (key, value) in [
        ("server_name", json!("alice")),
        ("proto", json!(1)),
        ("host", json!("127.0.0.1")),
        ("port", json!(server.port("nats"))),
        ("max_payload", json!(1_048_576)),
        ("max_connections", json!(65536)),
        ("max_pending", json!(67_108_864)),
        ("max_control_line", json!(4096)),
        ("ping_interval", json!(120_000_000_000_u64)),
        ("ping_max", json!(2)),
        ("write_deadline", json!(10_000_000_000_u64)),
        ("auth_timeout", json!(2)),
        ("connections", json!(1)),
        ("total_connections", json!(1)),
        ("routes", json!(0)),
        ("in_msgs", json!(2)),
        ("in_bytes", json!(7)),
        ("out_msgs", json!(1)),
        ("out_bytes", json!(5)),
        ("slow_consumers", json!(0)),
    ] {
        assert_eq!(varz[key], value, "{key}");
    }
    let connz = server.monitor("/connz?subs=1").await;
    assert_eq!(connz["num_connections"], 1);
    let connection = &connz["connections"][0];
    for (key, value) in [
        ("kind", json!("Client")),
        ("type", json!("nats")),
        ("ip", json!("127.0.0.1")),
        ("name", json!("bob")),
        ("lang", json!("x")),
        ("version", json!("1.2")),
        ("in_msgs", json!(2)),
        ("out_msgs", json!(1)),
        ("in_bytes", json!(7)),
        ("out_bytes", json!(5)),
        ("subscriptions", json!(1)),
        ("pending_bytes", json!(0)),
        ("subscriptions_list", json!(["foo"])),
    ] {
        assert_eq!(connection[key], value, "{key}");
    }
}

#[tokio::test]
async fn connz_sorts_limits_and_finds() {
    let server = server().await;
    let mut peers = Vec::new();
    for n in 1..=5_usize {
        let mut peer = Conversation::dial(server.client()).await.unwrap();
        peer.line().await.unwrap();
        peer.send(b"CONNECT {\"verbose\":false}\r\n").await.unwrap();
        for sub in 0..n {
            peer.send(format!("SUB s.{n}.{sub} {sub}\r\n").as_bytes()).await.unwrap();
        }
        peer.send(b"PING\r\n").await.unwrap();
        assert_eq!(peer.line().await.unwrap(), b"PONG\r\n");
        peers.push(peer);
    }
    let cids = async |query: &str| -> Vec<u64> {
        let connz = server.monitor(&format!("/connz?{query}")).await;
        let connections = connz["connections"].as_array().cloned().unwrap();
        connections.iter().map(|connection| connection["cid"].as_u64().unwrap()).collect()
    };
    let all = cids("").await;
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted());
    let by_subs = cids("sort=subs").await;
    assert_eq!(by_subs, all.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(cids("limit=2").await, all[..2]);
    assert_eq!(cids("limit=2&offset=3").await, all[3..]);
    assert_eq!(cids(&format!("cid={}", all[1])).await, all[1..2]);
    let gone = all[4];
    peers.pop();
    eventually("the closed one is listed as closed", async || {
        (cids("state=closed").await == [gone]).then_some(())
    })
    .await;
    assert_eq!(cids("state=all").await.len(), 5);
    let closed = server.monitor("/connz?state=closed").await;
    assert_eq!(closed["connections"][0]["reason"], "Client Closed");
    assert!(closed["connections"][0]["stop"].is_string());
}

#[tokio::test]
async fn routez_names_both_sides() {
    let binary = Binary::under_test();
    let mut cluster = Cluster::plan([&binary, &binary], Routes::ToSeed);
    cluster.start_all().await;
    cluster.mesh().await;
    for (here, there) in [(0, 1), (1, 0)] {
        let routez = cluster.node(here).monitor("/routez").await;
        let peer = cluster.node(there).monitor("/varz").await;
        assert_eq!(routez["num_routes"], routez["routes"].as_array().unwrap().len());
        for route in routez["routes"].as_array().unwrap() {
            assert_eq!(route["remote_id"], peer["server_id"]);
            assert_eq!(route["remote_name"], peer["server_name"]);
            assert_eq!(route["ip"], "127.0.0.1");
        }
        let varz = cluster.node(here).monitor("/varz").await;
        assert_eq!(varz["remotes"], 1);
        assert_eq!(varz["cluster"]["name"], "C1");
        assert_eq!(varz["connect_urls"].as_array().unwrap().len(), 2);
    }
    // Only the second lists the first as a route to dial.
    let solicits = async |node: usize| -> Vec<bool> {
        let routez = cluster.node(node).monitor("/routez").await;
        let routes = routez["routes"].as_array().cloned().unwrap();
        routes.iter().map(|route| route["did_solicit"].as_bool().unwrap()).collect()
    };
    assert!(solicits(0).await.iter().all(|solicited| !solicited));
    assert!(solicits(1).await.iter().all(|solicited| *solicited));
}

/// Accounts with all kinds of exports, imports and mappings.
const ACCOUNTS: &str = r#"accounts {
  A {
    users: [ { user: a, password: p } ]
    exports: [ { stream: "ev.>" }, { stream: "priv.*", accounts: [B] }, { service: "open", allow_trace: true, response_type: stream }, { service: "shut", accounts: [B], response_threshold: "3s" } ]
    mappings { "from": "to", "w.*": [ { destination: "v.$1", weight: 20 }, { destination: "u.$1", weight: 10, cluster: east } ] }
  }
  B {
    users: [ { user: b, password: p } ]
    imports: [ { stream: { account: A, subject: "ev.>" }, prefix: in, allow_trace: true }, { stream: { account: A, subject: "priv.*" }, to: "own.$1" }, { service: { account: A, subject: "open" }, share: true }, { service: { account: A, subject: "shut" }, to: "closed" } ]
  }
}
"#;

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn accounts_are_shown_with_what_they_give_and_take() {
    let servers = [Binary::stock(), Binary::under_test()]
        .map(|binary| async move { Setup::new(&binary).config(ACCOUNTS).start().await });
    let [stock, ours] = servers;
    let (stock, ours) = (stock.await, ours.await);
    let detail = async |server: &Server, account: &str| {
        let path = format!("/accountz?acc={account}");
        let mut detail = server.monitor(&path).await["account_detail"].take();
        detail.as_object_mut().unwrap().remove("update_time");
        if account == "$SYS" {
            // What servers listen to among themselves is their own business.
            detail.as_object_mut().unwrap().remove("subscriptions");
            detail.as_object_mut().unwrap().remove("sublist_stats");
        }
        for list in ["exports", "imports"] {
            // Both are in no order in the reference.
            if let Some(list) = detail.get_mut(list).and_then(Value::as_array_mut) {
                list.sort_by_key(ToString::to_string);
            }
        }
        detail
    };
    for account in ["A", "B", "$G", "$SYS"] {
        assert_eq!(detail(&ours, account).await, detail(&stock, account).await, "{account}");
    }
}
