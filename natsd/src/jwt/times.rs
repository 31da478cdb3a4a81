//! From where and at what hours a user may come.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::{TimeRange, UserRights};

/// Whether an address is in one of the networks of a user, if it has any.
#[must_use]
pub fn is_source_allowed(rights: &UserRights, host: IpAddr) -> bool {
    let host = host.to_canonical();
    let mut networks = rights.src.iter().map(|text| Network::parse(text));
    // One that is none voids those behind it, as in the reference.
    rights.src.is_empty()
        || networks.by_ref().map_while(|network| network).any(|network| network.contains(host))
}

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| plain && *bits <= most)?;
        Some(Self { address, bits })
    }

    fn contains(self, host: IpAddr) -> bool {
        match (self.address, host) {
            (IpAddr::V4(own), IpAddr::V4(host)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                own.to_bits() & mask == host.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(host)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                own.to_bits() & mask == host.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// The time zone of a user's hours: the server's own unless it is named.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "Local" => Some(TimeZone::system()),
        _ => TimeZone::get(name).ok(),
    }
}

/// Reads `15:04:05`.
pub(super) fn clock(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let mut number = |digits: std::ops::RangeInclusive<usize>| {
        let part = parts.next()?;
        let plain = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i8>().ok().filter(|_| plain)
    };
    // Go takes hours of one digit.
    let (hour, minute, second) = (number(1..=2)?, number(2..=2)?, number(2..=2)?);
    if parts.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// Whether a user may come now; how long it may stay is `Some(None)` for ever.
#[must_use]
pub fn in_time(rights: &UserRights, now: Timestamp) -> Option<Option<Duration>> {
    if rights.times.is_empty() {
        return Some(None);
    }
    let zone = zone(&rights.times_location)?;
    let mut longest = None;
    for range in &rights.times {
        let left = time_left(range, now, &zone)?;
        longest = longest.max(left);
    }
    longest.map(Some)
}

/// What is left of a range, if it is now: `None` for a range that makes no sense.
#[expect(clippy::option_option, reason = "no sense, not now, so long")]
fn time_left(range: &TimeRange, now: Timestamp, zone: &TimeZone) -> Option<Option<Duration>> {
    let (start, end) = (clock(&range.start)?, clock(&range.end)?);
    let today = now.to_zoned(zone.clone()).date();
    let at = |date: jiff::civil::Date, time: Time| {
        Some(zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().ok()?.timestamp())
    };
    let (from, until) = (at(today, start)?, at(today, end)?);
    let left = |until: Timestamp| {
        Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
    };
    if from < now && until > now {
        return Some(left(until));
    }
    if from > until {
        // Over midnight: after it, or before it.
        if until > now {
            return Some(left(until));
        }
        let tomorrow = at(today.tomorrow().ok()?, end)?;
        if from < now && tomorrow > now {
            return Some(left(tomorrow));
        }
    }
    Some(None)
}
