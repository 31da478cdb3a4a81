use jiff::Timestamp;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn user(nats: Value) -> Token<User> {
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let standard = json!({ "sub": user.public_key(), "name": "joe" });
    let mut nats = object(nats);
    nats.insert("type".into(), "user".into());
    let text = sign(object(standard), nats, &account, 7).unwrap();
    Token::decode(&text).unwrap()
}

#[test]
fn what_is_signed_is_read_again() {
    let token = user(json!({ "subs": 5, "tags": null, "src": "10.0.0.0/8, 127.0.0.0/8" }));
    assert_eq!((token.standard.issued_at, token.standard.name.as_str()), (7, "joe"));
    assert_eq!((token.body.rights.subs, token.body.rights.payload), (5, 0));
    assert_eq!(token.body.rights.src, ["10.0.0.0/8", "127.0.0.0/8"]);
    assert_eq!(token.standard.id.len(), 52);
    assert!(!token.validate(7).are_blocking());
}

#[test]
fn hours_of_the_day_go_over_midnight() {
    let rights = |start: &str, end: &str| {
        let times = json!({ "times": [{ "start": start, "end": end }], "times_location": "UTC" });
        user(times).body.rights
    };
    let at = |text: &str| format!("2026-11-22T{text}Z").parse::<Timestamp>().unwrap();
    let left = |start, end, now: &str| {
        in_time(&rights(start, end), at(now)).map(|left| left.unwrap().as_secs())
    };
    assert_eq!(left("08:00:00", "17:00:00", "16:59:00"), Some(60));
    assert_eq!(left("08:00:00", "17:00:00", "17:00:00"), None);
    assert_eq!(left("22:00:00", "06:00:00", "05:59:59"), Some(1));
    assert_eq!(left("22:00:00", "06:00:00", "23:00:00"), Some(7 * 3600));
    assert_eq!(left("22:00:00", "06:00:00", "12:00:00"), None);
    assert_eq!(left("25:00:00", "06:00:00", "05:00:00"), None);
    assert_eq!(in_time(&user(json!({})).body.rights, at("00:00:00")), Some(None));
}

#[test]
fn templates_make_every_combination_and_no_more_than_that() {
    let tags: Vec<String> = (0..70).map(|n| format!("n:{n}")).collect();
    let token = user(json!({ "tags": tags }));
    let names = AccountNames { name: "acme", tags: &["zone:eu".to_owned()] };
    let allow = |text: &str| Permissions {
        publish: Permission { allow: vec![text.into()], deny: Vec::new() },
        ..Permissions::default()
    };
    let made = |text: &str| expand(&allow(text), &token, names).map(|made| made.publish);
    assert_eq!(made("{{ account-name() }}.{{account-tag(zone)}}.>").unwrap().allow, ["acme.eu.>"]);
    assert_eq!(made("x.{{tag(n)}}").unwrap().allow.len(), 70);
    assert!(made("{{tag(n)}}.{{tag(n)}}").is_err(), "4900 are too many");
    assert!(made("{{home()}}").is_err());
    // Nothing is left to allow: then everything is denied.
    assert_eq!(
        made("{{tag(none)}}").unwrap(),
        Permission { allow: vec![], deny: vec![">".into()] }
    );
}
