//! The way of a PUB from bytes to queues and out, through the state machine of a client; only
//! the sockets are missing.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "../tests/paper/mod.rs"]
mod paper;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use natsd::config::Config;
use paper::{Peer, node};

/// Messages in one input, about a full read.
const MESSAGES: usize = 512;

fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    let message = |bytes: usize| format!("PUB orders.new {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let (ten, eight) = (["SUB orders.new 1\r\n"; 10], ["SUB orders.new q 1\r\n"; 8]);
    let one = &ten[..1];
    let turns: String = (0..MESSAGES).map(|n| format!("PUB orders.{n} 2\r\nhi\r\n")).collect();
    let inbox = |n: usize| format!("_INBOX.QAVg3lYBmPMBSVNuPlDhy5.{n}");
    let body = format!("16\r\n{}\r\n", "x".repeat(16));
    let requests: String =
        (0..MESSAGES).map(|n| format!("PUB orders.new {} {body}", inbox(n))).collect();
    let answers: String = (0..MESSAGES).map(|n| format!("PUB {} {body}", inbox(n))).collect();
    let waits = ["SUB orders.new 1\r\n", "SUB _INBOX.QAVg3lYBmPMBSVNuPlDhy5.* 1\r\n"];
    // Figures are per delivery.
    for (name, subscriptions, input, receivers) in [
        ("nobody, 16 B", &[][..], message(16).repeat(MESSAGES), 1),
        ("p2p, 16 B", one, message(16).repeat(MESSAGES), 1),
        ("p2p, 128 B", one, message(128).repeat(MESSAGES), 1),
        ("fan-out of 10, 128 B", &ten, message(128).repeat(MESSAGES), 10),
        ("queue group of 8, 128 B", &eight, message(128).repeat(MESSAGES), 1),
        ("requests, 16 B", &waits, requests, 1),
        ("answers, 16 B", &waits, answers, 1),
        ("always another subject", &["SUB orders.* 1\r\n"], turns, 1),
    ] {
        let node = node(Config::default());
        let subscribers: Vec<Peer> = subscriptions
            .iter()
            .map(|subscription| {
                let mut peer = Peer::mute(&node);
                peer.say(subscription.as_bytes()).unwrap();
                peer
            })
            .collect();
        let mut publisher = Peer::mute(&node);
        group.throughput(Throughput::Elements((MESSAGES * receivers) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| publisher.say(input.as_bytes()).unwrap());
        });
        drop(subscribers);
    }
    group.finish();
}

criterion_group!(benches, publishing);
criterion_main!(benches);
