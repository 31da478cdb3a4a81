//! One GET of a web server.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::Tls;
use crate::tls::dialing;

/// A longer answer is no JWT.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A web server that has accounts.
#[derive(Debug)]
pub struct Web {
    /// What account keys are appended to.
    url: String,
    /// How TLS is spoken with it, where the URL asks for that.
    tls: Option<Arc<ClientConfig>>,
}

impl Web {
    /// Reads what TLS needs, if the URL asks for it.
    ///
    /// # Errors
    /// When certificates cannot be used.
    pub(super) fn new(url: &str, tls: Option<&Tls>) -> Result<Self, String> {
        let secure = url.starts_with("https://");
        let tls = tls.cloned().unwrap_or_default();
        let tls = secure.then(|| dialing(&tls).map(Arc::new));
        let tls = tls.transpose().map_err(|error| format!("resolver_tls: {error}"))?;
        Ok(Self { url: url.to_owned(), tls })
    }

    /// Fetches the JWT of an account.
    ///
    /// # Errors
    /// When the server does not answer with one in time.
    pub async fn get(&self, key: &str, patience: Duration) -> Result<String, String> {
        let url = format!("{}{key}", self.url);
        // Whoever reads the log need not know what the URL may hold beside host and path.
        let shown = redacted(&url);
        let fault = |text: String| format!("could not fetch <{shown:?}>: {text}");
        match timeout(patience, self.fetch(&url)).await {
            Ok(answer) => answer.map_err(fault),
            Err(_) => Err(fault("timed out".into())),
        }
    }

    async fn fetch(&self, url: &str) -> Result<String, String> {
        let place = Place::of(url)?;
        let stream = TcpStream::connect((place.host, place.port)).await.map_err(text)?;
        let Some(tls) = &self.tls else { return exchange(stream, &place).await };
        let name = ServerName::try_from(place.host.to_owned()).map_err(text)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        exchange(stream.map_err(text)?, &place).await
    }
}

async fn exchange<S>(stream: S, place: &Place<'_>) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get(place.path)
        .header("Host", place.authority)
        .header("User-Agent", concat!("natsd/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(text)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(answer.status().to_string());
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX);
        let bytes = body.collect().await.map_err(text)?.to_bytes();
        String::from_utf8(bytes.to_vec()).map_err(text)
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            // The answer may have come with the end.
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The parts of a URL that matter here.
struct Place<'u> {
    host: &'u str,
    port: u16,
    authority: &'u str,
    path: &'u str,
}

impl<'u> Place<'u> {
    fn of(url: &'u str) -> Result<Self, String> {
        let (rest, standard) = match url.split_once("://") {
            Some(("http", rest)) => (rest, 80),
            Some(("https", rest)) => (rest, 443),
            _ => return Err("only http and https are supported for account servers".into()),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_not| "the port is no number".to_owned())?)
            }
            _ => (authority, standard),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self { host, port, authority, path: if path.is_empty() { "/" } else { path } })
    }
}

fn redacted(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, place)) => format!("{scheme}://xxxxx@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}
