//! Who gets in, and what they may do then.

use std::future::poll_fn;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::*;
use crate::account::Unheard;
use crate::client::consider::Step;
use crate::config::{
    Account, Auth, NkeyUser, Operators, PermissionSubject, Permissions, ResponsePermission,
    SubjectPermission, User,
};
use crate::trust::Trust;

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

fn with_users(users: Vec<User>) -> Config {
    Config { auth: Auth { users, ..Auth::default() }, ..Config::default() }
}

fn user(name: &str, password: &str) -> User {
    User { name: name.into(), password: password.into(), ..User::default() }
}

impl Peer {
    fn open(node: &Arc<Node>) -> (Self, Info) {
        let paper = Arc::new(Paper::default());
        let sink = Arc::clone(&paper) as Arc<dyn Sink>;
        let outbound = Arc::new(Outbound::new(node.next_id(), sink, 1 << 20));
        let client = Client::new(Arc::clone(node), "127.0.0.1:1".parse().unwrap(), outbound);
        let mut peer = Self { client, paper, publisher: Publisher::new(1) };
        peer.client.on_begin();
        peer.client.on_open(&mut peer.publisher).unwrap();
        let heard = peer.heard();
        let info = Info::parse(heard.strip_prefix("INFO ").unwrap().trim().as_bytes()).unwrap();
        (peer, info)
    }

    fn login(node: &Arc<Node>, user: &str, password: &str) -> Self {
        let (mut peer, _) = Self::open(node);
        peer.say(&connect(user, password));
        assert_eq!(peer.heard(), "");
        peer
    }
}

fn connect(user: &str, password: &str) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n"
    )
}

#[tokio::test]
async fn strangers_may_only_say_connect() {
    let node = Node::on_paper(with_users(vec![user("a", "pa")]));
    for input in
        ["PING\r\n", "SUB > 1\r\n", "PUB a 0\r\n\r\n", "x", "CONNECT {}\r\n", &connect("a", "no")]
    {
        let (mut peer, info) = Peer::open(&node);
        assert!(info.auth_required && info.nonce.is_empty());
        assert_eq!(peer.try_say(input), Err(CloseReason::AuthenticationFailure), "{input:?}");
        assert_eq!(peer.heard(), VIOLATION, "{input:?}");
        assert_eq!(node.accounts.global.subscriptions(), 0);
    }
    let mut peer = Peer::login(&node, "a", "pa");
    peer.say("PING\r\n");
    assert_eq!(peer.heard(), "PONG\r\n");
}

#[tokio::test]
async fn a_cut_connect_is_still_the_first_op() {
    let node = Node::on_paper(with_users(vec![user("a", "pa")]));
    let text = connect("a", "pa") + "PING\r\n";
    for cut in 1..text.len() {
        let (mut peer, _) = Peer::open(&node);
        peer.say(&text[..cut]);
        peer.say(&text[cut..]);
        assert_eq!(peer.heard(), "PONG\r\n", "cut at {cut}");
    }
}

#[tokio::test]
async fn the_log_names_who_was_let_in_by_what_was_said_first() {
    let node = Node::on_paper(with_users(vec![user("a", "pa")]));
    let said = |password: &str, name: &str| {
        let more = format!("\"lang\":\"t\",\"version\":\"1\",\"name\":\"{name}\",\"verbose\"");
        connect("a", password).replacen("\"verbose\"", &more, 1)
    };
    let (mut peer, _) = Peer::open(&node);
    peer.try_say(&said("wrong", "x")).unwrap_err();
    let bare = format!("127.0.0.1:1 - cid:{}", peer.client.entry.id);
    assert_eq!(peer.client.entry.label(), bare);
    let (mut peer, _) = Peer::open(&node);
    peer.say(&said("pa", "one \\\"day\\n"));
    let name = r#" - "v1:t:one \"day\n" - "$G/user:a""#;
    let label = format!("127.0.0.1:1 - cid:{}{name}", peer.client.entry.id);
    assert_eq!(peer.client.entry.label(), label);
    peer.say(&said("pa", "two"));
    assert_eq!(peer.client.entry.label(), label);
    assert_eq!(peer.client.entry.about().name, "two");
}

