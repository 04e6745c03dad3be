//! From the bytes of a keyboard to keys.
//!
//! A character comes as UTF-8, any other key as a control character or as an escape sequence
//! (console_codes(4), ECMA-48). A read may end within either, so bytes are decoded one at a time.
//! A sequence that is no known key is swallowed to its end: a key without effect is better than half
//! a sequence in the line.
//!
//! A byte passes two state machines: [`Utf8Decoder`] makes characters of bytes, and [`KeyDecoder`]
//! keys of characters; its state, [`Within`], is the part of a sequence that has come so far. Between
//! the marks of a paste `KeyDecoder::pasted` takes the place of the second.

use std::str;

/// A key with a meaning for the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character; never a control character, except for a pasted tab.
    Char(char),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    Up,
    Down,
    /// Ctrl-D: the end of the input, or Delete where there is something to delete.
    EndOfInput,
    WordLeft,
    WordRight,
    KillBefore,
    KillAfter,
    /// Ctrl-W: back to white space.
    KillWord,
    /// Alt-Backspace: back to the start of a word.
    KillWordLeft,
    /// Alt-d: to the end of a word.
    KillWordRight,
    Yank,
    ClearScreen,
    /// No key but the terminal's reply: the column of its cursor, counted from 1.
    CursorAt(u16),
}

/// Decodes bytes into keys.
#[derive(Debug, Default)]
pub(super) struct KeyDecoder {
    utf8: Utf8Decoder,
    within: Within,
    /// The input is pasted text, until the mark that ends it.
    pasting: bool,
}

/// Position in a sequence after the last character.
#[derive(Debug, Default)]
enum Within {
    #[default]
    Text,
    /// After ESC: the Alt key, or the start of more.
    Escape,
    /// After `ESC [` or `ESC O`, either of which begins an arrow key.
    Sequence(Sequence),
    /// After `ESC [ [`, which the Linux console sends for F1 to F5: one more character.
    ConsoleKey,
    /// In a control string (OSC, DCS, APC, PM or SOS), such as a late reply of the terminal to the
    /// previous program. Any control character ends it, so that after Alt-], which begins one, the
    /// keyboard works again at the next Enter.
    String,
}

/// The parameters of a sequence so far: a number, and a second one such as a modifier.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    /// 0 if there is none.
    number: u16,
    second: Option<u16>,
    /// There are other parameters, so the sequence is no known key.
    odd: bool,
}

impl Sequence {
    /// Adds a character to the parameters; false if it is none, but the last character of the sequence.
    fn goes_on(&mut self, char: char) -> bool {
        match char {
            '0'..='9' => {
                let number = self.second.as_mut().unwrap_or(&mut self.number);
                *number = number
                    .saturating_mul(10)
                    .saturating_add(char as u16 - '0' as u16);
            }
            ';' if self.second.is_none() => self.second = Some(0),
            ' '..='?' => self.odd = true,
            _ => return false,
        }
        true
    }
}

impl KeyDecoder {
    /// The key that ends with this byte, if one does.
    pub(super) fn next(&mut self, byte: u8) -> Option<Key> {
        let char = self.utf8.next(byte)?;
        let within = std::mem::take(&mut self.within);
        if self.pasting {
            return self.pasted(char, within);
        }
        match within {
            _ if char == '\x1b' => self.within = Within::Escape,
            Within::Escape if matches!(char, '\x7f' | '\x08') => return Some(Key::KillWordLeft),
            _ if char.is_control() => return control_key(char),
            Within::Text => return Some(Key::Char(char)),
            Within::Escape => match alt_key(char) {
                Some(key) => return Some(key),
                None => self.within = after_escape(char),
            },
            Within::Sequence(mut sequence) => match char {
                _ if sequence.goes_on(char) => self.within = Within::Sequence(sequence),
                '[' => self.within = Within::ConsoleKey,
                '~' if sequence.number == 200 => self.pasting = true,
                last if !sequence.odd => return sequence_key(sequence, last),
                _ => {}
            },
            Within::ConsoleKey => {}
            Within::String => self.within = Within::String,
        }
        None
    }

    /// The key that a character of pasted text stands for. The sequence that ends the paste is
    /// recognised, and other sequences are swallowed.
    fn pasted(&mut self, char: char, within: Within) -> Option<Key> {
        match (within, char) {
            (_, '\x1b') => self.within = Within::Escape,
            (_, '\r' | '\n') => return Some(Key::Enter),
            (_, '\t') => return Some(Key::Char('\t')),
            (_, char) if char.is_control() => {}
            (Within::Escape, '[') => self.within = Within::Sequence(Sequence::default()),
            (Within::Sequence(mut sequence), _) => {
                if sequence.goes_on(char) {
                    self.within = Within::Sequence(sequence);
                } else if sequence.number == 201 && char == '~' {
                    self.pasting = false;
                }
            }
            (_, char) => return Some(Key::Char(char)),
        }
        None
    }
}

