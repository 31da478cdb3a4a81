//! Writes stories, in the words of `client` and `peer`.

mod client;
mod peer;

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
}
