//! The line editor: keys in, finished lines and a screen out.

use super::history::History;
use super::keys::{Key, KeyDecoder};
use super::line::Line;
use super::row::{self, ERASE};

/// Moves to the upper left corner and erases the screen.
const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";
const BELL: u8 = 0x07;

/// What a person has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its newline: at most [`LINE_LIMIT`](super::LINE_LIMIT) bytes, no control
    /// characters.
    Line(String),
    /// Ctrl-D on an empty line: there will be no more.
    Eof,
}

/// A line editor without I/O, for a terminal in [`RawMode`](super::RawMode).
///
/// Each method appends to `screen` what is to be written to the terminal, all of it and in order;
/// `width` is the number of columns that the terminal has at that moment.
///
/// The keys are those of most shells: arrows, Home, End, Delete, Backspace; Ctrl-A, E, B, F, P and
/// N in their stead; Ctrl-U, K and W, which delete to the start, to the end and a word; Ctrl-L,
/// which clears the screen; Ctrl-D. A tab is taken for a space.
///
/// ```
/// use edgeloop::terminal::{Editor, Typed};
///
/// let mut editor = Editor::new("> ");
/// let (mut screen, mut lines) = (Vec::new(), Vec::new());
/// editor.keys(b"hell", 80, &mut screen, |typed| lines.push(typed));
/// editor.print(b"[bob] are you there?\n", 80, &mut screen);
/// editor.keys(b"o\n", 80, &mut screen, |typed| lines.push(typed));
/// assert_eq!(lines, [Typed::Line("hello".into())]);
/// ```
#[derive(Debug)]
pub struct Editor {
    prompt: String,
    keys: KeyDecoder,
    line: Line,
    history: History,
}

impl Editor {
    /// An editor with an empty line, which is not on the screen before the first
    /// [`draw`](Editor::draw). The prompt is one line of printable text.
    #[must_use]
    pub fn new(prompt: &str) -> Editor {
        Editor {
            prompt: prompt.to_owned(),
            keys: KeyDecoder::default(),
            line: Line::default(),
            history: History::default(),
        }
    }

    /// Takes bytes from the keyboard, cut anywhere, and calls `typed` for each finished line; it
    /// stays on the screen. Where the line is full, what is typed is dropped, and the bell rings.
    pub fn keys(
        &mut self,
        bytes: &[u8],
        width: usize,
        screen: &mut Vec<u8>,
        mut typed: impl FnMut(Typed),
    ) {
        let mut fits = true;
        for &byte in bytes {
            let Some(key) = self.keys.next(byte) else {
                continue;
            };
            match key {
                Key::Enter => typed(Typed::Line(self.finish(screen))),
                Key::EndOfInput if self.line.is_empty() => typed(Typed::Eof),
                Key::ClearScreen => screen.extend_from_slice(CLEAR_SCREEN),
                key => fits &= self.edit(key),
            }
        }
        // Once for all of them: a pasted text is no slower than a key.
        self.draw(width, screen);
        if !fits {
            screen.push(BELL);
        }
    }

    /// Shows text, whole lines that are harmless to a terminal, above the line being typed.
    pub fn print(&mut self, text: &[u8], width: usize, screen: &mut Vec<u8>) {
        screen.extend_from_slice(ERASE);
        screen.extend_from_slice(text);
        if text.last().is_some_and(|&last| last != b'\n') {
            screen.push(b'\n');
        }
        self.draw(width, screen);
    }

    /// Draws the line being typed over the row where the cursor is: at the start, when the width
    /// has changed (SIGWINCH) and when the program goes on after a stop (SIGCONT).
    pub fn draw(&self, width: usize, screen: &mut Vec<u8>) {
        row::draw(&self.prompt, &self.line, width, screen);
    }

    /// Takes the line being typed off the screen and leaves the cursor at the start of an empty
    /// row: at the end, or to give the terminal to somebody else for a while. The line is kept.
    pub fn erase(&self, screen: &mut Vec<u8>) {
        screen.extend_from_slice(ERASE);
    }

    /// Writes the whole line, over as many rows as it takes, and begins a new one.
    fn finish(&mut self, screen: &mut Vec<u8>) -> String {
        let line = self.line.take();
        self.history.add(&line);
        screen.extend_from_slice(ERASE);
        screen.extend_from_slice(self.prompt.as_bytes());
        screen.extend_from_slice(line.as_bytes());
        screen.push(b'\n');
        line
    }

    /// False if there was no room for a character.
    fn edit(&mut self, key: Key) -> bool {
        let line = &mut self.line;
        match key {
            Key::Char(char) => return line.insert(char),
            Key::Backspace => line.backspace(),
            Key::Delete | Key::EndOfInput => line.delete(),
            Key::Left => line.left(),
            Key::Right => line.right(),
            Key::Home => line.home(),
            Key::End => line.end(),
            Key::KillBefore => line.kill_before(),
            Key::KillAfter => line.kill_after(),
            Key::KillWord => line.kill_word(),
            Key::Up => {
                if let Some(older) = self.history.older(line.text()) {
                    line.set(older);
                }
            }
            Key::Down => {
                if let Some(newer) = self.history.newer() {
                    line.set(newer);
                }
            }
            Key::Enter | Key::ClearScreen => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
