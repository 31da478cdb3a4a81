//! Whether the machine has more to do than it can: how long this thread was made to wait for a core.
//!
//! Asked while a receiver is far behind: if it has taken nothing for long, on a crowded machine it
//! may be waiting for its turn, as this thread does. Of clients on other machines it says nothing.
//! Source: the second number of `/proc/thread-self/schedstat`, nanoseconds ready to run but not
//! running (Linux, sched-stats.rst). Where there is none no machine is crowded.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// A look costs some microseconds; between looks the last answer stands.
const LOOK: Duration = Duration::from_millis(20);
/// A machine is crowded when a thread waits for more than this part of its time. Measured: 21 to 66
/// percent where twelve clients share two cores with the server, at most 1 on a core of its own.
const CROWDED_PERCENT: u128 = 5;

/// What a thread has found.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    waited: Duration,
    is_crowded: bool,
}

thread_local! {
    static LAST: Cell<Option<Look>> = const { Cell::new(None) };
}

/// Whether the machine was crowded since the last look of this thread. The first answer is that
/// it is: nothing is known yet, and patience does the least harm.
pub(super) fn is_crowded() -> bool {
    let now = Instant::now();
    let last = LAST.get();
    if let Some(last) = last
        && now.duration_since(last.at) < LOOK
    {
        return last.is_crowded;
    }
    let waited = waited();
    let is_crowded = waited.is_some_and(|waited| {
        last.is_none_or(|last| {
            let (part, whole) = (waited.saturating_sub(last.waited), now.duration_since(last.at));
            part.as_nanos() * 100 > whole.as_nanos() * CROWDED_PERCENT
        })
    });
    LAST.set(Some(Look { at: now, waited: waited.unwrap_or_default(), is_crowded }));
    is_crowded
}

/// How long this thread has waited for a core since it began.
fn waited() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_shares_its_core_with_many_is_on_a_crowded_machine() {
        let is_over = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let spin = |is_over: Arc<AtomicBool>| while !is_over.load(Ordering::Relaxed) {};
        let others: Vec<_> = (0..cores * 4)
            .map(|_| Arc::clone(&is_over))
            .map(|is_over| thread::spawn(move || spin(is_over)))
            .collect();
        assert!(is_crowded(), "nothing is known yet");
        let (begun, mut looks) = (Instant::now(), 0);
        // Each look takes long enough to be a new one.
        while looks < 3 && begun.elapsed() < Duration::from_secs(20) {
            let at = LAST.get().map(|last| last.at);
            looks += i32::from(is_crowded() && LAST.get().map(|last| last.at) != at);
        }
        is_over.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(looks, 3, "this thread got a core whenever it wanted");
    }

    #[test]
    fn the_time_waited_never_falls() {
        let before = waited().unwrap();
        thread::yield_now();
        assert!(waited().unwrap() >= before);
    }
}
