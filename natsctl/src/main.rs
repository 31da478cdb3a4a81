//! Arguments in, exit code out.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use natsctl::cli::Cli;
use natsctl::commands;

fn main() -> ExitCode {
    let cli = parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(cli));
            // A reader of stdin may still be waiting for a line that never comes.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            natsctl::report::say(&format!("error: cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; ends here after `--help` and usage errors, as clap's own parse does.
fn parse() -> Cli {
    let args: Vec<_> = std::env::args_os().collect();
    let mut command = Cli::command().color(color(&args));
    let matches = command.clone().get_matches_from(args);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// What `--color` says. clap must know it before it reads a line: help and errors are its own.
fn color(args: &[OsString]) -> ColorChoice {
    let args = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let mut choice = ColorChoice::Auto;
    let mut before = "";
    for arg in args {
        let value = if before == "--color" { Some(arg) } else { arg.strip_prefix("--color=") };
        choice = match value {
            Some("never") => ColorChoice::Never,
            Some("always") => ColorChoice::Always,
            _ => choice,
        };
        before = arg;
    }
    choice
}
