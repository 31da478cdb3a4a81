//! From bytes to ops: the loop of every conversation of the protocol.

use bytes::{Bytes, BytesMut};

use crate::close::CloseReason;
use crate::outbound::SHARED_BODY_BYTES;
use crate::protocol::line::Need;
use crate::protocol::message::Frame;
use crate::protocol::stash::Stash;
use crate::router::Publisher;

/// What became of one step over the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are done with.
    Done(usize),
    /// The op goes on beyond the input.
    More(Need),
}

/// A conversation that consists of ops.
pub trait Ops {
    /// Where the unfinished op is kept.
    fn stash(&mut self) -> &mut Stash;

    /// Whether the next op may be read; if not, the conversation has kept the input itself.
    ///
    /// # Errors
    /// Closes the connection.
    fn admits(&mut self, input: &[u8], publisher: &mut Publisher) -> Result<bool, CloseReason>;

    /// Reads one op and does what it asks for. `frame` holds the input, if that can be shared.
    ///
    /// # Errors
    /// Closes the connection.
    fn step(
        &mut self,
        input: &[u8],
        frame: Option<Frame<'_>>,
        publisher: &mut Publisher,
    ) -> Result<Progress, CloseReason>;

    /// Does what the input asks for, op by op; of an op that goes on beyond it the start is kept.
    /// `lent` is the read buffer that holds the input, if there is one.
    ///
    /// # Errors
    /// Closes the connection.
    fn take_in(
        &mut self,
        input: &[u8],
        lent: Option<&Bytes>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        let mut input = finish_stashed(self, input, publisher)?;
        let frame = lent.map(Frame::Lent);
        while !input.is_empty() && self.admits(input, publisher)? {
            match self.step(input, frame, publisher)? {
                Progress::Done(used) => input = input.get(used..).unwrap_or_default(),
                Progress::More(need) => {
                    self.stash().keep(input, need);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Continues the unfinished op with new input; returns the input behind it.
fn finish_stashed<'i, O: Ops + ?Sized>(
    ops: &mut O,
    mut input: &'i [u8],
    publisher: &mut Publisher,
) -> Result<&'i [u8], CloseReason> {
    while !ops.stash().is_empty() {
        let before = input.len();
        input = ops.stash().fill(input);
        let held = ops.stash().take();
        if held.len() >= SHARED_BODY_BYTES {
            finish_large(ops, held, publisher)?;
        } else {
            match ops.step(&held, None, publisher)? {
                Progress::Done(used) => ops.stash().finish(held, used),
                Progress::More(need) => ops.stash().restore(held, need),
            }
        }
        if input.len() == before {
            break; // nothing new to look at
        }
    }
    Ok(input)
}

/// The same for an op with a large body: it is shared with its receivers, not copied.
fn finish_large<O: Ops + ?Sized>(
    ops: &mut O,
    held: BytesMut,
    publisher: &mut Publisher,
) -> Result<(), CloseReason> {
    let frame = held.freeze();
    match ops.step(&frame, Some(Frame::Own(&frame)), publisher)? {
        Progress::Done(used) if used == frame.len() => {}
        Progress::Done(used) => ops.stash().finish(BytesMut::from(&*frame), used),
        Progress::More(need) => {
            let held = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            ops.stash().restore(held, need);
        }
    }
    Ok(())
}
