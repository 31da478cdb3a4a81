//! Breaks a cluster on purpose and measures what clients and the other servers see.
//!
//! A subscriber sits on the victim (where that hangs, on a survivor), a publisher on a node that
//! survives, and every survivor is watched. Messages carry sequence numbers, and all times are of one monotonic clock: that of
//! this process. What is lost is told by exact ranges, and whether it was sent while the
//! subscriber was away (core NATS is at-most-once) or not (that would be somebody's bug).

mod account;
mod kill;
mod load;
mod watch;

pub use account::{Account, Range};
pub use kill::{Drill, DrillError, Outcome, Record, Survivor, Victim};
pub use load::{Heard, Load, LoadError};
