//! The JSON of INFO and CONNECT: no panic, and what was understood survives being sent on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::protocol::info::{Connect, Info, InfoEnd, RouteConnect};

/// The JSON of a line.
fn json<'a>(line: &'a [u8], keyword: &str) -> &'a [u8] {
    line.strip_prefix(keyword.as_bytes()).expect("the keyword").trim_ascii()
}

fuzz_target!(|data: &[u8]| {
    drop(Connect::parse(data));
    if let Ok(info) = Info::parse(data) {
        for end in [InfoEnd::Spaced, InfoEnd::Plain] {
            let line = info.to_line(end);
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let again = Info::parse(json(&line, "INFO ")).expect("what was sent can be read");
            assert_eq!(again, info);
        }
    }
    if let Ok(connect) = RouteConnect::parse(data) {
        let line = connect.to_line();
        let again = RouteConnect::parse(json(&line, "CONNECT ")).expect("what was sent is read");
        assert_eq!(again.to_line(), line);
    }
});
