//! The matching structure against a list that is searched one by one.
//!
//! Every byte is a step or part of one: tokens come from a small alphabet, so that patterns meet.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use natsd::interest::{Interest, Interested};
use natsd::subject;

/// A pattern with an identity.
#[derive(Clone, Debug)]
struct Held(Rc<Vec<u8>>);

impl Interested for Held {
    fn pattern(&self) -> &[u8] {
        &self.0
    }

    fn identity(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }
}

/// Reads a subject from the steps: one token a byte, at most `most` of them. Now and then an
/// empty token, which no pattern may have but a published subject can.
fn subject_from(steps: &mut impl Iterator<Item = u8>, most: u8) -> Vec<u8> {
    const TOKENS: [&[u8]; 8] = [b"a", b"b", b"cc", b"*", b">", b"x*", b"", b"a"];
    let count = steps.next().unwrap_or(0) % most + 1;
    let tokens: Vec<&[u8]> =
        (0..count).map(|_| TOKENS[usize::from(steps.next().unwrap_or(0)) % TOKENS.len()]).collect();
    tokens.join(&b'.')
}

fn found(interest: &Interest<Held>, subject: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    interest.for_each_match(subject, |held| all.push(Rc::as_ptr(&held.0).addr()));
    all.sort_unstable();
    all
}

fn expected(naive: &[Held], subject: &[u8]) -> Vec<usize> {
    if subject::has_empty_token(subject) {
        return Vec::new();
    }
    let mut all: Vec<usize> = naive
        .iter()
        .filter(|held| subject::matches(held.pattern(), subject))
        .map(|held| Rc::as_ptr(&held.0).addr())
        .collect();
    all.sort_unstable();
    all
}

fuzz_target!(|data: &[u8]| {
    let mut interest = Interest::new();
    let mut naive: Vec<Held> = Vec::new();
    let mut steps = data.iter().copied();
    while let Some(step) = steps.next() {
        match step % 8 {
            0..=3 => {
                let pattern = subject_from(&mut steps, 6);
                if subject::is_valid_pattern(&pattern) {
                    let held = Held(Rc::new(pattern));
                    naive.push(held.clone());
                    interest.insert(held);
                }
            }
            4 | 5 if !naive.is_empty() => {
                let index = usize::from(steps.next().unwrap_or(0)) % naive.len();
                let held = naive.swap_remove(index);
                assert!(interest.remove(&held));
                assert!(!interest.remove(&held), "removed twice");
            }
            _ => {
                let subject = subject_from(&mut steps, 7);
                assert_eq!(found(&interest, &subject), expected(&naive, &subject), "{subject:?}");
            }
        }
        assert_eq!(interest.len(), naive.len());
    }
    let mut all = 0;
    interest.go_on(&mut interest.walk(), usize::MAX, |values| all += values.len());
    assert_eq!(all, naive.len());
    for held in &naive {
        assert!(
            interest.of(held.pattern()).iter().any(|other| other.identity() == held.identity())
        );
    }
    for held in &naive {
        assert!(interest.remove(held));
    }
    assert!(interest.is_empty());
});
