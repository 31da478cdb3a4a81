//! The parser of peer servers: no panic, honest lengths, and a cut input never says anything
//! else than the whole one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use natsd::protocol::line::Bounds;
use natsd::protocol::route::parse;
use natsd_fuzz::check_parser;

const BOUNDS: Bounds = Bounds { control_line_max: 96, payload_max: usize::MAX };

fuzz_target!(|data: &[u8]| {
    let Some((&options, input)) = data.split_first() else { return };
    let dedicated = options & 1 != 0;
    check_parser(usize::from(options >> 1), input, |input| parse(input, &BOUNDS, dedicated));
});
