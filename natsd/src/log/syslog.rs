//! Log lines for a syslog: the local one, or one that a URL names. Lines are those of Go's
//! `log/syslog`, which nats-server uses; a thread of its own writes them, because a syslog
//! may be slow or away and nobody here shall wait for it.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::zone;

/// Lines that may wait for the syslog; more are counted and dropped.
const LINES_MAX: usize = 4096;
/// How long a syslog may take to accept a connection or a line.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// Facility `daemon`, of a local syslog.
const FACILITY_DAEMON: u8 = 3 << 3;
/// Facility `kern`: what nats-server sends to a remote syslog, having set none.
const FACILITY_REMOTE: u8 = 0;
/// Where a local syslog may listen, in the order of Go's library.
const LOCAL_PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How grave a line is, as syslog counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Severity {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Debug = 7,
}

/// A syslog that is written to. Dropping it ends its thread behind the last line.
#[derive(Debug)]
pub(super) struct Syslog {
    lines: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Order {
    Line(Severity, String),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

impl Syslog {
    /// Connects to the syslog of this machine.
    ///
    /// # Errors
    /// When none listens.
    pub(super) fn local(tag: &str) -> io::Result<Self> {
        Self::start(Target::Local, FACILITY_DAEMON, tag)
    }

    /// Connects to the syslog that a URL names: `udp://`, `tcp://` or `unix://`.
    ///
    /// # Errors
    /// When it names none, or none that accepts a connection.
    pub(super) fn remote(url: &str, tag: &str) -> io::Result<Self> {
        Self::start(Target::parse(url)?, FACILITY_REMOTE, tag)
    }

    fn start(target: Target, facility: u8, tag: &str) -> io::Result<Self> {
        let socket = target.connect().map_err(|error| {
            io::Error::new(error.kind(), format!("error connecting to syslog {target}: {error}"))
        })?;
        let (lines, orders) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            host: host_name(&socket),
            socket: Some(socket),
            target,
            facility,
            tag: tag.to_owned(),
            lost: Arc::clone(&lost),
        };
        std::thread::Builder::new().name("syslog".into()).spawn(move || writer.run(&orders))?;
        Ok(Self { lines, lost })
    }

    /// Hands a line over; drops it where too many wait.
    pub(super) fn write(&self, severity: Severity, text: String) {
        if self.lines.try_send(Order::Line(severity, text)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over is written, or not longer than is decent.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Order::Flush(done)).is_ok() {
            // The end does not wait longer for a syslog that is away.
            let _ = written.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Where a syslog listens.
#[derive(Debug)]
enum Target {
    Local,
    Udp(String),
    Tcp(String),
    Unix(String),
}

impl Target {
    fn parse(url: &str) -> io::Result<Self> {
        let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let (network, rest) = url.split_once("://").unwrap_or((url, ""));
        let address = rest.split('/').next().unwrap_or_default().to_owned();
        match network {
            "udp" => Ok(Self::Udp(address)),
            "tcp" => Ok(Self::Tcp(address)),
            "unix" => Ok(Self::Unix(rest.to_owned())),
            other => Err(wrong(format!(
                "error invalid network type {other:?} in `remote_syslog`: \
                 use udp://host:514, tcp://host:514 or unix:///path"
            ))),
        }
    }

    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Local => local_syslog(),
            Self::Unix(path) => stream(path).map(Socket::UnixStream),
            Self::Tcp(address) => {
                let address = resolve(address)?;
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Socket::Tcp(stream))
            }
            Self::Udp(address) => {
                let address = resolve(address)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("of this machine"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

fn resolve(address: &str) -> io::Result<std::net::SocketAddr> {
    let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    address.to_socket_addrs()?.next().ok_or_else(nothing)
}

fn stream(path: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn local_syslog() -> io::Result<Socket> {
    let datagram = |path| {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        io::Result::Ok(Socket::UnixDatagram(socket))
    };
    let first = LOCAL_PATHS.iter().find_map(|path| datagram(*path).ok());
    first
        .or_else(|| LOCAL_PATHS.iter().find_map(|path| stream(path).ok().map(Socket::UnixStream)))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("nobody listens at {}", LOCAL_PATHS.join(", ")),
            )
        })
}

/// A connection to a syslog.
#[derive(Debug)]
enum Socket {
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    fn is_local(&self) -> bool {
        matches!(self, Self::UnixDatagram(_) | Self::UnixStream(_))
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::UnixDatagram(socket) => socket.send(line).map(|_| ()),
            Self::Udp(socket) => socket.send(line).map(|_| ()),
            Self::UnixStream(stream) => stream.write_all(line),
            Self::Tcp(stream) => stream.write_all(line),
        }
    }
}

/// What lines for other machines say where they are from.
fn host_name(socket: &Socket) -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !name.is_empty() {
        return name;
    }
    let own = match socket {
        Socket::Udp(socket) => socket.local_addr().ok(),
        Socket::Tcp(stream) => stream.local_addr().ok(),
        Socket::UnixDatagram(_) | Socket::UnixStream(_) => None,
    };
    own.map_or_else(|| "localhost".to_owned(), |address| address.to_string())
}

/// The thread that writes.
struct Writer {
    target: Target,
    /// `None` after a failure.
    socket: Option<Socket>,
    facility: u8,
    host: String,
    tag: String,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Line(severity, text) => self.write_line(severity, &text),
                // Who asked may have given up.
                Order::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn write_line(&mut self, severity: Severity, text: &str) {
        if self.send(severity, text).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let report = format!("{lost} log lines were lost while the syslog did not take them");
        if lost > 0 && self.send(Severity::Warning, &report).is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Writes a line, connecting once more where the connection broke.
    fn send(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        if let Some(socket) = &mut self.socket {
            let line = line(socket, self.facility, severity, &self.host, &self.tag, text);
            if socket.send(line.as_bytes()).is_ok() {
                return Ok(());
            }
            self.socket = None;
        }
        let socket = self.socket.insert(self.target.connect()?);
        let line = line(socket, self.facility, severity, &self.host, &self.tag, text);
        let sent = socket.send(line.as_bytes());
        if sent.is_err() {
            self.socket = None;
        }
        sent
    }
}

/// A line in the form that Go's `log/syslog` writes: to sockets of this machine without the
/// host and with the short date, to others with both in full.
fn line(
    socket: &Socket,
    facility: u8,
    severity: Severity,
    host: &str,
    tag: &str,
    text: &str,
) -> String {
    let priority = facility | severity as u8;
    let (now, pid) = (zone::now(), std::process::id());
    let text = text.trim_end_matches('\n');
    if socket.is_local() {
        let time = now.strftime("%b %e %H:%M:%S");
        return format!("<{priority}>{time} {tag}[{pid}]: {text}\n");
    }
    let zone =
        if now.offset().seconds() == 0 { "Z".to_owned() } else { now.strftime("%:z").to_string() };
    let time = now.strftime("%Y-%m-%dT%H:%M:%S");
    format!("<{priority}>{time}{zone} {host} {tag}[{pid}]: {text}\n")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_target_that_is_none_is_refused_with_what_would_be_one() {
        for wrong in ["", "localhost:514", "http://localhost:514"] {
            let error = Syslog::remote(wrong, "natsd").expect_err(wrong).to_string();
            assert!(error.contains("udp://host:514"), "{error}");
        }
        let gone = Syslog::remote("unix:///nowhere/log", "natsd").expect_err("nobody").to_string();
        assert!(gone.contains("unix:///nowhere/log"), "{gone}");
    }

    #[test]
    fn a_syslog_that_was_away_is_found_again_and_told_what_it_missed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let syslog = Syslog::remote(&format!("tcp://{address}"), "natsd").expect("connected");
        drop(listener.accept().expect("accepted"));
        drop(listener);
        // The first line may vanish in a buffer of the system; a later one meets the reset.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while syslog.lost.load(Ordering::Relaxed) == 0 {
            assert!(std::time::Instant::now() < deadline, "no line was ever refused");
            syslog.write(Severity::Notice, "into the void".into());
            syslog.flush();
        }
        let listener = TcpListener::bind(address).expect("the same port");
        syslog.write(Severity::Notice, "here again".into());
        drop(syslog);
        let (mut stream, _) = listener.accept().expect("found again");
        let mut text = String::new();
        io::Read::read_to_string(&mut stream, &mut text).expect("read to the end");
        assert!(text.contains("]: here again\n"), "{text}");
        assert!(text.contains("log lines were lost"), "{text}");
    }
}
