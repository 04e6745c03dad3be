//! The screen: it shows the peer's bytes, and takes what a person types.

use std::fmt;
use std::io::{self, IsTerminal};
use std::mem;

use edgeloop_reactor::terminal::{is_anothers, may_draw};

use crate::harmless::Harmless;
use crate::stderr;
use crate::terminal::{self, Editor, PASTE_OFF, PASTE_ON, RawMode, Typed, wrap};

/// Longest part of a line, in bytes, that is held back until its end comes.
const HELD_BACK_MAX: usize = 4096;

/// A notice as a terminal shows it: in reverse video (SGR 7, ECMA-48). The peer's text cannot be: its
/// control characters are shown, not sent.
fn marked(notice: &str) -> String {
    format!("\x1b[7m{notice}\x1b[0m")
}

/// A terminal, or what stands in its place, between a person and a peer.
#[derive(Debug)]
pub struct Screen {
    /// Standard input is a terminal.
    person: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Standard output is a file or a pipe, which gets every byte as it is.
    Bytes,
    /// Standard output is a terminal without line editing: standard input is no terminal, or the
    /// terminal cannot move its cursor.
    Shown(Harmless),
    /// A person types and reads at the same terminal.
    Edited(Box<Edited>),
}

/// A line that is being typed, and lines of the peer that appear above it.
struct Edited {
    editor: Editor,
    /// Raw mode leaves editing to this program. There is none in the background, where the terminal
    /// is another job's.
    raw_mode: Option<RawMode>,
    /// Asks for the terminal's width in columns, which may change.
    width: fn() -> usize,
    harmless: Harmless,
    /// The beginning of a line of the peer's, until its end comes.
    held_back: Vec<u8>,
    /// The beginning of that line was shown before, as a line of its own.
    continues: bool,
}

impl fmt::Debug for Edited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Edited").finish_non_exhaustive()
    }
}

/// A screen for files or pipes on both sides.
impl Default for Screen {
    fn default() -> Self {
        Screen {
            person: false,
            kind: Kind::Bytes,
        }
    }
}

impl Screen {
    /// The screen that standard input and output allow.
    #[must_use]
    pub fn of_standard_streams() -> Self {
        Screen {
            person: io::stdin().is_terminal(),
            kind: if io::stdout().is_terminal() {
                Kind::Shown(Harmless::default())
            } else {
                Kind::Bytes
            },
        }
    }

    /// Takes line editing from the kernel, if standard input and output are both capable terminals.
    /// From here on signals have to be handled: one that ends the program would leave its terminal
    /// in raw mode.
    pub(crate) fn open(&mut self, screen: &mut Vec<u8>) {
        if let Kind::Shown(_) = self.kind
            && terminal::is_process_capable()
        {
            let mut edited = Box::new(Edited {
                editor: Editor::new(""),
                raw_mode: None,
                width: || terminal::width(io::stdout()),
                harmless: Harmless::default(),
                held_back: Vec::new(),
                continues: false,
            });
            edited.take_terminal(screen);
            self.kind = Kind::Edited(edited);
        }
    }

    /// Files or pipes on both sides, or a terminal in the place of the input.
    #[cfg(test)]
    pub(crate) fn for_test(person: bool) -> Self {
        Screen {
            person,
            kind: Kind::Bytes,
        }
    }

    /// Whether a person types: standard input is a terminal.
    pub(crate) fn is_a_person(&self) -> bool {
        self.person
    }

