//! `natsctl init`: a commented cluster.yaml to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};

use super::Ended;
use crate::cli::Init;
use crate::failure::{Failure, Kind};
use crate::report;
use crate::topology::{ProviderKind, file};

const EXAMPLE: &str = include_str!("../../../cluster.yaml.example");

pub(super) fn run(args: &Init) -> Ended {
    let text = example(args);
    // The example is only ours to spoil through --name: check what we are about to write.
    file::parse(&text, &args.file, None).map_err(Failure::from)?;
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

fn example(args: &Init) -> String {
    let mut text = EXAMPLE.to_owned();
    if let Some(provider) = args.provider {
        text = text.replacen("provider: multipass ", &format!("provider: {provider:<10}"), 1);
    }
    if args.provider == Some(ProviderKind::Hosts) {
        text = with_addresses(&text);
    }
    if let Some(name) = &args.name {
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
            let topology = file::parse(&example(&args), &args.file, None).unwrap();
            assert_eq!((topology.name.as_str(), topology.provider), ("trial", provider));
            assert_eq!(topology.nodes.len(), 3);
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
        insta::assert_snapshot!(example(&args));
    }
}
