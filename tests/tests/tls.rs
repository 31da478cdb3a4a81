//! TLS as clients and servers meet it: certificates made here, an official client, real sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use blackbox::server::{Binary, Server, Setup};
use blackbox::wire::{Conversation, http_get, https_get};
use futures_util::StreamExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PublicKeyData, SanType,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// An authority and what it signed, as files.
struct Pki {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        Self { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes `name.pem` and `name.key`.
    fn issue(&self, name: &str, alternatives: Vec<SanType>) {
        self.issue_to(name, &[(DnType::CommonName, name)], alternatives);
    }

    /// The same for a subject of several attributes.
    fn issue_to(&self, name: &str, subject: &[(DnType, &str)], alternatives: Vec<SanType>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn server(&self, name: &str) {
        let local = SanType::IpAddress("127.0.0.1".parse().unwrap());
        self.issue(name, vec![local, SanType::DnsName("localhost".try_into().unwrap())]);
    }

    fn block(&self, name: &str, more: &str) -> String {
        let file = |path: &Path| format!("\"{}\"", path.display());
        format!(
            "tls {{ cert_file: {}, key_file: {}, ca_file: {}, {more} }}",
            file(&self.path(&format!("{name}.pem"))),
            file(&self.path(&format!("{name}.key"))),
            file(&self.path("ca.pem")),
        )
    }

    fn options(&self) -> ConnectOptions {
        ConnectOptions::new()
            .add_root_certificates(self.path("ca.pem"))
            .require_tls(true)
            .connection_timeout(Duration::from_secs(5))
    }

    fn options_of(&self, name: &str) -> ConnectOptions {
        self.options().add_client_certificate(
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        )
    }
}

fn email(address: &str) -> Vec<SanType> {
    vec![SanType::Rfc822Name(address.try_into().unwrap())]
}

async fn start(config: String) -> Server {
    Setup::new(&Binary::under_test()).config(config).unmonitored().start().await
}

/// Whether a client gets in and large and many messages pass both ways.
async fn works(server: &Server, options: ConnectOptions) -> bool {
    let url = format!("tls://localhost:{}", server.client().port());
    let Ok(client) = options.connect(url).await else { return false };
    let mut messages = client.subscribe("t.>").await.unwrap();
    let body: Vec<u8> = (0..900_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for _ in 0..3 {
        client.publish("t.large", body.clone().into()).await.unwrap();
    }
    for n in 0..2000 {
        client.publish("t.small", n.to_string().into()).await.unwrap();
    }
    let wait = |_| Duration::from_secs(20);
    for _ in 0..3 {
        let message = tokio::time::timeout(wait(()), messages.next()).await.unwrap().unwrap();
        assert!(message.payload == body);
    }
    for n in 0..2000 {
        let message = tokio::time::timeout(wait(()), messages.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, n.to_string());
    }
    true
}

#[tokio::test]
async fn clients_are_served_through_tls_and_only_so() {
    let pki = Pki::new();
    pki.server("server");
    let server = start(pki.block("server", "timeout: 1")).await;
    assert!(works(&server, pki.options()).await);
    let stranger = Pki::new();
    assert!(!works(&server, stranger.options()).await, "a server of another authority");

    let mut plain = Conversation::dial(server.client()).await.unwrap();
    let info = String::from_utf8(plain.line().await.unwrap()).unwrap();
    assert!(info.contains("\"tls_required\":true"), "{info}");
    plain.send(b"CONNECT {}\r\nPING\r\n").await.unwrap();
    let answer = plain.line().await;
    assert!(!answer.is_ok_and(|line| line.starts_with(b"PONG")), "served in clear");
    let log = server.log();
    assert!(log.contains("[INF] TLS required for client connections"), "{log}");
}

#[tokio::test]
async fn certificates_stand_for_users() {
    let pki = Pki::new();
    pki.server("server");
    pki.issue("known", email("known@example.com"));
    pki.issue("unknown", email("unknown@example.com"));
    let stranger = Pki::new();
    stranger.issue("known", email("known@example.com"));
    let users = "authorization { users: [ { user: \"known@example.com\" } ] }";
    let server = start(format!("{}\n{users}", pki.block("server", "verify_and_map: true"))).await;
    assert!(works(&server, pki.options_of("known")).await);
    assert!(!works(&server, pki.options_of("unknown")).await, "an unknown name");
    assert!(!works(&server, pki.options()).await, "no certificate");
    let forged = pki
        .options()
        .add_client_certificate(stranger.path("known.pem"), stranger.path("known.key"));
    assert!(!works(&server, forged).await, "signed by somebody else");
}

#[tokio::test]
async fn tls_may_come_first() {
    let pki = Pki::new();
    pki.server("server");
    let server = start(pki.block("server", "handshake_first: auto")).await;
    assert!(works(&server, pki.options()).await);
    assert!(works(&server, pki.options().tls_first()).await);
    let server = start(pki.block("server", "handshake_first: true, timeout: 1")).await;
    assert!(works(&server, pki.options().tls_first()).await);
    assert!(!works(&server, pki.options()).await, "it waits for INFO in vain");
    let log = server.log();
    assert!(log.contains("[WRN] Clients that are not using \"TLS Handshake First\""), "{log}");
}

#[tokio::test]
async fn a_handshake_that_failed_is_listed_whenever_tls_begins() {
    let pki = Pki::new();
    pki.server("server");
    for first in ["false", "true"] {
        let config = pki.block("server", &format!("handshake_first: {first}, timeout: 5"));
        let config = format!("debug: true\n{config}");
        let server = Setup::new(&Binary::under_test()).config(config).start().await;
        let mut stranger = Conversation::dial(server.client()).await.unwrap();
        stranger.send(b"CONNECT {}\r\n").await.unwrap();
        while stranger.line().await.is_ok() {}
        blackbox::eventually("it is listed", async || {
            let connz = server.monitor("/connz?state=closed").await;
            (connz["connections"][0]["reason"] == "TLS Handshake Failure").then_some(())
        })
        .await;
        let varz = server.monitor("/varz").await;
        assert_eq!((&varz["connections"], &varz["total_connections"]), (&0.into(), &1.into()));
        let log = server.log();
        // For those who debug: whoever knocks at the wrong door would fill the log.
        let fault = "TLS handshake error: tls: first record does not look like a TLS handshake";
        let said = |line: &str| line.contains("[DBG]") && line.ends_with(fault);
        assert!(log.lines().any(said), "{first}: {log}");
    }
}

#[tokio::test]
async fn handshakes_are_counted_per_second() {
    let pki = Pki::new();
    pki.server("server");
    let server = start(pki.block("server", "connection_rate_limit: 2, timeout: 5")).await;
    let mut refused = 0;
    for _ in 0..8 {
        let mut conversation = Conversation::dial(server.client()).await.unwrap();
        conversation.line().await.unwrap();
        // Those that are let in hear nothing more until they begin TLS; those that are not, do.
        let line = conversation.line_within(Duration::from_millis(300)).await.unwrap_or_default();
        let throttled = b"-ERR 'Connection throttling is active. Please try again later.'\r\n";
        refused += usize::from(line == throttled);
    }
    assert!(refused >= 4, "{refused} of 8");
}

#[tokio::test]
async fn new_certificates_are_used_after_a_reload() {
    let (old, new) = (Pki::new(), Pki::new());
    old.server("server");
    new.server("server");
    let server = start(old.block("server", "")).await;
    let url = format!("tls://localhost:{}", server.client().port());
    let before = old.options().connect(&url).await.unwrap();
    for file in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(new.path(file), old.path(file)).unwrap();
    }
    server.signal(rustix::process::Signal::HUP);
    blackbox::eventually("the new certificate is shown", async || {
        new.options().connect(&url).await.ok().map(drop)
    })
    .await;
    before.flush().await.unwrap();
    let connected = async_nats::connection::State::Connected;
    assert_eq!(before.connection_state(), connected, "who is in stays in");
}

/// Whether a newcomer is told that it needs TLS.
async fn greets_with_tls(server: &Server) -> bool {
    let mut newcomer = Conversation::dial(server.client()).await.unwrap();
    let info = String::from_utf8(newcomer.line().await.unwrap()).unwrap();
    info.contains("\"tls_required\":true")
}

#[tokio::test]
async fn a_reload_begins_and_ends_tls_for_newcomers() {
    let pki = Pki::new();
    pki.server("server");
    let server = start("# no TLS".into()).await;
    let plain = async_nats::connect(format!("nats://{}", server.client())).await.unwrap();
    let reload = async |config: &str, tls: bool| {
        std::fs::write(server.dir().join("server.conf"), config).unwrap();
        server.signal(rustix::process::Signal::HUP);
        blackbox::eventually("newcomers are told", async || {
            (greets_with_tls(&server).await == tls).then_some(())
        })
        .await;
    };
    reload(&pki.block("server", ""), true).await;
    assert!(works(&server, pki.options()).await);
    plain.flush().await.unwrap();
    reload("# no TLS again", false).await;
    async_nats::connect(format!("nats://{}", server.client())).await.unwrap();
    plain.flush().await.unwrap();
    assert_eq!(plain.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_certificate_that_is_pinned_no_more_ends_its_connection() {
    let pki = Pki::new();
    for name in ["server", "one", "two"] {
        pki.server(name);
    }
    let digest = |name: &str| {
        let text = std::fs::read_to_string(pki.path(&format!("{name}.key"))).unwrap();
        let key = KeyPair::from_pem(&text).unwrap();
        let digest = Sha256::digest(key.subject_public_key_info());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let pinned = |names: &[&str]| {
        let all: Vec<_> = names.iter().map(|name| format!("{:?}", digest(name))).collect();
        pki.block("server", &format!("verify: true, pinned_certs: [ {} ]", all.join(", ")))
    };
    let server = Setup::new(&Binary::under_test()).config(pinned(&["one", "two"])).start().await;
    let url = format!("tls://localhost:{}", server.client().port());
    let one = pki.options_of("one").connect(&url).await.unwrap();
    let two = pki.options_of("two").connect(&url).await.unwrap();
    one.flush().await.unwrap();
    two.flush().await.unwrap();
    std::fs::write(server.dir().join("server.conf"), pinned(&["one"])).unwrap();
    server.signal(rustix::process::Signal::HUP);
    blackbox::eventually("the other one is closed", async || {
        let closed = server.monitor("/connz?state=closed").await;
        let all = closed["connections"].as_array()?.clone();
        all.iter().any(|gone| gone["reason"] == "TLS Handshake Failure").then_some(())
    })
    .await;
    assert!(server.log().contains("Disconnect 1 clients due to pinned certs reload"));
    assert_eq!(one.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
    drop(two);
}

#[tokio::test]
async fn a_route_needs_the_right_certificate() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    pki.server("node");
    pki.issue("elsewhere", vec![SanType::DnsName("elsewhere".try_into().unwrap())]);
    stranger.server("node");
    let cluster = |pki: &Pki, name: &str, more: &str| {
        format!(
            "cluster {{ name: c, listen: \"127.0.0.1:-1\"\n {}\n {more} }}",
            pki.block(name, "")
        )
    };
    let seed = start(cluster(&pki, "node", "")).await;
    let routes = format!("routes: [ \"nats-route://localhost:{}\" ]", seed.port("cluster"));
    let good = start(cluster(&pki, "node", &routes)).await;
    let is_member = |server: &Server| server.log().contains("Registering remote route");
    let bad = start(cluster(&stranger, "node", &routes)).await;
    let misnamed = start(cluster(&pki, "elsewhere", "")).await;
    let to_misnamed =
        format!("routes: [ \"nats-route://localhost:{}\" ]", misnamed.port("cluster"));
    let deceived = start(cluster(&pki, "node", &to_misnamed)).await;
    blackbox::eventually("the refusals are logged", async || {
        let refused = |server: &Server| server.log().contains("TLS route handshake error");
        (refused(&bad) && refused(&deceived)).then_some(())
    })
    .await;
    let seed_url = format!("nats://127.0.0.1:{}", seed.client().port());
    let good_url = format!("nats://127.0.0.1:{}", good.client().port());
    let listener = async_nats::connect(seed_url).await.unwrap();
    let mut messages = listener.subscribe("x").await.unwrap();
    listener.flush().await.unwrap();
    let speaker = async_nats::connect(good_url).await.unwrap();
    blackbox::eventually("a message crosses the route", async || {
        speaker.publish("x", "1".into()).await.unwrap();
        speaker.flush().await.unwrap();
        tokio::time::timeout(Duration::from_millis(100), messages.next()).await.ok().flatten()
    })
    .await;
    assert!(!is_member(&bad) && !is_member(&deceived));
}

#[tokio::test]
async fn monitoring_by_https_asks_for_no_certificate() {
    let pki = Pki::new();
    pki.server("server");
    let config = pki.block("server", "verify: true");
    let setup = Setup::new(&Binary::under_test()).config(config).unmonitored().args(["-ms", "-1"]);
    let server = setup.start().await;
    let address: SocketAddr = ([127, 0, 0, 1], server.port("monitoring")).into();
    assert_eq!(server.ports()["monitoring"][0], format!("https://{address}"));
    assert_eq!(server.ports()["nats"][0], format!("tls://{}", server.client()));
    let (status, body) = https_get(address, "/varz", &pki.path("ca.pem")).await.unwrap();
    let varz: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &varz["http_port"]), (200, &0.into()));
    // For a port that the system chose nats-server shows what was asked for.
    assert!([address.port().into(), (-1).into()].contains(&varz["https_port"]), "{varz}");
    let (status, _) = https_get(address, "/healthz", &pki.path("ca.pem")).await.unwrap();
    assert_eq!(status, 200);
    let stranger = Pki::new();
    https_get(address, "/varz", &stranger.path("ca.pem")).await.unwrap_err();
    let in_clear = http_get(address, "/varz").await;
    assert!(!in_clear.is_ok_and(|(status, _)| status == 200), "served in clear");
    let line = format!("Starting https monitor on {address}");
    assert!(server.log().contains(&line), "{}", server.log());
}

/// A server with TLS everywhere, one client with a certificate, one that came and went.
async fn tls_documents(binary: &Binary, pki: &Pki) -> (serde_json::Value, serde_json::Value) {
    let config = format!(
        "{}\n{}\n{}\naccounts {{ A {{ users: [ {{ user: a, password: p }} ] }} }}",
        pki.block("server", "verify: true, handshake_first: auto"),
        format_args!(
            "cluster {{ name: c, listen: \"127.0.0.1:-1\"\n {} }}",
            pki.block("server", "")
        ),
        format_args!("websocket {{ listen: \"127.0.0.1:-1\"\n {} }}", pki.block("server", "")),
    );
    let server = Setup::new(binary).config(config).start().await;
    let url = format!("tls://localhost:{}", server.client().port());
    let options =
        || pki.options_of("full").user_and_password("a".to_owned(), "p".to_owned()).name("bob");
    let gone = options().connect(&url).await.unwrap();
    gone.flush().await.unwrap();
    let mut subscription = gone.subscribe("closing").await.unwrap();
    gone.flush().await.unwrap();
    subscription.unsubscribe().await.unwrap();
    drop(subscription);
    drop(gone);
    blackbox::eventually("one has gone", async || {
        let closed = server.monitor("/connz?state=closed").await;
        (closed["num_connections"] == 1).then_some(())
    })
    .await;
    let after = options().connect(&url).await.unwrap();
    let first = options().tls_first().connect(&url).await.unwrap();
    after.flush().await.unwrap();
    first.flush().await.unwrap();
    let mut connz = server.monitor("/connz?auth=1&state=all").await;
    let mut shown = Vec::new();
    for connection in connz["connections"].as_array_mut().unwrap() {
        // Which suite is chosen is the business of the libraries.
        let cipher = connection["tls_cipher_suite"].take();
        assert!(cipher.as_str().is_some_and(|name| name.starts_with("TLS_")), "{connection}");
        let keys = ["tls_version", "tls_first", "tls_peer_certs", "authorized_user", "account"];
        shown.push(keys.map(|key| connection[key].take()));
    }
    let varz = server.monitor("/varz").await;
    let ends =
        [&varz, &varz["cluster"], &varz["websocket"]].map(|part| &part["tls_cert_not_after"]);
    let tls = ["tls_required", "tls_verify", "tls_timeout", "auth_timeout"]
        .map(|key| [&varz[key], &varz["cluster"][key], &varz["websocket"][key]]);
    (serde_json::json!(shown), serde_json::json!([ends, tls]))
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn monitoring_shows_tls_as_the_stock_server_does() {
    let pki = Pki::new();
    pki.server("server");
    pki.issue_to(
        "full",
        &[
            (DnType::CommonName, " Bob, \"the #1\" "),
            (DnType::CountryName, "DE"),
            (DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]), "example"),
            (DnType::OrganizationalUnitName, "#Sales"),
            (DnType::LocalityName, "Köln"),
            (DnType::StateOrProvinceName, "NW"),
            (DnType::OrganizationName, "Acme+Co"),
        ],
        Vec::new(),
    );
    let (stock_clients, stock_server) = tls_documents(&Binary::stock(), &pki).await;
    let (clients, server) = tls_documents(&Binary::under_test(), &pki).await;
    assert_eq!(clients, stock_clients);
    assert_eq!(server, stock_server);
    let text = clients.to_string();
    assert!(text.contains("cert_sha256") && text.contains("1.3"), "{text}");
}

#[tokio::test]
async fn tls_of_routes_switched_on_or_off_counts_for_routes_to_come() {
    let pki = Pki::new();
    pki.server("node");
    let config = |tls: &str| {
        format!("cluster {{ name: c, listen: \"127.0.0.1:-1\", pool_size: -1\n{tls} }}")
    };
    let server = start(config("")).await;
    let hello = "CONNECT {\"headers\":true,\"name\":\"P1\",\"cluster\":\"c\"}\r\n\
                 INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"version\":\"0\",\"proto\":1,\
                 \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
                 \"cluster\":\"c\"}\r\nPING\r\n";
    let mut peer = Conversation::dial(server.cluster()).await.unwrap();
    peer.send(hello.as_bytes()).await.unwrap();
    while !peer.line().await.unwrap().starts_with(b"PONG") {}
    server.reload(&config(&pki.block("node", ""))).await;
    // Who is there stays as it is.
    peer.send(b"PING\r\n").await.unwrap();
    while !peer.line().await.unwrap().starts_with(b"PONG") {}
    // Who comes in plain text is not spoken to.
    let mut plain = Conversation::dial(server.cluster()).await.unwrap();
    plain.send(hello.as_bytes()).await.unwrap();
    let heard = plain.closed().await.unwrap();
    assert!(!String::from_utf8_lossy(&heard).contains("INFO"), "{heard:?}");
    server.reload(&config("")).await;
    peer.send(b"PING\r\n").await.unwrap();
    while !peer.line().await.unwrap().starts_with(b"PONG") {}
    let mut plain = Conversation::dial(server.cluster()).await.unwrap();
    let info = String::from_utf8(plain.line().await.unwrap()).unwrap();
    assert!(info.starts_with("INFO {") && !info.contains("\"tls_required\":true"), "{info}");
}
