//! This machine, as a [`Remote`]: the same commands and files, without a network between.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;

use super::{Command, Output, Remote, RemoteError};
use crate::provider::BoxFuture;

/// Runs things on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalRemote;

const LABEL: &str = "this machine";

impl LocalRemote {
    fn spawn(command: &Command) -> Result<Child, RemoteError> {
        let mut process = if command.root && !rustix::process::geteuid().is_root() {
            let mut process = tokio::process::Command::new("sudo");
            process.args(["-n", "sh", "-c", &command.script]);
            process
        } else {
            let mut process = tokio::process::Command::new("sh");
            process.args(["-c", &command.script]);
            process
        };
        process
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A ctrl-c at the terminal is for natsctl, not for half a script.
            .process_group(0)
            .kill_on_drop(true);
        process.spawn().map_err(|source| broken("start a shell", source))
    }
}

impl Remote for LocalRemote {
    fn label(&self) -> String {
        LABEL.into()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, RemoteError>> {
        Box::pin(async move {
            let child = Self::spawn(command)?;
            match tokio::time::timeout(command.timeout, to_the_end(child, &command.stdin)).await {
                Ok(output) => output.map_err(|source| broken("run a command", source)),
                Err(_elapsed) => Err(timeout(command)),
            }
        })
    }

    fn upload<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
        mode: u32,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        let (local, remote) = (local.to_owned(), remote.to_owned());
        Box::pin(async move {
            let what = format!("copy {} to {remote}", local.display());
            let copied =
                tokio::task::spawn_blocking(move || copy(&local, Path::new(&remote), mode)).await;
            match copied {
                Ok(result) => result.map_err(|source| broken(&what, source)),
                Err(panicked) => Err(broken(&what, io::Error::other(panicked))),
            }
        })
    }

    fn follow<'a>(
        &'a self,
        command: &'a Command,
        on_line: &'a mut (dyn FnMut(&str) -> bool + Send),
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        Box::pin(async move {
            let mut child = Self::spawn(command)?;
            let Some(stdout) = child.stdout.take() else { return Ok(()) };
            drop(child.stdin.take());
            drop(child.stderr.take());
            let mut lines = BufReader::new(stdout).split(b'\n');
            let read = async {
                while let Some(line) = lines.next_segment().await? {
                    if !on_line(&String::from_utf8_lossy(&line)) {
                        break;
                    }
                }
                Ok(())
            };
            match tokio::time::timeout(command.timeout, read).await {
                Ok(result) => result.map_err(|source| broken("follow a command", source)),
                Err(_elapsed) => Err(timeout(command)),
            }
        })
    }
}

async fn to_the_end(mut child: Child, stdin: &[u8]) -> io::Result<Output> {
    let mut input = child.stdin.take();
    let mut out = child.stdout.take();
    let mut err = child.stderr.take();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let feed = async {
        if let Some(mut input) = input.take() {
            // A command that does not read its input is free to.
            drop(input.write_all(stdin).await);
        }
    };
    let read_out = async {
        match out.as_mut() {
            Some(out) => out.read_to_end(&mut stdout).await,
            None => Ok(0),
        }
    };
    let read_err = async {
        match err.as_mut() {
            Some(err) => err.read_to_end(&mut stderr).await,
            None => Ok(0),
        }
    };
    let ((), read_out, read_err, status) = tokio::join!(feed, read_out, read_err, child.wait());
    read_out?;
    read_err?;
    Ok(Output { status: code(status?), stdout, stderr })
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn copy(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut fresh = to.as_os_str().to_owned();
    fresh.push(format!(".{}.part", std::process::id()));
    let fresh = Path::new(&fresh);
    let placed = std::fs::copy(from, fresh)
        .and_then(|_| std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(mode)))
        .and_then(|()| std::fs::rename(fresh, to));
    if placed.is_err() {
        drop(std::fs::remove_file(fresh));
    }
    placed
}

fn broken(what: &str, source: io::Error) -> RemoteError {
    RemoteError::Broken { label: LABEL.into(), what: what.into(), source: Box::new(source) }
}

fn timeout(command: &Command) -> RemoteError {
    let what = command.script.lines().next().unwrap_or("a command").to_owned();
    RemoteError::Timeout { label: LABEL.into(), what, limit: command.timeout }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(script: &str) -> Command {
        Command {
            script: script.into(),
            stdin: b"in".to_vec(),
            root: false,
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn a_command_ends_with_its_own_words_and_status() {
        let output = LocalRemote.run(&command("cat; echo err >&2; exit 7")).await.unwrap();
        assert_eq!(output, Output { status: 7, stdout: b"in".into(), stderr: b"err\n".into() });
        let killed = LocalRemote.run(&command("kill -TERM $$")).await.unwrap();
        assert_eq!(killed.status, 143);
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_an_error_of_the_road() {
        let mut slow = command("sleep 60");
        slow.timeout = Duration::from_millis(50);
        let error = LocalRemote.run(&slow).await.unwrap_err();
        assert!(matches!(error, RemoteError::Timeout { .. }));
    }

    #[tokio::test]
    async fn following_stops_when_told() {
        let mut seen = Vec::new();
        let mut on_line = |line: &str| {
            seen.push(line.to_owned());
            seen.len() < 2
        };
        LocalRemote.follow(&command("yes line"), &mut on_line).await.unwrap();
        assert_eq!(seen, ["line", "line"]);
    }
}
