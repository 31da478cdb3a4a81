//! The command line: shapes and help texts, nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::topology::ProviderKind;

const EXIT_CODES: &str = "\
First steps:
  natsctl init && natsctl up      three virtual machines (needs Multipass)
  natsctl up --provider local     the same file, as processes on this machine
  natsctl kill node1              what does a failure do to clients?

Exit codes: 0 done, 1 unexpected, 2 usage, 3 cluster.yaml, 4 provider, 5 remote,
6 verdict failed, 7 partly done, 8 another natsctl is busy with the cluster,
130 interrupted.";

const UP_AGAIN: &str = "\
Run it again at any time: what is as wanted is left alone; what is missing, dead,
hung or changed is made right. Changed settings restart one node after the other.";

/// Heading of the options that every verb has, so that a verb's own come first.
const EVERY_VERB: &str = "Options of every verb";

/// One command from nothing to a proven NATS cluster.
#[derive(Debug, Parser)]
#[command(name = "natsctl", version, about, after_help = EXIT_CODES)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Which cluster; default: that of ./cluster.yaml, else the only one
    #[arg(long, global = true, value_name = "NAME", help_heading = EVERY_VERB)]
    pub cluster: Option<String>,
    /// auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto",
          hide_possible_values = true, help_heading = EVERY_VERB)]
    pub color: Color,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, help_heading = EVERY_VERB)]
    pub quiet: bool,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Also into a file or pipe.
    Always,
    /// Not at all.
    Never,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// One JSON object per event.
    Jsonl,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a commented cluster.yaml to start from
    Init(Init),
    /// Check a cluster.yaml, offline
    Validate(Validate),
    /// Show what `up` would do; changes nothing
    Plan(Plan),
    /// Bring a cluster up, or to what its file says: create, copy, start, join, verify
    #[command(after_help = UP_AGAIN)]
    Up(Up),
    /// Show every node as it is now
    Status(Status),
    /// Prove the mesh: every node's view, and a message across every ordered pair
    Verify(Verify),
    /// Kill servers (SIGKILL) and measure what clients and the other nodes see
    Kill(Kill),
    /// Start servers that were stopped or killed
    Start(Start),
    /// Stop servers; they stay stopped until `start` or `up`
    Stop(Stop),
    /// Stop and start servers, all at once or one after the other
    Restart(Restart),
    /// Remove the cluster: servers, machines and state
    Down(Down),
    /// Print all nodes' logs, merged by time
    Logs(Logs),
    /// Publish a message
    Pub(Pub),
    /// Subscribe and print what comes, until ctrl-c
    Sub(Sub),
    /// Print the bcrypt hash of a password, for a server's configuration
    Passwd(Passwd),
    /// Print versions: natsctl, the bundled natsd, running servers, Multipass
    Version(Version),
    /// Print a completion script for a shell
    Completion(Completion),
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// File to write
    #[arg(default_value = "cluster.yaml")]
    pub file: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    pub force: bool,
    /// Provider to write into it
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<ProviderKind>,
    /// Cluster name to write into it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// `validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// File to check
    #[arg(default_value = "cluster.yaml")]
    pub file: PathBuf,
    /// Check it for this provider, whatever the file says
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<ProviderKind>,
}

/// Which file, which provider.
#[derive(Clone, Debug, Args)]
pub struct Source {
    /// The file; default: ./cluster.yaml, else the file the cluster was brought up from
    pub file: Option<PathBuf>,
    /// Use this provider, whatever the file says: multipass, local or hosts
    #[arg(long, value_name = "PROVIDER", hide_possible_values = true)]
    pub provider: Option<ProviderKind>,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Which file, which provider.
    #[command(flatten)]
    pub source: Source,
    /// Exit with 0 when there is nothing to do, 2 when there is
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `up`
#[derive(Debug, Args)]
pub struct Up {
    /// Which file, which provider.
    #[command(flatten)]
    pub source: Source,
    /// Show what would be done, as text; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keep what exists when a node fails (the default): `up` again goes on from there
    #[arg(long, overrides_with = "no_keep")]
    pub keep: bool,
    /// Remove what this `up` created when a node fails
    #[arg(long)]
    pub no_keep: bool,
    /// Format: text, json (the verdict, or the error) or jsonl (every event, then that)
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    pub output: Output,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// Look again and again until ctrl-c
    #[arg(short, long)]
    pub watch: bool,
    /// Pause between two looks of --watch
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub interval: Duration,
    /// Exit with 6 when the cluster is not whole
    #[arg(long)]
    pub exit_code: bool,
    /// Format: text, json or jsonl (json on one line)
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    pub output: Output,
}

/// `verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Format: text, json or jsonl (json on one line)
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    pub output: Output,
}

/// Which nodes.
#[derive(Clone, Debug, Args)]
pub struct Nodes {
    /// Names, or `all`, `seed`, `random`; several by comma or space
    #[arg(required = true, value_name = "NODE", value_delimiter = ',')]
    pub nodes: Vec<String>,
}

/// `kill`
#[derive(Debug, Args)]
pub struct Kill {
    /// Which nodes.
    #[command(flatten)]
    pub nodes: Nodes,
    /// How long to measure after the kill, at most 1h; ctrl-c ends it and tells what is known
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = drill_duration)]
    pub duration: Duration,
    /// Messages per second to publish
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Format: text, json or jsonl (every event, then the report)
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    pub output: Output,
}

/// `start`
#[derive(Debug, Args)]
pub struct Start {
    /// Which nodes.
    #[command(flatten)]
    pub nodes: Nodes,
}

