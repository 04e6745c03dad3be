//! A message of the day that is longer than a piece, and how far a newcomer has read it.

use std::sync::Arc;
use std::time::Duration;

use super::text;

/// Bytes that are shown at once; a longer line of the message is shown as several.
pub(super) const PIECE: usize = 4 * 1024;
/// Between two pieces: what was sent before is with the kernel by then, or is known to wait.
const NEXT_PIECE: Duration = Duration::from_millis(1);

/// What a newcomer has yet to be shown.
#[derive(Debug)]
pub(super) struct Reading {
    text: Arc<[u8]>,
    /// So many bytes were shown.
    shown: usize,
    /// Between two pieces.
    pub(super) interval: Duration,
    /// When the newcomer rose above the high-water mark last.
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

    /// More than the high-water mark waits for the newcomer.
    pub(super) fn rise(&mut self, now: Duration) {
        self.risen_at = now;
    }

    /// The newcomer has taken half of the mark since then: that is how fast it reads.
    pub(super) fn fall(&mut self, high_water: usize, now: Duration) {
        let pieces = (high_water / 2 / PIECE).clamp(1, u32::MAX as usize);
        let interval = (now.saturating_sub(self.risen_at)) / pieces as u32;
        self.interval = interval.max(NEXT_PIECE);
    }

    /// The next lines, of about a piece in all.
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
        // It may read faster by now.
        self.interval = (self.interval * 31 / 32).max(NEXT_PIECE);
        &rest[..end]
    }

    pub(super) fn is_done(&self) -> bool {
        self.shown == self.text.len()
    }
}

/// The message as it is shown.
pub(super) fn message(text: &str) -> Arc<[u8]> {
    text::notice(text, PIECE).into()
}
