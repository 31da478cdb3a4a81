//! Bookkeeping of sequence numbers: what was sent, what came, what is missing.

use std::time::Duration;

use serde::Serialize;

/// Consecutive sequence numbers that never came. Times are since the fault.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
    /// When the first was sent, in ms after the fault; negative is before it.
    pub sent_from_ms: f64,
    /// When the last was sent.
    pub sent_to_ms: f64,
    /// Whether all of it was sent while the subscriber was away, with some slack.
    pub expected: bool,
}

/// What became of all messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Messages sent.
    pub sent: u64,
    /// Distinct messages received.
    pub received: u64,
    /// Messages that never came.
    pub lost: u64,
    /// Lost ones that were sent while the subscriber was connected.
    pub lost_unexpected: u64,
    /// Messages that came more than once.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// The lost ones, by range.
    pub lost_ranges: Vec<Range>,
}

/// A message is on its way for a moment: what was sent this long before the cut, or this long
/// after the subscriber was back (its interest must reach the publisher's node), may be lost.
const SLACK: Duration = Duration::from_millis(50);

/// Messages come in order, so all that was sent behind the last one that came before the cut was
/// on its way, which on a busy machine takes longer; and so does the interest of a subscriber that
/// is back, until the first one comes. Not this long, though: then a server does not deliver while
/// it lives.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

impl Account {
    /// Settles the account. `sent[n]` is when number `n + 1` was sent; `received` holds numbers
    /// in the order they came; `away` is from the cut until the subscriber was back (`None` for
    /// never). All times on one clock; `fault` is when the fault was injected.
    #[must_use]
    pub fn settle(
        sent: &[Duration],
        received: &[u64],
        fault: Duration,
        away: Option<(Duration, Option<Duration>)>,
    ) -> Self {
        let mut seen = vec![false; sent.len()];
        let mut account = Self { sent: sent.len() as u64, ..Self::default() };
        let mut highest = 0;
        for &number in received {
            let slot =
                usize::try_from(number).ok().and_then(|nth| seen.get_mut(nth.checked_sub(1)?));
            let Some(slot) = slot else { continue };
            if std::mem::replace(slot, true) {
                account.duplicated += 1;
                continue;
            }
            account.received += 1;
            if number < highest {
                account.reordered += 1;
            }
            highest = highest.max(number);
        }
        account.lost = account.sent - account.received;
        account.lost_ranges = ranges(sent, &seen, fault, away);
        account.lost_unexpected = account
            .lost_ranges
            .iter()
            .filter(|range| !range.expected)
            .map(|range| range.last - range.first + 1)
            .sum();
        account
    }
}

fn ranges(
    sent: &[Duration],
    seen: &[bool],
    fault: Duration,
    away: Option<(Duration, Option<Duration>)>,
) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let landed = away.map_or(0, |(cut, _)| last_before(cut, sent, seen));
    let resumed = away.and_then(|(_, back)| first_after(back?, sent, seen));
    let missing = (1u64..).zip(sent.iter().zip(seen)).filter(|(_, (_, seen))| !**seen);
    for (number, (&at, _)) in missing {
        let sent_ms = millis_between(fault, at);
        let expected = away.is_some_and(|(cut, back)| {
            let before = if number > landed { ON_ITS_WAY } else { SLACK };
            let after = if resumed.is_none_or(|first| number < first) { ON_ITS_WAY } else { SLACK };
            at + before >= cut && back.is_none_or(|back| at <= back + after)
        });
        match ranges.last_mut() {
            Some(range) if range.last + 1 == number && range.expected == expected => {
                range.last = number;
                range.sent_to_ms = sent_ms;
            }
            _ => ranges.push(Range {
                first: number,
                last: number,
                sent_from_ms: sent_ms,
                sent_to_ms: sent_ms,
                expected,
            }),
        }
    }
    ranges
}

