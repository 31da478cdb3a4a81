//! Durations as Go writes and reads them (`1h30m`, `1.5s`, `2m0s`).

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration in nanoseconds; it may be negative.
///
/// # Errors
/// In the words of Go's `time.ParseDuration`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |s: &str| s.len() - s.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: i128 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(drop_to(invalid))? };
        total = whole
            .checked_mul(i128::from(*scale))
            .and_then(|part| part.checked_add(parts_of(fraction, *scale)))
            .and_then(|part| part.checked_add(total))
            .ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        total = -total;
    }
    i64::try_from(total).map_err(drop_to(invalid))
}

/// Turns any error into the one text.
fn drop_to<E>(text: impl Fn() -> String) -> impl Fn(E) -> String {
    move |_| text()
}

/// Gives the nanoseconds of digits behind the point; those beyond the 18th count for nothing.
fn parts_of(fraction: &str, scale: u64) -> i128 {
    let mut divisor: i128 = 1;
    let mut sum: i128 = 0;
    for digit in fraction.chars().take(18).filter_map(|c| c.to_digit(10)) {
        divisor *= 10;
        sum = sum * 10 + i128::from(digit);
    }
    sum * i128::from(scale) / divisor
}

/// Writes a duration as Go does: `2m0s`, `1.5s`, `50ms`, `0s`.
pub(crate) fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000_000_000 {
        let (scale, unit) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn decimal(nanos: u128, scale: u128) -> String {
    let (whole, part) = (nanos / scale, nanos % scale);
    if part == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("-2m", -120_000_000_000),
            ("0", 0),
            ("50us", 50_000),
            ("3\u{b5}s", 3_000),
            ("2h3m4s5ms6us7ns", 7_384_005_006_007),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_in_go_s_words() {
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn writes_as_go_writes() {
        for (millis, text) in [
            (0, "0s"),
            (50, "50ms"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (120_000, "2m0s"),
            (3_600_000, "1h0m0s"),
            (5_430_250, "1h30m30.25s"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
        assert_eq!(show(Duration::from_nanos(1_500)), "1.5\u{b5}s");
    }
}
