use std::rc::Rc;

use proptest::prelude::*;

use super::{Interest, Interested};
use crate::subject;

impl Interested for Rc<String> {
    fn pattern(&self) -> &[u8] {
        self.as_bytes()
    }

    fn identity(&self) -> usize {
        Self::as_ptr(self).addr()
    }
}

fn found(interest: &Interest<Rc<String>>, subject: &str) -> Vec<String> {
    let mut all = Vec::new();
    interest.for_each_match(subject.as_bytes(), |value| all.push(value.to_string()));
    all.sort();
    all
}

#[test]
fn an_empty_token_matches_nothing() {
    let mut interest = Interest::new();
    for pattern in [">", "*", "*.*", "*.>", "*.*.x", "foo.*", "foo.>", "foo.*.x", "foo.*.>"] {
        interest.insert(Rc::new(pattern.to_owned()));
    }
    for subject in ["", ".", ".foo", "foo.", "foo..x", "foo.x.", "foo..", "..x", "foo.a..x"] {
        assert!(found(&interest, subject).is_empty(), "{subject:?}");
    }
}

#[test]
fn what_leads_nowhere_is_counted_as_well() {
    let mut interest = Interest::new();
    for pattern in ["a.*.x", "*.a.x", "*.*.x", "a.a.x"] {
        interest.insert(Rc::new(pattern.to_owned()));
    }
    let steps = |subject: &str| interest.for_each_match(subject.as_bytes(), |_| {});
    assert_eq!(steps("a.a.y"), 1 + 2 + 3, "the levels of no, one and two tokens");
    assert_eq!(steps("a.a.x"), 1 + 2 + 3 + 4, "and those that are found");
    assert_eq!(steps("b"), 1);
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "*", "x*"])
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(token(), 1..5), any::<bool>()).prop_map(|(mut tokens, full)| {
        if full {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

fn literal() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec!["a", "b", "c", "x*"]);
    prop::collection::vec(token, 1..6).prop_map(|tokens| tokens.join("."))
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String),
    Remove(prop::sample::Index),
    Match(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => pattern().prop_map(Step::Insert),
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => literal().prop_map(Step::Match),
    ]
}

proptest! {
    /// Values leave lists of any length in any order.
    #[test]
    fn long_lists_lose_what_leaves(
        leaves in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 300..400),
    ) {
        let mut interest = Interest::new();
        let mut naive: Vec<Rc<String>> = Vec::new();
        for (number, (leaves, index)) in leaves.into_iter().enumerate() {
            // First nearly all come, then nearly all go.
            let goes = if number < 200 { leaves && number % 4 == 0 } else { leaves || number % 4 > 0 };
            if goes && !naive.is_empty() {
                let value = naive.swap_remove(index.index(naive.len()));
                prop_assert!(interest.remove(&value));
                prop_assert!(!interest.remove(&value));
            } else {
                let pattern = ["a", "a", "a", "a", "a.*", "a.>"][number % 6];
                let value = Rc::new(pattern.to_owned());
                naive.push(Rc::clone(&value));
                interest.insert(value);
            }
            for pattern in ["a", "a.*", "a.>"] {
                let mut held: Vec<_> = interest.of(pattern.as_bytes()).iter().map(Rc::as_ptr).collect();
                let all = naive.iter().filter(|value| value.as_str() == pattern);
                let mut expected: Vec<_> = all.map(Rc::as_ptr).collect();
                held.sort();
                expected.sort();
                prop_assert_eq!(held, expected);
            }
        }
    }

    /// The structure agrees with a list that is searched one by one, whatever is done to it.
    #[test]
    fn equals_a_naive_matcher(steps in prop::collection::vec(step(), 1..200)) {
        let mut interest = Interest::new();
        let mut naive: Vec<Rc<String>> = Vec::new();
        for step in steps {
            match step {
                Step::Insert(pattern) => {
                    let value = Rc::new(pattern);
                    naive.push(Rc::clone(&value));
                    interest.insert(value);
                }
                Step::Remove(index) if !naive.is_empty() => {
                    let value = naive.swap_remove(index.index(naive.len()));
                    prop_assert!(interest.remove(&value));
                    prop_assert!(!interest.remove(&value));
                }
                Step::Remove(_) => {}
                Step::Match(subject) => {
                    let mut expected: Vec<String> = naive
                        .iter()
                        .filter(|value| subject::matches(value.as_bytes(), subject.as_bytes()))
                        .map(|value| value.to_string())
                        .collect();
                    expected.sort();
                    prop_assert_eq!(found(&interest, &subject), expected);
                }
            }
            prop_assert_eq!(interest.len(), naive.len());
        }
        let mut all = 0;
        interest.go_on(&mut interest.walk(), usize::MAX, |values| all += values.len());
        prop_assert_eq!(all, naive.len());
    }

    /// Whatever is done between, a walk comes by all that has been there from its beginning to its
    /// end, and shows nothing that is not there.
    #[test]
    fn a_walk_misses_nothing_that_stays(
        first in prop::collection::vec(pattern(), 1..100),
        steps in prop::collection::vec(step(), 1..100),
        at_once in 1..5_usize,
    ) {
        let mut interest = Interest::new();
        let mut there: Vec<Rc<String>> = first.into_iter().map(Rc::new).collect();
        there.iter().for_each(|value| interest.insert(Rc::clone(value)));
        let mut stays = there.clone();
        let mut walk = interest.walk();
        let mut seen: Vec<Rc<String>> = Vec::new();
        let mut steps = steps.into_iter();
        while !walk.is_over() {
            let before = seen.len();
            interest.go_on(&mut walk, at_once, |values| seen.extend_from_slice(values));
            for value in &seen[before..] {
                prop_assert!(there.iter().any(|held| Rc::ptr_eq(held, value)), "{}", value);
            }
            match steps.next() {
                Some(Step::Insert(pattern)) => {
                    there.push(Rc::new(pattern));
                    interest.insert(Rc::clone(there.last().unwrap()));
                }
                Some(Step::Remove(index)) if !there.is_empty() => {
                    let gone = there.swap_remove(index.index(there.len()));
                    interest.remove(&gone);
                    stays.retain(|value| !Rc::ptr_eq(value, &gone));
                }
                _ => {}
            }
        }
        for value in stays {
            prop_assert!(seen.iter().any(|held| Rc::ptr_eq(held, &value)), "{}", value);
        }
    }
}
