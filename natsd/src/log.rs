//! Log lines in nats-server's form, so that its log parsers keep working:
//! `[pid] 2026/11/22 16:55:23.442362 [INF] text`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Zoned;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Log;

/// Events with this target are fatal: they are logged as `[FTL]`.
pub const FATAL: &str = "fatal";

/// The installed log; lets its level and file be changed while it runs.
#[derive(Clone, Debug)]
pub struct Logger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
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
    File(PathBuf, File),
}

impl Logger {
    /// Installs the log of this process.
    ///
    /// # Errors
    /// When the log file cannot be opened.
    pub fn install(config: &Log) -> io::Result<Self> {
        let output = open(config)?;
        let colour = matches!(output, Output::Stderr) && io::stderr().is_terminal();
        let logger = Self(Arc::new(Shared {
            level: AtomicU8::new(level_of(config)),
            form: Mutex::new(Form { time: config.time, utc: config.utc, colour }),
            output: Mutex::new(output),
        }));
        let subscriber = tracing_subscriber::registry().with(logger.clone());
        // A second install in one process (tests) keeps the first.
        drop(tracing::subscriber::set_global_default(subscriber));
        Ok(logger)
    }

    /// Applies changed settings.
    ///
    /// # Errors
    /// When the log file cannot be opened; nothing has changed then.
    pub fn reconfigure(&self, config: &Log) -> io::Result<()> {
        let output = open(config)?;
        self.0.level.store(level_of(config), Ordering::Relaxed);
        {
            let mut form = self.0.form.lock();
            form.time = config.time;
            form.utc = config.utc;
            form.colour = matches!(output, Output::Stderr) && io::stderr().is_terminal();
        }
        *self.0.output.lock() = output;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Opens the log file anew, after somebody moved it away; false when there is none.
    ///
    /// # Errors
    /// When it cannot be opened; the old one is kept.
    pub fn reopen(&self) -> io::Result<bool> {
        let mut output = self.0.output.lock();
        let Output::File(path, file) = &mut *output else { return Ok(false) };
        *file = append_to(path)?;
        Ok(true)
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

fn open(config: &Log) -> io::Result<Output> {
    match &config.file {
        None => Ok(Output::Stderr),
        Some(path) => Ok(Output::File(path.clone(), append_to(path)?)),
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Logger {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        rank(*metadata.level()) <= self.0.level.load(Ordering::Relaxed)
            && metadata.target().starts_with("natsd") | (metadata.target() == FATAL)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::with_capacity(160);
        self.0.form.lock().write_head(&mut line, event.metadata());
        event.record(&mut Message(&mut line));
        line.push('\n');
        let mut output = self.0.output.lock();
        // There is nowhere to report that the log itself cannot be written.
        drop(match &mut *output {
            Output::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Output::File(_, file) => file.write_all(line.as_bytes()),
        });
    }
}

impl Form {
    fn write_head(&self, line: &mut String, metadata: &Metadata<'_>) {
        let (label, colour) = label(metadata);
        line.push_str(&format!("[{}] ", std::process::id()));
        if self.time {
            let zone = if self.utc { TimeZone::UTC } else { TimeZone::system() };
            let now = Zoned::now().with_time_zone(zone);
            line.push_str(&format!("{} ", now.strftime("%Y/%m/%d %H:%M:%S.%6f")));
        }
        if self.colour {
            line.push_str(&format!("[\x1b[{colour}m{label}\x1b[0m] "));
        } else {
            line.push_str(&format!("[{label}] "));
        }
    }
}

fn label(metadata: &Metadata<'_>) -> (&'static str, &'static str) {
    if metadata.target() == FATAL {
        return ("FTL", "31");
    }
    match *metadata.level() {
        Level::ERROR => ("ERR", "31"),
        Level::WARN => ("WRN", "0;93"),
        Level::INFO => ("INF", "32"),
        Level::DEBUG => ("DBG", "36"),
        Level::TRACE => ("TRC", "33"),
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
