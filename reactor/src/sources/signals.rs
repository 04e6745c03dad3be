//! Signals as events: signalfd(2).
//!
//! A signal handler interrupts the program anywhere, and may call next to nothing
//! (signal-safety(7)). Blocked and read from a descriptor, a signal is an event like any other,
//! handled in the loop's own time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::sys;

/// What a signal asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalAction {
    /// SIGTERM, SIGINT: stop in good order; the second time, at once.
    Stop,
    /// SIGUSR1: report the counters.
    Report,
    /// SIGCONT, SIGWINCH: the process goes on after a stop, or the terminal has another size. What
    /// is on the terminal is to be drawn again.
    Redraw,
    /// SIGHUP: read again, or open anew, what may have changed. The terminal may have closed, too,
    /// which is no reason for a server to end.
    Reload,
}

/// Ignores SIGPIPE and SIGXFSZ in the whole process: where a reader has vanished, or a file may not
/// grow (`RLIMIT_FSIZE`), a write fails with `EPIPE` or `EFBIG`, an error like any other.
///
/// [`Signals::new`] does this, too; a program that writes files calls it first thing.
pub fn ignore_write_signals() -> io::Result<()> {
    sys::ignore(Signal::SIGPIPE)?;
    sys::ignore(Signal::SIGXFSZ)?;
    Ok(())
}

/// The signals that a server handles, blocked in this thread from here on; [`ignore_write_signals`] is
/// called as well. A signal that is ignored already stays ignored, as the program that started this
/// one wants it: nohup(1), or a shell without job control that starts a command with `&`.
///
/// [`Reactor::handle_signals`](crate::Reactor::handle_signals) is what a server with one reactor
/// needs.
///
/// Threads that are started later inherit the blocking; one that was started before could still be
/// interrupted by them.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// How many signals can wait at once: each of the six kinds for the thread and for the process.
    ///
    /// Who takes no more than that in one go has taken all that had come before; what is left came
    /// since, and is an event of its own. Without a bound, somebody who sends signals faster than
    /// they are handled would keep the loop from everything else.
    pub const AT_ONCE: usize = 2 * 6;

    /// Blocks and takes over the signals. Errors: those of sigprocmask(2) and signalfd(2).
    pub fn new() -> io::Result<Signals> {
        let kinds = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGUSR1,
            Signal::SIGCONT,
            Signal::SIGWINCH,
            Signal::SIGHUP,
        ];
        let handled = kinds.into_iter().filter(|kind| !is_ignored(*kind as i32));
        let handled: SigSet = handled.collect();
        handled.thread_block()?;
        ignore_write_signals()?;
        let fd = SignalFd::with_flags(&handled, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The next signal that has arrived. Signals of one kind that arrive together are one
    /// (signal(7)).
    #[must_use]
    pub fn next(&self) -> Option<SignalAction> {
        let info = self.fd.read_signal().ok()??;
        Some(match Signal::try_from(info.ssi_signo as i32) {
            Ok(Signal::SIGTERM | Signal::SIGINT) => SignalAction::Stop,
            Ok(Signal::SIGUSR1) => SignalAction::Report,
            Ok(Signal::SIGCONT | Signal::SIGWINCH) => SignalAction::Redraw,
            _ => SignalAction::Reload,
        })
    }
}

/// Lets the kernel reap all children, those that ended before as well. As process 1 of a container a
/// server inherits every orphan, and one that was started with exec(2) has its predecessor's
/// children. Not for programs that wait for children of their own: they would find none.
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