#[tokio::test]
async fn who_says_nothing_may_be_somebody() {
    let mut config = with_users(vec![user("a", "pa"), user("b", "pb")]);
    config.auth.no_auth_user = Some("a".into());
    let node = Node::on_paper(config);
    let (mut peer, info) = Peer::open(&node);
    assert!(!info.auth_required);
    peer.say("PING\r\n");
    assert_eq!(peer.heard(), "PONG\r\n");
    assert_eq!(peer.client.entry.about().user, "a");
    let (mut peer, _) = Peer::open(&node);
    assert!(peer.try_say(&connect("b", "x")).is_err());
}

#[tokio::test]
async fn a_hashed_password_makes_only_its_own_client_wait() {
    let hash = bcrypt::hash("pa", 4).unwrap();
    let node = Node::on_paper(with_users(vec![user("a", &hash)]));
    let (mut peer, _) = Peer::open(&node);
    peer.say(&(connect("a", "pa") + "SUB x 1\r\nPUB x 1\r\n1\r\n"));
    assert!(peer.client.is_waiting());
    assert_eq!(peer.heard(), "");
    poll_fn(|cx| peer.client.poll_answer(cx, &mut peer.publisher)).await.unwrap();
    peer.publisher.flush();
    assert_eq!(peer.heard(), "MSG x 1 1\r\n1\r\n");

    let (mut peer, _) = Peer::open(&node);
    peer.say(&(connect("a", "pb") + "SUB x 1\r\n"));
    let result = poll_fn(|cx| peer.client.poll_answer(cx, &mut peer.publisher)).await;
    peer.publisher.flush();
    assert_eq!(result, Err(CloseReason::AuthenticationFailure));
    assert_eq!(peer.heard(), VIOLATION);
}

#[tokio::test(start_paused = true)]
async fn patience_with_strangers_ends() {
    let node = Node::on_paper(with_users(vec![user("a", "pa")]));
    let (mut peer, _) = Peer::open(&node);
    let deadline = peer.client.deadline().unwrap();
    assert_eq!(deadline - Instant::now(), node.config().limits.auth_timeout);
    let result = peer.client.on_deadline(deadline, &mut peer.publisher);
    peer.publisher.flush();
    assert_eq!(result, Err(CloseReason::AuthenticationTimeout));
    assert_eq!(peer.heard(), "-ERR 'Authentication Timeout'\r\n");
}

#[tokio::test]
async fn a_key_signs_the_nonce_of_its_own_connection() {
    let key = KeyPair::new_user();
    let nkeys = vec![NkeyUser { nkey: key.public_key(), ..NkeyUser::default() }];
    let auth = Auth { nkeys, ..Auth::default() };
    let node = Node::on_paper(Config { auth, ..Config::default() });
    let (_, old) = Peer::open(&node);
    let (mut peer, info) = Peer::open(&node);
    assert_eq!(info.nonce.len(), 15);
    assert_ne!(info.nonce, old.nonce);
    let say = |nonce: &str| {
        let signature = key.sign(nonce.as_bytes()).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let public = key.public_key();
        format!("CONNECT {{\"verbose\":false,\"nkey\":\"{public}\",\"sig\":\"{signature}\"}}\r\n")
    };
    peer.say(&say(&info.nonce));
    assert_eq!(peer.heard(), "");
    let (mut peer, _) = Peer::open(&node);
    assert!(peer.try_say(&say(&old.nonce)).is_err(), "replayed");
}

#[tokio::test]
async fn connect_again_is_asked_again() {
    let node = Node::on_paper(with_users(vec![user("a", "pa"), user("b", "pb")]));
    let mut peer = Peer::login(&node, "a", "pa");
    peer.say("SUB x 1\r\n");
    peer.say(&connect("b", "pb"));
    assert_eq!(peer.client.entry.about().user, "b");
    peer.say("PUB x 0\r\n\r\n");
    assert_eq!(peer.heard(), "", "the old subscription is gone");
    assert_eq!(peer.try_say(&connect("b", "pa")), Err(CloseReason::AuthenticationFailure));
}

