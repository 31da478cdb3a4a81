//! WebSocket as bytes: the upgrade request and its answer, frames in and out, compression.
//!
//! Pure: no socket, no clock, no task. `request.rs` judges an upgrade by the [`Terms`] of the
//! listener, `frame.rs` takes frames apart and makes them, `deflate.rs` packs and unpacks
//! messages within bounds, `closing.rs` says goodbye. Only `net` moves the bytes. Sources:
//! RFC 6455, RFC 7692; what is refused and how is nats-server 2.15.1 as observed.

mod closing;
mod deflate;
mod frame;
mod origin;
mod request;

pub use closing::Closing;
pub use deflate::{Inflater, Packed, deflate};
pub use frame::{Decoder, Opcode, Piece, Violation, put_control, put_header};
pub use request::{Answer, Cookies, Refusal, Session, Terms, Upgrade, answer};

/// Messages of so many bytes and fewer are not compressed (nats-server 2.15).
pub const COMPRESSED_ABOVE: usize = 64;

/// Browsers get frames no larger than this (nats-server 2.15: they cope better).
pub const BROWSER_FRAME_BYTES: usize = 4096;
