//! Messages whose way is reported: the same reports from natsd, from a stock nats-server, and
//! from clusters of both.
//!
//! Ignored unless asked for: the oracle is a stock server (`NATS_SERVER_BIN`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use blackbox::eventually;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use serde_json::{Value, json};

const CONFIG: &str = r#"
    accounts {
        A {
            users: [ { user: a, password: p } ]
            exports: [ { stream: "ev.>" }, { service: "open", allow_trace: true }, { service: "shut" } ]
            mappings { "from": "to" }
            msg_trace: "traces.external"
        }
        B {
            users: [
                { user: b, password: p }
                { user: few, password: p, permissions { publish: ["x", "bad", "traces.>"], subscribe { deny: "no.*" } } }
            ]
            imports: [
                { stream: { account: A, subject: "ev.>" }, prefix: in, allow_trace: true }
                { service: { account: A, subject: "open" } }
                { service: { account: A, subject: "shut" }, to: "closed" }
            ]
        }
        C { users: [ { user: c, password: p } ], imports: [ { stream: { account: A, subject: "ev.>" } } ] }
    }"#;

/// Who listens: user, server, subscriptions.
const LISTENERS: &[(&str, usize, &str)] = &[
    ("a", 0, "SUB x 1\r\nSUB x q 2\r\nSUB to 3\r\nSUB ev.1 4\r\n"),
    ("a", 1, "SUB x 1\r\nSUB open 2\r\nSUB shut 3\r\n"),
    ("b", 0, "SUB in.ev.* 1\r\nSUB x 2\r\n"),
    ("c", 0, "SUB ev.> 1\r\n"),
    ("few", 0, "SUB *.way 1\r\n"),
    ("a", 0, "SUB open q 1\r\n"),
];

/// A message and how many reports come of it: per server where it comes.
struct Case {
    name: &'static str,
    user: &'static str,
    line: &'static str,
    headers: &'static str,
    alone: usize,
    together: usize,
}

const CASES: &[Case] = &[
    case("plain", "a", "x", "Nats-Trace-Dest: traces.1|X: 1|x: 2", 1, 2),
    case("only", "a", "x", "Nats-Trace-Dest: traces.1|Nats-Trace-Only: true", 1, 2),
    case("mapped", "a", "from", "Nats-Trace-Dest: traces.1", 1, 1),
    case("stream", "a", "ev.1", "Nats-Trace-Dest: traces.1", 1, 1),
    case("stream only", "a", "ev.1", "Nats-Trace-Dest: traces.1|Nats-Trace-Only: 1", 1, 1),
    case("nobody", "a", "nobody", "Nats-Trace-Dest: traces.1", 1, 1),
    case("service", "b", "open", "Nats-Trace-Dest: traces.1", 1, 2),
    case("service with reply", "b", "open r", "Nats-Trace-Dest: traces.1", 1, 2),
    case("service only", "b", "open r", "Nats-Trace-Dest: traces.1|Nats-Trace-Only: on", 1, 2),
    case("closed service", "b", "closed", "Nats-Trace-Dest: traces.1", 1, 1),
    case(
        "closed service only",
        "b",
        "closed",
        "Nats-Trace-Dest: traces.1|Nats-Trace-Only: 1",
        1,
        1,
    ),
    case("refused", "few", "other", "Nats-Trace-Dest: traces.1", 1, 1),
    case("denied", "b", "no.way", "Nats-Trace-Dest: traces.1", 1, 1),
    case("external", "a", "x", "TRACEPARENT: 00-1-2-01", 1, 2),
    case("external elsewhere", "b", "x", "traceparent: 00-1-2-01", 0, 0),
    case("not sampled", "a", "x", "traceparent: 00-1-2-00", 0, 0),
    case("bad destination", "a", "x", "Nats-Trace-Dest: traces.*|Nats-Trace-Only: 1", 0, 0),
    case("forbidden destination", "few", "x", "Nats-Trace-Dest: elsewhere", 0, 0),
    case("disabled", "a", "x", "Nats-Trace-Dest: trace disabled", 0, 0),
    case(
        "origin account",
        "a",
        "x",
        "Nats-Trace-Dest: traces.1|Nats-Trace-Origin-Account: B",
        0,
        0,
    ),
];

