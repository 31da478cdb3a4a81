//! `natsctl init`: a commented cluster.yaml to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};

use super::Ended;
use crate::cli::Init;
use crate::failure::{Failure, Kind};
use crate::report;
use crate::topology::problem::Problems;
use crate::topology::{ProviderKind, file};

const EXAMPLE: &str = include_str!("../../../cluster.yaml.example");

pub(super) fn run(args: &Init) -> Ended {
    // The example is only ours to spoil through --name. In quotes it is a name, whatever it holds.
    let quoted = args.name.as_ref().map(|name| serde_json::Value::from(name.as_str()).to_string());
    let trial = example(args, quoted.as_deref());
    file::parse(&trial, &args.file, None).map_err(|problems| bad_name(args, problems))?;
    let text = example(args, args.name.as_deref());
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let shown = args.file.display();
    match options.open(&args.file).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {
            report::say(&format!("wrote {shown}; next: natsctl up {shown}"));
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new(Kind::Usage, format!("{shown} is there already"))
                .hint(format!("natsctl init {shown} --force   (overwrites it)")))
        }
        Err(error) => Err(Failure::new(Kind::Unexpected, format!("cannot write {shown}"))
            .cause(error.to_string())),
    }
}

/// What is wrong with `--name`: nothing is written yet, so there is no line to show.
fn bad_name(args: &Init, problems: Problems) -> Failure {
    let name = args.name.as_deref().unwrap_or_default();
    let failure = Failure::new(Kind::Usage, format!("a cluster cannot be called `{name}`"));
    let Some(problem) = problems.list.into_iter().next() else { return failure };
    let failure = failure.cause(problem.text);
    problem.help.into_iter().fold(failure, Failure::hint)
}

fn example(args: &Init, name: Option<&str>) -> String {
    let mut text = EXAMPLE.to_owned();
    if let Some(provider) = args.provider {
        text = text.replacen("provider: multipass ", &format!("provider: {provider:<10}"), 1);
    }
    if args.provider == Some(ProviderKind::Hosts) {
        text = with_addresses(&text);
    }
    if let Some(name) = name {
        text = text.replacen("name: demo ", &format!("name: {name} "), 1);
    }
    text
}

/// The nodes of the example, each on a machine that exists.
fn with_addresses(text: &str) -> String {
    let mut whole = String::new();
    let mut address = 11;
    for line in text.lines() {
        whole.push_str(line);
        whole.push('\n');
        if line.starts_with("  - name: ") {
            let more = if address == 11 { HOST_KEYS_EXPLAINED } else { HOST_KEYS };
            whole.push_str(&more.replace("{}", &address.to_string()));
            address += 1;
        }
    }
    whole
}

const HOST_KEYS_EXPLAINED: &str = "    \
    address: 10.0.0.{}         # a Linux machine that takes SSH\n    \
    user: ubuntu               # root, or somebody with password-less sudo\n    \
    identity: ~/.ssh/id_ed25519\n";
const HOST_KEYS: &str =
    "    address: 10.0.0.{}\n    user: ubuntu\n    identity: ~/.ssh/id_ed25519\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_takes_name_and_provider() {
        for provider in ProviderKind::ALL {
            let args = Init {
                file: "cluster.yaml".into(),
                force: false,
                provider: Some(provider),
                name: Some("trial".into()),
            };
            let text = example(&args, args.name.as_deref());
            let topology = file::parse(&text, &args.file, None).unwrap();
            assert_eq!((topology.name.as_str(), topology.provider), ("trial", provider));
            assert_eq!(topology.nodes.len(), 3);
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_told_without_a_line_of_a_file() {
        for name in ["a b", "a: b", "x # y", "\"", "-a", "primary", &"n".repeat(60)] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("cluster.yaml");
            let name = Some(name.to_owned());
            let args = Init { file, force: false, provider: None, name };
            let failure = run(&args).unwrap_err();
            let story = &failure.stories[0];
            assert_eq!(
                (failure.code(), story.causes.len(), story.hints.len()),
                (2, 1, 1),
                "{story:?}"
            );
            assert!(!failure.to_string().contains("cluster.yaml"), "{failure}");
            assert!(!args.file.exists());
        }
    }

    #[test]
    fn the_example_for_hosts_says_where_they_are() {
        let args = Init {
            file: "cluster.yaml".into(),
            force: false,
            provider: Some(ProviderKind::Hosts),
            name: None,
        };
        insta::assert_snapshot!(example(&args, None));
    }
}