/// The last number that was sent before the cut and came; 0 is none.
fn last_before(cut: Duration, sent: &[Duration], seen: &[bool]) -> u64 {
    let numbered = (1u64..).zip(sent.iter().zip(seen));
    let came = numbered.filter(|(_, (at, seen))| **seen && **at < cut);
    came.map(|(number, _)| number).last().unwrap_or_default()
}

/// The first number that was sent after the subscriber was back and came.
fn first_after(back: Duration, sent: &[Duration], seen: &[bool]) -> Option<u64> {
    let mut numbered = (1u64..).zip(sent.iter().zip(seen));
    numbered.find(|(_, (at, seen))| **seen && **at > back).map(|(number, _)| number)
}

/// Milliseconds from one time to another, negative when it is earlier.
fn millis_between(from: Duration, to: Duration) -> f64 {
    (to.as_secs_f64() - from.as_secs_f64()) * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn losses_are_told_by_range_and_by_whether_they_had_to_be() {
        let sent: Vec<Duration> = (0..1000).map(at).collect();
        // Lost: 100 (long before the cut) and 501..=510 (while away).
        let received: Vec<u64> =
            (1..=1000).filter(|n| *n != 100 && !(501..=510).contains(n)).collect();
        let away = Some((at(500), Some(at(512))));
        let account = Account::settle(&sent, &received, at(499), away);
        assert_eq!((account.sent, account.received, account.lost), (1000, 989, 11));
        assert_eq!(account.lost_unexpected, 1);
        assert_eq!(account.lost_ranges.len(), 2);
        let range = account.lost_ranges[1];
        assert_eq!((range.first, range.last, range.expected), (501, 510, true));
        assert!((range.sent_from_ms - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_on_its_way_at_the_cut_had_to_be_lost() {
        let sent: Vec<Duration> = (0..1000).map(at).collect();
        let lost_from = |first: u64| {
            let received: Vec<u64> = (1..=1000).filter(|n| !(first..=810).contains(n)).collect();
            Account::settle(&sent, &received, at(799), Some((at(800), Some(at(812)))))
        };
        assert_eq!(lost_from(701).lost_unexpected, 0, "100 ms on its way");
        assert_eq!(lost_from(201).lost_unexpected, 100, "600 ms are too long");
        let mut holey: Vec<u64> = (1..=1000).filter(|n| !(701..=810).contains(n)).collect();
        holey.push(745);
        let account = Account::settle(&sent, &holey, at(799), Some((at(800), Some(at(812)))));
        assert_eq!(account.lost_unexpected, 44, "a later one came, so these were not on their way");
    }

    #[test]
    fn what_was_sent_before_interest_arrived_had_to_be_lost() {
        let sent: Vec<Duration> = (0..2000).map(at).collect();
        let away = Some((at(800), Some(at(812))));
        let settle = |received: &[u64]| Account::settle(&sent, received, at(799), away);
        let lost_to =
            |last: u64| -> Vec<u64> { (1..=2000).filter(|n| !(801..=last).contains(n)).collect() };
        assert_eq!(settle(&lost_to(1100)).lost_unexpected, 0, "interest took 288 ms");
        assert_eq!(settle(&lost_to(1400)).lost_unexpected, 87, "588 ms are too long");
        let mut holey = lost_to(1100);
        holey.push(1000);
        assert_eq!(
            settle(&holey).lost_unexpected,
            100,
            "an earlier one came, so interest was known"
        );
        let nothing: Vec<u64> = (1..=800).collect();
        assert_eq!(settle(&nothing).lost_unexpected, 2000 - 1313, "it never was");
    }

    #[test]
    fn doubles_and_late_ones_are_counted_and_strangers_are_not() {
        let sent = vec![at(0); 4];
        let account = Account::settle(&sent, &[1, 3, 2, 2, 4, 9, 0], at(0), None);
        assert_eq!((account.received, account.lost), (4, 0));
        assert_eq!((account.duplicated, account.reordered), (1, 1));
    }
}
