//! Ages as the monitoring documents write them.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::show_duration;

/// `1y2d3h4m5s`, leading units left out (nats-server's `uptime` and `idle`).
#[must_use]
pub(super) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let years = days / 365;
    let parts = [
        (years, years, 'y'),
        (days, days % 365, 'd'),
        (hours, hours % 24, 'h'),
        (minutes, minutes % 60, 'm'),
        (1, seconds % 60, 's'),
    ];
    let shown = parts.iter().filter(|(total, ..)| *total > 0);
    shown.map(|(_, value, unit)| format!("{value}{unit}")).collect()
}

/// The age of something that happened then.
#[must_use]
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    age(Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

/// A round trip as shown: whole microseconds below a millisecond.
pub(crate) fn rounded_rtt(nanos: u64) -> u64 {
    if (1_001..1_000_000).contains(&nanos) { nanos / 1_000 * 1_000 } else { nanos }
}

/// The same in Go's notation; `0s` when unknown.
#[must_use]
pub(super) fn rtt(nanos: u64) -> String {
    show_duration(Duration::from_nanos(rounded_rtt(nanos)))
}

/// So many milliseconds after a time.
#[must_use]
pub(super) fn after(start: Timestamp, millis: u64) -> Timestamp {
    start.checked_add(Duration::from_millis(millis)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3_661, "1h1m1s"),
            (86_400, "1d0h0m0s"),
            (366 * 86_400 + 5, "1y1d0h0m5s"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn round_trips() {
        for (nanos, expected) in
            [(0, "0s"), (209_876, "209\u{b5}s"), (1_234_567, "1.234567ms"), (900, "900ns")]
        {
            assert_eq!(rtt(nanos), expected);
        }
    }
}