fn subjects(allow: &[&str], deny: &[&str]) -> Option<SubjectPermission> {
    let one = |text: &&str| PermissionSubject { subject: (*text).into(), queue: None };
    Some(SubjectPermission {
        allow: (!allow.is_empty()).then(|| allow.iter().map(one).collect()),
        deny: deny.iter().map(one).collect(),
    })
}

fn limited(permissions: Permissions) -> Arc<Node> {
    Node::on_paper(with_users(vec![
        User { permissions: Some(permissions), ..user("a", "pa") },
        user("free", "pf"),
    ]))
}

#[tokio::test]
async fn publishing_needs_leave_every_time() {
    let node = limited(Permissions { publish: subjects(&["a.*"], &["a.x"]), ..Default::default() });
    let mut listener = Peer::login(&node, "free", "pf");
    listener.say("SUB > 1\r\n");
    let mut peer = Peer::login(&node, "a", "pa");
    peer.say("PUB a.b 1\r\n1\r\nPUB a.b 1\r\n2\r\nPUB a.x 1\r\n3\r\nPUB a.x 1\r\n4\r\nPUB a.b 1\r\n5\r\n");
    assert_eq!(peer.heard(), "-ERR 'Permissions Violation for Publish to \"a.x\"'\r\n".repeat(2));
    assert_eq!(listener.heard(), "MSG a.b 1 1\r\n1\r\nMSG a.b 1 1\r\n2\r\nMSG a.b 1 1\r\n5\r\n");
}

#[tokio::test]
async fn what_is_denied_is_kept_from_wildcards_too() {
    let node = limited(Permissions { subscribe: subjects(&[], &["a.x"]), ..Default::default() });
    let mut peer = Peer::login(&node, "a", "pa");
    peer.say("SUB a.x 1\r\nSUB a.* 2\r\nSUB > 3\r\n");
    assert_eq!(peer.heard(), "-ERR 'Permissions Violation for Subscription to \"a.x\"'\r\n");
    let mut publisher = Peer::login(&node, "free", "pf");
    publisher.say("PUB a.x 1\r\nx\r\nPUB a.y 1\r\ny\r\n");
    assert_eq!(peer.heard(), "MSG a.y 3 1\r\ny\r\nMSG a.y 2 1\r\ny\r\n");
}

#[tokio::test]
async fn requests_may_be_answered_once() {
    let node = limited(Permissions {
        publish: Some(SubjectPermission { allow: Some(Vec::new()), deny: Vec::new() }),
        responses: Some(ResponsePermission::default()),
        ..Default::default()
    });
    let mut service = Peer::login(&node, "a", "pa");
    service.say("SUB svc 1\r\n");
    let mut asker = Peer::login(&node, "free", "pf");
    asker.say("SUB inbox.1 1\r\nPUB svc inbox.1 0\r\n\r\n");
    service.heard();
    service.say("PUB inbox.2 0\r\n\r\nPUB inbox.1 1\r\n1\r\nPUB inbox.1 1\r\n2\r\n");
    assert_eq!(asker.heard(), "MSG inbox.1 1 1\r\n1\r\n");
    let refused =
        |subject| format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
    assert_eq!(service.heard(), refused("inbox.2") + &refused("inbox.1"));
}

