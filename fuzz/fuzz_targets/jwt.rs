//! JWTs of strangers: no panic, and nobody gets in by what nobody signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::jwt::{Account, Activation, AuthorizationResponse, Operator, Token, User};

/// A time at which the claims are checked for faults.
const NOW: i64 = 1_700_000_000;

fuzz_target!(|text: &str| {
    if let Ok(token) = Token::<User>::decode(text) {
        drop(token.validate(NOW));
    }
    if let Ok(token) = Token::<Account>::decode(text) {
        drop(token.validate(NOW));
    }
    drop(Token::<Operator>::decode(text));
    drop(Token::<Activation>::decode(text));
    drop(Token::<AuthorizationResponse>::decode(text));
    // What the signature protects is reached by signing whatever the fuzzer found.
    let key = nkeys::KeyPair::new_account();
    for kind in ["user", "account", "activation", "authorization_response"] {
        let Ok(serde_json::Value::Object(mut nats)) = serde_json::from_str(text) else { return };
        nats.insert("type".into(), kind.into());
        let Ok(signed) = natsd::jwt::sign(serde_json::Map::new(), nats, &key, NOW) else { return };
        if let Ok(token) = Token::<User>::decode(&signed) {
            drop(token.validate(NOW));
        }
        if let Ok(token) = Token::<Account>::decode(&signed) {
            drop(token.validate(NOW));
        }
    }
});
