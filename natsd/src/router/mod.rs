//! The switchboard: who gets a message, and in which form.
//!
//! `publish.rs` carries one message to all its receivers; `matches.rs` is what an account says
//! about one subject, `groups.rs` its queue groups; `queue_group.rs` picks the member. Clients and
//! peers get it in forms of their own (`frame.rs`, `peer.rs`). A [`Publisher`] belongs to a reading
//! thread: it remembers which queues it appended to and writes each of them once at the end of the
//! batch (`flush.rs`), as far as the turn goes (`stint.rs`). No lock is held while a message is
//! queued. `trace.rs` is the same for messages whose way is to be reported, step by step.

mod flush;
mod frame;
mod groups;
mod import;
mod matches;
mod peer;
mod publish;
mod queue_group;
mod sample;
mod stint;
mod trace;

pub use frame::share;
pub use matches::Matches;
pub use publish::{Asker, Origin, Publisher};
pub use stint::TURN;
pub use trace::{Begun, Egress, Event, Ingress, Kind, Source, Trace, without_tracing};
