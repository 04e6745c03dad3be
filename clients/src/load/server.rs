//! The server as `/proc` shows it: its processor time, its memory, its context switches.
//!
//! A server may be many processes, as one that forks, so its children and theirs are counted with
//! it. The processor time of children that came and went in between is known, since the parent
//! inherits it (getrusage(2), `RUSAGE_CHILDREN`); their context switches are not.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::time::Duration;

use edgeloop_reactor::process::reason;
use nix::errno::Errno;
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A server, known by its first process.
#[derive(Debug)]
pub(super) struct Server {
    pid: i32,
    /// Length of a tick of proc_pid_stat(5).
    tick: Duration,
}

/// The size of a server, but for its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) processes: u64,
    pub(super) threads: u64,
    /// Processor time used so far.
    pub(super) cpu: Duration,
}

/// Memory in bytes: the proportional set size (proc_pid_smaps(5)), in which each of several processes
/// has its part of the memory that they share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) all: u64,
    /// Memory without that of files, the program first of all: the server's part of that depends on
    /// the other processes that run the same program.
    pub(super) anonymous: u64,
}

/// The resources that a server has used so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// The switches of each thread.
    switches: HashMap<i32, Switches>,
}

/// Context switches: because the thread waited, and because another thread had its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Switches {
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
}

/// A process as proc_pid_stat(5) shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// The process has ended, and its parent has not waited for it yet.
    is_zombie: bool,
    parent: i32,
    /// Processor time of children that have ended and were waited for, in ticks.
    children_ticks: u64,
    threads: u64,
}

impl Server {
    /// The server with this process. Errors: there is none, or it may not be inspected.
    pub(super) fn new(pid: i32) -> Result<Server, String> {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let server = Server {
            pid,
            tick: Duration::from_secs(1) / u32::try_from(ticks).unwrap_or(100).max(1),
        };
        // A process can be measured if its memory can be read; but a thread has memory too.
        let memory = memory(pid).and_then(|memory| match server.family().is_empty() {
            true => Err(Errno::ESRCH.into()),
            false => Ok(memory),
        });
        match memory {
            Ok(memory) => log::info!("process {pid} has {} bytes", memory.all),
            Err(error) => return Err(format!("cannot measure process {pid}: {}", reason(&error))),
        }
        Ok(server)
    }

    /// The processes and threads that there are now, and their processor time.
    pub(super) fn extent(&self) -> Extent {
        let family = self.family();
        Extent {
            processes: family.len() as u64,
            threads: family.iter().map(|(_, stat)| stat.threads).sum(),
            cpu: self.cpu_of(&family),
        }
    }

    /// The memory of all its processes.
    pub(super) fn memory(&self) -> Memory {
        let mut sum = Memory::default();
        for (pid, _) in self.family() {
            // A process that has ended meanwhile has no memory.
            let memory = memory(pid).unwrap_or_default();
            sum.all += memory.all;
            sum.anonymous += memory.anonymous;
        }
        sum
    }

    /// The resources used until now; `None` if the server has ended.
    pub(super) fn usage(&self) -> Option<Usage> {
        let family = self.family();
        (!family.is_empty()).then(|| Usage {
            cpu: self.cpu_of(&family),
            switches: family.iter().flat_map(|(pid, _)| switches(*pid)).collect(),
        })
    }

    /// The processor time of these processes, and of the children that they have waited for.
    fn cpu_of(&self, family: &[(i32, Stat)]) -> Duration {
        let of = |(pid, stat): &(i32, Stat)| {
            let ended = u32::try_from(stat.children_ticks).unwrap_or(u32::MAX);
            cpu(*pid) + self.tick * ended
        };
        family.iter().map(of).sum()
    }

    /// The process, its children, their children, and so on; empty if it has ended. If a shell has
    /// started both the server and this program, the shell's family is without this program.
    fn family(&self) -> Vec<(i32, Stat)> {
        let own = std::process::id().cast_signed();
        let mut others: HashMap<i32, Vec<(i32, Stat)>> = HashMap::new();
        let mut family = Vec::new();
        for (pid, stat) in all_processes() {
            if pid == self.pid && !stat.is_zombie {
                family.push((pid, stat));
            } else if pid != own {
                others.entry(stat.parent).or_default().push((pid, stat));
            }
        }
        let mut next = 0;
        while let Some(&(pid, _)) = family.get(next) {
            family.extend(others.remove(&pid).unwrap_or_default());
            next += 1;
        }
        family
    }
}

impl Usage {
    /// The switches since an earlier moment, of the threads that exist now.
    pub(super) fn switches_since(&self, earlier: &Usage) -> Switches {
        let mut sum = Switches::default();
        for (thread, now) in &self.switches {
            let before = earlier.switches.get(thread).copied().unwrap_or_default();
            sum.voluntary += now.voluntary.saturating_sub(before.voluntary);
            sum.involuntary += now.involuntary.saturating_sub(before.involuntary);
        }
        sum
    }

