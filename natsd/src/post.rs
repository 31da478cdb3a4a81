//! Messages of the server itself, and the answers to them.
//!
//! For rooms that ask something of others: a message is published in an account as if a client
//! had, and an [`Inbox`] is a subject of our own where answers arrive, with a bound. Not to be
//! called from within a conversation, which has the desk of its thread in its hands.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::account::{Account, InternalHandler, Subscription, Target};
use crate::net::with_publisher;
use crate::protocol::message::{CRLF, Message};
use crate::router::{Matches, Origin};

/// Answers that may wait to be read; more are lost.
const ANSWERS_MAX: usize = 1024;

/// Publishes a message of the server; returns how many took it. `headers` is a block or empty.
pub fn publish(
    account: &Arc<Account>,
    subject: &str,
    reply: &str,
    headers: &[u8],
    payload: &[u8],
) -> usize {
    let body = [headers, payload, CRLF].concat();
    let message = Message {
        subject: subject.as_bytes(),
        reply: reply.as_bytes(),
        header_len: headers.len(),
        body: &body,
        tail: &[],
        shared: None,
    };
    let mut matches = Matches::default();
    matches.take(account, message.subject);
    with_publisher(|publisher| publisher.publish(account, &message, &matches, Origin::Server))
}

/// A subject of our own, as long as it is held.
#[derive(Debug)]
pub struct Inbox {
    /// The subject.
    pub subject: String,
    account: Arc<Account>,
    subscription: Arc<Subscription>,
    answers: mpsc::Receiver<Vec<u8>>,
}

#[derive(Debug)]
struct Slot(mpsc::Sender<Vec<u8>>);

impl InternalHandler for Slot {
    fn on_message(&self, message: &Message<'_>, _client: Option<u64>) {
        // Whoever asked has answers enough when they do not fit.
        drop(self.0.try_send(message.payload().to_vec()));
    }
}

impl Inbox {
    /// Subscribes to a new subject in an account.
    #[must_use]
    pub fn open(account: &Arc<Account>) -> Self {
        let subject = format!("$SYS._INBOX.{}", token());
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let subscription = Arc::new(Subscription {
            pattern: subject.as_bytes().into(),
            queue: None,
            target: Target::Internal(Box::new(Slot(sender))),
        });
        with_publisher(|publisher| account.subscribe(&subscription, publisher));
        Self { subject, account: Arc::clone(account), subscription, answers }
    }

    /// The payload of the next answer, if it comes in time.
    pub async fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        timeout(patience, self.answers.recv()).await.ok().flatten()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        with_publisher(|publisher| self.account.unsubscribe(&self.subscription, publisher));
    }
}

/// 22 letters that nobody guesses.
fn token() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = |_| {
        let index = rand::random::<u32>() as usize % LETTERS.len();
        char::from(LETTERS.get(index).copied().unwrap_or(b'0'))
    };
    (0..22).map(letter).collect()
}
