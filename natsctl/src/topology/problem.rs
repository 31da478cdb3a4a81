//! What is wrong with a cluster.yaml, as a person sees it.

use std::fmt;
use std::path::PathBuf;

use super::yaml::Spot;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub spot: Spot,
    /// What.
    pub text: String,
    /// What to do.
    pub help: Option<String>,
}

/// All that is wrong with a cluster.yaml. Its `Display` is what a person sees.
#[derive(Debug)]
pub struct Problems {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Its lines, for quoting.
    pub(super) lines: Vec<String>,
    /// At least one, in file order.
    pub list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.list.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            let Spot { line, column, width } = problem.spot;
            write!(f, "{}:{line}:{column}: {}", self.file.display(), problem.text)?;
            let quoted = line.checked_sub(1).and_then(|at| self.lines.get(at));
            if let Some(quoted) = quoted.filter(|quoted| quoted.chars().count() <= 200) {
                let indent = " ".repeat(column.saturating_sub(1));
                let room = quoted.chars().count().saturating_sub(column - 1).max(1);
                let carets = "^".repeat(width.min(room));
                let quoted = quoted.replace('\t', " ");
                write!(f, "\n{line:>5} | {quoted}\n      | {indent}{carets}")?;
                if let Some(help) = &problem.help {
                    write!(f, " {help}")?;
                }
            } else if let Some(help) = &problem.help {
                write!(f, "\n      = {help}")?;
            }
        }
        Ok(())
    }
}
