//! Patterns with wildcards, as a trie of tokens.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{Interested, Places, Values};
use crate::subject;

/// A trie over the tokens of patterns.
#[derive(Debug)]
pub(super) struct Trie<S> {
    root: Level<S>,
}

/// The branches below one prefix.
#[derive(Debug)]
struct Level<S> {
    /// Branches by literal token; boxed, since most levels have none or one.
    literals: Option<Box<Literals<S>>>,
    /// The branch of `*`.
    star: Option<Box<Branch<S>>>,
    /// The values that end here with `>`.
    rest: Values<S>,
}

type Literals<S> = HashMap<Box<[u8]>, Branch<S>>;

/// What follows one token.
#[derive(Debug)]
struct Branch<S> {
    /// The values whose pattern ends with this token.
    here: Values<S>,
    /// The tokens that may follow.
    next: Level<S>,
}

impl<S> Level<S> {
    fn new() -> Self {
        Self { literals: None, star: None, rest: SmallVec::new() }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_none() && self.star.is_none() && self.rest.is_empty()
    }
}

impl<S> Branch<S> {
    fn new() -> Self {
        Self { here: SmallVec::new(), next: Level::new() }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.next.is_empty()
    }
}

impl<S: Interested> Trie<S> {
    pub(super) fn new() -> Self {
        Self { root: Level::new() }
    }

    pub(super) fn insert(&mut self, value: S, places: &mut Places) {
        let mut level = &mut self.root;
        let mut tokens = subject::tokens(value.pattern()).peekable();
        while let Some(token) = tokens.next() {
            if token == b">" {
                places.push(&mut level.rest, value.clone());
                return;
            }
            let branch = level.branch_mut(token);
            if tokens.peek().is_none() {
                places.push(&mut branch.here, value.clone());
                return;
            }
            level = &mut branch.next;
        }
    }

    pub(super) fn remove(&mut self, value: &S, places: &mut Places) -> bool {
        self.root.remove(value.pattern(), value, places)
    }

    pub(super) fn of(&self, pattern: &[u8]) -> &[S] {
        let mut level = &self.root;
        let mut tokens = subject::tokens(pattern).peekable();
        while let Some(token) = tokens.next() {
            if token == b">" {
                return &level.rest;
            }
            let Some(branch) = level.branch(token) else { return &[] };
            if tokens.peek().is_none() {
                return &branch.here;
            }
            level = &branch.next;
        }
        &[]
    }

    /// Returns how many levels and values it looked at.
    pub(super) fn for_each_match<'a>(
        &'a self,
        subject: &[u8],
        visit: &mut impl FnMut(&'a S),
    ) -> usize {
        self.root.for_each_match(Some(subject), visit)
    }

    pub(super) fn for_each_pattern<'a>(&'a self, visit: &mut impl FnMut(&'a [S])) {
        self.root.for_each_pattern(visit);
    }
}

impl<S: Interested> Level<S> {
    fn branch(&self, token: &[u8]) -> Option<&Branch<S>> {
        if token == b"*" {
            return self.star.as_deref();
        }
        self.literals.as_ref()?.get(token)
    }

    fn branch_mut(&mut self, token: &[u8]) -> &mut Branch<S> {
        if token == b"*" {
            return self.star.get_or_insert_with(|| Box::new(Branch::new()));
        }
        let literals = self.literals.get_or_insert_with(Box::default);
        literals.entry(token.into()).or_insert_with(Branch::new)
    }

    /// `rest` is what is left of the value's pattern.
    fn remove(&mut self, rest: &[u8], value: &S, places: &mut Places) -> bool {
        let (token, rest) = split_token(rest);
        match token {
            b">" => places.take(&mut self.rest, value),
            b"*" => {
                let Some(branch) = self.star.as_deref_mut() else { return false };
                let removed = branch.remove(rest, value, places);
                if branch.is_empty() {
                    self.star = None;
                }
                removed
            }
            _ => self.remove_literal(token, rest, value, places),
        }
    }

    fn remove_literal(
        &mut self,
        token: &[u8],
        rest: Option<&[u8]>,
        value: &S,
        places: &mut Places,
    ) -> bool {
        let Some(literals) = self.literals.as_deref_mut() else { return false };
        let Some(branch) = literals.get_mut(token) else { return false };
        let removed = branch.remove(rest, value, places);
        if branch.is_empty() {
            literals.remove(token);
            if literals.is_empty() {
                self.literals = None;
            } else if literals.len() * 8 < literals.capacity() {
                literals.shrink_to_fit();
            }
        }
        removed
    }

    /// `rest` is what is left of the subject, `None` when all its tokens are used. An empty token
    /// matches nothing; that no literal is empty is known.
    fn for_each_match<'a>(&'a self, rest: Option<&[u8]>, visit: &mut impl FnMut(&'a S)) -> usize {
        let Some(rest) = rest else { return 0 };
        let mut steps = 1;
        if !self.rest.is_empty() && !subject::has_empty_token(rest) {
            steps += self.rest.len();
            self.rest.iter().for_each(&mut *visit);
        }
        let (token, rest) = split_token(rest);
        if let Some(branch) = self.literals.as_deref().and_then(|map| map.get(token)) {
            steps += branch.for_each_match(rest, visit);
        }
        if let Some(branch) = self.star.as_deref().filter(|_| !token.is_empty()) {
            steps += branch.for_each_match(rest, visit);
        }
        steps
    }

    fn for_each_pattern<'a>(&'a self, visit: &mut impl FnMut(&'a [S])) {
        visit_some(&self.rest, visit);
        let literals = self.literals.as_deref().into_iter().flat_map(HashMap::values);
        for branch in literals.chain(self.star.as_deref()) {
            visit_some(&branch.here, visit);
            branch.next.for_each_pattern(visit);
        }
    }
}

impl<S: Interested> Branch<S> {
    fn remove(&mut self, rest: Option<&[u8]>, value: &S, places: &mut Places) -> bool {
        match rest {
            None => places.take(&mut self.here, value),
            Some(rest) => self.next.remove(rest, value, places),
        }
    }

    fn for_each_match<'a>(&'a self, rest: Option<&[u8]>, visit: &mut impl FnMut(&'a S)) -> usize {
        match rest {
            None => {
                self.here.iter().for_each(visit);
                self.here.len()
            }
            some => self.next.for_each_match(some, visit),
        }
    }
}

/// The first token, and what follows its dot.
fn split_token(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'.', rest) {
        Some(dot) => (rest.get(..dot).unwrap_or_default(), rest.get(dot + 1..)),
        None => (rest, None),
    }
}

fn visit_some<'a, S>(values: &'a Values<S>, visit: &mut impl FnMut(&'a [S])) {
    if !values.is_empty() {
        visit(values);
    }
}
