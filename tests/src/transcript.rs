//! Golden transcripts: a conversation with a server, written down as it goes over the wire.
//!
//! ```text
//! # What the case shows, and where the rule is written.
//! flags: --max_payload 100            server flags, as many lines as wanted
//! config:                             a configuration file, indented
//!   max_payload: 100
//! listen: r1                          r1 is dialed by the server: `${r1}` is its port
//! whole: reason                       not to be repeated byte by byte
//! natsd lacks: reason                 listed as ignored for natsd, run for any other server
//!
//! c1< INFO {...}␠                     a line that must come; ␠ is a space at the end of a line
//! c1> PING                            a line to send, CRLF added
//! c1>> PUB foo 2\r\nok\r\n            bytes to send, nothing added
//! c1<| MSG foo 1 2\r\nok              lines that must come, in any order with their neighbours
//! c1 connect | close | shut | closed | accept [from r1] | refused
//! pause 100ms                         a silence of ours, never a way to wait for the server
//! signal USR2                         a signal to the server process
//! exits 0                             the server must end by itself
//! ```
//!
//! Connections `c…` go to the client port, `r…` to the route port; the first mention dials.
//! Text may contain `\r \n \t \\ \xHH` and `${'x'*4096}`; a pattern also `<int>`, `<word>`,
//! `<any>`, `<nkey>` (each may keep what it met: `<ID:nkey>`, later `${ID}`), `{...}` for any
//! JSON object, `{keys a b [c]}` for one with exactly these keys in this order (`[c]` optional),
//! and `{with "a":1 "b":"<string>" !c}` for one that has these and lacks `c`.
//!
//! A PING of the server that no line waits for is answered and passed over, and so is the
//! traffic of the system account on a route.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::DEADLINE;
use crate::server::{Binary, Server, Setup};
use crate::wire::{Conversation, Missed, escape};

/// A transcript as written.
#[derive(Clone, Debug)]
pub struct Transcript {
    flags: Vec<String>,
    config: String,
    listeners: Vec<String>,
    /// Why this one is not repeated byte by byte.
    pub whole: Option<String>,
    /// Why natsd cannot be held to it yet.
    pub natsd_lacks: Option<String>,
    steps: Vec<(usize, Step)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Send { who: String, text: String },
    Expect { who: String, patterns: Vec<String> },
    Connect(String),
    Accept { who: String, listener: String },
    Refused(String),
    Shut(String),
    Close(String),
    Closed(String),
    Pause(Duration),
    Signal(Signal),
    Exits(i32),
}

/// How what is to be sent is cut into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// Each step in one.
    Whole,
    /// Each byte in one.
    Bytewise,
}

impl Transcript {
    /// Reads a transcript.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut transcript = Self {
            flags: Vec::new(),
            config: String::new(),
            listeners: Vec::new(),
            whole: None,
            natsd_lacks: None,
            steps: Vec::new(),
        };
        let mut in_config = false;
        for (number, line) in (1..).zip(text.lines()) {
            if in_config && (line.starts_with("  ") || line.trim().is_empty()) {
                transcript.config.push_str(line);
                transcript.config.push('\n');
                continue;
            }
            in_config = false;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_head(key)) {
                let value = value.trim();
                match key {
                    "flags" => transcript.flags.extend(value.split(' ').map(str::to_owned)),
                    "config" => in_config = true,
                    "listen" => transcript.listeners.push(value.to_owned()),
                    "whole" => transcript.whole = Some(value.to_owned()),
                    _ => transcript.natsd_lacks = Some(value.to_owned()),
                }
                continue;
            }
            let step = step(line).ok_or_else(|| format!("line {number}: not a step: {line}"))?;
            match (transcript.steps.last_mut(), step) {
                // Neighbours in any order become one step.
                (
                    Some((_, Step::Expect { who, patterns })),
                    Step::Expect { who: also, patterns: more },
                ) if *who == also && line.contains("<| ") && patterns[0].starts_with('|') => {
                    patterns.extend(more);
                }
                (_, step) => transcript.steps.push((number, step)),
            }
        }
        if transcript.steps.is_empty() { Err("no steps".into()) } else { Ok(transcript) }
    }

    /// Plays it against a fresh server.
    pub async fn play(&self, binary: &Binary, packets: Packets) -> Result<(), String> {
        let mut player = Player::new(self, binary, packets).await?;
        for (at, (number, step)) in self.steps.iter().enumerate() {
            let last_word = self.is_last_word(at);
            if let Err(error) = player.step(step, last_word).await {
                return Err(format!("line {number}: {error}\n{}", player.evidence()));
            }
        }
        Ok(())
    }

    /// Whether the connection is closed before anything else is sent on it. Such a step goes in
    /// one packet: bytes that a closing server has not read would reset its last word away.
    fn is_last_word(&self, at: usize) -> bool {
        let Step::Send { who, .. } = &self.steps[at].1 else { return false };
        for (_, step) in &self.steps[at + 1..] {
            match step {
                Step::Closed(other) if other == who => return true,
                Step::Send { who: other, .. } if other == who => return false,
                _ => {}
            }
        }
        false
    }
}

