//! Who may do what: the same configuration and the same talk on natsd, on a stock nats-server,
//! and on clusters of both. Whatever one answers, the others answer.
//!
//! The tests that need a stock server are ignored unless asked for: `cargo test --test security
//! -- --include-ignored` with `NATS_SERVER_BIN`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use blackbox::cluster::settle;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;
use blackbox::{DEADLINE, eventually};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// A configuration, who connects, and what they say in turn.
struct Scene {
    name: &'static str,
    config: &'static str,
    /// Keys of CONNECT of each client.
    clients: &'static [&'static str],
    /// Which client says what; `|` stands for a line end.
    talk: &'static [(usize, &'static str)],
}

const PERMISSIONS: Scene = Scene {
    name: "permissions",
    config: r#"
        authorization {
            default_permissions { publish: "d.>", subscribe: ["d.>", "_INBOX.>"] }
            users: [
                { user: a, password: pa, permissions {
                    publish { allow: ["foo.*", "b", "w.>"], deny: ["foo.x", "w.*.secret"] }
                    subscribe { allow: ["bar.>", "w.*", "qq v1", "qq dev.*", "_INBOX.>"], deny: ["bar.x", "bar.y q1", "bar.*.z"] } } }
                { user: free, password: pf, permissions { publish: ">", subscribe: ">" } }
                { user: d, password: pd }
                { user: mute, password: pm, permissions { publish { deny: ">" } } }
            ]
        }"#,
    clients: &[
        r#""user":"a","pass":"pa""#,
        r#""user":"free","pass":"pf""#,
        r#""user":"d","pass":"pd""#,
        r#""user":"mute","pass":"pm""#,
    ],
    talk: &[
        (1, "SUB > 1"),
        (0, "PUB foo.a 1|x"),
        (0, "PUB foo.a 1|y"),
        (0, "PUB foo.x 1|x"),
        (0, "PUB foo.x 1|x"),
        (0, "PUB foo.a.b 1|x"),
        (0, "PUB foo.* 1|x"),
        (0, "PUB w.a.secret 1|x"),
        (0, "PUB w.a.b 1|x"),
        (0, "PUB b _R_.x 1|x"),
        (0, "PUB b $JS.ACK.x 1|x"),
        (0, "SUB bar.a 1"),
        (0, "SUB bar.x 2"),
        (0, "SUB bar.x q 3"),
        (0, "SUB bar.y 4"),
        (0, "SUB bar.y q1 5"),
        (0, "SUB bar.y q2 6"),
        (0, "SUB w.> 7"),
        (0, "SUB w.*.x 8"),
        (0, "SUB qq 9"),
        (0, "SUB qq v1 10"),
        (0, "SUB qq v2 11"),
        (0, "SUB qq dev.eu 12"),
        (0, "SUB > 13"),
        (0, "SUB bar.* 14"),
        (0, "SUB bar.> gg 15"),
        (0, "SUB bar.a _sys_ 16"),
        (1, "PUB bar.x 1|1"),
        (1, "PUB bar.y 1|2"),
        (1, "PUB bar.a 1|3"),
        (1, "PUB bar.a.z 1|4"),
        (1, "PUB bar.a.y 1|5"),
        (1, "PUB qq 1|6"),
        (1, "PUB w.a 1|7"),
        (2, "SUB d.x 1"),
        (2, "SUB e 2"),
        (2, "PUB d.x 1|x"),
        (2, "PUB e 1|x"),
        (3, "PUB e 1|x"),
        (3, "SUB e 1"),
        (1, "PUB e 1|x"),
    ],
};

