//! What was said in a room, for those who come later.

use std::collections::VecDeque;
use std::time::Duration;

/// What is kept of one room, in bytes: a newcomer is sent all of it at once, and is no slow reader
/// for that.
const BYTES_MAX: usize = 64 * 1024;
/// The same as it is told, with an age before each line: the shortest line is `[a] ` and its end.
pub(super) const TOLD_MAX: usize = BYTES_MAX + BYTES_MAX / "[a] \n".len() * "* 1000d ago ".len();

/// The last lines with their times, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<(Duration, Box<[u8]>)>,
    bytes: usize,
}

impl History {
    /// Keeps a line; of all that were kept the last `limit`.
    pub(super) fn keep(&mut self, now: Duration, line: &[u8], limit: usize) {
        if limit == 0 {
            return;
        }
        self.bytes += line.len();
        self.lines.push_back((now, line.into()));
        while self.lines.len() > limit || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.len();
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (Duration, &[u8])> {
        self.lines.iter().map(|(at, line)| (*at, &**line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(history: &History) -> Vec<&[u8]> {
        history.lines().map(|(_, line)| line).collect()
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut history = History::default();
        for line in [b"one", b"two", b"six"] {
            history.keep(Duration::ZERO, line, 2);
        }
        assert_eq!(kept(&history), [b"two", b"six"]);
        history.keep(Duration::ZERO, b"x", 0);
        assert_eq!(kept(&history), [b"two", b"six"]);
    }

    #[test]
    fn long_lines_are_kept_as_far_as_there_is_room() {
        let mut history = History::default();
        let long = [b'x'; 4096];
        for _ in 0..1000 {
            history.keep(Duration::ZERO, &long, 1000);
        }
        assert_eq!(kept(&history).concat().len(), BYTES_MAX);
        history.keep(Duration::ZERO, b"short", 1000);
        assert_eq!(kept(&history).len(), BYTES_MAX / long.len());
        history.keep(Duration::ZERO, &vec![b'x'; BYTES_MAX + 1], 1000);
        assert_eq!((kept(&history).len(), history.bytes), (0, 0));
    }
}