/// `stop`
#[derive(Debug, Args)]
pub struct Stop {
    /// Which nodes.
    #[command(flatten)]
    pub nodes: Nodes,
    /// Move clients away first (SIGUSR2); takes up to two minutes
    #[arg(long)]
    pub lame_duck: bool,
}

/// `restart`
#[derive(Debug, Args)]
pub struct Restart {
    /// Which nodes.
    #[command(flatten)]
    pub nodes: Nodes,
    /// One node at a time, the next only when the mesh is whole again
    #[arg(long)]
    pub rolling: bool,
    /// Move clients away first (SIGUSR2); takes up to two minutes per node
    #[arg(long)]
    pub lame_duck: bool,
}

/// `down`
#[derive(Debug, Args)]
pub struct Down {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Forget the cluster even if some of its machines cannot be cleaned up
    #[arg(long)]
    pub force: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Which nodes: names, or `all`, `seed`, `random`
    #[arg(value_name = "NODE", value_delimiter = ',', default_value = "all")]
    pub nodes: Vec<String>,
    /// Go on with new lines as they come, until ctrl-c
    #[arg(short, long)]
    pub follow: bool,
    /// At most this many lines of each node, the last ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200)]
    pub lines: usize,
}

/// `pub`
#[derive(Debug, Args)]
pub struct Pub {
    /// Subject to publish to
    #[arg(value_parser = subject)]
    pub subject: String,
    /// The message; default: standard input
    pub body: Option<String>,
    /// Node to connect to; default: any that serves
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Header, as `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// Subject that replies are to be sent to
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    pub reply: Option<String>,
    /// How many times to publish it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// Pause between two messages
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub interval: Duration,
}

/// `sub`
#[derive(Debug, Args)]
pub struct Sub {
    /// Subject to subscribe to; may hold wildcards: `*` one token, `>` all that follow
    #[arg(value_parser = pattern)]
    pub subject: String,
    /// Node to connect to first; default: any that serves
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Join this queue group: each message goes to one member
    #[arg(long, value_name = "GROUP")]
    pub queue: Option<String>,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Print the payload alone
    #[arg(long)]
    pub raw: bool,
}

/// `passwd`
#[derive(Debug, Args)]
pub struct Passwd {
    /// Make a password up, and print it on stderr
    #[arg(short, long)]
    pub generate: bool,
    /// How much work a guess is: each step doubles it (4 to 31)
    #[arg(short, long, value_name = "N", default_value_t = 11,
          value_parser = clap::value_parser!(u32).range(4..=31))]
    pub cost: u32,
}

/// `version`
#[derive(Debug, Args)]
pub struct Version {
    /// Format: text, json or jsonl (json on one line)
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    pub output: Output,
}

/// `completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// bash, zsh, fish or powershell
    #[arg(hide_possible_values = true)]
    pub shell: Shell,
}

/// Shells with completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
}

impl ValueEnum for ProviderKind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.word()))
    }
}

/// A subject that a message can go to.
fn subject(text: &str) -> Result<String, String> {
    if text.split('.').any(|token| token == "*" || token == ">") {
        return Err("a message goes to one subject: `*` and `>` are for `sub`".into());
    }
    pattern(text)
}

/// A subject that may hold wildcards.
fn pattern(text: &str) -> Result<String, String> {
    if text.chars().any(|c| c.is_whitespace() || c == '\0') {
        return Err("a subject has no blanks".into());
    }
    if text.split('.').any(str::is_empty) {
        return Err("a subject has no empty token: `a.b`, not `a..b` or `a.`".into());
    }
    if text.split('.').rev().skip(1).any(|token| token == ">") {
        return Err("`>` stands for all that follow, so it comes last".into());
    }
    Ok(text.to_owned())
}

/// Longest drill: every message is remembered until its end.
const DRILL_MAX: Duration = Duration::from_secs(3600);

/// A [`duration`] that a drill can take.
fn drill_duration(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time > DRILL_MAX {
        return Err(format!("at most {}h", DRILL_MAX.as_secs() / 3600));
    }
    Ok(time)
}

/// `500ms`, `2s`, `1.5s`, `3m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time needs a unit: 500ms, 2s, 3m, 1h".into()),
    };
    let number: f64 = number.parse().map_err(|_bad| "not a time: try 500ms or 2s".to_owned())?;
    Ok(Duration::try_from_secs_f64(number * scale).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_reads_well() {
        insta::assert_snapshot!(Cli::command().render_help());
        let mut command = Cli::command();
        command.build();
        for verb in ["up", "kill", "status"] {
            let verb = command.find_subcommand_mut(verb).unwrap();
            insta::assert_snapshot!(verb.render_help());
        }
    }

    #[test]
    fn subjects_are_checked_before_anything_is_done() {
        for bad in ["", "a b", "a..b", ".a", "a.", "a.>.b"] {
            assert!(pattern(bad).is_err() && subject(bad).is_err(), "{bad}");
        }
        for wild in ["a.*", ">", "*.b", "a.>"] {
            assert!(pattern(wild).is_ok() && subject(wild).is_err(), "{wild}");
        }
        // A wildcard is a whole token.
        assert!(subject("a.b*c.$SYS>").is_ok());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert!(duration("5").is_err());
        assert!(duration("s").is_err());
        assert_eq!(drill_duration("60m"), Ok(DRILL_MAX));
        for long in ["61m", "99999999999999h", "999999999999999999999h"] {
            assert_eq!(drill_duration(long), Err("at most 1h".into()), "{long}");
        }
    }
}
