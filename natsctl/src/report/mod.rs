//! What a person or a program is told while work goes on.
//!
//! Everything goes through [`Report`]; a renderer decides how it looks: `progress.rs` on a
//! terminal, `lines.rs` without one, `json.rs` for programs. Talk goes to stderr; stdout is for
//! data alone, so only the JSON renderer and [`print`] write there.

mod data;
mod json;
mod lines;
mod paint;
mod progress;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use data::{lost, print, reader_left};
pub use paint::{Paint, stderr_paint, stdout_paint, unicode};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The whole cluster entered a new stage.
    Stage {
        /// In words.
        text: String,
    },
    /// A node began a step.
    Step {
        /// Which node.
        node: String,
        /// In words.
        text: String,
    },
    /// A node is where it should be.
    Done {
        /// Which node.
        node: String,
        /// In words.
        text: String,
    },
    /// A node did not get there.
    Failed {
        /// Which node.
        node: String,
        /// Why.
        text: String,
    },
    /// Something worth knowing.
    Note {
        /// In words.
        text: String,
    },
    /// How it ended; the last event.
    Result {
        /// The same as `-o json` would print.
        result: serde_json::Value,
    },
}

/// Shows events. `at` is the time since the verb began.
pub trait Renderer: Send + Sync {
    /// Shows one event.
    fn event(&self, at: Duration, event: &Event);
    /// Leaves the screen tidy; nothing follows.
    fn finish(&self) {}
}

/// How events are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One live line per node.
    Progress,
    /// One line per event.
    Lines,
    /// One JSON object per event, on stdout.
    Json,
    /// Nothing.
    Quiet,
}

/// Where events go; cheap to clone.
#[derive(Clone)]
pub struct Report {
    renderer: Arc<dyn Renderer>,
    begun: Instant,
}

struct Silence;

impl Renderer for Silence {
    fn event(&self, _at: Duration, _event: &Event) {}
}

impl Report {
    /// A report in a style. `nodes` sets the width of the name column.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let renderer: Arc<dyn Renderer> = match style {
            Style::Progress => Arc::new(progress::Progress::new()),
            Style::Lines => Arc::new(lines::Lines),
            Style::Json => Arc::new(json::Json),
            Style::Quiet => Arc::new(Silence),
        };
        Self { renderer, begun: Instant::now() }
    }

    /// Tells an event.
    pub fn tell(&self, event: &Event) {
        self.renderer.event(self.begun.elapsed(), event);
    }

    /// Tells a stage.
    pub fn stage(&self, text: impl Into<String>) {
        self.tell(&Event::Stage { text: text.into() });
    }

    /// Tells a note.
    pub fn note(&self, text: impl Into<String>) {
        self.tell(&Event::Note { text: text.into() });
    }

    /// Tells what a node is doing.
    pub fn step(&self, node: &str, text: impl Into<String>) {
        self.tell(&Event::Step { node: node.to_owned(), text: text.into() });
    }

    /// Tells that a node is done.
    pub fn done(&self, node: &str, text: impl Into<String>) {
        self.tell(&Event::Done { node: node.to_owned(), text: text.into() });
    }

    /// Tells that a node failed.
    pub fn failed(&self, node: &str, text: impl Into<String>) {
        self.tell(&Event::Failed { node: node.to_owned(), text: text.into() });
    }

    /// Ends the live display.
    pub fn finish(&self) {
        self.renderer.finish();
    }

    /// Time since the verb began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Writes data and a newline to stdout.
pub fn print_line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes talk to stderr; nobody listening is no error.
pub fn say(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// `0.3s`, `12s`, `2m05s`: how long something took, for people.
#[must_use]
pub fn show_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// `0.42 ms`, `3.1 ms`, `1250 ms`.
#[must_use]
pub fn show_millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..1.0 => format!("{millis:.2} ms"),
        ..100.0 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown = [0.04, 9.94, 59.0, 125.0, 7260.0, 90_000.0]
            .map(|seconds| show_duration(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["0.0s", "9.9s", "59s", "2m05s", "2h01m", "1d01h"]);
    }
}
