//! The line editor: keys in, finished lines and a screen out.

use std::mem;

use super::history::History;
use super::keys::{Key, KeyDecoder};
use super::line::Line;
use super::row::{self, ERASE};

/// Moves to the upper left corner and erases the screen.
const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";
const BELL: u8 = 0x07;
/// Makes the terminal send the position of its cursor (DSR, ECMA-48).
const ASK_FOR_CURSOR: &[u8] = b"\x1b[6n";
/// Makes the terminal mark what is pasted, so that a [`Editor`] takes it for text and not for keys
/// (xterm's "bracketed paste mode").
pub const PASTE_ON: &[u8] = b"\x1b[?2004h";
/// Ends that.
pub const PASTE_OFF: &[u8] = b"\x1b[?2004l";

/// What a person has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its newline: at most [`LINE_LIMIT`](super::LINE_LIMIT) bytes, no control
    /// characters other than tabs that were pasted.
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
/// N in their stead; Ctrl with an arrow, Alt-B and Alt-F, which move by a word; Ctrl-U, K and W,
/// Alt-Backspace and Alt-D, which delete to the start, to the end and a word; Ctrl-Y, which brings
/// back what they have deleted; Ctrl-L, which clears the screen; Ctrl-D. A tab is taken for a space.
///
/// What is pasted, in a terminal that says so ([`PASTE_ON`]), is text and no keys: tabs stay, and
/// each of its lines is a line.
///
/// When a window becomes narrower, some terminals break the row of the line in several, and others
/// cut it off. So the terminal is asked where its cursor has come to be, and the rows above are
/// taken back if there are any.
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
    /// What was deleted last.
    killed: String,
    /// The last key has deleted something, to which more is added.
    killing: bool,
    /// The width at which the line was drawn last, and the column of the cursor.
    drawn: (usize, usize),
    asked: Option<Broken>,
}

/// Of the cursor.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    After,
}

/// A row that the terminal may have broken in several: where the cursor is if it has, and how many
/// rows are above that.
#[derive(Clone, Copy, Debug)]
struct Broken {
    column: usize,
    rows_above: usize,
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
            killed: String::new(),
            killing: false,
            drawn: (0, 0),
            asked: None,
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
                Key::ClearScreen => {
                    self.asked = None;
                    screen.extend_from_slice(CLEAR_SCREEN);
                }
                Key::CursorAt(column) => self.cursor_is_at(column.into(), width, screen),
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
        self.asked = None;
        screen.extend_from_slice(ERASE);
        screen.extend_from_slice(text);
        if text.last().is_some_and(|&last| last != b'\n') {
            screen.push(b'\n');
        }
        self.draw(width, screen);
    }

    /// Draws the line being typed over the row where the cursor is: at the start, when the width
    /// has changed (SIGWINCH) and when the program goes on after a stop (SIGCONT).
    pub fn draw(&mut self, width: usize, screen: &mut Vec<u8>) {
        let (before, column) = self.drawn;
        if width > 0 && width < before && column >= width {
            screen.extend_from_slice(ASK_FOR_CURSOR);
            self.asked = Some(Broken {
                column: column % width,
                rows_above: column / width,
            });
        }
        let column = row::draw(&self.prompt, &self.line, width, screen);
        self.drawn = (width, column);
    }

    /// The terminal has told where its cursor was when it was asked, in a column counted from 1.
    fn cursor_is_at(&mut self, column: usize, width: usize, screen: &mut Vec<u8>) {
        // In the last column it would also be if the row was cut off.
        if let Some(broken) = self.asked.take()
            && broken.column + 1 == column
            && column < width
        {
            screen.extend_from_slice(format!("\x1b[{}A", broken.rows_above).as_bytes());
        }
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
        self.asked = None;
        screen.extend_from_slice(ERASE);
        screen.extend_from_slice(self.prompt.as_bytes());
        screen.extend_from_slice(line.as_bytes());
        screen.push(b'\n');
        line
    }

    /// False if there was no room for a character.
    fn edit(&mut self, key: Key) -> bool {
        let line = &mut self.line;
        let goes_on = mem::take(&mut self.killing);
        match key {
            Key::Char(char) => return line.insert(char),
            Key::Backspace => line.backspace(),
            Key::Delete | Key::EndOfInput => line.delete(),
            Key::Left => line.left(),
            Key::Right => line.right(),
            Key::Home => line.home(),
            Key::End => line.end(),
            Key::WordLeft => line.word_left(),
            Key::WordRight => line.word_right(),
            Key::KillBefore => self.keep(goes_on, Line::kill_before, Side::Before),
            Key::KillWord => self.keep(goes_on, Line::kill_word, Side::Before),
            Key::KillWordLeft => self.keep(goes_on, Line::kill_word_left, Side::Before),
            Key::KillAfter => self.keep(goes_on, Line::kill_after, Side::After),
            Key::KillWordRight => self.keep(goes_on, Line::kill_word_right, Side::After),
            Key::Yank => return self.killed.chars().all(|char| line.insert(char)),
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
            Key::Enter | Key::ClearScreen | Key::CursorAt(_) => {}
        }
        true
    }

    /// Deletes something and keeps it, together with what the keys just before have deleted.
    fn keep(&mut self, goes_on: bool, kill: fn(&mut Line) -> String, side: Side) {
        if !goes_on {
            self.killed.clear();
        }
        let killed = kill(&mut self.line);
        match side {
            Side::Before => self.killed.insert_str(0, &killed),
            Side::After => self.killed.push_str(&killed),
        }
        self.killing = true;
    }
}

#[cfg(test)]
mod tests;
