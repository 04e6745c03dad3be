//! The content of messages, and of the replies to them.
//!
//! A message is a function of its author and its number, so nothing is stored for comparing, and a
//! reply to another author, a second time or out of turn does not match. A message consists of the
//! letters a to p, half a byte in each: harmless on a terminal, one line of a chat, and work for an
//! upper-case server.
//!
//! The blocks of a message are an arithmetic progression of 64-bit words, shown as their half bytes,
//! first the lower ones and then the upper ones. Messages must differ; they need not look random. In
//! this way sixteen letters cost an addition and two masks, and a vector unit makes several blocks at
//! a time.
//!
//! A line of a chat carries its number and the time at which it was sent: the listener may be in
//! another thread than the author. The letters after these depend on both, and on the author: the
//! parts of a line that was changed on its way do not fit together.

use super::clock::Nanos;

/// The lower half of each byte of a word.
const HALF_BYTES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
/// Distance from each word to the next: odd, and with bits in each byte.
const STEP: u64 = 0x5851_f42d_4c95_7f2d;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Letters of one word.
const BLOCK: usize = 2 * WORD;

/// The case of a message's letters, as the number that is added to each byte of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    Small = 0x61,
    Capital = 0x41,
}

impl Letters {
    fn word(self) -> u64 {
        self as u64 * 0x0101_0101_0101_0101
    }
}

/// One message, of any length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    seed: u64,
    letters: u64,
}

impl Text {
    /// Message number `sequence` of an author. No two have the same seed as long as one author has
    /// fewer than 2⁴⁰.
    pub(super) fn new(author: u32, sequence: u64, letters: Letters) -> Text {
        let place = u64::from(author) << 40 ^ sequence;
        Text {
            seed: scatter(place),
            letters: letters.word(),
        }
    }

    /// This message, made dependent on one more number.
    pub(super) fn and(self, more: u64) -> Text {
        Text {
            seed: scatter(self.seed ^ more),
            ..self
        }
    }

    /// Writes the part of the message that begins at `offset`.
    pub(super) fn write(self, offset: usize, to: &mut [u8]) {
        let (mut next, before) = next_block(offset);
        let (head, body) = to.split_at_mut(before.min(to.len()));
        if !head.is_empty() {
            head.copy_from_slice(&self.block(next - 1)[BLOCK - before..][..head.len()]);
        }
        let (blocks, tail) = body.as_chunks_mut();
        for block in blocks {
            *block = self.block(next);
            next += 1;
        }
        tail.copy_from_slice(&self.block(next)[..tail.len()]);
    }

    /// Whether these bytes are the part of the message that begins at `offset`.
    pub(super) fn is(self, offset: usize, bytes: &[u8]) -> bool {
        let (mut next, before) = next_block(offset);
        let (head, body) = bytes.split_at(before.min(bytes.len()));
        let (blocks, tail) = body.as_chunks();
        // All differences are gathered and looked at once: the compiler makes vector instructions of a
        // loop without an exit.
        let mut difference = 0;
        for block in blocks {
            difference |= u128::from_le_bytes(*block) ^ u128::from_le_bytes(self.block(next));
            next += 1;
        }
        let is_head =
            || head == &self.block(next_block(offset).0 - 1)[BLOCK - before..][..head.len()];
        let is_tail = || tail == &self.block(next)[..tail.len()];
        difference == 0 && (head.is_empty() || is_head()) && (tail.is_empty() || is_tail())
    }

    fn block(self, index: usize) -> [u8; BLOCK] {
        let word = self.seed.wrapping_add(STEP.wrapping_mul(index as u64));
        let lower = (word & HALF_BYTES) + self.letters;
        let upper = (word >> 4 & HALF_BYTES) + self.letters;
        (u128::from(upper) << 64 | u128::from(lower)).to_le_bytes()
    }
}

/// The first block that begins at `offset` or later, and the number of bytes before it.
fn next_block(offset: usize) -> (usize, usize) {
    let next = offset.div_ceil(BLOCK);
    (next, next * BLOCK - offset)
}

/// Spreads a number over all 64 bits; no two numbers become the same one (`SplitMix64`).
pub(super) fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Letters of a number, see [`write_number`].
const NUMBER: usize = WORD;

/// Writes a number as eight small letters, the lowest half byte first.
fn write_number(number: u32, to: &mut [u8; NUMBER]) {
    let word = u64::from(number);
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word << 4) & HALF_BYTES;
    *to = (word + Letters::Small.word()).to_le_bytes();
}

/// Reads a number that [`write_number`] has written; `None` for any other letters.
fn read_number(letters: [u8; NUMBER]) -> Option<u32> {
    let word = u64::from_le_bytes(letters).wrapping_sub(Letters::Small.word()) & HALF_BYTES;
    let word = (word | word >> 4) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word >> 8) & 0x0000_ffff_0000_ffff;
    let number = (word | word >> 16) as u32;
    let mut expected = [0; NUMBER];
    write_number(number, &mut expected);
    (letters == expected).then_some(number)
}

/// The number of the line, and the time in two halves.
const HEAD: usize = 3 * NUMBER;
/// The shortest line: its head, enough to tell it from others, the newline.
pub(super) const LINE_MIN: usize = HEAD + NUMBER + 1;
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

    fn written(text: Text, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        text.write(offset, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_part_is_a_part_of_the_whole(sequence: u64, offset in 0..40_usize, len in 0..40_usize) {
            let text = Text::new(7, sequence, Letters::Small);
            let whole = written(text, 0, 80);
            let part = written(text, offset, len);
            prop_assert_eq!(&part, &whole[offset..offset + len]);
            prop_assert!(text.is(offset, &part));
        }

        #[test]
        fn every_changed_byte_is_noticed(sequence: u64, offset in 0..20_usize, len in 1..40_usize, at: prop::sample::Index, change in 1..=255_u8) {
            let text = Text::new(7, sequence, Letters::Capital);
            let mut part = written(text, offset, len);
            part[at.index(len)] ^= change;
            prop_assert!(!text.is(offset, &part));
        }

        #[test]
        fn numbers_are_letters_and_come_back(number: u32) {
            let mut letters = [0; NUMBER];
            write_number(number, &mut letters);
            prop_assert!(letters.iter().all(|letter| (b'a'..=b'p').contains(letter)));
            prop_assert_eq!(read_number(letters), Some(number));
        }

        #[test]
        fn other_characters_are_no_number(number: u32, at in 0..NUMBER, other: u8) {
            let mut letters = [0; NUMBER];
            write_number(number, &mut letters);
            letters[at] = other;
            let is_letter = (b'a'..=b'p').contains(&other);
            prop_assert_eq!(read_number(letters).is_some(), is_letter);
        }
    }

    #[test]
    fn messages_differ_by_author_and_number() {
        let mut seen = std::collections::HashSet::new();
        for author in 0..100 {
            for sequence in 0..100 {
                let text = Text::new(author, sequence, Letters::Small);
                assert!(seen.insert(written(text, 0, 16)));
                assert!(seen.insert(written(text.and(5), 0, 16)));
            }
        }
    }

    #[test]
    fn capitals_are_what_a_server_of_capitals_makes_of_small_letters() {
        let small = written(Text::new(3, 4, Letters::Small), 0, 100);
        assert!(small.iter().all(|letter| letter.is_ascii_lowercase()));
        let capital = written(Text::new(3, 4, Letters::Capital), 0, 100);
        assert_eq!(capital, small.to_ascii_uppercase());
    }

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
