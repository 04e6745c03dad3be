//! The kernel's figures of this process. They cost a few system calls, none of which waits.

use std::fs;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Figures of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    /// When it started, by the wall clock, in seconds since 1970.
    pub(super) start_seconds: f64,
    /// The processor time of all its threads.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
}

impl Process {
    /// The figures now, of a process that started then.
    pub(super) fn now(started: SystemTime) -> Process {
        let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH);
        let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok();
        Process {
            start_seconds: since_1970.unwrap_or_default().as_secs_f64(),
            cpu_seconds: cpu.map(|time| Duration::from(time).as_secs_f64()),
            resident_bytes: resident_bytes(),
        }
    }
}

/// Resident memory: the second number of `/proc/self/statm`, in pages (proc(5)).
fn resident_bytes() -> Option<u64> {
    let numbers = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = numbers.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}
