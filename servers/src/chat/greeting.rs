//! The message of the day, shown to a member that has joined.
//!
//! A long message is sent in pieces of whole lines as the member takes them, since all of it could
//! exceed the limit of pending output. Lines of other members may come between two pieces. All
//! readers share one copy of the text.
//!
//! While the reader is above the high-water mark, its room is behind. To keep such times short,
//! pieces are sent about as fast as the member was seen to take them.

use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::reading::{PIECE, Reading};
use super::seat::messages;

impl Chat {
    /// Sends the message of the day, or its first piece.
    pub(super) fn show_motd(&mut self, id: ConnId, out: &mut Outbox) {
        let text = Arc::clone(&self.motd);
        if text.len() <= PIECE {
            return self.send(id, &text, out);
        }
        if let Some(member) = self.members.get_mut(id) {
            member.extra_mut().reading = Some(Reading::new(text));
            self.show_more(id, out);
        }
    }

    /// Goes on with the message after the reader has fallen below the high-water mark.
    pub(super) fn read_on(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id)
            && let Some(reading) = &mut member.extra_mut().reading
        {
            reading.fall(self.settings.high_water, out.now());
            self.show_more(id, out);
        }
    }

    /// Sends the next piece, unless the reader is above the high-water mark. After the last piece the
    /// member's input is resumed.
    pub(super) fn show_more(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id).filter(|member| !member.is_above()) else {
            return;
        };
        let extra = member.extra_mut();
        if let Some(reading) = extra.reading.as_mut().filter(|reading| !reading.is_done()) {
            let piece = reading.next();
            let messages = messages(piece);
            out.send(id, piece);
            out.set_timer(id, reading.interval);
            self.count(id, messages);
        } else {
            extra.reading = None;
            self.go_on(id, None, out);
        }
    }
}
