//! Data on stdout, and whether anybody reads it.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Why stdout could not be written to, the first time.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Pause between two looks at the other end of stdout.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes data to stdout. Should that fail, work goes on without it: how it ends counts, also where
/// nobody reads any more (`| head`). [`lost`] says so.
pub fn print(text: &str) {
    if lost().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        LOST.get_or_init(|| error);
    }
}

/// Why stdout takes nothing any more, if so.
#[must_use]
pub fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Waits until nothing can be written any more: a verb without an end of its own ends then, and
/// not only at its next line.
pub async fn reader_left() {
    while lost().is_none() && !is_closed(&io::stdout()) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the other end is closed. A pipe tells so without a write; a file never does.
fn is_closed(out: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok()
        && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_tells_that_its_reader_left_and_a_file_does_not() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_closed(&writer));
        drop(reader);
        assert!(is_closed(&writer));
        assert!(!is_closed(&tempfile::tempfile().unwrap()));
    }
}
