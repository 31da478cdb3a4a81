//! `natsctl init`: a commented cluster.yaml to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};

use super::Ended;
use crate::cli::Init;
use crate::failure::{Failure, Kind};
use crate::report;
use crate::topology::file;

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
    if let Some(name) = &args.name {
        text = text.replacen("name: demo ", &format!("name: {name} "), 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ProviderKind;

    #[test]
    fn the_example_takes_name_and_provider() {
        let args = Init {
            file: "cluster.yaml".into(),
            force: false,
            provider: Some(ProviderKind::Local),
            name: Some("trial".into()),
        };
        let topology = file::parse(&example(&args), &args.file, None).unwrap();
        assert_eq!((topology.name.as_str(), topology.provider), ("trial", ProviderKind::Local));
    }
}
