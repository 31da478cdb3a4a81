//! A configuration that changes under a running server: SIGHUP, and what connections notice.
//! Holds for natsd and for a stock nats-server alike.

#![allow(clippy::unwrap_used, reason = "tests")]

use blackbox::eventually;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::Conversation;

/// The next line that is not a PING.
async fn line(conversation: &mut Conversation) -> String {
    loop {
        let line = String::from_utf8(conversation.line().await.unwrap()).unwrap();
        if line.starts_with("PING") {
            conversation.send(b"PONG\r\n").await.unwrap();
        } else {
            return line.trim_end().to_owned();
        }
    }
}

#[tokio::test]
async fn what_crosses_routes_changes_for_routes_that_are_there() {
    let config = |import: &str, export: &str| {
        format!(
            "server_name: a\ncluster {{ name: C1, listen: \"127.0.0.1:-1\", pool_size: -1\n\
             permissions {{ import: \"{import}\", export: \"{export}\" }} }}"
        )
    };
    let server = Setup::new(&Binary::under_test()).config(config("a.>", "x.>")).start().await;
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    line(&mut peer).await;
    let hello = "CONNECT {\"headers\":true,\"name\":\"P1\",\"cluster\":\"C1\"}\r\n\
                 INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                 \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                 \"cluster\":\"C1\"}\r\nRS+ $G x.1\r\nRS+ $G y.1\r\nPING\r\n";
    peer.send(hello.as_bytes()).await.unwrap();
    while line(&mut peer).await != "PONG" {}
    let mut client = Conversation::dial(server.client()).await.unwrap();
    line(&mut client).await;
    let subscriptions = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n\
                         SUB a.1 1\r\nSUB b.1 2\r\nSUB b.2 q 3\r\nPUB y.1 1\r\n0\r\nPUB x.1 1\r\n1\r\n";
    client.send(subscriptions.as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "RS+ $G a.1");
    assert_eq!(line(&mut peer).await, "RMSG $G x.1 1");
    assert_eq!(line(&mut peer).await, "1");
    server.reload(&config("b.>", "y.>")).await;
    assert!(line(&mut peer).await.contains(r#""import":{"allow":["b.\u003e"]}"#));
    let mut told = [line(&mut peer).await, line(&mut peer).await, line(&mut peer).await];
    told.sort();
    // Observed: the reference leaves out the weight of a queue group here.
    let told = told.each_ref().map(|line| line.trim_end_matches(" 1"));
    assert_eq!(told, ["RS+ $G b.1", "RS+ $G b.2 q", "RS- $G a.1"]);
    // The peer tells anew what it may now.
    peer.send(b"RS+ $G y.1\r\nPING\r\n").await.unwrap();
    assert_eq!(line(&mut peer).await, "PONG");
    client.send(b"PUB x.1 1\r\n2\r\nPUB y.1 1\r\n3\r\n").await.unwrap();
    assert_eq!(line(&mut peer).await, "RMSG $G y.1 1");
    assert_eq!(line(&mut peer).await, "3");
    // A peer that takes more than before is told of it.
    let info = "INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                \"cluster\":\"C1\",\"export\":{\"allow\":[\"c.>\"]}}\r\nPING\r\n";
    peer.send(info.as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "PONG");
    peer.send(info.replace("c.>", "b.1").as_bytes()).await.unwrap();
    assert_eq!(line(&mut peer).await, "RS+ $G b.1");
    assert_eq!(line(&mut peer).await, "PONG");
}

/// A client of the server who is let in.
async fn client(server: &Server, user: &str, password: &str) -> Conversation {
    let mut client = Conversation::dial(server.client()).await.unwrap();
    line(&mut client).await;
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n"
    );
    client.send(connect.as_bytes()).await.unwrap();
    assert_eq!(say(&mut client, "").await, [""; 0]);
    client
}

/// Says something and hears everything up to the next PONG.
async fn say(client: &mut Conversation, text: &str) -> Vec<String> {
    client.send(format!("{text}PING\r\n").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        match line(client).await {
            line if line == "PONG" => return heard,
            line if line.starts_with("INFO ") => {}
            line => heard.push(line),
        }
    }
}

/// Everything that came by now, once `first` said something.
async fn hear(first: &mut Conversation, text: &str, second: &mut Conversation) -> Vec<String> {
    say(first, text).await;
    say(second, "").await
}

#[tokio::test]
async fn accounts_come_and_go() {
    let config = |accounts: &str| {
        format!(
            "accounts {{ A {{ users: [ {{ user: a, password: p }} ], exports: [ {{ stream: \"ev.>\" }} ] }}\n{accounts} }}"
        )
    };
    let b = "B { users: [ { user: b, password: p } ] }";
    let c = "C { users: [ { user: c, password: p } ], imports: [ { stream: { account: A, subject: \"ev.>\" } } ] }";
    let server = Setup::new(&Binary::under_test()).config(config(b)).start().await;
    let mut a_client = client(&server, "a", "p").await;
    let mut b_client = client(&server, "b", "p").await;
    assert_eq!(say(&mut a_client, "SUB x 1\r\n").await, [""; 0]);
    server.reload(&config(c)).await;
    b_client.closed().await.unwrap();
    let mut c_client = client(&server, "c", "p").await;
    say(&mut c_client, "SUB ev.* 1\r\nSUB inbox 2\r\n").await;
    let heard = hear(&mut a_client, "PUB ev.1 1\r\n1\r\nPUB x 1\r\n2\r\n", &mut c_client).await;
    assert_eq!(heard, ["MSG ev.1 1 1", "1"]);
    assert_eq!(say(&mut a_client, "").await, [""; 0]);
    // Without a PING: the answer may come before a PONG.
    c_client.send(b"PUB $SYS.REQ.USER.INFO inbox 0\r\n\r\n").await.unwrap();
    assert!(line(&mut c_client).await.starts_with("MSG inbox 2 "), "the server serves it too");
    let info = line(&mut c_client).await;
    assert!(info.contains(r#""account":"C""#), "{info}");
    // It comes back, empty.
    server.reload(&config(&format!("{b}\n{c}"))).await;
    let mut b_client = client(&server, "b", "p").await;
    assert_eq!(say(&mut b_client, "SUB y 1\r\nPUB y 1\r\n3\r\n").await, ["MSG y 1 1", "3"]);
    let heard = hear(&mut a_client, "PUB ev.2 1\r\n4\r\n", &mut c_client).await;
    assert_eq!(heard, ["MSG ev.2 1 1", "4"]);
}

#[tokio::test]
async fn imports_change_for_subscriptions_that_are_there() {
    let config = |imports: &str, mappings: &str| {
        format!(
            "accounts {{
                A {{ users: [ {{ user: a, password: p }} ], mappings {{ {mappings} }}
                    exports: [ {{ stream: \"ev.>\" }}, {{ service: svc }} ] }}
                B {{ users: [ {{ user: b, password: p }} ], imports: [ {imports} ] }} }}"
        )
    };
    let stream = "{ stream: { account: A, subject: \"ev.>\" }, prefix: from }";
    let service = "{ service: { account: A, subject: svc }, to: help }";
    let server = Setup::new(&Binary::under_test()).config(config("", "")).start().await;
    let mut a_client = client(&server, "a", "p").await;
    let mut b_client = client(&server, "b", "p").await;
    say(&mut a_client, "SUB svc 1\r\n").await;
    say(&mut b_client, "SUB from.ev.* 1\r\nSUB > 2\r\n").await;
    let event = "PUB ev.1 1\r\n1\r\n";
    assert_eq!(hear(&mut a_client, event, &mut b_client).await, [""; 0]);
    server.reload(&config(&format!("{stream}, {service}"), "")).await;
    let mut heard = hear(&mut a_client, event, &mut b_client).await;
    heard.sort();
    assert_eq!(heard, ["1", "1", "MSG from.ev.1 1 1", "MSG from.ev.1 2 1"]);
    say(&mut b_client, "UNSUB 2\r\n").await;
    assert_eq!(
        hear(&mut b_client, "PUB help 1\r\n?\r\n", &mut a_client).await,
        ["MSG svc 1 1", "?"]
    );
    // Nothing changes for B: nothing happens to it.
    server.reload(&config(&format!("{stream}, {service}"), "gone: there")).await;
    assert_eq!(hear(&mut a_client, event, &mut b_client).await, ["MSG from.ev.1 1 1", "1"]);
    assert_eq!(
        say(&mut a_client, "SUB there 3\r\nPUB gone 1\r\n!\r\n").await,
        ["MSG there 3 1", "!"],
        "mappings hold"
    );
    server.reload(&config("", "")).await;
    assert_eq!(hear(&mut a_client, event, &mut b_client).await, [""; 0]);
    assert_eq!(hear(&mut b_client, "PUB help 1\r\n?\r\n", &mut a_client).await, [""; 0]);
}

#[tokio::test]
async fn permissions_change_under_a_client() {
    let config = |a: &str, more: &str| {
        format!(
            "authorization {{ users: [ {{ user: a, password: p {a} }}, {{ user: o, password: p }} {more} ] }}"
        )
    };
    let wide = ", permissions { publish: \">\", subscribe: \">\" }";
    let narrow =
        ", permissions { publish: \"in\", subscribe { allow: [\"a\", \"w.*\"], deny: \"w.x\" } }";
    let server = Setup::new(&Binary::under_test()).config(config(wide, "")).start().await;
    let mut a = client(&server, "a", "p").await;
    let mut other = client(&server, "o", "p").await;
    say(&mut a, "SUB a 1\r\nSUB b 2\r\nSUB w.* 3\r\nSUB c q 4\r\nPUB b 1\r\n0\r\n").await;
    let all =
        "PUB a 1\r\n1\r\nPUB b 1\r\n2\r\nPUB w.x 1\r\n3\r\nPUB w.y 1\r\n4\r\nPUB c 1\r\n5\r\n";
    server.reload(&config(narrow, "")).await;
    let mut told = [line(&mut a).await, line(&mut a).await];
    told.sort();
    assert_eq!(
        told,
        [
            "-ERR 'Permissions Violation for Subscription to \"b\" (sid \"2\")'",
            "-ERR 'Permissions Violation for Subscription to \"c\" using queue \"q\" (sid \"4\")'"
        ]
    );
    assert_eq!(hear(&mut other, all, &mut a).await, ["MSG a 1 1", "1", "MSG w.y 3 1", "4"]);
    let refused = "-ERR 'Permissions Violation for Publish to \"b\"'";
    assert_eq!(say(&mut a, "PUB b 1\r\n0\r\nPUB in 1\r\n0\r\n").await, [refused]);
    server.reload(&config(wide, "")).await;
    assert_eq!(say(&mut a, "SUB b 2\r\nPUB b 1\r\n0\r\n").await, ["MSG b 2 1", "0"]);
    assert_eq!(
        hear(&mut other, "PUB w.x 1\r\n3\r\n", &mut a).await,
        ["MSG w.x 3 1", "3"],
        "nothing is kept from it any more"
    );
    // A newcomer changes nothing for those who are there; another password does.
    server.reload(&config(wide, ", { user: n, password: p }")).await;
    drop(client(&server, "n", "p").await);
    assert_eq!(say(&mut a, "").await, [""; 0]);
    server.reload(&config(wide, "").replace("user: a, password: p", "user: a, password: q")).await;
    assert_eq!(line(&mut a).await, "-ERR 'Authorization Violation'");
    a.closed().await.unwrap();
    assert_eq!(say(&mut other, "").await, [""; 0]);
}

#[tokio::test]
async fn an_account_that_may_have_fewer_connections_loses_the_surplus() {
    let config = |most: u32| {
        format!(
            "accounts {{ A {{ users: [{{ user: a, password: p }}], limits {{ max_conn: {most} }} }} }}"
        )
    };
    let server = Setup::new(&Binary::under_test()).config(config(2)).start().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Conversation::dial(server.client()).await.unwrap();
        line(&mut client).await;
        client.send(b"CONNECT {\"user\":\"a\",\"pass\":\"p\"}\r\nPING\r\n").await.unwrap();
        while line(&mut client).await != "PONG" {}
        clients.push(client);
    }
    server.reload(&config(1)).await;
    eventually("one is left", async || {
        let connz = server.monitor("/connz").await;
        (connz["num_connections"] == 1).then_some(())
    })
    .await;
    // Which one goes is the server's choice.
    let mut told = 0;
    for client in &mut clients {
        client.send(b"PING\r\n").await.ok();
        told +=
            usize::from(line(client).await == "-ERR 'maximum account active connections exceeded'");
    }
    assert_eq!(told, 1);
}

/// Official clients give up when they are refused twice: who is told so must be somebody whose
/// credentials are no good any more.
#[tokio::test]
async fn the_one_user_who_changes_is_closed_without_a_word() {
    let single = "authorization { user: a, password: p }";
    for later in ["", "authorization { user: a, password: q }"] {
        let server = Setup::new(&Binary::under_test()).config(single).start().await;
        let mut a = client(&server, "a", "p").await;
        server.reload(later).await;
        assert_eq!(String::from_utf8(a.closed().await.unwrap()).unwrap(), "", "{later}");
        let closed = eventually("it is listed", async || {
            let connz = server.monitor("/connz?state=closed").await;
            connz["connections"][0]["reason"].as_str().map(str::to_owned)
        })
        .await;
        assert_eq!(closed, "Client Closed");
    }
}

#[tokio::test]
async fn what_a_reload_ends_is_logged() {
    let users = |password: &str| {
        format!("authorization {{ users: [ {{ user: a, password: {password} }} ] }}")
    };
    let server = Setup::new(&Binary::under_test()).config(users("p")).start().await;
    let mut a = client(&server, "a", "p").await;
    server.reload(&users("q")).await;
    assert_eq!(line(&mut a).await, "-ERR 'Authorization Violation'");
    a.closed().await.unwrap();
    let _stays = client(&server, "a", "q").await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(client(&server, "a", "q").await);
    }
    server.reload(&format!("{}\nmax_connections: 1", users("q"))).await;
    let log = server.log();
    for text in [
        r#" - "$G/user:a" - authentication error - User "a""#,
        "[INF] Closed 2 connections to fall within max_connections",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
}
