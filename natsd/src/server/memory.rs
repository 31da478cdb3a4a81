//! Memory given back to the system after a crowd has left.
//!
//! The C library keeps freed memory for the next time: after a million subscriptions, whose owner
//! is gone, measured 216 MB. It gives it back when it is asked to, so it is asked when much of
//! what clients held has gone. Of the end of the heap of a thread it keeps as much as the largest
//! block that was ever freed, whatever it is asked, unless it is told a bound: measured 6.3 MB, the
//! table of 120,000 subscriptions.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::account::Account;
use crate::node::Node;

/// How often to look whether a crowd has left.
const LOOK: Duration = Duration::from_secs(2);
/// What a connection holds at least, and a subscription; as measured.
const CONNECTION_BYTES: u64 = 4 * 1024;
const SUBSCRIPTION_BYTES: u64 = 160;
/// Less is not worth the walk through the heap, which holds up whoever allocates meanwhile.
const CROWD_BYTES: u64 = 8 * 1024 * 1024;
/// When less went since the last look, the crowd is gone.
const STRAGGLERS_BYTES: u64 = CROWD_BYTES / 8;

/// Looks now and then, and gives back what a crowd has left behind.
pub(super) async fn give_back_after_crowds(node: Arc<Node>) {
    let (mut given_back, mut last) = (0, 0);
    loop {
        sleep(LOOK).await;
        let left = left_bytes(&node);
        given_back = left.min(given_back);
        let is_over = left.saturating_sub(last) < STRAGGLERS_BYTES;
        if is_over && left.saturating_sub(given_back) > CROWD_BYTES {
            given_back = left;
            // It may take some milliseconds: not on a thread that serves. A failed task is a
            // panic, which the log has.
            drop(spawn_blocking(give_back).await);
        }
        last = left;
    }
}

/// What all connections and subscriptions that ever ended held, about. It falls when an account
/// goes.
fn left_bytes(node: &Node) -> u64 {
    let connections = node.registry.total().saturating_sub(node.registry.count() as u64);
    let removed = |account: &Arc<Account>| account.interest_counts().removed;
    let subscriptions: u64 = node.accounts.all().iter().map(removed).sum();
    connections * CONNECTION_BYTES + subscriptions * SUBSCRIPTION_BYTES
}

/// Blocks of this size are a mapping of their own and are gone when they are freed; as much may stay
/// at the end of each heap. No message that `max_payload` allows by default is as large.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 2 * 1024 * 1024;

/// Tells the C library what it may keep. To be called before much is allocated.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe call does it; 6 MB of 7 come back, as measured")]
pub(super) fn bound_what_is_kept() {
    // SAFETY: mallopt may be called at any time from any thread; it changes what happens to blocks
    // that are freed later, never where a block is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe call does it; 216 MB of 223 come back, as measured")]
fn give_back() {
    // SAFETY: malloc_trim may be called at any time from any thread; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries have no such calls.
#[cfg(not(target_env = "gnu"))]
pub(super) fn bound_what_is_kept() {}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
