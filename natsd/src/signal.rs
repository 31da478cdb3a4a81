//! `--signal`: asking another server process to do something.

use rustix::process::{Pid, Signal as Number, kill_process};

use crate::config::conf::reason;
use crate::config::flags::{Signal, SignalRequest, SignalTarget};

/// Why a signal was not sent. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// Nobody to send it to.
    #[error("no nats-server processes running")]
    Nobody,
    /// Too many, and none was chosen.
    #[error("multiple nats-server processes running:\n{0}")]
    Several(String),
    /// The system refused: a line for each process, after an empty one.
    #[error("{0}")]
    Refused(String),
}

/// Sends a signal to one or several server processes.
///
/// # Errors
/// When there is no such process, more than one and no choice, or it may not be signalled.
pub fn send(request: &SignalRequest) -> Result<(), SignalError> {
    let pids = match &request.target {
        SignalTarget::Pid(pid) => vec![*pid],
        SignalTarget::Only => match *running().as_slice() {
            [] => return Err(SignalError::Nobody),
            [only] => vec![only],
            ref several => {
                let list: Vec<String> = several.iter().map(u32::to_string).collect();
                return Err(SignalError::Several(list.join("\n")));
            }
        },
        SignalTarget::Prefix(prefix) => {
            let running = running();
            if running.is_empty() {
                return Err(SignalError::Nobody);
            }
            running.into_iter().filter(|pid| pid.to_string().starts_with(prefix)).collect()
        }
    };
    // One that refuses keeps none of the others from hearing of it.
    let refusals: String =
        pids.into_iter().filter_map(|pid| send_one(request.signal, pid).err()).collect();
    if refusals.is_empty() { Ok(()) } else { Err(SignalError::Refused(refusals)) }
}

/// Sends a signal, or says why not.
fn send_one(signal: Signal, pid: u32) -> Result<(), String> {
    let (name, number) = match signal {
        Signal::Stop => ("stop", Number::KILL),
        Signal::Quit => ("quit", Number::INT),
        Signal::Term => ("term", Number::TERM),
        Signal::Reopen => ("reopen", Number::USR1),
        Signal::Reload => ("reload", Number::HUP),
        Signal::LameDuck => ("ldm", Number::USR2),
    };
    let refused =
        |error: rustix::io::Errno| format!("\nsignal {name:?} {pid}: {}", reason(&error.into()));
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = target.ok_or_else(|| refused(rustix::io::Errno::SRCH))?;
    kill_process(target, number).map_err(refused)
}

/// Other processes that run a server by either name.
fn running() -> Vec<u32> {
    let own = std::process::id();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<u32> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_server(*pid))
        .collect();
    pids.sort_unstable();
    pids
}

fn is_server(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| matches!(name.trim(), "natsd" | "nats-server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_named() {
        // Observed on nats-server 2.15.1, the empty line before it too.
        let refused = send_one(Signal::Reload, 99_999_999).unwrap_err();
        assert_eq!(refused, "\nsignal \"reload\" 99999999: no such process");
        // Zero would be the whole group of this process.
        assert!(send_one(Signal::Reload, 0).is_err());
    }
}
