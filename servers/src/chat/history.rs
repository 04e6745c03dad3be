//! The last lines of a room, which a member is sent when it enters.

use std::collections::VecDeque;
use std::ops::Range;

use super::text::whole_characters;
use crate::backplane::entry::Position;

/// Size of one room's history, in bytes. A member that enters is sent all of it at once, which must
/// not make it a slow reader.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// Bytes that are kept of one line, so that a long line does not displace all others.
const LINE_MAX: usize = BYTES_MAX / 8;
/// The end of a line that was cut.
const CUT: &str = "…\n";
/// Size of the history as it is sent, in bytes: [`BYTES_MAX`] and an age before each line, of which the
/// shortest is `[a] ` with its newline, in place of which there is a header for a browser.
pub(super) const TOLD_MAX: usize =
    BYTES_MAX + BYTES_MAX / "[a] \n".len() * ("* 1000d ago ".len() + 1);

/// The last lines, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<Said>,
    bytes: usize,
    /// Number and place of the last line that is kept no more.
    dropped: (u64, Position),
    /// Number of the last place at which lines may be missing.
    gap: u64,
}

/// A line that was said.
#[derive(Debug)]
pub(super) struct Said {
    /// The number that it has in its room.
    pub(super) number: u64,
    pub(super) at: Position,
    pub(super) line: Box<[u8]>,
    /// The range of its author's name in the line.
    name: Range<usize>,
}

impl Said {
    pub(super) fn author(&self) -> &str {
        str::from_utf8(&self.line[self.name.clone()]).unwrap_or_default()
    }
}

impl History {
    /// Appends the line with this number, and drops the oldest above `limit` lines. `name`: range of the
    /// author's name in the line.
    pub(super) fn keep(
        &mut self,
        number: u64,
        at: Position,
        line: &[u8],
        name: Range<usize>,
        limit: usize,
    ) {
        if limit == 0 {
            self.dropped = (number, at);
            return;
        }
        let line: Box<[u8]> = match line.len() > LINE_MAX {
            true => [
                whole_characters(&line[..LINE_MAX - CUT.len()]),
                CUT.as_bytes(),
            ]
            .concat()
            .into(),
            false => line.into(),
        };
        self.bytes += line.len();
        self.lines.push_back(Said {
            number,
            at,
            line,
            name,
        });
        while self.lines.len() > limit || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.line.len();
            self.dropped = (oldest.number, oldest.at);
        }
    }

    /// Lines may be missing before the one that follows this number.
    pub(super) fn note_gap(&mut self, number: u64) {
        self.gap = number;
    }

    /// Whether all lines after the one with this number are kept.
    pub(super) fn reaches(&self, number: u64) -> bool {
        self.dropped.0.max(self.gap) <= number
    }

    /// The number of the last line up to this place in the log; 0 if that is not known.
    pub(super) fn number_at(&self, at: Position) -> u64 {
        let is_before = |said: &&Said| said.at <= at;
        let (dropped, dropped_at) = self.dropped;
        match self.lines.iter().rev().find(is_before) {
            Some(said) => said.number,
            None if dropped_at <= at => dropped,
            None => 0,
        }
    }

    pub(super) fn lines(&self) -> impl ExactSizeIterator<Item = &Said> + DoubleEndedIterator {
        self.lines.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(history: &History) -> Vec<&[u8]> {
        history.lines().map(|said| &*said.line).collect()
    }

    fn keep(history: &mut History, line: &[u8], limit: usize) {
        let number = history.lines.back().map_or(1, |last| last.number + 1);
        history.keep(number, Position::START, line, 0..1, limit);
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut history = History::default();
        for line in [b"one", b"two", b"six"] {
            keep(&mut history, line, 2);
        }
        assert_eq!(kept(&history), [b"two", b"six"]);
        let authors: Vec<&str> = history.lines().map(Said::author).collect();
        assert_eq!(authors, ["t", "s"]);
        assert!(history.reaches(1) && !history.reaches(0));
        keep(&mut history, b"x", 0);
        assert!(
            history.reaches(4) && !history.reaches(3),
            "a line was not kept"
        );
        assert_eq!(kept(&history), [b"two", b"six"]);
    }

    #[test]
    fn a_line_is_found_by_its_place_and_a_gap_is_known() {
        let (mut history, at) = (History::default(), |millis| Position { millis, index: 0 });
        for (number, millis) in [(1, 10), (3, 20), (4, 30)] {
            history.keep(number, at(millis), b"line", 0..1, 2);
        }
        let numbers = [5, 10, 19, 20, 29, 30, 40].map(|millis| history.number_at(at(millis)));
        assert_eq!(numbers, [0, 1, 1, 3, 3, 4, 4]);
        assert_eq!(history.number_at(at(30).before()), 3);
        assert!(history.reaches(1) && !history.reaches(0));
        history.note_gap(5);
        assert!(history.reaches(5) && !history.reaches(4));
    }

    #[test]
    fn long_lines_are_kept_as_far_as_there_is_room() {
        let mut history = History::default();
        let long = [b'x'; 4096];
        for _ in 0..1000 {
            keep(&mut history, &long, 1000);
        }
        assert_eq!(kept(&history).concat().len(), BYTES_MAX);
        keep(&mut history, b"short", 1000);
        assert_eq!(kept(&history).len(), BYTES_MAX / long.len());
    }

    #[test]
    fn the_shortest_lines_are_told_in_the_size_that_is_allowed_for() {
        let (mut history, line) = (History::default(), b"[a] \n");
        (0..BYTES_MAX).for_each(|_| keep(&mut history, line, usize::MAX));
        let told = history.lines().len() * (line.len() + "* 1000d ago ".len() + 1);
        assert!((told..told + line.len()).contains(&TOLD_MAX), "{told}");
    }

    #[test]
    fn one_long_line_does_not_wipe_out_the_others() {
        let mut history = History::default();
        for _ in 0..1000 {
            keep(&mut history, b"short\n", 1000);
        }
        let long = [&b"x"[..], "é".repeat(BYTES_MAX).as_bytes(), b"\n"].concat();
        keep(&mut history, &long, 1000);
        let lines = kept(&history);
        assert_eq!(lines.len(), 1000);
        let last = str::from_utf8(lines[999]).unwrap();
        assert!(last.ends_with("é…\n"));
        assert!((LINE_MAX - 4..=LINE_MAX).contains(&last.len()));
    }
}
