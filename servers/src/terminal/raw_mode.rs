//! The terminal mode in which keys arrive one by one and the kernel shows none of them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::{Mutex, Once, PoisonError, TryLockError};

use edgeloop_reactor::terminal::is_anothers;
use nix::errno::Errno;
use nix::sys::termios::{
    InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr,
    tcsetattr,
};

/// The terminals in raw mode, with the earlier mode of each. They are kept here rather than in the
/// guards because a panic ends the program without dropping the guards (`panic = "abort"`), and a
/// shell on a terminal in raw mode does not echo.
static ENTERED: Mutex<Vec<Entered>> = Mutex::new(Vec::new());

static PANIC_HOOK: Once = Once::new();

struct Entered {
    id: u64,
    terminal: OwnedFd,
    before: Termios,
}

/// A terminal in the mode that an [`Editor`](super::Editor) needs: input comes unedited and without
/// echo (no `ICANON`, `ECHO`, `IEXTEN`), while Ctrl-C and Ctrl-Z are signals (`ISIG`), Enter is a
/// newline (`ICRNL`) and a newline begins a row (`OPOST`, `ONLCR`). See termios(3).
///
/// The mode is the terminal's, not the program's: it stays when the program ends. Dropping the
/// guard restores the earlier mode, and so does a panic anywhere in the program;
/// [`std::process::exit`] does not. If one terminal is entered twice, the guards must be dropped in
/// reverse order, as scopes do.
///
/// After a stop (SIGCONT) the shell may have changed the mode: drop the guard, and enter again.
#[derive(Debug)]
#[must_use = "the mode ends when the guard is dropped"]
pub struct RawMode {
    id: u64,
}

impl RawMode {
    /// Puts a terminal into raw mode. It is an error if `terminal` is no terminal, or belongs to
    /// another job.
    pub fn enter(terminal: impl AsFd) -> io::Result<RawMode> {
        if is_anothers(&terminal) {
            return Err(Errno::EAGAIN.into());
        }
        restore_when_the_program_panics();
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        set(&terminal, &raw(before.clone()))?;
        let id = entered.last().map_or(0, |last| last.id + 1);
        entered.push(Entered {
            id,
            terminal,
            before,
        });
        Ok(RawMode { id })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = entered.iter().position(|entered| entered.id == self.id) {
            entered.remove(index).restore();
        }
    }
}

impl Entered {
    /// Restores the earlier mode, unless the program is in the background: then the terminal is in the
    /// mode that the shell has chosen. A terminal that is gone needs nothing, so errors are ignored.
    fn restore(&self) {
        if !is_anothers(&self.terminal) {
            let _ = set(&self.terminal, &self.before);
        }
    }
}

fn raw(mut mode: Termios) -> Termios {
    mode.local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::IEXTEN);
    // These flags are on already, unless another program has left the terminal in disorder.
    mode.local_flags.insert(LocalFlags::ISIG);
    mode.input_flags.insert(InputFlags::ICRNL);
    mode.output_flags
        .insert(OutputFlags::OPOST | OutputFlags::ONLCR);
    // A read returns as soon as there is one byte.
    mode.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    mode.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    mode
}

/// Sets the mode at once. Waiting for pending output first (`TCSADRAIN`) would block for ever if the
/// user has stopped the terminal with Ctrl-S, and is not needed, as the mode of output stays the
/// same; discarding the input (`TCSAFLUSH`) would lose keys that were typed ahead.
fn set(terminal: &OwnedFd, mode: &Termios) -> io::Result<()> {
    Ok(tcsetattr(terminal, SetArg::TCSANOW, mode)?)
}

/// Installs a panic hook that restores all terminals, the latest first, before the report is printed.
fn restore_when_the_program_panics() {
    PANIC_HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Never wait here: the panicking thread may be the one that holds the lock.
            let entered = match ENTERED.try_lock() {
                Ok(entered) => Some(entered),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            entered
                .iter()
                .flat_map(|entered| entered.iter().rev())
                .for_each(Entered::restore);
            drop(entered);
            report(info);
        }));
    });
}