/// The key that Alt and a character stand for.
fn alt_key(char: char) -> Option<Key> {
    Some(match char {
        'b' => Key::WordLeft,
        'f' => Key::WordRight,
        'd' => Key::KillWordRight,
        _ => return None,
    })
}

fn after_escape(char: char) -> Within {
    match char {
        '[' | 'O' => Within::Sequence(Sequence::default()),
        ']' | 'P' | 'X' | '^' | '_' => Within::String,
        // An intermediate character: more of the sequence follows.
        ' '..='/' => Within::Escape,
        _ => Within::Text,
    }
}

fn control_key(char: char) -> Option<Key> {
    Some(match char {
        '\r' | '\n' => Key::Enter,
        '\x7f' | '\x08' => Key::Backspace,
        // The width of a tab depends on its column, which is another on the peer's screen.
        '\t' => Key::Char(' '),
        '\x01' => Key::Home,        // Ctrl-A
        '\x02' => Key::Left,        // Ctrl-B
        '\x04' => Key::EndOfInput,  // Ctrl-D
        '\x05' => Key::End,         // Ctrl-E
        '\x06' => Key::Right,       // Ctrl-F
        '\x0b' => Key::KillAfter,   // Ctrl-K
        '\x0c' => Key::ClearScreen, // Ctrl-L
        '\x0e' => Key::Down,        // Ctrl-N
        '\x10' => Key::Up,          // Ctrl-P
        '\x15' => Key::KillBefore,  // Ctrl-U
        '\x17' => Key::KillWord,    // Ctrl-W
        '\x19' => Key::Yank,        // Ctrl-Y
        _ => return None,
    })
}

/// The key that a sequence stands for. xterm ends its sequences with a letter; the VT220, the Linux
/// console, rxvt and others send a number and `~`. As modifiers, xterm sends 3 for Alt and 5 for Ctrl;
/// rxvt sends small letters instead.
fn sequence_key(sequence: Sequence, last: char) -> Option<Key> {
    if let Some(second) = sequence.second {
        return Some(match (second, last) {
            (3 | 5, 'C') => Key::WordRight,
            (3 | 5, 'D') => Key::WordLeft,
            (column, 'R') => Key::CursorAt(column),
            _ => return None,
        });
    }
    Some(match (sequence.number, last) {
        (0, 'c') => Key::WordRight,
        (0, 'd') => Key::WordLeft,
        (0, 'A') => Key::Up,
        (0, 'B') => Key::Down,
        (0, 'C') => Key::Right,
        (0, 'D') => Key::Left,
        (0, 'H') | (1 | 7, '~') => Key::Home,
        (0, 'F') | (4 | 8, '~') => Key::End,
        (3, '~') => Key::Delete,
        _ => return None,
    })
}

/// Decodes bytes into characters. Bytes that are not UTF-8 are dropped.
#[derive(Debug, Default)]
struct Utf8Decoder {
    /// An incomplete character, at most three bytes; the last place is for the next byte.
    bytes: [u8; 4],
    len: usize,
}

