//! The command line: nats-server's flags by the rules of Go's flag package.
//!
//! One dash or two, `-x=v` or `-x v`, booleans `-x` or `-x=false`; parsing stops at the first word
//! that is no flag, or behind `--`. Flags override the file. Nothing is printed and nothing is
//! signalled here: `main` acts on the [`Outcome`].

mod apply;
mod syntax;
mod usage;

use std::ffi::OsString;
use std::path::Path;

use super::conf::{Surroundings, System};
use super::draft::Draft;
use super::file::{self, Problem};
use super::{Config, Source};
use apply::Flags;

pub use usage::{tls_help, usage};

/// What the command line asks for.
#[derive(Debug)]
pub enum Outcome {
    /// Run the server; tell the warnings first.
    Run(Box<Config>, Vec<Problem>),
    /// `-v`: print `<name>: v<version>` to stdout, exit 0.
    Version,
    /// `-h`: print [`usage`] to stdout, exit 0.
    Help,
    /// `--help_tls`: print [`tls_help`] to stdout, exit 0.
    HelpTls,
    /// A flag nobody knows or a value that is none: print the text to stderr and [`usage`] to
    /// stdout; nats-server exits 0.
    Misuse(String),
    /// `-t` and all is well: print the text to stderr, exit 0.
    Valid(String),
    /// `--signal`: send a signal, exit 0.
    Signal(SignalRequest),
    /// Print the text to stderr, exit with the code.
    Error {
        /// What to print, the program's name first.
        text: String,
        /// Exit code.
        code: u8,
    },
}

/// `--signal <command>[=<pid>]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRequest {
    /// Which signal.
    pub signal: Signal,
    /// To whom.
    pub target: SignalTarget,
}

/// A signal by nats-server's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `stop`: SIGKILL
    Stop,
    /// `quit`: SIGINT
    Quit,
    /// `term`: SIGTERM
    Term,
    /// `reopen`: SIGUSR1
    Reopen,
    /// `reload`: SIGHUP
    Reload,
    /// `ldm`: SIGUSR2
    LameDuck,
}

/// Whom to signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalTarget {
    /// The one process that runs; several are refused.
    Only,
    /// The process with this id.
    Pid(u32),
    /// All processes whose id starts so (`12*`; empty for `*`).
    Prefix(String),
}

/// Reads the command line (without `argv[0]`) and the configuration file it names.
pub fn parse(args: &[OsString], argv0: &str) -> Outcome {
    parse_in(args, argv0, &System)
}

/// Reads the command line, taking files and environment from where the caller says.
pub fn parse_in(args: &[OsString], argv0: &str, around: &dyn Surroundings) -> Outcome {
    let name = program_name(argv0);
    let fail = |text: String| Outcome::Error { text: format!("{name}: {text}"), code: 1 };
    let flags = match Flags::parse(args) {
        Ok(flags) => flags,
        Err(syntax::Fault(text)) => return Outcome::Misuse(text),
    };
    if let Some(outcome) = instead_of_running(&flags, name, around) {
        return outcome;
    }
    let mut warnings = Vec::new();
    let mut draft = Draft::default();
    if let Some(path) = &flags.config_file {
        let read = match file::draft(Path::new(path), around) {
            Ok(read) => read,
            Err(problems) => return fail(lines(&problems)),
        };
        let strict = flags.strict.unwrap_or(read.0.config.strict);
        draft = read.0;
        warnings = read.1.warnings;
        let fatal =
            !read.1.errors.is_empty() || (!warnings.is_empty() && (flags.test_config || strict));
        if fatal {
            warnings.extend(read.1.errors);
            // As nats-server: every line ends here, and the printing ends one more.
            return fail(lines(&warnings) + "\n");
        }
        if flags.test_config {
            return tested(draft, path, name);
        }
    } else if flags.test_config {
        let option = "must specify [-c, --config] option to check configuration file syntax";
        return fail(option.into());
    }
    let unsupported = flags.unsupported();
    let strict = flags.strict.unwrap_or(draft.config.strict);
    if strict && !unsupported.is_empty() {
        return fail(lines(&unsupported));
    }
    warnings.extend(unsupported);
    match flags.apply(&mut draft, around).and_then(|()| draft.check()) {
        Ok(config) => Outcome::Run(Box::new(config), warnings),
        Err(error) => fail(error),
    }
}

