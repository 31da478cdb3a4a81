//! The system account without sockets: a subscriber on paper asks and hears.

use std::io::{self, IoSlice};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::account::{LocalTarget, Subscriber, Subscription, Target};
use crate::claims::Clerk;
use crate::close::CloseReason;
use crate::config::Config;
use crate::outbound::{Outbound, Sink};
use crate::ports_file::Listening;
use crate::registry::{About, ClientEntry, ClosedClient};
use crate::router::Asker;

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

/// A client of whom nothing is told to other accounts.
struct Nobody;

impl Asker for Nobody {
    fn describe(&self, _account: &str, _share: bool) -> String {
        String::new()
    }

    fn rtt(&self) -> Duration {
        Duration::ZERO
    }
}

struct Scene {
    node: Arc<Node>,
    system: Arc<System>,
    orders: mpsc::Receiver<Order>,
    paper: Arc<Paper>,
    subscriber: Arc<Subscriber>,
}

impl Scene {
    /// A server without a cluster, and a client in its system account that hears `pattern`.
    fn hearing(pattern: &str) -> Self {
        let node = Node::on_paper(Config::default());
        let client = "127.0.0.1:4222".parse().unwrap();
        let listening = Listening {
            client,
            cluster: None,
            monitor: None,
            websocket: None,
            secure: crate::ports_file::Secure::default(),
        };
        let monitor = Arc::new(Monitor::new(Arc::clone(&node), None, listening));
        let (orders_in, orders) = mpsc::channel(1);
        let (system, _task) = System::start(
            monitor,
            orders_in,
            Clerk::new(Arc::clone(&node), None, Box::new(|_| {})),
        );
        let paper = Arc::new(Paper::default());
        let sink = Arc::clone(&paper) as Arc<dyn Sink>;
        let outbound = Arc::new(Outbound::new(node.next_id(), sink, 1 << 20));
        let subscriber = Arc::new(Subscriber::new(outbound));
        let scene = Self { node, system, orders, paper, subscriber };
        scene.hear(&scene.system.account, pattern);
        scene
    }

    fn hear(&self, account: &Arc<Account>, pattern: &str) {
        let subscription = Arc::new(Subscription {
            pattern: pattern.as_bytes().into(),
            queue: None,
            target: Target::Local(LocalTarget::new(Arc::clone(&self.subscriber), b"1")),
        });
        with_publisher(|publisher| account.subscribe(&subscription, publisher));
    }

    fn say(&self, account: &Arc<Account>, subject: &str, reply: &str, payload: &str, from: u64) {
        let body = format!("{payload}\r\n").into_bytes();
        let message = Message {
            subject: subject.as_bytes(),
            reply: reply.as_bytes(),
            header_len: 0,
            body: &body,
            tail: &[],
            shared: None,
        };
        let mut matches = Matches::default();
        matches.take(account, message.subject);
        let origin = Origin::Client { id: from, echo: true, asker: &Nobody };
        with_publisher(|publisher| publisher.publish(account, &message, &matches, origin));
    }

