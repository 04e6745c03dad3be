//! A process in `/proc`: memory, descriptors, state; limits; waiting with a deadline.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, sysconf};

use crate::command::command;

/// Waits for `child` to end; `None` if it does not within `patience`.
pub fn wait_for_exit(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("waitpid") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The resident memory of a process, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc/PID/status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("VmRSS");
    kib * 1024
}

/// How many descriptors a process has open.
#[must_use]
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("/proc/PID/fd")
        .count()
}

/// The processor time that a process has used, all its threads together.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let fields = stat_fields(pid);
    let ticks: u64 = fields[11..=12]
        .iter()
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .expect("CLK_TCK");
    Duration::from_millis(ticks * 1000 / ticks_per_second.cast_unsigned())
}

/// The children of a process, including zombies.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    // The kernel lists a child under the thread that started it.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("/proc/PID/task");
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let numbers = |list: String| -> Vec<u32> {
        let numbers = list.split_whitespace();
        numbers.map(|pid| pid.parse().expect("a pid")).collect()
    };
    lists.flat_map(numbers).collect()
}

/// How many threads a process has.
#[must_use]
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task"))
        .expect("/proc/PID/task")
        .count()
}

/// The state of a process as `ps` shows it: `R` runs, `S` waits, `T` or `t` is stopped.
#[must_use]
pub fn state(pid: u32) -> char {
    stat_fields(pid)[0].chars().next().expect("state")
}

/// Whether all threads of a process sleep.
#[must_use]
pub fn is_asleep(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let state = |path| {
        let stat = fs::read_to_string(path).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    tasks
        .flatten()
        .all(|task| state(task.path().join("stat")) == Some('S'))
}

/// The fields of `/proc/PID/stat` from the state on. The name before it may contain any character.
fn stat_fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc/PID/stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().map(str::to_owned).collect()
}

/// Sets the soft limit on descriptors of a running process.
pub fn limit_descriptors(pid: u32, soft: u64) {
    let status = command("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")])
        .status()
        .expect("prlimit starts");
    assert!(status.success(), "prlimit: {status}");
}

/// Limits the address space of a running process to its present size and `more` bytes.
pub fn leave_memory(pid: u32, more: usize) {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("/proc/PID/statm");
    let pages = statm
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok());
    let pages: usize = pages.expect("a number of pages");
    let page = sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .expect("PAGE_SIZE");
    let limit = pages * page.cast_unsigned() as usize + more;
    let status = command("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--as={limit}:")])
        .status()
        .expect("prlimit starts");
    assert!(status.success(), "prlimit: {status}");
}

/// Raises this process's soft limit on descriptors to the hard limit, and returns it.
#[must_use]
pub fn raise_own_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("setrlimit");
    usize::try_from(hard).unwrap_or(usize::MAX)
}
