//! Where account JWTs come from: a web server, in clear and by TLS, a cache of another server's,
//! memory that a reload changes. Holds for natsd and for a stock nats-server alike.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blackbox::eventually;
use blackbox::operator::{
    Heard, Peer, account, in_memory, now, operator, outcome_of, unlimited, user,
};
use blackbox::server::{Binary, Setup};
use nkeys::KeyPair;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, SanType};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const REFUSED: &str = "-ERR 'Authorization Violation'";

/// What the web server says of an account.
#[derive(Clone)]
enum Page {
    Jwt(String),
    Error,
    /// Nothing, for ever.
    Silence,
}

/// A web server with accounts.
struct Web {
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<AtomicUsize>,
    address: SocketAddr,
}

impl Web {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Self {
            pages: Arc::default(),
            asked: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let (pages, asked) = (Arc::clone(&web.pages), Arc::clone(&web.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pages, asked, tls) = (Arc::clone(&pages), Arc::clone(&asked), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, &pages, &asked).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &pages, &asked).await;
                            }
                        }
                    }
                });
            }
        });
        web
    }

    fn put(&self, key: &KeyPair, page: Page) {
        self.pages.lock().insert(key.public_key(), page);
    }

    fn url(&self, scheme: &str) -> String {
        format!("URL(\"{scheme}://localhost:{}/jwt/v1/accounts/\")", self.address.port())
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    pages: &Mutex<BTreeMap<String, Page>>,
    asked: &AtomicUsize,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap();
    let key = path.strip_prefix("/jwt/v1/accounts/").unwrap_or_default();
    asked.fetch_add(1, Ordering::Relaxed);
    let page = match key {
        // Servers ask so whether anybody is there.
        "" => Some(Page::Jwt("here".into())),
        key => pages.lock().get(key).cloned(),
    };
    let (status, body) = match page {
        Some(Page::Jwt(jwt)) => ("200 OK", jwt),
        Some(Page::Error) => ("500 Internal Server Error", "oh no".into()),
        Some(Page::Silence) => std::future::pending().await,
        None => ("404 Not Found", String::new()),
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/jwt\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(text.as_bytes()).await);
    drop(stream.shutdown().await);
}

/// An authority, its certificate in a file, and a web server's way of TLS.
fn authority(dir: &Path, name: &str) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(name), authority.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let certificate = params.signed_by(&key, &authority).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An operator with its system account.
struct Keys {
    op: KeyPair,
    sys: KeyPair,
    /// The operator's own JWT.
    jwt: String,
}

impl Keys {
    fn new() -> Self {
        let op = KeyPair::new_operator();
        Self { jwt: operator(&op, &json!({})), op, sys: KeyPair::new_account() }
    }

    fn config(&self, resolver: &str) -> String {
        let (operator, system) = (&self.jwt, self.sys.public_key());
        format!("operator: \"{operator}\"\nsystem_account: {system}\nresolver: {resolver}\n")
    }

    fn account(&self, key: &KeyPair, more: &Value) -> String {
        account(key, more).sign(&self.op)
    }
}

