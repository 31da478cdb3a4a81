//! What this process uses: memory and processor time, read when somebody asks.

use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Two looks at the processor time closer together than this tell nothing.
const SAMPLE_MIN: Duration = Duration::from_millis(500);

/// Samples processor time; there is no timer, the askers are the clock.
#[derive(Debug)]
pub(super) struct Usage(Mutex<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    cpu: Duration,
    percent: f64,
}

impl Usage {
    /// Starts to measure.
    pub(super) fn new(started: Instant) -> Self {
        // The process is as old as its processor time is zero, almost.
        Self(Mutex::new(Sample { at: started, cpu: Duration::ZERO, percent: 0.0 }))
    }

    /// Percent of one core since the last time that somebody asked, with one decimal.
    pub(super) fn cpu_percent(&self) -> f64 {
        let mut last = self.0.lock();
        let now = Instant::now();
        let wall = now.saturating_duration_since(last.at);
        if wall >= SAMPLE_MIN {
            let cpu = cpu_time();
            let share = cpu.saturating_sub(last.cpu).as_secs_f64() / wall.as_secs_f64();
            *last = Sample { at: now, cpu, percent: (share * 1000.0).round() / 10.0 };
        }
        last.percent
    }
}

/// Resident bytes; 0 if the system does not tell.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_known() {
        assert!(resident_bytes() > 100_000);
        assert!(cpu_time() > Duration::ZERO);
    }
}
