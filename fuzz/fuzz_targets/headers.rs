//! Look-ups in header blocks: no panic, and what is asked for is found as a person would find it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::protocol::headers::{
    TRACE_DEST, find, may_ask_for_trace, no_responders, trace_headers, with,
};

fuzz_target!(|block: &[u8]| {
    for name in [TRACE_DEST, "A", ""] {
        let value = find(block, name);
        if let Some(value) = value {
            let held = value.is_empty() || block.windows(value.len()).any(|part| part == value);
            assert!(held, "{value:?} is not of the block");
        }
    }
    if find(block, TRACE_DEST).is_some() {
        assert!(may_ask_for_trace(block));
    }
    if let Some(asked) = trace_headers(block) {
        assert!(asked.external || may_ask_for_trace(block));
        assert!(asked.all.values().flatten().all(|value| !value.is_empty()));
    }
    if block.starts_with(b"NATS/1.0\r\n") && block.ends_with(b"\r\n") {
        assert_eq!(find(&with(block, "A", "1"), "A"), Some(&b"1"[..]));
    }
    // A subject never holds a line end: the parser splits there.
    if !block.contains(&b'\n') {
        assert_eq!(find(&no_responders(block), "Nats-Subject"), Some(block.trim_ascii()));
    }
});
