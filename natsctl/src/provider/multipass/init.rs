//! What cloud-init says of itself, and waiting for its end.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::failure::{Attempt, Kind};
use super::{BOOT_LIMIT, Multipass, SSH_LIMIT};
use crate::provider::{Machine, Progress, ProviderError};
use crate::remote::{Command, Remote};

impl Multipass {
    /// Multipass calls a launch good when cloud-init has ended, well or not: look ourselves.
    pub(super) async fn await_cloud_init(
        &self,
        machine: &Machine,
        fresh: bool,
        progress: &dyn Progress,
    ) -> Result<(), ProviderError> {
        let limit = if fresh { BOOT_LIMIT } else { SSH_LIMIT };
        progress.step(&format!("waiting for cloud-init (at most {}s)", limit.as_secs()));
        let (_, remote) = self.open(machine).await?;
        let attempt = Attempt { verb: "prepare", about: Some((&machine.node, &machine.id)) };
        let ask = Command {
            script: "uname -m >&2; command -v cloud-init >/dev/null || exit 0; \
                     cloud-init status --format json"
                .to_owned(),
            stdin: Vec::new(),
            root: false,
            timeout: Duration::from_secs(30),
        };
        let deadline = Instant::now() + limit;
        loop {
            let output = remote.run(&ask).await.map_err(|e| attempt.error(Kind::Unreachable, e))?;
            match Init::read(&output.stdout) {
                Init::Done => return Ok(()),
                Init::Failed(why) => {
                    // Our key and user are there, or this would not have been read.
                    progress
                        .warn(&format!("cloud-init on {} ended with an error: {why}", machine.id));
                    return Ok(());
                }
                Init::Busy if Instant::now() >= deadline => {
                    let cause = format!("cloud-init has not ended after {}s", limit.as_secs());
                    return Err(attempt.error(Kind::InitTimeout, cause));
                }
                Init::Busy => sleep(self.pause).await,
            }
        }
    }
}

/// What cloud-init says of itself.
pub(super) enum Init {
    Busy,
    Done,
    Failed(String),
}

impl Init {
    /// No output is a machine without cloud-init: nothing to wait for.
    pub(super) fn read(stdout: &[u8]) -> Self {
        if stdout.iter().all(u8::is_ascii_whitespace) {
            return Self::Done;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(stdout) else { return Self::Busy };
        let text = |key| answer.get(key).and_then(Value::as_str).unwrap_or("");
        match text("status") {
            "done" | "disabled" | "degraded done" => Self::Done,
            "error" => {
                let first = answer.get("errors").and_then(|errors| errors.get(0)?.as_str());
                Self::Failed(first.unwrap_or_else(|| text("detail")).chars().take(300).collect())
            }
            _ => Self::Busy,
        }
    }
}
