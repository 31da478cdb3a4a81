//! A raw TCP conversation: bytes out, bytes in, a deadline on every wait.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::DEADLINE;

/// One end of a TCP connection, as a peer that looks at every byte.
///
/// What the other side sends is read by a task of its own as it arrives, so that a last word
/// before a reset is not lost with the reset.
#[derive(Debug)]
pub struct Conversation {
    writer: Option<OwnedWriteHalf>,
    incoming: mpsc::Receiver<Vec<u8>>,
    reader: JoinHandle<()>,
    buffer: Vec<u8>,
    ended: bool,
}

/// What came instead of what was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The connection ended, with these bytes unread.
    Closed(String),
    /// The deadline passed, with these bytes unread.
    Silence(String),
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(rest) => write!(f, "the connection was closed (unread: \"{rest}\")"),
            Self::Silence(rest) => write!(f, "nothing came (unread: \"{rest}\")"),
        }
    }
}

impl Conversation {
    /// Dials `address`.
    pub async fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(DEADLINE, TcpStream::connect(address)).await??;
        Self::over(stream)
    }

    /// Talks over an accepted or dialed connection.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (mut read, writer) = stream.into_split();
        let (sender, incoming) = mpsc::channel(1024);
        let reader = tokio::spawn(async move {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(n) = read.read(&mut chunk).await {
                if n == 0 || sender.send(chunk[..n].to_vec()).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self { writer: Some(writer), incoming, reader, buffer: Vec::new(), ended: false })
    }

    /// Sends bytes in one write.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Err(io::Error::other("this side has been shut"));
        };
        timeout(DEADLINE, writer.write_all(bytes)).await?
    }

    /// Sends every byte in a write, and a packet, of its own.
    pub async fn send_bytewise(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            self.send(&[*byte]).await?;
            // Lets the reading tasks of this process run; the server runs anyway.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends `bytes` in two packets, the second a moment after the first.
    pub async fn send_cut(&mut self, bytes: &[u8], at: usize) -> io::Result<()> {
        let (first, second) = bytes.split_at(at);
        self.send(first).await?;
        sleep(Duration::from_micros(300)).await;
        self.send(second).await
    }

    /// Ends this side's half of the connection.
    pub fn shut(&mut self) {
        self.writer = None;
    }

    /// Waits for more bytes. `false`: the connection has ended.
    async fn more(&mut self, end: Instant) -> Result<(), Missed> {
        if self.ended {
            return Err(Missed::Closed(self.unread()));
        }
        match tokio::time::timeout_at(end, self.incoming.recv()).await {
            Err(_elapsed) => Err(Missed::Silence(self.unread())),
            Ok(None) => {
                self.ended = true;
                Err(Missed::Closed(self.unread()))
            }
            Ok(Some(chunk)) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(())
            }
        }
    }

    /// What has arrived and nobody asked for yet, printable.
    pub fn unread(&self) -> String {
        let shown = &self.buffer[..self.buffer.len().min(400)];
        escape(shown)
    }

    /// The next line, with its CRLF or LF.
    pub async fn line(&mut self) -> Result<Vec<u8>, Missed> {
        self.line_within(DEADLINE).await
    }

    /// The next line, with a deadline of its own.
    pub async fn line_within(&mut self, deadline: Duration) -> Result<Vec<u8>, Missed> {
        let end = Instant::now() + deadline;
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                return Ok(self.buffer.drain(..=seen + at).collect());
            }
            seen = self.buffer.len();
            self.more(end).await?;
        }
    }

    /// The next `count` bytes.
    pub async fn take(&mut self, count: usize) -> Result<Vec<u8>, Missed> {
        let end = Instant::now() + DEADLINE;
        while self.buffer.len() < count {
            self.more(end).await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Puts bytes back in front of what is unread.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.buffer.splice(..0, bytes.iter().copied());
    }

    /// Waits for the end of the connection; everything that still came is returned.
    pub async fn closed(&mut self) -> Result<Vec<u8>, Missed> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.more(end).await {
                Ok(()) => {}
                Err(Missed::Closed(_)) => return Ok(std::mem::take(&mut self.buffer)),
                Err(silence) => return Err(silence),
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Bytes as text: printable ASCII and UTF-8 stay, the rest becomes `\r`, `\n`, `\x00`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                control if control.is_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(control));
                }
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// `GET path`: status and body.
pub async fn http_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    timeout(DEADLINE, async { get(TcpStream::connect(address).await?, path).await }).await?
}

/// The same through TLS, of a server that shows a certificate of this authority (PEM).
pub async fn https_get(
    address: SocketAddr,
    path: &str,
    authority: &Path,
) -> io::Result<(u16, String)> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::from(address.ip());
    let whole = async {
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        get(stream, path).await
    };
    timeout(DEADLINE, whole).await?
}

async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {head}")))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

/// The body of a chunked answer.
fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || tail.len() < size {
            break;
        }
        body.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}
