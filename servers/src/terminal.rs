//! Line editing for a person who types at a terminal while lines from a peer arrive.
//!
//! The kernel edits a line by itself as long as a terminal is in canonical mode (termios(3)), but
//! it does not know of other output meanwhile: incoming text lands in the middle of the line being
//! typed. So [`RawMode`] takes the editing from the kernel, and an [`Editor`] does it, which
//! puts incoming text above the line and draws the line again below.
//!
//! No crate for line editing fits: rustyline and reedline read the keyboard themselves and wait
//! there for the next key; neither takes bytes that the program's one loop has read, among those of
//! its sockets. An [`Editor`] is a state machine without I/O, like a protocol: bytes from the
//! keyboard go in, bytes for the screen come out.

mod editor;
mod history;
mod keys;
mod line;
mod raw_mode;
mod row;

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use terminal_size::terminal_size_of;

pub use self::editor::{Editor, PASTE_OFF, PASTE_ON, Typed};
pub use self::history::HISTORY_LIMIT;
pub use self::line::LINE_LIMIT;
pub use self::raw_mode::RawMode;

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// Whether an [`Editor`] can work between these two: both are terminals, and `term`, the value of
/// the environment variable `TERM` (environ(7)), names one that can move its cursor.
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

/// As [`is_capable`], of standard input and output and the variable `TERM`.
#[must_use]
pub fn is_process_capable() -> bool {
    let (input, output) = (io::stdin(), io::stdout());
    is_capable(&input, &output, env::var_os("TERM").as_deref())
}

/// The columns a terminal has now (TIOCGWINSZ(2const)); 80 if it does not say, or is no terminal.
/// A change is announced by SIGWINCH.
pub fn width(terminal: impl AsFd) -> usize {
    terminal_size_of(terminal).map_or(USUAL_WIDTH, |(width, _)| width.0.into())
}
