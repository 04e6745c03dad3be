//! Text from the network, made harmless for a terminal or a log.
//!
//! A terminal obeys the bytes that are written to it: a stranger's bytes can clear it, retitle it,
//! overwrite the line above, or make it type. And text that is reordered, or holds invisible
//! characters, misleads its reader. So characters that can do this are *shown*, as an escape in
//! Rust's style, rather than sent:
//!
//! | Characters | Shown as | Reason |
//! |---|---|---|
//! | C0 but tab and newline; DEL | `\x1b`, `\r` | controls, which the terminal obeys |
//! | U+0080–9F | `\u{9b}` | C1 controls, too: U+009B is `ESC [` in one character |
//! | Bytes that are not UTF-8 | `\xff` | C1 as raw bytes; programs disagree about the rest |
//! | U+061C, 200E–F, 202A–E, 2066–9 | `\u{202e}` | bidirectional controls reorder the text |
//! | U+2028–9 | `\u{2028}` | separators: one line is read as two |
//! | U+00AD, 2060–F, FEFF | `\u{ad}` | not seen, and no script needs them |
//! | U+FFF9–B | `\u{fff9}` | annotations: part of the text is set aside |
//! | U+E0000–FFF but E0100–EF | `\u{e0041}` | tags, and reserved characters: an invisible text |
//!
//! All else passes: every script, emoji, blanks of all kinds, and the invisible characters that a
//! script or an emoji is written with: the joiners U+200C and U+200D, the zero-width space U+200B
//! between the words of Khmer and Thai, and the variation selectors. To show tags costs the flags
//! of England, Scotland and Wales. This module does not decide whether two names look alike: Latin
//! and Cyrillic have letters that do.
//!
//! A backslash stays as it is, so a sender can write `\x1b` in four characters. The result is for
//! reading; it cannot be turned back.

use std::ascii;

/// Bytes tested together: few enough that a single unusual character slows little down.
const BLOCK: usize = 64;

/// Makes one stream of text harmless, however it is cut into pieces.
///
/// `\n` and tab pass, `\r\n` becomes `\n`.
///
/// ```
/// use edgeloop::harmless::Harmless;
///
/// let (mut harmless, mut out) = (Harmless::default(), Vec::new());
/// harmless.feed(b"caf\xc3", &mut out);
/// harmless.feed(b"\xa9 \x1b[2J\r\n", &mut out);
/// harmless.finish(&mut out);
/// assert_eq!(out, "café \\x1b[2J\n".as_bytes());
/// ```
#[derive(Debug, Default)]
pub struct Harmless {
    /// The beginning of a character, or of `\r\n`.
    held: [u8; 3],
    held_len: u8,
}

impl Harmless {
    /// Takes in bytes as they arrived, and appends harmless text to `out`.
    ///
    /// The beginning of a character or of `\r\n` is held back until it is known what it becomes.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for block in bytes.chunks(BLOCK) {
            if self.held_len == 0 && is_plain(block) {
                out.extend_from_slice(block);
            } else {
                self.feed_block(block, out);
            }
        }
    }

    /// The end of the stream: bytes that were held back are shown as invalid. Bytes fed after this
    /// are a new stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend(self.held().iter().copied().flat_map(ascii::escape_default));
        self.held_len = 0;
    }

    fn feed_block(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let bytes = [self.held(), block].concat();
        let (finished, unfinished) = bytes.split_at(bytes.len() - unfinished_len(&bytes));
        show(finished, false, usize::MAX, out);
        self.held[..unfinished.len()].copy_from_slice(unfinished);
        self.held_len = unfinished.len() as u8;
    }

    fn held(&self) -> &[u8] {
        &self.held[..usize::from(self.held_len)]
    }
}

/// A line or a name in one piece, made harmless as by [`Harmless`], with newlines shown too, so
/// that the result is one line.
///
/// ```
/// use edgeloop::harmless::harmless;
///
/// assert_eq!(harmless(b"eve\n\x1b[1Aroot"), "eve\\n\\x1b[1Aroot");
/// ```
#[must_use]
pub fn harmless(text: &[u8]) -> String {
    let mut shown = Vec::new();
    harmless_up_to(text, usize::MAX, &mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

/// As [`harmless`], appended to `out` in at most `max` bytes; false if something was left out. The
/// result is never cut within a character or an escape. The time is bounded by `max`, not by the
/// text.
///
/// ```
/// use edgeloop::harmless::harmless_up_to;
///
/// let mut out = b"> ".to_vec();
/// assert!(!harmless_up_to(b"ab\x1b", 5, &mut out));
/// assert_eq!(out, b"> ab");
/// assert!(harmless_up_to(b"\x1b", 4, &mut out));
/// assert_eq!(out, b"> ab\\x1b");
/// ```
pub fn harmless_up_to(text: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    if text.len() <= max && is_plain(text) && !text.contains(&b'\n') {
        out.extend_from_slice(text);
        return true;
    }
    // Nothing is shown in fewer bytes than it came in, so there is room for the first `max` bytes
    // at most; one more tells that they are not all.
    let text = &text[..text.len().min(max.saturating_add(1))];
    show(text, true, out.len().saturating_add(max), out)
}

/// Whether all bytes are printable ASCII, tab or newline. There is no early exit, so that the
/// compiler can test many bytes at once.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| {
        plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n')
    })
}

