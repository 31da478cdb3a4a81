//! `natsctl logs`: all nodes' logs, merged by time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::{Cluster, Ended};
use crate::cli::{Global, Logs};
use crate::failure::{Failure, Kind};
use crate::observe::{Found, Look, Reached};
use crate::report::{self, Paint, stdout_paint};
use crate::state::{ClusterDir, State};

/// New lines are held this long, so that those of all nodes can be put in order.
const GATHER: Duration = Duration::from_millis(100);
/// Pause between two looks whether a node was removed.
const REMOVED: Duration = Duration::from_millis(250);

/// A line of one node's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// `2026/11/22 16:55:23.442362`, in UTC on every node: it sorts as text.
    time: String,
    node: usize,
    text: String,
}

pub(super) async fn run(global: &Global, args: &Logs) -> Ended {
    let cluster = Cluster::known(global)?;
    let nodes = cluster.select(&args.nodes)?;
    let found = cluster.look_at(&nodes).await?;
    let reached: Vec<(usize, &Found, &Reached)> = found
        .iter()
        .enumerate()
        .filter_map(|(nth, found)| Some((nth, found, found.reached()?)))
        .collect();
    for found in &found {
        tell_unreachable(found);
    }
    let sheet = Sheet::new(nodes, stdout_paint());
    if args.follow {
        tokio::select! {
            () = follow(&sheet, &cluster.dir, &reached, args.lines) => {}
            () = report::reader_left() => {}
        }
        return Ok(0);
    }
    let logs =
        join_all(reached.iter().map(|(_, _, reached)| reached.service.log(args.lines))).await;
    let mut lines = Vec::new();
    for ((nth, _, _), log) in reached.iter().zip(logs) {
        let log = log.map_err(|error| Failure::of(Kind::Remote, &error))?;
        let mut clock = Clock::default();
        lines.extend(log.into_iter().map(|text| clock.line(*nth, text)));
    }
    sheet.print(lines);
    Ok(0)
}

fn tell_unreachable(found: &Found) {
    match &found.look {
        Look::Reached(_) => {}
        Look::Off => report::say(&format!("{}: its machine is off", found.node)),
        Look::Unreachable(error) => {
            report::say(&format!("{}: {}", found.node, crate::apply::chain(error.as_ref())));
        }
    }
}

/// Until the last of the nodes is removed.
async fn follow(
    sheet: &Sheet,
    dir: &ClusterDir,
    reached: &[(usize, &Found, &Reached)],
    lines: usize,
) {
    let waiting: Arc<Mutex<Vec<Line>>> = Arc::default();
    let print = async {
        loop {
            tokio::time::sleep(GATHER).await;
            let lines = std::mem::take(&mut *waiting.lock());
            sheet.print(lines);
        }
    };
    let read = join_all(reached.iter().map(|(nth, found, reached)| {
        let waiting = Arc::clone(&waiting);
        async move {
            let mut clock = Clock::default();
            let mut on_line = |text: &str| {
                waiting.lock().push(clock.line(*nth, text.to_owned()));
                true
            };
            let node = &found.node;
            tokio::select! {
                followed = reached.service.follow_log(lines, &mut on_line) => {
                    if let Err(error) = followed {
                        report::say(&format!("{node}: {}", crate::apply::chain(&error)));
                    }
                }
                () = removed(dir, node) => report::say(&format!("{node} is removed")),
            }
        }
    }));
    tokio::select! {
        _ = read => {}
        () = print => {}
    }
    // What the last of them said before its end.
    sheet.print(std::mem::take(&mut *waiting.lock()));
}

/// Waits until a node was removed: then no line comes any more.
async fn removed(dir: &ClusterDir, node: &str) {
    // One that cannot be read for a moment says nothing.
    while dir.load().map_or(true, |state| state.is_some_and(|state| has(&state, node))) {
        tokio::time::sleep(REMOVED).await;
    }
}

/// Whether a cluster has a node, or did not get rid of it yet.
fn has(state: &State, node: &str) -> bool {
    state.topology.node(node).is_some() || state.nodes.contains_key(node)
}

/// Gives lines without a time of their own the time of the line before.
#[derive(Default)]
struct Clock {
    last: String,
}

impl Clock {
    fn line(&mut self, node: usize, text: String) -> Line {
        if let Some(time) = time_of(&text) {
            time.clone_into(&mut self.last);
        }
        Line { time: self.last.clone(), node, text }
    }
}

/// The time in `[pid] 2026/11/22 16:55:23.442362 [INF] text`.
fn time_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('[')?.split_once("] ")?.1;
    let time = rest.get(..26)?;
    let shape = |(nth, byte): (usize, u8)| match nth {
        4 | 7 => byte == b'/',
        10 => byte == b' ',
        13 | 16 => byte == b':',
        19 => byte == b'.',
        _ => byte.is_ascii_digit(),
    };
    time.bytes().enumerate().all(shape).then_some(time)
}

struct Sheet {
    nodes: Vec<String>,
    width: usize,
    paint: Paint,
}

impl Sheet {
    fn new(nodes: Vec<String>, paint: Paint) -> Self {
        let width = nodes.iter().map(String::len).max().unwrap_or(0);
        Self { nodes, width, paint }
    }

    fn print(&self, mut lines: Vec<Line>) {
        // Stable: lines of one node with one time stay in their order.
        lines.sort_by(|a, b| (&a.time, a.node).cmp(&(&b.time, b.node)));
        let mut text = String::new();
        for line in &lines {
            let node = self.nodes.get(line.node).map_or("", String::as_str);
            let prefix = self.paint.bold(&format!("{node:<width$} |", width = self.width));
            text.push_str(&format!("{prefix} {}\n", self.tint(&line.text)));
        }
        report::print(&text);
    }

    fn tint(&self, text: &str) -> String {
        match text {
            _ if text.contains("[ERR]") || text.contains("[FTL]") => self.paint.bad(text),
            _ if text.contains("[WRN]") => self.paint.warn(text),
            _ if text.contains("[DBG]") || text.contains("[TRC]") => self.paint.dim(text),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_time_and_lend_it_to_the_next() {
        let mut clock = Clock::default();
        let first = clock.line(0, "[7] 2026/11/22 16:55:23.442362 [INF] hello".into());
        let second = clock.line(0, "  a second line".into());
        assert_eq!(first.time, "2026/11/22 16:55:23.442362");
        assert_eq!(second.time, first.time);
        assert_eq!(time_of("[7] no time here, but long enough"), None);
    }
}
