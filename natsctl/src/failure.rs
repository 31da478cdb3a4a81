//! The one error a person meets: what could not be done, why, what to do next, what is left.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

use serde_json::{Value, json};

use crate::apply::{NodeError, Trouble};
use crate::deploy::DeployError;
use crate::observe::LookError;
use crate::provider::ProviderError;
use crate::remote::RemoteError;
use crate::report::{Paint, stderr_paint};
use crate::state::StateError;
use crate::topology::problem::Problems;

/// What kind of failure; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Something nobody thought of.
    Unexpected = 1,
    /// The command line.
    Usage = 2,
    /// cluster.yaml.
    ClusterFile = 3,
    /// Machines.
    Provider = 4,
    /// Reaching a machine, or doing something on it.
    Remote = 5,
    /// The cluster is not what it should be.
    Verdict = 6,
    /// Some nodes are where they should be, some are not.
    Partly = 7,
    /// Another natsctl is changing the cluster.
    Busy = 8,
    /// ctrl-c.
    Interrupted = 130,
}

impl Kind {
    /// Its name for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::ClusterFile => "cluster_file",
            Self::Provider => "provider",
            Self::Remote => "remote",
            Self::Verdict => "verdict",
            Self::Partly => "partly",
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One thing that went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The node it went wrong on, if it was one.
    pub node: Option<String>,
    /// What could not be done.
    pub what: String,
    /// Why, to the root.
    pub causes: Vec<String>,
    /// What to do next, commands to paste.
    pub hints: Vec<String>,
}

/// What a person is told when a verb fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub kind: Kind,
    /// At least one.
    pub stories: Vec<Story>,
    /// What is left running.
    pub left: Option<String>,
}

impl Failure {
    /// A failure with its first line.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let story = Story { what: what.into(), ..Story::default() };
        Self { kind, stories: vec![story], left: None }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        if let Some(story) = self.stories.last_mut() {
            story.causes.push(cause.into());
        }
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(story) = self.stories.last_mut() {
            story.hints.push(hint.into());
        }
        self
    }

    /// Says what is left running.
    #[must_use]
    pub fn left(mut self, left: impl Into<String>) -> Self {
        self.left = Some(left.into());
        self
    }

    /// The failure of an error that has no story of its own.
    #[must_use]
    pub fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        failure.add_causes(error);
        failure
    }

    /// Several nodes' failures as one; `all` when no node got there.
    #[must_use]
    pub fn of_nodes(errors: &[NodeError], all: bool) -> Self {
        let stories = errors.iter().flat_map(|error| Self::from(error).stories).collect();
        let first = errors.first().map_or(Kind::Unexpected, |error| kind_of(&error.trouble));
        let kind = if all { first } else { Kind::Partly };
        Self { kind, stories, left: None }
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.kind as u8
    }

    fn add_causes(&mut self, error: &(dyn Error + 'static)) {
        let Some(story) = self.stories.last_mut() else { return };
        let mut said = story.what.clone();
        let mut source = error.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !said.ends_with(&words) {
                story.causes.push(words.clone());
            }
            said = words;
            source = cause.source();
        }
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let problems = self.stories.iter().map(|story| {
            json!({
                "node": story.node,
                "message": story.what,
                "causes": story.causes,
                "hints": story.hints,
            })
        });
        json!({
            "error": {
                "kind": self.kind.word(),
                "exit_code": self.code(),
                "problems": problems.collect::<Vec<_>>(),
                "left": self.left,
            }
        })
    }

    /// Says on which node.
    fn on(mut self, node: &str) -> Self {
        for story in &mut self.stories {
            story.node = Some(node.to_owned());
        }
        self
    }

    /// The text for a terminal.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let mut text = String::new();
        for story in &self.stories {
            text.push_str(&format!("{} {}\n", paint.bad("error:"), indent(&story.what)));
            for cause in &story.causes {
                text.push_str(&format!("{} {}\n", paint.bold("cause:"), indent(cause)));
            }
            for hint in &story.hints {
                text.push_str(&format!("{} {}\n", paint.good(" hint:"), indent(hint)));
            }
        }
        if let Some(left) = &self.left {
            text.push_str(&format!("{} {}\n", paint.bold(" left:"), indent(left)));
        }
        text
    }
}

