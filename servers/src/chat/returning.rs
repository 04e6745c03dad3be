//! Members that lose their connection and come back: pages with a token.
//!
//! A membership with a seat (`seat.rs`) ends with its connection only if its page says so. Otherwise the
//! member is *away* for a while: its name, room and ignore list stay, and so do its rate limits; what
//! waited of its input is dropped, as with any member that disconnects. A connection with its token
//! takes the membership over, whether the old connection is known to be dead or not. A membership on another
//! server is taken over in `taking_over.rs`.

use std::net::IpAddr;

use edgeloop_reactor::{ConnId, Outbox, Peer};

use super::bounds::{ENTRY, OTHERS_TURN, WORK_MAX};
use super::history::Said;
use super::member::Member;
use super::name::Illegal;
use super::seat::{Missed, Seat, Visit, messages};
use super::{Chat, addresses};

impl Chat {
    /// A page has connected. A connection whose place it takes is replaced.
    pub(super) fn visit(&mut self, id: ConnId, peer: Peer, visit: Visit, out: &mut Outbox) {
        let known = self.tokens.get(&visit.token).copied();
        self.replaced.extend(known);
        match known {
            Some(old) if self.arrivals.has(old) => {
                self.arrive_again(id, peer, old, visit.seen, out);
            }
            Some(old) if self.is_member(old) => self.take_over(id, peer, old, visit.seen, out),
            newcomer => {
                if let Some(newcomer) = newcomer {
                    self.forget(newcomer, out);
                }
                self.receive(id, peer, visit, out);
            }
        }
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
        self.rooms[member.room as usize].replace(old, member.place, id);
        self.replace(id, peer, old, &mut seat);
        self.names.insert(member.name(), id);
        self.members.insert(id, member);
        self.is_back(id, seat, seen, out);
    }

    /// The member that had the connection `old`, if that is one by now, has another one.
    pub(super) fn replace(&mut self, id: ConnId, peer: Peer, old: ConnId, seat: &mut Seat) {
        self.addresses.closed(old);
        self.addresses.opened(id, &peer);
        self.numbers.replace(old, id);
        self.tokens.insert(seat.token.clone(), id);
        seat.peer = peer;
    }

    /// A member has its membership again.
    pub(super) fn is_back(&mut self, id: ConnId, mut seat: Box<Seat>, seen: u64, out: &mut Outbox) {
        self.tell_what_was_missed(id, &mut seat, seen, out);
        let peer = seat.peer;
        self.seats.insert(id, seat);
        let name = self.members.get(id).map(Member::shared_name);
        let name = name.unwrap_or_default();
        self.note(&format!("{name} is back from {peer}"), out);
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
        let (missed, is_missing) = self.missed(id, seat.missed(seen), out);
        let mut page = format!("* You are back as {} in {}.\n", member.name(), room.name);
        if is_missing {
            page.push_str("* Some lines that were said meanwhile are missing.\n");
        }
        let notices = messages(page.as_bytes());
        seat.come_back(seen, room.told, notices, missed.len() as u64);
        let mut page = page.into_bytes();
        missed
            .iter()
            .for_each(|said| page.extend_from_slice(&said.line));
        self.page = page;
        // Its seat has counted these messages, and is not in the table.
        self.answer(id, out);
    }

    /// The kept lines that a member has missed, and whether it has missed others.
    pub(super) fn missed(
        &self,
        id: ConnId,
        missed: Missed,
        out: &mut Outbox,
    ) -> (Vec<&Said>, bool) {
        let Some(member) = self.members.get(id) else {
            return (Vec::new(), true);
        };
        let Missed {
            after,
            before,
            has_more,
        } = missed;
        let room = &self.rooms[member.room as usize];
        let ignores = |author: &str| {
            let number = self.ignored.number(&self.name_rules.fold(author))?;
            member.ignores(number)
        };
        let is_heard = |said: &&Said| !member.ignores_some() || ignores(said.author()).is_none();
        out.charge(room.history.lines().len() * ENTRY);
        let earlier = room.history.lines().rev();
        let earlier = earlier.filter(|said| said.number <= after).filter(is_heard);
        let mut missed: Vec<&Said> = earlier.take(before as usize).collect();
        let is_missing = has_more || (missed.len() as u64) < before || !room.history.reaches(after);
        missed.reverse();
        let later = room.history.lines().filter(|said| said.number > after);
        missed.extend(later.filter(is_heard));
        (missed, is_missing)
    }

    /// The connection of a member has ended. One that may come back is away from now on, if there is
    /// room for it; any other has left.
    pub(super) fn depart(&mut self, id: ConnId, why: &'static str, out: &mut Outbox) {
        if self.members.is_away(id) {
            return;
        }
        let is_member = self.is_member(id);
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
    pub(super) fn lay_down(&mut self, id: ConnId, out: &mut Outbox) {
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

    /// The seat of a member.
    pub(super) fn seat(&self, id: ConnId) -> Option<&Seat> {
        match self.seats.get(id) {
            Some(seat) => Some(seat),
            None => self.absences.seat(id),
        }
    }

    /// The seat of a member, or of a page that waits to be one.
    pub(super) fn seat_mut(&mut self, id: ConnId) -> Option<&mut Seat> {
        let here = self.seats.get_mut(id).map(|seat| &mut **seat);
        let absent = here.or_else(|| self.absences.seat_mut(id));
        absent.or_else(|| self.arrivals.seat_mut(id))
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
