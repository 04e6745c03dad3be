//! Signals as events: signalfd(2).
//!
//! A signal handler interrupts the program at any instruction, and may call next to nothing
//! (signal-safety(7)): no allocation, no lock, no log line. A signal that is blocked and read from
//! a descriptor is an event like any other, which the loop handles between two connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::sys;

/// The request that a signal makes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalAction {
    /// SIGTERM, SIGINT: stop gracefully; the second time, at once.
    Stop,
    /// SIGUSR1: report the counters.
    Report,
    /// SIGHUP: read the configuration again, open log files anew. The kernel sends it too when the
    /// terminal closes, which is no reason for a server to end.
    Reload,
    /// A signal that was added with [`Signals::add`], such as `libc::SIGWINCH`.
    Other(i32),
}

/// Ignores SIGPIPE and SIGXFSZ in the whole process. A write to a pipe without a reader then fails
/// with `EPIPE`, and one to a file that may not grow (`RLIMIT_FSIZE`) with `EFBIG`; by default
/// these signals end the process (signal(7)).
///
/// [`Signals::new`] does this too. A program that writes files before calls it first. Errors: those
/// of signal(2).
pub fn ignore_write_signals() -> io::Result<()> {
    sys::ignore(Signal::SIGPIPE)?;
    sys::ignore(Signal::SIGXFSZ)?;
    Ok(())
}

/// The signals that a server handles, as a descriptor. A server with one reactor uses
/// [`Reactor::handle_signals`](crate::Reactor::handle_signals); a program with several waits for
/// this descriptor in one thread and passes the requests on with a [`Waker`](crate::Waker).
///
/// The signals stay blocked in the thread that made this, also after the value is dropped. Threads
/// that are started later inherit the mask. A thread that was started before does not: the kernel
/// may deliver a signal to it, with the default action. So a program makes this before its first
/// thread.
///
/// A signal that is ignored already stays ignored, as the program that started this one wants it:
/// nohup(1), or a shell without job control that starts a command with `&`.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    handled: SigSet,
}

impl Signals {
    /// The most signals that can be pending at once: each of the 31 kinds of signal(7) for the thread
    /// and for the process.
    ///
    /// A loop that calls [`Signals::next`] this often in one turn has taken all signals that were
    /// pending at its first call. Those that are left arrived since, and made an edge of their own.
    /// Without this bound a process that sends signals faster than they are handled would keep the
    /// loop from its connections.
    pub const AT_ONCE: usize = 2 * 31;

    /// The signals that every value handles.
    pub(crate) const HANDLED: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGHUP];

    /// Blocks SIGTERM, SIGINT, SIGUSR1 and SIGHUP in this thread, calls [`ignore_write_signals`], and
    /// opens the descriptor. Errors: those of sigprocmask(2) and signalfd(2).
    pub fn new() -> io::Result<Signals> {
        let handled = SigSet::empty();
        let fd = SignalFd::with_flags(&handled, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut signals = Signals { fd, handled };
        signals.add(&Signals::HANDLED)?;
        ignore_write_signals()?;
        Ok(signals)
    }

    /// Handles these signals too, such as `libc::SIGWINCH`, and blocks them in this thread. Errors:
    /// those of sigprocmask(2) and signalfd(2); `EINVAL` for a number that is no signal of signal(7).
    pub fn add(&mut self, signals: &[i32]) -> io::Result<()> {
        let mut handled = self.handled;
        for &signal in signals {
            let kind = Signal::try_from(signal)?;
            if !is_ignored(signal) {
                handled.add(kind);
            }
        }
        handled.thread_block()?;
        self.fd.set_mask(&handled)?;
        self.handled = handled;
        Ok(())
    }

    /// The next pending signal, `None` if there is none; the call does not wait. Several signals of
    /// one kind are one as long as they are pending (signal(7)).
    #[must_use]
    pub fn next(&self) -> Option<SignalAction> {
        let info = self.fd.read_signal().ok()??;
        Some(match info.ssi_signo as i32 {
            libc::SIGTERM | libc::SIGINT => SignalAction::Stop,
            libc::SIGUSR1 => SignalAction::Report,
            libc::SIGHUP => SignalAction::Reload,
            other => SignalAction::Other(other),
        })
    }
}

/// Lets the kernel reap all children of this process (wait(2), "`SIG_IGN`"), and reaps those that
/// have ended already. As process 1 of a container a server inherits every orphan, and a server
/// that was started with exec(2) has its predecessor's children. A program that waits for children
/// of its own must not call this: waitpid(2) would fail with `ECHILD`. Errors: those of signal(2).
pub fn reap_orphans() -> io::Result<()> {
    sys::ignore(Signal::SIGCHLD)?;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
    Ok(())
}

/// Whether the process ignores a signal, such as `libc::SIGTERM`. One that it ignores and blocks would
/// be queued, and read from a signalfd(2), all the same.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    sys::is_ignored(signal)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