/// Further lines stand under the first.
fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n       ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(stderr_paint()))
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let stories = problems.list.len();
        let what = match stories {
            1 => format!("{} has a problem", problems.file.display()),
            _ => format!("{} has {stories} problems", problems.file.display()),
        };
        Self::new(Kind::ClusterFile, format!("{what}\n{problems}"))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let kind = match error {
            StateError::Busy { .. } => Kind::Busy,
            _ => Kind::Unexpected,
        };
        let failure = Self::of(kind, &error);
        match error {
            StateError::Busy { .. } => failure.hint("wait for it to end, then try again"),
            StateError::Corrupt { .. } => {
                let hint = "remove that file; then `natsctl up FILE` finds what exists by looking, and \
                            `natsctl down` removes it";
                failure.hint(hint)
            }
            StateError::File { source, .. } => match state_hint(&source) {
                Some(hint) => failure.hint(hint),
                None => failure,
            },
            StateError::NoHome => failure,
        }
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let what = match &error.node {
            Some(node) if !error.attempt.contains(node.as_str()) => {
                format!("{node}: {}", error.attempt)
            }
            _ => error.attempt.clone(),
        };
        let mut failure = Self::new(Kind::Provider, what);
        if let Some(node) = &error.node {
            failure = failure.on(node);
        }
        failure.add_causes(&error);
        match error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<&NodeError> for Failure {
    fn from(error: &NodeError) -> Self {
        let mut failure = Self::new(kind_of(&error.trouble), error.to_string()).on(&error.node);
        failure.add_causes(error);
        for hint in hints_of(error) {
            failure = failure.hint(hint);
        }
        failure
    }
}

fn kind_of(trouble: &Trouble) -> Kind {
    match trouble {
        Trouble::Provider(_) => Kind::Provider,
        Trouble::Deploy(_) => Kind::Remote,
        Trouble::Look(error) if matches!(**error, LookError::Provider(_)) => Kind::Provider,
        Trouble::Look(_) => Kind::Remote,
        Trouble::State(_) => Kind::Unexpected,
        Trouble::Off(_) => Kind::Provider,
        Trouble::Mesh(_) => Kind::Verdict,
    }
}

fn hints_of(error: &NodeError) -> Vec<String> {
    match &error.trouble {
        Trouble::Provider(error) => error.hint.clone().into_iter().collect(),
        Trouble::Look(look) => match &**look {
            LookError::Provider(error) => error.hint.clone().into_iter().collect(),
            _ => Vec::new(),
        },
        Trouble::Deploy(deploy) => deploy_hint(deploy, &error.node).into_iter().collect(),
        Trouble::Off(_) => vec!["natsctl up".into()],
        Trouble::Mesh(_) => vec![format!("natsctl logs {}", error.node)],
        Trouble::State(StateError::File { source, .. }) => {
            state_hint(source).into_iter().map(str::to_owned).collect()
        }
        Trouble::State(_) => Vec::new(),
    }
}

/// What helps when natsctl cannot write what it has to remember.
fn state_hint(error: &std::io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("make room there (df -h), then the same command again")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Some("set NATSCTL_STATE_DIR to a folder that you may write to")
        }
        _ => None,
    }
}

const MAKE_ROOM: &str =
    "make room there (df -h); a virtual machine grows with its `vm.disk` in cluster.yaml";

const MAKE_WRITABLE: &str = "let that file system be written to (mount -o remount,rw); \
     the kernel makes one read-only whose disk has errors (dmesg)";

/// Whether the machine said that a file system is mounted read-only. To a server most of it is, as
/// its unit says: of its own words this cannot be told.
fn is_read_only(error: &DeployError) -> bool {
    matches!(error, DeployError::Remote(_) | DeployError::Step { .. })
        && crate::apply::chain(error).contains("Read-only file system")
}

/// Whether a disk is full, as found beforehand or as the machine said half way.
fn is_full(error: &DeployError) -> bool {
    matches!(error, DeployError::DiskFull { .. })
        || crate::apply::chain(error).contains("No space left on device")
}

