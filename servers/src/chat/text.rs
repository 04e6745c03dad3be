//! Text from one member that is safe for the terminals of others, and short texts in words.

use std::time::Duration;

use super::name::is_unseen;
use crate::harmless::{is_plain, must_be_shown};

/// Appends a line, given without its newline, as other members may see it: bytes that are not UTF-8
/// become U+FFFD; characters that a terminal would obey, or that would make the text read as another,
/// are left out.
pub(super) fn clean(line: &[u8], out: &mut Vec<u8>) {
    if is_plain(line) {
        return out.extend_from_slice(line);
    }
    for chunk in line.utf8_chunks() {
        for char in chunk.valid().chars().filter(|char| !must_be_shown(*char)) {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Whether a line has no visible character.
pub(super) fn is_blank(line: &[u8]) -> bool {
    // Most lines begin with a visible ASCII character.
    if line.first().is_some_and(u8::is_ascii_graphic) {
        return false;
    }
    let is_blank = |char: char| {
        char.is_whitespace() || char.is_control() || must_be_shown(char) || is_unseen(char)
    };
    let mut chunks = line.utf8_chunks();
    chunks.all(|chunk| chunk.invalid().is_empty() && chunk.valid().chars().all(is_blank))
}

/// A line that was cut, without an incomplete character at its end.
pub(super) fn whole_characters(line: &[u8]) -> &[u8] {
    let begins_a_character = |len: &usize| {
        str::from_utf8(&line[line.len() - len..]).is_err_and(|error| error.error_len().is_none())
    };
    let begun = (1..=line.len().min(3)).find(begins_a_character);
    &line[..line.len() - begun.unwrap_or(0)]
}

/// An age in words, in the largest unit that fits.
pub(super) fn age(ago: Duration) -> String {
    match ago.as_secs() {
        seconds @ 0..60 => format!("{seconds}s ago"),
        seconds @ 60..3600 => format!("{}m ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h ago", seconds / 3600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

/// A text as lines of the server, with `* ` in front of each. A line that would be longer than `max`
/// bytes is split.
pub(super) fn notice(text: &str, max: usize) -> Vec<u8> {
    const FRAME: usize = "* \n".len();
    let mut notice = Vec::with_capacity(text.len());
    for line in text.lines() {
        let mut rest = line.as_bytes();
        loop {
            let first = whole_characters(&rest[..rest.len().min(max - FRAME)]);
            for part in [b"* ", first, b"\n"] {
                notice.extend_from_slice(part);
            }
            rest = &rest[first.len()..];
            if rest.is_empty() {
                break;
            }
        }
    }
    notice
}

/// The summary of steps that were counted only; empty if both numbers are 0.
pub(super) fn steps(entered: usize, left: usize) -> String {
    let line = |count, step| match count {
        0 => String::new(),
        1 => format!("* 1 person has {step}\n"),
        _ => format!("* {count} people have {step}\n"),
    };
    line(entered, "entered") + &line(left, "left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(line: &[u8]) -> String {
        let mut out = Vec::new();
        clean(line, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn nothing_is_left_that_could_drive_a_terminal() {
        for (line, expected) in [
            (&b"hello\tthere"[..], "hello\tthere"),
            (b"\x1b[2J\x07bell", "[2Jbell"),
            (b"forged\r[root] hi", "forged[root] hi"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"\x9b31m", "\u{fffd}31m"),
            ("\u{9b}31m".as_bytes(), "31m"),
            ("\u{202e}txt.exe".as_bytes(), "txt.exe"),
            ("\u{2028}x".as_bytes(), "x"),
            (b"\xe4\xbd", "\u{fffd}"),
            ("你好 é 👩‍👩‍👧".as_bytes(), "你好 é 👩‍👩‍👧"),
            (b"a\0b\x7f", "ab"),
        ] {
            assert_eq!(cleaned(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_cut_leaves_no_part_of_a_character() {
        for (line, expected) in [
            (&b"abc"[..], &b"abc"[..]),
            (b"", b""),
            ("aé".as_bytes(), "aé".as_bytes()),
            (b"a\xc3", b"a"),
            (b"\xf0\x9f\x91", b""),
            (b"a\xe4\xbd", b"a"),
            (b"a\xff", b"a\xff"),
            (b"a\x80\x80\x80", b"a\x80\x80\x80"),
        ] {
            assert_eq!(whole_characters(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_blank_line_shows_nothing() {
        for line in [
            "",
            " ",
            "\t \u{a0}\u{3000}",
            "\x1b\x07",
            "\u{200b}\u{3164}\u{2060}",
            "\u{202e} ",
        ] {
            assert!(is_blank(line.as_bytes()), "{line:?}");
        }
        for line in [&b" x"[..], b"\xff", b"[2J"] {
            assert!(!is_blank(line), "{line:?}");
        }
    }

    #[test]
    fn steps_are_counted_in_words() {
        assert_eq!(steps(0, 0), "");
        assert_eq!(steps(1, 0), "* 1 person has entered\n");
        assert_eq!(steps(0, 2), "* 2 people have left\n");
        assert_eq!(
            steps(812, 1),
            "* 812 people have entered\n* 1 person has left\n"
        );
    }

    #[test]
    fn a_notice_has_no_line_that_is_too_long() {
        let notice = |text: &str| String::from_utf8(notice(text, 8)).expect("UTF-8");
        assert_eq!(notice("one\r\n\ntwo"), "* one\n* \n* two\n");
        assert_eq!(notice("12345"), "* 12345\n");
        assert_eq!(notice("1234\u{e9}7"), "* 1234\n* \u{e9}7\n");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (0, "0s ago"),
            (59, "59s ago"),
            (60, "1m ago"),
            (7200, "2h ago"),
            (200_000, "2d ago"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_clean_stays_as_it_is(input in prop::collection::vec(any::<u8>(), 0..200)) {
            for line in input.split(|byte| *byte == b'\n') {
                let once = cleaned(line);
                prop_assert_eq!(&cleaned(once.as_bytes()), &once);
                prop_assert!(!once.chars().any(|char| char.is_control() && char != '\t'));
            }
        }

        #[test]
        fn a_text_cut_anywhere_is_a_text(text in any::<String>(), cut in 0..100usize) {
            let bytes = text.as_bytes();
            let cut = whole_characters(&bytes[..cut.min(bytes.len())]);
            let cut = str::from_utf8(cut);
            prop_assert!(cut.is_ok_and(|cut| text.starts_with(cut)));
        }
    }
}
