//! Clients that come by WebSocket: the upgrade, frames, credentials, an official client, clusters.
//!
//! Where a peer breaks the rules of frames, nats-server means to say why in a close frame and
//! mostly ends the connection before it did; here only the end is asked for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::path::PathBuf;

use async_nats::ConnectOptions;
use blackbox::operator::{account, in_memory, operator, user};
use blackbox::server::{Binary, Server, Setup};
use blackbox::websocket::{
    BINARY, CLOSE, COMPRESSED, PING, PONG, TEXT, Websocket, frame, head, packed, request,
};
use blackbox::wire::Conversation;
use blackbox::{DEADLINE, eventually};
use futures_util::StreamExt;
use nkeys::KeyPair;
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tempfile::TempDir;

fn setup(binary: &Binary, more: &str) -> Setup {
    // What stands behind a closing brace is outside of the block.
    Setup::new(binary)
        .config(format!("websocket {{ listen: \"127.0.0.1:-1\"\n no_tls: true\n {more}\n }}"))
}

async fn start(more: &str) -> Server {
    setup(&Binary::under_test(), more).start().await
}

fn listener(server: &Server) -> SocketAddr {
    ([127, 0, 0, 1], server.port("websocket")).into()
}

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

#[tokio::test]
async fn an_upgrade_is_agreed_on() {
    let server = start("compression: true, headers { X-Own: \"yes\" }").await;
    let (websocket, info) = Websocket::greeted(listener(&server), &[]).await;
    assert_eq!(
        websocket.answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Own: yes\r\n\r\n"
    );
    assert_eq!(info["port"], server.port("websocket"));
    assert_eq!(server.ports()["websocket"][0], format!("ws://{}", listener(&server)));
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
    let (websocket, _) =
        Websocket::greeted(listener(&server), &[offer, "Nats-No-Masking: true"]).await;
    assert!(websocket.answer.contains(
        "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
         client_no_context_takeover\r\nNats-No-Masking: true\r\n"
    ));
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused_and_the_next_request_heard() {
    let server = start("same_origin: true, allowed_origins: [\"http://localhost:1\"]").await;
    let good = String::from_utf8(request("/", &[])).unwrap();
    let without = |line: &str| good.replace(line, "");
    let cases = [
        (good.replace("GET", "POST"), "405 Method Not Allowed"),
        (good.replace("GET /", "GET /mqtt"), "404 Not Found"),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), "400 Bad Request"),
        (without("Connection: Upgrade\r\n"), "400 Bad Request"),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "400 Bad Request"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "YWJj"), "400 Bad Request"),
        (good.replace("Version: 13", "Version: 12"), "400 Bad Request"),
        (good.replace("\r\n\r\n", "\r\nOrigin: http://other:1\r\n\r\n"), "403 Forbidden"),
        (good.replace("\r\n\r\n", "\r\nOrigin: null\r\n\r\n"), "403 Forbidden"),
    ];
    for (request, status) in cases {
        let mut conversation = Conversation::dial(listener(&server)).await.unwrap();
        conversation.send(request.as_bytes()).await.unwrap();
        let answer = head(&mut conversation).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}\n{answer}");
        assert!(answer.contains("\r\nSec-Websocket-Version: 13\r\n"), "{answer}");
        let body = conversation.line().await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), format!("{}\n", &status[4..]));
        conversation.send(&self::request("/", &["Origin: http://LOCALHOST:1"])).await.unwrap();
        assert!(head(&mut conversation).await.unwrap().starts_with("HTTP/1.1 101 "));
    }
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let server = start("").await;
    for (request, first) in [
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request: missing required Host header\r\n"),
        ("GET / HTTP/7.7\r\nHost: a\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported"),
    ] {
        let mut conversation = Conversation::dial(listener(&server)).await.unwrap();
        conversation.send(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(conversation.closed().await.unwrap()).unwrap();
        assert!(answer.starts_with(first), "{answer}");
    }
    // Data behind a request that was not answered yet.
    let mut conversation = Conversation::dial(listener(&server)).await.unwrap();
    let early = [request("/", &[]), frame(BINARY, b"PING\r\n")].concat();
    conversation.send(&early).await.unwrap();
    assert_eq!(conversation.closed().await.unwrap(), b"");
    // Leafnodes are welcomed and shown out.
    let mut conversation = Conversation::dial(listener(&server)).await.unwrap();
    conversation.send(&request("/leafnode", &[])).await.unwrap();
    let answer = conversation.closed().await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
    eventually("the log says why", async || {
        server.log().contains("Not configured to accept leaf node connections").then_some(())
    })
    .await;
}

