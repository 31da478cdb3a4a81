//! What a failed Multipass call means: kind by message, the words that matter, what to do next.
//!
//! The exit code alone says little (2 for every refusal of the daemon, 5 when the client's own
//! clock ran out). The texts are those of the recorded transcripts and of the source at 1.16.3.

use super::client::{Answer, CallError};
use crate::provider::ProviderError;

/// What went wrong, as far as it changes what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NotInstalled,
    DaemonDown,
    DaemonHangs,
    NoAccess,
    NotAuthenticated,
    Exists,
    Missing,
    Deleted,
    Busy,
    InvalidSpec,
    NoCapacity,
    Image,
    ImageServer,
    NoVirtualisation,
    BootTimeout,
    InitTimeout,
    Unreachable,
    Other,
}

/// Text to look for, in order, and what it means. Only the daemon's last words are searched:
/// its log lines on stderr are often about something else.
const MEANINGS: [(&str, Kind); 32] = [
    ("cannot connect to the multipass socket", Kind::DaemonDown),
    ("multipass_root_cert.pem", Kind::DaemonDown),
    ("socket access denied", Kind::NoAccess),
    ("is not authenticated", Kind::NotAuthenticated),
    ("Passphrase is not set", Kind::NotAuthenticated),
    ("already exists", Kind::Exists),
    ("is being prepared", Kind::Busy),
    ("while starting", Kind::Busy),
    ("scheduled to shut down", Kind::Busy),
    ("is deleted", Kind::Deleted),
    ("Custom image", Kind::Image),
    ("Unable to find an image", Kind::Image),
    ("is unknown or unreachable", Kind::ImageServer),
    ("failed to download", Kind::ImageServer),
    ("image hash does not match", Kind::Image),
    ("Available disk", Kind::NoCapacity),
    ("No space left", Kind::NoCapacity),
    ("below minimum for this image", Kind::InvalidSpec),
    ("does not exist", Kind::Missing),
    ("Invalid ", Kind::InvalidSpec),
    ("invalid ", Kind::InvalidSpec),
    ("is not a valid memory size", Kind::InvalidSpec),
    ("Could not load cloud-init", Kind::InvalidSpec),
    ("Unknown option", Kind::InvalidSpec),
    ("has to be a positive integer", Kind::InvalidSpec),
    ("KVM", Kind::NoVirtualisation),
    ("virtual machine manager is currently running", Kind::NoVirtualisation),
    ("waiting for initialization", Kind::InitTimeout),
    ("timed out waiting for response", Kind::BootTimeout),
    ("Timed out waiting for", Kind::BootTimeout),
    ("in an unknown state", Kind::Unreachable),
    ("ssh connection failed", Kind::Unreachable),
];

/// What the daemon or client meant to say.
pub(super) fn words(answer: &Answer) -> String {
    let text = if answer.stderr.trim().is_empty() { &answer.stdout } else { &answer.stderr };
    let clean = strip(text);
    let lines: Vec<&str> = clean.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let verdict = lines.iter().rposition(|line| is_verdict(line)).unwrap_or_default();
    let mut said: Vec<&str> =
        lines.iter().skip(verdict).filter(|line| !is_log(line)).copied().collect();
    if said.is_empty() && answer.code.is_some() {
        // The client's own crash is logged and nothing else.
        said = lines.last().map(|line| after_tags(line)).into_iter().collect();
    }
    let said = said.join("; ").replace(".; ", ". ");
    // Its own verb says nothing that our error does not say.
    let said = said.split_once(" failed: ").map_or(said.as_str(), |(_, rest)| rest);
    let said = said.replace("The following errors occurred:; ", "");
    if said.is_empty() { "nothing".to_owned() } else { said }
}

/// `launch failed: …`: what comes before is about earlier or other things.
fn is_verdict(line: &str) -> bool {
    line.split_once(" failed:")
        .is_some_and(|(verb, _)| verb.chars().all(|c| c.is_ascii_lowercase()))
}

/// `[2026-05-19T10:11:12.123] [error] [category] text`
fn is_log(line: &str) -> bool {
    line.starts_with('[')
}

fn after_tags(line: &str) -> &str {
    let text = line.rsplit_once("] ").map_or(line, |(_, text)| text);
    text.strip_prefix("Caught an unhandled exception: ").unwrap_or(text)
}

