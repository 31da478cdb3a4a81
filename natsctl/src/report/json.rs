//! One JSON object per event on stdout, for programs.

use std::time::Duration;

use super::{Event, Renderer, print_line};

pub(super) struct Json;

#[derive(serde::Serialize)]
struct Line<'a> {
    time: String,
    elapsed_ms: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Renderer for Json {
    fn event(&self, at: Duration, event: &Event) {
        let time = jiff::Timestamp::now().to_string();
        let elapsed_ms = (at.as_secs_f64() * 1e6).round() / 1e3;
        if let Ok(line) = serde_json::to_string(&Line { time, elapsed_ms, event }) {
            print_line(&line);
        }
    }
}
