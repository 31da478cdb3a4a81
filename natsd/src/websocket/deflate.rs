//! permessage-deflate without context takeover (RFC 7692): every message stands alone, so no
//! connection owns a window; the machinery belongs to the thread.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends the stream of a message: the tail that senders leave out, and an empty last block,
/// so that the end is told from a cut.
const TAIL: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// What a sender leaves out.
const LEFT_OUT: usize = 4;
/// Bytes unpacked at once.
const UNPACKED_AT_ONCE: usize = 32 * 1024;
/// A compressed message may be so many times `max_payload`, before it is unpacked, and never
/// more than [`PACKED_MAX`] (nats-server 2.15).
const PACKED_FACTOR: usize = 8;
const PACKED_MAX: usize = 64 * 1024 * 1024;

thread_local! {
    static DEFLATE: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::fast(), false));
    static INFLATE: RefCell<(Decompress, Vec<u8>)> =
        RefCell::new((Decompress::new(false), Vec::new()));
}

/// A compressed message on its way in, held until it is whole.
#[derive(Debug, Default)]
pub struct Inflater {
    packed: Vec<u8>,
}

/// What is wrong with a compressed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Packed {
    /// It is too long, packed or unpacked.
    #[error("maximum payload exceeded")]
    TooLong,
    /// It makes no sense.
    #[error("flate: corrupt input")]
    Corrupt,
}

impl Inflater {
    /// Adds bytes to the message.
    ///
    /// # Errors
    /// When it grows beyond what may be.
    pub fn push(&mut self, bytes: &[u8], payload_max: usize) -> Result<(), Packed> {
        let most = payload_max.saturating_mul(PACKED_FACTOR).min(PACKED_MAX);
        if self.packed.len() + bytes.len() + TAIL.len() > most {
            self.packed = Vec::new();
            return Err(Packed::TooLong);
        }
        self.packed.extend_from_slice(bytes);
        Ok(())
    }

    /// Unpacks the whole message piece by piece; no more than `payload_max` bytes are handed
    /// over, however much is packed.
    ///
    /// # Errors
    /// What `take` says, or what is wrong with the message; the bytes before it were handed over.
    pub fn finish<E: From<Packed>>(
        &mut self,
        payload_max: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.extend_from_slice(&TAIL);
        INFLATE.with_borrow_mut(|(machine, out)| {
            machine.reset(false);
            out.resize(UNPACKED_AT_ONCE, 0);
            let (mut read, mut left) = (0, payload_max);
            loop {
                let (before_in, before_out) = (machine.total_in(), machine.total_out());
                let input = packed.get(read..).unwrap_or_default();
                let status = machine.decompress(input, out, FlushDecompress::None);
                let status = status.map_err(|_corrupt| Packed::Corrupt)?;
                let taken = difference(before_in, machine.total_in());
                let made = difference(before_out, machine.total_out());
                read += taken;
                take(out.get(..made.min(left)).unwrap_or_default())?;
                if made > left {
                    return Err(Packed::TooLong.into());
                }
                left -= made;
                if status == Status::StreamEnd {
                    return Ok(());
                }
                if taken == 0 && made == 0 {
                    return Err(Packed::Corrupt.into());
                }
            }
        })
    }
}

fn difference(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// Packs a message of `len` bytes, fast rather than small, and appends it.
pub fn deflate<'a>(message: impl Iterator<Item = &'a [u8]>, len: usize, out: &mut Vec<u8>) {
    // With room for all of it the machine never stops in the middle of a flush, from which it
    // could not be told when it is done (the bound is that of zlib's `deflateBound`).
    out.reserve(128 + len + len / 10);
    DEFLATE.with_borrow_mut(|machine| {
        machine.reset();
        for part in message {
            pack(machine, part, out);
        }
        // Neither a stream that is never ended nor a buffer with room can make it fail.
        drop(machine.compress_vec(&[], out, FlushCompress::Sync));
    });
    out.truncate(out.len().saturating_sub(LEFT_OUT));
}

fn pack(machine: &mut Compress, mut part: &[u8], out: &mut Vec<u8>) {
    while !part.is_empty() {
        let before = machine.total_in();
        drop(machine.compress_vec(part, out, FlushCompress::None));
        let taken = difference(before, machine.total_in());
        if taken == 0 {
            return;
        }
        part = part.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        deflate(message.chunks(1000), message.len(), &mut out);
        out
    }

    fn unpacked(packed: &[u8], payload_max: usize) -> (Vec<u8>, Result<(), Packed>) {
        let (mut inflater, mut all) = (Inflater::default(), Vec::new());
        let result = inflater.push(packed, payload_max).and_then(|()| {
            inflater.finish(payload_max, |bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            })
        });
        (all, result)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_packed_comes_out_again(
            alphabet in prop_oneof![Just(1u8), Just(4), Just(255)],
            message in prop::collection::vec(any::<u8>(), 0..60_000),
        ) {
            let message: Vec<u8> = message.iter().map(|byte| byte % alphabet).collect();
            prop_assert!(unpacked(&packed(&message), 1 << 20) == (message, Ok(())));
        }

        #[test]
        fn nonsense_is_refused_within_the_bound(
            bytes in prop::collection::vec(any::<u8>(), 0..2000)
        ) {
            prop_assert!(unpacked(&bytes, 1000).0.len() <= 1000);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = packed(&vec![0; 10_000_000]);
        assert!(bomb.len() < 100_000);
        let (all, result) = unpacked(&bomb, 100_000);
        assert_eq!((all.len(), result), (100_000, Err(Packed::TooLong)));
        let fits = packed(&vec![7; 100_000]);
        assert_eq!(unpacked(&fits, 100_000).1, Ok(()));
        assert_eq!(unpacked(&fits, 99_999).1, Err(Packed::TooLong));
    }

    #[test]
    fn a_message_that_grows_unpacked_is_refused_before() {
        let mut inflater = Inflater::default();
        assert_eq!(inflater.push(&[0; 700], 100), Ok(()));
        assert_eq!(inflater.push(&[0; 100], 100), Err(Packed::TooLong));
    }

    #[test]
    fn a_cut_message_is_corrupt() {
        let whole = packed(b"PING\r\nPING\r\nPING\r\nSUB a 1\r\n");
        assert_eq!(unpacked(&whole[..whole.len() - 2], 1000).1, Err(Packed::Corrupt));
        assert_eq!(unpacked(b"\xff\xff\xff", 1000).1, Err(Packed::Corrupt));
        assert_eq!(unpacked(b"", 1000).1, Err(Packed::Corrupt));
    }
}
