//! Threads for checks that take long, so that no serving thread ever computes a password hash.
//!
//! A connection hands a [`HashCheck`] in and is woken when its [`Answer`] is there. The threads
//! start with the first check. Checks whose connection is gone are skipped; when too many wait
//! already, a new one is answered "no" at once: a flood of logins must not grow a queue.

use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::auth::HashCheck;

/// Checks that may wait. At 60 ms each far more than any authentication timeout lets through.
const WAITING_MAX: usize = 1024;

/// The threads that check.
#[derive(Debug, Default)]
pub struct Verifier {
    jobs: OnceLock<Option<SyncSender<Job>>>,
}

#[derive(Debug)]
struct Job {
    check: HashCheck,
    answer: oneshot::Sender<bool>,
}

/// The answer to come.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<bool>);

impl Answer {
    /// Whether the secret was right, once that is known.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(false))
    }
}

impl Verifier {
    /// Hands a check in.
    #[must_use]
    pub fn ask(&self, check: HashCheck) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let sent = self
            .jobs
            .get_or_init(start)
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(Job { check, answer }).is_ok());
        if !sent {
            tracing::error!("Too many password checks are waiting: refused one");
        }
        Answer(receiver)
    }
}

/// Half of the cores check passwords at most, so that the others go on serving.
fn start() -> Option<SyncSender<Job>> {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let receiver = Arc::new(Mutex::new(receiver));
    let count = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
    let mut started = 0;
    for index in 0..count {
        let receiver = Arc::clone(&receiver);
        let thread = std::thread::Builder::new().name(format!("natsd-verify-{index}"));
        match thread.spawn(move || work(&receiver)) {
            Ok(_) => started += 1,
            Err(error) => tracing::error!("Could not start a thread for passwords: {error}"),
        }
    }
    (started > 0).then_some(sender)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        let Ok(Job { check, answer }) = job else { return };
        if !answer.is_closed() {
            let right = check.run();
            if answer.send(right).is_err() {
                continue; // the connection has ended meanwhile
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::auth::{Verdict, verify};
    use crate::config::Secret;

    #[tokio::test]
    async fn checks_are_answered_elsewhere() {
        let verifier = Verifier::default();
        let hash = Secret::new(bcrypt::hash("right", 4).unwrap());
        for (given, expected) in [("right", true), ("wrong", false)] {
            let Verdict::Hashed(check) = verify(&hash, given) else { panic!("not hashed") };
            let mut answer = verifier.ask(check);
            assert_eq!(poll_fn(|cx| answer.poll(cx)).await, expected);
        }
    }
}
