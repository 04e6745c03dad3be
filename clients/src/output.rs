//! Standard output.

use std::io::{self, IsTerminal};

use edgeloop::harmless::Harmless;
use edgeloop_reactor::{ConnId, Outbox};

/// The tag of the connection to standard output.
pub(crate) const STDOUT: u64 = 1;

/// Standard output: byte for byte, unless it is a terminal. A terminal obeys control characters,
/// and the server is not to control it: there they are made harmless first.
#[derive(Debug, Default)]
pub(crate) struct Output {
    id: Option<ConnId>,
    terminal: bool,
    harmless: Harmless,
    /// The last piece as a terminal is to show it; kept for its memory.
    shown: Vec<u8>,
    /// The last byte that was printed ended a line.
    at_line_start: bool,
    /// The pending output is above the high-water mark.
    full: bool,
}

impl Output {
    /// Standard output of this process.
    pub(crate) fn of_process() -> Self {
        Output {
            terminal: io::stdout().is_terminal(),
            ..Output::default()
        }
    }

    /// The connection is open. Text printed before this is lost.
    pub(crate) fn open(&mut self, id: ConnId) {
        self.id = Some(id);
    }

    pub(crate) fn is(&self, id: ConnId) -> bool {
        self.id == Some(id)
    }

    /// Whether the pending output is above the high-water mark, as of the last [`Output::set_full`].
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Prints a piece of a text, which may be cut anywhere.
    pub(crate) fn print(&mut self, bytes: &[u8], out: &mut Outbox) {
        let Some(id) = self.id else { return };
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
        if self.terminal {
            self.shown.clear();
            self.harmless.feed(bytes, &mut self.shown);
            out.send(id, &self.shown);
        } else {
            out.send(id, bytes);
        }
    }

    /// Ends the text. Bytes kept back as the beginning of a character are shown.
    pub(crate) fn end_text(&mut self, out: &mut Outbox) {
        let Some(id) = self.id else { return };
        self.shown.clear();
        self.harmless.finish(&mut self.shown);
        out.send(id, &self.shown);
    }

    /// Ends the text, and its last line unless a newline has ended that.
    pub(crate) fn end_line(&mut self, out: &mut Outbox) {
        self.end_text(out);
        if !self.at_line_start {
            self.print(b"\n", out);
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Data, Opened, Protocol, Script};
    use proptest::prelude::*;

    use super::*;

    /// Prints received bytes on the connection that they came from.
    struct Printer(Output);

    impl Protocol for Printer {
        fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
            self.0.open(id);
        }

        fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
            self.0.print(&data, out);
        }

        fn on_eof(&mut self, _: ConnId, out: &mut Outbox) {
            self.0.end_line(out);
        }
    }

    fn printed(terminal: bool, chunks: &[&[u8]]) -> Vec<u8> {
        let output = Output {
            terminal,
            ..Output::default()
        };
        let mut script = Script::new(Printer(output));
        let id = script.open();
        chunks.iter().for_each(|chunk| script.data(id, chunk));
        script.eof(id);
        script.take_output(id)
    }

    #[test]
    fn a_terminal_is_shown_what_would_change_it() {
        let hostile = b"\x1b[2Jcaf\xc3\xa9\r\n\x9b";
        assert_eq!(
            printed(true, &[hostile]),
            "\\x1b[2Jcafé\n\\x9b\n".as_bytes()
        );
        assert_eq!(printed(false, &[hostile]), [&hostile[..], b"\n"].concat());
    }

    #[test]
    fn the_last_line_ends_once() {
        for terminal in [false, true] {
            for (text, expected) in [("", "\n"), ("a", "a\n"), ("a\n", "a\n"), ("\n", "\n")] {
                let bytes = printed(terminal, &[text.as_bytes()]);
                assert_eq!(bytes, expected.as_bytes(), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(input in prop::collection::vec(any::<u8>(), 0..40), terminal: bool) {
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(printed(terminal, &bytes), printed(terminal, &[&input]));
        }
    }
}
