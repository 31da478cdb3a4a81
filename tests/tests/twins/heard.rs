//! What a connection was told, as it is compared: what names a server, a port, a time or a
//! random word is masked, what no order is promised for is put in order.

use blackbox::wire::escape;

/// Everything that one connection got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) who: String,
    pub(crate) frames: Vec<String>,
    pub(crate) closed: bool,
}

/// Keys of an INFO that are a server's own: who it is, where, and what natsd does not have
/// (a commit of nats-server, leaf nodes, compression and signatures between servers).
const OWN_TO_A_SERVER: [&str; 17] = [
    "server_id",
    "server_name",
    "version",
    "git_commit",
    "go",
    "port",
    "client_id",
    "nonce",
    "ip",
    "connect_urls",
    "xkey",
    "time",
    "compression",
    "lnoc",
    "lnocu",
    "ln",
    "domain",
];

impl Heard {
    pub(crate) fn of(who: String, bytes: &[u8], closed: bool) -> Self {
        let mut frames: Vec<String> = split(bytes).into_iter().filter_map(shown).collect();
        // Told again where the message was not in one read with its line, which nats-server then
        // reads again; and how much it reads at a time varies.
        frames.dedup_by(|next, frame| next == frame && frame.contains("'Invalid Publish Subject'"));
        // The order of several subscriptions that get the same message, and of what goes with
        // a connection, is that of a Go map.
        let mut rest = frames.as_mut_slice();
        while let Some(first) = rest.first() {
            let key = unordered(first);
            let run = rest.iter().take_while(|frame| key.is_some() && unordered(frame) == key);
            let (run, behind) = rest.split_at_mut(run.count().max(1));
            run.sort();
            rest = behind;
        }
        Self { who, frames, closed }
    }
}

/// Frames: lines, and messages with their bodies.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let line = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        let body = body_len(&bytes[..line]).map_or(0, |size| size + 2);
        let (frame, rest) = bytes.split_at((line + body).min(bytes.len()));
        frames.push(frame);
        bytes = rest;
    }
    frames
}

fn body_len(line: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace();
    let op = words.next()?;
    if !matches!(op, "MSG" | "HMSG" | "RMSG") {
        return None;
    }
    words.next_back()?.parse().ok()
}

/// A frame as it is compared; none for those that time or the system account brings.
fn shown(frame: &[u8]) -> Option<String> {
    let text = escape(frame);
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PING\\r\\n"] => return None,
        ["RS+" | "RS-" | "RMSG" | "HMSG", account, ..] if account.starts_with("$SYS") => {
            return None;
        }
        ["RS+" | "RS-", _, subject, ..] if subject.starts_with("$SYS.") => return None,
        ["INFO", ..] => {
            return Some(OWN_TO_A_SERVER.iter().fold(text, |text, key| without(&text, key)));
        }
        _ => {}
    }
    Some(without_random_words(&text))
}

/// Takes a key out of an INFO.
fn without(text: &str, key: &str) -> String {
    let Some(start) = text.find(&format!("\"{key}\":")) else { return text.to_owned() };
    let value = start + key.len() + 3;
    let end = match text[value..].chars().next() {
        Some('"') => text[value + 1..].find('"').map(|at| at + 2),
        Some('[') => text[value..].find(']').map(|at| at + 1),
        _ => text[value..].find([',', '}']),
    };
    let rest = end.and_then(|end| text.get(value + end..)).unwrap_or_default();
    match rest.strip_prefix(',') {
        Some(rest) => format!("{}{rest}", &text[..start]),
        None => format!("{}{rest}", text[..start].trim_end_matches(',')),
    }
}

/// Masks the reply subjects that a server makes up.
fn without_random_words(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    let mut made_up = rest.find("_R_.").map(|at| at + 4);
    while let Some(at) = made_up {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let end = from.find([' ', '\\', '"', '\'', '.']).unwrap_or(from.len());
        shown.push_str(&if end > 4 { format!("<{end} letters>") } else { from[..end].to_owned() });
        rest = &from[end..];
        // Behind the word of the account there is one of the request.
        made_up = match rest.strip_prefix('.') {
            Some(_) => Some(1),
            None => rest.find("_R_.").map(|at| at + 4),
        };
    }
    shown + rest
}

/// What several frames have in common that may come in any order.
fn unordered(frame: &str) -> Option<String> {
    let words: Vec<&str> = frame.split(' ').collect();
    match words.as_slice() {
        ["MSG" | "HMSG", subject, _sid, rest @ ..] => {
            Some(format!("{} {subject} {}", words[0], rest.join(" ")))
        }
        ["RS-", ..] | ["RS+", ..] => Some(words[0].to_owned()),
        _ => None,
    }
}
