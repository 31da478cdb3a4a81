//! Hash tables that grow by parts: nobody waits until a million entries have moved.
//!
//! A table that doubles moves all that it holds at once, and the kernel makes all of its new memory
//! then. A large one is therefore many small ones, and an entry's hash says which holds it: they
//! double one after the other, each in under a millisecond. Entries know their hash, so that no
//! key is looked at.

use hashbrown::{HashTable, hash_table};

/// An entry that knows the hash of its key.
pub trait Hashed {
    /// The hash that it is found by: of 64 random bits.
    fn hash(&self) -> u64;
}

/// Entries by hash; what makes two of one hash differ, the caller says.
#[derive(Debug)]
pub struct Table<T> {
    /// All entries, while they are few; none when there are parts.
    few: HashTable<T>,
    /// [`PARTS`] of them, or none.
    parts: Vec<HashTable<T>>,
    count: usize,
}

const PARTS: usize = 64;
/// Of the hash, those that tell the part. The tables use the highest bits and the lowest.
const PART_SHIFT: u32 = 40;
/// A table that would grow beyond this is parted.
const FEW_MAX: usize = 28_672;
/// Fewer entries become one table again.
const MANY_MIN: usize = 4096;
/// A smaller table keeps the memory of what has left.
const KEPT: usize = 256;

impl<T: Hashed> Table<T> {
    /// Makes an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { few: HashTable::new(), parts: Vec::new(), count: 0 }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An entry of this hash that is the one.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.holder(hash).find(hash, is_it)
    }

    /// The same, to be changed; never its hash.
    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.holder_mut(hash).find_mut(hash, is_it)
    }

    /// All entries of this hash.
    pub fn of(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.holder(hash).iter_hash(hash).filter(move |entry| entry.hash() == hash)
    }

    /// Begins to look at all entries that there are now.
    #[must_use]
    pub fn walk(&self) -> Walk {
        let mut hashes = Vec::with_capacity(self.count);
        hashes.extend(self.iter().map(T::hash));
        Walk(hashes.into_iter())
    }

    /// The entries, as they are now, of the next so many steps of a walk: of each that has been there
    /// all the time at least once.
    pub fn next_of<'a>(&'a self, walk: &'a mut Walk, most: usize) -> impl Iterator<Item = &'a T> {
        walk.0.by_ref().take(most).flat_map(|hash| self.of(hash))
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.few.iter().chain(self.parts.iter().flatten())
    }

    /// Adds an entry that is not in it.
    pub fn insert(&mut self, entry: T) {
        if self.parts.is_empty() && self.count >= FEW_MAX {
            self.part();
        }
        let hash = entry.hash();
        self.holder_mut(hash).insert_unique(hash, entry, T::hash);
        self.count += 1;
    }

    /// Removes an entry of this hash that is the one.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let holder = self.holder_mut(hash);
        let (removed, _) = holder.find_entry(hash, is_it).ok()?.remove();
        give_back_memory(holder);
        self.count -= 1;
        if self.count < MANY_MIN && !self.parts.is_empty() {
            self.unite();
        }
        Some(removed)
    }

    fn holder(&self, hash: u64) -> &HashTable<T> {
        self.parts.get(part_of(hash)).unwrap_or(&self.few)
    }

    fn holder_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        self.parts.get_mut(part_of(hash)).unwrap_or(&mut self.few)
    }

    fn part(&mut self) {
        let each = || HashTable::with_capacity(FEW_MAX / PARTS * 2);
        self.parts = std::iter::repeat_with(each).take(PARTS).collect();
        for entry in std::mem::take(&mut self.few) {
            let hash = entry.hash();
            self.holder_mut(hash).insert_unique(hash, entry, T::hash);
        }
    }

    fn unite(&mut self) {
        self.few.reserve(self.count, T::hash);
        for entry in std::mem::take(&mut self.parts).into_iter().flatten() {
            self.few.insert_unique(entry.hash(), entry, T::hash);
        }
    }
}

/// What is still to be looked at of a table that changes meanwhile. Entries are known by their
/// hashes, which are at hand: measured, those of a million are taken in 4 ms, where a million
/// reference counts that no cache holds take 100.
#[derive(Debug)]
pub struct Walk(std::vec::IntoIter<u64>);

