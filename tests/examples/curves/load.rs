//! One sample: a fresh server, its receivers and publishers, a window of time.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use blackbox::server::{Binary, Server, Setup};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, pki_types::ServerName};

use super::points::{Point, Publisher, Receiver};

/// Bytes on their way to one receiver at most, so that nobody becomes a slow consumer.
const WINDOW: u64 = 1024 * 1024;
/// Bytes that a publisher writes at once, about, when it is as fast as the receivers.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Before the window of time begins.
pub(crate) const WARM_UP: Duration = Duration::from_millis(250);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One figure.
#[derive(Debug)]
pub(crate) struct Sample {
    /// CPU of the server for one delivery.
    pub(crate) nanos: f64,
}

/// What publishers and receivers share.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    published: AtomicU64,
    received: AtomicU64,
    progress: Notify,
    pub(crate) stop: AtomicBool,
}

impl Counts {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
pub(crate) type Link = Box<dyn Stream>;

/// Leaves core 0 to the servers, where there is another.
pub(crate) fn leave_the_first_core() {
    let mut mine = sched_getaffinity(None).expect("a thread knows its cores");
    if mine.count() > 1 {
        mine.unset(0);
        sched_setaffinity(None, &mine).expect("a thread may choose its cores");
    }
}

/// Takes one sample.
pub(crate) async fn measure(binary: &Binary, point: &Point, millis: u64) -> Sample {
    let folder = tempfile::tempdir().expect("a folder");
    let (block, connector) = if point.tls { tls(folder.path()) } else { Default::default() };
    let server = Setup::new(binary).config(format!("{}{block}", point.config)).start().await;
    pin(&server);
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    for (index, receiver) in point.receivers.iter().enumerate() {
        let link = if point.peers {
            peer(server.cluster(), index, receiver).await
        } else {
            client(server.client(), connector.as_ref(), &receiver.user, &receiver.interest).await
        };
        tasks.spawn(receive(link, Arc::clone(&counts)));
    }
    let (pace, at_once) = match point.pause {
        Duration::ZERO => {
            let ahead = WINDOW * point.fan_out as u64 / point.frame as u64;
            (Pace::Ahead(ahead.max(8)), CHUNK)
        }
        pause => (Pace::Every(pause), 1),
    };
    for publisher in &point.publishers {
        let link = client(server.client(), connector.as_ref(), &publisher.user, "").await;
        let chunks = chunks(publisher, point.payload, at_once);
        tasks.spawn(publish(link, chunks, pace, point.fan_out as u64, Arc::clone(&counts)));
    }
    sleep(WARM_UP).await;
    let (cpu, received) = (cpu_nanos(&server), counts.received());
    sleep(Duration::from_millis(millis)).await;
    let (cpu, received) = (cpu_nanos(&server) - cpu, counts.received() - received);
    counts.stop.store(true, Ordering::Relaxed);
    let expected = || counts.published() * point.fan_out as u64;
    timeout(PATIENCE, async {
        while counts.received() != expected() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| {
        let (axis, value) = (point.axis, point.value);
        panic!("{} of {} arrived: {axis} {value}", counts.received(), expected())
    });
    while let Some(ended) = tasks.try_join_next() {
        ended.expect("no connection failed");
    }
    Sample { nanos: cpu as f64 / received as f64 }
}

/// Puts all threads of a server on core 0.
pub(crate) fn pin(server: &Server) {
    let mut first = CpuSet::new();
    first.set(0);
    for thread in threads(server) {
        let id = rustix::thread::Pid::from_raw(thread).expect("a thread id");
        sched_setaffinity(Some(id), &first).expect("a server may be put on a core");
    }
}

fn threads(server: &Server) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a process");
    tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// CPU time of all threads so far.
fn cpu_nanos(server: &Server) -> u64 {
    let pid = server.pid();
    let of = |thread| std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok();
    let nanos = |text: String| text.split(' ').next()?.parse::<u64>().ok();
    threads(server).into_iter().filter_map(|thread| of(thread).and_then(nanos)).sum()
}

/// A certificate for 127.0.0.1: the server's block, and a client that trusts it.
fn tls(folder: &Path) -> (String, Option<TlsConnector>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let certificate = params.self_signed(&key).expect("a certificate");
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).expect("a file");
    std::fs::write(&key_file, key.serialize_pem()).expect("a file");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let block = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
        cert_file.display(),
        key_file.display()
    );
    (block, Some(TlsConnector::from(Arc::new(config))))
}

/// Reads the INFO that every server begins with, byte by byte: TLS may follow at once.
async fn take_info(stream: &mut TcpStream) {
    while stream.read_u8().await.expect("INFO") != b'\n' {}
}

