//! The message of the day, which may be long.
//!
//! A long one is shown in pieces of whole lines, while the newcomer takes them: it would otherwise be
//! more than may wait for a member. What others say meanwhile comes between the lines. The text is
//! shared by all who read it.
//!
//! While too much waits for the newcomer, its room is behind. So that this is not for long, pieces
//! come about as fast as the newcomer was seen to take them.

use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
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
    interval: Duration,
    /// When the newcomer rose above the high-water mark last.
    risen_at: Duration,
}

impl Reading {
    fn new(text: Arc<[u8]>) -> Reading {
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
    fn fall(&mut self, high_water: usize, now: Duration) {
        let pieces = (high_water / 2 / PIECE).clamp(1, u32::MAX as usize);
        let interval = (now.saturating_sub(self.risen_at)) / pieces as u32;
        self.interval = interval.max(NEXT_PIECE);
    }

    /// The next lines, of about a piece in all.
    fn next(&mut self) -> &[u8] {
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

    fn is_done(&self) -> bool {
        self.shown == self.text.len()
    }
}

/// The message as it is shown.
pub(super) fn message(text: &str) -> Arc<[u8]> {
    text::notice(text, PIECE).into()
}

impl Chat {
    /// Begins to show a newcomer the message of the day.
    pub(super) fn show_motd(&mut self, id: ConnId, out: &mut Outbox) {
        if self.motd.len() <= PIECE {
            return out.send(id, &self.motd);
        }
        if let Some(member) = self.members.get_mut(id) {
            let text = Arc::clone(&self.motd);
            member.extra_mut().reading = Some(Reading::new(text));
            self.show_more(id, out);
        }
    }

    /// A newcomer that has caught up reads on.
    pub(super) fn read_on(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id)
            && let Some(reading) = &mut member.extra_mut().reading
        {
            reading.fall(self.settings.high_water, out.now());
            self.show_more(id, out);
        }
    }

    /// Shows the next piece, unless too much waits for the newcomer. After the last one its input
    /// goes on.
    pub(super) fn show_more(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id).filter(|member| !member.is_above()) else {
            return;
        };
        let extra = member.extra_mut();
        if let Some(reading) = extra.reading.as_mut().filter(|reading| !reading.is_done()) {
            out.send(id, reading.next());
            out.set_timer(id, reading.interval);
        } else {
            extra.reading = None;
            self.go_on(id, None, out);
        }
    }
}
