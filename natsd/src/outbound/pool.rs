//! Blocks of memory for bytes on their way out, recycled: an idle connection owns none.

use std::cell::RefCell;

use memmap2::MmapMut;
use parking_lot::Mutex;

/// First block of a queue: enough for a reply, small enough for ten thousand queues at once.
const SMALL_BYTES: usize = 4 * 1024;
/// Every further one. Measured: beyond 64 KiB a larger block no longer saves system calls.
const LARGE_BYTES: usize = 64 * 1024;

/// Spare blocks kept per thread: at most, and when the last second did not need them.
const SMALL: Kept = Kept { most: 1024, resting: 64 };
const LARGE: Kept = Kept { most: 32, resting: 16 };
/// Large ones that a thread could not keep. A thread that fills a queue takes them, another that
/// writes it gives them back: with four publishers on one thread and their subscriber on another
/// every second block was new memory, a quarter of all CPU.
const SHARED: Kept = Kept { most: 256, resting: 0 };

/// Memory that is filled from the front.
pub(super) struct Block {
    memory: Memory,
    filled: usize,
}

enum Memory {
    /// Of the heap: small blocks, and those of one frame that is larger than a block.
    Heap(Vec<u8>),
    /// Pages of their own. Dropped, they are the system's again at once. Measured: as parts of the
    /// heap, the 64 MiB of a slow consumer stayed when it was gone, hemmed in by what lives
    /// longer.
    Pages(MmapMut),
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
        }
    }
}

impl Block {
    pub(super) const EMPTY: Self = Self::new(Memory::Heap(Vec::new()));

    const fn new(memory: Memory) -> Self {
        Self { memory, filled: 0 }
    }

    fn of_heap(bytes: usize) -> Self {
        Self::new(Memory::Heap(vec![0; bytes]))
    }

