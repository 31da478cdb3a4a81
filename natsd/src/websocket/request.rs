//! The upgrade request, and every answer to it (RFC 6455, 4.2; status and text of nats-server
//! 2.15.1 as observed).

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Error, Header, Request, Status};
use sha1::{Digest, Sha1};

use super::origin::Origin;
use crate::config::Websocket;

/// Most bytes of a request's head: cookies may carry whole JWTs.
const HEAD_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 128;
/// What every key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const EXTENSIONS: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
                          server_no_context_takeover; client_no_context_takeover\r\n";

/// What a listener lets in, and on what terms.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    secure: bool,
    compression: bool,
    same_origin: bool,
    /// Empty lets all in.
    origins: Vec<Origin>,
    /// Of the answer, as configured.
    headers: String,
    names: CookieNames,
}

#[derive(Clone, Debug, Default)]
struct CookieNames {
    jwt: Option<String>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
}

/// What became of the bytes of a request.
#[derive(Debug)]
pub enum Answer {
    /// The request goes on.
    More,
    /// It is a WebSocket from here on.
    Upgraded(Box<Upgrade>),
    /// It is not.
    Refused(Refusal),
}

/// An accepted upgrade.
#[derive(Debug)]
pub struct Upgrade {
    /// To be sent.
    pub response: Vec<u8>,
    /// What was agreed on.
    pub session: Session,
    /// The peer is a leafnode, which natsd does not serve.
    pub leafnode: bool,
}

/// A refused upgrade.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// To be sent; may be nothing.
    pub response: Vec<u8>,
    /// For the log, if it is worth one.
    pub reason: Option<String>,
    /// Length of the request, when the connection may bring another one.
    pub next_at: Option<usize>,
}

/// What was agreed on, and what the request said of the client.
#[derive(Clone, Default)]
pub struct Session {
    /// Messages may be compressed.
    pub compression: bool,
    /// The client does not mask.
    pub unmasked: bool,
    /// A browser: it gets small frames.
    pub browser: bool,
    /// A compressed message is one frame, whatever its size (Safari).
    pub whole_when_compressed: bool,
    /// Where a proxy says the client comes from.
    pub forwarded_for: Option<String>,
    /// Credentials from cookies.
    pub cookies: Cookies,
}

/// Credentials from cookies; empty ones were not there.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Cookies {
    pub jwt: String,
    pub user: String,
    pub password: String,
    pub token: String,
}

impl std::fmt::Debug for Session {
    /// Without cookies: they are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("compression", &self.compression)
            .field("browser", &self.browser)
            .field("forwarded_for", &self.forwarded_for)
            .finish_non_exhaustive()
    }
}

impl Terms {
    /// Reads them from the configuration, which was checked.
    #[must_use]
    pub fn new(config: &Websocket) -> Self {
        let headers = config.headers.iter();
        Self {
            secure: config.tls.is_some(),
            compression: config.compression,
            same_origin: config.same_origin,
            origins: config.allowed_origins.iter().flat_map(|text| Origin::parse(text)).collect(),
            headers: headers.map(|(key, value)| format!("{key}: {value}\r\n")).collect(),
            names: CookieNames {
                jwt: config.jwt_cookie.clone(),
                user: config.user_cookie.clone(),
                password: config.password_cookie.clone(),
                token: config.token_cookie.clone(),
            },
        }
    }

    fn check_origin(&self, headers: &Headers<'_>, host: &str) -> Result<(), String> {
        if !self.same_origin && self.origins.is_empty() {
            return Ok(());
        }
        let given = headers.first("Origin").or_else(|| headers.first("Sec-WebSocket-Origin"));
        // Programs that are no browsers send none.
        let Some(given) = given else { return Ok(()) };
        let origin = Origin::parse(given)?;
        if self.same_origin && origin != Origin::own(self.secure, host)? {
            return Err("not same origin".into());
        }
        if !self.origins.is_empty() && !self.origins.contains(&origin) {
            return Err("not in the allowed list".into());
        }
        Ok(())
    }
}

