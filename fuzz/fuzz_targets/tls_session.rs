//! A TLS client that breaks the rules at any moment: no panic, and the server lets go of it.
//!
//! The first byte says when: instead of the handshake, in its first flight, behind it in clear, or
//! in its records. The second is where a byte is changed and how the rest is cut.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use natsd::client::Client;
use natsd::config::{Config, Limits};
use natsd::net::{Patience, TlsPlan, TlsRole, TlsStart, serve, split_tls};
use natsd::outbound::Outbound;
use natsd_fuzz::paper::node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(8);

struct Stage {
    runtime: Runtime,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a server");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Stage {
        runtime: runtime.expect("a runtime"),
        server: Arc::new(server),
        client: Arc::new(client),
    }
});

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// Changes a byte and sends it all in pieces; the server may have gone meanwhile.
async fn send(stream: &mut TcpStream, mut bytes: Vec<u8>, at: u8) {
    let place = bytes.len() * usize::from(at) / 256;
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= at | 1;
    }
    let (first, second) = bytes.split_at(place);
    for part in [first, second] {
        drop(stream.write_all(part).await);
        tokio::task::yield_now().await;
    }
}

async fn misbehave(mut stream: TcpStream, when: u8, at: u8, data: &[u8]) {
    match when % 4 {
        0 => send(&mut stream, data.to_vec(), at).await,
        1 => {
            let client = Arc::clone(&STAGE.client);
            let mut hello = Vec::new();
            let mut connection = ClientConnection::new(client, name()).expect("a client");
            connection.write_tls(&mut hello).expect("a hello");
            hello.extend_from_slice(data);
            send(&mut stream, hello, at).await;
        }
        when => {
            let connector = TlsConnector::from(Arc::clone(&STAGE.client));
            let secured = connector.connect(name(), stream).await.expect("a handshake");
            let (inner, mut connection) = secured.into_inner();
            stream = inner;
            let mut bytes = data.to_vec();
            if when == 3 {
                use std::io::Write as _;
                connection.writer().write_all(data).expect("room");
                bytes.clear();
                while connection.wants_write() {
                    connection.write_tls(&mut bytes).expect("records");
                }
            }
            send(&mut stream, bytes, at).await;
        }
    }
    drop(stream.shutdown().await);
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
}

fuzz_target!(|data: &[u8]| {
    let [when, at, data @ ..] = data else { return };
    STAGE.runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, peer) = accepted.expect("a connection");
        let plan = TlsPlan {
            role: TlsRole::Server(Arc::clone(&STAGE.server)),
            start: TlsStart::First,
            timeout: PATIENCE,
            pinned: Default::default(),
            known_hosts: None,
        };
        let node = node(Config::default());
        let (reader, sink) = split_tls(stream, plan);
        let limits = Limits::default();
        let outbound = Arc::new(Outbound::new(1, sink, limits.max_pending));
        let serving = serve(
            reader,
            Client::new(Arc::clone(&node), peer, outbound),
            Patience::with_clients(&limits),
        );
        let misbehaving = misbehave(client.expect("a connection"), *when, *at, data);
        let both = async { tokio::join!(serving, misbehaving) };
        timeout(PATIENCE * 2, both).await.expect("the server lets go of a client that is gone");
    });
});
