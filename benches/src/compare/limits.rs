//! The machine's limits, asked before a run.
//!
//! Where a limit is only the server's own, the run itself finds it, and the server names it. The
//! limits here are shared: without a descriptor the generator cannot ask, and without a process or
//! memory to spare, all other programs on the machine suffer too.

use std::fs;
use std::path::Path;

use edgeloop_reactor::process::raise_descriptor_limit;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;

use super::machine::memory;
use super::model::Model;
use super::number::count;

/// Descriptors of a program besides those of its connections.
const OTHER_DESCRIPTORS: usize = 64;
/// Processes and threads left to other programs.
const OTHER_TASKS: usize = 200;
/// The kernel's memory for a process (stack, page tables and bookkeeping), about, in bytes.
const KERNEL_BYTES_OF_A_PROCESS: f64 = 128.0 * 1024.0;
/// The kernel's memory for a thread, which shares most of that, in bytes.
const KERNEL_BYTES_OF_A_THREAD: f64 = 32.0 * 1024.0;
/// The kernel's memory for a connection: two sockets, about, in bytes.
const KERNEL_BYTES_OF_A_CONNECTION: f64 = 8.0 * 1024.0;

/// The amounts that a server may use.
#[derive(Clone, Debug)]
pub struct Limits {
    descriptors: usize,
    tasks: Tasks,
}

/// How many processes and threads there may be, and the name of the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tasks {
    free: usize,
    limit: usize,
    name: String,
}

impl Limits {
    /// The limits of this process, which its children inherit; that of descriptors is raised.
    #[must_use]
    pub fn here() -> Limits {
        let descriptors = raise_descriptor_limit().unwrap_or(0);
        Limits {
            descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX),
            tasks: tasks(),
        }
    }

    /// The reason why a model cannot serve so many connections here. `bytes_each` is the memory of
    /// one in an earlier run, 0 if there was none.
    #[must_use]
    pub fn forbid(&self, model: Model, connections: usize, bytes_each: f64) -> Option<String> {
        let Limits { descriptors, tasks } = self;
        if connections + OTHER_DESCRIPTORS > *descriptors {
            let descriptors = count(*descriptors);
            return Some(format!(
                "a program may open {descriptors} descriptors (RLIMIT_NOFILE)"
            ));
        }
        let (workers, kernel_bytes) = match model {
            Model::Fork => ("processes", KERNEL_BYTES_OF_A_PROCESS),
            Model::Thread => ("threads", KERNEL_BYTES_OF_A_THREAD),
            _ => ("", 0.0),
        };
        if !workers.is_empty() && connections + OTHER_TASKS > tasks.free {
            let (limit, free) = (count(tasks.limit), count(tasks.free));
            return Some(format!(
                "too many {workers}: there may be {limit} ({}), and {free} of these are free",
                tasks.name
            ));
        }
        let each = bytes_each.max(0.0) + kernel_bytes + KERNEL_BYTES_OF_A_CONNECTION;
        let needed = each * connections as f64;
        let available = memory("MemAvailable") as f64;
        (needed > 0.8 * available).then(|| {
            let [needed, available] = [needed, available].map(|bytes| bytes / f64::from(1 << 30));
            format!("not enough memory: it would take {needed:.1} of {available:.1} GiB")
        })
    }
}

/// The narrowest of all limits that the kernel has.
fn tasks() -> Tasks {
    let used = existing_tasks();
    let of_all = ["pid_max", "threads-max"].map(|name| {
        let limit = number(Path::new("/proc/sys/kernel").join(name).as_path());
        (limit.map(|limit| (limit, used)), format!("kernel.{name}"))
    });
    let narrowest = of_all
        .into_iter()
        .chain([of_user(used)])
        .chain(of_control_groups())
        .filter_map(|(limit, name)| limit.map(|(limit, used)| (limit, used, name)))
        .min_by_key(|&(limit, used, _)| limit.saturating_sub(used));
    match narrowest {
        Some((limit, used, name)) => Tasks {
            free: limit.saturating_sub(used),
            limit,
            name,
        },
        None => Tasks {
            free: usize::MAX,
            limit: usize::MAX,
            name: "unlimited".into(),
        },
    }
}

/// A limit, if there is one, and the number in use; and its name.
type Limit = (Option<(usize, usize)>, String);

/// How many tasks a user may have; root may have any number (getrlimit(2), `RLIMIT_NPROC`).
fn of_user(used: usize) -> Limit {
    let soft = getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft);
    let limit = usize::try_from(soft)
        .ok()
        .filter(|_| !Uid::effective().is_root());
    (limit.map(|limit| (limit, used)), "RLIMIT_NPROC".into())
}

/// The limit of this process's control group and of those around it (cgroups(7), `pids.max`).
fn of_control_groups() -> Vec<Limit> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let of_group = |group: &Path| {
        let directory = Path::new("/sys/fs/cgroup").join(group);
        let limit = number(&directory.join("pids.max"));
        let used = number(&directory.join("pids.current"));
        (limit.zip(used), "pids.max of the control group".to_owned())
    };
    Path::new(group.unwrap_or_default())
        .ancestors()
        .map(of_group)
        .collect()
}

/// The number of processes and threads (proc(5), `/proc/loadavg`, the number after the slash).
fn existing_tasks() -> usize {
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = loadavg
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split_once('/'));
    field.and_then(|(_, total)| total.parse().ok()).unwrap_or(0)
}

fn number(path: &Path) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(descriptors: usize, free: usize) -> Limits {
        Limits {
            descriptors,
            tasks: Tasks {
                free,
                limit: 32_768,
                name: "kernel.pid_max".into(),
            },
        }
    }

    #[test]
    fn what_is_too_little_is_named() {
        let few_descriptors = limits(1_024, 30_000).forbid(Model::Mio, 1_000, 0.0);
        assert!(
            few_descriptors
                .unwrap()
                .contains("1,024 descriptors (RLIMIT_NOFILE)")
        );
        let few_tasks = limits(20_000, 9_000).forbid(Model::Fork, 10_000, 0.0);
        assert_eq!(
            few_tasks.unwrap(),
            "too many processes: there may be 32,768 (kernel.pid_max), and 9,000 of these are free"
        );
        let little_memory = limits(20_000, 30_000).forbid(Model::Reactor, 10_000, 1e15);
        assert!(little_memory.unwrap().starts_with("not enough memory"));
    }

    #[test]
    fn a_model_that_needs_no_tasks_is_not_short_of_them() {
        assert_eq!(limits(20_000, 0).forbid(Model::Reactor, 1_000, 0.0), None);
        assert!(
            limits(20_000, 0)
                .forbid(Model::Thread, 1_000, 0.0)
                .is_some()
        );
    }

    #[test]
    fn one_connection_is_always_possible_here() {
        for model in Model::ALL {
            assert_eq!(Limits::here().forbid(model, 1, 0.0), None);
        }
    }
}
