//! Look-ups in header blocks: no panic, and what is asked for is found as a person would find it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::protocol::headers::{find, is_trace_only, may_ask_for_trace, no_responders};

const DEST: &str = "Nats-Trace-Dest";
const ONLY: &str = "Nats-Trace-Only";

fuzz_target!(|block: &[u8]| {
    for name in [DEST, ONLY, "A", ""] {
        let value = find(block, name);
        if let Some(value) = value {
            let held = value.is_empty() || block.windows(value.len()).any(|part| part == value);
            assert!(held, "{value:?} is not of the block");
        }
    }
    if find(block, DEST).is_some() || find(block, ONLY).is_some() {
        assert!(may_ask_for_trace(block));
    }
    if is_trace_only(block) {
        assert!(find(block, DEST).is_some() && find(block, ONLY).is_some());
    }
    // A subject never holds a line end: the parser splits there.
    if !block.contains(&b'\n') {
        assert_eq!(find(&no_responders(block), "Nats-Subject"), Some(block.trim_ascii()));
    }
});
