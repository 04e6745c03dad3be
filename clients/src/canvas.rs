//! Progress bars on standard error, if that is a terminal. Drawing never waits for the terminal.

use std::fmt::Debug;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeloop::{stderr, terminal};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle, TermLike};

/// A bar with this template that is drawn up to so many times a second, and is gone when it is
/// dropped.
pub(crate) fn bar(total: Option<u64>, template: &str, draws_per_second: u8) -> ProgressBar {
    let canvas = Box::new(Canvas::default());
    let target = ProgressDrawTarget::term_like_with_hz(canvas, draws_per_second);
    let bar = ProgressBar::with_draw_target(total, target).with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The terminal on standard error. Output is kept until the flush, which writes it in one piece: a
/// line that is logged does not come between two parts of it.
#[derive(Debug, Default)]
struct Canvas(Mutex<String>);

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
