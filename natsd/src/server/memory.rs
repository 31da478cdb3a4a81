//! Memory given back to the system: what only the start needed, and what a crowd left behind.
//!
//! Starting touches most of the program, and a fault maps 16 pages of a file at once: measured
//! 6.7 MB resident, 5.7 of them the files of natsd and its libraries. All of that is unmapped once;
//! what serving needs comes back by itself, half of it. It is in the page cache anyway.
//!
//! The C library keeps freed memory for the next time: after a million subscriptions, whose owner
//! is gone, measured 216 MB. It gives it back when it is asked to, so it is asked when much of
//! what clients held has gone. Of the end of the heap of a thread it keeps as much as the largest
//! block that was ever freed, whatever it is asked, unless it is told a bound: measured 6.3 MB, the
//! table of 120,000 subscriptions. Small blocks it sets aside as they are and joins all at once when a
//! large one is freed: measured 250 ms after a million subscriptions, in which the thread serves
//! nobody. It joins each when it is freed instead, which costs nothing that could be measured.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::account::Account;
use crate::node::Node;

/// When a server has started: its routes are dialed, and nothing of the start runs any more.
const STARTED: Duration = Duration::from_millis(250);
/// How often to look whether a crowd has left.
const LOOK: Duration = Duration::from_secs(2);
/// What a connection holds at least, and a subscription; as measured.
const CONNECTION_BYTES: u64 = 4 * 1024;
const SUBSCRIPTION_BYTES: u64 = 160;
/// Less is not worth the walk through the heap, which holds up whoever allocates meanwhile.
const CROWD_BYTES: u64 = 8 * 1024 * 1024;
/// When less went since the last look, the crowd is gone.
const STRAGGLERS_BYTES: u64 = CROWD_BYTES / 8;

/// Gives back what only the start needed, then now and then what a crowd has left behind.
pub(super) async fn give_back(node: Arc<Node>) {
    sleep(STARTED).await;
    unmap_files();
    give_back_after_crowds(node).await;
}

async fn give_back_after_crowds(node: Arc<Node>) {
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
            drop(spawn_blocking(trim_heaps).await);
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
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// Unmaps what the system can bring back from a file; what runs comes back by itself.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no safe call does it; 2 MB of 6.7 come back, as measured")]
fn unmap_files() {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, bytes) in unwritten_files(&maps) {
        // SAFETY: the mapping is of a file, cannot be written, and no page of it is the process's
        // own, so each is brought back with the same content when it is touched.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(start), bytes, libc::MADV_DONTNEED);
        }
    }
}

/// Address and size of each mapping of a file that cannot be written and never was; from a text as
/// proc(5) describes `/proc/PID/smaps`: for each mapping a line `START-END r-xp OFFSET DEVICE INODE
/// PATH`, then lines `Name: value`.
#[cfg(target_os = "linux")]
fn unwritten_files(maps: &str) -> Vec<(usize, usize)> {
    let (mut unwritten, mut last) = (Vec::new(), None);
    for (name, rest) in maps.lines().filter_map(|line| line.split_once(' ')) {
        if let Some((start, end)) = name.split_once('-') {
            let is_readonly_file = rest.starts_with("r-") && rest.contains(" /");
            last = is_readonly_file.then(|| span(start, end)).flatten();
        } else if name == "Anonymous:" && rest.trim() == "0 kB" {
            unwritten.extend(last.take());
        }
    }
    unwritten
}

#[cfg(target_os = "linux")]
fn span(start: &str, end: &str) -> Option<(usize, usize)> {
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
}

/// Other systems have no such list.
#[cfg(not(target_os = "linux"))]
fn unmap_files() {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no safe call does it; 216 MB of 223 come back, as measured")]
fn trim_heaps() {
    // SAFETY: malloc_trim may be called at any time from any thread; it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries have no such calls.
#[cfg(not(target_env = "gnu"))]
pub(super) fn bound_what_is_kept() {}

#[cfg(not(target_env = "gnu"))]
fn trim_heaps() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MAPS: &str = "\
5574a8a00000-5574a8b67000 r--p 00000000 fe:00 42 /usr/bin/natsd
Rss:                 436 kB
Anonymous:             0 kB
LazyFree:              0 kB
5574a8b68000-5574a90eb000 r-xp 00167000 fe:00 42 /usr/bin/natsd
Anonymous:             0 kB
5574a90eb000-5574a9107000 r--p 006e9000 fe:00 42 /usr/bin/natsd
Anonymous:           112 kB
5574a9108000-5574a910a000 rw-p 00705000 fe:00 42 /usr/bin/natsd
Anonymous:             0 kB
5574b0000000-5574b0021000 rw-p 00000000 00:00 0 [heap]
Anonymous:             0 kB
7ffc0fdf0000-7ffc0fdf2000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";

    #[test]
    fn what_was_written_or_is_no_file_stays() {
        let unwritten = [(0x5574_a8a0_0000, 0x16_7000), (0x5574_a8b6_8000, 0x58_3000)];
        assert_eq!(unwritten_files(MAPS), unwritten);
        assert_eq!(unwritten_files("5574b0021000-5574b0000000 r-xp /\nAnonymous: 0 kB"), []);
        assert_eq!(unwritten_files("zz-5574b0000000 r-xp 0 /\nAnonymous: 0 kB\nAnonymous:"), []);
    }

    #[test]
    fn files_are_unmapped_and_come_back() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        unmap_files();
        let after = resident();
        assert!(after < before * 3 / 4, "{after} of {before} kB");
    }
}
