//! One line per event, with the time, for logs and pipes.

use std::time::Duration;

use super::{Event, Renderer, say, show_duration};

pub(super) struct Lines;

impl Renderer for Lines {
    fn event(&self, at: Duration, event: &Event) {
        if let Some(line) = line(at, event) {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
            say(&format!("{now} {line}"));
        }
    }
}

fn line(at: Duration, event: &Event) -> Option<String> {
    Some(match event {
        Event::Stage { text } | Event::Note { text } => text.clone(),
        Event::Step { node, text } => format!("{node}: {text}"),
        Event::Done { node, text } => format!("{node}: {text} ({})", show_duration(at)),
        Event::Failed { node, text } => format!("{node}: FAILED: {text} ({})", show_duration(at)),
        Event::Result { .. } => return None,
    })
}
