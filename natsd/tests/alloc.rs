//! A warm PUB allocates nothing: the counting allocator says so.
//!
//! One test only: the counter is the process's, and a second test would be counted too.
#![allow(clippy::expect_used, reason = "helpers of tests: a failed step is a failed test")]

mod paper;

use std::sync::Arc;
use std::time::Duration;

use natsd::config::Config;
use natsd::node::Node;
use paper::{Peer, node};

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

/// Turns that may be cut, one after the other.
const CUT_MAX: usize = 1000;

/// Allocations while `publisher` says `speech` once more, warm.
fn allocations(publisher: &mut Peer, speech: &[u8]) -> u64 {
    for _ in 0..4 {
        in_one_turn(publisher, speech);
    }
    in_one_turn(publisher, speech)
}

/// Allocations while `publisher` says `speech` in one turn.
fn in_one_turn(publisher: &mut Peer, speech: &[u8]) -> u64 {
    for _ in 0..CUT_MAX {
        let before = dhat::HeapStats::get().total_blocks;
        publisher.say(speech).expect("a valid speech");
        if !publisher.was_cut() {
            return dhat::HeapStats::get().total_blocks - before;
        }
    }
    panic!("no turn was long enough");
}

/// The harness is still noting down that the test has begun, on a thread of its own: waits until
/// nobody has allocated for a while.
#[expect(clippy::disallowed_methods, reason = "there is nothing to ask but that it is quiet")]
fn wait_for_the_harness() {
    let allocated = || dhat::HeapStats::get().total_blocks;
    let mut before = allocated();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        if before == allocated() {
            return;
        }
        before = allocated();
    }
}

/// One publisher, and as many subscribers as there are subscriptions.
fn scene(node: &Arc<Node>, subscriptions: &[&str]) -> (Peer, Vec<Peer>) {
    let subscribers = subscriptions.iter().map(|subscription| {
        let mut peer = Peer::mute(node);
        peer.say(subscription.as_bytes()).expect("a subscription");
        peer
    });
    let subscribers = subscribers.collect();
    (Peer::mute(node), subscribers)
}

#[test]
fn a_warm_publish_allocates_nothing() {
    let profiler = dhat::Profiler::builder().testing().build();
    wait_for_the_harness();
    let long = format!("PUB a.b 128\r\n{}\r\n", "x".repeat(128));
    let ten = ["SUB a.b 1\r\n"; 10];
    let group = ["SUB a.b q 1\r\n"; 8];
    for (title, subscriptions, speech) in [
        ("nobody", &[][..], "PUB a.b 16\r\n0123456789abcdef\r\n"),
        ("one receiver", &["SUB a.b 1\r\n"], "PUB a.b 16\r\n0123456789abcdef\r\n"),
        ("one receiver, 128 bytes", &["SUB a.b 1\r\n"], &long),
        ("by a wildcard", &["SUB a.*.c.> 1\r\n"], "PUB a.b.c.d.e 2\r\nhi\r\n"),
        ("with a reply", &["SUB a.b 1\r\n"], "PUB a.b r.1 2\r\nhi\r\n"),
        ("with headers", &["SUB a.b 1\r\n"], "HPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        ("in an unusual form", &["SUB a.b 1\r\n"], "PUB  a.b  2\nhi\r\n"),
        ("ten receivers", &ten, &long),
        ("a queue group of eight", &group, &long),
        (
            "subjects in turns",
            &["SUB a.b 1\r\n", "SUB a.* 1\r\n", "SUB c 1\r\n"],
            "PUB a.b 2\r\nhi\r\nPUB c 2\r\nhi\r\nPUB a.d 2\r\nhi\r\n",
        ),
    ] {
        let node = node(Config::default());
        let (mut publisher, _subscribers) = scene(&node, subscriptions);
        let found = allocations(&mut publisher, speech.repeat(300).as_bytes());
        assert_eq!(found, 0, "{title}: allocations in 300 publishes and their flush");
    }
    drop(profiler);
}
