//! The content of a line: its author, its number, the time at which it was sent.
//!
//! The listener may be in another thread than the author, so the line itself carries the time. The
//! letters after number and time depend on both, and on the author: the parts of a line that was
//! changed on its way do not fit together.

use crate::load::clock::Nanos;
use crate::load::content::{Letters, NUMBER, Text, read_number, write_number};

/// The number of the line, and the time in two halves.
const HEAD: usize = 3 * NUMBER;
/// The shortest line: its head, enough to tell it from others, the newline.
pub(in crate::load) const LINE_MIN: usize = HEAD + NUMBER + 1;
/// Digits of the longest number of a member.
const DIGITS_MAX: usize = 10;

/// A line that a member said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The number of the member.
    pub(super) author: u32,
    /// The number of the line among those of this member.
    pub(super) number: u32,
    /// The time at which it was sent, or planned.
    pub(super) sent: Nanos,
}

/// A line as a listener understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A member of this run has said this.
    Line(Said),
    /// This member of the run has said something else.
    Garbled(u32),
    /// The line is of no member of this run.
    Others,
}

/// The names and lines of this run.
#[derive(Debug)]
pub(super) struct Speech {
    /// The beginning of all names.
    family: String,
    /// The beginning of all lines as they are heard.
    opening: String,
    /// Bytes of a line as it is sent, with its newline.
    size: usize,
}

impl Speech {
    /// For lines of `size` bytes. No other run in the same chat may have this run's id.
    pub(super) fn new(run: u32, size: usize) -> Speech {
        let family = format!("e{run:x}n");
        Speech {
            opening: format!("[{family}"),
            family,
            size,
        }
    }

    /// The longest line of this run as it is heard, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.opening.len() + DIGITS_MAX + 2 + self.size
    }

    /// Appends the name of a member: up to 16 letters and digits, which every such server allows.
    pub(super) fn name(&self, number: u32, to: &mut Vec<u8>) {
        to.extend_from_slice(self.family.as_bytes());
        to.extend_from_slice(number.to_string().as_bytes());
    }

    /// Appends a line as it is sent.
    pub(super) fn write(&self, said: Said, to: &mut Vec<u8>) {
        let mut head = [[0; NUMBER]; HEAD / NUMBER];
        let numbers = [said.number, said.sent as u32, (said.sent >> 32) as u32];
        for (letters, number) in head.iter_mut().zip(numbers) {
            write_number(number, letters);
        }
        let start = to.len();
        to.extend_from_slice(head.as_flattened());
        to.resize(start + self.size - 1, 0);
        text(said).write(0, &mut to[start + HEAD..]);
        to.push(b'\n');
    }

    /// Reads a line as it is heard, without its newline.
    pub(super) fn read(&self, line: &[u8]) -> Heard {
        let Some((author, line)) = self.author(line) else {
            return Heard::Others;
        };
        match self.text(author, line) {
            Some(said) => Heard::Line(said),
            None => Heard::Garbled(author),
        }
    }

    /// The line that an author has said, if the parts fit together.
    fn text(&self, author: u32, line: &[u8]) -> Option<Said> {
        let [number, low, high, ..] = *line.as_chunks().0 else {
            return None;
        };
        let (low, high) = (read_number(low)?, read_number(high)?);
        let said = Said {
            author,
            number: read_number(number)?,
            sent: Nanos::from(high) << 32 | Nanos::from(low),
        };
        let fits = line.len() == self.size - 1 && text(said).is(0, &line[HEAD..]);
        fits.then_some(said)
    }

    /// Takes the author off the beginning of a line; `None` if that is no member of this run.
    fn author<'a>(&self, line: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let line = line.strip_prefix(self.opening.as_bytes())?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = line[..digits].iter().fold(0u64, |number, digit| {
            let tenfold = number.saturating_mul(10);
            tenfold.saturating_add(u64::from(digit - b'0'))
        });
        let text = line[digits..].strip_prefix(b"] ")?;
        Some((u32::try_from(number).ok()?, text))
    }
}

/// The letters after the head of a line.
fn text(said: Said) -> Text {
    Text::new(said.author, said.number.into(), Letters::Small).and(said.sent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAID: Said = Said {
        author: 17,
        number: 4_000_000_000,
        sent: 0x0123_4567_89ab_cdef,
    };

    /// A line as a chat passes it on, without its newline.
    fn passed_on(speech: &Speech, said: Said) -> Vec<u8> {
        let mut line = b"[".to_vec();
        speech.name(said.author, &mut line);
        line.extend_from_slice(b"] ");
        speech.write(said, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(line.len() <= speech.longest());
        line
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(author: u32, number: u32, sent: u64, size in LINE_MIN..200) {
            let (speech, said) = (Speech::new(0xabc, size), Said { author, number, sent });
            prop_assert_eq!(speech.read(&passed_on(&speech, said)), Heard::Line(said));
        }

        #[test]
        fn a_line_that_was_changed_is_not_taken_for_what_was_said(at: prop::sample::Index, change in 1..=255_u8) {
            let speech = Speech::new(0xabc, 64);
            let mut line = passed_on(&speech, SAID);
            let at = at.index(line.len());
            line[at] ^= change;
            prop_assert!(!matches!(speech.read(&line), Heard::Line(_)));
        }

        #[test]
        fn anything_may_be_heard(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let speech = Speech::new(0xabc, 64);
            prop_assert_eq!(speech.read(&line), Heard::Others);
            let ours = [b"[eabcn5] ", &line[..]].concat();
            prop_assert_eq!(speech.read(&ours), Heard::Garbled(5));
        }
    }

    #[test]
    fn a_part_of_a_line_is_garbled_and_others_are_not_ours() {
        let speech = Speech::new(0xabc, 64);
        let line = passed_on(&speech, SAID);
        for length in 12..line.len() {
            assert_eq!(speech.read(&line[..length]), Heard::Garbled(17));
        }
        let more = [&line[..], b"a"].concat();
        assert_eq!(speech.read(&more), Heard::Garbled(17));
        let many_digits = format!("[eabcn{}] x", "9".repeat(30));
        for others in [
            "* bob has entered the room",
            "[bob] hi",
            "[eabcnx] hi",
            &many_digits,
        ] {
            assert_eq!(speech.read(others.as_bytes()), Heard::Others, "{others}");
        }
    }

    #[test]
    fn names_are_of_the_kind_that_every_chat_allows() {
        let mut name = Vec::new();
        // The highest process id that Linux has (proc(5), pid_max), and a million members.
        Speech::new(1 << 22, 64).name(1_000_000, &mut name);
        assert!(name.len() <= 16 && name.iter().all(u8::is_ascii_alphanumeric));
    }
}
