//! What people may write into other people's terminals.

use std::time::Duration;

use crate::harmless::{is_plain, must_be_shown};

/// Appends a line as the others may see it: in UTF-8, what is none as U+FFFD, and without anything
/// that a terminal would obey or that would make the text read as what it is not.
pub(super) fn clean(line: &[u8], out: &mut Vec<u8>) {
    if is_plain(line) {
        return out.extend_from_slice(line);
    }
    for chunk in line.utf8_chunks() {
        let passes = |char: &char| !must_be_shown(*char) && *char != '\n';
        for char in chunk.valid().chars().filter(passes) {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// How long ago something was, as people say it.
pub(super) fn age(ago: Duration) -> String {
    match ago.as_secs() {
        seconds @ 0..60 => format!("{seconds}s ago"),
        seconds @ 60..3600 => format!("{}m ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h ago", seconds / 3600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

/// A number of people, and the verb that goes with it.
pub(super) fn people(count: usize) -> String {
    match count {
        1 => "1 person has".into(),
        _ => format!("{count} people have"),
    }
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
        fn what_is_clean_stays_as_it_is(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let once = cleaned(&line);
            prop_assert_eq!(&cleaned(once.as_bytes()), &once);
            prop_assert!(!once.chars().any(|char| char.is_control() && char != '\t'));
        }
    }
}