impl Utf8Decoder {
    /// The character that ends with this byte, if one does.
    fn next(&mut self, byte: u8) -> Option<char> {
        self.bytes[self.len] = byte;
        let len = self.len + 1;
        self.len = 0;
        match str::from_utf8(&self.bytes[..len]) {
            Ok(text) => text.chars().next(),
            Err(error) if error.error_len().is_none() => {
                self.len = len;
                None
            }
            // The character before stays incomplete and is dropped; this byte may begin another.
            Err(_) if len > 1 => self.next(byte),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::default();
        bytes
            .iter()
            .filter_map(|&byte| decoder.next(byte))
            .collect()
    }

    /// The keys of some bytes. An `x` after them must come out as itself, and is not returned.
    fn keys_before_x(bytes: &[u8]) -> Vec<Key> {
        let mut keys = keys(&[bytes, b"x"].concat());
        assert_eq!(keys.pop(), Some(Key::Char('x')), "{bytes:?}");
        keys
    }

    #[test]
    fn every_terminals_way_to_say_a_key_is_known() {
        let ways: [(Key, &[&[u8]]); 22] = [
            (Key::Enter, &[b"\n", b"\r"]),
            (Key::Backspace, &[b"\x7f", b"\x08"]),
            (Key::Delete, &[b"\x1b[3~"]),
            (Key::Left, &[b"\x1b[D", b"\x1bOD", b"\x02"]),
            (Key::Right, &[b"\x1b[C", b"\x1bOC", b"\x06"]),
            (Key::Up, &[b"\x1b[A", b"\x1bOA", b"\x10"]),
            (Key::Down, &[b"\x1b[B", b"\x1bOB", b"\x0e"]),
            (
                Key::Home,
                &[b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"\x1b[7~", b"\x01"],
            ),
            (
                Key::End,
                &[b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"\x1b[8~", b"\x05"],
            ),
            (Key::EndOfInput, &[b"\x04"]),
            (Key::KillBefore, &[b"\x15"]),
            (Key::KillAfter, &[b"\x0b"]),
            (Key::KillWord, &[b"\x17"]),
            (Key::KillWordLeft, &[b"\x1b\x7f", b"\x1b\x08"]),
            (Key::KillWordRight, &[b"\x1bd"]),
            (
                Key::WordLeft,
                &[b"\x1bb", b"\x1b[1;5D", b"\x1b[1;3D", b"\x1bOd"],
            ),
            (
                Key::WordRight,
                &[b"\x1bf", b"\x1b[1;5C", b"\x1b[1;3C", b"\x1bOc"],
            ),
            (Key::Yank, &[b"\x19"]),
            (Key::ClearScreen, &[b"\x0c"]),
            (Key::Char(' '), &[b"\t", b" "]),
            (Key::Char('é'), &["é".as_bytes()]),
            (Key::Char('界'), &["界".as_bytes()]),
        ];
        for (key, ways) in ways {
            for way in ways {
                assert_eq!(keys_before_x(way), [key], "{way:?}");
            }
        }
    }

    #[test]
    fn what_stands_for_no_key_is_swallowed_to_its_end() {
        for sequence in [
            "\x1b[15~",          // F5
            "\x1b[201~",         // the end of a paste that has not begun
            "\x1b[1;2C",         // Shift-Right
            "\x1b[1;5;7C",       // one parameter too many
            "\x1b[?1;2c",        // an answer: what kind of terminal this is
            "\x1b[99999999999A", // a number that is none
            "\x1b[3 ~",          // an intermediate character
            "\x1bOP",            // F1
            "\x1b[[A",           // F1 of the Linux console
            "\x1ba",             // Alt-a
            "\x1bé",             // Alt-é
            "\x1b(B",            // choose a character set
            "\x1b]11;rgb:0/0/0\x07",
            "\x1b]11;rgb:0/0/0\x1b\\",
            "\x1bP1$r0m\x1b\\",
            "\x1b_hidden é\x1b\\",
            "\0",
            "\x03",
            "\x1c",
            "\u{9b}", // CSI as one character: a control character like any other
        ] {
            assert_eq!(keys_before_x(sequence.as_bytes()), [], "{sequence:?}");
        }
    }

    #[test]
    fn a_control_character_ends_any_sequence_and_keeps_its_meaning() {
        for start in ["\x1b", "\x1b[", "\x1b[1", "\x1bO", "\x1b[[", "\x1b]0;title"] {
            assert_eq!(
                keys_before_x(format!("{start}\n").as_bytes()),
                [Key::Enter],
                "{start:?}"
            );
            assert_eq!(
                keys_before_x(format!("{start}\x1b[A").as_bytes()),
                [Key::Up],
                "{start:?}"
            );
        }
    }

    #[test]
    fn what_is_pasted_is_text() {
        let text = "a\tb\x04\x17\x1b[D\x1bb\u{9b}é";
        let mut decoded = keys(format!("\x1b[200~{text}\nc\x1b[201~\t\x17").as_bytes());
        assert_eq!(decoded.pop(), Some(Key::KillWord), "a key again");
        assert_eq!(decoded.pop(), Some(Key::Char(' ')), "a tab that was typed");
        let expected = "a\tbbé\nc".chars().map(|char| match char {
            '\n' => Key::Enter,
            char => Key::Char(char),
        });
        assert_eq!(decoded, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_terminal_tells_its_cursor() {
        assert_eq!(keys_before_x(b"\x1b[12;40R"), [Key::CursorAt(40)]);
    }

    #[test]
    fn bytes_that_are_no_character_are_left_out() {
        for (bytes, expected) in [
            (&b"\xff\x80a"[..], "a"),
            (b"\xc3a", "a"),
            (b"\xe7\x95a", "a"),
            (b"\xe7\x95\xc3\xa9", "é"),
            (b"\xf0\x9f\x98\xf0\x9f\x98\x80", "😀"),
            (b"\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80b", "b"),
        ] {
            let expected: Vec<Key> = expected.chars().map(Key::Char).collect();
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn text_is_itself_and_invalid_bytes_are_what_is_missing(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut decoder = Utf8Decoder::default();
            let decoded: String = bytes.iter().filter_map(|&byte| decoder.next(byte)).collect();
            let expected: String = bytes.utf8_chunks().map(|chunk| chunk.valid()).collect();
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn no_control_character_is_ever_a_character(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for key in keys(&bytes) {
                prop_assert!(!matches!(key, Key::Char(char) if char.is_control() && char != '\t'));
            }
        }
    }
}