#[tokio::test]
async fn frames_of_every_shape_carry_the_protocol() {
    let server = start("").await;
    let (mut socket, _) = Websocket::greeted(listener(&server), &[]).await;
    socket.send(TEXT, CONNECT.as_bytes()).await.unwrap();
    let fragments =
        [frame(0x02, b"PI"), frame(0x00, b"NG"), frame(PING, b"hi"), frame(0x80, b"\r\n")];
    for byte in fragments.concat() {
        socket.send_raw(&[byte]).await.unwrap();
    }
    assert_eq!(socket.next().await.unwrap(), (PONG, b"hi".to_vec()));
    assert_eq!(socket.next().await.unwrap(), (BINARY, b"PONG\r\n".to_vec()));
    socket.send(PONG, b"unasked").await.unwrap();
    socket.send(BINARY, b"").await.unwrap();
    let body = "x".repeat(100_000);
    let publish = format!("SUB a 1\r\nPUB a {}\r\n{body}\r\nPING\r\n", body.len());
    socket.send(BINARY, publish.as_bytes()).await.unwrap();
    let heard = socket.until("PONG\r\n").await;
    assert_eq!(heard, format!("MSG a 1 {}\r\n{body}\r\nPONG\r\n", body.len()));
}

#[tokio::test]
async fn a_goodbye_is_answered() {
    let server = start("").await;
    for (said, answer) in [
        (&b""[..], &b"\x88\0"[..]),
        (b"\x03\xe8", b"\x88\x02\x03\xe8"),
        (b"\x0f\xa0bye", b"\x88\x05\x0f\xa0bye"),
        (b"\x03\xe8\xff", b"\x88\x22\x03\xefinvalid utf8 body in close frame"),
    ] {
        let (mut socket, _) = Websocket::greeted(listener(&server), &[]).await;
        socket.send(CLOSE, said).await.unwrap();
        assert_eq!(socket.closed().await.unwrap(), answer);
    }
}

/// One read may bring work for many turns of its thread; nothing of it is lost when the peer leaves
/// at once.
#[tokio::test]
async fn what_takes_many_turns_arrives_although_its_sender_left() {
    const MESSAGES: usize = 2000;
    const RECEIVERS: usize = 90;
    let server = start("").await;
    let mut subscriber = Conversation::dial(server.client()).await.unwrap();
    subscriber.line().await.unwrap();
    let sids = 10..10 + RECEIVERS;
    let subscribe: String = sids.map(|sid| format!("SUB turns {sid}\r\n")).collect();
    subscriber.send(format!("{CONNECT}{subscribe}PING\r\n").as_bytes()).await.unwrap();
    assert_eq!(subscriber.line().await.unwrap(), b"PONG\r\n");
    let (mut socket, _) = Websocket::greeted(listener(&server), &[]).await;
    let publish = |number| format!("PUB turns 4\r\n{number:04}\r\n");
    let said = CONNECT.to_owned() + &(0..MESSAGES).map(publish).collect::<String>();
    let burst = [frame(BINARY, said.as_bytes()), frame(CLOSE, b"")].concat();
    socket.send_raw(&burst).await.unwrap();
    let wanted = MESSAGES * RECEIVERS * "MSG turns 10 4\r\n0000\r\n".len();
    let heard = String::from_utf8(subscriber.take(wanted).await.unwrap()).unwrap();
    let first = heard.split("MSG turns 10 4\r\n").skip(1).filter_map(|text| text.get(..4));
    assert!(first.eq((0..MESSAGES).map(|number| format!("{number:04}"))), "all, in order");
}

