//! The grammar of configurations, with includes and variables: any bytes give a tree or one
//! error, and always the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::config::conf::{digest, parse_text};
use natsd_fuzz::Desk;

fuzz_target!(|data: &[u8]| {
    let desk = Desk::new(data);
    let text = data.split(|&byte| byte == b'=').next().unwrap_or_default();
    for text in [data, text] {
        let first = parse_text(text, "x.conf", &desk);
        let second = parse_text(text, "x.conf", &desk);
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(digest(&first), digest(&second)),
            (Err(first), Err(second)) => {
                assert_eq!(first, second);
                assert!(!first.text.is_empty());
            }
            (first, second) => panic!("{first:?}, then {second:?}"),
        }
    }
});
