//! Lines that were said while the state was not known, and how the chat finds itself in the state again.

use std::borrow::Cow;
use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::judging::ALL_ROOMS;
use super::member::{Awaited, Member};
use super::room::Step;
use super::telling::{Author, write_line};
use crate::backplane::entry::{Body, Entry, MemberId, Origin, Position, Present};
use crate::backplane::membership::{Member as Known, Refusal};

/// Numbers of members in one entry.
const LEAVES_MAX: usize = 10_000;

impl Chat {
    /// Keeps a line that was said before this server started, for the history.
    pub(super) fn remember(&mut self, entry: &Entry<'_>, out: &mut Outbox) {
        let Body::Line {
            manner,
            name,
            room,
            text,
            ..
        } = &entry.body
        else {
            return;
        };
        if self.settings.history == 0 {
            return;
        }
        out.charge(text.len());
        let name = write_line(&mut self.page, *manner, name, text);
        let number = self.room(room);
        let room = &mut self.rooms[number as usize];
        room.told += 1;
        let limit = self.settings.history;
        room.history
            .keep(room.told, entry.at, &self.page, name, limit);
    }

    /// Tells a line whose author is not in the state by what the line itself says. `is_known`: the state at
    /// this place is known. If it is not, nobody can tell whose name a whisper is for, and it must not reach
    /// another one.
    pub(super) fn say_without_state(
        &mut self,
        entry: &Entry<'_>,
        is_known: bool,
        out: &mut Outbox,
    ) {
        let origin = entry.stamp.origin;
        let own = |number: u64| self.serves(MemberId { origin, number });
        match &entry.body {
            Body::Line {
                member,
                manner,
                name,
                room,
                text,
            } => {
                let id = if own(*member) {
                    self.landed(*member)
                } else {
                    None
                };
                let (name, room) = ((*name).into(), self.room(room));
                self.said(&Author { id, name, room }, *manner, text, entry.at, out);
                if self.synced().is_some() {
                    // No member may be there.
                    self.recount(room, out);
                }
            }
            Body::Whisper {
                member,
                name,
                to,
                text,
            } => {
                let id = if own(*member) {
                    self.landed(*member)
                } else {
                    None
                };
                if let Some(target) = self.named_without_state(to).filter(|_| is_known) {
                    self.hear_whisper(target, name, text, out);
                }
                if let Some(id) = id {
                    self.confirm_whisper(id, to, text, out);
                }
            }
            Body::Notice { room, text } => {
                let is_own = own(0);
                self.proclaimed(*room, text, entry.at, is_own, out);
            }
            _ => {}
        }
    }

    /// The member of this server that has the name with this fold, unless it has another bearer in the
    /// state: a member that was not announced again yet may lose its name.
    fn named_without_state(&self, fold: &str) -> Option<ConnId> {
        let state = self.replica.as_ref().map(|replica| replica.membership());
        match state.and_then(|state| state.named(fold)) {
            Some(bearer) => self.here(bearer.id),
            None => self.names.folded(fold),
        }
    }

    /// Lines may be missing here.
    pub(super) fn tell_gap(&mut self, out: &mut Outbox) {
        log::warn!("the log has a gap: lines may be missing");
        self.page.clear();
        self.page
            .extend_from_slice(b"* some lines may be missing here\n");
        let rooms: Vec<u32> = self.rooms.iter().map(|(number, _)| number as u32).collect();
        for number in rooms {
            self.tell_room(number, out);
            let room = &mut self.rooms[number as usize];
            room.history.note_gap(room.told);
        }
        let (millis, index) = (self.millis(out), 0);
        self.record_as(ALL_ROOMS, Position { millis, index }, out);
    }

    /// The state is known, for the first time or again: compares it with the members that this server
    /// serves.
    pub(super) fn compare(&mut self, out: &mut Outbox) {
        let Some(replica) = self.synced() else {
            return;
        };
        let state = replica.membership();
        let rooms: Vec<Box<str>> = state.rooms().map(|(name, _)| name.shown.clone()).collect();
        let own = state.members_of(replica.own_id(0).origin);
        let own: Vec<Known> = own.cloned().collect();
        let has_members = |server: &Origin| state.members_of(*server).next().is_some();
        let servers: Vec<Origin> = state.servers().filter(has_members).collect();
        servers.into_iter().for_each(|server| self.met.meet(server));
        for room in &rooms {
            self.room(room);
        }
        self.recount_all(out);
        self.find_arrivals(&own, out);
        let not_served = own.iter().filter(|known| !self.is_staying(known.id.number));
        let not_served: Vec<u64> = not_served.map(|known| known.id.number).collect();
        self.take_leave_of(&not_served, out);
        let ids: Vec<ConnId> = self.members.iter().map(|(id, _)| id).collect();
        for id in ids {
            let number = self.numbers.of(id);
            let known = own.binary_search_by_key(&number, |known| known.id.number);
            self.compare_member(id, known.ok().map(|at| &own[at]), out);
        }
    }

