//! A core for the server, another for the generator.
//!
//! Left alone, the scheduler moves them about, differently in each run: with one connection, a
//! server beside its client on one core can be several times as fast or as slow as a server across
//! from it.

use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// This thread, for sched_setaffinity(2).
const SELF: Pid = Pid::from_raw(0);

/// The cores of server and generator; `None` leaves the choice to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's core.
    pub server: Option<usize>,
    /// The generator's core.
    pub generator: Option<usize>,
}

impl Cores {
    /// The scheduler chooses.
    pub const ANY: Cores = Cores {
        server: None,
        generator: None,
    };

    /// Two cores that share nothing, if there are two; and a warning if they are not ideal.
    #[must_use]
    pub fn choose() -> (Cores, Option<String>) {
        let allowed = allowed();
        // From the last: interrupts of devices tend to go to the first.
        let Some((&server, rest)) = allowed.split_last() else {
            return (
                Cores::ANY,
                Some("Nothing is pinned: the cores are unknown.".into()),
            );
        };
        let siblings = siblings(server);
        let apart = rest.iter().rev().find(|cpu| !siblings.contains(cpu));
        let Some(&generator) = apart.or(rest.last()) else {
            let only = "Nothing is pinned: server and generator share the only core.";
            return (Cores::ANY, Some(only.into()));
        };
        let cores = Cores {
            server: Some(server),
            generator: Some(generator),
        };
        let shared = apart.is_none().then(|| {
            format!("The cores {server} and {generator} are two threads of one (SMT): they slow each other down.")
        });
        (cores, shared)
    }

    /// In words, for the page.
    #[must_use]
    pub fn describe(self) -> String {
        match (self.server, self.generator) {
            (Some(server), Some(generator)) => {
                format!("the server on core {server}, the generator on core {generator}")
            }
            _ => "not pinned: wherever the scheduler likes".into(),
        }
    }
}

/// Runs `start` with this thread on that core. A process that it starts stays there, and so does
/// all that this process starts later, while we move back.
pub fn pinned<T>(cpu: Option<usize>, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(cpu) = cpu else {
        return start();
    };
    let before = sched_getaffinity(SELF)?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(SELF, &only)?;
    let started = start();
    sched_setaffinity(SELF, &before)?;
    started
}

/// The processors on which this process may run, in ascending order.
fn allowed() -> Vec<usize> {
    let is_allowed = |set: &CpuSet, cpu: usize| set.is_set(cpu).unwrap_or(false);
    sched_getaffinity(SELF).map_or(Vec::new(), |set| {
        (0..CpuSet::count())
            .filter(|&cpu| is_allowed(&set, cpu))
            .collect()
    })
}

/// The processors that are the same core as this one, itself among them.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    list(&fs::read_to_string(path).unwrap_or_default())
}

/// Reads `0-3,8`, which is how the kernel writes a set of processors (cpuset(7), "List format").
fn list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_processors_are_read() {
        for (text, expected) in [
            ("0\n", vec![0]),
            ("0-2,8\n", vec![0, 1, 2, 8]),
            ("3,7", vec![3, 7]),
            ("", vec![]),
        ] {
            assert_eq!(list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn server_and_generator_have_a_core_each_if_there_are_two() {
        let (cores, _) = Cores::choose();
        assert_eq!(cores.server.is_some(), allowed().len() > 1);
        assert!(cores.server.is_none() || cores.server != cores.generator);
    }

    #[test]
    fn we_are_back_where_we_were() {
        let before = allowed();
        let there = pinned(before.last().copied(), || Ok(allowed())).unwrap();
        assert_eq!(there, before[before.len() - 1..]);
        assert_eq!(allowed(), before);
    }
}
