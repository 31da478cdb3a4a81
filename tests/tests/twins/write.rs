//! Writes stories: what clients and peer servers may say, what they must not, and noise.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::config::Scene;
use crate::story::{Act, Step, Who};

/// Writes stories of one scene; the same seed, the same story.
pub(crate) struct Writer<'a> {
    scene: &'a Scene,
    rng: SmallRng,
    /// Groups have one member each: which of several gets a message is chance.
    groups: u32,
    /// The next line has a size with leading zeros: they travel on from lines in the usual form
    /// only.
    tidy: bool,
}

type Bytes = Vec<u8>;

impl<'a> Writer<'a> {
    pub(crate) fn new(scene: &'a Scene, seed: u64) -> Self {
        Self { scene, rng: SmallRng::seed_from_u64(seed), groups: 0, tidy: false }
    }

    /// A story.
    pub(crate) fn story(&mut self) -> Vec<Step> {
        let clients = self.rng.random_range(1..=3);
        let mut cast: Vec<Who> = (1..=clients).map(Who::Client).collect();
        if self.scene.routed {
            cast.extend([Who::Peer(1), Who::Peer(1), Who::Peer(1)]);
            if self.chance(20) {
                cast.push(Who::Peer(2));
            }
        }
        let mut steps = Vec::new();
        let mut present = Vec::new();
        for _ in 0..self.rng.random_range(4..26) {
            let who = self.one_of(&cast);
            let enters = !present.contains(&who);
            if enters || self.chance(3) {
                present.push(who);
                steps.push(Step::open(who));
                if self.chance(90) {
                    let first = self.first_words(who);
                    steps.push(Step::send(who, first));
                }
            }
            let bytes = self.speech(who);
            // What becomes of a CR inside a line depends on how the line came.
            let lone_cr = bytes.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n');
            let act = match self.chance(25) && bytes.len() > 1 && !lone_cr {
                true => {
                    let at = self.rng.random_range(1..bytes.len());
                    Act::Cut(bytes, at)
                }
                false => Act::Send(bytes),
            };
            steps.push(Step { who, act });
        }
        steps
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all.choose(&mut self.rng).expect("something to choose from").clone()
    }

    fn first_words(&mut self, who: Who) -> Bytes {
        let mut words = match who {
            Who::Client(_) => self.connect(),
            Who::Peer(number) => self.handshake(number),
        };
        if self.chance(6) {
            self.mutate(&mut words);
        }
        words.extend_from_slice(b"PING\r\n");
        words
    }

    /// What somebody sends in one step.
    fn speech(&mut self, who: Who) -> Bytes {
        let mut bytes = Vec::new();
        for _ in 0..self.one_of(&[1, 1, 1, 2, 3]) {
            let mut line = match who {
                Who::Client(_) => self.client_line(),
                Who::Peer(_) => self.peer_line(),
            };
            if self.chance(7) {
                self.mutate(&mut line);
            }
            bytes.extend(line);
        }
        if bytes.ends_with(b"\r") {
            bytes.push(b'\n'); // what becomes of a CR that is read alone is chance
        }
        if self.chance(85) {
            bytes.extend_from_slice(b"PING\r\n");
        }
        bytes
    }