const RESPONSES: Scene = Scene {
    name: "allow_responses",
    config: r#"
        authorization {
            users: [
                { user: s, password: p, permissions { subscribe: "svc.>", allow_responses: true } }
                { user: t, password: p, permissions { subscribe: "two.>", publish: "log", allow_responses { max: 2, expires: "1m" } } }
                { user: free, password: p }
            ]
        }"#,
    clients: &[
        r#""user":"s","pass":"p""#,
        r#""user":"t","pass":"p""#,
        r#""user":"free","pass":"p""#,
    ],
    talk: &[
        (0, "SUB svc.a 1"),
        (1, "SUB two.a 1"),
        (2, "SUB in.> 1"),
        (0, "PUB in.1 1|x"),
        (2, "PUB svc.a in.1 1|?"),
        (0, "PUB in.1 1|1"),
        (0, "PUB in.1 1|2"),
        (2, "PUB svc.a in.1 1|?"),
        (2, "PUB svc.a in.2 1|?"),
        (0, "PUB in.2 1|3"),
        (0, "PUB in.1 1|4"),
        (0, "PUB in.1 1|5"),
        (2, "PUB two.a in.3 1|?"),
        (1, "PUB in.3 1|6"),
        (1, "PUB in.3 1|7"),
        (1, "PUB in.3 1|8"),
        (1, "PUB log 1|9"),
        (1, "PUB other 1|9"),
    ],
};

const ACCOUNTS: Scene = Scene {
    name: "accounts",
    config: r#"
        accounts {
            A {
                users: [ { user: a, password: p }, { user: a2, password: p } ]
                exports: [
                    { stream: "ev.>" }
                    { stream: "priv.*", accounts: [ C ] }
                    { service: help }
                    { service: "calc.*.x", accounts: [ B ] }
                    { service: many, response_type: stream }
                    { service: parts, response_type: chunked }
                ]
            }
            B {
                users: [ { user: b, password: p } ]
                imports: [
                    { stream: { account: A, subject: "ev.>" }, prefix: fromA }
                    { service: { account: A, subject: help }, to: a.help }
                    { service: { account: A, subject: "calc.*.x" }, to: "sum.*" }
                    { service: { account: A, subject: many } }
                    { service: { account: A, subject: parts } }
                ]
            }
            C {
                users: [ { user: c, password: p } ]
                imports: [
                    { stream: { account: A, subject: "ev.*" }, to: "mine.*" }
                    { stream: { account: A, subject: "priv.*" } }
                    { service: { account: A, subject: help }, share: true }
                ]
            }
        }"#,
    clients: &[
        r#""user":"a","pass":"p""#,
        r#""user":"b","pass":"p""#,
        r#""user":"c","pass":"p","name":"asker""#,
        r#""user":"a2","pass":"p""#,
    ],
    talk: &[
        // Worlds of their own.
        (0, "SUB x 1"),
        (1, "SUB x 1"),
        (2, "PUB x 1|c"),
        (1, "PUB x 1|b"),
        // Streams, whole, in part and beyond.
        (1, "SUB fromA.ev.> 2"),
        (1, "SUB fromA.ev.one 3"),
        (1, "SUB fromA.> 4"),
        (1, "SUB fromA.*.one q 5"),
        (1, "SUB ev.one 6"),
        (2, "SUB mine.* 2"),
        (2, "SUB priv.k 3"),
        (2, "SUB mine.one 4"),
        (0, "PUB ev.one 1|1"),
        (0, "PUB ev.one.two 1|2"),
        (0, "PUB ev.two rep 1|3"),
        (0, "PUB priv.k 1|4"),
        (0, "PUB priv.l 1|5"),
        (1, "PUB fromA.ev.one 1|6"),
        (1, "PUB ev.one 1|7"),
        (1, "UNSUB 2"),
        (1, "UNSUB 4"),
        (0, "PUB ev.one 1|8"),
        (0, "PUB ev.one 1|9"),
        (0, "HPUB ev.one 12 13|NATS/1.0||h"),
        // Services.
        (1, "SUB in.* 10"),
        (2, "SUB in.* 10"),
        (1, "PUB a.help in.0 1|?"),
        (0, "SUB help 20"),
        (1, "PUB a.help in.1 1|?"),
        (0, "ANSWER 2|ok"),
        (0, "ANSWER 2|no"),
        (1, "HPUB a.help in.2 44 45|NATS/1.0|Nats-Request-Info: {\"acc\":\"C\"}||?"),
        (0, "ANSWER 0|"),
        (2, "PUB help in.3 1|?"),
        (0, "ANSWER 2|ok"),
        (1, "PUB a.help 1|!"),
        (1, "PUB help in.4 1|?"),
        (0, "SUB calc.*.x 21"),
        (1, "PUB sum.42 in.5 1|?"),
        (0, "ANSWER 2|43"),
        (2, "PUB calc.1.x in.5 1|?"),
        (0, "SUB many 22"),
        (1, "PUB many in.6 1|?"),
        (0, "ANSWER 1|1"),
        (0, "ANSWER 1|2"),
        (0, "ANSWER 0|"),
        (0, "ANSWER 1|3"),
        (0, "SUB parts 23"),
        (1, "PUB parts in.7 1|?"),
        (0, "ANSWER 1|1"),
        (0, "ANSWER 0|"),
        (0, "ANSWER 1|2"),
        // One member of a group answers.
        (0, "UNSUB 20"),
        (0, "SUB help g 24"),
        (1, "PUB a.help in.8 1|?"),
        (0, "ANSWER 2|ok"),
    ],
};

