//! Every user against every subject: what may be published, subscribed to, asked and answered, who
//! gets it, and who is refused with which words.
//!
//! One configuration with many accounts and kinds of users is run on a stock nats-server and on
//! natsd; the two recordings must be the same, line by line. It needs a stock server:
//! `cargo test --test judging -- --include-ignored` with `NATS_SERVER_BIN`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use blackbox::operator::{Got, Heard, Peer};
use blackbox::server::{Binary, Setup};
use nkeys::KeyPair;
use serde_json::{Value, json};

const ACCOUNTS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// What users may do; every account has one of each kind.
const KINDS: [(&str, &str); 11] = [
    ("free", r#"permissions { publish: ">", subscribe: ">" }"#),
    ("plain", ""),
    (
        "picky",
        r#"permissions {
            publish { allow: ["foo.*", "ev.>", "a.help", "help", "w.>", "map.*"], deny: ["foo.x", "w.*.secret", "ev.two"] }
            subscribe { allow: ["ev.>", "fromA.>", "w.*", "qq v1", "qq dev.*", "_INBOX.>"], deny: ["ev.two", "qq dev.x", "fromA.*.two"] } }"#,
    ),
    (
        "answering",
        r#"permissions { subscribe: ["help", "calc.>", "many", "parts", "x.>"], allow_responses: true }"#,
    ),
    (
        "twice",
        r#"permissions { subscribe: ["help", "many"], publish: "foo.a", allow_responses { max: 2, expires: "5m" } }"#,
    ),
    ("mute", r#"permissions { publish { deny: ">" } }"#),
    ("deaf", r#"permissions { subscribe { deny: ">" } }"#),
    ("nothing", r#"permissions { publish { deny: [">"] }, subscribe { deny: [">"] } }"#),
    (
        "askers",
        r#"permissions { publish: ["*.help", "help", "sum.*", "many"], subscribe: "_INBOX.>" }"#,
    ),
    (
        "star",
        r#"permissions { publish: ["*.one", "*"], subscribe { allow: ["*.one", "*", "ev.*.>"], deny: ["b", "mine.*"] } }"#,
    ),
    (
        "queued",
        r#"permissions { subscribe { allow: [">"], deny: ["ev.> v1", "foo.a", "> dev.*"] } }"#,
    ),
];

const SUBJECTS: [&str; 40] = [
    "ev.one",
    "ev.two",
    "ev.one.two",
    "ev.one.two.three",
    "priv.k",
    "priv.l",
    "priv.k.l",
    "pos.B.x",
    "pos.C.x",
    "help",
    "a.help",
    "calc.7.x",
    "calc.7.y",
    "sum.7",
    "sum.x",
    "many",
    "parts",
    "tok.C.go",
    "tok.D.go",
    "fromA.ev.one",
    "fromA.ev.two",
    "mine.one",
    "mine.two",
    "map.1",
    "mapped.1",
    "half.x.y",
    "foo.a",
    "foo.x",
    "foo.a.b",
    "w.a.b",
    "w.a.secret",
    "b",
    "qq",
    "x.help",
    "x.y",
    "in.1",
    "_INBOX.a.b",
    "chain.ev.one",
    "svc.deep",
    "$SYS.REQ.USER.AUTH",
];

const PATTERNS: [&str; 16] = [
    ">",
    "*",
    "*.*",
    "ev.*",
    "ev.>",
    "fromA.>",
    "fromA.*.one",
    "*.one",
    "mine.*",
    "w.*.secret",
    "foo.*",
    "priv.*",
    "_INBOX.>",
    "chain.>",
    "a.*",
    "pos.*.x",
];

const QUEUES: [&str; 4] = ["v1", "v2", "dev.eu", "dev.x"];

/// Exports, imports and mappings of each account.
const LINKS: [(&str, &str); 6] = [
    (
        "A",
        r#"exports: [
            { stream: "ev.>" }
            { stream: "priv.*", accounts: [ C, D ] }
            { stream: "pos.*.x", account_token_position: 2 }
            { service: help }
            { service: "calc.*.x", accounts: [ B, E ] }
            { service: many, response_type: stream }
            { service: parts, response_type: chunked }
            { service: "tok.*.go", account_token_position: 2 }
        ]
        default_permissions { publish: ["ev.>", "d.>"], subscribe: ["help", "calc.>", "_INBOX.>"] }"#,
    ),
    (
        "B",
        r#"imports: [
            { stream: { account: A, subject: "ev.>" }, prefix: fromA }
            { stream: { account: A, subject: "pos.B.x" } }
            { service: { account: A, subject: help }, to: a.help }
            { service: { account: A, subject: "calc.*.x" }, to: "sum.*" }
            { service: { account: A, subject: many } }
            { service: { account: A, subject: parts } }
        ]
        exports: [ { stream: "fromA.>" }, { service: "x.>" } ]
        default_permissions { subscribe: ["fromA.ev.one", "in.>"] }"#,
    ),
    (
        "C",
        r#"imports: [
            { stream: { account: A, subject: "ev.*" }, to: "mine.*" }
            { stream: { account: A, subject: "priv.*" } }
            { service: { account: A, subject: help }, share: true }
            { service: { account: A, subject: "tok.C.go" }, to: svc.deep }
        ]
        mappings { "map.*": "mapped.$1", "half.*.*": [ { destination: "foo.$2", weight: 100 } ] }"#,
    ),
    (
        "D",
        r#"imports: [
            { stream: { account: A, subject: "priv.k" }, prefix: p }
            { stream: { account: B, subject: "fromA.>" }, prefix: chain }
            { service: { account: B, subject: "x.help" } }
        ]
        default_permissions { publish { deny: "foo.>" }, subscribe { deny: "foo.>" } }"#,
    ),
    (
        "E",
        r#"imports: [ { service: { account: A, subject: "calc.7.x" }, to: b } ]
        mappings { "foo.a": "ev.one", "w.*.secret": "help" }
        limits { max_subs: 30, max_payload: 64 }"#,
    ),
    ("F", ""),
];

