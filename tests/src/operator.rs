//! Operators, accounts and users made here, and clients that log in with them.
//!
//! Tokens are signed by the test's own code and keys, so that any of them can be made wrong in any
//! way. What official tools make of it is another test's business.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};

use crate::wire::Conversation;

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("a time of this age")
}

/// Parts of a token, each of which a test may spoil.
#[derive(Clone, Debug)]
pub struct Draft {
    /// `typ` and `alg`.
    pub header: Value,
    /// Everything else.
    pub claims: Value,
}

impl Draft {
    /// A token of a kind about a subject, good unless it is changed.
    pub fn new(kind: &str, subject: &str) -> Self {
        Self {
            header: json!({ "typ": "JWT", "alg": "ed25519-nkey" }),
            claims: json!({
                "sub": subject,
                "iat": now() - 3600,
                "name": kind,
                "jti": format!("{:x}", rand::random::<u64>()),
                "nats": { "type": kind, "version": 2 },
            }),
        }
    }

    /// Sets claims of all tokens.
    #[must_use]
    pub fn with(mut self, standard: &Value) -> Self {
        merge(&mut self.claims, standard);
        self
    }

    /// Sets claims of this kind.
    #[must_use]
    pub fn nats(mut self, nats: &Value) -> Self {
        merge(&mut self.claims["nats"], nats);
        self
    }

    /// The signed text.
    pub fn sign(mut self, issuer: &KeyPair) -> String {
        self.claims["iss"] = issuer.public_key().into();
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&self.header), encode(&self.claims));
        let signature = issuer.sign(signed.as_bytes()).expect("a key that signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn merge(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
}

/// Limits of an account that has none.
pub fn unlimited() -> Value {
    json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": -1, "leaf": -1,
    })
}

/// The claims of an account without limits, with what is added.
pub fn account(key: &KeyPair, more: &Value) -> Draft {
    Draft::new("account", &key.public_key()).nats(&json!({ "limits": unlimited() })).nats(more)
}

/// The claims of a user without limits, with what is added.
pub fn user(key: &KeyPair, more: &Value) -> Draft {
    Draft::new("user", &key.public_key())
        .nats(&json!({ "subs": -1, "data": -1, "payload": -1 }))
        .nats(more)
}

/// The claims of an operator, with what is added.
pub fn operator(key: &KeyPair, more: &Value) -> String {
    Draft::new("operator", &key.public_key()).nats(more).sign(key)
}

/// A configuration in operator mode with accounts in memory.
pub fn in_memory(operator: &str, system: &KeyPair, jwts: &[(&KeyPair, &str)]) -> String {
    let lines = jwts.iter().map(|(key, jwt)| format!("{}: \"{jwt}\"\n", key.public_key()));
    format!(
        "operator: \"{operator}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}}}\n",
        system.public_key(),
        lines.collect::<String>()
    )
}

/// A client that looks at every line.
#[derive(Debug)]
pub struct Peer {
    conversation: Conversation,
    /// What the server said first.
    pub info: Value,
}

/// A message that a client got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Subject.
    pub subject: String,
    /// Reply subject or nothing.
    pub reply: String,
    /// Header block or nothing.
    pub headers: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Got),
    /// Another line, INFO apart.
    Line(String),
    /// The end.
    Closed,
}

/// What a server answers to a login.
///
/// # Panics
/// When there is no server at the address.
pub async fn outcome(server: SocketAddr, keys: Value) -> String {
    let mut peer = Peer::dial(server).await;
    peer.connect(keys).await;
    peer.answer().await
}

/// What a server answers to a JWT and a signature of its nonce.
///
/// # Panics
/// When there is no server at the address, or its INFO has no nonce.
pub async fn outcome_of(server: SocketAddr, jwt: &str, key: &KeyPair) -> String {
    let mut peer = Peer::dial(server).await;
    let sig = peer.signed(key);
    peer.connect(json!({ "jwt": jwt, "sig": sig })).await;
    peer.answer().await
}

impl Peer {
    /// The next line, or what else comes in words.
    pub async fn answer(&mut self) -> String {
        match self.hear().await {
            Heard::Line(line) => line,
            other => format!("{other:?}"),
        }
    }

