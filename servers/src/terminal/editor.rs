//! The line editor: bytes from the keyboard in, finished lines and bytes for the screen out.
//!
//! Its parts have a file each: `keys.rs` decodes bytes into keys, `line.rs` holds the text and the
//! cursor and does the edits, `history.rs` has the earlier lines, and `row.rs` draws the line. The
//! editor puts them together, and adds what needs more than one of them: the text that was deleted
//! last, and a terminal that becomes narrower.

use std::mem;

use super::history::History;
use super::keys::{Key, KeyDecoder};
use super::line::Line;
use super::row::{self, ERASE};

/// Moves to the upper left corner and erases the screen.
const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";
const BELL: u8 = 0x07;
/// Asks the terminal for the position of its cursor (DSR, ECMA-48).
const ASK_FOR_CURSOR: &[u8] = b"\x1b[6n";
/// Turns xterm's "bracketed paste mode" on: the terminal marks pasted text, so that an [`Editor`]
/// takes it as text and not as keys.
pub const PASTE_ON: &[u8] = b"\x1b[?2004h";
/// Turns bracketed paste mode off.
pub const PASTE_OFF: &[u8] = b"\x1b[?2004l";

/// Finished input: a line, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its newline: at most [`LINE_LIMIT`](super::LINE_LIMIT) bytes, no control
    /// characters other than tabs that were pasted.
    Line(String),
    /// Ctrl-D on an empty line: the end of the input.
    Eof,
}

/// A line editor without I/O, for a terminal in [`RawMode`](super::RawMode).
///
/// Each method appends bytes to `screen`, which are to be written to the terminal in order; `width` is
/// the terminal's current width in columns.
///
/// The keys are those of most shells: arrows, Home, End, Delete, Backspace; Ctrl-A, E, B, F, P and
/// N in their stead; Ctrl with an arrow, Alt-B and Alt-F, which move by a word; Ctrl-U, K and W,
/// Alt-Backspace and Alt-D, which delete to the start, to the end and a word; Ctrl-Y, which inserts
/// the text that they have deleted; Ctrl-L, which clears the screen; Ctrl-D. A tab counts as a space.
///
/// If the terminal marks pasted text ([`PASTE_ON`]), pasted control characters are no keys: tabs
/// stay, and each pasted line is a line.
///
/// When a window becomes narrower, some terminals break the row of the line into several, and others
/// cut it off. So the editor asks the terminal where its cursor is, and erases the rows above if there
/// are any.
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
    /// The text that was deleted last.
    killed: String,
    /// The last key was a deletion, so the next one adds to `killed`.
    killing: bool,
    /// Width at the last drawing, and the column of the cursor.
    drawn: (usize, usize),
    /// The terminal was asked for its cursor, and has not replied: what the reply would mean.
    asked: Option<Broken>,
}

/// A side of the cursor.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    After,
}

/// A row that the terminal may have broken into several. If it has, the cursor is in `column`, with
/// `rows_above` rows of the line above it.
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

    /// Processes bytes from the keyboard, cut anywhere, and calls `typed` for each finished line, which
    /// stays on the screen. Characters above the longest line are dropped, and the bell rings.
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
        // Once for all bytes, so that a long paste is drawn once.
        self.draw(width, screen);
        if !fits {
            screen.push(BELL);
        }
    }

    /// Prints whole lines above the line being typed. The text must be harmless to a terminal.
    pub fn print(&mut self, text: &[u8], width: usize, screen: &mut Vec<u8>) {
        self.asked = None;
        screen.extend_from_slice(ERASE);
        screen.extend_from_slice(text);
        if text.last().is_some_and(|&last| last != b'\n') {
            screen.push(b'\n');
        }
        self.draw(width, screen);
    }

    /// Draws the line being typed over the row of the cursor. The caller draws at the start, when the
    /// width has changed (SIGWINCH) and when the program continues after a stop (SIGCONT).
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

    /// Handles the terminal's reply, the column of its cursor counted from 1: moves up to the first row
    /// of a broken line.
    fn cursor_is_at(&mut self, column: usize, width: usize, screen: &mut Vec<u8>) {
        // The last column proves nothing: the cursor is there too if the row was cut off.
        if let Some(broken) = self.asked.take()
            && broken.column + 1 == column
            && column < width
        {
            screen.extend_from_slice(format!("\x1b[{}A", broken.rows_above).as_bytes());
        }
    }

    /// Takes the line being typed off the screen and leaves the cursor at the start of an empty
    /// row: at the end, or before another program uses the terminal. The line is kept.
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

    /// Applies a key to the line. Returns false if the line had no room for a character.
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

    /// Deletes text and keeps it for Ctrl-Y, joined to the text that the keys before have deleted if
    /// they were deletions too (`goes_on`).
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
