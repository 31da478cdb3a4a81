//! What a person wrote in a configuration file, turned into checked values.
//!
//! Every key of nats-server 2.15 is known, under all its names. All errors are collected; a key of
//! a feature that natsd lacks is accepted with a warning, an unknown one is an error. One file per
//! block; each has a table of keys.

mod accounts;
mod auth;
mod cluster;
mod entry;
mod exports;
mod links;
mod mappings;
mod operator;
mod permissions;
mod tls;
mod top;
mod unsupported;
mod websocket;

use std::path::Path;

use super::conf::{self, Surroundings, System};
use super::draft::Draft;
use super::{Config, Source};

pub use entry::Problem;
pub(crate) use entry::Report;
pub(crate) use tls::readable;

/// A configuration that can be run, and what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What to tell: keys without effect, numbers that should be durations.
    pub warnings: Vec<Problem>,
}

/// Loads a configuration file.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    load_from(path, &System)
}

/// Loads a configuration file from where the caller says.
///
/// # Errors
/// All that is wrong with it.
pub fn load_from(path: &Path, around: &dyn Surroundings) -> Result<Loaded, Vec<Problem>> {
    let (draft, report) = draft(path, around)?;
    if !report.errors.is_empty() {
        return Err(report.errors);
    }
    let config = draft.check().map_err(|text| vec![Problem { place: None, text }])?;
    Ok(Loaded { config, warnings: report.warnings })
}

/// Reads a file into a draft. The parser gives up at its first fault, so that is one problem; all
/// later ones are in the report.
pub(crate) fn draft<'a>(
    path: &Path,
    around: &'a dyn Surroundings,
) -> Result<(Draft, Report<'a>), Vec<Problem>> {
    let map = conf::parse_file(path, around)
        .map_err(|error| vec![Problem { place: None, text: error.text }])?;
    let mut draft = Draft::default();
    let mut report = Report::new(around);
    draft.config.source = Some(Source { path: path.to_owned(), digest: conf::digest(&map) });
    if map.is_empty() {
        let text = format!("{}: config has no values or is empty", path.display());
        report.warnings.push(Problem { place: None, text });
    }
    top::read(&map, &mut draft, &mut report);
    Ok((draft, report))
}

#[cfg(test)]
mod tests;
