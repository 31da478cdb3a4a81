//! What peer servers may say, what they must not, and noise.

use rand::RngExt;

use super::{Bytes, Writer};

impl Writer<'_> {
    pub(super) fn handshake(&mut self, number: u8) -> Bytes {
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

    pub(super) fn peer_line(&mut self) -> Bytes {
        match self.rng.random_range(0..100) {
            0..30 => self.interest(),
            30..42 => self.no_interest(),
            42..65 => self.routed_message(),
            65..82 => self.routed_message_with_headers(),
            _ => self.odd_peer_line(),
        }
    }

    pub(super) fn account(&mut self) -> String {
        match self.chance(95) {
            true => self.one_of(self.scene.accounts).to_owned(),
            false => self.one_of(&["$G", "X", "$SYS", ""]).to_owned(),
        }
    }

    pub(super) fn interest(&mut self) -> Bytes {
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

    pub(super) fn no_interest(&mut self) -> Bytes {
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
    pub(super) fn routed_tail(&mut self) -> Vec<String> {
        let (reply, group) = (self.literal(), self.group());
        match self.rng.random_range(0..8) {
            0..4 => Vec::new(),
            4 | 5 => vec![reply],
            6 => vec!["+".to_owned(), reply, group],
            _ => vec!["|".to_owned(), group],
        }
    }

    pub(super) fn routed_message(&mut self) -> Bytes {
        let payload = self.payload();
        let mut words = vec![self.case("RMSG"), self.account(), self.literal()];
        words.extend(self.routed_tail());
        words.push(self.size(payload.len()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let line = self.join(&words);
        self.with_body(line, &payload)
    }

    pub(super) fn routed_message_with_headers(&mut self) -> Bytes {
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
    pub(super) fn odd_peer_line(&mut self) -> Bytes {
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
