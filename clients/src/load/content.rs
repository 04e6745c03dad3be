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
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Letters of a number, see [`write_number`].
pub(super) const NUMBER: usize = WORD;

/// Writes a number as eight small letters, the lowest half byte first.
pub(super) fn write_number(number: u32, to: &mut [u8; NUMBER]) {
    let word = u64::from(number);
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word << 4) & HALF_BYTES;
    *to = (word + Letters::Small.word()).to_le_bytes();
}

/// Reads a number that [`write_number`] has written; `None` for any other letters.
pub(super) fn read_number(letters: [u8; NUMBER]) -> Option<u32> {
    let word = u64::from_le_bytes(letters).wrapping_sub(Letters::Small.word()) & HALF_BYTES;
    let word = (word | word >> 4) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word >> 8) & 0x0000_ffff_0000_ffff;
    let number = (word | word >> 16) as u32;
    let mut expected = [0; NUMBER];
    write_number(number, &mut expected);
    (letters == expected).then_some(number)
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
}
