//! Addresses whose logins fail too often: for a while nobody from there is heard.
//!
//! natsd's own `failed_logins { max, per }`. Every failure is forgiven after `per / max`, so an
//! address may fail `max` times in a row, then once in that time for ever. While it may not, its
//! connections end before TLS and before anybody is judged, right or wrong: nothing is learnt by
//! trying. Those who are in stay in, and who is refused is not punished for it: after `per / max`
//! the next one is heard. Time comes in; the table has a bound. Asked by `node`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::FailedLogins;

/// Addresses remembered: 4 MiB.
const MOST: usize = 1 << 16;
/// Addresses after which those are sought that are forgiven.
const SOUGHT_BEYOND: usize = 1024;
/// Networks that are given to one customer: 64 bits of an IPv6 address.
const NETWORK_BITS: u32 = 64;

/// Addresses whose logins failed.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// When all failures of an address are forgiven.
    forgiven: HashMap<IpAddr, Instant>,
    sought_at: usize,
    /// When the log was last told.
    told: Option<Instant>,
    /// Connections refused since then.
    refused: u64,
}

impl Throttle {
    /// Whether somebody from there is heard now. A refusal is told to the log, once in `per`.
    pub fn hears(&self, terms: &FailedLogins, from: IpAddr, now: Instant) -> bool {
        let mut table = self.0.lock();
        let Some(until) = table.forgiven.get(&network(from)).copied() else { return true };
        let wait = until.saturating_duration_since(now).saturating_sub(terms.per - price(terms));
        if wait.is_zero() {
            return true;
        }
        table.refused += 1;
        if table.told.is_none_or(|told| now.duration_since(told) >= terms.per) {
            let FailedLogins { max, per } = terms;
            tracing::warn!(
                "Too many failed logins from {}, more than {max} in {per:?}: its connections are \
                 refused for {wait:.1?}; refused since the last such line, from anywhere: {}",
                from.to_canonical(),
                table.refused
            );
            table.told = Some(now);
            table.refused = 0;
        }
        false
    }

    /// A login from there failed.
    pub fn note_failure(&self, terms: &FailedLogins, from: IpAddr, now: Instant) {
        let mut table = self.0.lock();
        if table.forgiven.len() >= table.sought_at {
            table.forget(now);
        }
        let until = table.forgiven.entry(network(from)).or_insert(now);
        // What fails at the same time as others is not held against the time to come.
        *until = ((*until).max(now) + price(terms)).min(now + terms.per);
    }
}

impl Table {
    /// Forgets who is forgiven; if that does not help, the half that has failed least.
    fn forget(&mut self, now: Instant) {
        self.forgiven.retain(|_, until| *until > now);
        if self.forgiven.len() >= MOST {
            let mut all: Vec<Instant> = self.forgiven.values().copied().collect();
            let middle = all.len() / 2;
            let (_, median, _) = all.select_nth_unstable(middle);
            let (median, mut surplus) = (*median, middle);
            self.forgiven.retain(|_, until| {
                let goes = *until <= median && surplus > 0;
                surplus -= usize::from(goes);
                !goes
            });
        }
        // Looking again only after as many more keeps the cost of a failure constant.
        self.sought_at = (self.forgiven.len() * 2).clamp(SOUGHT_BEYOND, MOST);
    }
}

/// How long one failure is held against an address.
fn price(terms: &FailedLogins) -> Duration {
    terms.per / terms.max.max(1)
}

/// Whose address it is: neighbours in an IPv6 network are one.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMS: FailedLogins = FailedLogins { max: 3, per: Duration::from_secs(30) };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_failures_then_one_at_a_time() {
        let throttle = Throttle::default();
        let (bad, good) = (address("10.0.0.1"), address("10.0.0.2"));
        let now = Instant::now();
        for _ in 0..3 {
            assert!(throttle.hears(&TERMS, bad, now));
            throttle.note_failure(&TERMS, bad, now);
        }
        assert!(!throttle.hears(&TERMS, bad, now));
        assert!(throttle.hears(&TERMS, good, now));
        // Who is refused, however often, is not refused for longer.
        assert!(!throttle.hears(&TERMS, bad, now + 9 * SECOND));
        assert!(throttle.hears(&TERMS, bad, now + 10 * SECOND));
        throttle.note_failure(&TERMS, bad, now + 10 * SECOND);
        assert!(!throttle.hears(&TERMS, bad, now + 19 * SECOND));
        assert!(throttle.hears(&TERMS, bad, now + 20 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_at_once_is_forgiven_in_time() {
        let throttle = Throttle::default();
        let (from, now) = (address("::ffff:10.0.0.1"), Instant::now());
        (0..1000).for_each(|_| throttle.note_failure(&TERMS, from, now));
        assert!(!throttle.hears(&TERMS, address("10.0.0.1"), now + 9 * SECOND));
        assert!(throttle.hears(&TERMS, from, now + 10 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_addresses_is_one() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for last in 1..=3 {
            throttle.note_failure(&TERMS, address(&format!("2001:db8::{last}")), now);
        }
        assert!(!throttle.hears(&TERMS, address("2001:db8::ffff"), now));
        assert!(throttle.hears(&TERMS, address("2001:db8:0:1::1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_has_a_bound_and_keeps_the_worst() {
        let throttle = Throttle::default();
        let (worst, now) = (address("192.168.0.1"), Instant::now());
        (0..3).for_each(|_| throttle.note_failure(&TERMS, worst, now));
        for number in 0..200_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            throttle.note_failure(&TERMS, from, now);
        }
        assert!(throttle.0.lock().forgiven.len() <= MOST + 1);
        assert!(!throttle.hears(&TERMS, worst, now));
    }
}
