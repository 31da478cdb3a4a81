use super::*;
use crate::config::Listen;

fn config() -> Websocket {
    Websocket {
        listen: Listen { host: String::new(), port: 0 },
        advertise: None,
        no_tls: true,
        tls: None,
        same_origin: false,
        allowed_origins: Vec::new(),
        handshake_timeout: None,
        compression: true,
        user: None,
        password: None,
        token: None,
        auth_timeout: None,
        no_auth_user: None,
        jwt_cookie: None,
        user_cookie: Some("u".into()),
        password_cookie: Some("p".into()),
        token_cookie: Some("t".into()),
        headers: [("X-Own".to_owned(), "1".to_owned())].into(),
        ping_interval: None,
    }
}

const HEAD: &str = "Host: h:1\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn asked(line: &str, more: &str, config: &Websocket) -> Answer {
    let request = format!("{line}\r\n{HEAD}{more}\r\n");
    for cut in 0..request.len() {
        let short = answer(&request.as_bytes()[..cut], &Terms::new(config), "D");
        assert!(matches!(short, Answer::More), "cut at {cut}");
    }
    answer(request.as_bytes(), &Terms::new(config), "D")
}

fn upgraded(more: &str) -> Upgrade {
    match asked("GET / HTTP/1.1", more, &config()) {
        Answer::Upgraded(upgrade) => *upgrade,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str, more: &str, config: &Websocket) -> (String, Option<String>) {
    match asked(line, more, config) {
        Answer::Refused(refusal) => {
            let text = String::from_utf8(refusal.response).unwrap();
            (text.lines().next().unwrap_or_default().to_owned(), refusal.reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_answer_of_the_rfc() {
    let upgrade = upgraded("");
    assert_eq!(
        String::from_utf8(upgrade.response).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Own: 1\r\n\r\n"
    );
    assert!(!upgrade.leafnode && !upgrade.session.compression && !upgrade.session.unmasked);
}

#[test]
fn what_is_agreed_on() {
    let session = upgraded(
        "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits\r\n\
         Nats-No-Masking: true\r\nX-Forwarded-For: 10.0.0.1\r\n\
         User-Agent: Mozilla/5.0 Version/1 Safari/2\r\n",
    )
    .session;
    assert!(session.compression && session.unmasked && session.browser);
    assert!(session.whole_when_compressed);
    assert_eq!(session.forwarded_for.as_deref(), Some("10.0.0.1"));
    let session = upgraded("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nUser-Agent: curl\r\n").session;
    assert!(session.forwarded_for.is_none() && !session.browser);
}

#[test]
fn cookies_become_credentials() {
    let lines = "Cookie: a=b; u=me; p=\"my pass\"; t=x\\y\r\nCookie: t=tok; u2=no\r\n";
    let cookies = upgraded(lines).session.cookies;
    assert_eq!((&*cookies.user, &*cookies.password, &*cookies.token), ("me", "my pass", "tok"));
}

#[test]
fn origins() {
    let same = Websocket { same_origin: true, ..config() };
    assert!(matches!(
        asked("GET / HTTP/1.1", "Origin: http://H:1\r\n", &same),
        Answer::Upgraded(_)
    ));
    let (status, reason) = refused("GET / HTTP/1.1", "Origin: https://h:1\r\n", &same);
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    assert_eq!(reason.as_deref(), Some("origin not allowed: not same origin"));
    let listed = Websocket { allowed_origins: vec!["https://a.b".into()], ..config() };
    for (origin, fits) in [("https://A.b:443", true), ("http://a.b", false), ("null", false)] {
        let more = format!("Origin: {origin}\r\n");
        let upgraded = matches!(asked("GET / HTTP/1.1", &more, &listed), Answer::Upgraded(_));
        assert_eq!(upgraded, fits, "{origin}");
    }
    assert!(matches!(asked("GET / HTTP/1.1", "", &listed), Answer::Upgraded(_)));
}

#[test]
fn what_is_refused() {
    for (line, status, reason) in [
        ("POST / HTTP/1.1", "405 Method Not Allowed", "request method must be GET"),
        ("GET /a/mqtt HTTP/1.1", "404 Not Found", "mqtt websocket endpoint not enabled"),
    ] {
        let (first, why) = refused(line, "", &config());
        assert_eq!((first, why.as_deref()), (format!("HTTP/1.1 {status}"), Some(reason)));
    }
    let terms = Terms::new(&config());
    let raw = |text: &str| match answer(text.as_bytes(), &terms, "D") {
        Answer::Refused(refusal) => String::from_utf8(refusal.response).unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(raw("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(raw("GET / HTTP/1.1\r\n\r\n").ends_with("missing required Host header"));
    assert!(raw("GET / HTTP/9.9\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 505 "));
    assert!(raw(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(70_000))).contains(" 431 "));
    let early = format!("GET / HTTP/1.1\r\n{HEAD}\r\nx");
    assert_eq!(raw(&early), "");
    let full = raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(full.ends_with("Date: D\r\nContent-Length: 12\r\n\r\nBad Request\n"), "{full}");
}

#[test]
fn a_leafnode_is_known_by_its_path() {
    for line in ["GET /leafnode HTTP/1.1", "GET http://h/x/leafnode?y HTTP/1.1"] {
        match asked(line, "", &config()) {
            Answer::Upgraded(upgrade) => assert!(upgrade.leafnode),
            other => panic!("{other:?}"),
        }
    }
}
