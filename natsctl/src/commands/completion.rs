//! `natsctl completion`: scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell as Generator;

use crate::cli::{Cli, Completion, Shell};
use crate::report;

pub(super) fn run(args: &Completion) -> u8 {
    let shell = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
        Shell::Powershell => Generator::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "natsctl", &mut script);
    report::print(&String::from_utf8_lossy(&script));
    0
}
