//! Line editing at a terminal on which lines from a peer arrive meanwhile.
//!
//! In canonical mode (termios(3)) the kernel edits a line, but it knows nothing of other output:
//! incoming text lands in the middle of the line being typed. So [`RawMode`] turns the kernel's
//! editing off, and an [`Editor`] does it instead, which prints incoming text above the line and draws
//! the line again below.
//!
//! No crate for line editing fits: rustyline and reedline read the keyboard themselves and block
//! until the next key; neither takes bytes that the program's one loop has read, as it reads its
//! sockets. An [`Editor`] is a state machine without I/O, like a protocol: bytes from the keyboard go
//! in, bytes for the screen come out.

mod editor;
mod history;
mod keys;
mod line;
mod raw_mode;
mod row;
mod wrap;

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use terminal_size::terminal_size_of;

pub use self::editor::{Editor, PASTE_OFF, PASTE_ON, Typed};
pub use self::history::HISTORY_LIMIT;
pub use self::line::LINE_LIMIT;
pub use self::raw_mode::RawMode;
pub(crate) use self::wrap::wrap;

/// Assumed width of a terminal that does not report one, in columns.
const USUAL_WIDTH: usize = 80;

/// Whether an [`Editor`] can work between these two streams: both are terminals, and `term`, the value
/// of the environment variable `TERM` (environ(7)), names a terminal that can move its cursor.
///
/// ```no_run
/// # use std::{env, io};
/// # use edgeloop::terminal::is_capable;
/// let edits = is_capable(&io::stdin(), &io::stdout(), env::var_os("TERM").as_deref());
/// ```
pub fn is_capable(input: &impl IsTerminal, output: &impl IsTerminal, term: Option<&OsStr>) -> bool {
    let moves_its_cursor = term.is_some_and(|term| !term.is_empty() && term != "dumb");
    moves_its_cursor && input.is_terminal() && output.is_terminal()
}

/// [`is_capable`] for standard input, standard output and the variable `TERM`.
#[must_use]
pub fn is_process_capable() -> bool {
    let (input, output) = (io::stdin(), io::stdout());
    is_capable(&input, &output, env::var_os("TERM").as_deref())
}

/// The current width of a terminal in columns (TIOCGWINSZ(2const)); 80 if the terminal does not report
/// one, or is none. SIGWINCH announces a change.
pub fn width(terminal: impl AsFd) -> usize {
    terminal_size_of(terminal).map_or(USUAL_WIDTH, |(width, _)| width.0.into())
}
