//! Makes `/subsz`.

use std::sync::Arc;

use super::options::{SubszOptions, page};
use super::query::BadRequest;
use super::view::{SubDetail, SublistStats, Subsz};
use super::{Monitor, now, text};
use crate::account::{Account, Subscription};
use crate::subject;

impl Monitor {
    /// Subscriptions of all accounts.
    ///
    /// # Errors
    /// When the subject to test is no subject.
    pub fn subsz(&self, options: &SubszOptions) -> Result<Subsz, BadRequest> {
        let test = options.test.as_bytes();
        if !test.is_empty() && !subject::is_valid_literal(test) {
            return Err(BadRequest(format!(
                "invalid test subject, must be valid publish subject: {}",
                options.test
            )));
        }
        let (offset, limit) = page(options.offset, options.limit);
        let mut accounts = self.node.accounts.all();
        accounts.retain(|held| options.account.is_empty() || *held.name == *options.account);
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut answer =
            Subsz { offset, limit, server_id: self.server_id(), now: now(), ..Subsz::default() };
        for account in &accounts {
            add_stats(&mut answer.stats, account);
        }
        if options.subscriptions {
            let mut listed = Vec::new();
            for account in &accounts {
                for_each_that_gets(account, test, |held| {
                    if answer.total >= offset && listed.len() < limit {
                        listed.push((account, Arc::clone(held)));
                    }
                    answer.total += 1;
                });
            }
            let details = listed.iter().map(|(account, held)| detail_in(account, held));
            answer.subscriptions_list = details.collect();
        }
        Ok(answer)
    }
}

fn add_stats(sum: &mut SublistStats, account: &Account) {
    let counts = account.interest_counts();
    sum.num_subscriptions += counts.held;
    sum.num_inserts += counts.inserted;
    sum.num_removes += counts.removed;
}

/// What the matching structure of an account counts.
pub(super) fn stats_of(account: &Account) -> SublistStats {
    let mut stats = SublistStats::default();
    add_stats(&mut stats, account);
    stats
}

/// Calls `visit` with the local subscriptions of an account that would get a message on `test`, or
/// with all if that is empty. Meanwhile nobody subscribes: there may be a million.
fn for_each_that_gets(account: &Account, test: &[u8], mut visit: impl FnMut(&Arc<Subscription>)) {
    let visit = |held: &Arc<Subscription>| {
        if held.is_local() {
            visit(held);
        }
    };
    if test.is_empty() {
        account.for_each(visit);
    } else {
        account.for_each_match(test, visit);
    }
}

fn detail_in(account: &Account, held: &Subscription) -> SubDetail {
    let name = account.name.to_string();
    SubDetail { account: name.clone(), account_tag: name, ..detail_of(held) }
}

/// A local subscription of a client or of the server itself.
pub(super) fn detail_of(held: &Subscription) -> SubDetail {
    let target = held.local();
    SubDetail {
        subject: text(&held.pattern),
        qgroup: held.queue.as_deref().map(text).unwrap_or_default(),
        sid: target.map(|target| text(target.sid())).unwrap_or_default(),
        msgs: target.map_or(0, crate::account::LocalTarget::delivered),
        max: target.map_or(0, crate::account::LocalTarget::max),
        cid: target.map_or(0, |target| target.subscriber.outbound.id),
        ..SubDetail::default()
    }
}