/// Drops `ESC[…letter`, backspaces with what they erase, and all before the last `\r`.
pub(super) fn strip(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    // The argument ends with a letter.
                    rest.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            '\u{8}' => {
                clean.pop();
            }
            '\r' => clean.truncate(clean.rfind('\n').map_or(0, |end| end + 1)),
            _ => clean.push(c),
        }
    }
    clean
}

pub(super) fn kind(answer: &Answer) -> Kind {
    let words = words(answer);
    let known = MEANINGS.iter().find(|(text, _)| words.contains(text));
    match known {
        Some((_, kind)) => *kind,
        // Its own clock ran out, or it was ended: the daemon goes on either way.
        None if matches!(answer.code, Some(5) | None) => Kind::BootTimeout,
        None => Kind::Other,
    }
}

/// What was attempted, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// `launch`, `start`, `ask multipass for its instances`.
    pub(super) verb: &'a str,
    /// Node and instance, when it is about one.
    pub(super) about: Option<(&'a str, &'a str)>,
}

impl Attempt<'_> {
    /// The error for a call that was answered with a failure.
    pub(super) fn refused(&self, answer: &Answer) -> ProviderError {
        let code = answer
            .code
            .map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit code {code}"));
        self.error(kind(answer), format!("multipass says: {} ({code})", words(answer)))
    }

    /// The error for a call without any answer.
    pub(super) fn unanswered(&self, error: CallError) -> ProviderError {
        let kind = match &error {
            CallError::NotInstalled => Kind::NotInstalled,
            CallError::Hung { .. } => Kind::DaemonHangs,
            CallError::Start { .. } => Kind::Other,
        };
        self.error(kind, error)
    }

    pub(super) fn error(
        &self,
        kind: Kind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ProviderError {
        let attempt = match self.about {
            Some((node, instance)) => format!("cannot {} {instance} for node `{node}`", self.verb),
            None => format!("cannot {}", self.verb),
        };
        ProviderError {
            attempt,
            node: self.about.map(|(node, _)| node.to_owned()),
            cause: Some(cause.into()),
            hint: hint(kind, self.about.map_or("NAME", |(_, instance)| instance)),
            transient: matches!(
                kind,
                Kind::Busy
                    | Kind::ImageServer
                    | Kind::BootTimeout
                    | Kind::InitTimeout
                    | Kind::Unreachable
            ),
        }
    }
}

/// The next command.
fn hint(kind: Kind, instance: &str) -> Option<String> {
    let mac = cfg!(target_os = "macos");
    Some(match kind {
        Kind::NotInstalled if mac => "brew install --cask multipass".into(),
        Kind::NotInstalled => {
            "sudo snap install multipass (or without VMs: natsctl up --provider local)".into()
        }
        Kind::DaemonDown | Kind::DaemonHangs if mac => {
            "sudo launchctl kickstart -k system/com.canonical.multipassd".into()
        }
        Kind::DaemonDown => "sudo snap start multipass && multipass version".into(),
        Kind::DaemonHangs => "sudo snap restart multipass && natsctl up".into(),
        Kind::NoAccess => "sudo -E natsctl … once, or join the group that owns the socket".into(),
        Kind::NotAuthenticated => "multipass authenticate".into(),
        Kind::Exists => format!(
            "it was not made by this natsctl and is left alone; give the cluster another name, \
             or remove it: multipass delete --purge {instance}"
        ),
        Kind::Missing => "natsctl up".into(),
        Kind::Deleted => format!("multipass recover {instance} && natsctl up"),
        Kind::Busy => "wait a moment, then: natsctl up".into(),
        Kind::InvalidSpec => "correct cluster.yaml (`vm:` and names), then: natsctl up".into(),
        Kind::NoCapacity => "free space on this machine (df -h), then: natsctl up".into(),
        Kind::ImageServer => {
            "multipass find (is this machine online? after a boot Multipass needs a minute), \
             then: natsctl up"
                .into()
        }
        Kind::Image => {
            "multipass find shows the images there are; set `vm.image`, then: natsctl up".into()
        }
        Kind::NoVirtualisation => {
            "sudo snap connect multipass:kvm, or enable virtualisation in the firmware; \
             without VMs: natsctl up --provider local"
                .into()
        }
        Kind::BootTimeout | Kind::InitTimeout => {
            format!(
                "it may still be booting: natsctl up goes on from here; multipass info {instance}"
            )
        }
        Kind::Unreachable => format!("multipass stop --force {instance} && natsctl up"),
        Kind::Other => return None,
    })
}