#[tokio::test]
async fn a_web_server_has_the_accounts() {
    let keys = Keys::new();
    let web = Web::start(None).await;
    web.put(&keys.sys, Page::Jwt(keys.account(&keys.sys, &json!({}))));
    let server =
        Setup::new(&Binary::under_test()).config(keys.config(&web.url("http"))).start().await;
    let address = server.client();
    let u = KeyPair::new_user();
    let jwt_of = |key: &KeyPair| user(&u, &json!({})).sign(key);
    let all: Vec<KeyPair> = (0..6).map(|_| KeyPair::new_account()).collect();
    let [good, unknown, broken, silent, void, foreign] = &all[..] else { panic!("six") };
    web.put(good, Page::Jwt(keys.account(good, &json!({}))));
    web.put(broken, Page::Error);
    web.put(silent, Page::Silence);
    web.put(void, Page::Jwt("eyJ".into()));
    // Somebody else's, and one that no trusted operator signed.
    web.put(foreign, Page::Jwt(keys.account(good, &json!({}))));
    let stranger = KeyPair::new_account();
    web.put(&stranger, Page::Jwt(account(&stranger, &json!({})).sign(&KeyPair::new_operator())));

    let (old, early, forged) =
        (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account());
    let timed = |key: &KeyPair, time: Value| account(key, &json!({})).with(&time).sign(&keys.op);
    web.put(&old, Page::Jwt(timed(&old, json!({ "exp": now() - 5 }))));
    web.put(&early, Page::Jwt(timed(&early, json!({ "nbf": now() + 3600 }))));
    // The claims of one, the signature of another.
    let (own, other) = (keys.account(&forged, &json!({})), keys.account(good, &json!({})));
    let signature = other.rsplit_once('.').unwrap().1;
    web.put(&forged, Page::Jwt(format!("{}.{signature}", own.rsplit_once('.').unwrap().0)));

    assert_eq!(outcome_of(address, &jwt_of(good), &u).await, "PONG");
    let asked = web.asked.load(Ordering::Relaxed);
    assert_eq!(outcome_of(address, &jwt_of(good), &u).await, "PONG");
    assert_eq!(web.asked.load(Ordering::Relaxed), asked, "it is known");
    for (what, key) in [
        ("unknown", unknown),
        ("a server's error", broken),
        ("no JWT", void),
        ("another account's", foreign),
        ("an untrusted operator's", &stranger),
        ("expired", &old),
        ("not yet valid", &early),
        ("forged", &forged),
    ] {
        assert_eq!(outcome_of(address, &jwt_of(key), &u).await, REFUSED, "{what}");
    }
    // A web server that says nothing keeps only those waiting who ask for it.
    let mut waiting = Peer::dial(address).await;
    let sig = waiting.signed(&u);
    waiting.connect(json!({ "jwt": jwt_of(silent), "sig": sig })).await;
    assert_eq!(outcome_of(address, &jwt_of(good), &u).await, "PONG");
    let Heard::Line(line) = waiting.hear().await else { panic!("no word") };
    assert!([REFUSED, "-ERR 'Authentication Timeout'"].contains(&line.as_str()), "{line}");
    let log = server.log();
    assert!(
        log.contains(&format!("could not fetch <\"http://localhost:{}", web.address.port())),
        "{log}"
    );
}

#[tokio::test]
async fn a_web_server_is_known_by_its_authority() {
    let dir = TempDir::new().unwrap();
    let tls = authority(dir.path(), "ca.pem");
    drop(authority(dir.path(), "other.pem"));
    let keys = Keys::new();
    let web = Web::start(Some(tls)).await;
    let (a, u) = (KeyPair::new_account(), KeyPair::new_user());
    web.put(&keys.sys, Page::Jwt(keys.account(&keys.sys, &json!({}))));
    web.put(&a, Page::Jwt(keys.account(&a, &json!({}))));
    let config = |ca: &str| {
        let tls = format!("resolver_tls {{ ca_file: \"{}\" }}", dir.path().join(ca).display());
        keys.config(&web.url("https")) + &tls
    };
    let server = Setup::new(&Binary::under_test()).config(config("ca.pem")).start().await;
    let jwt = user(&u, &json!({})).sign(&a);
    let asked = || web.asked.load(Ordering::Relaxed);
    server.reload(&config("other.pem")).await;
    let before = asked();
    assert_eq!(outcome_of(server.client(), &jwt, &u).await, REFUSED);
    assert_eq!(asked(), before, "nobody asks a server that is not known");
    server.reload(&config("ca.pem")).await;
    assert_eq!(outcome_of(server.client(), &jwt, &u).await, "PONG");
}

#[tokio::test]
async fn nobody_starts_without_its_web_server() {
    let keys = Keys::new();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("server.conf");
    let url = format!("URL(\"http://{nowhere}/\")");
    std::fs::write(&file, keys.config(&url) + "listen: \"127.0.0.1:-1\"").unwrap();
    let started = Command::new(Binary::under_test().path()).arg("-c").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success() && said.contains("could not fetch <"), "{said}");
}

/// JWTs that lie in a directory.
fn held(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).map(|list| list.flatten().collect()).unwrap_or_default();
    let entries: Vec<std::fs::DirEntry> = entries;
    let one = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "jwt");
    entries.iter().filter(|entry| one(entry)).count()
}

