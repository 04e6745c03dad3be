//! The part of Telnet that a server needs for clients of the program `telnet`: RFC 854 and RFC
//! 1123, section 3.2.
//!
//! In a Telnet stream the byte 255, IAC, begins a command, and all bytes outside commands are text.
//! [`Telnet::next`] tells them apart. The server supports none of the options, so it declines an
//! offer (WILL) with DONT, and a request (DO) with WONT. A refusal (WONT, DONT) confirms the
//! present state and gets no reply: two programs cannot go on refusing each other.
//!
//! In text, a carriage return is followed by a newline or by a NUL. Some clients send a NUL for the
//! Enter key, so it becomes a newline.
//!
//! A client that does not speak Telnet may send the byte 255 as well, in bytes that are not UTF-8.
//! So that it loses no line by that, an IAC before a byte that is no command is text, and a newline
//! is never an option.

use memchr::{memchr2, memchr3, memmem};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
/// The lowest command: EOF (RFC 1184).
const FIRST_COMMAND: u8 = 236;

/// Most replies to offers and requests of one client: more than any client has options, and a bound
/// on the replies that a client can cause.
const ANSWERS_MAX: u8 = 64;
/// Longest subnegotiation that is skipped, in bytes. A longer one has lost its end, and the bytes
/// that follow are text again.
const SUBNEGOTIATION_MAX: u16 = 1024;

/// A part of a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text, to the end of a line at the most.
    Text(&'a [u8]),
    /// A command; these bytes are the reply to it.
    Answer([u8; 3]),
}

/// The place in a client's stream. A client that never sends an IAC never leaves [`State::Text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// IAC was read.
    Command,
    /// IAC and WILL, WONT, DO or DONT were read: the option is next.
    Verb(u8),
    /// Between IAC SB and IAC SE, after this number of bytes.
    Subnegotiation(u16),
    /// Between IAC SB and IAC SE, an IAC was read.
    SubnegotiationCommand(u16),
}

/// The state of one Telnet client between two reads.
///
/// ```
/// use edgeloop::telnet::{Part, Telnet};
///
/// let (mut telnet, mut bytes) = (Telnet::default(), &b"hello\n\xff\xfb\x01you"[..]);
/// assert_eq!(telnet.next(&mut bytes), Some(Part::Text(b"hello\n")));
/// assert_eq!(telnet.next(&mut bytes), Some(Part::Answer(*b"\xff\xfe\x01")));
/// assert_eq!(telnet.next(&mut bytes), Some(Part::Text(b"you")));
/// assert_eq!(telnet.next(&mut bytes), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telnet {
    state: State,
    answered: u8,
    /// The last byte of text was a carriage return.
    after_cr: bool,
}

impl Telnet {
    /// Takes the next part off the front of `bytes`, which may begin and end anywhere in a command.
    /// `None` when none is left.
    ///
    /// Text is handed out without a copy.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Text if byte != IAC => return Some(Part::Text(self.take_text(bytes))),
                // The IAC began no command, and this byte belongs to the text again.
                State::Command if byte < FIRST_COMMAND => {
                    (self.state, self.after_cr) = (State::Text, false);
                    return Some(Part::Text(&[IAC]));
                }
                State::Verb(_) if byte == b'\n' => self.state = State::Text,
                _ => {
                    *bytes = rest;
                    if let Some(part) = self.take_byte(byte) {
                        return Some(part);
                    }
                }
            }
        }
        None
    }

    /// Text, as far as it goes without a closer look: to the end of the line, or before an IAC or the NUL
    /// of an Enter key; or that NUL by itself.
    fn take_text<'a>(&mut self, bytes: &mut &'a [u8]) -> &'a [u8] {
        if self.after_cr && bytes.first() == Some(&0) {
            self.after_cr = false;
            *bytes = &bytes[1..];
            return b"\n";
        }
        let len = match memchr3(b'\n', IAC, 0, bytes) {
            Some(at) if bytes[at] == b'\n' => at + 1,
            Some(at) if bytes[at] == 0 => text_with_nuls(bytes),
            Some(at) => at,
            None => bytes.len(),
        };
        let (text, rest) = bytes.split_at(len);
        *bytes = rest;
        self.after_cr = text.ends_with(b"\r");
        text
    }

    /// Takes one byte of a command.
    fn take_byte(&mut self, byte: u8) -> Option<Part<'static>> {
        let (next, part) = match (self.state, byte) {
            (State::Text, _) => (State::Command, None),
            // Two IACs stand for the byte 255.
            (State::Command, IAC) => {
                self.after_cr = false;
                (State::Text, Some(Part::Text(&[IAC])))
            }
            (State::Command, WILL..=DONT) => (State::Verb(byte), None),
            (State::Command, SB) => (State::Subnegotiation(0), None),
            (State::Verb(verb), option) => (State::Text, self.refusal(verb, option)),
            (State::Subnegotiation(skipped), IAC) => (State::SubnegotiationCommand(skipped), None),
            // Other commands, as "interrupt process", do not concern a server without a terminal.
            (State::Command, _) | (State::SubnegotiationCommand(_), SE) => (State::Text, None),
            (State::Subnegotiation(skipped) | State::SubnegotiationCommand(skipped), _) => {
                match skipped + 1 {
                    SUBNEGOTIATION_MAX => (State::Text, None),
                    skipped => (State::Subnegotiation(skipped), None),
                }
            }
        };
        self.state = next;
        part
    }

    fn refusal(&mut self, verb: u8, option: u8) -> Option<Part<'static>> {
        let refusal = match verb {
            WILL => DONT,
            DO => WONT,
            _ => return None,
        };
        if self.answered == ANSWERS_MAX {
            return None;
        }
        self.answered += 1;
        Some(Part::Answer([IAC, refusal, option]))
    }

    /// Whether the last byte of text was a carriage return.
    #[must_use]
    pub fn is_after_cr(&self) -> bool {
        self.after_cr
    }

    /// Whether the state is that of a new client.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Telnet::default()
    }
}

