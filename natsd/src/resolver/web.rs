//! One GET of a web server.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A longer answer is no JWT.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Fetches a document.
pub(super) async fn get(url: &str, patience: Duration) -> Result<String, String> {
    // Whoever reads the log need not know what the URL may hold beside host and path.
    let shown = redacted(url);
    let fault = |text: String| format!("could not fetch <{shown:?}>: {text}");
    match timeout(patience, exchange(url)).await {
        Ok(answer) => answer.map_err(fault),
        Err(_) => Err(fault("timed out".into())),
    }
}

async fn exchange(url: &str) -> Result<String, String> {
    let place = Place::of(url)?;
    let stream = TcpStream::connect((place.host, place.port)).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = Request::get(place.path)
        .header("Host", place.authority)
        .header("User-Agent", concat!("natsd/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(answer.status().to_string());
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX);
        let bytes = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(match ended {
            Ok(()) => "the connection ended".into(),
            Err(error) => error.to_string(),
        }),
    }
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
        let rest = url
            .strip_prefix("http://")
            .ok_or("only http is supported for account servers: put a proxy before https")?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_not| "the port is no number".to_owned())?)
            }
            _ => (authority, 80),
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
