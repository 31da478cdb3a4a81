//! Bytes to ops: what one control line costs, of clients and of peers.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use natsd::protocol::line::{Bounds, ParseError, Step};
use natsd::protocol::{client, route};

const BOUNDS: Bounds = Bounds { control_line_max: 4096, payload_max: 1 << 20 };
/// Ops in one input, as in a full read.
const OPS: usize = 256;

/// Reads all ops of an input.
fn read<'a, Op>(mut input: &'a [u8], parse: impl Fn(&'a [u8]) -> Result<Step<Op>, ParseError>) {
    while !input.is_empty() {
        let Ok(Step::Op(op, used)) = parse(input) else { panic!("a valid input") };
        black_box(op);
        input = input.get(used..).unwrap_or_default();
    }
}

fn parsers(criterion: &mut Criterion) {
    let body = "x".repeat(128);
    let mut group = criterion.benchmark_group("parser");
    group.throughput(Throughput::Elements(OPS as u64));
    for (name, op) in [
        ("PUB", format!("PUB orders.new 128\r\n{body}\r\n")),
        ("PUB reply", format!("PUB orders.new _INBOX.abc.1 128\r\n{body}\r\n")),
        ("HPUB", format!("HPUB orders.new 12 140\r\nNATS/1.0\r\n\r\n{body}\r\n")),
        ("SUB", "SUB orders.* workers 17\r\n".into()),
        ("UNSUB", "UNSUB 17 5\r\n".into()),
        ("PING", "PING\r\n".into()),
    ] {
        let input = op.repeat(OPS).into_bytes();
        group.bench_function(name, |bencher| {
            bencher.iter(|| read(&input, |input| client::parse(input, &BOUNDS, true)));
        });
    }
    for (name, op) in [
        ("RMSG", format!("RMSG $G orders.new 128\r\n{body}\r\n")),
        ("RMSG queues", format!("RMSG $G orders.new | workers 128\r\n{body}\r\n")),
        ("HMSG", format!("HMSG $G orders.new r 12 140\r\nNATS/1.0\r\n\r\n{body}\r\n")),
        ("RS+", "RS+ $G orders.* workers 3\r\n".into()),
    ] {
        let input = op.repeat(OPS).into_bytes();
        group.bench_function(name, |bencher| {
            bencher.iter(|| read(&input, |input| route::parse(input, &BOUNDS, false)));
        });
    }
    group.finish();
}

criterion_group!(benches, parsers);
criterion_main!(benches);