    fn large() -> Self {
        MmapMut::map_anon(LARGE_BYTES)
            .map_or_else(|_| Self::of_heap(LARGE_BYTES), |pages| Self::new(Memory::Pages(pages)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.bytes().get(..self.filled).unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes that fit in yet.
    pub(super) fn room(&self) -> usize {
        self.memory.bytes().len() - self.filled
    }

    /// Whether it holds no more than a small block could.
    pub(super) const fn is_small(&self) -> bool {
        self.filled <= SMALL_BYTES
    }

    /// Whether it has no memory.
    pub(super) fn is_nothing(&self) -> bool {
        self.memory.bytes().is_empty()
    }

    /// Whether it is a small block that should move on into a large one rather than be followed
    /// by it.
    pub(super) fn is_outgrown_by(&self, wanted: usize) -> bool {
        self.memory.bytes().len() == SMALL_BYTES && self.filled + wanted <= LARGE_BYTES
    }

    /// Appends parts for which there is room.
    pub(super) fn append<'p>(&mut self, parts: impl IntoIterator<Item = &'p [u8]>) {
        let mut place = self.memory.bytes_mut().get_mut(self.filled..).unwrap_or_default();
        for part in parts {
            let Some((here, behind)) = place.split_at_mut_checked(part.len()) else {
                debug_assert!(false, "room is reserved before");
                return;
            };
            here.copy_from_slice(part);
            self.filled += part.len();
            place = behind;
        }
    }
}

/// An empty block for at least `wanted` bytes; `first` says that it starts a queue.
pub(super) fn take(wanted: usize, first: bool) -> Block {
    if first && wanted <= SMALL_BYTES {
        return take_spare(|spares| &mut spares.small)
            .unwrap_or_else(|| Block::of_heap(SMALL_BYTES));
    }
    if wanted <= LARGE_BYTES {
        return take_spare(|spares| &mut spares.large)
            .or_else(|| SHARED_SPARES.lock().take())
            .unwrap_or_else(Block::large);
    }
    Block::of_heap(wanted)
}

/// Gives a block back.
pub(super) fn give(block: Block) {
    let block = Block { filled: 0, ..block };
    match &block.memory {
        Memory::Heap(bytes) if bytes.len() == SMALL_BYTES => {
            drop(SPARES.with_borrow_mut(|spares| spares.small.keep(block, &SMALL)));
        }
        Memory::Pages(_) => {
            if let Err(block) = SPARES.with_borrow_mut(|spares| spares.large.keep(block, &LARGE)) {
                // Memory goes back to the system when the lock is let go.
                let refused = SHARED_SPARES.lock().keep(block, &SHARED);
                drop(refused);
            }
        }
        Memory::Heap(_) => {}
    }
}

/// Gives those spare blocks of this thread back to the system that were not needed since the
/// last time. To be called every now and then.
pub fn give_back_spares() {
    SPARES.with_borrow_mut(|spares| {
        spares.small.rest(&SMALL);
        spares.large.rest(&LARGE);
    });
}

/// The same for the spare blocks of all threads. To be called by one of them.
pub fn give_back_shared_spares() {
    let spilled = SHARED_SPARES.lock().rest(&SHARED);
    drop(spilled);
}

struct Kept {
    most: usize,
    resting: usize,
}

/// Spare blocks of one size.
struct Spares {
    blocks: Vec<Block>,
    /// The fewest there have been since the last rest: so many nobody needed.
    fewest: usize,
}

struct Pool {
    small: Spares,
    large: Spares,
}

thread_local! {
    static SPARES: RefCell<Pool> =
        const { RefCell::new(Pool { small: Spares::NONE, large: Spares::NONE }) };
}

static SHARED_SPARES: Mutex<Spares> = Mutex::new(Spares::NONE);

fn take_spare(of: impl FnOnce(&mut Pool) -> &mut Spares) -> Option<Block> {
    SPARES.with_borrow_mut(|spares| of(spares).take())
}

impl Spares {
    const NONE: Self = Self { blocks: Vec::new(), fewest: 0 };

    fn take(&mut self) -> Option<Block> {
        let block = self.blocks.pop();
        self.fewest = self.fewest.min(self.blocks.len());
        block
    }

    /// Keeps a block, if there is room for it.
    fn keep(&mut self, block: Block, kept: &Kept) -> Result<(), Block> {
        if self.blocks.len() >= kept.most {
            return Err(block);
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Parts with what was not needed since the last time.
    fn rest(&mut self, kept: &Kept) -> Vec<Block> {
        let needed = self.blocks.len() - self.fewest.min(self.blocks.len());
        let rested = needed.max(kept.resting).min(self.blocks.len());
        let spilled = self.blocks.split_off(rested);
        self.blocks.shrink_to(kept.resting);
        self.fewest = self.blocks.len();
        spilled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn spares() -> (usize, usize) {
        SPARES.with_borrow(|spares| (spares.small.blocks.len(), spares.large.blocks.len()))
    }

    #[test]
    fn a_block_takes_what_it_has_room_for() {
        for (wanted, first, room) in
            [(10, true, SMALL_BYTES), (10, false, LARGE_BYTES), (100_000, false, 100_000)]
        {
            let mut block = take(wanted, first);
            assert!(block.is_empty() && block.room() == room);
            block.append([&b"abc"[..]]);
            block.append([&b"de"[..], b"f"]);
            assert_eq!((block.bytes(), block.room()), (&b"abcdef"[..], room - 6));
        }
    }

    #[test]
    fn a_recycled_block_is_empty() {
        let mut block = take(10, false);
        block.append([&b"secret"[..]]);
        give(block);
        let again = take(10, false);
        assert!(again.is_empty() && again.room() == LARGE_BYTES);
    }

    /// For tests that look at the spares of all threads.
    static ALONE: Mutex<()> = Mutex::new(());

    fn take_large(count: usize) -> Vec<Block> {
        (0..count).map(|_| take(1, false)).collect()
    }

    fn places(blocks: &[Block]) -> HashSet<usize> {
        blocks.iter().map(|block| block.bytes().as_ptr().addr()).collect()
    }

    #[test]
    fn what_one_thread_cannot_keep_another_takes() {
        let _alone = ALONE.lock();
        give_back_shared_spares();
        give_back_shared_spares();
        let blocks = take_large(LARGE.most + 40);
        let given = places(&blocks);
        blocks.into_iter().for_each(give);
        let taken = std::thread::spawn(|| places(&take_large(40))).join().unwrap();
        assert_eq!(taken.intersection(&given).count(), 40);
    }

    #[test]
    fn what_a_second_did_not_need_goes_back() {
        let _alone = ALONE.lock();
        let all: Vec<Block> = (0..2000).flat_map(|_| [take(1, true), take(1, false)]).collect();
        all.into_iter().for_each(give);
        assert_eq!(spares(), (SMALL.most, LARGE.most));
        give_back_spares();
        assert_eq!(spares(), (SMALL.most, LARGE.most), "all were needed a moment ago");
        take_large(20).into_iter().for_each(give);
        give_back_spares();
        assert_eq!(spares(), (SMALL.resting, 20));
        give_back_spares();
        assert_eq!(spares(), (SMALL.resting, LARGE.resting));
        assert_eq!(SHARED_SPARES.lock().blocks.len(), SHARED.most);
        give_back_shared_spares();
        give_back_shared_spares();
        assert_eq!(SHARED_SPARES.lock().blocks.len(), SHARED.resting);
    }
}