#[tokio::test]
async fn what_breaks_the_rules_ends_the_connection() {
    let server = start("compression: true").await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    let unmasked = b"\x82\x06PING\r\n".to_vec();
    for (bytes, text) in [
        (unmasked, "mask bit missing"),
        (frame(0xa2, b""), "RSV2 and RSV3 must be clear"),
        (frame(0x83, b""), "unknown opcode 3"),
        (frame(PING, &[0; 126]), "control frame length bigger than maximum allowed of 125 bytes"),
        (frame(0x09, b""), "control frame does not have final bit set"),
        (frame(0xc9, b""), "control frame must not be compressed"),
        (frame(0x80, b""), "invalid continuation frame"),
        (
            [frame(0x02, b""), frame(0x82, b"")].concat(),
            "new message started before final frame for previous message was received",
        ),
        (frame(CLOSE, b"x"), "close frame payload cannot be 1 byte"),
        (frame(CLOSE, b"\x03\xed"), "invalid close status code 1005"),
        (frame(COMPRESSED, b"\xff\xff"), "flate: corrupt input"),
    ] {
        let (mut socket, info) = Websocket::greeted(listener(&server), &[offer]).await;
        socket.send_raw(&bytes).await.unwrap();
        socket.closed().await.unwrap();
        let line = format!(" - wid:{} - read error: {text}", info["client_id"]);
        eventually(&line, async || server.log().contains(&line).then_some(())).await;
    }
}

