//! One file per verb, each a short story; the only place where rooms meet.

mod address;
mod cluster;
mod completion;
mod down;
mod ending;
mod init;
mod interrupt;
mod kill;
mod logs;
mod messages;
mod passwd;
mod plan;
mod power;
mod status;
mod up;
mod validate;
mod verify;
mod version;

use crate::cli::{Cli, Color, Global, Output, Verb};
use crate::failure::{Failure, Kind};
use crate::report::{self, Paint, Report, Style};

pub(crate) use cluster::Cluster;
use interrupt::Interrupt;

/// How a verb ends: an exit code, or a failure to be shown.
type Ended = Result<u8, Failure>;

/// Runs a verb to its end and returns the exit code.
pub async fn run(cli: Cli) -> u8 {
    Paint::decide(match cli.global.color {
        Color::Auto => None,
        Color::Always => Some(true),
        Color::Never => Some(false),
    });
    let resume = resume_hint(&cli.verb);
    let ending = ending::Ending::of(&cli);
    let interrupt = Interrupt::default();
    let ended = tokio::select! {
        ended = verb(&cli.global, cli.verb, &interrupt) => ended,
        () = interrupt.unanswered() => match resume {
            Some(hint) => Err(Failure::new(Kind::Interrupted, "interrupted").hint(hint)),
            None => Ok(Kind::Interrupted as u8),
        }
    };
    let code = match ended {
        Ok(code) => code,
        Err(failure) => ending.tell(failure),
    };
    code.max(code_of_lost_output())
}

/// What was to be read and could not be written is a failure; that nobody reads any more is none.
fn code_of_lost_output() -> u8 {
    match report::lost() {
        Some(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            report::say(&format!("error: cannot write to standard output: {error}"));
            Kind::Unexpected as u8
        }
        _ => 0,
    }
}

async fn verb(global: &Global, verb: Verb, interrupt: &Interrupt) -> Ended {
    match verb {
        Verb::Init(args) => init::run(&args),
        Verb::Validate(args) => validate::run(&args),
        Verb::Plan(args) => plan::run(global, &args).await,
        Verb::Up(args) => Box::pin(up::run(global, &args)).await,
        Verb::Status(args) => status::run(global, &args).await,
        Verb::Verify(args) => verify::run(global, &args).await,
        Verb::Kill(args) => Box::pin(kill::run(global, &args, interrupt)).await,
        Verb::Start(args) => power::start(global, &args).await,
        Verb::Stop(args) => power::stop(global, &args).await,
        Verb::Restart(args) => power::restart(global, &args).await,
        Verb::Down(args) => down::run(global, &args).await,
        Verb::Logs(args) => logs::run(global, &args).await,
        Verb::Pub(args) => messages::publish(global, &args).await,
        Verb::Sub(args) => messages::subscribe(global, &args).await,
        Verb::Passwd(args) => passwd::run(&args).await,
        Verb::Version(args) => version::run(global, &args).await,
        Verb::Completion(args) => Ok(completion::run(&args)),
    }
}

/// How to go on after ctrl-c; `None` for verbs that change nothing, where it is the usual end.
fn resume_hint(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Up(_) => Some("natsctl up goes on from here; natsctl down removes what was made"),
        Verb::Down(_) => Some("natsctl down goes on from here"),
        Verb::Kill(_) => Some("natsctl status shows what is left; natsctl up heals"),
        Verb::Start(_) | Verb::Stop(_) | Verb::Restart(_) => {
            Some("natsctl status shows what is left")
        }
        _ => None,
    }
}

/// Reads standard input where it keeps nobody from hearing ctrl-c.
async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}

/// The report a verb tells its progress to.
fn reporter(global: &Global, output: Output) -> Report {
    use std::io::IsTerminal as _;
    Report::new(match output {
        Output::Jsonl => Style::Json,
        _ if global.quiet => Style::Quiet,
        _ if std::io::stderr().is_terminal() => Style::Progress,
        _ => Style::Lines,
    })
}
