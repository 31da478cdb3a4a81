//! Log lines in nats-server's form, so that its log parsers keep working:
//! `[pid] 2026/11/22 16:55:23.442362 [INF] text`. They go to stderr, to a file that may be put
//! aside when it has grown, or to a syslog. A log never holds up who logs for a peer's sake:
//! `syslog` has a thread of its own. `main` installs the log, `server` and `reload` change it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use self::file::{LogFile, Rotated, Rotation};
use self::syslog::{Severity, Syslog};
use crate::config::Log;
use crate::config::conf::why;

mod file;
mod syslog;
pub mod wire;
mod zone;

/// Events with this target are fatal: they are logged as `[FTL]`.
pub const FATAL: &str = "fatal";

/// The installed log; lets its level and file be changed while it runs.
#[derive(Clone, Debug)]
pub struct Logger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What the program is called: the tag of syslog lines.
    program: String,
    level: AtomicU8,
    form: Mutex<Form>,
    output: Mutex<Output>,
}

#[derive(Debug)]
struct Form {
    time: bool,
    utc: bool,
    colour: bool,
}

#[derive(Debug)]
enum Output {
    Stderr,
    File(LogFile),
    Syslog(Syslog),
}

impl Logger {
    /// Installs the log of this process, which is called `program`.
    ///
    /// # Errors
    /// When the log file cannot be opened or the syslog not be reached.
    pub fn install(config: &Log, program: &str) -> io::Result<Self> {
        let output = open(config, program)?;
        wire::configure(config);
        let colour = matches!(output, Output::Stderr) && io::stderr().is_terminal();
        let logger = Self(Arc::new(Shared {
            program: program.to_owned(),
            level: AtomicU8::new(level_of(config)),
            form: Mutex::new(Form { time: config.time, utc: config.utc, colour }),
            output: Mutex::new(output),
        }));
        let subscriber = tracing_subscriber::registry().with(logger.clone());
        // A second install in one process (tests) keeps the first.
        drop(tracing::subscriber::set_global_default(subscriber));
        logger.rotate_what_is_full();
        Ok(logger)
    }