    /// Subject and document of the next message.
    async fn heard(&self) -> (String, Value) {
        let wait = async {
            loop {
                let text = String::from_utf8(std::mem::take(&mut *self.paper.0.lock())).unwrap();
                if let Some((line, body)) = text.split_once("\r\n") {
                    let subject = line.split(' ').nth(1).unwrap().to_owned();
                    return (subject, serde_json::from_str(body.trim_end()).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("an answer")
    }

    async fn ask(&self, subject: &str, payload: &str) -> Value {
        self.say(&self.system.account, subject, "r", payload, 0);
        self.heard().await.1
    }

    fn arrive(&self) -> Arc<ClientEntry> {
        let sink = Arc::new(Paper::default()) as Arc<dyn Sink>;
        let outbound = Arc::new(Outbound::new(self.node.next_id(), sink, 1 << 20));
        let subscriber = Arc::new(Subscriber::new(outbound));
        let id = subscriber.outbound.id;
        let client = Arc::new(ClientEntry::new(id, "10.0.0.1:5".parse().unwrap(), subscriber));
        self.node.registry.add(&client);
        self.node.registry.connected(&client);
        client
    }
}

#[tokio::test]
async fn documents_come_in_an_envelope_signed_by_the_server() {
    let scene = Scene::hearing("r");
    let answer = scene.ask("$SYS.REQ.SERVER.PING.VARZ", "").await;
    assert_eq!(answer["server"]["id"], "NTEST");
    assert_eq!(answer["server"]["seq"], 1);
    assert_eq!(answer["data"]["server_name"], "test");
    let answer = scene.ask("$SYS.REQ.SERVER.NTEST.IDZ", "").await;
    assert_eq!(answer, json!({"name": "test", "host": "0.0.0.0", "id": "NTEST"}));
    let answer = scene.ask("$SYS.REQ.ACCOUNT.$G.INFO", "").await;
    assert_eq!(answer["data"]["account_name"], "$G");
}

#[tokio::test]
async fn what_cannot_be_answered_is_an_error() {
    let scene = Scene::hearing("r");
    for (subject, payload, code) in [
        ("$SYS.REQ.SERVER.PING.CONNZ", r#"{"sort":"foo"}"#, 500),
        ("$SYS.REQ.SERVER.PING.VARZ", "{x", 400),
        ("$SYS.REQ.SERVER.NTEST.KICK", r#"{"cid":999}"#, 500),
    ] {
        assert_eq!(scene.ask(subject, payload).await["error"]["code"], code, "{subject}");
    }
}

#[tokio::test]
async fn without_a_resolver_jwts_are_refused() {
    let scene = Scene::hearing("r");
    for subject in ["$SYS.REQ.ACCOUNT.A.CLAIMS.UPDATE", "$SYS.ACCOUNT.A.CLAIMS.UPDATE"] {
        let answer = scene.ask(subject, "").await;
        let text = "jwt update error - request body is empty";
        let wanted = json!({"account": "A", "code": 500, "description": text});
        assert_eq!(answer["error"], wanted, "{subject}");
    }
}

#[tokio::test]
async fn requests_for_other_servers_get_no_answer() {
    let scene = Scene::hearing("r");
    let others = r#"{"server_name":"other"}"#;
    scene.say(&scene.system.account, "$SYS.REQ.SERVER.PING", "r", others, 0);
    // The next answer is that of the next request.
    let answer = scene.ask("$SYS.REQ.SERVER.PING", r#"{"server_name":"es"}"#).await;
    assert_eq!(answer["statsz"]["active_servers"], 1);
    assert_eq!(answer["server"]["seq"], 1);
}

#[tokio::test]
async fn a_kicked_client_is_gone_and_that_is_reported() {
    let scene = Scene::hearing("$SYS.ACCOUNT.$G.>");
    let client = scene.arrive();
    let (subject, event) = scene.heard().await;
    assert_eq!(subject, "$SYS.ACCOUNT.$G.CONNECT");
    assert_eq!(event["client"]["host"], "10.0.0.1");
    let kick = json!({"cid": client.id}).to_string();
    scene.say(&scene.system.account, "$SYS.REQ.SERVER.NTEST.KICK", "r", &kick, 0);
    while client.subscriber.outbound.closed().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.subscriber.outbound.closed(), Some(CloseReason::Kicked));
    scene.node.registry.remove(&client, CloseReason::Kicked);
    let (subject, event) = scene.heard().await;
    assert_eq!(subject, "$SYS.ACCOUNT.$G.DISCONNECT");
    assert_eq!(event["reason"], "Kicked");
}

#[tokio::test]
async fn how_many_clients_there_are_is_reported_before_who_came_and_went() {
    let scene = Scene::hearing("$SYS.ACCOUNT.$SYS.>");
    let sink = Arc::new(Paper::default()) as Arc<dyn Sink>;
    let outbound = Arc::new(Outbound::new(scene.node.next_id(), sink, 1 << 20));
    let subscriber = Arc::new(Subscriber::new(outbound));
    let address = "10.0.0.1:5".parse().unwrap();
    let client = Arc::new(ClientEntry::new(1, address, subscriber));
    let account = Some(Arc::clone(&scene.system.account));
    client.set_about(About { account, ..About::default() });
    scene.node.registry.add(&client);
    scene.system.report(&Event::Connected(Arc::clone(&client)));
    let closed = ClosedClient::new(client, CloseReason::ClientClosed);
    scene.system.report(&Event::Disconnected(Arc::new(closed)));
    let heard = String::from_utf8(std::mem::take(&mut *scene.paper.0.lock())).unwrap();
    let subjects: Vec<&str> = heard
        .lines()
        .filter_map(|line| line.strip_prefix("MSG $SYS.ACCOUNT.$SYS.")?.split(' ').next())
        .collect();
    assert_eq!(subjects, ["SERVER.CONNS", "CONNECT", "SERVER.CONNS", "DISCONNECT"]);
}

#[tokio::test]
async fn bad_credentials_are_reported_twice() {
    let scene = Scene::hearing("$SYS.SERVER.NTEST.CLIENT.AUTH.ERR");
    scene.hear(&scene.system.account, "$SYS.ACCOUNT.*.DISCONNECT");
    let client = scene.arrive();
    scene.node.registry.remove(&client, CloseReason::AuthenticationFailure);
    // Both may be on the paper by the time it is read: the first says enough.
    let (subject, event) = scene.heard_first().await;
    assert_eq!(subject, "$SYS.SERVER.NTEST.CLIENT.AUTH.ERR");
    assert_eq!(event, "Authentication Failure");
}

#[tokio::test]
async fn reload_is_the_business_of_the_server() {
    let mut scene = Scene::hearing("r");
    scene.say(&scene.system.account, "$SYS.REQ.SERVER.NTEST.RELOAD", "r", "", 0);
    let Some(Order::Reload(done)) = scene.orders.recv().await else { panic!("no order") };
    done.send(Err("no file".into())).unwrap();
    let (_, answer) = scene.heard().await;
    assert_eq!(answer["error"], json!({"code": 500, "description": "no file"}));
    assert_eq!(answer.get("data"), None);
}

#[tokio::test]
async fn ordinary_accounts_ask_about_themselves_only() {
    let scene = Scene::hearing("nothing");
    let global = Arc::clone(&scene.node.accounts.global);
    scene.hear(&global, "back");
    let client = scene.arrive();
    scene.say(&global, "$SYS.REQ.USER.INFO", "back", "", client.id);
    let (subject, who) = scene.heard().await;
    assert_eq!((subject.as_str(), &who["data"]["account"]), ("back", &json!("$G")));
    scene.say(&global, "$SYS.REQ.ACCOUNT.PING.CONNZ", "back", "", client.id);
    let (subject, connz) = scene.heard().await;
    assert_eq!((subject.as_str(), &connz["data"]["num_connections"]), ("back", &json!(1)));
    let mut nobody = Matches::default();
    nobody.take(&global, b"$SYS.REQ.SERVER.PING.VARZ");
    assert!(nobody.is_nobody());
}

impl Scene {
    /// Subject and reason of the first of several events.
    async fn heard_first(&self) -> (String, String) {
        loop {
            let text = String::from_utf8_lossy(&self.paper.0.lock()).into_owned();
            let reason = text.split(r#""reason":""#).nth(1).and_then(|rest| rest.split('"').next());
            if let Some(reason) = reason {
                return (text.split(' ').nth(1).unwrap().to_owned(), reason.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