#[tokio::test]
async fn accounts_are_worlds_of_their_own_with_limits() {
    let mut config = with_users(vec![
        User { account: Some("A".into()), ..user("a", "pa") },
        User { account: Some("B".into()), ..user("b", "pb") },
    ]);
    let mut a = Account { name: "A".into(), ..Account::default() };
    a.limits.max_connections = Some(1);
    a.limits.max_subscriptions = Some(1);
    a.limits.max_payload = Some(3);
    config.accounts = vec![a, Account { name: "B".into(), ..Account::default() }];
    let node = Node::on_paper(config);
    let mut a = Peer::login(&node, "a", "pa");
    let mut b = Peer::login(&node, "b", "pb");
    a.say("SUB > 1\r\n");
    b.say("SUB > 1\r\nPUB x 1\r\nb\r\n");
    assert_eq!((a.heard(), b.heard()), (String::new(), "MSG x 1 1\r\nb\r\n".into()));
    a.say("PUB x 1\r\na\r\n");
    assert_eq!((a.heard(), b.heard()), ("MSG x 1 1\r\na\r\n".into(), String::new()));
    a.say("SUB y 2\r\n");
    assert_eq!(a.heard(), "-ERR 'maximum subscriptions exceeded'\r\n");

    let (mut second, _) = Peer::open(&node);
    assert_eq!(
        second.try_say(&connect("a", "pa")),
        Err(CloseReason::MaxAccountConnectionsExceeded)
    );
    assert_eq!(second.heard(), "-ERR 'maximum account active connections exceeded'\r\n");
    assert_eq!(a.try_say("PUB x 4\r\n1234\r\n"), Err(CloseReason::MaxPayloadExceeded));
    assert_eq!(a.heard(), "-ERR 'Maximum Payload Violation'\r\n");
}

/// An operator's server with one account, and a user of that account.
struct Operated {
    node: Arc<Node>,
    operator: KeyPair,
    account: KeyPair,
    user: KeyPair,
}

impl Operated {
    fn new() -> Self {
        let operator = KeyPair::new_operator();
        let operators =
            Operators { trusted_keys: vec![operator.public_key()], ..Operators::default() };
        let config = Config { operators, ..Config::default() };
        let mut node = Arc::into_inner(Node::on_paper(config.clone())).unwrap();
        node.trust = Trust::new(&config).unwrap();
        let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
        let operated = Self { node: Arc::new(node), operator, account, user };
        operated.claim(json!({}));
        operated
    }

    /// From now on the account is as it is said here.
    fn claim(&self, more: Value) -> Arc<crate::account::Account> {
        let mut nats = json!({ "type": "account", "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
        } });
        nats.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let jwt = signed(&self.account, nats, &self.operator);
        let now = jiff::Timestamp::now().as_second();
        let claims = self.node.trust.as_ref().unwrap().account(&jwt, now).unwrap();
        self.node.accounts.apply(Arc::new(claims)).account
    }

    /// A client that has said who it is and was judged, but is not registered as that yet.
    fn judged(&self) -> (Peer, Connect, Step) {
        let (peer, info) = Peer::open(&self.node);
        let rights = json!({ "type": "user", "subs": -1, "data": -1, "payload": -1 });
        let signature = self.user.sign(info.nonce.as_bytes()).unwrap();
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true,
            "jwt": signed(&self.user, rights, &self.account),
            "sig": URL_SAFE_NO_PAD.encode(signature),
        });
        let connect = Connect::parse(connect.to_string().as_bytes()).unwrap();
        let step = peer.client.first_step(&self.node.auth(), &connect);
        assert!(matches!(step, Step::In(_)));
        (peer, connect, step)
    }
}

impl Peer {
    fn go_on(&mut self, connect: Connect, step: Step) -> Result<(), CloseReason> {
        let judge = self.client.node.auth();
        let result = self.client.take(step, judge, connect, &mut self.publisher);
        self.publisher.flush();
        result
    }
}

fn signed(subject: &KeyPair, nats: Value, issuer: &KeyPair) -> String {
    let object = |value: Value| value.as_object().unwrap().clone();
    let standard = object(json!({ "sub": subject.public_key() }));
    crate::jwt::sign(standard, object(nats), issuer, 7).unwrap()
}