fn deploy_hint(error: &DeployError, node: &str) -> Option<String> {
    Some(match error {
        _ if is_full(error) => MAKE_ROOM.to_owned(),
        _ if is_read_only(error) => MAKE_WRITABLE.to_owned(),
        DeployError::PortTaken { purpose, .. } => {
            format!("end that program, or choose another `server.{purpose}` in cluster.yaml")
        }
        DeployError::ConfigRefused { .. } => {
            "correct `server.config` in cluster.yaml; what ran runs on as it was".to_owned()
        }
        DeployError::Binary(_) => {
            "set `server.binary` in cluster.yaml (or NATSCTL_NATSD) to a natsd or nats-server for \
             that machine"
                .to_owned()
        }
        DeployError::Died { .. } | DeployError::Silent { .. } => format!("natsctl logs {node}"),
        DeployError::Remote(RemoteError::Timeout { .. } | RemoteError::Broken { .. }) => {
            "natsctl up tries again".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::DeployError;

    #[test]
    fn an_error_names_node_cause_next_command_and_what_is_left() {
        let taken = DeployError::PortTaken {
            port: 4222,
            purpose: "client_port",
            by: " by x (pid 7)".into(),
        };
        let died = DeployError::Died { said: "[FTL] no".into() };
        let errors = [
            NodeError::new("node1", "prepare {}", taken),
            NodeError::new("node2", "start {}", died),
        ];
        let failure = Failure::of_nodes(&errors, false).left("node3 running");
        assert_eq!(failure.code(), 7);
        let error = &failure.to_json()["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!("partly"), &json!(7)));
        assert_eq!(error["problems"][1]["node"], "node2");
        assert_eq!(
            error["problems"][1]["causes"][0],
            "the server ended right after its start: [FTL] no"
        );
        assert_eq!(error["problems"][1]["hints"], json!(["natsctl logs node2"]));
        insta::assert_snapshot!(failure.render(stderr_paint()));
    }

    #[test]
    fn a_disk_that_fills_up_half_way_is_no_reason_to_just_try_again() {
        let source = Box::new(std::io::Error::from_raw_os_error(28));
        let (label, what) = ("this machine".into(), "copy natsd to /d/node1/natsd".into());
        let broken = DeployError::Remote(RemoteError::Broken { label, what, source });
        assert_eq!(deploy_hint(&broken, "node1").as_deref(), Some(MAKE_ROOM));
        let said = "sh: printf: write error: No space left on device".into();
        let step = DeployError::Step { attempt: "installing".into(), status: 1, said };
        assert_eq!(deploy_hint(&step, "node1").as_deref(), Some(MAKE_ROOM));
    }

    #[test]
    fn a_file_system_that_is_read_only_is_told_as_that() {
        let source = Box::new(std::io::Error::from_raw_os_error(30));
        let (label, what) = ("u@h".into(), "copy natsd to /usr/local/bin/natsd.new".into());
        let broken = DeployError::Remote(RemoteError::Broken { label, what, source });
        assert_eq!(deploy_hint(&broken, "node1").as_deref(), Some(MAKE_WRITABLE));
        let said = "sh: 3: cannot create /etc/natsd/natsd.conf.new: Read-only file system".into();
        let step = DeployError::Step { attempt: "installing".into(), status: 1, said };
        assert_eq!(deploy_hint(&step, "node1").as_deref(), Some(MAKE_WRITABLE));
        let died = DeployError::Died { said: "log file: Read-only file system".into() };
        assert_eq!(deploy_hint(&died, "node1").as_deref(), Some("natsctl logs node1"));
    }

    #[test]
    fn a_full_disk_and_a_busy_cluster_say_what_to_do() {
        let full = StateError::File {
            attempt: "write",
            path: "/state/demo/state.json".into(),
            source: ErrorKind::StorageFull.into(),
        };
        let failure = Failure::from(&NodeError::new("node1", "remember {}", full));
        let story = &failure.stories[0];
        assert_eq!((story.node.as_deref(), story.hints.len()), (Some("node1"), 1));
        assert!(story.hints[0].starts_with("make room there"), "{story:?}");
        let busy = StateError::Busy { cluster: "demo".into(), holder: "up, pid 7".into() };
        assert_eq!(Failure::from(busy).code(), 8);
    }

    #[test]
    fn a_provider_error_tells_its_chain() {
        let error = ProviderError {
            attempt: "cannot launch demo-node1".into(),
            node: Some("node1".into()),
            cause: Some("launch failed: no KVM".into()),
            hint: Some("multipass version".into()),
            transient: false,
        };
        let failure = Failure::from(&NodeError::new("node1", "make a machine for {}", error));
        assert_eq!(failure.code(), 4);
        insta::assert_snapshot!(failure.render(stderr_paint()));
    }
}
