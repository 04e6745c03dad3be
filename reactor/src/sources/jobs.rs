//! Job control: a terminal belongs to one job at a time, the one in the foreground.
//!
//! The kernel stops a job in the background that reads its terminal (SIGTTIN), that changes the
//! terminal's mode, or, if the user wants it so (`stty tostop`), that writes to it (SIGTTOU; see
//! setpgid(2) and termios(3)). The read or write begins anew when the job goes on, so a job that
//! stays in the background would stop again within the call, and its loop would never come to read
//! SIGTERM. So a stream that is a terminal asks here before each call:
//!
//! - By default the program stops, as `cat` and editors do. When it goes on and is still in the
//!   background, it completes its turn of the loop before it stops again.
//! - A server that has called [`serve_in_background`] leaves the terminal alone and goes on. It
//!   uses the terminal again once it is in the foreground. No signal says so (`fg` sends SIGCONT
//!   only to a job that is stopped): the server notices it at the terminal's next event.

use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr, tcgetsid};
use nix::unistd::{Pid, getpgrp, getsid, tcgetpgrp};

use crate::sys;

/// The signals after which a program that draws on its terminal draws again: the process goes on after
/// a stop (SIGCONT), or the terminal has another size (SIGWINCH). For
/// [`Reactor::on_signals`](crate::Reactor::on_signals).
pub const REDRAW_SIGNALS: [i32; 2] = [libc::SIGCONT, libc::SIGWINCH];

/// Keeps this process running in the background: it ignores SIGTTIN and SIGTTOU, and leaves a
/// terminal that is another job's alone. A program calls this before it uses the terminal. Errors:
/// those of signal(2).
pub fn serve_in_background() -> io::Result<()> {
    sys::ignore(Signal::SIGTTIN)?;
    sys::ignore(Signal::SIGTTOU)?;
    Ok(())
}

/// Whether the foreground job of a terminal is another than this process's (tcgetpgrp(3)). False
/// for a descriptor that is not the terminal of this session; the session is compared because the
/// master side of another terminal would answer too, with the job in that terminal's foreground.
pub fn is_anothers(terminal: impl AsFd) -> bool {
    let is_anothers = tcgetpgrp(&terminal).is_ok_and(|group| group != getpgrp());
    is_anothers && tcgetsid(terminal).is_ok_and(|session| getsid(None) == Ok(session))
}

/// Whether this job may set the terminal's mode and draw on it. A job in the background is stopped
/// within this call, unless it has called [`serve_in_background`]. False: the job still runs, or
/// runs again, in the background.
pub fn may_draw(terminal: impl AsFd) -> bool {
    may_use(terminal, Signal::SIGTTOU)
}

/// Whether this job may read the terminal. Like [`may_draw`], it may stop the job.
pub(crate) fn may_read(terminal: impl AsFd) -> bool {
    may_use(terminal, Signal::SIGTTIN)
}

/// Whether this job may write text to the terminal. A job in the background may, unless the
/// terminal's mode has `TOSTOP` (termios(3)).
pub(crate) fn may_write(terminal: impl AsFd) -> bool {
    let may_stop = is_anothers(&terminal) && !sys::is_ignored(libc::SIGTTOU);
    let stops = |mode: nix::sys::termios::Termios| mode.local_flags.contains(LocalFlags::TOSTOP);
    !(may_stop && tcgetattr(&terminal).is_ok_and(stops)) || may_draw(terminal)
}

/// Whether the terminal is this job's. If it is not, the job gets the signal that the kernel would
/// send.
fn may_use(terminal: impl AsFd, signal: Signal) -> bool {
    if is_anothers(&terminal) && !sys::is_ignored(signal as i32) {
        // The kernel sends the signal to the whole process group, so this does too.
        let _ = kill(Pid::from_raw(0), signal);
    }
    !is_anothers(terminal)
}