#[tokio::test]
async fn who_was_judged_by_claims_of_before_is_judged_anew() {
    let operated = Operated::new();
    let (mut peer, connect, step) = operated.judged();
    let account = operated.claim(json!({ "revocations": { operated.user.public_key(): 8 } }));
    assert_eq!(peer.go_on(connect, step), Err(CloseReason::AuthenticationFailure));
    assert_eq!(peer.heard(), VIOLATION);
    assert_eq!(account.clients.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(peer.client.entry.about().identity.is_none());
}

#[tokio::test]
async fn who_comes_in_while_claims_change_gets_what_they_give_now() {
    let operated = Operated::new();
    let (mut peer, connect, step) = operated.judged();
    operated.claim(json!({ "default_permissions": { "pub": { "deny": ["x"] } } }));
    assert_eq!(peer.go_on(connect, step), Ok(()));
    peer.say("PUB y 0\r\n\r\nPUB x 0\r\n\r\n");
    assert_eq!(peer.heard(), "-ERR 'Permissions Violation for Publish to \"x\"'\r\n");
}

#[tokio::test]
async fn who_comes_in_while_an_account_goes_waits_for_it() {
    let operated = Operated::new();
    let (mut peer, connect, step) = operated.judged();
    let account = operated.claim(json!({}));
    operated.node.accounts.withdraw(&account, &mut Unheard);
    assert_eq!(peer.go_on(connect, step), Ok(()));
    assert!(peer.client.is_waiting() && peer.client.entry.about().account.is_none());
    // Nobody has it any more.
    let result = poll_fn(|cx| peer.client.poll_answer(cx, &mut peer.publisher)).await;
    assert_eq!(result, Err(CloseReason::AuthenticationFailure));
}

#[tokio::test]
async fn no_two_clients_take_the_last_place_of_an_account() {
    let operated = Operated::new();
    let limits = json!({ "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": 1, "leaf": -1,
    } });
    operated.claim(limits);
    let (mut first, of_first, step_of_first) = operated.judged();
    let (mut second, of_second, step_of_second) = operated.judged();
    assert_eq!(first.go_on(of_first, step_of_first), Ok(()));
    let full = Err(CloseReason::MaxAccountConnectionsExceeded);
    assert_eq!(second.go_on(of_second, step_of_second), full);
}

#[tokio::test]
async fn many_subscriptions_are_judged_anew_in_turns_and_nothing_is_heard_meanwhile() {
    let node = Node::on_paper(with_users(vec![user("a", "pa")]));
    let (mut peer, mut other) = (Peer::login(&node, "a", "pa"), Peer::login(&node, "a", "pa"));
    let count = 200_000;
    let subject = |sid: usize| if sid.is_multiple_of(100) { "denied" } else { "a" };
    peer.say(
        &(0..count).map(|sid| format!("SUB {}.{sid} {sid}\r\n", subject(sid))).collect::<String>(),
    );
    peer.say("SUB w.* w\r\nPUB a.1 1\r");
    let account = Arc::clone(&peer.client.account);
    assert_eq!(account.subscriptions(), count + 1);

    let held = peer.client.entry.about().identity.unwrap();
    let narrow = subjects(&[], &["denied.*", "w.x"]);
    let narrow = Permissions { subscribe: narrow, ..Permissions::default() };
    let permissions = Some(Arc::new(crate::auth::Permissions::new(&narrow)));
    let narrow = crate::auth::Identity { permissions, ..held.clone() };
    assert!(peer.client.entry.change_identity(&held, narrow));
    node.begin_epoch();
    let input = "\nx\r\nSUB denied.0 0\r\nPING\r\n";
    let Peer { client, publisher, .. } = &mut peer;
    publisher.begin_turn();
    client.on_bytes(input.as_bytes(), None, publisher).unwrap();
    assert_eq!(client.left(), "PUB a.1 1\r".len() + input.len(), "no turn is long enough");
    publisher.flush();
    peer.heard();
    other.say("PUB w.x 1\r\n1\r\nPUB w.y 1\r\n2\r\n");
    assert_eq!(peer.heard(), "MSG w.y w 1\r\n2\r\n", "what is denied is kept from it at once");

    let Peer { client, publisher, .. } = &mut peer;
    while client.left() > 0 {
        publisher.begin_turn();
        client.go_on(publisher).unwrap();
    }
    publisher.flush();
    assert_eq!(account.subscriptions(), count - count / 100 + 1);
    let refused = "-ERR 'Permissions Violation for Subscription to \"denied.0\"'\r\n";
    let heard = peer.heard();
    assert!(heard.ends_with(&format!("MSG a.1 1 1\r\nx\r\n{refused}PONG\r\n")), "{heard}");
}
