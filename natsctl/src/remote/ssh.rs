//! A machine over SSH. One connection, made when first needed and again when it broke; every
//! command is a channel on it. The host key is checked before any secret is sent.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use russh::{Channel, ChannelMsg, Preferred, Sig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::host_key::{Found, Trust, Verifier};
use super::{BoxFuture, Command, Output, Remote, RemoteError, keys, quote};

/// Where and how to log in.
#[derive(Clone)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// SSH port.
    pub port: u16,
    /// Login user; root, or one with password-less sudo.
    pub user: String,
    /// Our private key.
    pub key: Arc<PrivateKey>,
    /// Which host key is the right one.
    pub trust: Trust,
    /// From the first packet to the accepted key.
    pub connect_timeout: Duration,
}

/// One machine over SSH.
pub struct Ssh {
    login: Login,
    session: Mutex<Option<Arc<Handle<Verifier>>>>,
}

/// A command's output is kept up to this size; no command of ours prints a hundredth of it.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// An open connection answers a request for a channel within a round trip; the rest is patience.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// Three unanswered ones end the connection: a machine that lost power is noticed in 15 s.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// The slowest link an upload is still expected to finish on.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 128 << 10;

type Source = Box<dyn std::error::Error + Send + Sync>;

impl Ssh {
    /// Names a machine; nothing is sent before the first use.
    #[must_use]
    pub fn new(login: Login) -> Self {
        Self { login, session: Mutex::new(None) }
    }

    /// Connects and logs in now, and says how the host key was found.
    ///
    /// # Errors
    /// As for any first use.
    pub async fn connect(&self) -> Result<Found, RemoteError> {
        let (session, found) = self.open_session().await?;
        *self.session.lock().await = Some(session);
        Ok(found)
    }

    async fn open_session(&self) -> Result<(Arc<Handle<Verifier>>, Found), RemoteError> {
        let limit = self.login.connect_timeout;
        let (verifier, found) = Verifier::new(self.login.trust.clone());
        let session = match timeout(limit, self.dial(verifier, &found)).await {
            Ok(opened) => opened?,
            Err(_) => {
                let what = "connecting".to_owned();
                return Err(RemoteError::Timeout { label: self.label(), what, limit });
            }
        };
        let found = found.get().cloned().unwrap_or(Found::Expected);
        Ok((Arc::new(session), found))
    }