    /// Changes, adds or takes away a byte or the end.
    fn mutate(&mut self, line: &mut Bytes) {
        if line.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..line.len());
        let strange =
            [0, b' ', b'\t', b'\r', b'\n', b'+', b'-', b'9', b'"', b'.', b'*', b'>', 0xff];
        let strange = self.one_of(&strange);
        match self.rng.random_range(0..6) {
            0 => line[at] = strange,
            1 => line.insert(at, strange),
            2 => drop(line.remove(at)),
            3 => line.insert(at, line[at]),
            4 => line[at] ^= 1 << self.rng.random_range(0..8),
            _ => line.truncate(at),
        }
    }

    fn client_line(&mut self) -> Bytes {
        match self.rng.random_range(0..100) {
            0..28 => self.subscribe(),
            28..38 => self.unsubscribe(),
            38..65 => self.publish(),
            65..82 => self.publish_with_headers(),
            82..87 => self.connect(),
            _ => self.odd_line(),
        }
    }

    fn odd_line(&mut self) -> Bytes {
        let odd = [
            "PING\r\n",
            "PONG\r\n",
            "ping\n",
            "PING \r\n",
            "PING x\r\n",
            "PONG x\n",
            "+OK\r\n",
            "+ok x\r\n",
            "INFO {}\r\n",
            "INFO x\r\n",
            "INFO\r\n",
            "info\n",
            "-ERR\r\n",
            "-ERR 'x'\r\n",
            "-err x\n",
            "\r\n",
            "\n",
            " PING\r\n",
            "MSG a 1 0\r\n\r\n",
            "PUB\r\n",
            "PUB \r\n",
            "SUB\r\n",
            "SUB \r\n",
            "UNSUB\r\n",
            "UNSUB \r\n",
            "HPUB \r\n",
            "CONNECT\r\n",
            "CONNECT \r\n",
            "CONNECT{}\r\n",
            "CONNECT []\r\n",
            "GET / HTTP/1.1\r\n",
            "PIN\r\n",
            "PUBS a 0\r\n\r\n",
            "PO\r\n",
            "SUBa 1\r\n",
            "P\r\n",
            "U\r\n",
            "C\r\n",
            "H\r\n",
            "-\r\n",
            "+\r\n",
            "SUB a\r\r\n",
            "SUB a 1 2 3\r\n",
            "UNSUB 1 2 3\r\n",
            "PUB a b c 1\r\nx\r\n",
            "RS+ $G a\r\n",
            "PING\r\r\n",
            "PONG",
            "PING\0\r\n",
            "INFO {\"a\":1}\n",
            "+OK\n",
            "UNSUB 1\r\r\n",
            "pub a 0\n\r\n",
        ];
        match self.rng.random_range(0..10) {
            0 => {
                let count = self.one_of(&[100, 119, 120, 121, 600, 4090, 4097, 5000, 70000]);
                let op =
                    self.one_of(&["SUB ", "PUB ", "CONNECT ", "INFO ", "PING", "UNSUB ", "+OK "]);
                let mut line = op.as_bytes().to_vec();
                line.extend(std::iter::repeat_n(b'a', count));
                let end = self.one_of(&[" 1\r\n", " 1\n", "", "\r\n"]);
                line.extend_from_slice(end.as_bytes());
                line
            }
            _ => self.one_of(&odd).as_bytes().to_vec(),
        }
    }

    fn case(&mut self, op: &str) -> String {
        match self.rng.random_range(0..12) {
            0 => op.to_lowercase(),
            1 => op
                .chars()
                .map(|c| if self.chance(50) { c.to_ascii_lowercase() } else { c })
                .collect(),
            _ => op.to_owned(),
        }
    }

    /// What stands between arguments.
    fn gap(&mut self) -> &'static str {
        match self.rng.random_range(0..25) {
            0 => "  ",
            1 => "\t",
            2 => " \t ",
            _ => " ",
        }
    }

    fn end(&mut self) -> &'static str {
        match self.rng.random_range(0..25) {
            0 => "\n",
            1 => " \r\n",
            2 => "\t\r\n",
            _ => "\r\n",
        }
    }

    fn join(&mut self, words: &[&str]) -> String {
        if std::mem::take(&mut self.tidy) {
            return words.join(" ") + "\r\n";
        }
        let mut line = String::new();
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                line.push_str(self.gap());
            }
            line.push_str(word);
        }
        line + self.end()
    }

    fn subject(&mut self) -> String {
        const TOKENS: &[&str] = &["a", "a", "b", "b", "c", "foo", "*", ">", "x", "d"];
        const STRANGE: &[&str] = &[
            "$SYS.REQ.SERVER.PING",
            "$SYS",
            "a..b",
            ".a",
            "a.",
            "*a",
            "a*",
            "a.>.b",
            ">.a",
            "a.>b",
            "$JS.API.INFO",
            "$GNR.x",
            "$GR.x",
            "_GR_.",
            "$NRG",
            "_GR_.x",
            "$NRG.x",
            "_R_.x",
            "_INBOX.a",
            "_INBOX.*",
            "é.ü",
            "\u{ff}",
            "a.*.>",
            "${reply}",
            ".",
            "a.b.c.d.e.f",
            "$SYS.>",
        ];
        if !self.scene.subjects.is_empty() && self.chance(45) {
            return self.one_of(self.scene.subjects).to_owned();
        }
        if self.chance(12) {
            return self.one_of(STRANGE).to_owned();
        }
        let count = self.one_of(&[1, 1, 2, 2, 3]);
        (0..count).map(|_| self.one_of(TOKENS)).collect::<Vec<_>>().join(".")
    }

    fn literal(&mut self) -> String {
        match self.chance(90) {
            true => self.subject().replace('*', "a").replace('>', "b"),
            false => self.subject(),
        }
    }

    fn group(&mut self) -> String {
        self.groups += 1;
        match self.rng.random_range(0..12) {
            0 => "q1".to_owned(),
            1 => "q.a".to_owned(),
            2 => "_sys_".to_owned(),
            _ => format!("q{}", self.groups + 10),
        }
    }

    fn sid(&mut self) -> &'static str {
        self.one_of(&["1", "2", "3", "4", "1", "2", "abc", "é", "$1", "00", "9999999999"])
    }

    fn subscribe(&mut self) -> Bytes {
        let (op, subject, sid) = (self.case("SUB"), self.subject(), self.sid());
        match self.chance(20) {
            true => {
                let group = self.group();
                self.join(&[&op, &subject, &group, sid]).into_bytes()
            }
            false => self.join(&[&op, &subject, sid]).into_bytes(),
        }
    }

    fn unsubscribe(&mut self) -> Bytes {
        let (op, sid) = (self.case("UNSUB"), self.sid());
        let max =
            self.one_of(&["", "", "1", "2", "0", "-1", "x", "3", "05", "999999999", "9999999999"]);
        match max {
            "" => self.join(&[&op, sid]).into_bytes(),
            _ => self.join(&[&op, sid, max]).into_bytes(),
        }
    }

    /// A size as written: nearly always the true one.
    fn size(&mut self, size: usize) -> String {
        match self.rng.random_range(0..40) {
            0 | 1 if !self.scene.routed => {
                self.tidy = true;
                self.one_of(&[format!("0{size}"), format!("{size:09}")])
            }
            2 => format!("{size:010}"),
            3 => self
                .one_of(&[
                    "-1",
                    "+1",
                    "x",
                    "1x",
                    "1.0",
                    "999999999",
                    "1048577",
                    "4294967296",
                    "99999999999999999999",
                ])
                .to_owned(),
            4 => (size + 1).to_string(),
            5 => size.saturating_sub(1).to_string(),
            _ => size.to_string(),
        }
    }

    fn payload(&mut self) -> Bytes {
        match self.rng.random_range(0..12) {
            0..3 => Vec::new(),
            3 => b"PING\r\n".to_vec(),
            4 => {
                let size = self.one_of(&[30, 31, 32, 33, 39, 40, 41, 500, 4096, 20000, 70000]);
                vec![b'p'; size]
            }
            5 => vec![0, 0xff, b'\r', b'\n'],
            _ => b"hello".to_vec(),
        }
    }

    fn reply(&mut self) -> String {
        match self.rng.random_range(0..10) {
            0..5 => String::new(),
            5 => self.subject(),
            6 => {
                self.one_of(&["$JS.ACK.a", "_R_.a", "_GR_.a", "_R_.", "$GR.a", "+", "|"]).to_owned()
            }
            7 => "_INBOX.a".to_owned(),
            _ => self.literal(),
        }
    }

    fn publish(&mut self) -> Bytes {
        let (op, subject, reply) = (self.case("PUB"), self.literal(), self.reply());
        let subject = if self.chance(8) { "${reply}".to_owned() } else { subject };
        let payload = self.payload();
        let size = self.size(payload.len());
        let line = match reply.is_empty() {
            true => self.join(&[&op, &subject, &size]),
            false => self.join(&[&op, &subject, &reply, &size]),
        };
        self.with_body(line, &payload)
    }

    fn with_body(&mut self, line: String, payload: &[u8]) -> Bytes {
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(payload);
        let end = match self.rng.random_range(0..40) {
            0 => "\n",
            1 => "",
            2 => "\r",
            3 => "x\r\n",
            _ => "\r\n",
        };
        bytes.extend_from_slice(end.as_bytes());
        bytes
    }

    fn headers(&mut self) -> Bytes {
        let blocks = [
            "NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n\r\n",
            "NATS/1.0\r\nA: b\r\nB:c\r\n\r\n",
            "NATS/1.0 503\r\n\r\n",
            "NATS/1.0\r\nNats-Trace-Dest: a\r\n\r\n",
            "NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
            "",
            "NATS/1.0",
            "NATS/1.0\r\nA\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "nats/1.0\r\n\r\n",
            "NATS/1.0\n\n",
            "\0",
            "NATS/1.0\r\nNats-Trace-Dest: trace.x\r\nNats-Trace-Only: true\r\n\r\n",
        ];
        self.one_of(&blocks).as_bytes().to_vec()
    }

    fn publish_with_headers(&mut self) -> Bytes {
        let (op, subject, reply) = (self.case("HPUB"), self.literal(), self.reply());
        let headers = self.headers();
        let body = [headers.clone(), self.payload()].concat();
        let (header_size, size) = (self.size(headers.len()), self.size(body.len()));
        let line = match reply.is_empty() {
            true => self.join(&[&op, &subject, &header_size, &size]),
            false => self.join(&[&op, &subject, &reply, &header_size, &size]),
        };
        self.with_body(line, &body)
    }

    fn connect(&mut self) -> Bytes {
        let mut fields: Vec<String> = Vec::new();
        for key in ["verbose", "pedantic", "echo", "headers", "no_responders"] {
            let usual = match key {
                "verbose" | "pedantic" => "false",
                _ => "true",
            };
            match self.rng.random_range(0..20) {
                0 => {}
                1 | 2 => fields.push(format!("\"{key}\":true")),
                3 => fields.push(format!("\"{key}\":false")),
                _ => fields.push(format!("\"{key}\":{usual}")),
            }
        }
        if !self.scene.credentials.is_empty() && self.chance(92) {
            fields.push(self.one_of(self.scene.credentials).to_owned());
        }
        if self.chance(30) {
            fields.push(format!(
                "\"protocol\":{}",
                self.one_of(&["0", "1", "2", "-1", "1.0", "\"1\"", "1e0"])
            ));
        }
        if self.chance(15) {
            for _ in 0..self.rng.random_range(1..4) {
                let field = self.strange_field();
                let at = self.rng.random_range(0..=fields.len());
                fields.insert(at, field);
            }
        }
        let op = self.case("CONNECT");
        let json = format!("{{{}}}", fields.join(if self.chance(10) { " , " } else { "," }));
        let end = self.end();
        let after = match self.rng.random_range(0..60) {
            0 => " x",
            1 => "}",
            2 => " {}",
            3 => "  ",
            _ => "",
        };
        format!("{op} {json}{after}{end}").into_bytes()
    }

    fn strange_field(&mut self) -> String {
        const KEYS: &[&str] = &[
            "verbose",
            "pedantic",
            "echo",
            "tls_required",
            "headers",
            "no_responders",
            "user",
            "pass",
            "auth_token",
            "name",
            "lang",
            "version",
            "protocol",
            "jwt",
            "sig",
            "account",
            "new_account",
            "NAME",
            "Verbose",
            "unknown",
            "proxy_sig",
            "",
            "vERBOSE",
        ];
        const VALUES: &[&str] = &[
            "true",
            "false",
            "null",
            "0",
            "1",
            "\"x\"",
            "\"\"",
            "\"é\"",
            "\"\\u00e9\"",
            "\"<&>\"",
            "[]",
            "{}",
            "[1]",
            "{\"a\":1}",
            "1.5",
            "\"true\"",
            "-1",
            "99999999999999999999",
            "\"a b\"",
            "\"a\\nb\"",
            "\"\u{7f}\"",
            "tru",
        ];
        format!("\"{}\":{}", self.one_of(KEYS), self.one_of(VALUES))
    }

    fn handshake(&mut self, number: u8) -> Bytes {
        // Only a server with a pool is told of one.
        let pooled = !self.scene.config.contains("pool_size: -1");
        let pool = match pooled {
            true => self.one_of(&[
                "",
                ",\"route_pool_size\":3,\"route_pool_idx\":0",
                ",\"route_pool_size\":3,\"route_pool_idx\":1",
                ",\"route_account\":\"A\",\"route_pool_size\":3",
            ]),
            false => "",
        };
        let verbose = self.one_of(&["false", "false", "false", "true"]);
        let headers = self.one_of(&["true", "true", "true", "false"]);
        let cluster = self.one_of(&["C1", "C1", "C1", "C1", "C1", "C1", "C1", "C1", "C2", ""]);
        format!(
            "CONNECT {{\"echo\":true,\"verbose\":{verbose},\"pedantic\":false,\"tls_required\":false,\"headers\":{headers},\"name\":\"P{number}\",\"cluster\":\"{cluster}\"}}\r\n\
             INFO {{\"server_id\":\"P{number}\",\"server_name\":\"p{number}\",\"version\":\"2.15.1\",\"proto\":1,\"host\":\"127.0.0.1\",\"port\":1,\"headers\":{headers},\"max_payload\":1048576,\"cluster\":\"{cluster}\"{pool}}}\r\n"
        )
        .into_bytes()
    }

    fn peer_line(&mut self) -> Bytes {
        match self.rng.random_range(0..100) {
            0..30 => self.interest(),
            30..42 => self.no_interest(),
            42..65 => self.routed_message(),
            65..82 => self.routed_message_with_headers(),
            _ => self.odd_peer_line(),
        }
    }

    fn account(&mut self) -> String {
        match self.chance(95) {
            true => self.one_of(self.scene.accounts).to_owned(),
            false => self.one_of(&["$G", "X", "$SYS", ""]).to_owned(),
        }
    }

    fn interest(&mut self) -> Bytes {
        let (op, account, subject) = (self.case("RS+"), self.account(), self.subject());
        match self.chance(30) {
            true => {
                let group = self.group();
                // A weight below 1 is none in 2.15.1, but 1 in 2.15.2 and in natsd.
                let weight = self.one_of(&["1", "1", "2", "01", "999999999"]);
                self.join(&[&op, &account, &subject, &group, weight]).into_bytes()
            }
            false => self.join(&[&op, &account, &subject]).into_bytes(),
        }
    }

    fn no_interest(&mut self) -> Bytes {
        let (op, account, subject) = (self.case("RS-"), self.account(), self.subject());
        match self.chance(20) {
            true => {
                let group = self.group();
                self.join(&[&op, &account, &subject, &group]).into_bytes()
            }
            false => self.join(&[&op, &account, &subject]).into_bytes(),
        }
    }

    /// Nothing, a reply, groups, or both.
    fn routed_tail(&mut self) -> Vec<String> {
        let (reply, group) = (self.literal(), self.group());
        match self.rng.random_range(0..8) {
            0..4 => Vec::new(),
            4 | 5 => vec![reply],
            6 => vec!["+".to_owned(), reply, group],
            _ => vec!["|".to_owned(), group],
        }
    }

    fn routed_message(&mut self) -> Bytes {
        let payload = self.payload();
        let mut words = vec![self.case("RMSG"), self.account(), self.literal()];
        words.extend(self.routed_tail());
        words.push(self.size(payload.len()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let line = self.join(&words);
        self.with_body(line, &payload)
    }

    fn routed_message_with_headers(&mut self) -> Bytes {
        let headers = self.headers();
        let body = [headers.clone(), self.payload()].concat();
        let mut words = vec![self.case("HMSG"), self.account(), self.literal()];
        words.extend(self.routed_tail());
        words.push(self.size(headers.len()));
        words.push(self.size(body.len()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let line = self.join(&words);
        self.with_body(line, &body)
    }

    /// Nothing about servers that are nowhere: nats-server hangs for good when a peer goes while
    /// it dials one that has no address.
    fn odd_peer_line(&mut self) -> Bytes {
        let odd = [
            "PING\r\n",
            "PONG\r\n",
            "PING x\r\n",
            "+OK\r\n",
            "-ERR 'x'\r\n",
            "A+ $G\r\n",
            "A- $G\r\n",
            "A+\r\n",
            "A\r\n",
            "A+ a b\r\n",
            "LS+ L $G a\r\n",
            "LS- $G a\r\n",
            "LS+ a\r\n",
            "LS+ L $G a q 1\r\n",
            "LS+\r\n",
            "LMSG L $G a 1\r\nx\r\n",
            "LMSG $G a 1\r\nx\r\n",
            "RS+\r\n",
            "RS- \r\n",
            "RS\r\n",
            "RS+ $G\r\n",
            "RS- $G\r\n",
            "RS+ $G a q\r\n",
            "RS+ $G a q 1 2\r\n",
            "RS- $G a q 1\r\n",
            "RMSG $G a\r\n",
            "RMSG\r\n",
            "RMSG $G a + 1\r\nx\r\n",
            "RMSG $G a | 1\r\nx\r\n",
            "RMSG $G a + r 1\r\nx\r\n",
            "RMSG $G a r s 1\r\nx\r\n",
            "HMSG $G a 1\r\nx\r\n",
            "SUB a 1\r\n",
            "UNSUB 1\r\n",
            "MSG a 1 0\r\n\r\n",
            "\r\n",
            "CONNECT {}\r\n",
            "INFO {}\r\n",
            "INFO\r\n",
            "RX\r\n",
            "L\r\n",
            "LX\r\n",
            "LS\r\n",
            "HMSG\r\n",
            "INFO {\"server_id\":\"P1\",\"server_name\":\"p1\",\"ldm\":true}\r\n",
        ];
        match self.chance(5) {
            true => {
                let count = self.one_of(&[4090, 4097, 65530, 70000]);
                let op = self.one_of(&["RS+ $G ", "RMSG $G ", "INFO ", "PING"]);
                let end = self.one_of(&["\r\n", " 1\r\n", ""]);
                format!("{op}{}{end}", "a".repeat(count)).into_bytes()
            }
            false => self.one_of(&odd).as_bytes().to_vec(),
        }
    }
}
