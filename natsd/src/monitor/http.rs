//! The documents over HTTP.
//!
//! Served on the first worker's thread, but made on a thread of their own, at most two at a
//! time: a large document delays no client. Connections are bounded in number, and in how long
//! they may take to ask and to read the answer. Every method is answered as GET, as the
//! reference does.

use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::options::{
    AccountStatzOptions, ConnzOptions, HealthzOptions, IpQueueszOptions, RoutezOptions,
    SubszOptions,
};
use super::query::{BadRequest, Query};
use super::target::{Astray, Lenient, path_of};
use super::{Monitor, json, page};
use crate::net::{Bound, Listener, accept_loop};
use crate::tls::TlsSetup;

/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 256;
/// Documents that are made at once; further requests wait.
const MAKERS_MAX: usize = 2;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for further requests, and then for reading its last answer.
const LIFETIME: Duration = Duration::from_secs(120);
const LAST_ANSWER: Duration = Duration::from_secs(20);
/// Bytes of a request that are buffered: its head must fit.
const HEAD_BYTES: usize = 16 * 1024;

type Answer = Response<Full<Bytes>>;

/// What all HTTP connections share.
struct Shared {
    monitor: Arc<Monitor>,
    base_path: String,
    connections: Arc<Semaphore>,
    makers: Semaphore,
}

/// Serves the documents; ends when the task is aborted.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(bound: Bound, monitor: Arc<Monitor>) -> io::Result<JoinHandle<()>> {
    let listener = Listener::try_from(bound)?;
    let config = monitor.node.config();
    let base_path = config.monitor.as_ref().map(|held| held.base_path.clone()).unwrap_or_default();
    let shared = Arc::new(Shared {
        monitor,
        base_path: base_path.trim_end_matches('/').to_owned(),
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        makers: Semaphore::new(MAKERS_MAX),
    });
    let on_accept = move |stream: net::TcpStream, peer: SocketAddr| {
        if let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let Ok(stream) = TcpStream::from_std(stream) else { return };
                // What goes wrong on a connection is its client's business.
                match shared.monitor.node.monitoring_tls() {
                    None => drop(converse(shared, stream).await),
                    Some(tls) => {
                        if let Some(stream) = secure(&tls, stream, peer).await {
                            drop(converse(shared, stream).await);
                        }
                    }
                }
                drop(permit);
            });
        }
    };
    Ok(tokio::spawn(accept_loop(listener, Arc::new(on_accept))))
}

/// Shakes hands as the server; the reference's words when that fails.
async fn secure(
    tls: &TlsSetup,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    let accepted = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream);
    match timeout(HEAD_TIMEOUT, accepted).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::error!("monitoring: http: TLS handshake error from {peer}: {error}");
            None
        }
        Err(_elapsed) => None,
    }
}

async fn converse(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| respond(Arc::clone(&shared), request));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .half_close(false);
    let (read, write) = tokio::io::split(stream);
    let stream = TokioIo::new(tokio::io::join(Lenient::new(read), write));
    let mut connection = pin!(builder.serve_connection(stream, service));
    if let Ok(ended) = timeout(LIFETIME, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
}

/// Makes the answer where it delays nobody.
async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Ok(no_request("400 Bad Request: missing required Host header"));
    }
    let uri = request.uri();
    let query = uri.query().unwrap_or_default().to_owned();
    let path = match path_of(uri.path()) {
        Ok(path) => path,
        Err(Astray::Nowhere) => return Ok(no_request("400 Bad Request")),
        Err(Astray::Elsewhere(clean)) => return Ok(elsewhere(&clean, uri.query())),
    };
    drop(request);
    let Some(known) = known_path(&shared.base_path, &path) else { return Ok(not_found()) };
    let Ok(_permit) = shared.makers.acquire().await else { return Ok(not_found()) };
    let monitor = Arc::clone(&shared.monitor);
    let base = shared.base_path.clone();
    let made = spawn_blocking(move || answer(&monitor, &base, known, &Query::parse(&query))).await;
    Ok(made.unwrap_or_else(|_failed| plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error")))
}

/// The answer to one request.
fn answer(monitor: &Monitor, base: &str, path: &'static str, query: &Query) -> Answer {
    monitor.count_request(path);
    document(monitor, base, path, query)
        .unwrap_or_else(|BadRequest(text)| plain(StatusCode::BAD_REQUEST, &text))
}

/// What a path names, if there is such a document below the base path.
fn known_path(base: &str, path: &str) -> Option<&'static str> {
    const PATHS: [&str; 14] = [
        "/varz",
        "/connz",
        "/routez",
        "/gatewayz",
        "/leafz",
        "/subsz",
        "/stacksz",
        "/accountz",
        "/accstatz",
        "/jsz",
        "/healthz",
        "/ipqueuesz",
        "/raftz",
        "/debug/vars",
    ];
    match path.strip_prefix(base)? {
        "" => Some("/"),
        "/" if base.is_empty() => Some("/"),
        "/subscriptionsz" => Some("/subsz"),
        other => PATHS.iter().find(|known| **known == other).copied(),
    }
}