/// Connects a client, sends its interest and waits until the server has read it.
pub(crate) async fn client(
    address: SocketAddr,
    connector: Option<&TlsConnector>,
    user: &str,
    interest: &str,
) -> Link {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    take_info(&mut stream).await;
    let mut link: Link = match connector {
        None => Box::new(stream),
        Some(connector) => {
            let name = ServerName::from(address.ip());
            Box::new(connector.connect(name, stream).await.expect("a TLS handshake"))
        }
    };
    let login = if user.is_empty() {
        String::new()
    } else {
        format!(",\"user\":\"{user}\",\"pass\":\"p\"")
    };
    let connect =
        format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true{login}}}\r\n");
    converse(&mut link, &format!("{connect}{interest}PING\r\n")).await;
    link
}

/// Connects as a server of an old kind: one connection, no pool.
async fn peer(address: SocketAddr, index: usize, receiver: &Receiver) -> Link {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    take_info(&mut stream).await;
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"name\":\"P{index}\",\"cluster\":\"curves\"}}\r\n"
    );
    let info = format!(
        "INFO {{\"server_id\":\"P{index}\",\"server_name\":\"p{index}\",\"version\":\"2.9.0\",\"proto\":1,\
         \"host\":\"127.0.0.1\",\"port\":1,\"headers\":true,\"max_payload\":1048576,\
         \"cluster\":\"curves\"}}\r\n"
    );
    let mut link: Link = Box::new(stream);
    converse(&mut link, &format!("{connect}{info}{}PING\r\n", receiver.interest)).await;
    link
}

/// Says something that ends with PING and waits for the PONG.
async fn converse(link: &mut Link, speech: &str) {
    link.write_all(speech.as_bytes()).await.expect("a server that listens");
    let mut heard = Vec::new();
    timeout(PATIENCE, async {
        while !heard.windows(6).any(|part| part == b"PONG\r\n") {
            assert_ne!(link.read_buf(&mut heard).await.expect("an answer"), 0, "closed");
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no PONG in {:?}", String::from_utf8_lossy(&heard)));
    link.flush().await.expect("a server that listens");
}

/// Messages ready to be written again and again, `at_once` bytes or a little more each time, and
/// how many each chunk holds.
pub(crate) fn chunks(publisher: &Publisher, payload: usize, at_once: usize) -> Vec<(Vec<u8>, u64)> {
    let body = "x".repeat(payload);
    let mut chunks = Vec::new();
    let (mut text, mut count) = (String::new(), 0);
    let turns = publisher.subjects.len().max(at_once / (payload + 32)).max(1);
    for subject in publisher.subjects.iter().cycle().take(turns) {
        write!(text, "PUB {subject} {payload}\r\n{body}\r\n").expect("a string takes all");
        count += 1;
        if text.len() >= at_once {
            chunks.push((std::mem::take(&mut text).into_bytes(), std::mem::take(&mut count)));
        }
    }
    if count > 0 {
        chunks.push((text.into_bytes(), count));
    }
    chunks
}

/// How fast a publisher is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Never more than so many deliveries ahead of the receivers.
    Ahead(u64),
    /// One chunk each time that so long has passed.
    Every(Duration),
}

/// Publishes until told to stop.
pub(crate) async fn publish(
    mut link: Link,
    chunks: Vec<(Vec<u8>, u64)>,
    pace: Pace,
    fan_out: u64,
    counts: Arc<Counts>,
) {
    let mut due = Instant::now();
    for (bytes, count) in chunks.iter().cycle() {
        match pace {
            Pace::Ahead(most) => {
                while counts.published() * fan_out > counts.received() + most {
                    let heard = counts.progress.notified();
                    let _elapsed = timeout(Duration::from_millis(5), heard).await;
                }
            }
            Pace::Every(pause) => {
                due += pause;
                sleep_until(due).await;
            }
        }
        if counts.stop.load(Ordering::Relaxed) {
            break;
        }
        // Counted first: what has arrived is never more than what was published.
        counts.published.fetch_add(*count, Ordering::Relaxed);
        link.write_all(bytes).await.expect("a server that listens");
        link.flush().await.expect("a server that listens");
    }
    // Stays connected until the sample is taken.
    std::future::pending().await
}

/// Counts messages until the server goes.
pub(crate) async fn receive(mut link: Link, counts: Arc<Counts>) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    let begun = Instant::now();
    loop {
        match link.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let (count, used) = count_messages(&buffer);
        buffer.drain(..used);
        counts.received.fetch_add(count, Ordering::Relaxed);
        counts.progress.notify_waiters();
        assert!(begun.elapsed() < 10 * PATIENCE, "this sample does not end");
    }
}

/// How many whole messages these bytes hold, and how many bytes they and other ops take.
fn count_messages(bytes: &[u8]) -> (u64, usize) {
    let (mut count, mut used) = (0, 0);
    while let Some(line) = bytes[used..].split(|&byte| byte == b'\n').next() {
        let rest = bytes.len() - used;
        if line.len() == rest {
            break; // the line goes on
        }
        let mut whole = line.len() + 1;
        if line.starts_with(b"MSG") || line.starts_with(b"RMSG") {
            let size = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
            let size = size.and_then(|size| std::str::from_utf8(size).ok()?.parse::<usize>().ok());
            whole += size.expect("a size") + 2;
            if whole > rest {
                break;
            }
            count += 1;
        }
        used += whole;
    }
    (count, used)
}