    async fn dial(
        &self,
        verifier: Verifier,
        found: &OnceLock<Found>,
    ) -> Result<Handle<Verifier>, RemoteError> {
        let login = &self.login;
        let no_way = |source: Source| RemoteError::Connect { label: self.label(), source };
        let stream = TcpStream::connect((login.host.as_str(), login.port))
            .await
            .map_err(|error| no_way(error.into()))?;
        stream.set_nodelay(true).map_err(|error| no_way(error.into()))?;
        let mut session = client::connect_stream(Arc::new(config(&login.trust)), stream, verifier)
            .await
            .map_err(|error| self.not_opened(error, found))?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&login.key), None);
        let answer = session
            .authenticate_publickey(login.user.as_str(), key)
            .await
            .map_err(|error| self.not_opened(error, found))?;
        if answer.success() {
            return Ok(session);
        }
        let key = keys::fingerprint(login.key.public_key());
        Err(RemoteError::Refused { label: self.label(), key })
    }

    /// russh only says `unknown key`; the verifier knows what was wrong with it.
    fn not_opened(&self, error: russh::Error, found: &OnceLock<Found>) -> RemoteError {
        let label = self.label();
        match found.get() {
            Some(Found::Other { seen, expected }) => {
                RemoteError::HostKey { label, seen: seen.clone(), expected: expected.clone() }
            }
            Some(Found::Unknown { fingerprint }) => {
                let source = format!("its host key {fingerprint} is not known yet");
                RemoteError::Connect { label, source: source.into() }
            }
            Some(Found::Unchecked(reason)) => {
                RemoteError::Connect { label, source: reason.clone().into() }
            }
            _ => RemoteError::Connect { label, source: error.into() },
        }
    }

    /// A channel on the open connection, or on a fresh one when there is none or it broke. Safe
    /// for any command, since none has been sent yet.
    async fn open_channel(&self) -> Result<Channel<Msg>, RemoteError> {
        let held = self.session.lock().await.clone();
        if let Some(session) = held
            && !session.is_closed()
            && let Ok(Ok(channel)) = timeout(CHANNEL_TIMEOUT, session.channel_open_session()).await
        {
            return Ok(channel);
        }
        let mut slot = self.session.lock().await;
        let (session, _) = self.open_session().await?;
        *slot = Some(Arc::clone(&session));
        drop(slot);
        match timeout(CHANNEL_TIMEOUT, session.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(self.broken("opening a channel", error)),
            Err(_) => Err(self.too_slow("opening a channel", CHANNEL_TIMEOUT)),
        }
    }

    /// Sends a command line with its input and hands each piece of output to `on_output`, which
    /// may end it early by returning false. `None` is an end without a status.
    async fn exchange(
        &self,
        line: &str,
        input: Input<'_>,
        on_output: &mut (dyn FnMut(Stream, &[u8]) -> bool + Send),
    ) -> Result<Option<i32>, RemoteError> {
        let channel = self.open_channel().await?;
        channel.exec(true, line).await.map_err(|error| self.broken("starting a command", error))?;
        let (mut messages, write_half) = channel.split();
        let mut writer = Box::pin(write_half.make_writer());
        let feed = async {
            match input {
                Input::Open => std::future::pending().await,
                Input::Bytes(bytes) => writer.write_all(bytes).await?,
                Input::File(mut file) => {
                    tokio::io::copy(&mut file, &mut writer).await?;
                }
            }
            writer.shutdown().await
        };
        tokio::pin!(feed);
        let (mut fed, mut status) = (false, None);
        loop {
            let message = tokio::select! {
                // A refused input is no failure of its own: what the command says about it is.
                _ = &mut feed, if !fed => { fed = true; continue; }
                message = messages.wait() => message,
            };
            let go_on = match message {
                None => break,
                Some(ChannelMsg::Data { data }) => on_output(Stream::Out, &data),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => on_output(Stream::Err, &data),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    status = Some(i32::try_from(exit_status).unwrap_or(i32::MAX));
                    true
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    status = Some(128 + signal_number(&signal_name));
                    true
                }
                Some(ChannelMsg::Failure) => {
                    return Err(self.broken("starting a command", "the server refused to run it"));
                }
                Some(_) => true,
            };
            if !go_on {
                // Gone either way; the other side may have closed first.
                drop(write_half.close().await);
                break;
            }
        }
        Ok(status)
    }

    async fn collect(&self, line: &str, input: Input<'_>) -> Result<Output, RemoteError> {
        let mut output = Output { status: 0, stdout: Vec::new(), stderr: Vec::new() };
        let mut keep = |stream: Stream, bytes: &[u8]| {
            let into = if stream == Stream::Out { &mut output.stdout } else { &mut output.stderr };
            into.extend_from_slice(bytes);
            into.len() < OUTPUT_BYTES_MAX
        };
        let ended = self.exchange(line, input, &mut keep).await?;
        if output.stdout.len().max(output.stderr.len()) >= OUTPUT_BYTES_MAX {
            return Err(self.broken("reading a command's output", "it is larger than 64 MiB"));
        }
        let Some(status) = ended else {
            return Err(self.broken("running a command", "the connection closed before its end"));
        };
        output.status = status;
        if status == 1 && output.stderr.starts_with(b"sudo: ") && output.stdout.is_empty() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(self.broken("becoming root", words));
        }
        Ok(output)
    }

    /// Wraps a script so that a shell runs it, as root if asked, and the machine itself ends it
    /// a moment after we gave up on it.
    fn line(&self, script: &str, root: bool, limit: Duration) -> String {
        let sudo = self.sudo(root);
        format!("{sudo}timeout -k 5 {} sh -c {}", limit.as_secs() + 2, quote(script))
    }

    fn sudo(&self, root: bool) -> &'static str {
        if root && self.login.user != "root" { "sudo -n -- " } else { "" }
    }

    fn broken(&self, what: &str, source: impl Into<Source>) -> RemoteError {
        RemoteError::Broken { label: self.label(), what: what.to_owned(), source: source.into() }
    }

    fn too_slow(&self, what: &str, limit: Duration) -> RemoteError {
        RemoteError::Timeout { label: self.label(), what: what.to_owned(), limit }
    }

    async fn run_to_end(&self, command: &Command) -> Result<Output, RemoteError> {
        let line = self.line(&command.script, command.root, command.timeout);
        let work = self.collect(&line, Input::Bytes(&command.stdin));
        match timeout(command.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(self.too_slow(&title(&command.script), command.timeout)),
        }
    }

    async fn upload_file(&self, local: &Path, remote: &str, mode: u32) -> Result<(), RemoteError> {
        let what = format!("uploading {} to {remote}", local.display());
        let (size_bytes, digest) =
            fingerprint_file(local).await.map_err(|error| self.broken(&what, error))?;
        let file = tokio::fs::File::open(local).await.map_err(|error| self.broken(&what, error))?;
        let limit = Duration::from_secs(60 + size_bytes / UPLOAD_BYTES_PER_SECOND_MIN);
        let line = self.line(&receive_script(remote, mode, &digest), true, limit);
        let work = self.collect(&line, Input::File(Box::new(file)));
        let output = match timeout(limit, work).await {
            Ok(done) => done.map_err(|error| self.during(&what, error))?,
            Err(_) => return Err(self.too_slow(&what, limit)),
        };
        if output.status == 0 {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let words = if words.is_empty() { format!("exit status {}", output.status) } else { words };
        Err(self.broken(&what, words))
    }

    /// Names the greater thing a small failure was part of.
    fn during(&self, what: &str, error: RemoteError) -> RemoteError {
        match error {
            RemoteError::Broken { what: part, source, .. } => {
                self.broken(what, format!("{part}: {source}"))
            }
            other => other,
        }
    }

    async fn follow_lines(
        &self,
        command: &Command,
        on_line: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<(), RemoteError> {
        let line = format!("{}sh -c {}", self.sudo(command.root), quote(&leashed(&command.script)));
        let mut lines = Lines::default();
        let mut stopped = false;
        let mut split = |_: Stream, bytes: &[u8]| {
            stopped = !lines.push(bytes, on_line);
            !stopped
        };
        match timeout(command.timeout, self.exchange(&line, Input::Open, &mut split)).await {
            Err(_) => return Err(self.too_slow(&title(&command.script), command.timeout)),
            Ok(ended) => {
                if ended?.is_none() && !stopped {
                    return Err(self.broken("following output", "the connection closed"));
                }
            }
        }
        if !stopped {
            lines.finish(on_line);
        }
        Ok(())
    }
}

impl Remote for Ssh {
    fn label(&self) -> String {
        format!("{}@{}:{}", self.login.user, self.login.host, self.login.port)
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Output, RemoteError>> {
        Box::pin(self.run_to_end(command))
    }

    fn upload<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
        mode: u32,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        Box::pin(self.upload_file(local, remote, mode))
    }

    fn follow<'a>(
        &'a self,
        command: &'a Command,
        on_line: &'a mut (dyn FnMut(&str) -> bool + Send),
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        Box::pin(self.follow_lines(command, on_line))
    }
}

