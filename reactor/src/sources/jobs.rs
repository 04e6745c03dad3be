//! Job control: a terminal belongs to one job at a time, the one in the foreground.
//!
//! A job in the background that reads its terminal is stopped by the kernel (SIGTTIN), and so is one
//! that changes the terminal's mode or, if the user wants it so (`stty tostop`), writes (SIGTTOU; see
//! setpgid(2), "Job control"). The call that brought that about begins anew when the job goes on:
//! in the background, a loop would never come to hear SIGTERM. So a stream that is a terminal asks
//! first, and what becomes of the program is decided here.
//!
//! - By default it stops, as `cat` and editors do; when it goes on and is still in the background,
//!   it has the rest of its turn before it stops again.
//! - A server that has called [`serve_in_background`] leaves the terminal alone and goes on. It
//!   takes the terminal up again in the foreground. No signal says so (`fg` sends SIGCONT to a job
//!   that is stopped, and to no other): it is noticed at the terminal's next event.

use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr, tcgetsid};
use nix::unistd::{Pid, getpgrp, getsid, tcgetpgrp};

use crate::sys;

/// Lets this process go on where it would be stopped for using a terminal that is another job's.
/// To be called before the terminal is used.
pub fn serve_in_background() -> io::Result<()> {
    sys::ignore(Signal::SIGTTIN)?;
    sys::ignore(Signal::SIGTTOU)?;
    Ok(())
}

/// Whether a terminal is another job's now. False of anything but the terminal of this session: the
/// master side of another, too, would tell the job in its foreground.
pub fn is_anothers(terminal: impl AsFd) -> bool {
    let is_anothers = tcgetpgrp(&terminal).is_ok_and(|group| group != getpgrp());
    is_anothers && tcgetsid(terminal).is_ok_and(|session| getsid(None) == Ok(session))
}

/// Whether this job may use the terminal as its own, to set its mode and to draw on it. If not, the
/// program has been stopped and goes on in the background, or it serves there.
pub fn may_draw(terminal: impl AsFd) -> bool {
    may_use(terminal, Signal::SIGTTOU)
}

/// Whether this job may read the terminal, as [`may_draw`].
pub(crate) fn may_read(terminal: impl AsFd) -> bool {
    may_use(terminal, Signal::SIGTTIN)
}

/// Whether this job may write text to the terminal, which stops few jobs.
pub(crate) fn may_write(terminal: impl AsFd) -> bool {
    let may_stop = is_anothers(&terminal) && !sys::is_ignored(libc::SIGTTOU);
    let stops = |mode: nix::sys::termios::Termios| mode.local_flags.contains(LocalFlags::TOSTOP);
    !(may_stop && tcgetattr(&terminal).is_ok_and(stops)) || may_draw(terminal)
}

fn may_use(terminal: impl AsFd, signal: Signal) -> bool {
    if is_anothers(&terminal) && !sys::is_ignored(signal as i32) {
        // The whole job, as the kernel has it.
        let _ = kill(Pid::from_raw(0), signal);
    }
    !is_anothers(terminal)
}