fn is_head(key: &str) -> bool {
    matches!(key, "flags" | "config" | "listen" | "whole" | "natsd lacks")
}

fn step(line: &str) -> Option<Step> {
    let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
    match head {
        "pause" => {
            let ms = rest.strip_suffix("ms")?.parse().ok()?;
            return Some(Step::Pause(Duration::from_millis(ms)));
        }
        "signal" => {
            let signal = match rest {
                "USR2" => Signal::USR2,
                "TERM" => Signal::TERM,
                "INT" => Signal::INT,
                "HUP" => Signal::HUP,
                _ => return None,
            };
            return Some(Step::Signal(signal));
        }
        "exits" => return Some(Step::Exits(rest.parse().ok()?)),
        _ => {}
    }
    let name = head.trim_end_matches(['<', '>', '|']);
    if !name.starts_with(['c', 'r']) || !name[1..].chars().all(|char| char.is_ascii_digit()) {
        return None;
    }
    let who = name.to_owned();
    let rest = rest.replace('␠', " ");
    Some(match (&head[name.len()..], rest.as_str()) {
        (">", text) => Step::Send { who, text: format!("{text}\\r\\n") },
        (">>", text) => Step::Send { who, text: text.to_owned() },
        ("<", text) => Step::Expect { who, patterns: vec![text.to_owned()] },
        ("<|", text) => Step::Expect { who, patterns: vec![format!("|{text}")] },
        ("", "connect") => Step::Connect(who),
        ("", "accept") => Step::Accept { listener: who.clone(), who },
        ("", "refused") => Step::Refused(who),
        ("", "shut") => Step::Shut(who),
        ("", "close") => Step::Close(who),
        ("", "closed") => Step::Closed(who),
        ("", text) => Step::Accept { listener: text.strip_prefix("accept from ")?.to_owned(), who },
        _ => return None,
    })
}

struct Player {
    server: Server,
    listeners: BTreeMap<String, TcpListener>,
    conversations: BTreeMap<String, Conversation>,
    variables: BTreeMap<String, String>,
    packets: Packets,
    spoken: Vec<String>,
}

impl Player {
    async fn new(script: &Transcript, binary: &Binary, packets: Packets) -> Result<Self, String> {
        let mut variables = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for name in &script.listeners {
            let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
            let port = listener.local_addr().map_err(|e| e.to_string())?.port();
            variables.insert(name.clone(), port.to_string());
            listeners.insert(name.clone(), listener);
        }
        let mut flags = Vec::new();
        for flag in &script.flags {
            flags.push(expand(flag, &variables)?);
        }
        let mut setup = Setup::new(binary).args(flags);
        if !script.config.is_empty() {
            setup = setup.config(expand(&script.config, &variables)?);
        }
        let server = setup.start().await;
        for (name, listener) in [("client", "nats"), ("cluster", "cluster")] {
            if server.ports().get(listener).is_some() {
                variables.insert(name.to_owned(), server.port(listener).to_string());
            }
        }
        let conversations = BTreeMap::new();
        Ok(Self { server, listeners, conversations, variables, packets, spoken: Vec::new() })
    }

