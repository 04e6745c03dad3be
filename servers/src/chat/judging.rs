//! An operator has spoken: the effect of its lines, kicks and bans.

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::OPERATOR_PREFIX;
use super::{Chat, NOBODY, bans, text};
use crate::backplane::entry::{Barred, Body, Entry, Name, Position};
use crate::backplane::membership::{Member, Refusal};

/// The room that the transcript names for a line to all rooms.
pub(super) const ALL_ROOMS: &str = "*";
const TOO_MANY: &str = "too many are banned: /unban some of them\n";

impl Chat {
    /// A line is told to all rooms, or to the one whose name has this fold.
    /// `is_own`: an operator of this server says it.
    pub(super) fn proclaimed(
        &mut self,
        room: Option<&str>,
        line: &[u8],
        at: Position,
        is_own: bool,
        out: &mut Outbox,
    ) {
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
            Some(number) => self.record(number, at, out),
            None => self.record_as(ALL_ROOMS, at, out),
        }
        self.spend(is_told, is_own, out);
    }

    /// Counts the page, which these rooms were told, against their allowance, and the operator's if it
    /// `is_own`.
    fn spend(&mut self, is_told: impl Fn(usize) -> bool, is_own: bool, out: &Outbox) {
        let (allowance, now) = (&self.bounds.allowance, out.now());
        let bytes = self.bounds.sent(self.page.len());
        let mut is_behind = false;
        for (_, room) in self.rooms.iter_mut().filter(|(number, _)| is_told(*number)) {
            room.told += 1;
            is_behind |= room.gate.is_behind(now);
            room.gate.spend(allowance, bytes, now);
        }
        if is_own {
            let gate = &mut self.operator.gate;
            gate.set_behind(is_behind);
            gate.spend(allowance, bytes, now);
        }
    }

    /// An operator of this server has banned a name or lifted a ban: there are no other servers, or it was
    /// refused.
    pub(super) fn judge(
        &mut self,
        entry: &Entry<'_>,
        decision: Result<(), Refusal>,
        out: &mut Outbox,
    ) {
        match (&entry.body, decision) {
            (Body::Ban { .. }, Err(Refusal::Full)) => self.print(TOO_MANY, out),
            (Body::Ban { .. }, Err(_)) => self.print(&format!("{NOBODY}\n"), out),
            (Body::Unban { name }, Err(_)) => self.print(&format!("{name} is not banned\n"), out),
            (
                Body::Ban {
                    name,
                    millis,
                    is_kick,
                },
                Ok(()),
            ) => {
                let until = millis.map(|millis| entry.at.millis.saturating_add(millis));
                self.ban_here(name, until, *is_kick, entry.at, out);
            }
            (Body::Unban { name }, Ok(())) => {
                if let Some(ban) = self.bans.lift(name) {
                    self.print(&format!("{} may come in\n", ban.name.shown), out);
                }
            }
            _ => {}
        }
    }

    /// A name is banned until this time or for good, and with it the address of the member that has the
    /// name. That member leaves.
    fn ban_here(
        &mut self,
        name: &Name<'_>,
        until: Option<u64>,
        is_kick: bool,
        at: Position,
        out: &mut Outbox,
    ) {
        let id = self.names.folded(name.fold);
        if is_kick && id.is_none() {
            return;
        }
        let bearer = id.and_then(|id| self.members.get(id));
        let ban = Barred {
            name: Name {
                shown: bearer.map_or(name.shown, |bearer| bearer.name()),
                ..*name
            },
            address: id.and_then(|id| self.banned_address(id)),
            until,
        };
        match self.bans.add(&ban, at.millis) {
            Ok(()) => self.print_ban(name.fold, at, out),
            Err(_) => self.print(TOO_MANY, out),
        }
        if let Some(id) = id {
            self.sent_away(id, is_kick, out);
        }
    }

    /// The ban of an operator, of this server if it `is_own`, is part of the state, and these members have
    /// left by it.
    pub(super) fn judged(
        &mut self,
        entry: &Entry<'_>,
        left: &[Member],
        is_own: bool,
        out: &mut Outbox,
    ) {
        let Body::Ban { name, is_kick, .. } = &entry.body else {
            return;
        };
        if is_own {
            self.print_ban(name.fold, entry.at, out);
        }
        for member in left {
            match self.here(member.id) {
                Some(id) => self.sent_away(id, *is_kick, out),
                None => self.left_elsewhere(member, b"", out),
            }
        }
    }

    fn print_ban(&mut self, fold: &str, at: Position, out: &mut Outbox) {
        let ban = self.bans().all().iter().find(|ban| *ban.name.fold == *fold);
        if let Some(told) = ban.map(|ban| bans::in_words(ban, at.millis)) {
            self.print(&format!("banned: {told}\n"), out);
        }
    }

    /// A member leaves by a kick or a ban, and its connection ends.
    pub(super) fn sent_away(&mut self, id: ConnId, is_kick: bool, out: &mut Outbox) {
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
}