    /// Appends to `screen` as much of the peer's bytes as is to be shown now.
    pub(crate) fn show(&mut self, bytes: &[u8], screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Bytes => screen.extend_from_slice(bytes),
            Kind::Shown(harmless) => harmless.feed(bytes, screen),
            Kind::Edited(edited) => {
                edited.take_terminal(screen);
                edited.harmless.feed(bytes, &mut edited.held_back);
                edited.print_lines(screen);
            }
        }
    }

    /// The next bytes are of another peer, and begin a line.
    pub(crate) fn next_peer(&mut self) {
        if let Kind::Edited(edited) = &mut self.kind {
            edited.continues = false;
        }
    }

    /// Whether the beginning of a line waits for its end.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(&self.kind, Kind::Edited(edited) if !edited.held_back.is_empty())
    }

    /// Shows the beginning of a line that waits for its end.
    pub(crate) fn show_all(&mut self, screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Bytes => {}
            Kind::Shown(harmless) => harmless.finish(screen),
            Kind::Edited(edited) => {
                edited.harmless.finish(&mut edited.held_back);
                edited.print_rest(screen);
            }
        }
    }

    /// Takes bytes from standard input: appends their echo to `screen`, and the bytes for the peer
    /// to `words`. True if the person has ended the input.
    pub(crate) fn typed(
        &mut self,
        bytes: &[u8],
        screen: &mut Vec<u8>,
        words: &mut Vec<u8>,
    ) -> bool {
        let Kind::Edited(edited) = &mut self.kind else {
            words.extend_from_slice(bytes);
            return false;
        };
        let mut ended = false;
        let width = (edited.width)();
        // If the program was in the background, the kernel has shown these keys already.
        let mut shown_before = Vec::new();
        let keys_screen = match edited.raw_mode {
            Some(_) => &mut *screen,
            None => &mut shown_before,
        };
        edited
            .editor
            .keys(bytes, width, keys_screen, |typed| match typed {
                Typed::Line(line) if !ended => {
                    words.extend_from_slice(line.as_bytes());
                    words.push(b'\n');
                }
                Typed::Line(_) => {}
                Typed::Eof => ended = true,
            });
        edited.take_terminal(screen);
        ended
    }

    /// Shows a notice of this program's: above the line being edited if there is one, otherwise on
    /// standard error. On a terminal it is marked as no text of a peer can be.
    pub(crate) fn notice(&mut self, notice: &str, screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Edited(edited) => {
                edited.take_terminal(screen);
                edited.print(format!("{}\n", marked(notice)).as_bytes(), screen);
            }
            _ if io::stderr().is_terminal() => stderr::say(&marked(notice)),
            _ => stderr::say(notice),
        }
    }

    /// Draws the line being typed again. After a stop the shell has put the terminal back into its
    /// usual mode. A program that goes on in the background leaves the terminal alone as long as
    /// there is nothing new to show.
    pub(crate) fn redraw(&mut self, screen: &mut Vec<u8>) {
        if let Kind::Edited(edited) = &mut self.kind {
            edited.raw_mode = None;
            if !is_anothers(io::stdin()) {
                edited.take_terminal(screen);
            }
        }
    }

    /// Whether a line is being edited here. In the background, the terminal is another job's.
    pub(crate) fn is_edited(&self) -> bool {
        matches!(self.kind, Kind::Edited(_)) && !is_anothers(io::stdin())
    }

    /// Whether the terminal is another job's, and is to be left alone.
    pub(crate) fn is_anothers(&self) -> bool {
        matches!(self.kind, Kind::Edited(_)) && is_anothers(io::stdin())
    }

    /// Leaves the screen as it was found. It can still show text.
    pub(crate) fn close(&mut self, screen: &mut Vec<u8>) {
        self.show_all(screen);
        if let Kind::Edited(edited) = &mut self.kind {
            if edited.raw_mode.is_some() {
                edited.editor.erase(screen);
                screen.extend_from_slice(PASTE_OFF);
            }
            self.kind = Kind::Shown(Harmless::default());
        }
    }
}

impl Edited {
    /// Sees to it that the terminal is in raw mode and shows the line being typed, if it is this
    /// job's. If it is another's, the program stops here, and may go on in the background.
    fn take_terminal(&mut self, screen: &mut Vec<u8>) {
        if !may_draw(io::stdin()) {
            self.raw_mode = None;
        } else if self.raw_mode.is_none() {
            self.raw_mode = RawMode::enter(io::stdin()).ok();
            screen.extend_from_slice(PASTE_ON);
            self.editor.draw((self.width)(), screen);
        }
    }

    /// Prints text above the line being typed, if that is on the screen.
    fn print(&mut self, text: &[u8], screen: &mut Vec<u8>) {
        match self.raw_mode {
            Some(_) => self.editor.print(text, (self.width)(), screen),
            None => screen.extend_from_slice(text),
        }
    }

    /// Prints text of the peer's above the line being typed, in rows of the terminal's width.
    fn print_wrapped(&mut self, text: &[u8], screen: &mut Vec<u8>) {
        let continues = mem::replace(&mut self.continues, !text.ends_with(b"\n"));
        let mut rows = Vec::new();
        let text = String::from_utf8_lossy(text);
        wrap(&text, (self.width)(), continues, &mut rows);
        if self.continues {
            rows.push(b'\n');
        }
        self.print(&rows, screen);
    }

    /// Prints the complete lines, and a line that is too long to wait for.
    fn print_lines(&mut self, screen: &mut Vec<u8>) {
        if let Some(end) = self.held_back.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.held_back.split_off(end + 1);
            let lines = mem::replace(&mut self.held_back, rest);
            self.print_wrapped(&lines, screen);
        }
        if self.held_back.len() > HELD_BACK_MAX {
            self.print_rest(screen);
        }
    }

    fn print_rest(&mut self, screen: &mut Vec<u8>) {
        if !self.held_back.is_empty() {
            let line = mem::take(&mut self.held_back);
            self.print_wrapped(&line, screen);
        }
    }
}
