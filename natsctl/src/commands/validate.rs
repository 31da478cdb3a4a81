//! `natsctl validate`: checks a file, offline.

use super::Ended;
use super::cluster::refuse_hash;
use crate::cli::Validate;
use crate::report;
use crate::topology::file;

pub(super) fn run(args: &Validate) -> Ended {
    let topology = file::read(&args.file, args.provider)?;
    refuse_hash(&topology)?;
    let names: Vec<String> = topology
        .nodes
        .iter()
        .map(|node| format!("{}{}", node.name, if node.seed { " (seed)" } else { "" }))
        .collect();
    report::print_line(&format!(
        "{} is valid: cluster {}, provider {}, nodes {}",
        args.file.display(),
        topology.name,
        topology.provider,
        names.join(", ")
    ));
    Ok(0)
}
