//! Which cluster the commands that are shown to a person are about.
//!
//! Hints come from rooms that know no cluster: they say `natsctl status`. Here each such command
//! gets what it needs to reach the cluster of this run from this folder, and nothing else: a bare
//! command stays bare when it would find the same cluster.

use std::path::{Path, PathBuf};

use super::cluster;
use crate::cli::{Global, Source, Verb};
use crate::failure::Failure;
use crate::remote::quote;
use crate::topology::file;

/// Verbs that find the cluster by its name alone.
const BY_NAME: [&str; 10] =
    ["status", "verify", "kill", "start", "stop", "restart", "down", "logs", "pub", "sub"];
/// Verbs that take a file, too.
const BY_FILE: [&str; 2] = ["up", "plan"];

/// How the cluster of this run was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// As a bare command finds it.
    Bare,
    /// By `--cluster`.
    Name(String),
    /// By a file that was named.
    File(PathBuf),
}

/// What a bare command in this folder would find.
#[derive(Debug, Default)]
struct Bare {
    /// The cluster, for most verbs.
    name: Option<String>,
    /// The file, absolute, for `up` and `plan`.
    file: Option<PathBuf>,
}

impl Address {
    /// Of the cluster that this command line is about.
    pub(super) fn of(global: &Global, verb: &Verb) -> Self {
        match verb {
            Verb::Up(args) => Self::wanted(global, &args.source),
            Verb::Plan(args) => Self::wanted(global, &args.source),
            _ => Self::known(global),
        }
    }

    /// Of a cluster as its file wants it.
    pub(super) fn wanted(global: &Global, source: &Source) -> Self {
        source.file.clone().map_or_else(|| Self::known(global), Self::File)
    }

    /// Of a cluster as it was brought up.
    pub(super) fn known(global: &Global) -> Self {
        global.cluster.clone().map_or(Self::Bare, Self::Name)
    }

    /// A text whose commands reach the cluster of this run. Saying it twice changes nothing.
    pub(crate) fn in_text(&self, text: &str) -> String {
        if *self == Self::Bare {
            return text.to_owned();
        }
        let bare = Bare { name: cluster::name_here(), file: cluster::file_here() };
        self.in_text_beside(text, &bare)
    }

    /// A failure whose hints reach the cluster of this run.
    pub(super) fn in_failure(&self, mut failure: Failure) -> Failure {
        for hint in failure.stories.iter_mut().flat_map(|story| &mut story.hints) {
            *hint = self.in_text(hint);
        }
        failure.left = failure.left.map(|left| self.in_text(&left));
        failure
    }

    fn in_text_beside(&self, text: &str, bare: &Bare) -> String {
        let mut whole = String::new();
        for (nth, part) in text.split("natsctl ").enumerate() {
            if nth == 0 {
                whole.push_str(part);
                continue;
            }
            let end = part.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(part.len());
            let (verb, rest) = part.split_at(end);
            let words = self.words(verb, bare);
            let told = rest.contains("--cluster ")
                || rest.starts_with(" FILE")
                || (!words.is_empty() && rest.starts_with(&words));
            let words = if told { "" } else { words.as_str() };
            whole.push_str(&format!("natsctl {verb}{words}{rest}"));
        }
        whole
    }

    /// What has to follow a verb.
    fn words(&self, verb: &str, bare: &Bare) -> String {
        if BY_FILE.contains(&verb)
            && let Self::File(file) = self
        {
            let same = bare.file.as_deref() == Some(&absolute(file));
            return if same { String::new() } else { format!(" {}", shown(file)) };
        }
        if !BY_NAME.contains(&verb) && !BY_FILE.contains(&verb) {
            return String::new();
        }
        match self.name() {
            Some(name) if bare.name.as_ref() != Some(&name) => format!(" --cluster {name}"),
            _ => String::new(),
        }
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Bare => None,
            Self::Name(name) => Some(name.clone()),
            Self::File(file) => file::read(file, None).ok().map(|topology| topology.name),
        }
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// As a shell takes it.
fn shown(file: &Path) -> String {
    let text = file.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { quote(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "natsctl status shows what is left; natsctl up   (heals)";

    fn beside(name: &str, file: &str) -> Bare {
        Bare { name: Some(name.into()), file: Some(absolute(Path::new(file))) }
    }

    fn beta() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("beta.yaml");
        let text = "version: 1\nname: beta\nprovider: local\nnodes:\n  - {name: node1}\n";
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn a_named_cluster_is_named_again_where_a_bare_command_would_find_another() {
        let address = Address::Name("beta".into());
        let demo = beside("demo", "cluster.yaml");
        let told = "natsctl status --cluster beta shows what is left; natsctl up --cluster beta   \
                    (heals)";
        assert_eq!(address.in_text_beside(HINT, &demo), told);
        assert_eq!(address.in_text_beside(told, &demo), told);
        assert_eq!(address.in_text_beside(HINT, &Bare::default()), told);
        assert_eq!(address.in_text_beside(HINT, &beside("beta", "cluster.yaml")), HINT);
    }

    #[test]
    fn a_cluster_of_a_file_is_brought_up_by_its_file_and_else_named() {
        let (_folder, file) = beta();
        let shown = file.display();
        let address = Address::File(file.clone());
        let told = format!(
            "natsctl status --cluster beta shows what is left; natsctl up {shown}   (heals)"
        );
        assert_eq!(address.in_text_beside(HINT, &beside("demo", "cluster.yaml")), told);
        assert_eq!(address.in_text_beside(&told, &beside("demo", "cluster.yaml")), told);
        // The only cluster there is was brought up from this very file.
        let only = beside("beta", &shown.to_string());
        assert_eq!(address.in_text_beside(HINT, &only), HINT);
    }

    #[test]
    fn what_is_no_command_about_this_cluster_stays() {
        let address = Address::Name("beta".into());
        for text in [
            "natsctl passwd --generate",
            "natsctl down --cluster other    (to begin anew)",
            "remove that file; `natsctl up FILE` finds what exists by looking",
        ] {
            assert_eq!(address.in_text_beside(text, &Bare::default()), text);
        }
    }
}
