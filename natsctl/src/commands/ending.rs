//! How a verb that failed says so: in words for people, and as data for programs that asked.

use super::address::Address;
use crate::cli::{Cli, Output, Verb};
use crate::failure::Failure;
use crate::report::{self, Event, Report, Style, stderr_paint};

/// What is known of a run before it starts, for its end.
pub(super) struct Ending {
    address: Address,
    output: Output,
    /// Begun with the run, so that its last event tells the whole time.
    events: Report,
}

impl Ending {
    pub(super) fn of(cli: &Cli) -> Self {
        let output = match &cli.verb {
            Verb::Up(args) => args.output,
            _ => Output::Text,
        };
        let address = Address::of(&cli.global, &cli.verb);
        Self { address, output, events: Report::new(Style::Json) }
    }

    /// Tells a failure; the exit code.
    pub(super) fn tell(&self, failure: Failure) -> u8 {
        let failure = self.address.in_failure(failure);
        match self.output {
            Output::Text => {}
            Output::Json => report::print_line(&failure.to_json().to_string()),
            Output::Jsonl => self.events.tell(&Event::Result { result: failure.to_json() }),
        }
        report::say(failure.render(stderr_paint()).trim_end());
        failure.code()
    }
}