const fn case(
    name: &'static str,
    user: &'static str,
    line: &'static str,
    headers: &'static str,
    alone: usize,
    together: usize,
) -> Case {
    Case { name, user, line, headers, alone, together }
}

async fn connect(server: &Server, user: &str) -> Conversation {
    let mut client = Conversation::dial(server.client()).await.unwrap();
    client.line().await.unwrap();
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"name\":\"the {user}\",\
         \"user\":\"{user}\",\"pass\":\"p\"}}\r\n"
    );
    client.send(connect.as_bytes()).await.unwrap();
    hear(&mut client).await;
    client
}

/// Everything that came by now: lines, and the bodies of messages.
async fn hear(client: &mut Conversation) -> Vec<String> {
    client.send(b"PING\r\n").await.unwrap();
    let mut heard = Vec::new();
    loop {
        let line = String::from_utf8(client.line().await.unwrap()).unwrap();
        match line.split_whitespace().next().unwrap_or_default() {
            "PONG" => return heard,
            "PING" => client.send(b"PONG\r\n").await.unwrap(),
            "INFO" => {}
            "MSG" | "HMSG" => {
                let size: usize = line.split_whitespace().last().unwrap().parse().unwrap();
                let body = client.take(size + 2).await.unwrap();
                let subject = line.split_whitespace().nth(1).unwrap();
                heard.push(format!("{subject} {}", String::from_utf8_lossy(&body).trim_end()));
            }
            _ => heard.push(line.trim_end().to_owned()),
        }
    }
}

/// A report without what differs from run to run.
fn masked(report: &str) -> Value {
    let report: Value = serde_json::from_str(report).unwrap();
    let mut events: Vec<Value> = report["events"].as_array().unwrap().clone();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        assert!(
            event.remove("ts").is_some_and(|ts| ts.as_str().is_some_and(|ts| ts.contains('T')))
        );
        if let Some(cid) = event.remove("cid") {
            assert!(cid.as_u64().unwrap() > 0);
        }
    }
    // Receivers come in no order.
    events[1..].sort_by_key(ToString::to_string);
    let mut request = report["request"].clone();
    if let Some(dest) = request["header"].get_mut("Nats-Trace-Dest")
        && dest[0].as_str().unwrap().starts_with("_R_.")
    {
        *dest = json!("a reply subject");
        // It is longer or shorter.
        request["msgsize"] = json!("?");
    }
    if let Some(info) = request["header"].get_mut("Nats-Request-Info") {
        let mut asker: Value = serde_json::from_str(info[0].as_str().unwrap()).unwrap();
        asker.as_object_mut().unwrap().remove("rtt");
        *info = asker;
    }
    json!({
        "server": report["server"]["name"],
        "request": request,
        "hops": report["hops"],
        "events": events,
    })
}

