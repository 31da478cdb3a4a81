use super::permissions::SubscribeLeave;
use super::*;
use crate::config::{
    Account, Auth, Config, NkeyUser, PermissionSubject, SubjectPermission, Tls, User,
};

const NOBODY: Credentials<'_> = Credentials {
    user: "",
    password: "",
    token: "",
    nkey: "",
    signature: "",
    jwt: "",
    nonce: "AAAAAAAAAAAAAAA",
    kind: ConnectionType::Standard,
    by_proxy: false,
    certificate: None,
};

fn authenticator(auth: Auth) -> Authenticator {
    Authenticator::new(&Config { auth, ..Config::default() })
}

fn user(name: &str, password: &str) -> User {
    User { name: name.into(), password: password.into(), ..User::default() }
}

fn admitted(judgement: Judgement) -> Option<Identity> {
    match judgement {
        Judgement::Admitted(identity) => Some(identity),
        Judgement::Refused | Judgement::ProxyRequired => None,
        Judgement::Pending(check, identity) => check.run().then_some(identity),
    }
}

fn sign(key: &nkeys::KeyPair, nonce: &str) -> String {
    use base64::Engine;
    let signature = key.sign(nonce.as_bytes()).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature)
}

#[test]
fn nobody_configured_lets_everybody_in() {
    let open = authenticator(Auth::default());
    assert!(!open.required());
    assert_eq!(admitted(open.judge(&NOBODY)), Some(Identity::default()));
}

#[test]
fn one_token() {
    let door = authenticator(Auth { token: Some("tok".into()), ..Auth::default() });
    assert!(admitted(door.judge(&Credentials { token: "tok", ..NOBODY })).is_some());
    for wrong in ["", "to", "tokk", "TOK"] {
        assert!(admitted(door.judge(&Credentials { token: wrong, ..NOBODY })).is_none());
    }
}

#[test]
fn one_user() {
    let hash = bcrypt::hash("pw", 4).unwrap();
    for stored in ["pw", hash.as_str()] {
        let auth =
            Auth { user: Some("u".into()), password: Some(stored.into()), ..Auth::default() };
        let door = authenticator(auth);
        let ask = |user, password| {
            admitted(door.judge(&Credentials { user, password, ..NOBODY })).is_some()
        };
        assert!(ask("u", "pw"));
        assert!(
            !ask("u", "pW") && !ask("v", "pw") && !ask("u", "") && !ask("u", stored)
                || stored == "pw"
        );
    }
}

#[test]
fn users_by_name_and_kind_of_connection() {
    let door = authenticator(Auth {
        users: vec![
            user("a", "pa"),
            User {
                connection_types: Some([ConnectionType::Mqtt].into()),
                account: Some("ACC".into()),
                ..user("m", "pm")
            },
        ],
        no_auth_user: Some("a".into()),
        ..Auth::default()
    });
    let ask = |user, password| admitted(door.judge(&Credentials { user, password, ..NOBODY }));
    assert_eq!(ask("a", "pa").unwrap().user.as_ref(), "a");
    assert!(ask("a", "pm").is_none() && ask("m", "pm").is_none() && ask("x", "").is_none());
    let mqtt = Credentials { user: "m", password: "pm", kind: ConnectionType::Mqtt, ..NOBODY };
    assert_eq!(admitted(door.judge(&mqtt)).unwrap().account.as_deref(), Some("ACC"));
    // Without credentials it is the configured one; with half of them it is nobody.
    assert_eq!(ask("", "").unwrap().user.as_ref(), "a");
    assert!(ask("", "pa").is_none());
}

#[test]
fn an_authorization_block_without_users_lets_everybody_in() {
    // Observed on nats-server 2.15.1: `authorization { users: [] }` is no authorization.
    let door = authenticator(Auth { block_defined: true, ..Auth::default() });
    assert!(!door.required() && admitted(door.judge(&NOBODY)).is_some());
}

#[test]
fn an_authorization_block_keeps_others_out_when_only_the_system_has_users() {
    // Observed on nats-server 2.15.1, with nothing but a timeout in the block.
    let config = |block_defined| Config {
        auth: Auth {
            users: vec![User { account: Some("S".into()), ..user("s", "s") }],
            block_defined,
            ..Auth::default()
        },
        accounts: vec![Account { name: "S".into(), ..Account::default() }],
        system_account: Some("S".into()),
        ..Config::default()
    };
    let judged = |config: Config| admitted(Authenticator::new(&config).judge(&NOBODY));
    assert!(judged(config(false)).is_some());
    assert!(judged(config(true)).is_none());
}

