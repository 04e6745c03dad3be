//! A server that is stopped while its clients act.
//!
//! The number of events in one wait depends on the scheduler, and with it the cost of a message. So
//! the clients send while the server is stopped, and the server finds everything in its next turn.
//! A debugger's stop is used (ptrace(2)), since an event loop may hear of SIGCONT. A stop
//! interrupts epoll_wait(2) all the same, which costs a turn without events; a run with fewer
//! rounds than another therefore has as many stops, and the difference of the two runs has none.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long a server may take to handle a round. Under valgrind, on a busy machine, that is long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the server's state.
const PAUSE: Duration = Duration::from_micros(50);

/// The server's process, a child of ours that has one thread.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pid: Pid,
}

impl Gate {
    /// The gate of this child.
    #[must_use]
    pub fn new(pid: Pid) -> Gate {
        Gate { pid }
    }

    /// Stops the server between two turns, and lets it go on once the clients have done this.
    pub fn at_once<T>(self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.rest()?;
        self.stop()?;
        let done = act();
        // A server that is traced while it runs stops at each of its signals, by which valgrind lives.
        ptrace::detach(self.pid, None)?;
        done
    }

    /// Ends the server by a signal, between two turns.
    pub fn end(self, signal: Signal) -> io::Result<()> {
        self.rest()?;
        Ok(kill(self.pid, signal)?)
    }

    /// Waits until the server waits for events: nothing is left to do for what was sent before.
    fn rest(self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.state()? {
                'S' => return Ok(()),
                'Z' | 'X' => return Err(io::Error::other("the server has ended")),
                _ if Instant::now() > deadline => {
                    return Err(io::Error::other("the server does not come to rest"));
                }
                _ => thread::sleep(PAUSE),
            }
        }
    }

    fn stop(self) -> io::Result<()> {
        ptrace::seize(self.pid, ptrace::Options::empty())?;
        ptrace::interrupt(self.pid)?;
        match waitpid(self.pid, None)? {
            WaitStatus::PtraceEvent(..) => Ok(()),
            status => Err(io::Error::other(format!(
                "the server does not stop: {status:?}"
            ))),
        }
    }

    /// As `ps` shows it (proc(5), `/proc/PID/stat`).
    fn state(self) -> io::Result<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name before it, in parentheses, may hold anything.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, fields)| fields.chars().next());
        state.ok_or_else(|| io::Error::other("no state in /proc/PID/stat"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_happens_at_the_gate_is_answered_when_it_is_over() {
        let mut echo = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let gate = Gate::new(Pid::from_raw(echo.id().cast_signed()));
        let mut stdin = echo.stdin.take().unwrap();
        let stopped = gate.at_once(|| {
            stdin.write_all(b"x")?;
            gate.state()
        });
        assert_eq!(stopped.unwrap(), 't');
        echo.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        gate.end(Signal::SIGALRM).unwrap();
        assert_eq!(echo.wait().unwrap().signal(), Some(Signal::SIGALRM as i32));
    }
}
