//! Lines: how long they may be, where they begin, and how many are written together.

use std::borrow::Cow;

use memchr::{memchr_iter, memrchr};

/// Longest line that several writers may write at once, its end included: `PIPE_BUF` of Linux.
pub(super) const LINE_MAX: usize = 4096;

/// A line that asks to open the file anew, and is not recorded: lines before it go to the open
/// file, lines after it to the file that the path names by then. No other line begins with NUL.
pub(crate) const MARK: &[u8] = b"\0\n";

/// A line, shortened to [`LINE_MAX`] bytes if it is longer.
pub(crate) fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    const CUT: &[u8] = b" [...]\n";
    match line.len() {
        ..=LINE_MAX => line.into(),
        _ => [&line[..LINE_MAX - CUT.len()], CUT].concat().into(),
    }
}

/// Bytes to write together: complete lines, as many as stay in one piece among several writers, and
/// one line in any case.
pub(super) fn piece_len(lines: &[u8]) -> usize {
    let mut len = 0;
    for newline in memchr_iter(b'\n', lines) {
        if len > 0 && (newline >= LINE_MAX || lines[len..].starts_with(MARK)) {
            break;
        }
        len = newline + 1;
    }
    len
}

/// Start of the line to which the byte at `at` belongs.
pub(super) fn line_start(lines: &[u8], at: usize) -> usize {
    memrchr(b'\n', &lines[..at]).map_or(0, |newline| newline + 1)
}

pub(super) fn line_count(lines: &[u8]) -> u64 {
    memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines() {
        let long = "x".repeat(5000) + "\n";
        let short = "y".repeat(1000) + "\n";
        for (lines, expected) in [
            (&b"one\ntwo\n"[..], 8),
            (b"one\n\0\ntwo\n", 4),
            (long.as_bytes(), 5001),
            ((long.clone() + &short).as_bytes(), 5001),
            (short.repeat(6).as_bytes(), 4 * 1001),
        ] {
            assert_eq!(piece_len(lines), expected);
        }
        let lines = b"one\ntwo\n";
        assert_eq!([0, 3, 4, 6].map(|at| line_start(lines, at)), [0, 0, 4, 4]);
    }
}