    /// Dials and reads INFO.
    pub async fn dial(server: SocketAddr) -> Self {
        let mut conversation = Conversation::dial(server).await.expect("a server");
        let line = conversation.line().await.expect("INFO");
        let info = serde_json::from_slice(&line[5..]).expect("INFO is JSON");
        Self { conversation, info }
    }

    /// What a key makes of the nonce.
    pub fn signed(&self, key: &KeyPair) -> String {
        let nonce = self.info["nonce"].as_str().unwrap_or_default();
        URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes()).expect("a key that signs"))
    }

    /// Says CONNECT with these keys, and PING.
    pub async fn connect(&mut self, keys: Value) {
        let mut connect = json!({
            "verbose": false, "pedantic": false, "protocol": 1, "headers": true,
            "no_responders": true, "lang": "test", "version": "1",
        });
        merge(&mut connect, &keys);
        self.say(&format!("CONNECT {connect}\r\nPING\r\n")).await;
    }

    /// Logs in with a JWT and its key.
    ///
    /// # Panics
    /// When the server does not let it in.
    pub async fn login(server: SocketAddr, jwt: &str, key: &KeyPair) -> Self {
        let mut peer = Self::dial(server).await;
        let sig = peer.signed(key);
        peer.connect(json!({ "jwt": jwt, "sig": sig })).await;
        assert_eq!(peer.hear().await, Heard::Line("PONG".into()));
        peer
    }

    /// Sends text; a server that has closed hears nothing.
    pub async fn say(&mut self, text: &str) {
        drop(self.conversation.send(text.as_bytes()).await);
    }

    /// Publishes.
    pub async fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        let mut bytes = format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        drop(self.conversation.send(&bytes).await);
    }

    /// The next thing the server says, INFO and PING apart.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let Ok(line) = self.conversation.line().await else { return Heard::Closed };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first().copied() {
                Some("INFO") => {}
                Some("PING") => self.say("PONG\r\n").await,
                Some("MSG" | "HMSG") => return Heard::Message(self.message(&words).await),
                _ => return Heard::Line(line),
            }
        }
    }

    async fn message(&mut self, words: &[&str]) -> Got {
        let sizes = if words[0] == "MSG" { 1 } else { 2 };
        let number = |index: usize| words[index].parse::<usize>().expect("a size");
        let total = number(words.len() - 1);
        let header_len = if sizes == 2 { number(words.len() - 2) } else { 0 };
        let body = self.conversation.take(total + 2).await.expect("a body");
        Got {
            subject: words[1].to_owned(),
            reply: if words.len() - sizes == 4 { words[3].to_owned() } else { String::new() },
            headers: String::from_utf8_lossy(&body[..header_len]).into_owned(),
            payload: body[header_len..total].to_vec(),
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn got(&mut self) -> Got {
        match self.hear().await {
            Heard::Message(got) => got,
            other => panic!("waited for a message, heard {other:?}"),
        }
    }

    /// Everything said until the answer to a PING, or the end.
    pub async fn heard(&mut self) -> Vec<Heard> {
        self.say("PING\r\n").await;
        let mut all = Vec::new();
        loop {
            match self.hear().await {
                Heard::Line(line) if line == "PONG" => return all,
                Heard::Closed => {
                    all.push(Heard::Closed);
                    return all;
                }
                other => all.push(other),
            }
        }
    }

    /// Asks, and gives the first answer; nobody there is an empty one.
    pub async fn request(&mut self, subject: &str, payload: &[u8]) -> Vec<u8> {
        let inbox = format!("_INBOX.{:x}", rand::random::<u64>());
        self.say(&format!("SUB {inbox} r\r\n")).await;
        self.publish(subject, &inbox, payload).await;
        let got = self.got().await;
        self.say("UNSUB r\r\n").await;
        got.payload
    }

    /// The same, as JSON.
    ///
    /// # Panics
    /// When the answer is none.
    pub async fn ask(&mut self, subject: &str, payload: &[u8]) -> Value {
        let answer = self.request(subject, payload).await;
        serde_json::from_slice(&answer).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&answer));
        })
    }
}

/// Claims of a token, unverified.
///
/// # Panics
/// When it is none.
pub fn claims(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base 64");
    serde_json::from_slice(&payload).expect("claims")
}