fn document(
    monitor: &Monitor,
    base: &str,
    path: &'static str,
    query: &Query,
) -> Result<Answer, BadRequest> {
    Ok(match path {
        "/" => html(page::index(base)),
        "/varz" => indented(&monitor.varz()),
        "/connz" => indented(&monitor.connz(&ConnzOptions::from_query(query)?)?),
        "/routez" => indented(&monitor.routez(&RoutezOptions::from_query(query)?)),
        "/subsz" => indented(&monitor.subsz(&SubszOptions::from_query(query)?)?),
        "/accountz" => indented(&monitor.accountz(query.text("acc"))?),
        "/accstatz" => {
            let include_unused = query.bool("unused")?;
            let options = AccountStatzOptions { include_unused, ..AccountStatzOptions::default() };
            indented(&monitor.accstatz(&options))
        }
        "/leafz" => {
            query.bool("subs")?;
            indented(&monitor.leafz())
        }
        "/gatewayz" => {
            query.bool("accs")?;
            indented(&monitor.gatewayz())
        }
        "/jsz" => {
            check_jsz(query)?;
            indented(&monitor.jsz())
        }
        "/healthz" => health(monitor, &HealthzOptions::from_query(query)?),
        "/ipqueuesz" => {
            let filter = query.text("queues").to_owned();
            indented(&monitor.ipqueuesz(&IpQueueszOptions { all: query.bool("all")?, filter }))
        }
        "/raftz" => plain(StatusCode::NOT_FOUND, "No Raft nodes registered"),
        "/stacksz" => document_of(StatusCode::OK, b"natsd keeps no stacks to show\n".to_vec()),
        _ => body(StatusCode::OK, "application/json; charset=utf-8", variables(monitor)),
    })
}

fn check_jsz(query: &Query) -> Result<(), BadRequest> {
    let flags = [
        "accounts",
        "streams",
        "consumers",
        "direct-consumers",
        "config",
        "leader-only",
        "stream-leader-only",
        "raft",
    ];
    for flag in flags {
        query.bool(flag)?;
    }
    query.int("offset")?;
    query.int("limit")?;
    Ok(())
}

fn health(monitor: &Monitor, options: &HealthzOptions) -> Answer {
    let mut health = monitor.healthz(options);
    if !health.is_ok() {
        tracing::warn!("Healthcheck failed: {:?}", health.error);
    }
    let status = std::mem::take(&mut health.status_code);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    document_of(status, json::compact(&health))
}

/// `/debug/vars`, in the layout of Go.
fn variables(monitor: &Monitor) -> Vec<u8> {
    let all = monitor.expvarz();
    let (arguments, memory) = (json::compact(&all.cmdline), json::compact(&all.memstats));
    [b"{\n\"cmdline\": ", &*arguments, b",\n\"memstats\": ", &memory, b"\n}\n"].concat()
}

fn indented<T: serde::Serialize>(document: &T) -> Answer {
    document_of(StatusCode::OK, json::indented(document))
}

fn document_of(status: StatusCode, json: Vec<u8>) -> Answer {
    cross_origin(body(status, "application/json", json))
}

fn html(text: String) -> Answer {
    body(StatusCode::OK, "text/html; charset=utf-8", text)
}

fn plain(status: StatusCode, text: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", text.to_owned())
}

/// What was asked is no request: no other is expected from there.
fn no_request(text: &str) -> Answer {
    let mut answer = plain(StatusCode::BAD_REQUEST, text);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Sends a client to where it meant to go.
fn elsewhere(path: &str, query: Option<&str>) -> Answer {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, "");
    if let Ok(location) = HeaderValue::try_from(format!("{path}{query}")) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn not_found() -> Answer {
    let mut answer = plain(StatusCode::NOT_FOUND, "404 page not found\n");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn cross_origin(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

fn body(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for (base, path, known) in [
            ("", "/varz", Some("/varz")),
            ("", "/", Some("/")),
            ("", "/subscriptionsz", Some("/subsz")),
            ("", "/varz/", None),
            ("", "/VARZ", None),
            ("", "/expvarz", None),
            ("/nats", "/nats", Some("/")),
            ("/nats", "/nats/varz", Some("/varz")),
            ("/nats", "/nats/", None),
            ("/nats", "/varz", None),
        ] {
            assert_eq!(known_path(base, path), known, "{base} {path}");
        }
    }
}
