//! Requests of ordinary accounts about themselves: passed on to all servers within the system
//! account, and the answers passed back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::System;
use super::inlet::{ACCOUNT_PINGS, Request};

/// How long answers are waited for; every server may send one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may be under way; the oldest gives way to a further one.
const UNDER_WAY_MAX: usize = 1024;

/// Requests under way.
#[derive(Debug)]
pub(super) struct Relay {
    /// Subject of answers, up to the number of the request.
    prefix: String,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    /// Oldest first, numbers ascending.
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    number: u64,
    account: Arc<str>,
    reply: Vec<u8>,
    until: Instant,
}

impl Relay {
    pub(super) fn new(server_id: &str) -> Self {
        Self { prefix: format!("$SYS._INBOX.{server_id}."), under_way: Mutex::default() }
    }

    /// What the answers come on.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    pub(super) fn is_answer(&self, request: &Request) -> bool {
        request.account.is_none() && request.subject.starts_with(&self.prefix)
    }

    /// Remembers where the answers go; returns the subject on which they are to come.
    fn hold(&self, account: &Arc<str>, reply: &[u8]) -> String {
        let now = Instant::now();
        let mut under_way = self.under_way.lock();
        while under_way
            .held
            .front()
            .is_some_and(|oldest| oldest.until <= now || under_way.held.len() >= UNDER_WAY_MAX)
        {
            under_way.held.pop_front();
        }
        under_way.next += 1;
        let number = under_way.next;
        under_way.held.push_back(Held {
            number,
            account: Arc::clone(account),
            reply: reply.to_vec(),
            until: now + PATIENCE,
        });
        format!("{}{number}", self.prefix)
    }

    /// Where an answer goes, if it is not too late.
    fn find(&self, subject: &str) -> Option<(Arc<str>, Vec<u8>)> {
        let number = subject.strip_prefix(&self.prefix)?.parse::<u64>().ok()?;
        let under_way = self.under_way.lock();
        let place = under_way.held.binary_search_by_key(&number, |held| held.number).ok()?;
        let held = under_way.held.get(place).filter(|held| held.until > Instant::now())?;
        Some((Arc::clone(&held.account), held.reply.clone()))
    }
}

impl System {
    /// Passes a request on, clamped to the account that it came from.
    pub(super) fn relay_request(&self, request: Request) {
        let Some(account) = &request.account else { return };
        let known = ACCOUNT_PINGS.iter().find(|(subject, _)| *subject == request.subject);
        let Some((_, document)) = known.filter(|_| !request.reply.is_empty()) else { return };
        let answers = self.relay.hold(account, &request.reply);
        let subject = format!("$SYS.REQ.ACCOUNT.{account}.{document}");
        self.publish(&self.account, subject.as_bytes(), answers.as_bytes(), request.payload());
    }

    /// Passes an answer back.
    pub(super) fn relay_answer(&self, answer: &Request) {
        let Some((account, reply)) = self.relay.find(&answer.subject) else { return };
        if let Some(account) = self.node().accounts.find(account.as_bytes()) {
            self.send(&account, &reply, &[], answer.header_len, &answer.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_find_their_way_back_for_a_while() {
        let relay = Relay::new("N1");
        let first = relay.hold(&"A".into(), b"r1");
        let second = relay.hold(&"B".into(), b"r2");
        assert_eq!(second, "$SYS._INBOX.N1.2");
        assert_eq!(relay.find(&first), Some(("A".into(), b"r1".to_vec())));
        assert_eq!(relay.find(&second), Some(("B".into(), b"r2".to_vec())));
        assert_eq!(relay.find("$SYS._INBOX.N1.3"), None);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(relay.find(&first), None);
        for _ in 0..2 * UNDER_WAY_MAX {
            relay.hold(&"A".into(), b"r");
        }
        assert_eq!(relay.under_way.lock().held.len(), UNDER_WAY_MAX);
    }
}