/// What is reported, and what is delivered.
async fn play(binaries: &[&Binary]) -> Vec<(String, Vec<Value>)> {
    let mut servers: Vec<Server> = Vec::new();
    for (index, binary) in binaries.iter().enumerate() {
        let mut setup = Setup::new(binary).config(CONFIG).name(&format!("n{index}"));
        if binaries.len() > 1 {
            let ports: Vec<u16> = servers.iter().map(|server| server.port("cluster")).collect();
            setup = setup.cluster("c", -1).routes(&ports);
        }
        servers.push(setup.start().await);
    }
    let mut observers = Vec::new();
    for user in ["a", "b"] {
        let mut observer = connect(&servers[0], user).await;
        observer.send(b"SUB traces.> 1\r\n").await.unwrap();
        hear(&mut observer).await;
        observers.push(observer);
    }
    let mut listeners = Vec::new();
    for (user, at, subscriptions) in LISTENERS {
        let Some(server) = servers.get(*at) else { continue };
        let mut listener = connect(server, user).await;
        listener.send(subscriptions.as_bytes()).await.unwrap();
        hear(&mut listener).await;
        listeners.push(listener);
    }
    if servers.len() > 1 {
        wait_for_interest(&servers).await;
    }
    let mut told = Vec::new();
    for case in CASES {
        let mut publisher = connect(&servers[0], case.user).await;
        let headers = format!("NATS/1.0\r\n{}\r\n\r\n", case.headers.replace('|', "\r\n"));
        let size = headers.len();
        let text = format!("HPUB {} {size} {}\r\n{headers}hi\r\n", case.line, size + 2);
        publisher.send(text.as_bytes()).await.unwrap();
        let answer = hear(&mut publisher).await;
        let wanted = if servers.len() > 1 { case.together } else { case.alone };
        let mut reports: Vec<Value> = Vec::new();
        eventually(&format!("{wanted} reports of {:?}", case.name), async || {
            for observer in &mut observers {
                let heard = hear(observer).await;
                reports.extend(heard.iter().filter_map(|text| {
                    text.split_once(' ')
                        .filter(|(to, _)| to.starts_with("traces."))
                        .map(|(to, report)| json!({ "to": to, "report": masked(report) }))
                }));
            }
            (reports.len() >= wanted).then_some(())
        })
        .await;
        reports.sort_by_key(ToString::to_string);
        reports.extend(answer.into_iter().map(Value::from));
        for (index, listener) in listeners.iter_mut().enumerate() {
            let heard =
                delivered(listener, servers.len() > 1 && !case.headers.contains("Only")).await;
            reports.push(json!({ "listener": index, "hears": heard }));
        }
        told.push((case.name.to_owned(), reports));
    }
    told
}

/// How many messages a listener got; the numbers alone, since queue groups choose freely.
async fn delivered(listener: &mut Conversation, remote: bool) -> usize {
    let heard = hear(listener).await.len();
    // Messages of another server may still be on their way; reports have come, so not for long.
    if remote && heard == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        return hear(listener).await.len();
    }
    heard
}

/// Waits until the first server knows what is subscribed to on the second, and the other way.
async fn wait_for_interest(servers: &[Server]) {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut listener = connect(&servers[to], "a").await;
        listener.send(format!("SUB probe.{to} 1\r\n").as_bytes()).await.unwrap();
        hear(&mut listener).await;
        let mut speaker = connect(&servers[from], "a").await;
        eventually("a probe arrives", async || {
            speaker.send(format!("PUB probe.{to} 1\r\nx\r\n").as_bytes()).await.unwrap();
            hear(&mut speaker).await;
            (!hear(&mut listener).await.is_empty()).then_some(())
        })
        .await;
    }
}

fn compare(stock: &[(String, Vec<Value>)], ours: &[(String, Vec<Value>)], what: &str) {
    for ((name, expected), (_, found)) in stock.iter().zip(ours) {
        let show = |list: &[Value]| list.iter().map(|one| format!("{one}\n")).collect::<String>();
        assert!(
            expected == found,
            "{what}, {name}:\nexpected\n{}found\n{}",
            show(expected),
            show(found)
        );
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn one_server_reports_what_it_did() {
    let (ours, stock) = (Binary::under_test(), Binary::stock());
    let expected = play(&[&stock]).await;
    compare(&expected, &play(&[&ours]).await, "alone");
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn every_server_on_the_way_reports() {
    let (ours, stock) = (Binary::under_test(), Binary::stock());
    let expected = play(&[&stock, &stock]).await;
    for binaries in [[&ours, &ours], [&ours, &stock], [&stock, &ours]] {
        compare(&expected, &play(&binaries).await, &format!("{binaries:?}"));
    }
}
