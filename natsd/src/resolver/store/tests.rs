use nkeys::KeyPair;
use serde_json::{Map, Value, json};

use super::*;

/// A key and a JWT of it, issued and ending at these times.
fn account(key: &KeyPair, issued: i64, expires: i64) -> String {
    let claims = json!({ "sub": key.public_key(), "exp": expires });
    let Value::Object(claims) = claims else { panic!() };
    let nats = Map::from_iter([("type".to_owned(), "account".into())]);
    crate::jwt::sign(claims, nats, &KeyPair::new_operator(), issued).unwrap()
}

fn store(dir: &Path, change: impl FnOnce(&mut Settings)) -> Store {
    let mut settings = Settings {
        dir: dir.to_owned(),
        deletion: Deletion::None,
        limit: None,
        evicts: false,
        ttl: None,
    };
    change(&mut settings);
    Store::open(settings, 0).unwrap()
}

#[test]
fn directories_with_the_same_have_the_same_hash() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (store(one.path(), |_| {}), store(other.path(), |_| {}));
    let keys = [KeyPair::new_account(), KeyPair::new_account()];
    let empty = first.hash();
    for key in &keys {
        assert!(first.save(&key.public_key(), &account(key, 5, 0), 0).unwrap());
    }
    assert_ne!(first.hash(), empty);
    let (changed, outcome) = second.merge(&first.lines(0).join("\n"), 0);
    assert!(outcome.is_ok() && changed.len() == 2);
    assert_eq!(first.hash(), second.hash());
    // Older ones and strangers change nothing.
    let key = keys[0].public_key();
    let (changed, outcome) = second.merge(&format!("{key}|{}", account(&keys[0], 4, 0)), 0);
    assert!(outcome.is_ok() && changed.is_empty());
    assert!(second.merge("../x|y", 0).1.is_err());
    assert!(second.merge("a|b|c", 0).1.is_err());
    assert_eq!(store(one.path(), |_| {}).hash(), first.hash(), "opened again");
    assert!(matches!(first.delete(&key), Err(StoreError::NoDelete)));
}

#[test]
fn a_cache_lets_the_oldest_go_and_all_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let cache = store(dir.path(), |settings| {
        settings.limit = Some(2);
        settings.evicts = true;
        settings.ttl = Some(Duration::from_secs(10));
    });
    let keys = [KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_account()];
    let names: Vec<String> = keys.iter().map(KeyPair::public_key).collect();
    cache.save(&names[0], &account(&keys[0], 0, 0), 0).unwrap();
    cache.save(&names[1], &account(&keys[1], 0, 0), 0).unwrap();
    assert!(cache.load(&names[0], 5).unwrap().is_some());
    cache.save(&names[2], &account(&keys[2], 0, 0), 5).unwrap();
    assert!(cache.load(&names[1], 5).unwrap().is_none(), "not used for longest");
    cache.expire(14);
    assert_eq!(cache.keys().len(), 2);
    cache.expire(15);
    assert_eq!((cache.keys().len(), cache.hash()), (0, [0; 32]));
    let full = store(dir.path(), |settings| settings.limit = Some(0));
    assert!(matches!(full.save(&names[0], "x", 0), Err(StoreError::Full)));
}
