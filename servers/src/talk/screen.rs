//! What stands between the person and the wire.

use std::fmt;
use std::io::{self, IsTerminal};

use crate::harmless::Harmless;
use crate::stderr;
use crate::terminal::{self, Editor, RawMode, Typed, raw_mode_if_capable};

/// More of a line than this is not held back until its end comes.
const HELD_BACK_MAX: usize = 4096;

/// How what the peer says is shown, and what is typed is taken.
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
    /// Standard output is a terminal, and nobody types at it, or it is not up to line editing.
    Shown(Harmless),
    /// A person types and reads at the same terminal.
    Edited(Box<Edited>),
}

/// A line that is being typed, and lines of the peer that appear above it.
struct Edited {
    editor: Editor,
    /// While it is there, the kernel leaves editing to us.
    raw_mode: Option<RawMode>,
    /// The terminal's width, which may change.
    width: fn() -> usize,
    harmless: Harmless,
    /// The beginning of a line of the peer.
    held_back: Vec<u8>,
}

impl fmt::Debug for Edited {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Edited").finish_non_exhaustive()
    }
}

impl Screen {
    /// What standard input and output call for.
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

    /// Takes line editing from the kernel, if standard input and output are the same person's. From
    /// here on signals have to be handled: one that ends the program would leave its terminal in
    /// raw mode.
    pub(super) fn open(&mut self) {
        if let Kind::Shown(_) = self.kind
            && let Some(raw_mode) = raw_mode_if_capable()
        {
            self.kind = Kind::Edited(Box::new(Edited {
                editor: Editor::new(""),
                raw_mode: Some(raw_mode),
                width: || terminal::width(io::stdout()),
                harmless: Harmless::default(),
                held_back: Vec::new(),
            }));
        }
    }

    /// Files or pipes on both sides, or a terminal in the place of the input.
    #[cfg(test)]
    pub(super) fn for_test(person: bool) -> Self {
        Screen {
            person,
            kind: Kind::Bytes,
        }
    }

    /// Whether it is a person who types.
    pub(super) fn is_a_person(&self) -> bool {
        self.person
    }

    /// Appends to `screen` what is to be shown of the peer's bytes now.
    pub(super) fn show(&mut self, bytes: &[u8], screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Bytes => screen.extend_from_slice(bytes),
            Kind::Shown(harmless) => harmless.feed(bytes, screen),
            Kind::Edited(edited) => {
                edited.harmless.feed(bytes, &mut edited.held_back);
                edited.print_lines(screen);
            }
        }
    }

    /// Whether the beginning of a line waits for its end.
    pub(super) fn holds_back(&self) -> bool {
        matches!(&self.kind, Kind::Edited(edited) if !edited.held_back.is_empty())
    }

    /// Shows what waits for its end.
    pub(super) fn show_all(&mut self, screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Bytes => {}
            Kind::Shown(harmless) => harmless.finish(screen),
            Kind::Edited(edited) => {
                edited.harmless.finish(&mut edited.held_back);
                edited.print_rest(screen);
            }
        }
    }

    /// Takes what came from standard input: appends what is to be seen of it to `screen`, and what
    /// the peer is to get to `words`. True if the person has ended the input.
    pub(super) fn typed(
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
        edited
            .editor
            .keys(bytes, width, screen, |typed| match typed {
                Typed::Line(line) if !ended => {
                    words.extend_from_slice(line.as_bytes());
                    words.push(b'\n');
                }
                Typed::Line(_) => {}
                Typed::Eof => ended = true,
            });
        ended
    }

    /// Says something that the peer has not said: on the screen if there is one to keep tidy,
    /// otherwise on standard error.
    pub(super) fn notice(&mut self, notice: &str, screen: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Edited(edited) => {
                let line = format!("{notice}\n");
                edited
                    .editor
                    .print(line.as_bytes(), (edited.width)(), screen);
            }
            _ => stderr::say(notice),
        }
    }

    /// Draws again what is being typed. After a stop the shell has put the terminal back into its
    /// usual mode.
    pub(super) fn redraw(&mut self, screen: &mut Vec<u8>) {
        if let Kind::Edited(edited) = &mut self.kind {
            edited.raw_mode = None;
            edited.raw_mode = raw_mode_if_capable();
            edited.editor.draw((edited.width)(), screen);
        }
    }

    /// Leaves the screen as it was found.
    pub(super) fn close(&mut self, screen: &mut Vec<u8>) {
        if let Kind::Edited(edited) = &mut self.kind {
            edited.editor.erase(screen);
        }
    }
}

impl Edited {
    /// Prints the lines that are whole, and a line that is too long to wait for.
    fn print_lines(&mut self, screen: &mut Vec<u8>) {
        let width = (self.width)();
        if let Some(end) = self.held_back.iter().rposition(|&byte| byte == b'\n') {
            self.editor.print(&self.held_back[..=end], width, screen);
            self.held_back.drain(..=end);
        }
        if self.held_back.len() > HELD_BACK_MAX {
            self.print_rest(screen);
        }
    }

    fn print_rest(&mut self, screen: &mut Vec<u8>) {
        if !self.held_back.is_empty() {
            self.held_back.push(b'\n');
            self.editor.print(&self.held_back, (self.width)(), screen);
            self.held_back.clear();
        }
    }
}
