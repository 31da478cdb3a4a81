//! Makes `/subsz`.

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
            let all: Vec<_> = accounts.iter().flat_map(|held| details(held, test)).collect();
            answer.total = all.len();
            answer.subscriptions_list = all.into_iter().skip(offset).take(limit).collect();
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

/// The local subscriptions of an account that would get a message on `test`, if that is given.
fn details(account: &Account, test: &[u8]) -> Vec<SubDetail> {
    let mut found = Vec::new();
    account.for_each(|held| {
        if (test.is_empty() || subject::matches(&held.pattern, test))
            && let Some(detail) = detail_of(held)
        {
            let name = account.name.to_string();
            found.push(SubDetail { account: name.clone(), account_tag: name, ..detail });
        }
    });
    found
}

/// A local subscription of a client or of the server itself.
pub(super) fn detail_of(held: &Subscription) -> Option<SubDetail> {
    if !held.is_local() {
        return None;
    }
    let target = held.local();
    Some(SubDetail {
        subject: text(&held.pattern),
        qgroup: held.queue.as_deref().map(text).unwrap_or_default(),
        sid: target.map(|target| text(target.sid())).unwrap_or_default(),
        msgs: target.map_or(0, crate::account::LocalTarget::delivered),
        max: target.map_or(0, crate::account::LocalTarget::max),
        cid: target.map_or(0, |target| target.subscriber.outbound.id),
        ..SubDetail::default()
    })
}