/// Answers a request, as far as it is there. `date` is the time of day as HTTP writes it.
#[must_use]
pub fn answer(input: &[u8], terms: &Terms, date: &str) -> Answer {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(input) {
        Ok(Status::Complete(len)) => judge(&request, input, len, terms, date),
        Ok(Status::Partial) if input.len() < HEAD_MAX => Answer::More,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => {
            refused_by_http("431 Request Header Fields Too Large", "")
        }
        Err(Error::Version) => {
            refused_by_http("505 HTTP Version Not Supported", ": unsupported protocol version")
        }
        Err(_) => refused_by_http("400 Bad Request", ""),
    }
}

/// What is no HTTP at all ends the connection, without a word in the log.
fn refused_by_http(status: &str, detail: &str) -> Answer {
    let response = format!(
        "HTTP/1.1 {status}{detail}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\n\r\n{status}{detail}"
    );
    Answer::Refused(Refusal { response: response.into(), reason: None, next_at: None })
}

fn judge(request: &Request<'_, '_>, input: &[u8], len: usize, terms: &Terms, date: &str) -> Answer {
    let headers = Headers(request.headers);
    let hosts = headers.all("Host").count();
    match hosts {
        0 if request.version == Some(1) => {
            return refused_by_http("400 Bad Request", ": missing required Host header");
        }
        0 | 1 => {}
        _ => return refused_by_http("400 Bad Request", ""),
    }
    let path = path_of(request.path.unwrap_or_default());
    match check(request.method.unwrap_or_default(), path, &headers, terms) {
        Err((status, reason)) => refuse(status, reason, request, len, date),
        Ok(key) if input.len() > len || headers.has_body() => {
            // Nothing is said: the reference has taken the connection over by then.
            drop(key);
            Answer::Refused(Refusal {
                response: Vec::new(),
                reason: Some("client sent data before handshake is complete".into()),
                next_at: None,
            })
        }
        Ok(key) => {
            let session = session(&headers, terms);
            let response = response(&key, &session, terms);
            let leafnode = path.ends_with("/leafnode");
            Answer::Upgraded(Box::new(Upgrade { response, session, leafnode }))
        }
    }
}

/// The path of a request's target.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Everything that an upgrade needs, in the order of the reference; returns the key.
fn check(
    method: &str,
    path: &str,
    headers: &Headers<'_>,
    terms: &Terms,
) -> Result<String, (u16, String)> {
    let bad = |reason: &str| (400, reason.to_owned());
    if path.ends_with("/mqtt") {
        return Err((404, "mqtt websocket endpoint not enabled".into()));
    }
    if method != "GET" {
        return Err((405, "request method must be GET".into()));
    }
    let host = headers.first("Host").ok_or_else(|| bad("'Host' missing in request"))?;
    if !headers.contains("Upgrade", "websocket") {
        return Err(bad("invalid value for header 'Upgrade'"));
    }
    if !headers.contains("Connection", "Upgrade") {
        return Err(bad("invalid value for header 'Connection'"));
    }
    let key = headers.first("Sec-WebSocket-Key").ok_or_else(|| bad("key missing"))?;
    if STANDARD.decode(key).map(|key| key.len()) != Ok(16) {
        return Err(bad("invalid websocket key"));
    }
    if !headers.contains("Sec-WebSocket-Version", "13") {
        return Err(bad("invalid version"));
    }
    terms
        .check_origin(headers, host)
        .map_err(|error| (403, format!("origin not allowed: {error}")))?;
    Ok(key.to_owned())
}

