//! Ctrl-c, or a polite request to end: the end of the verb, unless the verb answers the first.

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Who answers the next interruption.
#[derive(Default)]
pub(super) struct Interrupt {
    answered_by: Mutex<Option<CancellationToken>>,
}

impl Interrupt {
    /// The next interruption cancels this token alone: its owner ends by itself then. One more
    /// ends the verb.
    pub(super) fn answer_by(&self, token: CancellationToken) {
        *self.answered_by.lock() = Some(token);
    }

    /// Waits for an interruption that nobody answers.
    pub(super) async fn unanswered(&self) {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let answered_by = self.answered_by.lock().take();
            match answered_by {
                Some(token) => token.cancel(),
                None => return,
            }
        }
    }
}
