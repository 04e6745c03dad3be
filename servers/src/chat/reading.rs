//! A message of the day that is longer than a piece, and how far it has been shown to one member.

use std::sync::Arc;
use std::time::Duration;

use super::text;

/// Largest piece, in bytes; a longer line of the message is split.
pub(super) const PIECE: usize = 4 * 1024;
/// Shortest time between two pieces: by then the kernel has taken the previous one, or the member is
/// known to be above the high-water mark.
const NEXT_PIECE: Duration = Duration::from_millis(1);

/// Progress of one member through the message of the day.
#[derive(Debug)]
pub(super) struct Reading {
    text: Arc<[u8]>,
    /// Bytes of `text` that were shown.
    shown: usize,
    /// Time between two pieces.
    pub(super) interval: Duration,
    /// Time when the member last rose above the high-water mark.
    risen_at: Duration,
}

impl Reading {
    pub(super) fn new(text: Arc<[u8]>) -> Reading {
        Reading {
            text,
            shown: 0,
            interval: NEXT_PIECE,
            risen_at: Duration::ZERO,
        }
    }

    /// Notes that the member has risen above the high-water mark.
    pub(super) fn rise(&mut self, now: Duration) {
        self.risen_at = now;
    }

    /// Sets the interval from how fast the member reads: since `rise` it has taken half of
    /// `high_water` bytes.
    pub(super) fn fall(&mut self, high_water: usize, now: Duration) {
        let pieces = (high_water / 2 / PIECE).clamp(1, u32::MAX as usize);
        let interval = (now.saturating_sub(self.risen_at)) / pieces as u32;
        self.interval = interval.max(NEXT_PIECE);
    }

    /// Takes the next whole lines, at most a piece.
    pub(super) fn next(&mut self) -> &[u8] {
        let rest = &self.text[self.shown..];
        let end = match rest.get(..PIECE) {
            None => rest.len(),
            Some(piece) => {
                let last = piece.iter().rposition(|&byte| byte == b'\n');
                last.map_or(PIECE, |last| last + 1)
            }
        };
        self.shown += end;
        // The interval shrinks a little each time, in case the member reads faster by now.
        self.interval = (self.interval * 31 / 32).max(NEXT_PIECE);
        &rest[..end]
    }

    pub(super) fn is_done(&self) -> bool {
        self.shown == self.text.len()
    }
}

/// The message of the day as it is shown: each line with `* ` in front, none longer than a piece.
pub(super) fn message(text: &str) -> Arc<[u8]> {
    text::notice(text, PIECE).into()
}
