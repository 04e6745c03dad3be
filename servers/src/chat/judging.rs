//! What happens when an operator has spoken: the effect of its lines, kicks and bans.

use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::bans::Ban;
use super::bounds::OPERATOR_PREFIX;
use super::{Chat, text};
use crate::backplane::entry::Name;

/// The room that the transcript names for a line to all rooms.
const ALL_ROOMS: &str = "*";

impl Chat {
    /// A line is told to all rooms, or to the one whose name has this fold.
    pub(super) fn proclaimed(&mut self, room: Option<&str>, line: &[u8], out: &mut Outbox) {
        let number = room.and_then(|fold| self.room_by_name.folded(fold));
        if room.is_some() && number.is_none() {
            // The room has ended.
            return;
        }
        self.page.clear();
        self.page.extend_from_slice(OPERATOR_PREFIX.as_bytes());
        text::clean(line, &mut self.page);
        self.page.push(b'\n');
        let is_told = |other: usize| number.is_none_or(|number| number as usize == other);
        let rooms = self.rooms.iter().filter(|(number, _)| is_told(*number));
        let hearers = rooms.flat_map(|(_, room)| room.members());
        out.broadcast(hearers.copied(), &self.page);
        match number {
            Some(number) => self.record(number, out),
            None => self.record_as(ALL_ROOMS, out),
        }
        self.spend(is_told, out);
    }

    /// Counts the page, which these rooms were told, against their allowance and the operator's.
    fn spend(&mut self, is_told: impl Fn(usize) -> bool, out: &Outbox) {
        let (allowance, now) = (&self.bounds.allowance, out.now());
        let bytes = self.bounds.sent(self.page.len());
        let mut is_behind = false;
        for (_, room) in self.rooms.iter_mut().filter(|(number, _)| is_told(*number)) {
            room.told += 1;
            is_behind |= room.gate.is_behind();
            room.gate.spend(allowance, bytes, now);
        }
        let gate = &mut self.operator.gate;
        gate.set_behind(is_behind);
        gate.spend(allowance, bytes, now);
    }

    /// A name is banned for so many milliseconds or for good, and with it the address of the member that
    /// has the name. That member leaves.
    pub(super) fn banned(
        &mut self,
        name: &Name<'_>,
        millis: Option<u64>,
        is_kick: bool,
        out: &mut Outbox,
    ) {
        let id = self.names.folded(name.fold);
        if is_kick && id.is_none() {
            return;
        }
        let bearer = id.and_then(|id| self.members.get(id));
        let ban = Ban {
            name: bearer.map_or(name.shown, |bearer| bearer.name()).into(),
            fold: name.fold.into(),
            address: id.and_then(|id| self.banned_address(id)),
            until: millis.and_then(|millis| out.now().checked_add(Duration::from_millis(millis))),
        };
        let told = format!("banned: {}\n", ban.describe(out.now()));
        match self.bans.add(ban, out.now()) {
            true => self.print(&told, out),
            false => self.print("too many are banned: /unban some of them\n", out),
        }
        if let Some(id) = id {
            self.sent_away(id, is_kick, out);
        }
    }

    /// A member leaves by a kick or a ban, and its connection ends.
    fn sent_away(&mut self, id: ConnId, is_kick: bool, out: &mut Outbox) {
        let (told, why) = match is_kick {
            true => ("you were asked to leave", "kicked by the operator"),
            false => ("you are banned", "banned by the operator"),
        };
        self.reply(id, told, out);
        out.finish(id);
        self.fall(id, out);
        self.note_leave(id, why, out);
        self.left(id, b"", out);
    }

    pub(super) fn unbanned(&mut self, fold: &str, out: &mut Outbox) {
        if let Some(ban) = self.bans.lift(fold) {
            self.print(&format!("{} may come in\n", ban.name), out);
        }
    }
}
