//! Members that lose their connection and come back: pages with a token.
//!
//! A membership with a seat (`seat.rs`) ends with its connection only if its page says so. Otherwise the
//! member is *away* for a while: its name, room and ignore list stay, and so do its rate limits; what
//! waited of its input is dropped, as with any member that disconnects. A connection with its token
//! takes the membership over, whether the old connection is known to be dead or not.

use std::net::IpAddr;

use edgeloop_reactor::{ConnId, Outbox, Peer};

use super::bounds::{ENTRY, OTHERS_TURN, WORK_MAX};
use super::history::Said;
use super::name::Illegal;
use super::seat::{Missed, Seat, Visit, messages};
use super::{Chat, addresses};

impl Chat {
    /// A page has connected. Returns the connection whose place it takes.
    pub(super) fn visit(
        &mut self,
        id: ConnId,
        peer: Peer,
        visit: Visit,
        out: &mut Outbox,
    ) -> Option<ConnId> {
        let known = self.tokens.get(&visit.token).copied();
        let is_member = |known| {
            self.members
                .get(known)
                .is_some_and(|known| known.has_joined())
        };
        if let Some(old) = known.filter(|known| is_member(*known)) {
            self.take_over(id, peer, old, visit.seen, out);
        } else {
            if let Some(newcomer) = known {
                self.forget(newcomer, out);
            }
            self.tokens.insert(visit.token.clone(), id);
            self.seats
                .insert(id, Box::new(Seat::new(visit.token, peer)));
            self.welcome(id, peer, out);
        }
        known
    }

    /// Gives the membership of `old` to a connection whose page has received `seen` messages.
    fn take_over(&mut self, id: ConnId, peer: Peer, old: ConnId, seen: u64, out: &mut Outbox) {
        self.lay_down(old, out);
        if self.is_kept_out(old, &peer, out) {
            self.part(old, "banned", b"", out);
            self.reply(id, Illegal::Banned.reason(), out);
            return out.finish(id);
        }
        let (Some(mut seat), Some(member)) = (self.take_seat(old), self.members.remove(old)) else {
            return;
        };
        self.addresses.closed(old);
        self.addresses.opened(id, &peer);
        self.rooms[member.room as usize].replace(old, member.place, id);
        self.names.insert(member.name(), id);
        self.numbers.replace(old, id);
        self.tokens.insert(seat.token.clone(), id);
        let entry = format!("{} is back from {peer}", member.name());
        self.members.insert(id, member);
        seat.peer = peer;
        self.tell_what_was_missed(id, &mut seat, seen, out);
        self.seats.insert(id, seat);
        self.note(&entry, out);
    }

    /// Whether a member may not come back: its name was banned meanwhile, or its new address is banned.
    fn is_kept_out(&mut self, member: ConnId, peer: &Peer, out: &mut Outbox) -> bool {
        let Some(member) = self.members.get(member) else {
            return true;
        };
        self.is_banned(member.name(), addresses::banned(peer), out)
    }

    /// Greets a member that is back, and sends it the lines that it has missed as they were said.
    fn tell_what_was_missed(&mut self, id: ConnId, seat: &mut Seat, seen: u64, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &self.rooms[member.room as usize];
        let Missed {
            after,
            before,
            has_more,
        } = seat.missed(seen);
        let ignores = |author: &str| {
            let number = self.ignored.number(&self.name_rules.fold(author))?;
            member.ignores(number)
        };
        let is_heard = |said: &&Said| !member.ignores_some() || ignores(said.author()).is_none();
        out.charge(room.history.lines().len() * ENTRY);
        let earlier = room.history.lines().rev();
        let earlier = earlier.filter(|said| said.number <= after).filter(is_heard);
        let mut missed: Vec<&[u8]> = earlier
            .take(before as usize)
            .map(|said| &*said.line)
            .collect();
        let is_missing = has_more || (missed.len() as u64) < before || !room.history.reaches(after);
        missed.reverse();
        let later = room.history.lines().filter(|said| said.number > after);
        missed.extend(later.filter(is_heard).map(|said| &*said.line));
        let mut page = format!("* You are back as {} in {}.\n", member.name(), room.name);
        if is_missing {
            page.push_str("* Some lines that were said meanwhile are missing.\n");
        }
        let notices = messages(page.as_bytes());
        seat.come_back(seen, room.told, notices, missed.len() as u64);
        self.page.clear();
        self.page.extend_from_slice(page.as_bytes());
        missed
            .iter()
            .for_each(|line| self.page.extend_from_slice(line));
        // Its seat has counted these messages, and is not in the table.
        self.answer(id, out);
    }

    /// The connection of a member has ended. One that may come back is away from now on, if there is
    /// room for it; any other has left.
    pub(super) fn depart(&mut self, id: ConnId, why: &'static str, out: &mut Outbox) {
        if self.members.is_away(id) {
            return;
        }
        let is_member = self
            .members
            .get(id)
            .is_some_and(|member| member.has_joined());
        let seat = self.seats.get(id).filter(|seat| is_member && !seat.is_done);
        let peer = seat.map(|seat| seat.peer);
        let Some(admission) = peer.and_then(|peer| self.absences.admit(&peer)) else {
            return self.part(id, why, b"", out);
        };
        self.lay_down(id, out);
        if let (Some(seat), Some(member)) = (self.seats.remove(id), self.members.get(id)) {
            let entry = format!("{} has lost its connection: {why}", member.name());
            self.absences.add(id, seat, admission, why, out.now());
            self.members.set_away(id);
            self.note(&entry, out);
            self.tick(out);
        }
    }

    /// Drops what belongs to the connection of a member rather than to the member.
    fn lay_down(&mut self, id: ConnId, out: &mut Outbox) {
        self.fall(id, out);
        self.leave_queue(id, out);
        if let Some(member) = self.members.get_mut(id) {
            member.lose_connection();
        }
    }

    /// Ends the memberships that are kept no longer.
    pub(super) fn miss_the_absent(&mut self, out: &mut Outbox) {
        while let Some((id, why)) = self.absences.due(out.now()) {
            if out.charged() > WORK_MAX {
                return self.tick_in(OTHERS_TURN, out);
            }
            self.part(id, why, b"", out);
        }
        if !self.absences.is_empty() {
            self.tick(out);
        }
    }

    /// Ends all memberships that are kept without a connection, and keeps no more.
    pub(super) fn keep_none(&mut self, out: &mut Outbox) {
        for id in self.absences.stop() {
            self.forget(id, out);
        }
    }

    /// Takes the seat of a member, wherever it is.
    pub(super) fn take_seat(&mut self, id: ConnId) -> Option<Box<Seat>> {
        self.seats.remove(id).or_else(|| self.absences.remove(id))
    }

    /// The address of a member that a ban may be for.
    pub(super) fn banned_address(&self, id: ConnId) -> Option<IpAddr> {
        let away = self
            .absences
            .peer(id)
            .and_then(|peer| addresses::banned(&peer));
        away.or_else(|| self.addresses.banned(id))
    }
}
