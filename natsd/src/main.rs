//! The command line of natsd: flags in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use natsd::config::flags::{self, Outcome};
use natsd::log::Logger;
use natsd::node::VERSION;
use natsd::server::{self, Launch};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let argv0 = args.next().unwrap_or_default().to_string_lossy().into_owned();
    let args: Vec<_> = args.collect();
    let program = flags::program_name(&argv0);
    match flags::parse(&args, &argv0) {
        Outcome::Run(config, warnings) => {
            let launch = Launch { program: program.to_owned(), args };
            run(*config, &warnings, launch)
        }
        Outcome::Version => say(&format!("{program}: v{VERSION}\n")),
        Outcome::Help => say(&flags::usage(program)),
        Outcome::HelpTls => say(flags::tls_help()),
        Outcome::Misuse(text) => {
            complain(&text);
            say(&flags::usage(program))
        }
        Outcome::Valid(text) => {
            complain(&text);
            ExitCode::SUCCESS
        }
        Outcome::Signal(request) => match natsd::signal::send(&request) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("{program}: {error}"));
                ExitCode::FAILURE
            }
        },
        Outcome::Error { text, code } => {
            complain(&text);
            ExitCode::from(code)
        }
    }
}

fn run(
    config: natsd::config::Config,
    warnings: &[natsd::config::file::Problem],
    launch: Launch,
) -> ExitCode {
    let program = launch.program.clone();
    let logger = match Logger::install(&config.log, &program) {
        Ok(logger) => logger,
        Err(error) => {
            complain(&format!("{program}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    for warning in warnings {
        natsd::log::warn(&warning.to_string());
    }
    // The thread that starts is the first that serves.
    let runtime = match natsd::net::serving_runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("{program}: could not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(server::run(config, logger, launch))
}

/// Prints to stdout. A reader that went away is no failure of ours.
fn say(text: &str) -> ExitCode {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