/// A user: what it says to be let in.
struct User {
    name: String,
    account: &'static str,
    key: Option<KeyPair>,
}

/// The configuration, and everybody in it.
struct World {
    config: String,
    users: Vec<User>,
}

impl World {
    fn new() -> Self {
        let mut config = "no_auth_user: F_plain\naccounts {\n".to_owned();
        let mut users = Vec::new();
        for (account, links) in LINKS {
            writeln!(config, "{account} {{\n{links}\nusers: [").unwrap();
            for (kind, permissions) in KINDS {
                let name = format!("{account}_{kind}");
                // Some show a key instead of a password.
                let key = matches!(kind, "picky" | "star").then(KeyPair::new_user);
                match &key {
                    Some(key) => {
                        writeln!(config, "{{ nkey: {}, {permissions} }}", key.public_key())
                    }
                    None => {
                        writeln!(config, "{{ user: {name}, password: p_{name}, {permissions} }}")
                    }
                }
                .unwrap();
                users.push(User { name, account, key });
            }
            config += "]\n}\n";
        }
        Self { config: config + "}\n", users }
    }

    /// The public keys differ from run to run, the recordings must not.
    fn masked(&self, text: &str) -> String {
        let keys = self.users.iter().filter_map(|user| Some((user.key.as_ref()?, &user.name)));
        keys.fold(text.to_owned(), |text, (key, name)| text.replace(&key.public_key(), name))
    }
}

impl User {
    async fn login(&self, server: SocketAddr) -> Peer {
        let mut peer = Peer::dial(server).await;
        let keys = match &self.key {
            Some(key) => json!({ "nkey": key.public_key(), "sig": peer.signed(key) }),
            None => json!({ "user": self.name, "pass": format!("p_{}", self.name) }),
        };
        peer.connect(keys).await;
        assert_eq!(peer.hear().await, Heard::Line("PONG".into()), "{}", self.name);
        peer
    }
}