    /// Compares a member with the one that the state knows.
    fn compare_member(&mut self, id: ConnId, known: Option<&Known>, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.forget_in_flight();
        let awaits = member.extra().and_then(|extra| extra.awaits);
        let has_joined = member.has_joined();
        match (known, awaits) {
            (Some(known), Some(Awaited::Join)) => self.joined(id, &known.present(), Ok(()), out),
            (None, Some(Awaited::Leave)) => self.left(id, b"", out),
            (None, _) if has_joined => {
                self.find_elsewhere(id, out);
                self.step_on(id, out);
            }
            // One that leaves is counted where the state has it.
            (Some(known), _) if has_joined => {
                self.follow_state(id, known, out);
                self.step_on(id, out);
            }
            _ => {}
        }
    }

    /// Gives a member the name and the room that it has in the state.
    fn follow_state(&mut self, id: ConnId, known: &Known, out: &mut Outbox) {
        let (millis, index) = (self.millis(out), 0);
        let member = self.members.get(id);
        if member.is_some_and(|member| member.name() != &*known.name.shown) {
            let at = Position { millis, index };
            self.renamed(id, &known.name.shown, Ok(()), at, out);
        }
        let room = self.members.get(id).map(|member| member.room);
        if self.room_by_name.folded(&known.room.fold) != room {
            self.moved(id, &known.room.shown, Ok(()), out);
        }
    }

    /// Whether this server serves the member with this number, which is not about to leave.
    fn is_staying(&self, number: u64) -> bool {
        let member = self.served(number).and_then(|id| self.members.get(id));
        member.is_some_and(|member| !member.is_leaving())
    }

    /// Members of the state that this server does not serve leave.
    pub(super) fn take_leave_of(&mut self, members: &[u64], out: &mut Outbox) {
        for members in members.chunks(LEAVES_MAX) {
            let leave = Body::Leave {
                members: Cow::Borrowed(members),
                farewell: b"",
            };
            self.append(leave, out);
        }
    }

    /// This server has announced its members. Those that are back and not served any more leave; those
    /// that could not have their names are asked for others.
    pub(super) fn announced(
        &mut self,
        back: &[MemberId],
        refused: &[(u64, Refusal)],
        out: &mut Outbox,
    ) {
        self.recount_all(out);
        // The log may have lost a change of the name or the room that was read before.
        for known in self.known_members(back) {
            if let Some(id) = self
                .served(known.id.number)
                .filter(|id| self.is_member(*id))
            {
                self.follow_state(id, &known, out);
            }
        }
        let back = back.iter().map(|id| id.number);
        let not_served: Vec<u64> = back.filter(|number| !self.is_staying(*number)).collect();
        self.take_leave_of(&not_served, out);
        for (number, why) in refused {
            if let Some(id) = self.served(*number).filter(|id| self.is_member(*id)) {
                match why {
                    Refusal::Banned => self.sent_away(id, false, out),
                    _ => self.ask_for_another_name(id, out),
                }
            }
        }
        self.claim_again(out);
    }

    fn known_members(&self, members: &[MemberId]) -> Vec<Known> {
        let state = self.replica.as_ref().map(|replica| replica.membership());
        let known = |id: &MemberId| state.and_then(|state| state.member(*id)).cloned();
        members.iter().filter_map(known).collect()
    }

    /// Members of this server that the state has lost with the entries that told of them claim their names
    /// again.
    fn claim_again(&mut self, out: &mut Outbox) {
        let Some(replica) = self.synced().filter(|replica| replica.has_announced()) else {
            return;
        };
        let state = replica.membership();
        let is_missing = |(id, member): &(ConnId, &Member)| {
            let is_here = member.has_joined() && !member.is_leaving() && !self.arrivals.has(*id);
            let number = self.numbers.of(*id);
            is_here && state.member(replica.own_id(number)).is_none()
        };
        let missing = self.members.iter().filter(is_missing);
        let missing: Vec<ConnId> = missing.map(|(id, _)| id).collect();
        for id in missing {
            let Some(author) = self.author(id) else {
                continue;
            };
            let room = Arc::clone(&self.rooms[author.room as usize].name);
            let (name, room) = (
                self.name_rules.forms(&author.name),
                self.name_rules.forms(&room),
            );
            let present = Present {
                number: self.numbers.of(id),
                name: name.lent(),
                room: room.lent(),
                address: self.banned_address(id),
                token: self.seat(id).map(|seat| seat.token.digest()),
            };
            self.append(Body::Join(present), out);
        }
    }

    /// The name of a member has another bearer by now. Its connection is a newcomer's again.
    pub(super) fn ask_for_another_name(&mut self, id: ConnId, out: &mut Outbox) {
        if self.members.get(id).is_some_and(Member::is_leaving) {
            return self.left(id, b"", out);
        }
        let Some(author) = self.author(id) else {
            return;
        };
        self.announce(&author, Step::Out, b"", out);
        self.leave_queue(id, out);
        self.leave(id, out);
        self.free(&author.name, id);
        self.note(&format!("{} has lost its name", author.name), out);
        if let Some(member) = self.members.get_mut(id) {
            member.lose_name();
        }
        let told = "your name was taken while this server was away: choose another one";
        self.ask_again(id, told, out);
        // Its stream may have ended, and its input may rest.
        self.go_on(id, None, out);
    }

    /// Asks a member that has lost its name for one.
    pub(super) fn ask_again(&mut self, id: ConnId, told: &str, out: &mut Outbox) {
        self.reply(id, told, out);
        match self.settings.login_timeout.is_zero() {
            true => out.clear_timer(id),
            false => out.set_timer(id, self.settings.login_timeout),
        }
    }
}
