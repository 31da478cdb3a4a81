//! What signals ask of a server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a server heeds.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
    hangup: Signal,
}

/// What a signal asks for.
pub(super) enum Trapped {
    Interrupt,
    Terminate,
    Reopen,
    LameDuck,
    Reload,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Trapped {
        let (name, trapped) = tokio::select! {
            _ = self.interrupt.recv() => ("interrupt", Trapped::Interrupt),
            _ = self.terminate.recv() => ("terminated", Trapped::Terminate),
            _ = self.user1.recv() => ("user defined signal 1", Trapped::Reopen),
            _ = self.user2.recv() => ("user defined signal 2", Trapped::LameDuck),
            _ = self.hangup.recv() => ("hangup", Trapped::Reload),
        };
        tracing::info!("Trapped \"{name}\" signal");
        trapped
    }
}
