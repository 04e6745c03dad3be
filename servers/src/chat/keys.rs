//! From bytes to keys: text, ends of lines, erased characters, Telnet commands.
//!
//! Some clients send a line when it is finished; others send each key as it is pressed: `telnet` in
//! character mode, PuTTY, `nc` at a terminal in raw mode. The latter end a line with CR, CR LF or CR
//! NUL, and send BS or DEL to erase a character. With `--plain` these bytes are text, as Budget Chat
//! has it.

use memchr::memchr3;

use crate::line::LineAssembler;
use crate::telnet::{Part, Telnet};

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

/// A part of a member's input that contains at most one end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// The reply to a Telnet command.
    Answer([u8; 3]),
    /// With `--plain`: text, with a newline only at its end.
    Raw(&'a [u8]),
    /// Text within a line.
    Text(&'a [u8]),
    /// The last text of a line, without the end of the line.
    End(&'a [u8]),
    /// So many BS or DEL: as many characters at the end of the line are erased.
    Erase(usize),
}

/// The state of a member's input between two reads.
#[derive(Debug, Default)]
pub(super) struct Input {
    telnet: Telnet,
    /// Bytes at the front of what comes next that Telnet has handed out as text already.
    text_left: usize,
    /// A line that is not complete yet.
    pub(super) lines: LineAssembler,
}

impl Input {
    /// Takes the next part off the front of `bytes`; `None` when none is left. The bytes that it leaves
    /// come first in the next call.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8], plain: bool) -> Option<Key<'a>> {
        let (all, after_cr) = (*bytes, self.telnet.is_after_cr());
        let text = if self.text_left > 0 {
            // Telnet looks at a byte once, however many keys a text has.
            let (text, rest) = bytes.split_at(self.text_left);
            *bytes = rest;
            text
        } else {
            match self.telnet.next(bytes)? {
                Part::Answer(answer) => return Some(Key::Answer(answer)),
                Part::Text(text) if plain => return Some(Key::Raw(text)),
                // The CR before this LF has ended the line.
                Part::Text(b"\n") if after_cr => return Some(Key::Text(b"")),
                Part::Text(text) => text,
            }
        };
        let (key, rest) = first_key(text);
        self.text_left = rest.len();
        // `rest` lies directly before the bytes that Telnet has not taken; both are left for later.
        *bytes = &all[all.len() - bytes.len() - rest.len()..];
        Some(key)
    }

    /// Whether the input is at the beginning of a line and of a Telnet command, so that a member need
    /// not keep it.
    pub(super) fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.text_left == 0 && self.telnet.is_idle()
    }
}

/// The first key of a text that has a newline only at its end, and the rest of the text.
fn first_key(text: &[u8]) -> (Key<'_>, &[u8]) {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let Some(at) = memchr3(b'\r', BACKSPACE, DELETE, line) else {
        return match line.len() == text.len() {
            true => (Key::Text(text), &[]),
            false => (Key::End(line), &[]),
        };
    };
    match (at, line[at]) {
        (_, b'\r') => {
            let rest = &text[at + 1..];
            (
                Key::End(&line[..at]),
                rest.strip_prefix(b"\n").unwrap_or(rest),
            )
        }
        (0, _) => {
            let is_erasing = |byte: &&u8| matches!(**byte, BACKSPACE | DELETE);
            let count = line.iter().take_while(is_erasing).count();
            (Key::Erase(count), &text[count..])
        }
        (_, _) => (Key::Text(&line[..at]), &text[at..]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of a stream that comes in chunks of this size, with the incomplete line at its end.
    fn lines(input: &[u8], chunk: usize, plain: bool) -> Vec<Vec<u8>> {
        let (mut typed, mut seen) = (Input::default(), Vec::new());
        for mut bytes in input.chunks(chunk) {
            while let Some(key) = typed.next(&mut bytes, plain) {
                let lines = &mut typed.lines;
                let each = |line: crate::line::Line<'_>| seen.push(line.text.to_vec());
                match key {
                    Key::Answer(_) => {}
                    Key::Raw(text) => lines.feed(text, 1000, each),
                    Key::Text(text) => lines.push(text, 1000, each),
                    Key::End(text) => lines.end(text, 1000, each),
                    Key::Erase(count) => lines.erase(count),
                }
            }
        }
        typed
            .lines
            .finish(1000, |line| seen.push(line.text.to_vec()));
        seen
    }

    #[test]
    fn every_end_of_a_line_is_one_end() {
        for (input, expected, plain) in [
            (
                &b"a\nb\r\nc\rd"[..],
                &["a", "b", "c", "d"][..],
                &["a", "b", "c\rd"][..],
            ),
            (b"a\r\0b\r\0", &["a", "b"], &["a", "b"]),
            (b"\r\r\n\n\r", &["", "", "", ""], &["\r", "", "\r"]),
            (
                b"a\r\xff\xf1\nb\r\xff\xfb\x01\0c",
                &["a", "b", "c"],
                &["a", "b", "c"],
            ),
            (
                b"ab\x08c\x7f\x7f\x7fx\n\x08y\n",
                &["x", "y"],
                &["ab\x08c\x7f\x7f\x7fx", "\x08y"],
            ),
            ("é\x7fa👩\x08\r".as_bytes(), &["a"], &["é\x7fa👩\x08\r"]),
            (b"\xff\xe9\x08\n", &["\u{fffd}"], &["\u{fffd}\u{fffd}\x08"]),
        ] {
            for chunk in 1..=input.len() {
                for (is_plain, expected) in [(false, expected), (true, plain)] {
                    let seen = lines(input, chunk, is_plain);
                    let seen: Vec<_> = seen
                        .iter()
                        .map(|line| String::from_utf8_lossy(line))
                        .collect();
                    assert_eq!(seen, expected, "{input:?} by {chunk}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_keys_are_taken_together() {
        for (byte, most) in [
            (b'a', 1),
            (0, 1),
            (0x1b, 1),
            (0xe9, 1),
            (BACKSPACE, 1),
            (DELETE, 1),
        ] {
            let input = [byte; 4096];
            let (mut typed, mut bytes) = (Input::default(), &input[..]);
            let keys = std::iter::from_fn(|| typed.next(&mut bytes, false).map(drop));
            assert_eq!(keys.count(), most, "{byte:#x}");
        }
    }

    proptest! {
        #[test]
        fn segments_do_not_matter(
            input in prop::collection::vec(
                prop_oneof![Just(255), Just(0), Just(b'\r'), Just(b'\n'), Just(8), Just(127), Just(0xc3), Just(0xa9), any::<u8>()], 0..300),
            chunk in 1..40usize, plain: bool,
        ) {
            prop_assert_eq!(lines(&input, chunk, plain), lines(&input, usize::MAX, plain));
        }

        #[test]
        fn a_model_of_the_ends(input in "[ab\r\n]{0,40}") {
            let ended = input.replace("\r\n", "\n").replace('\r', "\n");
            let mut expected: Vec<&[u8]> = ended.split('\n').map(str::as_bytes).collect();
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(lines(input.as_bytes(), 3, false), expected);
        }
    }
}