/// Number of bytes at the end that may yet become a character, or `\r\n`.
fn unfinished_len(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\r") {
        return 1;
    }
    let begins_a_character = |len: &usize| {
        str::from_utf8(&bytes[bytes.len() - len..]).is_err_and(|error| error.error_len().is_none())
    };
    (1..=bytes.len().min(3))
        .find(begins_a_character)
        .unwrap_or(0)
}

/// Appends `bytes` to `out` as they may be shown, until `out` would become longer than `max`; says
/// whether it did not. Newlines are shown too if `one_line`.
fn show(bytes: &[u8], one_line: bool, max: usize, out: &mut Vec<u8>) -> bool {
    bytes.utf8_chunks().all(|chunk| {
        let mut invalid = chunk.invalid().iter();
        show_text(chunk.valid(), one_line, max, out)
            && invalid.all(|&byte| append(ascii::escape_default(byte), max, out))
    })
}

/// The part of [`show`] for valid UTF-8.
fn show_text(mut text: &str, one_line: bool, max: usize, out: &mut Vec<u8>) -> bool {
    let is_special = |char| must_be_shown(char) || (one_line && char == '\n');
    while let Some(at) = text.find(is_special) {
        let (plain, rest) = text.split_at(at);
        let mut chars = rest.chars();
        let special = chars.next().unwrap_or_default();
        text = chars.as_str();
        let fits = append_text(plain, max, out)
            && match special {
                '\r' if text.starts_with('\n') => true,
                '\0'..='\x7f' => append(ascii::escape_default(special as u8), max, out),
                _ => append(special.escape_unicode().map(|char| char as u8), max, out),
            };
        if !fits {
            return false;
        }
    }
    append_text(text, max, out)
}

/// Appends as many characters of `text` as fit, and says whether all did.
fn append_text(text: &str, max: usize, out: &mut Vec<u8>) -> bool {
    let room = max - out.len();
    let fits = text.len() <= room;
    let len = if fits {
        text.len()
    } else {
        (0..=room)
            .rfind(|&len| text.is_char_boundary(len))
            .unwrap_or(0)
    };
    out.extend_from_slice(&text.as_bytes()[..len]);
    fits
}

/// Appends all of `escape` if it fits, and says whether it did.
fn append(escape: impl ExactSizeIterator<Item = u8>, max: usize, out: &mut Vec<u8>) -> bool {
    let fits = escape.len() <= max - out.len();
    if fits {
        out.extend(escape);
    }
    fits
}

