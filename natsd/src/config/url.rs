//! Addresses and URLs in configurations, by the rules of Go's `net` and `net/url`.

use super::HostPort;

/// Splits `host:port` or `[host]:port` at the port.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let (host, rest) = match host.strip_prefix('[') {
        Some(host) => (host.strip_suffix(']')?, ""),
        None if host.contains(':') => return None,
        None => (host, host),
    };
    let bracket = |s: &str| s.contains(['[', ']']);
    (!bracket(host) && !bracket(rest) && !bracket(port)).then_some((host, port))
}

/// Reads what is advertised: `host`, `host:port`; no port, 0 and -1 stand for the bound port.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn advertised(text: &str) -> Result<HostPort, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("no hostport specified".into());
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let (host, port) = match split_host_port(text) {
        Some(split) => split,
        None if !text.contains(':') || bare.len() + 2 == text.len() => (bare, "0"),
        None => return Err(format!("address {text}: too many colons in address")),
    };
    let port: i64 =
        if port.is_empty() { 0 } else { port.trim().parse().ok().ok_or_else(|| bad_port(port))? };
    match port {
        -1 => Ok(HostPort { host: host.trim().to_owned(), port: 0 }),
        _ => {
            let port = u16::try_from(port).ok().ok_or_else(|| bad_port(&port.to_string()))?;
            Ok(HostPort { host: host.trim().to_owned(), port })
        }
    }
}

fn bad_port(port: &str) -> String {
    format!("invalid port {port:?}")
}

/// The parts of a URL that a server address has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// `nats-route`, `https`; empty if there is none.
    pub(crate) scheme: String,
    /// User and password before the `@`.
    pub(crate) user: Option<(String, Option<String>)>,
    /// Host without brackets; empty if there is none.
    pub(crate) host: String,
    /// Port as written.
    pub(crate) port: Option<String>,
}

impl std::fmt::Debug for Url {
    /// Shows where, never the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Url({}://{}:{})", self.scheme, self.host, self.port.as_deref().unwrap_or("-"))
    }
}

impl Url {
    /// Reads a URL; `None` where Go's `url.Parse` fails.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return None;
        }
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = scheme(text)?;
        let mut url = Self {
            scheme: scheme.to_ascii_lowercase(),
            user: None,
            host: String::new(),
            port: None,
        };
        let Some(rest) = rest.strip_prefix("//") else {
            let first = rest.split(['/', '?']).next().unwrap_or_default();
            let relative = scheme.is_empty() && first.contains(':');
            return (!relative).then_some(url);
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                url.user = Some(user_of(user)?);
                host
            }
            None => authority,
        };
        let (host, port) = host_of(host)?;
        url.host = host;
        url.port = port;
        Some(url)
    }
}

fn scheme(text: &str) -> Option<(&str, &str)> {
    match text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.')) {
        Some(0) if text.starts_with(':') => None,
        Some(at) if text.get(at..)?.starts_with(':') => {
            if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return Some(("", text));
            }
            Some((text.get(..at)?, text.get(at + 1..)?))
        }
        _ => Some(("", text)),
    }
}

fn user_of(text: &str) -> Option<(String, Option<String>)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !text.chars().all(allowed) {
        return None;
    }
    match text.split_once(':') {
        Some((user, password)) => Some((unescaped(user)?, Some(unescaped(password)?))),
        None => Some((unescaped(text)?, None)),
    }
}

fn host_of(text: &str) -> Option<(String, Option<String>)> {
    let digits = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => digits(port).then(|| (host.to_owned(), some(port))),
            None => port.is_empty().then(|| (host.to_owned(), None)),
        };
    }
    if text.contains(|c: char| c == ' ' || "<>\"`{}|\\^[]".contains(c)) {
        return None;
    }
    match text.rsplit_once(':') {
        Some((host, port)) => digits(port).then_some((unescaped(host)?, some(port))),
        None => Some((unescaped(text)?, None)),
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Resolves `%41`.
fn unescaped(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, Option<String>)> {
        Url::parse(text).map(|url| (url.scheme, url.host, url.port))
    }

    fn is(scheme: &str, host: &str, port: &str) -> Option<(String, String, Option<String>)> {
        Some((scheme.into(), host.into(), (!port.is_empty()).then(|| port.into())))
    }

    #[test]
    fn urls_fall_apart_as_in_go() {
        assert_eq!(parts("nats-route://127.0.0.1:6222"), is("nats-route", "127.0.0.1", "6222"));
        assert_eq!(parts("nats://[::1]:6222/x"), is("nats", "::1", "6222"));
        assert_eq!(parts("nats://host"), is("nats", "host", ""));
        assert_eq!(parts("localhost:6222"), is("localhost", "", ""));
        assert_eq!(parts("127.0.0.1:6222"), None);
        assert_eq!(parts("nats://host:port"), None);
        assert_eq!(parts("nats://host:-1"), None);
        assert_eq!(parts(":6222"), None);
    }

    #[test]
    fn credentials_are_decoded() {
        let url = Url::parse("nats://u%40x:p%3aw@h:1").unwrap();
        assert_eq!(url.user, Some(("u@x".into(), Some("p:w".into()))));
        assert!(!format!("{url:?}").contains("p:w"));
    }

    #[test]
    fn host_and_port_split() {
        assert_eq!(split_host_port("a:1"), Some(("a", "1")));
        assert_eq!(split_host_port(":-1"), Some(("", "-1")));
        assert_eq!(split_host_port("[::1]:2"), Some(("::1", "2")));
        assert_eq!(split_host_port("::1:2"), None);
        assert_eq!(split_host_port("a"), None);
    }

    #[test]
    fn advertised_addresses_may_lack_a_port() {
        let of = |host: &str, port| Ok(HostPort { host: host.into(), port });
        assert_eq!(advertised("me.example"), of("me.example", 0));
        assert_eq!(advertised("me.example:-1"), of("me.example", 0));
        assert_eq!(advertised("me.example:4333"), of("me.example", 4333));
        assert_eq!(advertised("[::1]"), of("::1", 0));
        assert!(advertised("me:you").is_err());
        assert!(advertised("a:b:1").is_err());
    }
}
