//! Telnet, as far as it takes to be reached with `telnet`: RFC 854 and RFC 1123, section 3.2.
//!
//! In a Telnet stream the byte 255, IAC, begins a command, and all that is not part of one is text.
//! [`Telnet::filter`] takes the commands out. We speak none of the options, so an offer (WILL) is
//! declined with DONT, and a request (DO) with WONT. A refusal (WONT, DONT) only says what is so
//! already and is not answered: no two programs can go on refusing each other.
//!
//! In text, a carriage return is followed by a newline or by a NUL. Some clients send the latter
//! for the Enter key, so it becomes the former.

use memchr::memchr2;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// How many offers and requests of one client are answered: more than any has options to ask for,
/// and a bound on what it can make us say.
const ANSWERS_MAX: u8 = 64;
/// The longest subnegotiation that is skipped. A longer one has lost its end, and what follows is
/// taken for text again.
const SUBNEGOTIATION_MAX: u16 = 1024;

/// Where in a client's stream we are. Who never sends an IAC never leaves [`State::Text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// IAC was read.
    Command,
    /// IAC and WILL, WONT, DO or DONT were read: the option is next.
    Verb(u8),
    /// Between IAC SB and IAC SE, so many bytes of it.
    Subnegotiation(u16),
    /// An IAC was read there.
    SubnegotiationCommand(u16),
}

/// What is remembered of one Telnet client between two reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telnet {
    state: State,
    answered: u8,
    /// The last byte of text was a carriage return.
    after_cr: bool,
}

impl Telnet {
    /// Removes the commands from `bytes`, which may begin and end anywhere in one, and returns how
    /// many bytes of text are left, at the front. What is to be answered is appended to `answer`.
    ///
    /// Text without IAC and NUL is looked at once and not moved.
    pub fn filter(&mut self, bytes: &mut [u8], answer: &mut Vec<u8>) -> usize {
        let first = match self.state {
            State::Text => memchr2(IAC, 0, bytes).unwrap_or(bytes.len()),
            _ => 0,
        };
        if let Some(last) = bytes[..first].last() {
            self.after_cr = *last == b'\r';
        }
        let mut kept = first;
        for index in first..bytes.len() {
            if let Some(text) = self.take(bytes[index], answer) {
                let enter = self.after_cr && text == 0;
                bytes[kept] = if enter { b'\n' } else { text };
                self.after_cr = text == b'\r';
                kept += 1;
            }
        }
        kept
    }

    /// One byte; `Some` if it is text.
    fn take(&mut self, byte: u8, answer: &mut Vec<u8>) -> Option<u8> {
        let (next, text) = match (self.state, byte) {
            (State::Text, IAC) => (State::Command, None),
            (State::Text, text) => (State::Text, Some(text)),
            // Two of them stand for the byte itself.
            (State::Command, IAC) => (State::Text, Some(IAC)),
            (State::Command, WILL..=DONT) => (State::Verb(byte), None),
            (State::Command, SB) => (State::Subnegotiation(0), None),
            (State::Verb(verb), option) => {
                self.refuse(verb, option, answer);
                (State::Text, None)
            }
            (State::Subnegotiation(skipped), IAC) => (State::SubnegotiationCommand(skipped), None),
            // Other commands, as "interrupt process", are nothing that concerns us.
            (State::Command, _) | (State::SubnegotiationCommand(_), SE) => (State::Text, None),
            (State::Subnegotiation(skipped) | State::SubnegotiationCommand(skipped), _) => {
                match skipped + 1 {
                    SUBNEGOTIATION_MAX => (State::Text, None),
                    skipped => (State::Subnegotiation(skipped), None),
                }
            }
        };
        self.state = next;
        text
    }

    fn refuse(&mut self, verb: u8, option: u8, answer: &mut Vec<u8>) {
        let refusal = match verb {
            WILL => DONT,
            DO => WONT,
            _ => return,
        };
        if self.answered < ANSWERS_MAX {
            self.answered += 1;
            answer.extend([IAC, refusal, option]);
        }
    }

    /// Whether nothing has to be remembered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Telnet::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text and answers, when the input comes in chunks of this size.
    fn filtered(input: &[u8], chunk: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut telnet, mut text, mut answer) = (Telnet::default(), Vec::new(), Vec::new());
        for bytes in input.chunks(chunk) {
            let mut bytes = bytes.to_vec();
            let kept = telnet.filter(&mut bytes, &mut answer);
            text.extend(&bytes[..kept]);
        }
        (text, answer)
    }

    #[test]
    fn text_passes_and_commands_do_not() {
        for (input, text, answer) in [
            (&b"hello"[..], &b"hello"[..], &b""[..]),
            (b"a\xff\xf6b\xff\xf1c", b"abc", b""),
            (b"a\xff\xffb", b"a\xffb", b""),
            (b"a\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0b", b"ab", b""),
            (b"a\xff\xfa\x01\xff\xff\x02\xff\xf0b", b"ab", b""),
            (
                b"\xff\xfb\x01\xff\xfd\x03x",
                b"x",
                b"\xff\xfe\x01\xff\xfc\x03",
            ),
            (b"\xff\xfc\x01\xff\xfe\x03x", b"x", b""),
            (b"\xff", b"", b""),
            (b"a\r\0b\0c\r\n\r\xff\xf1\0d", b"a\r\nb\0c\r\n\r\nd", b""),
        ] {
            let expected = (text.to_vec(), answer.to_vec());
            for chunk in 1..=input.len() {
                assert_eq!(filtered(input, chunk), expected, "{input:?} by {chunk}");
            }
        }
    }

    #[test]
    fn what_a_client_can_make_us_say_and_skip_is_bounded() {
        let flood = b"\xff\xfb\x01".repeat(100_000);
        let (text, answer) = filtered(&flood, 1000);
        assert!(text.is_empty());
        assert_eq!(answer.len(), 3 * usize::from(ANSWERS_MAX));
        let endless = [b"\xff\xfa".to_vec(), vec![b'x'; 5000]].concat();
        let (text, _) = filtered(&endless, 7);
        assert_eq!(text.len(), 5000 - usize::from(SUBNEGOTIATION_MAX));
    }

    proptest! {
        #[test]
        fn segments_do_not_matter(
            input in prop::collection::vec(prop_oneof![Just(IAC), Just(0), Just(b'\r'), 240..=255u8, any::<u8>()], 0..300),
            chunk in 1..40usize,
        ) {
            prop_assert_eq!(filtered(&input, chunk), filtered(&input, usize::MAX));
        }

        #[test]
        fn without_iac_and_nul_nothing_changes(input in prop::collection::vec(1..255u8, 0..300)) {
            prop_assert_eq!(filtered(&input, 16), (input.clone(), Vec::new()));
        }
    }
}
