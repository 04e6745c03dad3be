//! A child process that is certain to end.
//!
//! Each child has a process group of its own. A Ctrl-C at the terminal therefore reaches this
//! program alone, and at the end the child can be ended with all its own children, by the group's
//! id. If this program is killed itself, the kernel kills the child, and the servers measured here
//! see to their own children.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use edgeloop_reactor::{SignalAction, Signals};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::cores::pinned;
use crate::sys::end_with_us;

/// How long a server may take to begin. Under valgrind, on a busy machine, that is long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. It is killed when dropped, and when the thread that started it ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    complaints: Receiver<String>,
    ended: bool,
}

/// The reason why there is no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The user has ended the comparison.
    Interrupted,
    /// A failure, in a line.
    Failed(String),
}

/// Adopts orphans of our children, so that they can be waited for.
pub fn adopt_orphans() -> Result<(), String> {
    set_child_subreaper(true).map_err(|errno| format!("prctl: {}", errno.desc()))
}

impl Process {
    /// Starts a program on that core.
    pub fn start(mut command: Command, cpu: Option<usize>) -> Result<Process, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.process_group(0).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        end_with_us(&mut command);
        let mut child = pinned(cpu, || command.spawn())
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let complaints = lines(child.stderr.take());
        Ok(Process {
            name,
            child,
            complaints,
            ended: false,
        })
    }

    /// Its process id, in digits.
    #[must_use]
    pub fn id(&self) -> String {
        self.pid().to_string()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until a server says where it listens, and returns the address.
    pub fn address(&mut self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Ok(line) = self.complaints.recv_timeout(left()) {
            if let Some(address) = listening_address(&line) {
                return Ok(address.to_owned());
            }
            last = Some(line);
        }
        Err(last.unwrap_or_else(|| format!("{} does not listen", self.name)))
    }

    /// Reads its standard output to the end.
    pub fn output(&mut self, deadline: Instant, signals: &Signals) -> Result<String, Missing> {
        let mut output = Vec::new();
        let Some(mut stdout) = self.child.stdout.take() else {
            return Ok(String::new());
        };
        loop {
            wait_for(&stdout, deadline, signals)?;
            let mut chunk = [0; 4096];
            match stdout.read(&mut chunk) {
                Ok(0) => return Ok(String::from_utf8_lossy(&output).into_owned()),
                Ok(length) => output.extend_from_slice(&chunk[..length]),
                Err(error) => return Err(Missing::Failed(error.to_string())),
            }
        }
    }

    /// Asks the child to end. If it has not ended in that time, it is killed with its own children.
    pub fn stop(&mut self, patience: Duration) {
        if self.ended {
            return;
        }
        self.ended = true;
        let leader = self.pid();
        let group = Pid::from_raw(-leader.as_raw());
        let _ = kill(leader, Signal::SIGTERM);
        wait_for_end(leader, patience);
        // Not yet waited for, the child still owns its id, so that this can hit no other process.
        let _ = kill(group, Signal::SIGKILL);
        while waitpid(group, None).is_ok() {}
    }

    /// The first line on standard error since the server listened, once it has ended. A cause comes
    /// before its consequences.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.complaints.iter().find(|line| !line.trim().is_empty())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// The address in a server's announcement, without its scheme.
fn listening_address(line: &str) -> Option<&str> {
    let (_, url) = line.split_once("listening on ")?;
    Some(url.split_once("://")?.1)
}

/// Waits until there is output, or its end.
fn wait_for(stdout: &ChildStdout, deadline: Instant, signals: &Signals) -> Result<(), Missing> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let [output, signal] = [stdout.as_fd(), signals.as_fd()];
        let mut asked = [output, signal].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut asked, timeout);
        let [output, _] = asked.map(|fd| fd.any().unwrap_or(false));
        while let Some(action) = signals.next() {
            // The terminal has closed: the progress has no reader any more.
            if matches!(action, SignalAction::Stop | SignalAction::Reload) {
                return Err(Missing::Interrupted);
            }
        }
        if output {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Missing::Failed("it took too long".into()));
        }
    }
}

/// Waits for the end of a child, which remains to be waited for.
fn wait_for_end(child: Pid, patience: Duration) {
    let deadline = Instant::now() + patience;
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    while waitid(Id::Pid(child), flags) == Ok(WaitStatus::StillAlive) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Standard error of a program, line by line. A thread reads it, so that the program never waits
/// for us.
fn lines(stderr: Option<ChildStderr>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stderr) = stderr {
        thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, None).unwrap()
    }

    #[test]
    fn a_server_says_where_it_listens_or_why_it_does_not() {
        let address = |script| shell(script).address();
        assert_eq!(
            address("echo hello >&2; echo 'listening on tcp://[::1]:7' >&2; exec sleep 60"),
            Ok("[::1]:7".to_owned())
        );
        assert_eq!(address("echo 'no luck' >&2"), Err("no luck".to_owned()));
        assert_eq!(address("exit 1"), Err("sh does not listen".to_owned()));
    }

    #[test]
    fn what_it_complained_of_first_is_known_after_its_end() {
        let mut process = shell("echo >&2; echo first >&2; echo then >&2");
        let later = Instant::now() + PATIENCE;
        process.output(later, &Signals::new().unwrap()).unwrap();
        process.stop(PATIENCE);
        assert_eq!(process.complaint(), Some("first".to_owned()));
        assert_eq!(process.complaint(), Some("then".to_owned()));
        assert_eq!(process.complaint(), None);
    }

    #[test]
    fn the_end_takes_the_children_along() {
        adopt_orphans().unwrap();
        let mut parent = shell("sleep 60 & echo 'listening on tcp://'$! >&2; wait");
        let child = parent.address().unwrap();
        assert!(std::fs::exists(format!("/proc/{child}")).unwrap());
        parent.stop(PATIENCE);
        assert!(!std::fs::exists(format!("/proc/{child}")).unwrap());
    }

    #[test]
    fn output_has_an_end_or_a_deadline() {
        let signals = Signals::new().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let all = shell("echo one; echo two").output(later, &signals);
        assert_eq!(all, Ok("one\ntwo\n".to_owned()));
        let soon = Instant::now() + Duration::from_millis(20);
        let late = shell("echo one; exec sleep 60").output(soon, &signals);
        assert_eq!(late, Err(Missing::Failed("it took too long".into())));
    }
}