    /// Applies changed settings.
    ///
    /// # Errors
    /// When the log file cannot be opened or the syslog not be reached; nothing has changed then.
    pub fn reconfigure(&self, config: &Log) -> io::Result<()> {
        let output = open(config, &self.0.program)?;
        wire::configure(config);
        self.0.level.store(level_of(config), Ordering::Relaxed);
        {
            let mut form = self.0.form.lock();
            form.time = config.time;
            form.utc = config.utc;
            form.colour = matches!(output, Output::Stderr) && io::stderr().is_terminal();
        }
        *self.0.output.lock() = output;
        self.rotate_what_is_full();
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Opens the log file anew, after somebody moved it away; false when there is none.
    ///
    /// # Errors
    /// When it cannot be opened; the old one is kept.
    pub fn reopen(&self) -> io::Result<bool> {
        let mut output = self.0.output.lock();
        let Output::File(file) = &mut *output else { return Ok(false) };
        file.reopen()?;
        drop(output);
        self.rotate_what_is_full();
        Ok(true)
    }

    /// Waits a moment for the last lines of a log that is written elsewhere.
    pub fn flush(&self) {
        if let Output::Syslog(syslog) = &*self.0.output.lock() {
            syslog.flush();
        }
    }

    /// A file that an earlier process left too long is put aside at once, by the next line.
    fn rotate_what_is_full(&self) {
        let full = matches!(&*self.0.output.lock(), Output::File(file) if file.is_full());
        if full {
            tracing::info!("Rotating logfile...");
        }
    }

    fn write_to_file(&self, file: &mut LogFile, line: &str) -> io::Result<()> {
        file.write(line.as_bytes())?;
        if !file.is_full() {
            return Ok(());
        }
        for news in file.rotate() {
            let (level, text) = match news {
                Rotated::Saved(name) => {
                    (Level::INFO, format!("Rotated log, backup saved as {name:?}"))
                }
                Rotated::Purged(name) => (Level::INFO, format!("Purged log file {name:?}")),
                Rotated::Failed(text) => (Level::ERROR, text),
            };
            let mut line = String::new();
            self.0.form.lock().write_head(&mut line, label(false, level));
            line.push_str(&text);
            line.push('\n');
            file.write(line.as_bytes())?;
        }
        Ok(())
    }
}

/// Whether debug lines are wanted at all; saves making their text.
#[must_use]
pub fn debugging() -> bool {
    tracing::enabled!(Level::DEBUG)
}

/// Whether trace lines are wanted at all.
#[must_use]
pub fn tracing_wire() -> bool {
    tracing::enabled!(Level::TRACE)
}

/// Logs a warning on behalf of a caller outside the server.
pub fn warn(text: &str) {
    tracing::warn!("{text}");
}

fn level_of(config: &Log) -> u8 {
    match (config.debug, config.trace) {
        (_, true) => 4,
        (true, false) => 3,
        (false, false) => 2,
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

/// A file comes first, then a remote syslog, then the local one (nats-server 2.15).
fn open(config: &Log, program: &str) -> io::Result<Output> {
    if let Some(path) = &config.file {
        let rotation = Rotation { size_limit: config.size_limit, files_max: config.max_files };
        let named = |error: io::Error| {
            let why = why(&path.to_string_lossy(), &error);
            io::Error::new(error.kind(), format!("error opening file: {why}"))
        };
        return LogFile::open(path, rotation).map(Output::File).map_err(named);
    }
    if let Some(url) = &config.remote_syslog {
        return Syslog::remote(url, program).map(Output::Syslog);
    }
    if config.syslog {
        return Syslog::local(program).map(Output::Syslog);
    }
    Ok(Output::Stderr)
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Logger {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        rank(*metadata.level()) <= self.0.level.load(Ordering::Relaxed)
            && metadata.target().starts_with("natsd") | (metadata.target() == FATAL)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (fatal, level) = (event.metadata().target() == FATAL, *event.metadata().level());
        let mut line = String::with_capacity(160);
        self.0.form.lock().write_head(&mut line, label(fatal, level));
        let head = line.len();
        event.record(&mut Message(&mut line));
        line.push('\n');
        let mut output = self.0.output.lock();
        // There is nowhere to report that the log itself cannot be written.
        drop(match &mut *output {
            Output::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Output::File(file) => self.write_to_file(file, &line),
            Output::Syslog(syslog) => {
                syslog.write(severity(fatal, level), line.split_off(head));
                Ok(())
            }
        });
    }
}

impl Form {
    fn write_head(&self, line: &mut String, (label, colour): (&str, &str)) {
        line.push_str(&format!("[{}] ", std::process::id()));
        if self.time {
            let now = if self.utc { Timestamp::now().to_zoned(TimeZone::UTC) } else { zone::now() };
            line.push_str(&format!("{} ", now.strftime("%Y/%m/%d %H:%M:%S.%6f")));
        }
        if self.colour {
            line.push_str(&format!("[\x1b[{colour}m{label}\x1b[0m] "));
        } else {
            line.push_str(&format!("[{label}] "));
        }
    }
}

/// What a line is marked with, and in which colour.
fn label(fatal: bool, level: Level) -> (&'static str, &'static str) {
    if fatal {
        return ("FTL", "31");
    }
    match level {
        Level::ERROR => ("ERR", "31"),
        Level::WARN => ("WRN", "0;93"),
        Level::INFO => ("INF", "32"),
        Level::DEBUG => ("DBG", "36"),
        Level::TRACE => ("TRC", "33"),
    }
}

/// What nats-server takes a line for when it tells a syslog.
fn severity(fatal: bool, level: Level) -> Severity {
    if fatal {
        return Severity::Critical;
    }
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warning,
        Level::INFO | Level::TRACE => Severity::Notice,
        Level::DEBUG => Severity::Debug,
    }
}

/// Takes the text of an event.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.push_str(&format!("{value:?}"));
        }
    }
}