impl Walk {
    /// How many steps it takes yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all has been looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}

fn part_of(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

/// Shrinks a table after most of it has been removed, so that churn does not keep memory.
fn give_back_memory<T: Hashed>(table: &mut HashTable<T>) {
    if table.capacity() > KEPT && table.len() * 4 < table.capacity() {
        table.shrink_to(table.len() * 2, T::hash);
    }
}

impl<T: Hashed> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Hashed> IntoIterator for Table<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        let left = self.count;
        IntoIter { at: self.few.into_iter(), parts: self.parts.into_iter(), left }
    }
}

/// The entries of a table that is gone. Its memory goes part by part.
#[derive(Debug)]
pub struct IntoIter<T> {
    at: hash_table::IntoIter<T>,
    parts: std::vec::IntoIter<HashTable<T>>,
    left: usize,
}

impl<T> Default for IntoIter<T> {
    fn default() -> Self {
        Self { at: HashTable::new().into_iter(), parts: Vec::new().into_iter(), left: 0 }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(entry) = self.at.next() {
                self.left -= 1;
                return Some(entry);
            }
            self.at = self.parts.next()?.into_iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher as _;

    use hashbrown::DefaultHashBuilder;

    use super::*;

    struct Number {
        hash: u64,
        number: usize,
    }

    impl Hashed for Number {
        fn hash(&self) -> u64 {
            self.hash
        }
    }

    /// A table and what it must hold.
    #[derive(Default)]
    struct Twin {
        hasher: DefaultHashBuilder,
        table: Table<Number>,
        wanted: BTreeSet<usize>,
    }

    impl Twin {
        fn add(&mut self, number: usize) {
            let hash = self.hasher.hash_one(number);
            self.table.insert(Number { hash, number });
            self.wanted.insert(number);
        }

        fn remove(&mut self, number: usize) {
            let hash = self.hasher.hash_one(number);
            let removed = self.table.remove(hash, |held| held.number == number);
            assert_eq!(removed.map(|held| held.number), self.wanted.take(&number));
        }

        fn holds(&mut self, number: usize) -> bool {
            let hash = self.hasher.hash_one(number);
            let found = self.table.find(hash, |held| held.number == number).is_some();
            assert_eq!(self.table.find_mut(hash, |held| held.number == number).is_some(), found);
            assert_eq!(self.table.of(hash).count(), usize::from(found));
            found
        }

        fn check(&mut self, most: usize) {
            assert_eq!(self.table.len(), self.wanted.len());
            let held: BTreeSet<usize> = self.table.iter().map(|held| held.number).collect();
            assert_eq!(held, self.wanted);
            for number in 0..most {
                assert_eq!(self.holds(number), self.wanted.contains(&number), "{number}");
            }
        }
    }

    const MANY: usize = 100_000;

    #[test]
    fn entries_are_found_however_many_there_are() {
        let mut twin = Twin::default();
        for number in 0..MANY {
            twin.add(number);
            if number.is_power_of_two() {
                twin.check(number + 2);
            }
        }
        assert_eq!(twin.table.parts.len(), PARTS);
        for number in (0..MANY).filter(|number| number % 100 != 7) {
            twin.remove(number);
            if number % 20_000 == 0 {
                twin.check(MANY);
            }
        }
        assert!(twin.table.parts.is_empty() && twin.table.few.capacity() < MANY_MIN * 2);
        twin.check(MANY);
        twin.remove(MANY);
    }

    #[test]
    fn no_part_is_much_larger_than_another() {
        let mut twin = Twin::default();
        (0..MANY).for_each(|number| twin.add(number));
        let mean = MANY / PARTS;
        let sizes: Vec<usize> = twin.table.parts.iter().map(HashTable::len).collect();
        assert!(sizes.iter().all(|size| (mean * 3 / 4..mean * 5 / 4).contains(size)), "{sizes:?}");
    }

    #[test]
    fn what_is_taken_out_is_counted() {
        for count in [0, 10, MANY] {
            let mut twin = Twin::default();
            (0..count).for_each(|number| twin.add(number));
            let mut taken = twin.table.into_iter();
            for left in (0..count).rev() {
                assert!(twin.wanted.remove(&taken.next().unwrap().number));
                assert_eq!(taken.len(), left);
            }
            assert!(taken.next().is_none() && twin.wanted.is_empty());
        }
    }
}