    /// Whether the threads are those of an earlier moment, so that no switches are left out.
    pub(super) fn has_same_threads(&self, earlier: &Usage) -> bool {
        let threads = |usage: &Usage| usage.switches.keys().copied().collect::<HashSet<i32>>();
        threads(self) == threads(earlier)
    }
}

/// All visible processes of the system. One that ends meanwhile is left out.
fn all_processes() -> impl Iterator<Item = (i32, Stat)> {
    numbers_in("/proc").filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, Stat::parse(&stat)?))
    })
}

impl Stat {
    fn parse(line: &str) -> Option<Stat> {
        // The name, in parentheses, may hold anything. After it the third field follows.
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            is_zombie: *fields.first()? == "Z",
            parent: i32::try_from(field(4)?).ok()?,
            children_ticks: field(16)? + field(17)?,
            threads: field(20)?,
        })
    }
}

/// The processor time of a process, including threads that have ended. The process has a clock for
/// it (clock_getcpuclockid(3)), which is more exact than the ticks of `/proc`.
fn cpu(pid: i32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    clock
        .and_then(ClockId::now)
        .map(Duration::from)
        .unwrap_or_default()
}

fn memory(pid: i32) -> io::Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let bytes = |name| kib(&rollup, name).unwrap_or(0) * 1024;
    Ok(Memory {
        all: bytes("Pss:"),
        anonymous: bytes("Pss_Anon:") + bytes("Pss_Shmem:"),
    })
}

/// The number of the line that begins with this name.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The switches of each thread of a process.
fn switches(pid: i32) -> Vec<(i32, Switches)> {
    let directory = format!("/proc/{pid}/task");
    let of = |thread: i32| {
        let status = fs::read_to_string(format!("{directory}/{thread}/status")).ok()?;
        let switches = Switches {
            voluntary: kib(&status, "voluntary_ctxt_switches:")?,
            involuntary: kib(&status, "nonvoluntary_ctxt_switches:")?,
        };
        Some((thread, switches))
    };
    numbers_in(&directory).filter_map(of).collect()
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &str) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_fields_of_a_process_are_found_behind_any_name() {
        let line = "12 (a) b (c) S 7 12 12 0 -1 4194560 97 5 0 0 1 2 30 40 20 0 6 0 99 0 0";
        let expected = Stat {
            is_zombie: false,
            parent: 7,
            children_ticks: 70,
            threads: 6,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("12 (a) S 7"), None);
    }

    #[test]
    fn this_process_and_its_child_are_a_family() {
        let own = std::process::id() as i32;
        let server = Server::new(own).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let is_child = |(pid, stat): &(i32, Stat)| *pid as u32 == child.id() && stat.parent == own;
        assert!(server.family().iter().any(is_child));
        let extent = server.extent();
        assert!(extent.processes >= 2 && extent.threads >= 3 && !extent.cpu.is_zero());
        let (both, its) = (server.memory(), memory(child.id() as i32).unwrap());
        assert!(both.all > its.all && its.all > its.anonymous);
        assert!(both.anonymous > its.anonymous && its.anonymous > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn switches_are_counted_from_the_earlier_moment_on() {
        let usage = |threads: &[(i32, u64)]| Usage {
            switches: threads
                .iter()
                .map(|&(thread, voluntary)| {
                    let involuntary = 10 * voluntary;
                    (
                        thread,
                        Switches {
                            voluntary,
                            involuntary,
                        },
                    )
                })
                .collect(),
            ..Usage::default()
        };
        let (before, after) = (usage(&[(1, 5), (2, 1)]), usage(&[(1, 8), (3, 4)]));
        let since = after.switches_since(&before);
        assert_eq!((since.voluntary, since.involuntary), (7, 70));
        assert!(!after.has_same_threads(&before) && after.has_same_threads(&after));
    }

    #[test]
    fn a_process_that_is_not_there_cannot_be_measured() {
        let refusal = Server::new(i32::MAX).unwrap_err();
        assert!(refusal.contains("No such file"), "{refusal}");
        let thread = nix::unistd::gettid().as_raw();
        let refusal = Server::new(thread).unwrap_err();
        assert!(refusal.contains("No such process"), "{refusal}");
    }

    #[test]
    fn a_process_that_has_ended_has_used_nothing_that_is_known() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let server = Server::new(child.id() as i32).unwrap();
        assert!(server.usage().is_some());
        // A zombie at first, which is waited for afterwards.
        child.kill().unwrap();
        while server.usage().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(server.usage().is_none());
    }
}
