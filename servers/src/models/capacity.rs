//! How many clients a machine can serve with a process or a thread for each.
//!
//! A client is cheap for itself and dear for the server, so without a limit strangers can take every
//! process id of the machine, and nobody can log in to end the server. The default limit leaves
//! three quarters of each resource to the rest of the machine.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

/// The part of each resource that clients may take by default: one in so many.
const SHARE: u64 = 4;

/// A bound of the number of clients, and its name for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) clients: usize,
    pub(super) cause: &'static str,
}

impl Capacity {
    /// The least of the bounds of this machine. `client_bytes`: memory of one client, in bytes, with
    /// the kernel's part.
    pub(super) fn of_this_machine(client_bytes: u64) -> Capacity {
        let bounds = [
            (number("/proc/sys/kernel/pid_max"), "kernel.pid_max"),
            (number("/proc/sys/kernel/threads-max"), "kernel.threads-max"),
            (user_limit(), "RLIMIT_NPROC"),
            (control_group_limit(), "pids.max"),
            (memory().map(|bytes| bytes / client_bytes), "memory"),
        ];
        Capacity::least(bounds)
    }

    fn least<const N: usize>(bounds: [(Option<u64>, &'static str); N]) -> Capacity {
        let known = bounds
            .into_iter()
            .filter_map(|(bound, cause)| Some((bound?, cause)));
        // A machine without /proc tells nothing; this many any machine can serve.
        let (bound, cause) = known.min().unwrap_or((1024, "no /proc"));
        let clients = usize::try_from(bound / SHARE).unwrap_or(usize::MAX);
        Capacity {
            clients: clients.max(1),
            cause,
        }
    }
}

/// The number that a file consists of.
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn user_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NPROC).ok()?;
    (soft != u64::MAX).then_some(soft)
}

/// The limit of this process' control group, `None` if there is none (cgroups(7)).
fn control_group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of_version_2 = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    number(&format!("/sys/fs/cgroup{of_version_2}/pids.max"))
}

/// The machine's memory in bytes.
fn memory() -> Option<u64> {
    let facts = fs::read_to_string("/proc/meminfo").ok()?;
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_a_quarter_of_the_scarcest_resource() {
        let bounds = [
            (Some(32_768), "kernel.pid_max"),
            (None, "pids.max"),
            (Some(4_000), "memory"),
        ];
        let expected = Capacity {
            clients: 1_000,
            cause: "memory",
        };
        assert_eq!(Capacity::least(bounds), expected);
        assert_eq!(Capacity::least([(Some(3), "pids.max")]).clients, 1);
        assert_eq!(Capacity::least([(None, "pids.max")]).clients, 256);
    }

    #[test]
    fn this_machine_tells_its_bounds() {
        let pids = number("/proc/sys/kernel/pid_max").expect("a number");
        let capacity = Capacity::of_this_machine(1);
        assert!(capacity.clients as u64 <= pids / SHARE, "{capacity:?}");
        assert!(memory().is_some_and(|bytes| bytes > 64 << 20));
    }
}