#[tokio::test]
async fn compressed_messages_pass_and_bombs_do_not() {
    let server = Setup::new(&Binary::under_test())
        .config(
            "max_payload: 10000\n\
             websocket { listen: \"127.0.0.1:-1\", no_tls: true, compression: true }",
        )
        .start()
        .await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    let (mut socket, _) = Websocket::greeted(listener(&server), &[offer]).await;
    let body = "y".repeat(5000);
    let message = format!("{CONNECT}SUB a 1\r\nPUB a 5000\r\n{body}\r\nPING\r\n");
    let message = packed(message.as_bytes());
    let (first, second) = message.split_at(7);
    socket.send_raw(&[frame(0x42, first), frame(0x80, second)].concat()).await.unwrap();
    let (kind, bytes) = socket.next().await.unwrap();
    assert_eq!(kind, COMPRESSED);
    assert_eq!(bytes, format!("MSG a 1 5000\r\n{body}\r\nPONG\r\n").as_bytes());
    // Short answers are not worth it.
    socket.send(COMPRESSED, &packed(b"PING\r\n")).await.unwrap();
    assert_eq!(socket.next().await.unwrap(), (BINARY, b"PONG\r\n".to_vec()));
    socket.send(COMPRESSED, &packed(&vec![b'\n'; 30_000_000])).await.unwrap();
    socket.closed().await.unwrap();
    eventually("the server lives", async || {
        Websocket::dial(listener(&server), &[]).await.ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_browser_gets_small_frames() {
    let server = start("").await;
    let agent = "User-Agent: Mozilla/5.0 (X11; Linux)";
    let (mut socket, _) = Websocket::greeted(listener(&server), &[agent]).await;
    let body = "z".repeat(50_000);
    let text = format!("{CONNECT}SUB a 1\r\nPUB a 50000\r\n{body}\r\nPING\r\n");
    socket.send(BINARY, text.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"PONG\r\n") {
        let (first, bytes) = socket.next().await.unwrap();
        assert!(first == BINARY && bytes.len() <= 4096, "{first:x} {}", bytes.len());
        all.extend(bytes);
    }
    assert_eq!(all, format!("MSG a 1 50000\r\n{body}\r\nPONG\r\n").as_bytes());
}

const USERS: &str = "}\n authorization { users: [\n\
     { user: any, password: pw }\n\
     { user: tcp, password: pw, allowed_connection_types: [STANDARD] }\n\
     { user: web, password: pw, allowed_connection_types: [WEBSOCKET] } ] }\n server_metadata {";

async fn admitted(server: &Server, credentials: &str, headers: &[&str]) -> bool {
    let (mut socket, info) = Websocket::greeted(listener(server), headers).await;
    assert_eq!(info["auth_required"], true);
    let connect = format!("CONNECT {{\"verbose\":false{credentials}}}\r\nPING\r\n");
    socket.send(BINARY, connect.as_bytes()).await.unwrap();
    let (_, answer) = socket.next().await.unwrap();
    if answer == b"PONG\r\n" {
        return true;
    }
    assert_eq!(String::from_utf8(answer).unwrap(), "-ERR 'Authorization Violation'\r\n");
    let goodbye = socket.closed().await.unwrap();
    assert_eq!(goodbye, b"\x88\x18\x03\xf0Authentication Failure");
    false
}

fn login(user: &str) -> String {
    format!(",\"user\":\"{user}\",\"pass\":\"pw\"")
}

#[tokio::test]
async fn users_may_be_bound_to_a_transport_and_named_by_cookies() {
    let server = start(&format!("user_cookie: u, pass_cookie: p\n {USERS}")).await;
    for (user, fits) in [("any", true), ("tcp", false), ("web", true)] {
        assert_eq!(admitted(&server, &login(user), &[]).await, fits, "{user}");
        let cookie = format!("Cookie: x=y; u={user}; p=pw");
        assert_eq!(admitted(&server, "", &[&cookie]).await, fits, "{user} by cookie");
        let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
        assert_eq!(options.connect(server.url()).await.is_ok(), user != "web", "{user} by TCP");
    }
    assert!(!admitted(&server, "", &[]).await);
    // What CONNECT says comes first.
    assert!(admitted(&server, &login("any"), &["Cookie: u=tcp; p=no"]).await);
}

#[tokio::test]
async fn a_jwt_may_come_as_a_cookie() {
    let op = KeyPair::new_operator();
    let (sys, a, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let of = |key: &KeyPair| account(key, &json!({})).sign(&op);
    let operators =
        in_memory(&operator(&op, &json!({})), &sys, &[(&sys, &of(&sys)), (&a, &of(&a))]);
    let block = "websocket { listen: \"127.0.0.1:-1\", no_tls: true, jwt_cookie: j }\n";
    let setup = Setup::new(&Binary::under_test()).config(format!("{block}{operators}"));
    let server = setup.start().await;
    let jwt = |nats: Value| user(&u, &nats).sign(&a);
    let by_cookie = async |jwt: String| admitted(&server, "", &[&format!("Cookie: j={jwt}")]).await;
    assert!(by_cookie(jwt(json!({ "bearer_token": true }))).await);
    let web = json!({ "bearer_token": true, "allowed_connection_types": ["WEBSOCKET"] });
    assert!(by_cookie(jwt(web)).await);
    let tcp = json!({ "bearer_token": true, "allowed_connection_types": ["STANDARD"] });
    assert!(!by_cookie(jwt(tcp)).await);
    // Whoever is no bearer signs.
    assert!(!by_cookie(jwt(json!({}))).await);
    assert!(!admitted(&server, "", &[]).await);
}

#[tokio::test]
async fn the_block_may_have_credentials_of_its_own() {
    let server = start(&format!("no_auth_user: web\n {USERS}")).await;
    assert!(admitted(&server, "", &[]).await);
    assert!(ConnectOptions::new().connect(server.url()).await.is_err());
    let server = start("token_cookie: t, authorization { token: T }").await;
    assert!(admitted(&server, "", &["Cookie: t=T"]).await);
    assert!(!admitted(&server, "", &["Cookie: t=U"]).await);
    assert!(ConnectOptions::new().connect(server.url()).await.is_ok());
    let server = start("authorization { user: u, password: pw, timeout: 0.2 }").await;
    assert!(admitted(&server, &login("u"), &[]).await);
    let (mut silent, _) = Websocket::greeted(listener(&server), &[]).await;
    let (_, answer) = silent.next().await.unwrap();
    assert_eq!(answer, b"-ERR 'Authentication Timeout'\r\n");
}

/// Whether large and many messages pass both ways between a client by WebSocket and one by TCP.
async fn works(url: &str, options: ConnectOptions, server: &Server) {
    let web = options.connect(url).await.unwrap();
    let tcp = ConnectOptions::new().connect(server.url()).await.unwrap();
    for (from, to) in [(&web, &tcp), (&tcp, &web)] {
        let mut messages = to.subscribe("t.>").await.unwrap();
        blackbox::cluster::settle(from, to).await;
        let body: Vec<u8> = (0..900_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for n in 0..200 {
            let body = if n % 100 == 50 { body.clone() } else { n.to_string().into() };
            from.publish(format!("t.{n}"), body.into()).await.unwrap();
        }
        from.flush().await.unwrap();
        for n in 0..200 {
            let message = tokio::time::timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
            assert_eq!(message.subject.as_str(), format!("t.{n}"));
            assert!(
                message.payload.len() == if n % 100 == 50 { 900_000 } else { n.to_string().len() }
            );
        }
    }
}

#[tokio::test]
async fn an_official_client_works_by_ws() {
    let server = start("compression: true").await;
    works(&format!("ws://{}", listener(&server)), ConnectOptions::new(), &server).await;
}

/// A certificate for `localhost`, and a configuration that shows it to WebSocket clients.
fn secure(dir: &TempDir) -> (PathBuf, String) {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "websocket {{ listen: \"127.0.0.1:-1\"\n tls {{ cert_file: {cert:?}, key_file: {key:?} }} }}"
    );
    (cert, text)
}

#[tokio::test]
async fn an_official_client_works_by_wss() {
    let dir = TempDir::new().unwrap();
    let (cert, text) = secure(&dir);
    let server = Setup::new(&Binary::under_test()).config(text).start().await;
    assert_eq!(server.ports()["websocket"][0], format!("wss://{}", listener(&server)));
    let options = ConnectOptions::new().add_root_certificates(cert);
    works(&format!("wss://localhost:{}", listener(&server).port()), options, &server).await;
    // In clear there is no answer but an alert or the end.
    let mut conversation = Conversation::dial(listener(&server)).await.unwrap();
    conversation.send(&request("/", &[])).await.unwrap();
    let answer = conversation.closed().await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test]
async fn monitoring_tells_clients_by_websocket_apart() {
    let server = start("compression: true, jwt_cookie: \"\"").await;
    let (mut socket, info) =
        Websocket::greeted(listener(&server), &["X-Forwarded-For: 10.1.2.3"]).await;
    socket.send(BINARY, format!("{CONNECT}PING\r\n").as_bytes()).await.unwrap();
    socket.until("PONG\r\n").await;
    let connz = server.monitor("/connz").await;
    let entry = &connz["connections"][0];
    assert_eq!((&entry["kind"], &entry["type"]), (&"Client".into(), &"websocket".into()));
    assert_eq!(entry["ip"], "127.0.0.1");
    let varz = server.monitor("/varz").await;
    let expected = serde_json::json!({
        "host": "127.0.0.1",
        "port": server.port("websocket"),
        "no_tls": true,
        "compression": true
    });
    assert_eq!(varz["websocket"], expected);
    socket.send(CLOSE, b"").await.unwrap();
    socket.closed().await.unwrap();
    let closed = eventually("it is among the closed", async || {
        let connz = server.monitor("/connz?state=closed").await;
        connz["connections"].get(0).cloned()
    })
    .await;
    assert_eq!((&closed["cid"], &closed["type"]), (&info["client_id"], &"websocket".into()));
    assert_eq!(closed["reason"], "Client Closed");
    let log = server.log();
    let line = format!("Listening for websocket clients on ws://{}", listener(&server));
    assert!(log.contains(&line), "{log}");
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let server = Setup::new(&Binary::under_test())
        .config("max_connections: 1\n websocket { listen: \"127.0.0.1:-1\", no_tls: true }")
        .start()
        .await;
    let (mut first, _) = Websocket::greeted(listener(&server), &[]).await;
    // nats-server counts a client a moment after it greeted it.
    first.send(BINARY, format!("{CONNECT}PING\r\n").as_bytes()).await.unwrap();
    first.until("PONG\r\n").await;
    let mut second = Websocket::dial(listener(&server), &[]).await.unwrap();
    second.until("\r\n-ERR 'maximum connections exceeded'\r\n").await;
    let goodbye = second.next().await.unwrap();
    assert_eq!(goodbye, (CLOSE, b"\x03\xf0Maximum Connections Exceeded".to_vec()));
}

#[tokio::test]
async fn without_tls_and_without_saying_so_nothing_starts() {
    let setup = Setup::new(&Binary::under_test());
    let mut server = setup.config("websocket { listen: \"127.0.0.1:-1\" }").spawn();
    assert!(!server.exit().await.success());
    assert!(server.log().contains("websocket requires TLS configuration"), "{}", server.log());
}

fn urls(info: &Value) -> Vec<String> {
    let mut urls: Vec<String> =
        serde_json::from_value(info["connect_urls"].clone()).unwrap_or_default();
    urls.sort();
    urls
}

/// Clients of each kind learn of the listeners of their kind, on both servers of a cluster.
async fn gossip(binaries: [&Binary; 2]) {
    let first = setup(binaries[0], "").cluster("C", -1).start().await;
    let second = setup(binaries[1], "").cluster("C", -1).routes(&[first.port("cluster")]);
    let mut second = second.start().await;
    let mut web = vec![listener(&first).to_string(), listener(&second).to_string()];
    let mut tcp = vec![first.client().to_string(), second.client().to_string()];
    web.sort();
    tcp.sort();
    for server in [&first, &second] {
        eventually("INFO by WebSocket lists both", async || {
            let (_, info) = Websocket::greeted(listener(server), &[]).await;
            assert!(info.get("ws_connect_urls").is_none());
            (urls(&info) == web).then_some(())
        })
        .await;
        let mut conversation = Conversation::dial(server.client()).await.unwrap();
        let line = conversation.line().await.unwrap();
        let info: Value = serde_json::from_slice(&line[5..]).unwrap();
        assert_eq!(urls(&info), tcp);
        assert!(info.get("ws_connect_urls").is_none());
        let mut listed: Vec<String> =
            serde_json::from_value(server.monitor("/varz").await["ws_connect_urls"].clone())
                .unwrap();
        listed.sort();
        assert_eq!(listed, web);
    }
    // A client that is connected hears of a server that goes.
    let (mut socket, _) = Websocket::greeted(listener(&first), &[]).await;
    let connect = "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n";
    socket.send(BINARY, connect.as_bytes()).await.unwrap();
    socket.until("PONG\r\n").await;
    second.kill();
    let left = vec![listener(&first).to_string()];
    loop {
        let text = socket.until("\r\n").await;
        let last = text.trim_end().rsplit("\r\n").next().unwrap();
        let Some(json) = last.strip_prefix("INFO ") else { continue };
        if urls(&serde_json::from_str(json.trim()).unwrap()) == left {
            break;
        }
    }
}

/// The same where the listeners have TLS: who comes by `wss` learns of both, and not of one that is
/// gone.
async fn gossip_by_wss(binaries: [&Binary; 2]) {
    let dir = TempDir::new().unwrap();
    let (cert, text) = secure(&dir);
    let [first, second] = binaries.map(|binary| Setup::new(binary).config(&text).cluster("C", -1));
    let first = first.start().await;
    let mut second = second.routes(&[first.port("cluster")]).start().await;
    let mut both = vec![listener(&first).to_string(), listener(&second).to_string()];
    both.sort();
    let url = format!("wss://localhost:{}", listener(&first).port());
    let told = async |wanted: &[String]| {
        eventually("a newcomer and monitoring are told", async || {
            let options = ConnectOptions::new().add_root_certificates(cert.clone());
            let info = options.connect(&url).await.unwrap().server_info();
            let varz = first.monitor("/varz").await;
            let listed = serde_json::from_value(varz["ws_connect_urls"].clone()).unwrap();
            let told = [info.connect_urls, listed].map(|mut urls: Vec<String>| {
                urls.sort();
                urls == wanted
            });
            (told == [true, true]).then_some(())
        })
        .await;
    };
    told(&both).await;
    second.kill();
    told(&[listener(&first).to_string()]).await;
}

#[tokio::test]
async fn a_cluster_tells_websocket_clients_of_websocket_listeners() {
    let binary = Binary::under_test();
    gossip([&binary, &binary]).await;
}

#[tokio::test]
async fn a_cluster_tells_who_comes_by_wss_of_listeners_with_tls() {
    let binary = Binary::under_test();
    gossip_by_wss([&binary, &binary]).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server in NATS_SERVER_BIN"]
async fn so_does_a_cluster_mixed_with_the_stock_server() {
    let (ours, stock) = (Binary::under_test(), Binary::stock());
    for pair in [[&ours, &stock], [&stock, &ours]] {
        gossip(pair).await;
        gossip_by_wss(pair).await;
    }
}