#[test]
fn signatures_count_only_for_their_own_nonce_and_key() {
    let (key, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let door = authenticator(Auth {
        nkeys: vec![NkeyUser { nkey: key.public_key(), ..NkeyUser::default() }],
        ..Auth::default()
    });
    assert!(door.wants_nonce());
    let public = key.public_key();
    let ask = |nkey: &str, signature: &str| {
        admitted(door.judge(&Credentials { nkey, signature, ..NOBODY })).is_some()
    };
    let good = sign(&key, NOBODY.nonce);
    assert!(ask(&public, &good));
    assert!(!ask(&public, ""));
    assert!(!ask(&public, &sign(&key, "BBBBBBBBBBBBBBB")), "replayed");
    assert!(!ask(&public, &sign(&other, NOBODY.nonce)), "someone else's");
    assert!(!ask(&other.public_key(), &sign(&other, NOBODY.nonce)), "unknown");
    assert!(!ask(&public, "!!!") && !ask("U", &good) && !ask("", &good));
    let no_nonce = Credentials { nkey: &public, signature: &sign(&key, ""), nonce: "", ..NOBODY };
    assert!(admitted(door.judge(&no_nonce)).is_none());
}

#[test]
fn certificates_stand_for_users() {
    let config = Config {
        tls: Some(Tls { verify_and_map: true, ..Tls::default() }),
        auth: Auth {
            users: vec![
                user("x@example.com", ""),
                user("CN=n,O=Acme", ""),
                user("p@example.com", "p"),
            ],
            no_auth_user: Some("x@example.com".into()),
            ..Auth::default()
        },
        ..Config::default()
    };
    let door = Authenticator::new(&config);
    let ask = |names: &PeerNames| {
        admitted(door.judge(&Credentials { certificate: Some(names), ..NOBODY })).map(|id| id.user)
    };
    let email = PeerNames { emails: vec!["x@example.com".into()], ..PeerNames::default() };
    assert_eq!(ask(&email).as_deref(), Some("x@example.com"));
    let subject = PeerNames {
        subject: vec![("O".into(), "Acme".into()), ("CN".into(), "n".into())],
        ..PeerNames::default()
    };
    assert_eq!(ask(&subject).as_deref(), Some("CN=n,O=Acme"));
    assert_eq!(ask(&PeerNames { dns: vec!["y".into()], ..PeerNames::default() }), None);
    assert!(admitted(door.judge(&NOBODY)).is_none(), "without a certificate nobody is mapped");
    // nats-server 2.15.1: the password counts, the user in CONNECT does not.
    let protected = PeerNames { emails: vec!["p@example.com".into()], ..PeerNames::default() };
    for (names, user, password, right) in [
        (&protected, "", "p", true),
        (&protected, "other", "p", true),
        (&protected, "", "", false),
        (&protected, "p@example.com", "bad", false),
        (&email, "", "y", false),
    ] {
        let given = Credentials { user, password, certificate: Some(names), ..NOBODY };
        assert_eq!(admitted(door.judge(&given)).is_some(), right, "{user:?} {password:?}");
    }
}

#[test]
fn users_of_the_system_account_alone_do_not_lock_the_others_out() {
    let auth = Auth {
        users: vec![User { account: Some("$SYS".into()), ..user("admin", "p") }],
        ..Auth::default()
    };
    let accounts = vec![Account { name: "$SYS".into(), ..Account::default() }];
    let door = Authenticator::new(&Config { auth, accounts, ..Config::default() });
    assert_eq!(admitted(door.judge(&NOBODY)), Some(Identity::default()));
    let wrong = Credentials { user: "admin", password: "q", ..NOBODY };
    assert!(admitted(door.judge(&wrong)).is_none());
}

#[test]
fn a_reload_keeps_those_who_are_still_the_same() {
    let before = authenticator(Auth {
        users: vec![user("same", "p"), user("moved", "p"), user("gone", "p"), user("new", "old")],
        ..Auth::default()
    });
    let now = authenticator(Auth {
        users: vec![
            user("same", "p"),
            User { account: Some("A".into()), ..user("moved", "p") },
            user("new", "password"),
        ],
        ..Auth::default()
    });
    let login = |name, password| {
        admitted(before.judge(&Credentials { user: name, password, ..NOBODY })).unwrap()
    };
    assert!(now.keeps(&before, &login("same", "p")));
    for (name, password) in [("moved", "p"), ("gone", "p"), ("new", "old")] {
        assert!(!now.keeps(&before, &login(name, password)), "{name}");
    }
    assert!(!now.keeps(&authenticator(Auth::default()), &Identity::default()));
}

fn rule(text: &str) -> PermissionSubject {
    let (subject, queue) = text.split_once(' ').map_or((text, None), |(s, q)| (s, Some(q)));
    PermissionSubject { subject: subject.into(), queue: queue.map(Into::into) }
}

fn subjects(allow: &[&str], deny: &[&str]) -> SubjectPermission {
    let list = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
    SubjectPermission { allow: (!allow.is_empty()).then(|| list(allow)), deny: list(deny) }
}

#[test]
fn publishing() {
    let permissions = Permissions::new(&crate::config::Permissions {
        publish: Some(subjects(&["a.*", "b"], &["a.x"])),
        ..Default::default()
    });
    for (subject, expected) in
        [("a.b", true), ("b", true), ("a.x", false), ("c", false), ("a.b.c", false)]
    {
        assert_eq!(permissions.may_publish(subject.as_bytes()), expected, "{subject}");
    }
    let nothing = Permissions::new(&crate::config::Permissions {
        publish: Some(SubjectPermission { allow: Some(Vec::new()), deny: Vec::new() }),
        ..Default::default()
    });
    assert!(!nothing.may_publish(b"a"));
}

#[test]
fn subscribing() {
    let permissions = Permissions::new(&crate::config::Permissions {
        subscribe: Some(subjects(&["bar.>", "w.*", "qq v1", "qq dev.*"], &["bar.x", "bar.y q1"])),
        ..Default::default()
    });
    let ask = |subject: &str, queue: &str| {
        let queue = (!queue.is_empty()).then_some(queue.as_bytes());
        match permissions.may_subscribe(subject.as_bytes(), queue) {
            SubscribeLeave::Denied => 'n',
            SubscribeLeave::Granted => 'y',
            SubscribeLeave::Filtered(filter) => {
                let q1 = Some(&b"q1"[..]);
                assert!(filter.covers(b"bar.x", None) && filter.covers(b"bar.x", q1));
                assert!(!filter.covers(b"bar.y", None) && filter.covers(b"bar.y", q1));
                'f'
            }
        }
    };
    for (subject, queue, expected) in [
        ("bar.a", "", 'y'),
        ("bar.x", "", 'n'),
        ("bar.x", "q", 'n'),
        ("bar.*", "", 'f'),
        ("bar.y", "", 'y'),
        ("bar.y", "q1", 'n'),
        ("bar.y", "q2", 'y'),
        ("w.>", "", 'y'),
        ("qq", "", 'n'),
        ("qq", "v1", 'y'),
        ("qq", "v2", 'n'),
        ("qq", "dev.eu", 'y'),
        ("other", "", 'n'),
        (">", "", 'n'),
    ] {
        assert_eq!(ask(subject, queue), expected, "{subject} {queue}");
    }
}

#[test]
fn what_is_denied_to_all_is_denied_to_groups_that_rules_name() {
    let permissions = Permissions::new(&crate::config::Permissions {
        subscribe: Some(subjects(&[">"], &["foo.a", "> dev.*", "ev.> v1"])),
        ..Default::default()
    });
    let leave = |subject: &str, queue: &str| {
        let queue = (!queue.is_empty()).then_some(queue.as_bytes());
        permissions.may_subscribe(subject.as_bytes(), queue)
    };
    assert!(matches!(leave("foo.a", "v1"), SubscribeLeave::Denied));
    assert!(matches!(leave("foo.b", "v1"), SubscribeLeave::Granted));
    assert!(matches!(leave("foo.b", "dev.x"), SubscribeLeave::Denied));
    let SubscribeLeave::Filtered(kept) = leave(">", "v1") else {
        panic!("nothing is kept from it")
    };
    assert!(kept.covers(b"ev.one", Some(b"v1")) && !kept.covers(b"ev.one", Some(b"v2")));
    assert!(kept.covers(b"foo.a", Some(b"v2")));
}