/// A message without what differs from run to run.
fn told(heard: &Heard) -> String {
    match heard {
        Heard::Message(Got { subject, reply, headers, payload }) => {
            let payload = String::from_utf8_lossy(payload);
            format!("{} {} {} {payload}", anonymous(subject), anonymous(reply), asker(headers))
        }
        Heard::Line(line) => line.clone(),
        Heard::Closed => "(closed)".into(),
    }
}

fn anonymous(subject: &str) -> String {
    match subject.strip_prefix("_R_.") {
        Some(rest) if rest.len() > 5 => "_R_.#".into(),
        _ => format!("{subject:?}"),
    }
}

/// Who asks, as the service is told.
fn asker(headers: &str) -> String {
    let mut lines: Vec<String> = headers.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if let Some(info) = line.strip_prefix("Nats-Request-Info: ") {
            let mut info: Value = serde_json::from_str(info).unwrap();
            let info = info.as_object_mut().unwrap();
            for key in ["rtt", "start", "id", "server", "cluster", "host"] {
                info.remove(key);
            }
            *line = format!("asker {}", Value::Object(info.clone()));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join("|")
}

/// Notes what somebody heard; what comes from several others has no order.
async fn note(told_all: &mut Vec<String>, who: &str, peer: &mut Peer) -> Vec<Heard> {
    let heard = peer.heard().await;
    let mut lines: Vec<String> = heard.iter().map(told).collect();
    lines.sort();
    told_all.extend(lines.into_iter().map(|line| format!("  {who} hears {line}")));
    heard
}

/// All that is recorded of one server.
struct Recorder {
    server: SocketAddr,
    world: World,
    told: Vec<String>,
}

impl Recorder {
    async fn free_users(&self) -> Vec<(&'static str, Peer)> {
        let mut all = Vec::new();
        for user in self.world.users.iter().filter(|user| user.name.ends_with("_free")) {
            all.push((user.account, user.login(self.server).await));
        }
        all
    }

    /// Every user publishes to every subject, with a reply subject, too.
    async fn publishes(&mut self) {
        let mut observers = self.free_users().await;
        for (_, observer) in &mut observers {
            observer.say("SUB > 1\r\n").await;
            assert_eq!(observer.heard().await, []);
        }
        for user in &self.world.users {
            self.told.push(format!("{} publishes", user.name));
            let mut peer = user.login(self.server).await;
            let mut text = String::new();
            for (number, subject) in SUBJECTS.iter().enumerate() {
                write!(text, "PUB {subject} {}\r\n{number:02}\r\n", 2).unwrap();
                write!(
                    text,
                    "HPUB {subject} r.{number} 20 22\r\nNATS/1.0\r\nK: v{number:02}\r\n\r\nhh\r\n"
                )
                .unwrap();
            }
            peer.say(&text).await;
            note(&mut self.told, &user.name, &mut peer).await;
            for (account, observer) in &mut observers {
                note(&mut self.told, &format!("the observer of {account}"), observer).await;
            }
        }
    }

    /// Every user subscribes to everything; then everything is published in every account.
    async fn subscribes(&mut self, queue: Option<&str>) {
        let mut publishers = self.free_users().await;
        for user in &self.world.users {
            let as_what = queue.unwrap_or("itself");
            self.told.push(format!("{} subscribes as {as_what}", user.name));
            let mut peer = user.login(self.server).await;
            let mut text = String::new();
            for (sid, subject) in SUBJECTS.iter().chain(&PATTERNS).enumerate() {
                write!(text, "SUB {subject} {} {sid}\r\n", queue.unwrap_or_default()).unwrap();
            }
            peer.say(&text).await;
            note(&mut self.told, &user.name, &mut peer).await;
            for (account, publisher) in &mut publishers {
                let mut text = String::new();
                for subject in SUBJECTS {
                    write!(text, "PUB {subject} {}\r\n{account} {subject}\r\n", subject.len() + 2)
                        .unwrap();
                }
                publisher.say(&text).await;
                assert!(publisher.heard().await.len() < SUBJECTS.len());
            }
            note(&mut self.told, &user.name, &mut peer).await;
            drop(peer);
        }
    }

    /// Every user asks on every subject, and whoever hears a request answers it twice.
    async fn requests(&mut self) {
        let mut servants = self.free_users().await;
        for (_, servant) in &mut servants {
            for subject in SUBJECTS.iter().filter(|subject| !subject.starts_with('_')) {
                servant.say(&format!("SUB {subject} s\r\n")).await;
            }
            servant.heard().await;
        }
        for user in &self.world.users {
            self.told.push(format!("{} asks", user.name));
            let mut peer = user.login(self.server).await;
            let mut text = "SUB _INBOX.me.> 1\r\n".to_owned();
            for (number, subject) in SUBJECTS.iter().enumerate() {
                write!(text, "PUB {subject} _INBOX.me.{number} 1\r\n?\r\n").unwrap();
            }
            peer.say(&text).await;
            note(&mut self.told, &user.name, &mut peer).await;
            for (account, servant) in &mut servants {
                let who = format!("the servant of {account}");
                let mut answers = String::new();
                for heard in note(&mut self.told, &who, servant).await {
                    if let Heard::Message(got) = heard {
                        for turn in 1..=2 {
                            write!(answers, "PUB {} 1\r\n{turn}\r\n", got.reply).unwrap();
                        }
                        // The end of answers in parts.
                        write!(answers, "PUB {} 0\r\n\r\n", got.reply).unwrap();
                    }
                }
                servant.say(&answers).await;
                note(&mut self.told, &who, servant).await;
                note(&mut self.told, &user.name, &mut peer).await;
            }
        }
    }

    /// Those who may answer requests answer too often, and without having been asked.
    async fn answers(&mut self) {
        let mut askers = self.free_users().await;
        for (_, asker) in &mut askers {
            asker.say("SUB in.> 1\r\n").await;
            asker.heard().await;
        }
        for user in &self.world.users {
            let Some((_, asker)) = askers.iter_mut().find(|(name, _)| *name == user.account) else {
                continue;
            };
            self.told.push(format!("{} answers", user.name));
            let mut peer = user.login(self.server).await;
            peer.say("SUB help 1\r\nSUB many 2\r\nSUB x.> 3\r\n").await;
            note(&mut self.told, &user.name, &mut peer).await;
            for (number, subject) in ["help", "many", "x.y", "help"].into_iter().enumerate() {
                asker.say(&format!("PUB {subject} in.{number} 1\r\n?\r\n")).await;
            }
            note(&mut self.told, "the asker", asker).await;
            note(&mut self.told, &user.name, &mut peer).await;
            for turn in 0..3 {
                for number in [0, 1, 2, 3, 9] {
                    peer.say(&format!("PUB in.{number} 1\r\n{turn}\r\n")).await;
                }
            }
            note(&mut self.told, &user.name, &mut peer).await;
            note(&mut self.told, "the asker", asker).await;
        }
    }

    /// Credentials that are wrong in one way each.
    async fn strangers(&mut self) {
        let by_name = |name: &str| self.world.users.iter().find(|user| user.name == name).unwrap();
        let (owner, other) = (by_name("A_picky").key.as_ref().unwrap(), KeyPair::new_user());
        let second = by_name("B_picky").key.as_ref().unwrap();
        let earlier = Peer::dial(self.server).await.signed(owner);
        let fresh = Peer::dial(self.server).await;
        let mut lines = Vec::new();
        for (what, keys) in [
            ("nothing", json!({})),
            ("a wrong password", json!({ "user": "A_free", "pass": "p_B_free" })),
            ("no password", json!({ "user": "A_free" })),
            ("an empty user", json!({ "user": "", "pass": "p_A_free" })),
            ("an unknown user", json!({ "user": "X", "pass": "p_X" })),
            ("a user of another case", json!({ "user": "a_free", "pass": "p_A_free" })),
            ("a token", json!({ "auth_token": "p_A_free" })),
            ("a key as a user", json!({ "user": owner.public_key(), "pass": "" })),
            ("a key without a signature", json!({ "nkey": owner.public_key() })),
            ("an unknown key", json!({ "nkey": other.public_key(), "sig": fresh.signed(&other) })),
            ("a signature of another's", json!({ "nkey": owner.public_key(), "sig": "AAAA" })),
            // What was signed once is good for that connection only.
            ("a replayed signature", json!({ "nkey": owner.public_key(), "sig": earlier })),
            ("no base 64", json!({ "nkey": owner.public_key(), "sig": "%%%" })),
            ("a JWT", json!({ "jwt": "eyJ0eXAiOiJKV1QifQ.e30.AAAA", "sig": "AAAA" })),
            (
                "user and password beside a bad key",
                json!({ "user": "A_free", "pass": "p_A_free", "nkey": owner.public_key(), "sig": "AAAA" }),
            ),
        ] {
            let mut peer = Peer::dial(self.server).await;
            peer.connect(keys).await;
            lines.push(format!("{what}: {}", told(&peer.hear().await)));
        }
        for (what, signer) in [("the own key", owner), ("another user's key", second)] {
            let mut peer = Peer::dial(self.server).await;
            let sig = peer.signed(signer);
            peer.connect(json!({ "nkey": owner.public_key(), "sig": sig })).await;
            lines.push(format!("signed by {what}: {}", told(&peer.hear().await)));
        }
        self.told.extend(lines);
    }
}

/// All that happens on one server.
async fn record(binary: &Binary) -> Vec<String> {
    let world = World::new();
    let server = Setup::new(binary).config(world.config.clone()).start().await;
    let mut recorder = Recorder { server: server.client(), world, told: Vec::new() };
    recorder.strangers().await;
    recorder.publishes().await;
    recorder.subscribes(None).await;
    for queue in QUEUES {
        recorder.subscribes(Some(queue)).await;
    }
    recorder.requests().await;
    recorder.answers().await;
    let Recorder { told, world, .. } = recorder;
    told.iter().map(|line| world.masked(line)).collect()
}

#[tokio::test]
#[ignore = "needs a stock nats-server"]
async fn every_user_may_do_with_every_subject_what_nats_server_lets_them() {
    assert_eq!(LINKS.map(|(name, _)| name), ACCOUNTS);
    let stock = record(&Binary::stock()).await;
    let ours = record(&Binary::natsd()).await;
    assert!(stock.len() > 5000, "little was recorded: {} lines", stock.len());
    assert!(
        stock == ours,
        "{} lines of nats-server, {} of natsd; those that only one has:\n{}",
        stock.len(),
        ours.len(),
        difference(&stock, &ours)
    );
}

/// Lines that only one of both has, with what was going on.
fn difference(stock: &[String], ours: &[String]) -> String {
    let mut counts: BTreeMap<(String, &str), i64> = BTreeMap::new();
    for (lines, step) in [(stock, -1), (ours, 1)] {
        let mut scene = String::new();
        for line in lines {
            if !line.starts_with(' ') {
                scene.clone_from(line);
            }
            *counts.entry((scene.clone(), line)).or_default() += step;
        }
    }
    let differing = counts.into_iter().filter(|(_, count)| *count != 0);
    let line = |((scene, line), count): ((String, &str), i64)| format!("{count:+} {scene}: {line}");
    differing.map(line).take(60).collect::<Vec<_>>().join("\n")
}