/// What a command reads.
enum Input<'a> {
    Bytes(&'a [u8]),
    File(Box<dyn AsyncRead + Send + Unpin>),
    /// Nothing, and no end of file either for as long as we listen.
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

fn config(trust: &Trust) -> client::Config {
    let mut preferred = Preferred::default();
    if let Some(known) = trust.algorithms() {
        preferred.key = Cow::Owned(known);
    }
    client::Config {
        preferred,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    }
}

/// Writes standard input beside the target, checks it, and only then takes the target's place.
/// `cat` says in its own words when the disk is full; the old file is untouched then. What an
/// upload left that was cut off with its machine goes first: there is one at a time.
fn receive_script(remote: &str, mode: u32, digest: &str) -> String {
    let target = quote(remote);
    format!(
        "set -eu; umask 077; target={target}; fresh=\"$target.$$.upload\"; \
         rm -f \"$target\".*.upload; trap 'rm -f \"$fresh\"' EXIT; trap 'exit 1' HUP INT PIPE TERM; \
         cat >\"$fresh\"; \
         sum=$(sha256sum <\"$fresh\"); sum=${{sum%% *}}; \
         [ \"$sum\" = {digest} ] || {{ echo \"checksum $sum after the copy, {digest} before\" >&2; exit 1; }}; \
         chmod {mode:o} \"$fresh\"; sync \"$fresh\"; mv -f \"$fresh\" \"$target\"; sync \"$(dirname \"$target\")\""
    )
}

/// Ends the script and all it started when our side of the connection goes away: a `tail -f`
/// would otherwise live on until its next line.
fn leashed(script: &str) -> String {
    format!(
        "exec 3<&0; setsid sh -c {} </dev/null 3<&- & child=$!; \
         {{ cat <&3; kill -- -$child; }} >/dev/null 2>&1 & watch=$!; exec 3<&-; \
         wait $child; status=$?; kill $watch 2>/dev/null; exit $status",
        quote(script)
    )
}

async fn fingerprint_file(path: &Path) -> std::io::Result<(u64, String)> {
    let path = path.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let size_bytes = std::io::copy(&mut file, &mut HashWriter(&mut hasher))?;
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((size_bytes, digest))
    });
    work.await.map_err(std::io::Error::other)?
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], on_line: &mut (dyn FnMut(&str) -> bool + Send)) -> bool {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.rest.drain(..=end).collect();
            line.pop();
            if !on_line(&String::from_utf8_lossy(&line)) {
                return false;
            }
        }
        // A line without end must not grow without bound: hand it over in pieces.
        if self.rest.len() > 1 << 20 {
            return on_line(&String::from_utf8_lossy(&std::mem::take(&mut self.rest)));
        }
        true
    }

    fn finish(self, on_line: &mut (dyn FnMut(&str) -> bool + Send)) {
        if !self.rest.is_empty() {
            on_line(&String::from_utf8_lossy(&self.rest));
        }
    }
}

