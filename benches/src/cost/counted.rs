//! A server under valgrind, and its counts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::iter::Sum;
use std::net::SocketAddr;
use std::ops::Sub;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use edgeloop_reactor::process::reason;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::gate::Gate;
use crate::compare::machine::first_line;
use crate::compare::process::Process;

/// How long valgrind may take to write down what it has counted.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// The signal that ends a server at once, since no server handles it. On SIGTERM `edgeloop` would end
/// in good order, with a number of instructions that depends on its clients.
const END: Signal = Signal::SIGALRM;

/// The counts of a server's process, from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions in user space.
    pub instructions: u64,
    /// System calls, without those below.
    pub system_calls: u64,
    /// System calls that wait for events.
    pub waits: u64,
    /// Reads of the clock. Valgrind hides the vDSO, so that they are system calls here.
    pub clock_reads: u64,
}

impl Counts {
    /// The counts that one line of valgrind's log adds.
    fn of_line(line: &str) -> Counts {
        let mut counts = Counts::default();
        if let Some((_, number)) = line.split_once("== Collected : ") {
            counts.instructions = number.trim().parse().unwrap_or(0);
        }
        match system_call(line) {
            Some("clock_gettime" | "gettimeofday" | "time") => counts.clock_reads = 1,
            Some("epoll_wait" | "epoll_pwait" | "epoll_pwait2") => counts.waits = 1,
            Some(_) => counts.system_calls = 1,
            None => {}
        }
        counts
    }
}

/// The name in a line such as `SYSCALL[7,1](45) sys_recvfrom ( 6, ...`. A call that waits has a
/// second line for its end, without a name.
fn system_call(line: &str) -> Option<&str> {
    let (_, call) = line.strip_prefix("SYSCALL[")?.split_once(") ")?;
    let name = call.strip_prefix("sys_")?;
    name.split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .next()
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(all: I) -> Counts {
        all.fold(Counts::default(), |sum, counts| Counts {
            instructions: sum.instructions + counts.instructions,
            system_calls: sum.system_calls + counts.system_calls,
            waits: sum.waits + counts.waits,
            clock_reads: sum.clock_reads + counts.clock_reads,
        })
    }
}

impl Sub for Counts {
    type Output = Counts;

    fn sub(self, other: Counts) -> Counts {
        Counts {
            instructions: self.instructions.saturating_sub(other.instructions),
            system_calls: self.system_calls.saturating_sub(other.system_calls),
            waits: self.waits.saturating_sub(other.waits),
            clock_reads: self.clock_reads.saturating_sub(other.clock_reads),
        }
    }
}

/// The version of valgrind that is there, or a line that says that there is none.
pub fn valgrind() -> Result<String, String> {
    first_line("valgrind", &["--version"]).ok_or_else(|| {
        "valgrind is missing, and nothing else counts instructions (Debian: valgrind)".into()
    })
}

/// A server that listens under valgrind.
#[derive(Debug)]
pub struct Counted {
    process: Process,
    address: SocketAddr,
    /// The place of valgrind's log.
    directory: TempDir,
}

impl Counted {
    /// Starts it. Callgrind's profile goes to that file, if there is one.
    pub fn start(server: &Command, profile: Option<&Path>) -> Result<Counted, String> {
        let directory = tempfile::Builder::new().prefix("edgeloop-cost-").tempdir();
        let directory = directory.map_err(|error| format!("no place for a log: {error}"))?;
        let mut process = Process::start(under_valgrind(server, directory.path(), profile), None)?;
        let address = process.address()?;
        let address = address
            .parse()
            .map_err(|_| format!("no address: {address}"))?;
        Ok(Counted {
            process,
            address,
            directory,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gate at which it is stopped.
    #[must_use]
    pub fn gate(&self) -> Gate {
        Gate::new(self.process.pid())
    }

    /// Ends it, and returns what was counted.
    pub fn end(mut self) -> Result<Counts, String> {
        let ended = self.gate().end(END);
        self.process.stop(LAST_WORDS);
        ended.map_err(|error| reason(&error))?;
        let counts = read(&log(self.directory.path()))
            .map_err(|error| format!("valgrind's log: {error}"))?;
        match counts.instructions {
            0 => Err(self
                .process
                .complaint()
                .unwrap_or("valgrind has counted nothing".into())),
            _ => Ok(counts),
        }
    }

    /// Ends it after an error of its clients, and returns the reason, with the server's own complaint
    /// if it has one.
    #[must_use]
    pub fn why(mut self, error: &io::Error) -> String {
        let _ = self.gate().end(END);
        self.process.stop(LAST_WORDS);
        let error = reason(error);
        match self.process.complaint() {
            Some(complaint) => format!("{error}; the server says: {complaint}"),
            None => error.clone(),
        }
    }
}

/// The command under callgrind, with a log of its system calls too.
fn under_valgrind(server: &Command, directory: &Path, profile: Option<&Path>) -> Command {
    let option = |name: &str, path: &Path| {
        let mut option = OsString::from(name);
        option.push(path);
        option
    };
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--vgdb=no", "--trace-syscalls=yes"])
        .arg(option("--log-file=", &log(directory)))
        .arg(option(
            "--callgrind-out-file=",
            profile.unwrap_or(Path::new("/dev/null")),
        ))
        .arg(server.get_program())
        .args(server.get_args());
    command
}

fn log(directory: &Path) -> std::path::PathBuf {
    directory.join("log")
}

fn read(log: &Path) -> io::Result<Counts> {
    BufReader::new(File::open(log)?)
        .lines()
        .map(|line| Ok(Counts::of_line(&line?)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_once_and_by_their_kind() {
        let log = "\
==7== Callgrind, a call-graph generating cache profiler
SYSCALL[7,1](232) sys_epoll_wait ( 5, 0x1ffeffd540, 1024, 4294967295 ) --> [async] ...
SYSCALL[7,1](232) ... [async] --> Success(0x1)
SYSCALL[7,1](228) sys_clock_gettime( 1, 0x1ffeffd960 )[sync] --> Success(0x0)
SYSCALL[7,1](3) sys_close ( 6 )[sync] --> Success(0x0)
==7== Events    : Ir
==7== Collected : 153802
==7==
==7== I   refs:      153,802
";
        let expected = Counts {
            instructions: 153_802,
            system_calls: 1,
            waits: 1,
            clock_reads: 1,
        };
        assert_eq!(log.lines().map(Counts::of_line).sum::<Counts>(), expected);
    }

    #[test]
    fn a_server_that_does_not_listen_is_an_error_in_a_line() {
        if valgrind().is_ok() {
            let error = Counted::start(&Command::new("/nowhere"), None).unwrap_err();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
