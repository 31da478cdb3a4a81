//! From bytes to ops: the loop of every conversation of the protocol.

use bytes::{Bytes, BytesMut};

use super::rest::Rest;
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
    /// The op is not done with yet, and wants another turn.
    Again,
}

/// A conversation that consists of ops.
pub trait Ops {
    /// Where the unfinished op is kept.
    fn stash(&mut self) -> &mut Stash;

    /// Where input waits that its turn was too short for.
    fn rest(&mut self) -> &mut Rest;

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

    /// Does what the input asks for, op by op, until the turn is over: then what is left of it is
    /// kept. Of an op that goes on beyond the input the start is kept. `lent` is the read buffer
    /// that holds the input, if there is one.
    ///
    /// # Errors
    /// Closes the connection.
    fn take_in(
        &mut self,
        input: &[u8],
        lent: Option<&Bytes>,
        publisher: &mut Publisher,
    ) -> Result<(), CloseReason> {
        if self.rest().waiting() > 0 {
            self.rest().append(input);
            return Ok(());
        }
        let input = finish_stashed(self, input, publisher)?;
        let left = work(self, input, lent, publisher)?;
        self.rest().append(left);
        Ok(())
    }

    /// Keeps the input for a later turn, with the start of an op before it.
    fn put_off(&mut self, input: &[u8]) {
        let held = self.stash().take();
        self.rest().append(&held);
        self.rest().append(input);
    }

    /// Goes on with the input that was kept, by one op at least.
    ///
    /// # Errors
    /// Closes the connection.
    fn take_in_rest(&mut self, publisher: &mut Publisher) -> Result<(), CloseReason> {
        let rest = self.rest().take();
        let left = work(self, &rest, Some(&rest), publisher)?.len();
        self.rest().restore(rest, left);
        Ok(())
    }
}

/// Does what the input asks for; returns what is left of it at the end of the turn.
fn work<'i, O: Ops + ?Sized>(
    ops: &mut O,
    mut input: &'i [u8],
    lent: Option<&Bytes>,
    publisher: &mut Publisher,
) -> Result<&'i [u8], CloseReason> {
    let frame = lent.map(Frame::Lent);
    while !input.is_empty() && ops.admits(input, publisher)? {
        match ops.step(input, frame, publisher)? {
            Progress::Done(used) => input = input.get(used..).unwrap_or_default(),
            Progress::More(need) => {
                ops.stash().keep(input, need);
                break;
            }
            Progress::Again => return Ok(input),
        }
        if publisher.turn_is_over() {
            return Ok(input);
        }
    }
    Ok(&[])
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
                Progress::Again => ops.rest().append(&held),
            }
        }
        if ops.rest().waiting() > 0 {
            ops.rest().append(input);
            return Ok(&[]);
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
    // Nothing that is as long wants another turn.
    match ops.step(&frame, Some(Frame::Own(&frame)), publisher)? {
        Progress::Done(used) if used == frame.len() => {}
        Progress::Done(used) => ops.stash().finish(BytesMut::from(&*frame), used),
        Progress::More(need) => {
            let held = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            ops.stash().restore(held, need);
        }
        Progress::Again => ops.rest().append(&frame),
    }
    Ok(())
}
