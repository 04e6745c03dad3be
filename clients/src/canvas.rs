//! The terminal on standard error, as a place for progress bars: what is drawn is not waited for, as
//! nothing is that goes there.

use std::fmt::Debug;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeloop::{stderr, terminal};
use indicatif::{ProgressDrawTarget, TermLike};

/// Output drawn since the last flush, which writes it in one piece: a line that is logged does not
/// come between two parts of it.
#[derive(Debug, Default)]
struct Canvas(Mutex<String>);

/// A target that is drawn to so often at the most.
pub(crate) fn target(draws_per_second: u8) -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Canvas::default()), draws_per_second)
}

impl Canvas {
    fn picture(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the cursor `count` times in the direction with this letter.
    fn go(&self, count: usize, letter: char) -> io::Result<()> {
        match count {
            0 => Ok(()),
            count => self.write_str(&format!("\x1b[{count}{letter}")),
        }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        u16::try_from(terminal::width(io::stderr())).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.go(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.go(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.go(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.go(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.picture().push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        stderr::draw(mem::take(&mut *self.picture()).as_bytes());
        Ok(())
    }
}