/// The table above, bytes that are not UTF-8 apart.
pub(crate) fn must_be_shown(char: char) -> bool {
    // Most text needs no more than this.
    if matches!(char, ' '..='~') {
        return false;
    }
    matches!(
        char,
        '\0'..='\x08'
            | '\x0b'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e00ff}'
            | '\u{e01f0}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::size_of;

    use proptest::char::range;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Gives each chunk to one `Harmless`, then the end.
    fn stream<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut harmless, mut out) = (Harmless::default(), Vec::new());
        for chunk in chunks {
            harmless.feed(chunk, &mut out);
        }
        harmless.finish(&mut out);
        out
    }

    const SPECIAL: &[&str] = &[
        "\r",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\x1b[31m",
        "\\x1b",
        "\u{9b}",
        "\u{202e}",
        "\u{feff}",
        "\u{e0041}",
        "é",
        "漢",
        "👩\u{200d}🚀",
    ];

    /// Long enough for several blocks, and rich in what is special.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let bytes = |char: char| char.to_string().into_bytes();
        let part = prop_oneof![
            3 => select(SPECIAL).prop_map(|text| text.as_bytes().to_vec()),
            2 => "[ -~]{0,100}".prop_map(String::into_bytes),
            2 => any::<char>().prop_map(bytes),
            2 => any::<char>().prop_map(move |char| bytes(char)[1..].to_vec()),
            2 => any::<char>().prop_map(move |char| bytes(char)[..char.len_utf8() - 1].to_vec()),
            1 => vec(any::<u8>(), 0..4),
        ];
        vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    /// Ordinary text, from blocks of Unicode that hold nothing else.
    fn ordinary() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            4 => range(' ', '~'),
            1 => select(&['\n', '\t', '\u{200b}', '\u{200c}', '\u{200d}', '\u{fe0f}', '\u{e0100}'][..]),
            1 => range('\u{ae}', '\u{377}'),
            1 => range('А', 'я'),
            1 => range('א', 'ת'),
            1 => range('ء', 'ي'),
            1 => range('अ', 'ह'),
            1 => range('ក', 'អ'),
            1 => range('一', '龥'),
            1 => range('가', '힣'),
            1 => range('🌀', '🙏'),
        ];
        vec(char, 0..100).prop_map(String::from_iter)
    }

    // `tests/properties` has those properties that its fuzzer also looks for: cuts of a stream do not
    // matter, the result is text that no terminal obeys, and harmless text stays as it is.
    proptest! {
        #[test]
        fn ordinary_text_passes_unchanged(text in ordinary()) {
            prop_assert_eq!(stream([text.as_bytes()]), text.as_bytes());
            prop_assert_eq!(harmless(text.as_bytes()), text.replace('\n', "\\n"));
        }

        #[test]
        fn one_piece_is_shown_like_a_stream_but_for_newlines(input in hostile()) {
            let streamed = String::from_utf8(stream([&input[..]])).unwrap();
            prop_assert_eq!(harmless(&input), streamed.replace('\n', "\\n"));
        }

        #[test]
        fn as_much_as_fits_is_shown_and_nothing_in_part(mut input in hostile()) {
            input.truncate(50);
            let whole = harmless(&input);
            let ends: BTreeSet<usize> = (0..=input.len())
                .map(|len| harmless(&input[..len]))
                .filter(|shown| whole.starts_with(shown.as_str()))
                .map(|shown| shown.len())
                .collect();
            for max in 0..whole.len() + 2 {
                let mut out = b"before".to_vec();
                let all = harmless_up_to(&input, max, &mut out);
                let shown = &out[b"before".len()..];
                prop_assert!(whole.as_bytes().starts_with(shown));
                prop_assert_eq!(Some(&shown.len()), ends.range(..=max).next_back());
                prop_assert_eq!(all, shown.len() == whole.len());
            }
        }
    }

    #[test]
    fn the_table_is_kept_to_its_edges() {
        for (first, last) in [
            ('\u{7f}', '\u{9f}'),
            ('\u{ad}', '\u{ad}'),
            ('\u{61c}', '\u{61c}'),
            ('\u{200e}', '\u{200f}'),
            ('\u{2028}', '\u{202e}'),
            ('\u{2060}', '\u{206f}'),
            ('\u{feff}', '\u{feff}'),
            ('\u{fff9}', '\u{fffb}'),
            ('\u{e0000}', '\u{e00ff}'),
            ('\u{e01f0}', '\u{e0fff}'),
        ] {
            for shown in [first, last] {
                let escape = match shown {
                    '\x7f' => r"\x7f".to_owned(),
                    _ => format!(r"\u{{{:x}}}", u32::from(shown)),
                };
                assert_eq!(harmless(shown.to_string().as_bytes()), escape);
            }
            for beside in [u32::from(first) - 1, u32::from(last) + 1] {
                let beside = char::from_u32(beside).unwrap().to_string();
                assert_eq!(harmless(beside.as_bytes()), beside);
            }
        }
    }

    #[test]
    fn bytes_are_shown_like_those_of_rust() {
        for (input, expected) in [
            (&b"\x00\x07\x1b[2J\x7f"[..], r"\x00\x07\x1b[2J\x7f"),
            (b"over\rwritten", r"over\rwritten"),
            (b"\x9b31m", r"\x9b31m"),
            (b"\xc2\x9b31m", r"\u{9b}31m"),
            (b"\xc0\x8a", r"\xc0\x8a"),
            (b"\xed\xa0\x80", r"\xed\xa0\x80"),
            (b"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80"),
            (b"cut \xf0\x9f\x98", r"cut \xf0\x9f\x98"),
            (b"cut \r", r"cut \r"),
            (br"C:\x1b", r"C:\x1b"),
            (b"a\tb", "a\tb"),
        ] {
            assert_eq!(harmless(input), expected);
            assert_eq!(stream([input]), expected.as_bytes());
        }
    }

    #[test]
    fn ends_of_lines_become_newlines_in_a_stream_and_escapes_in_a_line() {
        let input = b"one\ntwo\r\nthree\r\r\n\n\r";
        assert_eq!(stream([&input[..]]), b"one\ntwo\nthree\\r\n\n\\r");
        assert_eq!(harmless(input), r"one\ntwo\nthree\r\n\n\r");
    }

    #[test]
    fn only_what_is_unfinished_is_held_back() {
        let (mut harmless, mut out) = (Harmless::default(), Vec::new());
        harmless.feed("a😀".as_bytes().split_last().unwrap().1, &mut out);
        assert_eq!(out, b"a");
        harmless.feed(b"b\r", &mut out);
        assert_eq!(out, br"a\xf0\x9f\x98b");
        harmless.finish(&mut out);
        assert_eq!(out, br"a\xf0\x9f\x98b\r");
        harmless.finish(&mut out);
        assert_eq!(out, br"a\xf0\x9f\x98b\r", "the end is the end");
    }

    #[test]
    fn the_state_of_a_stream_is_small() {
        assert!(size_of::<Harmless>() <= 4);
    }
}
