//! What clients may say, what they must not, and noise.

use rand::RngExt;

use super::{Bytes, Writer};

impl Writer<'_> {
    pub(super) fn client_line(&mut self) -> Bytes {
        match self.rng.random_range(0..100) {
            0..28 => self.subscribe(),
            28..38 => self.unsubscribe(),
            38..65 => self.publish(),
            65..82 => self.publish_with_headers(),
            82..87 => self.connect(),
            _ => self.odd_line(),
        }
    }

    pub(super) fn odd_line(&mut self) -> Bytes {
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

    pub(super) fn subscribe(&mut self) -> Bytes {
        let (op, subject, sid) = (self.case("SUB"), self.subject(), self.sid());
        match self.chance(20) {
            true => {
                let group = self.group();
                self.join(&[&op, &subject, &group, sid]).into_bytes()
            }
            false => self.join(&[&op, &subject, sid]).into_bytes(),
        }
    }

    pub(super) fn unsubscribe(&mut self) -> Bytes {
        let (op, sid) = (self.case("UNSUB"), self.sid());
        let max =
            self.one_of(&["", "", "1", "2", "0", "-1", "x", "3", "05", "999999999", "9999999999"]);
        match max {
            "" => self.join(&[&op, sid]).into_bytes(),
            _ => self.join(&[&op, sid, max]).into_bytes(),
        }
    }

    pub(super) fn publish(&mut self) -> Bytes {
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

    pub(super) fn publish_with_headers(&mut self) -> Bytes {
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

    pub(super) fn connect(&mut self) -> Bytes {
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

    pub(super) fn strange_field(&mut self) -> String {
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
            "import",
            "remote_account",
            "verbo\u{17f}e",
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
            "1e999",
            "\"\\ud800\"",
            "{\"allow\":null}",
        ];
        format!("\"{}\":{}", self.one_of(KEYS), self.one_of(VALUES))
    }

    pub(super) fn with_body(&mut self, line: String, payload: &[u8]) -> Bytes {
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
}
