//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use natsctl::cli::Cli;
use natsctl::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
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
