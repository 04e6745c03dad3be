//! The message of the day, which may be long.
//!
//! A long one is shown in pieces of whole lines, while the newcomer takes them: it would otherwise be
//! more than may wait for a member. What others say meanwhile comes between the lines. The text is
//! shared by all who read it.
//!
//! While too much waits for the newcomer, its room is behind. So that this is not for long, pieces
//! come about as fast as the newcomer was seen to take them.

use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::reading::{PIECE, Reading};

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