    async fn step(&mut self, step: &Step, last_word: bool) -> Result<(), String> {
        match step {
            Step::Send { who, text } => {
                let bytes = unescape(&expand(text, &self.variables)?)?;
                self.note(who, '>', &bytes);
                let packets = self.packets;
                let conversation = self.conversation(who).await?;
                let sent = match packets {
                    Packets::Bytewise if !last_word => conversation.send_bytewise(&bytes).await,
                    _ => conversation.send(&bytes).await,
                };
                sent.map_err(|error| format!("{who} cannot send: {error}"))
            }
            Step::Expect { who, patterns } => self.expect(who, patterns).await,
            Step::Connect(who) => self.conversation(who).await.map(drop),
            Step::Accept { who, listener } => {
                let listener = self.listeners.get(listener).ok_or("no such listener")?;
                let accepted = timeout(DEADLINE, listener.accept()).await;
                let (stream, _) = accepted
                    .map_err(|_elapsed| format!("the server did not dial {who}"))?
                    .map_err(|error| error.to_string())?;
                let conversation = Conversation::over(stream).map_err(|e| e.to_string())?;
                self.conversations.insert(who.clone(), conversation);
                Ok(())
            }
            Step::Refused(who) => {
                let address = self.address(who);
                crate::eventually(&format!("{who} is refused"), async || {
                    TcpStream::connect(address).await.is_err().then_some(())
                })
                .await;
                Ok(())
            }
            Step::Shut(who) => {
                self.conversation(who).await?.shut();
                Ok(())
            }
            Step::Close(who) => {
                self.conversations.remove(who);
                Ok(())
            }
            Step::Closed(who) => self.expect_close(who).await,
            Step::Pause(duration) => {
                sleep(*duration).await;
                Ok(())
            }
            Step::Signal(signal) => {
                self.server.signal(*signal);
                Ok(())
            }
            Step::Exits(code) => match self.server.exit().await.code() {
                Some(actual) if actual == *code => Ok(()),
                other => Err(format!("the server exited with {other:?}, not {code}")),
            },
        }
    }

    fn address(&self, who: &str) -> SocketAddr {
        if who.starts_with('r') { self.server.cluster() } else { self.server.client() }
    }

    async fn conversation(&mut self, who: &str) -> Result<&mut Conversation, String> {
        if !self.conversations.contains_key(who) {
            let address = self.address(who);
            let dialed = Conversation::dial(address).await;
            let conversation = dialed.map_err(|error| format!("{who} cannot connect: {error}"))?;
            self.conversations.insert(who.to_owned(), conversation);
        }
        self.conversations.get_mut(who).ok_or_else(|| format!("no {who}"))
    }

    fn note(&mut self, who: &str, direction: char, bytes: &[u8]) {
        let text = escape(bytes);
        let cut = text.char_indices().nth(300).map_or(text.len(), |(at, _)| at);
        self.spoken.push(format!("{who}{direction} {}", &text[..cut]));
    }

