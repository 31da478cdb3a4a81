//! Runs the `multipass` command: found, with a deadline, in a process group of its own.
//!
//! The daemon may hang for good (seen: `list` asked just after a guest's hypervisor died), so no
//! call is made without a deadline. Nothing here reads what the command says.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::provider::BoxFuture;

/// What a finished call left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Why there is no answer at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("there is no `multipass` in PATH nor in its usual places")]
    NotInstalled,
    #[error("cannot run {}", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("multipass did not answer within {}s; its daemon hangs", limit.as_secs())]
    Hung { limit: Duration },
}

/// The one door to Multipass; the tests put recorded answers behind it.
pub(super) trait Client: Send + Sync {
    /// Runs `multipass` with these arguments. No `stdin` is an empty one.
    fn call(
        &self,
        arguments: Vec<String>,
        stdin: Option<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Answer, CallError>>;
}

/// The real command.
#[derive(Debug)]
pub(super) struct Installed;

impl Client for Installed {
    fn call(
        &self,
        arguments: Vec<String>,
        stdin: Option<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Answer, CallError>> {
        Box::pin(async move {
            let program = find().ok_or(CallError::NotInstalled)?;
            let failed = |source| CallError::Start { program: program.clone(), source };
            tracing::debug!(?arguments, "multipass");
            let mut child = start(&program, &arguments).map_err(failed)?;
            let _group = Group(child.id());
            match tokio::time::timeout(limit, finish(&mut child, stdin)).await {
                Ok(answer) => answer.map_err(failed),
                Err(_) => Err(CallError::Hung { limit }),
            }
        })
    }
}

/// A group of its own: a ctrl-c at the terminal is for us to handle, and a wrapper script's
/// children go with it.
fn start(program: &Path, arguments: &[String]) -> std::io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn finish(child: &mut Child, stdin: Option<String>) -> std::io::Result<Answer> {
    let mut input = child.stdin.take();
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let feed = async {
        if let (Some(pipe), Some(text)) = (&mut input, stdin) {
            // A command that fails early does not read: its own words say why.
            drop(pipe.write_all(text.as_bytes()).await);
        }
        drop(input);
        Ok(())
    };
    tokio::try_join!(feed, read(&mut stdout, &mut out), read(&mut stderr, &mut err))?;
    let status = child.wait().await?;
    Ok(Answer {
        code: status.code(),
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
    })
}

async fn read(
    pipe: &mut Option<impl tokio::io::AsyncRead + Unpin>,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    if let Some(pipe) = pipe {
        tokio::io::AsyncReadExt::read_to_end(pipe, into).await?;
    }
    Ok(())
}

/// Ends the whole group when the call is over or given up.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // Usually nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Services and non-login shells often lack the folder that Multipass is installed into.
const USUAL_PLACES: [&str; 3] = [
    "/snap/bin/multipass",
    "/usr/local/bin/multipass",
    "/Library/Application Support/com.canonical.multipass/bin/multipass",
];

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("multipass"));
    in_path.chain(USUAL_PLACES.map(PathBuf::from)).find(|file| file.is_file())
}
