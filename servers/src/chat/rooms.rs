//! Members enter and leave rooms.
//!
//! A room has the members that this server serves. If there are other servers, it exists as long as any
//! of them has a member there, and the names and the number of all its members are those of the
//! [`Membership`](crate::backplane::membership::Membership).

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::ENTRY;
use super::history::Said;
use super::member::{Member, NOWHERE};
use super::room::{LISTED_MAX, Room, Step, list_names};
use super::seat::messages;
use super::{Chat, LOBBY, text};

impl Chat {
    /// Moves a member into a room, and sends it the names of the members there and the last lines.
    pub(super) fn enter(&mut self, id: ConnId, name: &str, out: &mut Outbox) {
        let number = self.room(name);
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        page.extend_from_slice(b"* The room contains: ");
        let listed = self.list(number, Some(id), self.settings.plain, &mut page);
        out.charge(listed * ENTRY);
        if listed == 0 {
            page.clear();
            page.extend_from_slice(b"* The room is empty");
        }
        page.push(b'\n');
        self.add_history(id, number, &mut page, out);
        self.page = page;
        let room = &mut self.rooms[number as usize];
        let (place, told) = (room.enter(id), room.told);
        if let Some(member) = self.members.get_mut(id) {
            (member.room, member.place) = (number, place);
            room.ignoring += usize::from(member.ignores_some());
            if member.is_above() && room.gate.rise() {
                self.fall_behind(number, out);
            }
        }
        self.recount(number, out);
        self.answer(id, out);
        if let Some(seat) = self.seats.get_mut(id) {
            // The history follows the list of names, which is one message.
            seat.enter(told, messages(&self.page) - 1);
        }
        if let Some(author) = self.author(id) {
            self.announce(&author, Step::In, b"", out);
        }
    }

    /// Appends the last lines of a room, with their ages, but for those of authors that a member ignores.
    fn add_history(&self, id: ConnId, number: u32, page: &mut Vec<u8>, out: &mut Outbox) {
        let history = &self.rooms[number as usize].history;
        let hearer = self.members.get(id).filter(|member| member.ignores_some());
        let ignores = |author: &str| {
            let number = self.ignored.number(&self.name_rules.fold(author))?;
            hearer?.ignores(number)
        };
        let is_heard = |said: &&Said| hearer.is_none() || ignores(said.author()).is_none();
        if hearer.is_some() {
            out.charge(history.lines().len() * ENTRY);
        }
        let now = self.millis(out);
        for said in history.lines().filter(is_heard) {
            let age = Duration::from_millis(now.saturating_sub(said.at.millis));
            let _ = write!(page, "* {} ", text::age(age));
            page.extend_from_slice(&said.line);
        }
    }

    /// Appends the names of the members of a room, on all servers, and returns how many: names after the
    /// first [`LISTED_MAX`] are counted only, unless `all` is set. `newcomer`: a member that is not there
    /// yet.
    pub(super) fn list(
        &self,
        number: u32,
        newcomer: Option<ConnId>,
        all: bool,
        page: &mut Vec<u8>,
    ) -> usize {
        let room = &self.rooms[number as usize];
        let most = if all { usize::MAX } else { LISTED_MAX };
        let Some(replica) = self.synced() else {
            let members = room.members().iter();
            let names = members.filter_map(|&id| self.members.get(id).map(Member::name));
            return list_names(names, room.members().len(), most, page);
        };
        let newcomer = newcomer.map(|id| replica.own_id(self.numbers.of(id)));
        let (state, fold) = (replica.membership(), self.name_rules.fold(&room.name));
        let members = state
            .members_in(&fold)
            .filter(|member| Some(member.id) != newcomer);
        let count = state.room(&fold).map_or(0, |(_, count)| count);
        let is_in = newcomer.is_some_and(|id| {
            let member = state.member(id);
            member.is_some_and(|member| *member.room.fold == *fold)
        });
        let names = members.map(|member| &*member.name.shown);
        list_names(names, count - usize::from(is_in), most, page)
    }

    /// The number of the room with this name. A missing room is created.
    pub(super) fn room(&mut self, name: &str) -> u32 {
        if let Some(number) = self.room_by_name.get(name) {
            return number;
        }
        let number = self.rooms.insert(Room::new(name)) as u32;
        self.room_by_name.insert(name, number);
        let room = &self.rooms[number as usize];
        self.ranking.change(&room.name, None, Some(0));
        number
    }

    /// Takes a member out of its room.
    pub(super) fn leave(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id).filter(|member| member.has_joined()) else {
            return;
        };
        let (number, place) = (member.room, member.place);
        let room = &mut self.rooms[number as usize];
        if let Some(seat) = self.seats.get_mut(id) {
            seat.leave(room.told);
        }
        room.ignoring -= usize::from(member.ignores_some());
        let opens = member.is_above() && room.gate.fall();
        if place == NOWHERE {
            room.arriving -= 1;
        } else if let Some(moved) = room.leave(place)
            && let Some(moved) = self.members.get_mut(moved)
        {
            moved.place = place;
        }
        if opens {
            self.set_queue_timer(number, out);
        }
        self.recount(number, out);
    }

    /// Notes how many members a room has now. A room ends with its last member, except for the lobby.
    pub(super) fn recount(&mut self, number: u32, out: &mut Outbox) {
        self.adopt_spelling(number);
        let room = &self.rooms[number as usize];
        let here = room.members().len() + room.arriving;
        let count = match (&self.replica, self.synced()) {
            (None, _) => here,
            (Some(_), None) => room.count.max(here),
            (_, Some(replica)) => {
                let fold = self.name_rules.fold(&room.name);
                let all = replica.membership().room(&fold);
                all.map_or(0, |(_, count)| count).max(here)
            }
        };
        let ends = count == 0 && &*room.name != LOBBY;
        let after = (!ends).then_some(count);
        self.ranking.change(&room.name, Some(room.count), after);
        self.rooms[number as usize].count = count;
        if ends {
            self.dissolve_queue(number, out);
            let room = self.rooms.remove(number as usize);
            self.room_by_name.remove(&room.name);
        }
    }

    /// Gives a room the name that it has in the state. It may be another one if no member of the state was
    /// there for a while, since the members here were not announced again yet.
    fn adopt_spelling(&mut self, number: u32) {
        let fold = self.name_rules.fold(&self.rooms[number as usize].name);
        let state = self.synced().map(|replica| replica.membership());
        let Some((name, _)) = state.and_then(|state| state.room(&fold)) else {
            return;
        };
        let room = &self.rooms[number as usize];
        if *name.shown != *room.name {
            let (new, count) = (Arc::<str>::from(&*name.shown), room.count);
            self.ranking.change(&room.name, Some(count), None);
            self.ranking.change(&new, None, Some(count));
            self.rooms[number as usize].name = new;
        }
    }

    /// The name of a room as its first member spelt it, on whichever server.
    pub(super) fn spelling(&self, room: &str) -> Arc<str> {
        match self.room_by_name.get(room) {
            Some(number) => Arc::clone(&self.rooms[number as usize].name),
            None => room.into(),
        }
    }
}
