//! The part of our cores that other programs take during a run.
//!
//! The kernel counts how long each core is busy, and how much of that was ours. The rest belongs to
//! other programs, and on a virtual machine to the other machines.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};

use super::cores::Cores;

/// The fields of a line of `/proc/stat` that are tasks' work: user, nice, system, and on a virtual
/// machine steal, the work of other machines (proc_stat(5)).
const WORK: &[usize] = &[0, 1, 2, 7];
/// Interrupts, hard and soft; soft ones are most of what the kernel does for a network.
const WORK_AND_INTERRUPTS: &[usize] = &[0, 1, 2, 5, 6, 7];

/// The counts at one moment.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// The cores that are watched; all if it is empty.
    cores: Vec<usize>,
    /// The fields of `/proc/stat` that count.
    fields: &'static [usize],
    busy: Duration,
    own: Duration,
    at: Instant,
}

impl Neighbours {
    /// Starts to watch these cores.
    #[must_use]
    pub fn watch(cores: Cores) -> Neighbours {
        let cores: Vec<usize> = [cores.server, cores.generator]
            .into_iter()
            .flatten()
            .collect();
        let fields = match *INTERRUPTS_ARE_APART {
            true => WORK,
            false => WORK_AND_INTERRUPTS,
        };
        Neighbours {
            busy: times(&cores, fields).into_iter().sum(),
            cores,
            fields,
            own: own(),
            at: Instant::now(),
        }
    }

    /// The part of the cores' time since then that was neither idle nor our children's. It counts
    /// children that have ended and were waited for.
    #[must_use]
    pub fn share(&self) -> f64 {
        let times = times(&self.cores, self.fields);
        let available = self.at.elapsed().as_secs_f64() * times.len() as f64;
        let busy = times
            .into_iter()
            .sum::<Duration>()
            .saturating_sub(self.busy);
        let others = busy.saturating_sub(own().saturating_sub(self.own));
        if available > 0.0 {
            others.as_secs_f64() / available
        } else {
            0.0
        }
    }
}

/// How long each of these cores has been busy.
fn times(cores: &[usize], fields: &[usize]) -> Vec<Duration> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let duration = |ticks| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    ticks(&stat, cores, fields).map(duration).collect()
}

fn ticks(stat: &str, cores: &[usize], fields: &[usize]) -> impl Iterator<Item = u64> {
    stat.lines().filter_map(|line| {
        let (name, values) = line.split_once(' ')?;
        let core: usize = name.strip_prefix("cpu")?.parse().ok()?;
        let values: Vec<&str> = values.split_whitespace().collect();
        let ticks = fields
            .iter()
            .filter_map(|&field| values.get(field)?.parse::<u64>().ok());
        (cores.is_empty() || cores.contains(&core)).then(|| ticks.sum())
    })
}

/// Whether the kernel counts interrupts apart from the tasks that they interrupt. Then the
/// interrupts of our own network traffic are not in our children's time either. If the kernel does
/// not tell, the answer is yes: the part of other programs then looks smaller than it is, and not
/// larger.
static INTERRUPTS_ARE_APART: LazyLock<bool> = LazyLock::new(|| {
    let release = uname().map_or_else(
        |_| String::new(),
        |it| it.release().to_string_lossy().into(),
    );
    let built_with = fs::read_to_string(format!("/boot/config-{release}"))
        .ok()
        .or_else(|| {
            let output = Command::new("zcat").arg("/proc/config.gz").output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into())
        });
    built_with.is_none_or(|options| options.contains("CONFIG_IRQ_TIME_ACCOUNTING=y"))
});

/// The processor time of our children and theirs.
fn own() -> Duration {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(Duration::ZERO, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.cast_unsigned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_counts_and_only_on_these_cores() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\n\
                    cpu0 1 2 4 100 100 8 16 32 100 100\n\
                    cpu1 1 0 0 100 100 0 0 0 0 0\n\
                    cpu10 5 0 0 100 100 0 0 0 0 0\n\
                    intr 1234 5\n";
        let on = |cores: &[usize], fields| ticks(stat, cores, fields).collect::<Vec<_>>();
        assert_eq!(on(&[0], WORK), [39]);
        assert_eq!(on(&[0], WORK_AND_INTERRUPTS), [63]);
        assert_eq!(on(&[1, 0], WORK), [39, 1]);
        assert_eq!(on(&[], WORK), [39, 1, 5]);
    }

    #[test]
    fn work_of_other_threads_is_seen() {
        let watch = Neighbours::watch(Cores::ANY);
        // This thread is no child, and busy until the count shows it.
        while watch.share() == 0.0 {}
    }
}