    /// What was said, and what is still unread.
    fn evidence(&self) -> String {
        let mut text = String::new();
        for line in &self.spoken[self.spoken.len().saturating_sub(40)..] {
            let _ = writeln!(text, "    {line}");
        }
        for (who, conversation) in &self.conversations {
            if !conversation.unread().is_empty() {
                let _ = writeln!(text, "    {who} unread: {}", conversation.unread());
            }
        }
        let log = self.server.log();
        let lines: Vec<_> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(12)..] {
            let _ = writeln!(text, "    log: {line}");
        }
        text
    }

    async fn expect(&mut self, who: &str, patterns: &[String]) -> Result<(), String> {
        let mut left = Vec::new();
        for pattern in patterns {
            let pattern = pattern.strip_prefix('|').unwrap_or(pattern);
            left.push(expand(pattern, &self.variables)?);
        }
        while !left.is_empty() {
            let line = self.next_line(who).await.map_err(|missed| {
                format!("{who} expected \"{}\", but {missed}", left.join("\" or \""))
            })?;
            let mut why = String::new();
            let mut met = None;
            for (at, pattern) in left.iter().enumerate() {
                match self.try_pattern(who, &line, pattern).await? {
                    Ok(captures) => {
                        met = Some((at, captures));
                        break;
                    }
                    Err(reason) => why = reason,
                }
            }
            if let Some((at, captures)) = met {
                left.remove(at);
                self.variables.extend(captures);
            } else if !self.pass_over(who, &line).await? {
                let pattern = left.join("\" or \"");
                let line = escape(&line);
                return Err(format!("{who} expected \"{pattern}\", not \"{line}\" {why}"));
            }
        }
        Ok(())
    }

    async fn next_line(&mut self, who: &str) -> Result<Vec<u8>, String> {
        let conversation = self.conversation(who).await?;
        let line = conversation.line().await.map_err(|missed| missed.to_string())?;
        // The account of the system is no part of the conversation.
        if !line.starts_with(b"RS+ $SYS ") {
            self.note(who, '<', &line);
        }
        Ok(line)
    }

    /// Holds a pattern of one or more lines against a line already read and what follows it.
    /// Following lines are put back when they do not match.
    async fn try_pattern(
        &mut self,
        who: &str,
        first: &[u8],
        pattern: &str,
    ) -> Result<Result<Captures, String>, String> {
        let mut captures = Captures::new();
        let mut taken: Vec<u8> = Vec::new();
        for (at, part) in pattern.split("\\r\\n").enumerate() {
            let line = if at == 0 {
                first.to_vec()
            } else {
                let conversation = self.conversation(who).await?;
                match conversation.line().await {
                    Ok(line) => line,
                    Err(missed) => {
                        conversation.put_back(&taken);
                        return Ok(Err(missed.to_string()));
                    }
                }
            };
            if at > 0 {
                taken.extend_from_slice(&line);
            }
            match match_line(&line, part) {
                Ok(more) => captures.extend(more),
                Err(reason) => {
                    self.conversation(who).await?.put_back(&taken);
                    return Ok(Err(reason));
                }
            }
        }
        if !taken.is_empty() {
            self.note(who, '<', &taken);
        }
        Ok(Ok(captures))
    }

    /// Whether a line is one that a transcript need not mention; if so it is dealt with.
    async fn pass_over(&mut self, who: &str, line: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(line);
        let words: Vec<_> = text.split_whitespace().collect();
        let conversation = self.conversation(who).await?;
        match words.as_slice() {
            ["PING"] => {
                conversation.send(b"PONG\r\n").await.map_err(|error| error.to_string())?;
                Ok(true)
            }
            // On a connection of the system account's own, the account is left out.
            ["RS+" | "RS-", first, rest @ ..] if who.starts_with('r') => Ok(*first == "$SYS"
                || first.starts_with("$SYS.")
                || rest.first().is_some_and(|subject| subject.starts_with("$SYS."))),
            ["RMSG" | "HMSG", account, .., size]
                if who.starts_with('r') && account.starts_with("$SYS") =>
            {
                let size: usize = size.parse().map_err(|_no| format!("bad size in {text}"))?;
                conversation.take(size + 2).await.map_err(|missed| missed.to_string())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn expect_close(&mut self, who: &str) -> Result<(), String> {
        loop {
            let conversation = self.conversation(who).await?;
            match conversation.line().await {
                Ok(line) => {
                    self.note(who, '<', &line);
                    // The answer to a PING may meet a closed socket; that is the end we wait for.
                    if !self.pass_over(who, &line).await.unwrap_or(true) {
                        return Err(format!("{who} expected the end, not \"{}\"", escape(&line)));
                    }
                }
                Err(Missed::Closed(rest)) if rest.is_empty() => return Ok(()),
                Err(missed) => return Err(format!("{who} expected the end, but {missed}")),
            }
        }
    }
}

type Captures = BTreeMap<String, String>;

/// Holds one line against one pattern.
fn match_line(line: &[u8], pattern: &str) -> Result<Captures, String> {
    let Some(line) = line.strip_suffix(b"\r\n") else { return Err("(no CRLF)".into()) };
    let mut captures = Captures::new();
    match_rest(line, pattern, &mut captures)?;
    Ok(captures)
}

fn match_rest(text: &[u8], pattern: &str, captures: &mut Captures) -> Result<(), String> {
    let Some(start) = pattern.find(['<', '{']) else {
        let literal = unescape(pattern)?;
        return if text == literal { Ok(()) } else { Err("(text differs)".into()) };
    };
    let literal = unescape(&pattern[..start])?;
    let text = text.strip_prefix(literal.as_slice()).ok_or("(text differs)")?;
    let pattern = &pattern[start..];
    if pattern.starts_with('{') {
        let (inside, after) = json_pattern(pattern)?;
        let end = text.iter().rposition(|byte| *byte == b'}').ok_or("(no JSON object)")? + 1;
        match_rest(&text[end..], after, captures)?;
        return match_json(&text[..end], inside, captures);
    }
    let close = pattern.find('>').ok_or("pattern: < without >")?;
    let (name, kind) = match pattern[1..close].split_once(':') {
        Some((name, kind)) => (Some(name), kind),
        None => (None, &pattern[1..close]),
    };
    // Shortest first, so that what follows decides.
    for end in 0..=text.len() {
        let taken = String::from_utf8_lossy(&text[..end]);
        if !is_of_kind(&taken, kind) {
            continue;
        }
        let mut more = captures.clone();
        if match_rest(&text[end..], &pattern[close + 1..], &mut more).is_ok() {
            if let Some(name) = name {
                more.insert(name.to_owned(), taken.into_owned());
            }
            *captures = more;
            return Ok(());
        }
    }
    Err(format!("(no <{kind}>)"))
}

fn is_of_kind(text: &str, kind: &str) -> bool {
    match kind {
        "any" => true,
        "int" => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
        "word" | "string" => {
            !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char == '"')
        }
        // A public nkey: a letter for its kind and 55 base32 characters.
        "nkey" => {
            text.len() == 56
                && text.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
        }
        _ => false,
    }
}

/// The inside of `{...}` at the start of a pattern, and what follows it.
fn json_pattern(pattern: &str) -> Result<(&str, &str), String> {
    let mut depth = 0_usize;
    let mut quoted = false;
    for (at, char) in pattern.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Ok((&pattern[1..at], &pattern[at + 1..]));
                }
            }
            _ => {}
        }
    }
    Err("pattern: { without }".into())
}

