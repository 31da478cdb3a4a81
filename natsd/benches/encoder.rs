//! Ops to bytes: sizes, INFO, and frames into a queue.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "../tests/paper/mod.rs"]
mod paper;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use natsd::outbound::Outbound;
use natsd::protocol::args::Decimal;
use natsd::protocol::info::{Connect, Info, InfoEnd};
use natsd::protocol::message::Message;
use paper::Void;

fn texts(criterion: &mut Criterion) {
    criterion.bench_function("encode a size", |bencher| {
        bencher.iter(|| Decimal::new(black_box(1024)).as_bytes().len());
    });
    let message = Message {
        subject: b"orders.new",
        reply: b"_INBOX.abc.1",
        header_len: 12,
        body: b"NATS/1.0\r\n\r\nhello\r\n",
        tail: b"",
        shared: None,
    };
    let mut out = Vec::with_capacity(256);
    criterion.bench_function("encode reply and sizes", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&message).write_sizes(&mut out);
            out.len()
        });
    });
    let info = Info {
        server_id: "N".repeat(56),
        connect_urls: (0..9).map(|n| format!("10.0.0.{n}:4222")).collect(),
        ..Info::default()
    };
    criterion.bench_function("encode INFO", |bencher| {
        bencher.iter(|| black_box(&info).to_line(InfoEnd::Spaced));
    });
    let json = br#"{"verbose":false,"pedantic":false,"name":"n","lang":"rust","version":"1.0",
        "protocol":1,"echo":true,"headers":true,"no_responders":true}"#;
    criterion.bench_function("decode CONNECT", |bencher| {
        bencher.iter(|| Connect::parse(black_box(json)).unwrap());
    });
}

fn frames(criterion: &mut Criterion) {
    let outbound = Outbound::new(1, Arc::new(Void), 64 << 20);
    let frame = ["MSG orders.new 1 128\r\n", &"x".repeat(128), "\r\n"].concat();
    criterion.bench_function("queue 512 frames and flush", |bencher| {
        bencher.iter(|| {
            for _ in 0..512 {
                outbound.append_bytes(black_box(frame.as_bytes()));
            }
            outbound.flush()
        });
    });
}

criterion_group!(benches, texts, frames);
criterion_main!(benches);
