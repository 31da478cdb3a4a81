//! Requests that a client received and may answer, although it may not publish there.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::config::ResponsePermission;

/// Requests remembered before those are sought that can be forgotten (nats-server 2.15).
const SOUGHT_BEYOND: usize = 4096;
/// Requests remembered at most: whoever is asked more at once may not answer the oldest.
const MOST: usize = 64 * 1024;

/// Requests that a client received and may answer.
#[derive(Debug)]
pub(super) struct Replies {
    terms: ResponsePermission,
    open: HashMap<Box<[u8]>, Open>,
    /// Expired ones are sought when so many are held.
    sought_at: usize,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    answers: u32,
}

impl Replies {
    pub(super) fn new(terms: ResponsePermission) -> Self {
        Self { terms, open: HashMap::new(), sought_at: SOUGHT_BEYOND }
    }

    /// A request came. One that may be answered already, because it came by another subscription
    /// or was asked again, costs an answer (nats-server); one that may not counts anew.
    pub(super) fn add(&mut self, reply: &[u8], now: Instant) {
        if self.take(reply, now) {
            return;
        }
        if self.open.len() >= self.sought_at {
            self.forget_expired(now);
        }
        self.open.insert(reply.into(), Open { since: now, answers: 0 });
    }

    /// Counts one answer if it is allowed.
    pub(super) fn take(&mut self, subject: &[u8], now: Instant) -> bool {
        let Some(open) = self.open.get_mut(subject) else { return false };
        open.answers += 1;
        let spent = self.terms.max.is_some_and(|max| open.answers > max);
        if spent || is_expired(&self.terms, open, now) {
            self.open.remove(subject);
            return false;
        }
        true
    }

    /// Half at once, so that looking for the oldest stays cheap per request.
    fn forget_older_half(&mut self) {
        let mut ages: Vec<Instant> = self.open.values().map(|open| open.since).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let (median, mut surplus) = (*median, middle);
        self.open.retain(|_, open| {
            let goes = open.since <= median && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn forget_expired(&mut self, now: Instant) {
        let terms = self.terms;
        self.open.retain(|_, open| {
            !is_expired(&terms, open, now) && terms.max.is_none_or(|max| open.answers < max)
        });
        if self.open.len() >= MOST {
            self.forget_older_half();
        }
        // Looking again only after as many more keeps the cost of a request constant.
        self.sought_at = (self.open.len() * 2).clamp(SOUGHT_BEYOND, MOST);
    }
}

fn is_expired(terms: &ResponsePermission, open: &Open, now: Instant) -> bool {
    terms.expires.is_some_and(|lifetime| now.duration_since(open.since) > lifetime)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_answers_and_not_for_ever() {
        let second = Duration::from_secs(1);
        let mut replies = Replies::new(ResponsePermission { max: Some(2), expires: Some(second) });
        let now = Instant::now();
        replies.add(b"r", now);
        assert!(!replies.take(b"x", now));
        assert!(replies.take(b"r", now) && replies.take(b"r", now));
        assert!(!replies.take(b"r", now) && !replies.take(b"r", now));
        replies.add(b"r", now);
        assert!(!replies.take(b"r", now + 2 * second), "too late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_twice_costs_an_answer() {
        let now = Instant::now();
        let terms = |max| ResponsePermission { max: Some(max), expires: None };
        let mut replies = Replies::new(terms(1));
        replies.add(b"r", now);
        replies.add(b"r", now);
        assert!(!replies.take(b"r", now));
        let mut replies = Replies::new(terms(2));
        (0..4).for_each(|_| replies.add(b"r", now));
        assert!(replies.take(b"r", now), "the fourth counts anew");
        assert!(replies.take(b"r", now) && !replies.take(b"r", now));
    }

    #[tokio::test(start_paused = true)]
    async fn unanswered_requests_do_not_pile_up() {
        let mut replies = Replies::new(ResponsePermission::default());
        let start = Instant::now();
        for index in 0..100_000_u32 {
            replies.add(&index.to_be_bytes(), start);
        }
        assert!(replies.open.len() <= MOST + 1);
        replies.add(b"late", start + Duration::from_secs(600));
        for index in 0..MOST {
            replies.add(&index.to_be_bytes(), start + Duration::from_secs(600));
        }
        assert!(replies.open.len() <= MOST + 1);
    }
}