/// The length of a text that has NULs in it: a NUL after a CR is the next text, any other is no more than
/// a byte.
fn text_with_nuls(bytes: &[u8]) -> usize {
    let len = match memchr2(b'\n', IAC, bytes) {
        Some(at) => at + usize::from(bytes[at] == b'\n'),
        None => bytes.len(),
    };
    let enter = memmem::find(&bytes[..len], b"\r\0");
    enter.map_or(len, |cr| cr + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts of the input when it comes in chunks of this size: text with the answers in
    /// their places, each in brackets.
    fn parts(input: &[u8], chunk: usize) -> Vec<u8> {
        let (mut telnet, mut seen) = (Telnet::default(), Vec::new());
        for mut bytes in input.chunks(chunk) {
            while let Some(part) = telnet.next(&mut bytes) {
                match part {
                    Part::Text(text) => seen.extend(text),
                    Part::Answer(answer) => seen.extend([&b"<"[..], &answer, b">"].concat()),
                }
            }
        }
        seen
    }

    #[test]
    fn text_passes_and_commands_do_not() {
        for (input, expected) in [
            (&b"hello"[..], &b"hello"[..]),
            (b"a\xff\xf6b\xff\xf1c", b"abc"),
            (b"a\xff\xecb\xff\xebc", b"ab\xff\xebc"),
            (b"a\xff\xffb", b"a\xffb"),
            (b"a\xff\xfa\x1f\x00\x0a\x00\x18\xff\xf0b", b"ab"),
            (b"a\xff\xfa\x01\xff\xff\x02\xff\xf0b", b"ab"),
            (
                b"x\xff\xfb\x01y\xff\xfd\x03",
                b"x<\xff\xfe\x01>y<\xff\xfc\x03>",
            ),
            (b"\xff\xfc\x01\xff\xfe\x03x", b"x"),
            (b"\xff", b""),
            (b"a\r\0b\0c\r\n\r\xff\xf1\0d", b"a\r\nb\0c\r\n\r\nd"),
            (b"\r\0\0\r\xff\xff\0", b"\r\n\0\r\xff\0"),
        ] {
            for chunk in 1..=input.len() {
                assert_eq!(parts(input, chunk), expected, "{input:?} by {chunk}");
            }
        }
    }

    #[test]
    fn who_speaks_no_telnet_loses_no_line() {
        for (input, expected) in [
            (&b"\xff\nb"[..], &b"\xff\nb"[..]),
            (b"caf\xff\xe9\n", b"caf\xff\xe9\n"),
            (b"\xff\xfe\nb\n", b"\nb\n"),
            (b"\xff\xfd\nb\n", b"\nb\n"),
            (b"\r\xff\0", b"\r\xff\0"),
        ] {
            for chunk in 1..=input.len() {
                assert_eq!(parts(input, chunk), expected, "{input:?} by {chunk}");
            }
        }
    }

    #[test]
    fn text_is_handed_out_line_by_line_and_not_copied() {
        let input = &b"one\ntwo\n\nthree"[..];
        let (mut telnet, mut bytes, mut at) = (Telnet::default(), input, 0);
        for line in [&b"one\n"[..], b"two\n", b"\n", b"three"] {
            let part = telnet.next(&mut bytes);
            assert_eq!(part, Some(Part::Text(line)));
            let Some(Part::Text(text)) = part else {
                continue;
            };
            assert_eq!(text.as_ptr(), input[at..].as_ptr());
            at += text.len();
        }
        assert_eq!((telnet.next(&mut bytes), telnet.is_idle()), (None, true));
    }

    #[test]
    fn what_a_client_can_make_us_say_and_skip_is_bounded() {
        let flood = b"\xff\xfb\x01".repeat(100_000);
        let seen = parts(&flood, 1000);
        assert_eq!(seen, b"<\xff\xfe\x01>".repeat(usize::from(ANSWERS_MAX)));
        let endless = [b"\xff\xfa".to_vec(), vec![b'x'; 5000]].concat();
        let text = parts(&endless, 7);
        assert_eq!(text.len(), 5000 - usize::from(SUBNEGOTIATION_MAX));
    }

    proptest! {
        #[test]
        fn segments_do_not_matter(
            input in prop::collection::vec(
                prop_oneof![Just(IAC), Just(0), Just(b'\r'), Just(b'\n'), 240..=255u8, any::<u8>()], 0..300),
            chunk in 1..40usize,
        ) {
            prop_assert_eq!(parts(&input, chunk), parts(&input, usize::MAX));
        }

        #[test]
        fn without_iac_and_nul_nothing_changes(input in prop::collection::vec(1..255u8, 0..300)) {
            prop_assert_eq!(parts(&input, 16), input);
        }

        #[test]
        fn every_newline_outside_of_a_subnegotiation_ends_a_line(
            input in prop::collection::vec(
                prop_oneof![Just(IAC), Just(b'\n'), WILL..=IAC, any::<u8>()], 0..300)
        ) {
            let newlines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count();
            let input: Vec<u8> = input.into_iter().filter(|byte| ![SB, b'\r'].contains(byte)).collect();
            // Answers hold no newline: it is never an option.
            prop_assert_eq!(newlines(&parts(&input, 16)), newlines(&input));
        }
    }
}
