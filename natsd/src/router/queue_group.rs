//! Picking one member of a queue group: uniform over the whole cluster, no local preference.
//!
//! Source: observed on nats-server 2.15.1. A peer counts as often as it has members; the walk
//! starts at a random place and ends at the first member that can be served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::groups::Group;
use crate::account::{Subscription, Target};

/// A small generator of random numbers (xorshift), one per reading thread. Queue groups need
/// evenness, not secrecy.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Multiply and shift: even enough without a division.
        let product = u128::from(self.0) * u128::from(bound.max(1));
        u64::try_from(product >> 64).unwrap_or_default()
    }
}

/// The members in the order in which they are to be tried.
pub(super) fn candidates<'a>(
    group: &'a Group,
    dice: &mut Dice,
) -> impl Iterator<Item = &'a Arc<Subscription>> + Clone + use<'a> {
    let members = &*group.members;
    let start = if group.reaches_peers { weighted(members, dice) } else { even(members, dice) };
    let (before, after) = members.split_at_checked(start).unwrap_or((&[], members));
    after.iter().chain(before)
}

/// A place among members of this server: the choice costs the same, however many there are.
fn even(members: &[Arc<Subscription>], dice: &mut Dice) -> usize {
    let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
    usize::try_from(dice.below(count)).unwrap_or_default()
}

/// A place among members of which some stand for several.
fn weighted(members: &[Arc<Subscription>], dice: &mut Dice) -> usize {
    let total: u64 = members.iter().map(|member| weight(member)).sum();
    let mut place = dice.below(total);
    for (index, member) in members.iter().enumerate() {
        let weight = weight(member);
        if place < weight {
            return index;
        }
        place -= weight;
    }
    0
}

fn weight(member: &Subscription) -> u64 {
    match &member.target {
        Target::Peer(peer) => u64::from(peer.weight.load(Ordering::Relaxed)),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_even_enough() {
        let mut dice = Dice::new(42);
        let mut seen = [0_u32; 7];
        for _ in 0..70_000 {
            seen[usize::try_from(dice.below(7)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| (9_300..10_700).contains(&count)), "{seen:?}");
    }
}