#[tokio::test]
async fn a_cache_asks_others_and_keeps_a_few() {
    let keys = Keys::new();
    let dir = TempDir::new().unwrap();
    let (full, cache) = (dir.path().join("full"), dir.path().join("cache"));
    let preload = format!(
        "resolver_preload {{ {}: \"{}\" }}\n",
        keys.sys.public_key(),
        keys.account(&keys.sys, &json!({}))
    );
    let with_all = keys.config(&format!("{{ type: full, dir: \"{}\" }}", full.display()));
    let with_few = keys.config(&format!(
        "{{ type: cache, dir: \"{}\", limit: 2, ttl: \"1h\", timeout: \"5s\" }}",
        cache.display()
    ));
    let binary = Binary::under_test();
    let first = Setup::new(&binary).config(with_all + &preload).name("n0").cluster("c", -1);
    let first = first.start().await;
    let second = Setup::new(&binary).config(with_few + &preload).name("n1").cluster("c", -1);
    let second = second.routes(&[first.port("cluster")]).start().await;
    let admin = KeyPair::new_user();
    let jwt = user(&admin, &json!({})).sign(&keys.sys);
    let mut sys = Peer::login(first.client(), &jwt, &admin).await;
    let u = KeyPair::new_user();
    for _ in 0..5 {
        let a = KeyPair::new_account();
        let jwt = keys.account(&a, &json!({}));
        let answer = sys.ask("$SYS.REQ.CLAIMS.UPDATE", jwt.as_bytes()).await;
        assert_eq!(answer["data"]["code"], 200, "{answer}");
        let jwt = user(&u, &json!({})).sign(&a);
        eventually("the cache has asked", async || {
            (outcome_of(second.client(), &jwt, &u).await == "PONG").then_some(())
        })
        .await;
        assert!((1..=2).contains(&held(&cache)), "{} in the cache", held(&cache));
    }
    assert_eq!(held(&full), 6);
    // What nobody has is not found.
    let jwt = user(&u, &json!({})).sign(&KeyPair::new_account());
    assert_ne!(outcome_of(second.client(), &jwt, &u).await, "PONG");
}

#[tokio::test]
async fn a_reload_changes_accounts_in_memory_and_no_operators() {
    let keys = Keys::new();
    let (a, b, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let sys = keys.account(&keys.sys, &json!({}));
    let op = operator(&keys.op, &json!({}));
    let (a_jwt, b_jwt) = (keys.account(&a, &json!({})), keys.account(&b, &json!({})));
    let both = in_memory(&op, &keys.sys, &[(&keys.sys, &sys), (&a, &a_jwt), (&b, &b_jwt)]);
    let server = Setup::new(&Binary::under_test()).config(both).start().await;
    let (of_a, of_b) = (user(&u, &json!({})).sign(&a), user(&u, &json!({})).sign(&b));
    let mut in_a = Peer::login(server.client(), &of_a, &u).await;
    let mut in_b = Peer::login(server.client(), &of_b, &u).await;
    // One is gone, the other may have no more than one client.
    let mut limits = unlimited();
    limits["conn"] = 1.into();
    let fewer = account(&a, &json!({ "limits": limits })).with(&json!({ "name": "newer" }));
    let fewer = fewer.sign(&keys.op);
    server.reload(&in_memory(&op, &keys.sys, &[(&keys.sys, &sys), (&a, &fewer)])).await;
    assert_eq!(in_b.hear().await, Heard::Line(REFUSED.into()));
    assert_eq!(in_b.hear().await, Heard::Closed);
    assert_eq!(outcome_of(server.client(), &of_b, &u).await, REFUSED);
    assert_eq!(in_a.heard().await, []);
    let full = "-ERR 'maximum account active connections exceeded'";
    assert_eq!(outcome_of(server.client(), &of_a, &u).await, full);
    // Whom the server trusts stays.
    let another = KeyPair::new_operator();
    let config = in_memory(
        &operator(&another, &json!({})),
        &keys.sys,
        &[(&keys.sys, &account(&keys.sys, &json!({})).sign(&another))],
    );
    std::fs::write(server.dir().join("server.conf"), config).unwrap();
    server.signal(Signal::HUP);
    eventually("the reload is refused", async || {
        server.log().contains("config reload not supported for TrustedOperators").then_some(())
    })
    .await;
    assert_eq!(in_a.heard().await, []);
}

#[tokio::test]
async fn a_reload_pins_accounts() {
    let keys = Keys::new();
    let (a, b, u) = (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let sys = keys.account(&keys.sys, &json!({}));
    let (a_jwt, b_jwt) = (keys.account(&a, &json!({})), keys.account(&b, &json!({})));
    let op = operator(&keys.op, &json!({}));
    let both = in_memory(&op, &keys.sys, &[(&keys.sys, &sys), (&a, &a_jwt), (&b, &b_jwt)]);
    let server = Setup::new(&Binary::under_test()).config(&both).start().await;
    let (of_a, of_b) = (user(&u, &json!({})).sign(&a), user(&u, &json!({})).sign(&b));
    let mut in_a = Peer::login(server.client(), &of_a, &u).await;
    let mut in_b = Peer::login(server.client(), &of_b, &u).await;
    let pinned = format!("resolver_pinned_accounts: [ {} ]\n", a.public_key());
    server.reload(&(pinned + &both)).await;
    assert_eq!(in_b.hear().await, Heard::Line(REFUSED.into()));
    assert_eq!(outcome_of(server.client(), &of_b, &u).await, REFUSED);
    assert_eq!(outcome_of(server.client(), &of_a, &u).await, "PONG");
    assert_eq!(in_a.heard().await, []);
}