fn match_json(text: &[u8], pattern: &str, captures: &mut Captures) -> Result<(), String> {
    let Entries(document) =
        serde_json::from_slice(text).map_err(|error| format!("(not a JSON object: {error})"))?;
    if pattern == "..." {
        return Ok(());
    }
    if let Some(keys) = pattern.strip_prefix("keys ") {
        let mut actual = document.iter().map(|(key, _)| key.as_str()).peekable();
        for key in keys.split_whitespace() {
            let optional = key.strip_prefix('[').and_then(|key| key.strip_suffix(']'));
            match (actual.peek(), optional) {
                (Some(next), Some(key)) if *next == key => drop(actual.next()),
                (_, Some(_)) => {}
                (Some(next), None) if *next == key => drop(actual.next()),
                (next, None) => return Err(format!("(key {key} expected, not {next:?})")),
            }
        }
        return actual.next().map_or(Ok(()), |key| Err(format!("(unexpected key {key})")));
    }
    let get = |key: &str| document.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let mut rest = pattern.strip_prefix("with ").ok_or("pattern: {...}, {keys or {with")?.trim();
    while !rest.is_empty() {
        if let Some(absent) = rest.strip_prefix('!') {
            let end = absent.find(' ').unwrap_or(absent.len());
            if let Some(value) = get(&absent[..end]) {
                return Err(format!("(key {} must be absent, is {value})", &absent[..end]));
            }
            rest = absent[end..].trim_start();
            continue;
        }
        let (key, value) = rest.split_once(':').ok_or("pattern: \"key\":value expected")?;
        let key = key.trim_matches('"');
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let wanted = values
            .next()
            .and_then(Result::ok)
            .ok_or_else(|| format!("pattern: no JSON value after {key}"))?;
        let end = values.byte_offset();
        let actual = get(key).ok_or_else(|| format!("(no key {key})"))?;
        match_value(key, actual, &wanted, captures)?;
        rest = value[end..].trim_start();
    }
    Ok(())
}

