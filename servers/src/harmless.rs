//! Text from the network, made harmless for a terminal or a log.
//!
//! A terminal obeys what is written to it: a stranger's bytes can clear it, retitle it, overwrite
//! the line above, or make it type. And a text that is reordered, or holds what cannot be seen, is
//! not what its reader takes it for. So all that could do this is *shown*, as an escape like those
//! of Rust, rather than sent:
//!
//! | What | Shown as | Why |
//! |---|---|---|
//! | C0 controls but tab and newline; DEL | `\x1b`, `\r`, `\x7f` | The terminal obeys them. |
//! | C1 controls, U+0080 to U+009F | `\u{9b}` | So it does these: U+009B begins a sequence like `ESC [`. |
//! | Bytes that are not UTF-8 | `\xff` | Raw C1 bytes are among them, and programs disagree about the rest. |
//! | Marks, embeddings, overrides, isolates (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069) | `\u{202e}` | Bidirectional controls: text is not read in the order in which it is stored. |
//! | Line and paragraph separator, U+2028 and U+2029 | `\u{2028}` | One line is read as two. |
//! | Soft hyphen U+00AD; word joiner, invisible operators and what is deprecated beside them, U+2060 to U+206F; U+FEFF | `\u{ad}` | No script needs them, and two texts that look the same differ. |
//! | Interlinear annotations, U+FFF9 to U+FFFB | `\u{fff9}` | They move a part of the text aside. |
//! | Tags, U+E0000 to U+E007F, and the code points reserved like them up to U+E0FFF | `\u{e0041}` | They carry a second text that nobody sees. |
//!
//! All else passes: every script, emoji, blanks of all kinds, and the invisible characters that a
//! script or an emoji is written with: the joiners U+200C and U+200D, the zero-width space U+200B
//! between the words of Khmer and Thai, and variation selectors. That tags are shown costs the
//! flags of England, Scotland and Wales. Whether two names look alike is not decided here: Latin
//! and Cyrillic have letters that do.
//!
//! A backslash stays as it is, so a sender can write `\x1b` in four characters. What is shown is
//! for reading, not for turning back.

use std::ascii;

/// Bytes looked at in one go: short enough that a single unusual character slows little down.
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
    /// Takes in bytes as they arrived, and appends what may be shown to `out`.
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

    /// The end of the stream: what was held back is shown as invalid. What is fed after this is a
    /// new stream.
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

/// A line or a name in one piece: what [`Harmless`] makes of it, with newlines shown too, so that
/// the result is one line.
///
/// ```
/// use edgeloop::harmless::harmless;
///
/// assert_eq!(harmless(b"eve\n\x1b[1Aroot"), "eve\\n\\x1b[1Aroot");
/// ```
#[must_use]
pub fn harmless(text: &[u8]) -> String {
    harmless_up_to(text, usize::MAX).0
}

/// The same in at most `max` bytes, and whether something was left out. It is not cut within a
/// character or an escape, and what is left out is not looked at.
///
/// ```
/// use edgeloop::harmless::harmless_up_to;
///
/// assert_eq!(harmless_up_to(b"ab\x1b", 6), ("ab\\x1b".to_owned(), false));
/// assert_eq!(harmless_up_to(b"ab\x1b", 5), ("ab".to_owned(), true));
/// ```
#[must_use]
pub fn harmless_up_to(text: &[u8], max: usize) -> (String, bool) {
    if text.len() <= max && is_plain(text) && !text.contains(&b'\n') {
        return (String::from_utf8_lossy(text).into_owned(), false);
    }
    let mut shown = Vec::new();
    let complete = show(text, true, max, &mut shown);
    (String::from_utf8_lossy(&shown).into_owned(), !complete)
}

/// Whether all of it is printable ASCII, tab or newline. There is no early exit, so that the
/// compiler can look at many bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| {
        plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n')
    })
}

/// How many bytes at the end may yet become a character, or `\r\n`.
fn unfinished_len(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\r") {
        return 1;
    }
    let begins_a_character = |len: &usize| {
        str::from_utf8(&bytes[bytes.len() - len..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3))
        .find(begins_a_character)
        .unwrap_or(0)
}

/// Appends `bytes` to `out` as they may be shown, until `out` would become longer than `max`; says
/// whether it did not. Newlines are shown too if `one_line`.
fn show(bytes: &[u8], one_line: bool, max: usize, out: &mut Vec<u8>) -> bool {
    if let Ok(text) = str::from_utf8(bytes) {
        return show_text(text, one_line, max, out);
    }
    bytes.utf8_chunks().all(|chunk| {
        let mut invalid = chunk.invalid().iter();
        show_text(chunk.valid(), one_line, max, out)
            && invalid.all(|&byte| append(ascii::escape_default(byte), max, out))
    })
}

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
fn must_be_shown(char: char) -> bool {
    match char {
        ' '..='~' | '\t' | '\n' => false,
        '\0'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e00ff}'
        | '\u{e01f0}'..='\u{e0fff}' => true,
        _ => false,
    }
}
