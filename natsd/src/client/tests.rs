use std::io::{self, IoSlice};

use parking_lot::Mutex;

use super::*;
use crate::config::Config;
use crate::outbound::Sink;
use crate::protocol::info::Info;

/// A peer on paper: what the server writes to it is kept.
#[derive(Default)]
struct Paper(Mutex<Vec<u8>>);

impl Sink for Paper {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut seen = self.0.lock();
        slices.iter().for_each(|slice| seen.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

struct Peer {
    client: Client,
    paper: Arc<Paper>,
    publisher: Publisher,
}

impl Peer {
    fn connect(node: &Arc<Node>) -> Self {
        let paper = Arc::new(Paper::default());
        let sink = Arc::clone(&paper) as Arc<dyn Sink>;
        let outbound = Arc::new(Outbound::new(node.next_id(), sink, 1 << 20));
        let address = "127.0.0.1:1".parse().unwrap();
        let client = Client::new(Arc::clone(node), address, outbound);
        let mut peer = Self { client, paper, publisher: Publisher::new(1) };
        peer.client.on_begin();
        peer.client.on_open(&mut peer.publisher).unwrap();
        peer.say("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n");
        peer.heard();
        peer
    }

    fn try_say(&mut self, text: &str) -> Result<(), CloseReason> {
        self.publisher.begin_turn();
        let result = self.client.on_bytes(text.as_bytes(), None, &mut self.publisher);
        let result = result.and_then(|()| self.client.finish(&mut self.publisher));
        self.publisher.flush();
        result
    }

    fn say(&mut self, text: &str) {
        self.try_say(text).unwrap();
    }

    fn heard(&self) -> String {
        self.client.outbound().flush();
        String::from_utf8(std::mem::take(&mut *self.paper.0.lock())).unwrap()
    }
}

fn node() -> Arc<Node> {
    Node::on_paper(Config::default())
}

#[tokio::test]
async fn any_cut_of_the_bytes_gives_the_same_answer() {
    let input = "SUB a.* 1\r\nPUB a.b 5\r\nhello\r\nPUB a.b 5\r\nworld\r\nHPUB a.c r 12 14\r\n\
                 NATS/1.0\r\n\r\nhi\r\nUNSUB 1 4\r\nPUB a.b 0\r\n\r\nPUB a.b 0\r\n\r\nPING\r\n";
    let expected = "MSG a.b 1 5\r\nhello\r\nMSG a.b 1 5\r\nworld\r\nHMSG a.c 1 r 12 14\r\n\
                    NATS/1.0\r\n\r\nhi\r\nMSG a.b 1 0\r\n\r\nPONG\r\n";
    for cut in 1..input.len() {
        let mut peer = Peer::connect(&node());
        peer.say(&input[..cut]);
        peer.say(&input[cut..]);
        assert_eq!(peer.heard(), expected, "cut at {cut}");
    }
    let mut peer = Peer::connect(&node());
    for index in 0..input.len() {
        peer.say(&input[index..=index]);
    }
    assert_eq!(peer.heard(), expected, "byte by byte");
}

#[tokio::test]
async fn nobody_listens() {
    let mut peer = Peer::connect(&node());
    peer.say("SUB _INBOX.x 9\r\nPUB svc.none _INBOX.x 2\r\nhi\r\n");
    assert_eq!(
        peer.heard(),
        "HMSG _INBOX.x 9 40 40\r\nNATS/1.0 503\r\nNats-Subject: svc.none\r\n\r\n\r\n"
    );
}

#[tokio::test]
async fn a_message_goes_to_all_plain_and_one_of_each_group() {
    let node = node();
    let mut publisher = Peer::connect(&node);
    let mut members = [(); 3].map(|()| Peer::connect(&node));
    let mut plain = Peer::connect(&node);
    plain.say("SUB jobs 1\r\n");
    for member in &mut members {
        member.say("SUB jobs q 1\r\n");
    }
    for _ in 0..300 {
        publisher.say("PUB jobs 1\r\nx\r\n");
    }
    let count = |peer: &Peer| peer.heard().matches("MSG jobs 1 1\r\nx\r\n").count();
    assert_eq!(count(&plain), 300);
    let shares = members.each_ref().map(count);
    assert_eq!(shares.iter().sum::<usize>(), 300);
    assert!(shares.iter().all(|&share| share > 50), "{shares:?}");
}

#[tokio::test]
async fn an_unsubscribed_client_gets_nothing_even_from_a_cached_match() {
    let node = node();
    let mut publisher = Peer::connect(&node);
    let mut subscriber = Peer::connect(&node);
    subscriber.say("SUB a 1\r\n");
    publisher.say("PUB a 1\r\nx\r\n");
    subscriber.say("UNSUB 1\r\n");
    publisher.say("PUB a 1\r\ny\r\n");
    assert_eq!(subscriber.heard(), "MSG a 1 1\r\nx\r\n");
}

#[tokio::test]
async fn echo_can_be_switched_off() {
    let mut peer = Peer::connect(&node());
    peer.say("CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\nSUB a 1\r\nPUB a 0\r\n\r\n");
    assert_eq!(peer.heard(), "");
}

#[tokio::test]
async fn errors_that_close() {
    for (input, reason, text) in [
        ("XYZ", CloseReason::ProtocolViolation, "-ERR 'Unknown Protocol Operation'\r\n"),
        (
            "PUB a 9999999\r\n",
            CloseReason::MaxPayloadExceeded,
            "-ERR 'Maximum Payload Violation'\r\n",
        ),
        ("PUB a\r\n", CloseReason::ProtocolViolation, ""),
        ("CONNECT {\r\n", CloseReason::ProtocolViolation, ""),
        (
            "CONNECT {\"protocol\":2}\r\n",
            CloseReason::BadClientProtocolVersion,
            "-ERR 'invalid client protocol'\r\n",
        ),
    ] {
        let mut peer = Peer::connect(&node());
        assert_eq!(peer.try_say(input), Err(reason), "{input:?}");
        assert_eq!(peer.heard(), text, "{input:?}");
    }
}

#[tokio::test]
async fn large_bodies_are_shared_and_arrive_whole() {
    let node = node();
    let mut publisher = Peer::connect(&node);
    let mut subscribers = [Peer::connect(&node), Peer::connect(&node)];
    for subscriber in &mut subscribers {
        subscriber.say("SUB big 1\r\n");
    }
    let body = "0123456789abcdef".repeat(4096);
    let frame = format!("PUB big {}\r\n{body}\r\n", body.len());
    publisher.say(&frame);
    for part in frame.as_bytes().chunks(10_000) {
        publisher.say(std::str::from_utf8(part).unwrap());
    }
    let expected = format!("MSG big 1 {}\r\n{body}\r\n", body.len()).repeat(2);
    for subscriber in &subscribers {
        assert!(subscriber.heard() == expected);
    }
}

#[tokio::test]
async fn a_turn_ends_and_the_rest_waits_in_order() {
    let node = node();
    let mut peer = Peer::connect(&node);
    let mut subscriber = Peer::connect(&node);
    subscriber.say(&(0..100).map(|sid| format!("SUB a {sid}\r\n")).collect::<String>());
    let messages = 3000;
    let input: String = (0..messages).map(|number| format!("PUB a 4\r\n{number:04}\r\n")).collect();
    let Peer { client, publisher, .. } = &mut peer;
    publisher.begin_turn();
    client.on_bytes(input.as_bytes(), None, publisher).unwrap();
    assert!(client.left() > 0, "300,000 deliveries take longer than a turn");
    let mut turns = 1;
    client.on_bytes(b"PING\r\n", None, publisher).unwrap();
    while client.left() > 0 {
        publisher.begin_turn();
        let before = client.left();
        client.go_on(publisher).unwrap();
        assert!(client.left() < before, "each turn brings it on");
        turns += 1;
    }
    assert!(turns > 1 && peer.heard() == "PONG\r\n", "{turns} turns, then what came meanwhile");
    let numbers: Vec<String> = (0..messages).map(|number| format!("{number:04}")).collect();
    let heard = subscriber.heard();
    let of_first = heard.split("MSG a 7 4\r\n").skip(1).filter_map(|text| text.get(..4));
    assert!(of_first.eq(numbers.iter().map(String::as_str)), "all, in order");
}

#[tokio::test]
async fn many_subscriptions_end_in_steps() {
    let node = node();
    let mut peer = Peer::connect(&node);
    let mut other = Peer::connect(&node);
    other.say("SUB a.0 1\r\n");
    let count = 2 * LEAVING_AT_ONCE + 1;
    let subscribe: String = (0..count).map(|sid| format!("SUB a.{} {sid}\r\n", sid % 3)).collect();
    peer.say(&subscribe);
    let account = Arc::clone(&peer.client.account);
    assert_eq!(account.subscriptions(), count + 1);
    let Peer { client, publisher, .. } = &mut peer;
    client.on_close(CloseReason::ClientClosed, publisher);
    assert_eq!(account.subscriptions(), count + 1 - LEAVING_AT_ONCE);
    assert!(client.wind_down(publisher), "there is more to do");
    assert!(!client.wind_down(publisher), "there is no more to do");
    assert_eq!(account.subscriptions(), 1, "that of the other client");
}

#[tokio::test]
async fn a_further_connect_ends_many_subscriptions_in_steps() {
    let node = node();
    let mut peer = Peer::connect(&node);
    let count = 2 * LEAVING_AT_ONCE + 1;
    peer.say(&(0..count).map(|sid| format!("SUB a {sid}\r\n")).collect::<String>());
    let account = Arc::clone(&peer.client.account);
    let input = "CONNECT {\"verbose\":true}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n";
    for cut in [input.len(), 10] {
        let Peer { client, publisher, .. } = &mut peer;
        publisher.begin_turn();
        client.on_bytes(&input.as_bytes()[..cut], None, publisher).unwrap();
        client.on_bytes(&input.as_bytes()[cut..], None, publisher).unwrap();
        assert_eq!(account.subscriptions(), count - LEAVING_AT_ONCE);
        client.go_on(publisher).unwrap();
        assert_eq!((account.subscriptions(), client.left()), (1, input.len()));
        client.go_on(publisher).unwrap();
        assert_eq!((account.subscriptions(), client.left()), (1, 0), "the new one");
        assert_eq!(peer.heard(), "+OK\r\n+OK\r\n+OK\r\nMSG a 1 1\r\nx\r\n");
        peer.say("CONNECT {\"verbose\":false}\r\n");
        peer.say(&(0..count).map(|sid| format!("SUB a {sid}\r\n")).collect::<String>());
    }
    let Peer { client, publisher, .. } = &mut peer;
    client.on_bytes(input.as_bytes(), None, publisher).unwrap();
    client.on_close(CloseReason::ClientClosed, publisher);
    while client.wind_down(publisher) {}
    assert_eq!(account.subscriptions(), 0, "an end in between leaves none behind");
}

#[tokio::test]
async fn a_further_connect_that_cannot_be_read_ends_no_subscription() {
    let node = node();
    let mut peer = Peer::connect(&node);
    peer.say("SUB a 1\r\n");
    assert!(peer.try_say("CONNECT {\"protocol\":1.5}\r\n").is_err());
    assert_eq!(peer.client.account.subscriptions(), 1, "it is counted with the connection");
}

#[tokio::test]
async fn a_search_that_finds_nobody_counts_for_the_turn() {
    let node = node();
    let mut peer = Peer::connect(&node);
    let pattern = |number: usize| {
        let tokens = (0..12).map(|bit| if number >> bit & 1 == 1 { "*." } else { "a." });
        format!("SUB {}x {number}\r\n", tokens.collect::<String>())
    };
    peer.say(&(0..1 << 12).map(pattern).collect::<String>());
    let subject = "a.".repeat(12);
    let input: String =
        (0..1000).map(|number| format!("PUB {subject}{number} 1\r\nx\r\n")).collect();
    let Peer { client, publisher, .. } = &mut peer;
    publisher.begin_turn();
    client.on_bytes(input.as_bytes(), None, publisher).unwrap();
    assert!(client.left() > 0, "8,000,000 steps take longer than a turn");
}

mod security;