const CROSSING: Scene = Scene {
    name: "permissions of the cluster",
    config: r#"
        cluster {
            permissions {
                import { allow: ["both.>", "in.*"], deny: "both.secret" }
                export: { allow: ["both.>", "out.*"], deny: ["both.secret", "out.x"] }
            }
        }"#,
    clients: &["", ""],
    talk: &[
        (0, "SUB both.* 1"),
        (0, "SUB both.secret 2"),
        (0, "SUB in.a 3"),
        (0, "SUB out.a 4"),
        (0, "SUB > 5"),
        (0, "SUB both.q q 6"),
        (1, "PUB both.a 1|1"),
        (1, "PUB both.secret 1|2"),
        (1, "PUB in.a 1|3"),
        (1, "PUB out.a 1|4"),
        (1, "PUB both.q 1|5"),
        (1, "PUB other 1|6"),
        (0, "UNSUB 1"),
        (1, "PUB both.a 1|7"),
        (0, "PUB out.x 1|8"),
    ],
};

const LIMITS: Scene = Scene {
    name: "account limits",
    config: r#"
        accounts {
            A { users: [ { user: a, password: p } ], limits { max_connections: 1, max_subscriptions: 2, max_payload: 4 } }
            B { users: [ { user: b, password: p } ] }
        }"#,
    clients: &[r#""user":"a","pass":"p""#, r#""user":"a","pass":"p""#, r#""user":"b","pass":"p""#],
    talk: &[
        (2, "SUB a 1"),
        (2, "SUB b 2"),
        (2, "SUB c 3"),
        (0, "SUB a 1"),
        (0, "SUB b 2"),
        (0, "SUB c 3"),
        (0, "PUB a 4|1234"),
        (0, "PUB a 5|12345"),
    ],
};

const NO_AUTH_USER: Scene = Scene {
    name: "no_auth_user",
    config: r#"
        no_auth_user: guest
        accounts {
            A { users: [ { user: guest, password: p, permissions { publish: "g" } } ] }
            B { users: [ { user: b, password: p }, { user: m, password: p, allowed_connection_types: [ "MQTT" ] } ] }
        }"#,
    clients: &[
        "",
        r#""user":"b","pass":"p""#,
        r#""user":"guest""#,
        r#""user":"m","pass":"p""#,
        r#""pass":"p""#,
        r#""auth_token":"p""#,
    ],
    talk: &[(0, "PUB g 1|x"), (0, "PUB h 1|x"), (1, "PUB h 1|x")],
};

/// A client of a scene and the reply subject of the last request that it got.
struct Actor {
    conversation: Conversation,
    request: String,
    gone: bool,
}

impl Actor {
    async fn connect(server: &Server, keys: &str) -> (Self, Vec<String>) {
        let mut conversation = Conversation::dial(server.client()).await.unwrap();
        conversation.line().await.unwrap();
        let comma = if keys.is_empty() { "" } else { "," };
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
             \"lang\":\"raw\",\"version\":\"1\"{comma}{keys}}}\r\n"
        );
        conversation.send(connect.as_bytes()).await.unwrap();
        let mut actor = Self { conversation, request: String::new(), gone: false };
        let heard = actor.listen().await;
        (actor, heard)
    }

    async fn say(&mut self, text: &str) {
        let text = match text.strip_prefix("ANSWER") {
            Some(rest) => format!("PUB {}{rest}", self.request),
            None => text.to_owned(),
        };
        let text = text.replace('|', "\r\n") + "\r\n";
        // It may be closed already; then what it hears says so.
        drop(self.conversation.send(text.as_bytes()).await);
    }

    /// Everything that has arrived by now, one text per frame, in no order.
    async fn listen(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        if self.gone || self.conversation.send(b"PING\r\n").await.is_err() {
            self.gone = true;
        }
        loop {
            let Ok(line) = self.conversation.line().await else {
                if !std::mem::replace(&mut self.gone, true) {
                    heard.push("(closed)".into());
                }
                break;
            };
            let line = String::from_utf8(line).unwrap().trim_end().to_owned();
            if line == "PONG" {
                break;
            }
            if line == "PING" {
                self.conversation.send(b"PONG\r\n").await.unwrap();
                continue;
            }
            if line.starts_with("INFO ") {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let sizes = match words[0] {
                "MSG" => 1,
                "HMSG" => 2,
                _ => {
                    heard.push(line);
                    continue;
                }
            };
            let size: usize = words[words.len() - 1].parse().unwrap();
            let body = self.conversation.take(size + 2).await.unwrap();
            let head = &words[..words.len() - sizes];
            if let [_, _, _, reply] = head {
                (*reply).clone_into(&mut self.request);
            }
            let body = String::from_utf8_lossy(&body).into_owned();
            heard.push(format!("{} {}", head.join(" "), body.escape_debug()));
        }
        heard.iter_mut().for_each(|text| *text = masked(text));
        heard.sort();
        heard
    }
}

/// Hides what differs from run to run: reply subjects of the server, round trips, times.
fn masked(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    loop {
        let next = ["_R_.", "rtt\\\":", "start\\\":", "id\\\":", "server\\\":"]
            .iter()
            .filter_map(|mark| rest.find(mark).map(|at| (at, mark.len())))
            .min();
        let Some((at, len)) = next else { break };
        made.push_str(&rest[..at + len]);
        made.push('#');
        rest = rest[at + len..].trim_start_matches(|c: char| !" ,}".contains(c));
    }
    (made + rest).replace(",\\\"rtt\\\":#", "").replace(",\\\"cluster\\\":\\\"c\\\"", "")
}

/// Plays a scene; client n talks to server n modulo their number.
async fn play(scene: &Scene, servers: &[Server]) -> Vec<String> {
    let mut told = Vec::new();
    let mut actors = Vec::new();
    for (index, keys) in scene.clients.iter().enumerate() {
        let (actor, heard) = Actor::connect(&servers[index % servers.len()], keys).await;
        told.push(format!("{index} connects: {heard:?}"));
        actors.push(actor);
    }
    for (speaker, text) in scene.talk {
        actors[*speaker].say(text).await;
        told.push(format!("{speaker}: {text}"));
        let own = actors[*speaker].listen().await;
        if servers.len() > 1 {
            // Between foreign servers nothing tells when news have arrived everywhere.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        for (index, actor) in actors.iter_mut().enumerate() {
            let mut heard = if index == *speaker { own.clone() } else { Vec::new() };
            heard.extend(actor.listen().await);
            heard.sort();
            told.extend(heard.iter().map(|text| format!("    {index} hears {text}")));
        }
    }
    told
}

async fn start(scene: &Scene, binaries: &[Binary]) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for (index, binary) in binaries.iter().enumerate() {
        let mut setup = Setup::new(binary).config(scene.config).name(&format!("n{index}"));
        if binaries.len() > 1 {
            let ports: Vec<u16> = servers.iter().map(|server| server.port("cluster")).collect();
            setup = setup.cluster("c", -1).routes(&ports);
        }
        servers.push(setup.start().await);
    }
    if servers.len() > 1 {
        eventually("the servers know each other", async || {
            servers
                .iter()
                .all(|server| server.log().contains("Route connection created"))
                .then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    servers
}

async fn compare(scene: &Scene) {
    let stock = play(scene, &start(scene, &[Binary::stock()]).await).await;
    let ours = play(scene, &start(scene, &[Binary::under_test()]).await).await;
    assert!(stock == ours, "{}: natsd differs\n{}", scene.name, difference(&stock, &ours));
}

fn difference(stock: &[String], ours: &[String]) -> String {
    let mut text = String::new();
    for line in stock {
        let mark = if ours.contains(line) { "  " } else { "- " };
        text += &format!("{mark}{line}\n");
    }
    for line in ours.iter().filter(|line| !stock.contains(line)) {
        text += &format!("+ {line}\n");
    }
    text
}

/// The same in clusters of two, of one kind and of both.
async fn compare_clusters(scene: &Scene) {
    let (natsd, nats) = (Binary::under_test(), Binary::stock());
    let alone = play(scene, &start(scene, std::slice::from_ref(&nats)).await).await;
    for binaries in [[&natsd, &natsd], [&natsd, &nats], [&nats, &natsd]] {
        let binaries = binaries.map(Binary::clone);
        let together = play(scene, &start(scene, &binaries).await).await;
        assert!(
            alone == together,
            "{}: {binaries:?} differ\n{}",
            scene.name,
            difference(&alone, &together)
        );
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn permissions_of_the_cluster() {
    let (natsd, nats) = (Binary::under_test(), Binary::stock());
    let stock = play(&CROSSING, &start(&CROSSING, &[nats.clone(), nats.clone()]).await).await;
    assert!(stock.iter().any(|line| line.contains("0 hears MSG both.a 1 1")), "{stock:#?}");
    for binaries in [[&natsd, &natsd], [&natsd, &nats], [&nats, &natsd]] {
        let binaries = binaries.map(Binary::clone);
        let told = play(&CROSSING, &start(&CROSSING, &binaries).await).await;
        assert!(stock == told, "{binaries:?} differ\n{}", difference(&stock, &told));
    }
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn permissions() {
    compare(&PERMISSIONS).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn leave_to_answer() {
    compare(&RESPONSES).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn accounts() {
    compare(&ACCOUNTS).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn account_limits() {
    compare(&LIMITS).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn strangers() {
    compare(&NO_AUTH_USER).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn permissions_in_clusters() {
    compare_clusters(&PERMISSIONS).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn accounts_in_clusters() {
    compare_clusters(&ACCOUNTS).await;
}

#[tokio::test]
async fn a_refused_client_is_reported_by_the_name_that_it_claimed() {
    let users = "accounts { A { users [ { user: a, password: p } ] }, \
                 $SYS { users [ { user: s, password: s } ] } }";
    let server = Setup::new(&Binary::under_test()).config(users).start().await;
    let login = async_nats::ConnectOptions::with_user_and_password("s".into(), "s".into());
    let watcher = login.connect(server.url()).await.unwrap();
    let mut events = watcher.subscribe("$SYS.SERVER.*.CLIENT.AUTH.ERR").await.unwrap();
    // A flush only writes: the server may yet read what the next connection says first.
    settle(&watcher, &watcher).await;
    for (connect, claimed) in [
        (r#"{"user":"a","pass":"wrong","name":"x"}"#, Some("a")),
        (r#"{"user":"nobody","pass":"p"}"#, Some("nobody")),
        (r#"{"nkey":"UNKEY","sig":"x"}"#, Some("UNKEY")),
        (r#"{"auth_token":"secret"}"#, Some("[REDACTED]")),
        ("{}", None),
    ] {
        let mut client = Conversation::dial(server.client()).await.unwrap();
        client.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await.unwrap();
        let event = timeout(DEADLINE, events.next()).await.expect(connect).unwrap();
        let event: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(event["client"].get("user").and_then(Value::as_str), claimed, "{event}");
        assert_eq!(
            (&event["client"]["acc"], &event["reason"]),
            (&json!("$G"), &json!("Authentication Failure"))
        );
        let id = event["client"]["id"].clone();
        let closed = eventually("it is among the closed", async || {
            let connz = server.monitor("/connz?state=closed&auth=1").await;
            connz["connections"].as_array()?.iter().find(|client| client["cid"] == id).cloned()
        })
        .await;
        assert_eq!(closed.get("authorized_user").and_then(Value::as_str), claimed, "{closed}");
    }
}
