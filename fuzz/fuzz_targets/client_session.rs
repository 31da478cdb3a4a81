//! Two clients of one server: whatever they say and however it is cut, they hear the same, and
//! nothing panics.
//!
//! The first byte is the seed of the cuts. The rest is what they say in turns: a byte 0xff hands
//! the word to the other one.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use natsd::close::CloseReason;
use natsd::config::{Config, Limits};
use natsd_fuzz::paper::{Peer, node};

/// How what is said comes out of the socket.
#[derive(Clone, Copy)]
enum Cut {
    Never,
    Everywhere,
    /// By a generator with this state.
    Anywhere(u32),
}

impl Cut {
    /// The length of the next piece.
    fn next(&mut self, left: usize) -> usize {
        match self {
            Self::Never => left,
            Self::Everywhere => 1,
            Self::Anywhere(state) => {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let piece = (*state >> 24) % if *state & 0x0080_0000 == 0 { 5 } else { 100 };
                usize::try_from(piece + 1).unwrap_or(1).min(left)
            }
        }
    }
}

/// Small bounds, so that inputs of a fuzzer's size reach them.
fn limits() -> Limits {
    Limits {
        max_control_line: 128,
        max_payload: 300,
        max_subscriptions: Some(20),
        max_subscription_tokens: Some(6),
        ..Limits::default()
    }
}

/// What both heard, and why it ended if it did.
type Heard = ([Vec<u8>; 2], Option<CloseReason>);

fn play(speech: &[u8], mut cut: Cut) -> Heard {
    let node = node(Config { limits: limits(), ..Config::default() });
    let mut peers = [Peer::open(&node), Peer::open(&node)];
    let mut end = None;
    'speech: for (turn, part) in speech.split(|&byte| byte == 0xff).enumerate() {
        let mut rest = part;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cut.next(rest.len()));
            if let Err(reason) = peers[turn % 2].say(piece) {
                end = Some(reason);
                break 'speech;
            }
            rest = left;
        }
    }
    let heard = peers.each_ref().map(Peer::heard);
    if let Some(reason) = end {
        peers.iter_mut().for_each(|peer| peer.close(reason));
        assert_eq!(node.accounts.subscriptions(), 0, "a gone client leaves interest");
    }
    drop(peers);
    drop(Arc::try_unwrap(node));
    (heard, end)
}

/// A second CONNECT ends all subscriptions in no fixed order, and so may change the order of
/// those that stay.
fn says_connect_again(speech: &[u8]) -> bool {
    let mut parts = speech.windows(7).filter(|part| part.eq_ignore_ascii_case(b"CONNECT"));
    parts.nth(1).is_some()
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, speech)) = data.split_first() else { return };
    let whole = play(speech, Cut::Never);
    for cut in [Cut::Anywhere(u32::from(seed)), Cut::Everywhere] {
        let heard = play(speech, cut);
        if !says_connect_again(speech) {
            assert_eq!(show(&heard), show(&whole));
        }
    }
});

fn show((heard, end): &Heard) -> String {
    let [first, second] = heard.each_ref().map(|bytes| bytes.escape_ascii());
    format!("{first}\n{second}\n{end:?}")
}