fn refuse(
    status: u16,
    reason: String,
    request: &Request<'_, '_>,
    len: usize,
    date: &str,
) -> Answer {
    let text = match status {
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Bad Request",
    };
    let headers = Headers(request.headers);
    let minor = request.version.unwrap_or(1);
    // A body would have to be read before the next request.
    let goes_on = minor == 1 && !headers.contains("Connection", "close") && !headers.has_body();
    let mut response = format!(
        "HTTP/1.{minor} {status} {text}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Sec-Websocket-Version: 13\r\nX-Content-Type-Options: nosniff\r\nDate: {date}\r\n\
         Content-Length: {}\r\n",
        text.len() + 1
    );
    if !goes_on && minor == 1 {
        response.push_str("Connection: close\r\n");
    }
    response.push_str(&format!("\r\n{text}\n"));
    Answer::Refused(Refusal {
        response: response.into(),
        reason: Some(reason),
        next_at: goes_on.then_some(len),
    })
}

fn session(headers: &Headers<'_>, terms: &Terms) -> Session {
    let agent = headers.first("User-Agent").unwrap_or_default();
    let browser = agent.starts_with("Mozilla/");
    let compression = terms.compression && headers.offers_deflate();
    let safari = agent.contains("Version/") && agent.contains("Safari/");
    Session {
        compression,
        unmasked: headers.first("Nats-No-Masking") == Some("true"),
        browser,
        whole_when_compressed: browser && compression && safari,
        forwarded_for: headers
            .first("X-Forwarded-For")
            .filter(|text| text.parse::<IpAddr>().is_ok())
            .map(str::to_owned),
        cookies: headers.cookies(&terms.names),
    }
}

fn response(key: &str, session: &Session, terms: &Terms) -> Vec<u8> {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        STANDARD.encode(hash)
    );
    if session.compression {
        response.push_str(EXTENSIONS);
    }
    if session.unmasked {
        response.push_str("Nats-No-Masking: true\r\n");
    }
    response.push_str(&terms.headers);
    response.push_str("\r\n");
    response.into()
}

/// The headers of a request; those that are no text are not there.
struct Headers<'h>(&'h [Header<'h>]);

impl<'h> Headers<'h> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'h str> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    /// The first of a name; an empty one counts as absent.
    fn first(&self, name: &'static str) -> Option<&'h str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Whether a list has an element, in any case.
    fn contains(&self, name: &'static str, wanted: &str) -> bool {
        let mut elements = self.all(name).flat_map(|value| value.split(','));
        elements.any(|element| trimmed(element).eq_ignore_ascii_case(wanted))
    }

    fn offers_deflate(&self) -> bool {
        let lists = self.all("Sec-WebSocket-Extensions");
        let mut words = lists.flat_map(|list| list.split([',', ';']));
        words.any(|word| trimmed(word).eq_ignore_ascii_case("permessage-deflate"))
    }

    fn has_body(&self) -> bool {
        self.first("Transfer-Encoding").is_some()
            || self.first("Content-Length").is_some_and(|length| length != "0")
    }

    fn cookies(&self, names: &CookieNames) -> Cookies {
        let mut cookies = Cookies::default();
        let pairs = self.all("Cookie").flat_map(|line| line.split(';'));
        for (name, value) in pairs.filter_map(|pair| trimmed(pair).split_once('=')) {
            let Some(value) = cookie_value(value) else { continue };
            let is = |wanted: &Option<String>| wanted.as_deref() == Some(trimmed(name));
            let slot = if is(&names.jwt) {
                &mut cookies.jwt
            } else if is(&names.user) {
                &mut cookies.user
            } else if is(&names.password) {
                &mut cookies.password
            } else if is(&names.token) {
                &mut cookies.token
            } else {
                continue;
            };
            value.clone_into(slot);
        }
        cookies
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The value of a cookie without its quotes; `None` when it has bytes that it must not.
fn cookie_value(value: &str) -> Option<&str> {
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    let allowed = |byte: u8| (0x20..0x7f).contains(&byte) && !matches!(byte, b'"' | b';' | b'\\');
    value.bytes().all(allowed).then_some(value)
}

#[cfg(test)]
mod tests;
