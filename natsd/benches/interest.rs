//! The matching structure: 100,000 literals beside 10,000 wildcards, and deep wildcards.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, criterion_group, criterion_main};
use natsd::interest::{Interest, Interested};

#[derive(Clone)]
struct Held(Rc<[u8]>);

impl Interested for Held {
    fn pattern(&self) -> &[u8] {
        &self.0
    }

    fn identity(&self) -> usize {
        Rc::as_ptr(&self.0).cast::<u8>().addr()
    }
}

fn held(pattern: &str) -> Held {
    Held(pattern.as_bytes().into())
}

fn filled(patterns: impl Iterator<Item = String>) -> Interest<Held> {
    let mut interest = Interest::new();
    patterns.for_each(|pattern| interest.insert(held(&pattern)));
    interest
}

fn count(interest: &Interest<Held>, subject: &[u8]) -> usize {
    let mut count = 0;
    interest.for_each_match(subject, |_| count += 1);
    count
}

/// One subject after the other, in an order that no cache foresees.
fn matching(
    criterion: &mut Criterion,
    name: &str,
    interest: &Interest<Held>,
    subjects: &[String],
    receivers: usize,
) {
    let mut at = 0;
    criterion.bench_function(&format!("match {name}"), |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % subjects.len();
            let subject = subjects.get(at).map(String::as_bytes).unwrap_or_default();
            assert_eq!(count(interest, black_box(subject)), receivers);
        });
    });
}

fn matches(criterion: &mut Criterion) {
    let literals = || (0..100_000).map(|n| format!("s.{}.{n}", n % 10_000));
    let wildcards = || (0..10_000).map(|n| format!("s.{n}.*"));
    let subjects: Vec<String> = literals().collect();
    matching(criterion, "100k literals", &filled(literals()), &subjects, 1);
    let both = filled(literals().chain(wildcards()));
    matching(criterion, "100k literals and 10k wildcards", &both, &subjects, 2);
    let strangers: Vec<String> = (0..100_000).map(|n| format!("t.{n}")).collect();
    matching(criterion, "nobody of 110k", &both, &strangers, 0);

    let deep = filled((0..10_000).map(|n| format!("a.*.c{}.d{}.>", n % 100, n / 100)));
    let subjects: Vec<String> =
        (0..10_000).map(|n| format!("a.b{n}.c{}.d{}.e.f", n % 100, n / 100)).collect();
    matching(criterion, "10k of a.*.c.d.>", &deep, &subjects, 1);
    let stars = filled((0..256).map(|n: u32| {
        let token = |bit: u32| if n >> bit & 1 == 0 { "*".into() } else { format!("t{bit}") };
        (0..8).map(token).collect::<Vec<String>>().join(".")
    }));
    let subjects = [(0..8).map(|bit| format!("t{bit}")).collect::<Vec<_>>().join(".")];
    matching(criterion, "all 256 of eight levels of stars", &stars, &subjects, 256);
}

fn changes(criterion: &mut Criterion) {
    let mut interest = filled((0..100_000).map(|n| format!("s.{}.{n}", n % 10_000)));
    for (name, pattern) in [("literal", "churn.a.b"), ("wildcard", "churn.*.b.>")] {
        criterion.bench_function(&format!("insert and remove a {name} among 100k"), |bencher| {
            let value = held(pattern);
            bencher.iter(|| {
                interest.insert(value.clone());
                assert!(interest.remove(&value));
            });
        });
    }
}

criterion_group!(benches, matches, changes);
criterion_main!(benches);
