//! `authorization { }`, of clients and of routes.

use std::time::Duration;

use super::entry::{Entry, Report, Rule, read as read_map, set};
use super::top::text;
use crate::config::Secret;

/// An authorization block as written.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) token: Secret,
    pub(super) timeout: Option<Duration>,
}

/// Reads an authorization block.
pub(super) fn block(entry: Entry<'_>, report: &mut Report) -> Option<Block> {
    let mut block = Block::default();
    read_map(entry.map(report)?, RULES, &mut block, report);
    Some(block)
}

const RULES: &[Rule<Block>] = &[
    (&["user", "username"], |b, e, r| text(&mut b.user, e, r)),
    (&["pass", "password"], |b, e, r| set(&mut b.password, e.text(r).map(Secret::from))),
    (&["token"], |b, e, r| set(&mut b.token, e.text(r).map(Secret::from))),
    (&["timeout"], |b, e, r| match e.timeout() {
        Ok(timeout) => b.timeout = Some(timeout),
        Err(error) => {
            e.error(r, format!("error parsing authorization config, 'timeout' {error}"));
        }
    }),
];
