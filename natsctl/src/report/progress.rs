//! One live line per node on a terminal: a mark, the name, the step, the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::paint::{stderr_paint, unicode};
use super::{Event, Renderer, say, show_duration};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    all: MultiProgress,
    bars: Mutex<Vec<(String, ProgressBar)>>,
    finished: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            bars: Mutex::new(Vec::new()),
            finished: AtomicBool::new(false),
        }
    }

    fn bar(&self, node: &str) -> ProgressBar {
        let mut bars = self.bars.lock();
        if let Some((_, bar)) = bars.iter().find(|(name, _)| name == node) {
            return bar.clone();
        }
        let bar = self.all.add(ProgressBar::new_spinner());
        bar.set_style(live_style());
        bar.set_prefix(node.to_owned());
        bar.enable_steady_tick(TICK);
        bars.push((node.to_owned(), bar.clone()));
        bar
    }

    /// Above the live lines while there are any, else below everything.
    fn print(&self, text: &str) {
        if self.finished.load(Ordering::Relaxed) {
            say(text);
        } else {
            drop(self.all.println(text));
        }
    }

    fn end(&self, at: Duration, node: &str, text: &str, mark: &str) {
        let bar = self.bar(node);
        let time = stderr_paint().dim(&show_duration(at));
        bar.disable_steady_tick();
        let style = ProgressStyle::with_template("{prefix} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(format!("{mark} {}", stderr_paint().bold(&format!("{node:<8}"))));
        bar.abandon_with_message(format!("{text}  {time}"));
    }
}

impl Renderer for Progress {
    fn event(&self, at: Duration, event: &Event) {
        let paint = stderr_paint();
        let (tick, cross) = if unicode() { ("✓", "✗") } else { ("+", "x") };
        match event {
            Event::Step { node, text } => {
                let bar = self.bar(node);
                if bar.is_finished() {
                    bar.reset();
                    bar.set_style(live_style());
                    bar.set_prefix(node.clone());
                    bar.enable_steady_tick(TICK);
                }
                bar.set_message(text.clone());
            }
            Event::Done { node, text } => self.end(at, node, text, &paint.good(tick)),
            Event::Failed { node, text } => self.end(at, node, text, &paint.bad(cross)),
            Event::Stage { text } => self.print(&paint.dim(text)),
            Event::Note { text } => self.print(text),
            Event::Result { .. } => {}
        }
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
        for (_, bar) in self.bars.lock().iter() {
            bar.disable_steady_tick();
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}

fn live_style() -> ProgressStyle {
    let ticks = if unicode() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
    ProgressStyle::with_template("{spinner} {prefix:<8} {msg}  {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars(ticks)
}