/// First words of a script, for an error text.
fn title(script: &str) -> String {
    let line = script.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    let short: String = line.chars().take(60).collect();
    if short.len() < line.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

/// Linux numbers, as a shell adds them to 128.
fn signal_number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "BUS" | "BUS@openssh.com" => 7,
            "USR2" => 12,
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lines_wherever_they_are_cut() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in ["a\nb", "c\n", "\nd"] {
            assert!(lines.push(piece.as_bytes(), &mut |line| {
                seen.push(line.to_owned());
                true
            }));
        }
        lines.finish(&mut |line| {
            seen.push(line.to_owned());
            true
        });
        assert_eq!(seen, ["a", "bc", "", "d"]);
    }

    #[test]
    fn a_script_is_named_by_its_first_line() {
        assert_eq!(title("\n  systemctl start natsd\nexit 3"), "`systemctl start natsd`");
        assert_eq!(title(&"x".repeat(70)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn a_local_shell_can_run_what_an_upload_sends() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("it's here");
        std::fs::write(&target, "old").unwrap();
        std::fs::write(folder.path().join("it's here.7.upload"), "cut off").unwrap();
        let run = |digest: &str| {
            let script = receive_script(target.to_str().unwrap(), 0o755, digest);
            let mut shell = std::process::Command::new("sh")
                .args(["-c", &script])
                .stdin(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"new").unwrap();
            shell.wait_with_output().unwrap()
        };
        let refused = run("0000");
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("after the copy"));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
        let digest = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
        let accepted = run(digest);
        assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