/// Reads a file again under the flags that the server was started with.
///
/// # Errors
/// All that is wrong; nothing has changed.
pub fn reread(
    args: &[OsString],
    around: &dyn Surroundings,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let plain = |text: String| vec![Problem { place: None, text }];
    let flags = Flags::parse(args).map_err(|syntax::Fault(text)| plain(text))?;
    let Some(path) = &flags.config_file else {
        return Err(plain(
            "can only reload config when a file is provided using -c or --config".into(),
        ));
    };
    let (mut draft, report) = file::draft(Path::new(path), around)?;
    if !report.errors.is_empty() {
        return Err(report.errors);
    }
    let config = flags.apply(&mut draft, around).and_then(|()| draft.check()).map_err(plain)?;
    if config.strict && !report.warnings.is_empty() {
        return Err(report.warnings);
    }
    Ok((config, report.warnings))
}

/// Handles the flags that make the program do something else than serve.
fn instead_of_running(flags: &Flags, name: &str, around: &dyn Surroundings) -> Option<Outcome> {
    let fail = |text: String| Outcome::Error { text: format!("{name}: {text}"), code: 1 };
    if flags.version {
        return Some(Outcome::Version);
    }
    if flags.help {
        return Some(Outcome::Help);
    }
    if flags.help_tls {
        return Some(Outcome::HelpTls);
    }
    match flags.word.as_deref() {
        None => {}
        Some(word) if word.eq_ignore_ascii_case("version") => return Some(Outcome::Version),
        Some(word) if word.eq_ignore_ascii_case("help") => return Some(Outcome::Help),
        Some(word) => return Some(fail(format!("unrecognized command: {word:?}"))),
    }
    let signal = flags.signal.as_deref().filter(|signal| !signal.is_empty())?;
    Some(match signal_request(signal, around) {
        Ok(request) => Outcome::Signal(request),
        Err(error) => fail(error),
    })
}

fn tested(draft: Draft, path: &str, name: &str) -> Outcome {
    let digest = draft.config.source.as_ref().map(|Source { digest, .. }| digest.clone());
    match draft.check() {
        Ok(_) => Outcome::Valid(format!(
            "{name}: configuration file {path} is valid ({})",
            digest.unwrap_or_default()
        )),
        Err(error) => Outcome::Error { text: format!("{name}: {error}"), code: 1 },
    }
}

fn signal_request(text: &str, around: &dyn Surroundings) -> Result<SignalRequest, String> {
    let mut parts = text.split('=');
    let command = parts.next().unwrap_or_default();
    let who = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    if !rest.is_empty() {
        return Err(format!("invalid signal parameters: [{}]", rest.join(" ")));
    }
    // The part behind `=` is the content of a pid file if there is one by that name.
    let content = (!who.is_empty()).then(|| around.read(Path::new(who)).ok()).flatten();
    let who = match content {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => who.to_owned(),
    };
    let digits = who.strip_suffix('*').unwrap_or(&who);
    let pid = || digits.parse::<u32>().ok().ok_or_else(|| format!("invalid pid: {digits}"));
    let target = match (who.ends_with('*'), digits.is_empty()) {
        (false, true) => SignalTarget::Only,
        (false, false) => SignalTarget::Pid(pid()?),
        (true, true) => SignalTarget::Prefix(String::new()),
        (true, false) => SignalTarget::Prefix(pid().map(|_| digits.to_owned())?),
    };
    let signal = match command {
        "stop" => Signal::Stop,
        "quit" => Signal::Quit,
        "term" => Signal::Term,
        "reopen" => Signal::Reopen,
        "reload" => Signal::Reload,
        "ldm" => Signal::LameDuck,
        _ => return Err(format!("unknown signal {command:?}")),
    };
    Ok(SignalRequest { signal, target })
}

/// The program's name, as messages begin with it.
pub fn program_name(argv0: &str) -> &str {
    match argv0.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => "natsd",
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