/// The entries of a JSON object in the order in which they are written.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn match_value(
    key: &str,
    actual: &Value,
    wanted: &Value,
    captures: &mut Captures,
) -> Result<(), String> {
    let differs = || format!("({key} is {actual}, not {wanted})");
    match (actual, wanted) {
        (Value::Number(_), Value::String(kind)) if kind == "<int>" => Ok(()),
        (Value::Array(_), Value::String(kind)) if kind == "<array>" => Ok(()),
        (Value::String(actual), Value::String(pattern)) if pattern.contains('<') => {
            match_rest(actual.as_bytes(), pattern, captures).map_err(|_reason| differs())
        }
        // The order of lists (URLs) means nothing.
        (Value::Array(actual), Value::Array(wanted)) => {
            let sort = |values: &[Value]| {
                let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
                texts.sort();
                texts
            };
            if sort(actual) == sort(wanted) { Ok(()) } else { Err(differs()) }
        }
        _ if actual == wanted => Ok(()),
        _ => Err(differs()),
    }
}

/// Replaces `${name}` and `${'x'*3}`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("${ without }")?;
        out.push_str(before);
        if let Some((unit, count)) = name.split_once("'*") {
            let count = count.parse().map_err(|_no| format!("bad count in ${{{name}}}"))?;
            out.push_str(&unit.trim_start_matches('\'').repeat(count));
        } else {
            out.push_str(variables.get(name).ok_or_else(|| format!("nothing is named {name}"))?);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Replaces `\r`, `\n`, `\t`, `\\` and `\xHH`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mut chars = after.chars();
        match chars.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('\\') => out.push(b'\\'),
            Some('x') => {
                let hex = after.get(1..3).ok_or("bad \\x escape")?;
                out.push(u8::from_str_radix(hex, 16).map_err(|_no| "bad \\x escape")?);
                chars = after[3..].chars();
            }
            _ => return Err(format!("bad escape in {text}")),
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Every transcript of a directory, by name.
pub fn all(directory: &Path) -> Vec<(String, Result<Transcript, String>)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).expect("a directory of transcripts").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                let name = path.strip_prefix(directory).expect("lies in it").with_extension("");
                let text = std::fs::read_to_string(&path).expect("a readable transcript");
                found.push((name.display().to_string(), Transcript::parse(&text)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_what_it_names_and_nothing_else() {
        assert!(match_line(b"MSG foo 1 5\r\n", "MSG foo <int> 5").is_ok());
        assert!(match_line(b"MSG foo x 5\r\n", "MSG foo <int> 5").is_err());
        assert!(match_line(b"MSG foo 1 5\n", "MSG foo 1 5").is_err());
        assert!(match_line(b"MSG foo 1 5 \r\n", "MSG foo 1 5").is_err());
        let met = match_line(b"A r.77 b\r\n", "A r.<n:int> b").unwrap();
        assert_eq!(met["n"], "77");
    }

    #[test]
    fn json_patterns_check_keys_order_values_and_absence() {
        let line = b"INFO {\"a\":1,\"b\":\"x\",\"c\":[\"2\",\"1\"]} \r\n";
        for good in [
            "INFO {...} ",
            "INFO {keys a b c} ",
            "INFO {keys a [z] b [c]} ",
            "INFO {with \"a\":1 \"b\":\"<word>\" !d} ",
            "INFO {with \"c\":[\"1\",\"2\"]} ",
        ] {
            match_line(line, good).unwrap();
        }
        for bad in [
            "INFO {...}",
            "INFO {keys a b} ",
            "INFO {keys b a c} ",
            "INFO {with \"a\":2} ",
            "INFO {with !a} ",
            "INFO {with \"c\":[\"1\"]} ",
        ] {
            assert!(match_line(line, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn neighbours_in_any_order_are_one_step() {
        let text = "c1<| A\nc1<| B\nc1< C\nc2<| D\n";
        assert_eq!(Transcript::parse(text).unwrap().steps.len(), 3);
    }

    #[test]
    fn what_is_not_a_step_is_refused() {
        for bad in ["", "c1 dance", "hello", "q1> PING", "pause 3"] {
            assert!(Transcript::parse(bad).is_err(), "{bad:?}");
        }
    }
}
