//! The members of other servers, as the members of this one see them.
//!
//! This server knows them from the [`Membership`](crate::backplane::membership::Membership) only, which
//! includes an entry by the time that it is told here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::room::Step;
use super::telling::Author;
use crate::backplane::entry::{Body, Entry, MemberId};
use crate::backplane::membership::{Effect, Member};
use crate::backplane::replica::Replica;

/// Number of members that are told by name if they leave or return together; more are counted only.
const TOLD_BY_NAME: usize = 8;
/// Time for which a room is behind on another server after that has said so.
const BEHIND_FOR: Duration = Duration::from_secs(2);

impl Chat {
    /// The replica, if it knows the state.
    pub(super) fn synced(&self) -> Option<&Replica> {
        let replica = self.replica.as_deref();
        replica.filter(|replica| replica.is_synced())
    }

    /// Whether this server serves a member of the state, or has served it.
    pub(super) fn serves(&self, member: MemberId) -> bool {
        let replica = self.replica.as_ref();
        replica.is_none_or(|replica| replica.is_own(member.origin))
    }

    /// An entry of another server has had its effect on the state of all.
    pub(super) fn happen_elsewhere(&mut self, entry: &Entry<'_>, effect: Effect, out: &mut Outbox) {
        self.met.note(entry, &effect);
        match (&entry.body, effect) {
            (Body::Join(present), Effect::Joined(_)) => {
                let (name, room) = (present.name.shown.into(), present.room.shown);
                self.stepped_in(name, room, out);
            }
            (Body::Leave { farewell, .. }, Effect::Left(left)) => {
                for member in &left {
                    self.left_elsewhere(member, farewell, out);
                }
            }
            (Body::Move { member, .. }, Effect::Moved(from)) => {
                if let Some((name, room)) = self.known(entry, *member) {
                    self.stepped_out(Arc::clone(&name), &from.fold, b"", out);
                    self.stepped_in(name, &room, out);
                }
            }
            (Body::Rename { member, .. }, Effect::Renamed(old)) => {
                if let Some(author) = self.author_elsewhere(entry, *member) {
                    self.tell_rename(&author, &old.shown, entry.at, out);
                }
            }
            (Body::Ban { .. }, Effect::Left(left)) => self.judged(entry, &left, false, out),
            (Body::Stop, Effect::Left(left)) => {
                self.left_together(&left, "a server has stopped", out);
            }
            (_, Effect::Left(left)) => self.left_together(&left, "a server is gone", out),
            (_, Effect::Announced { back, .. }) => {
                let returns = self.met.returns(entry.stamp.origin);
                self.announced_elsewhere(&back, returns, out);
            }
            (Body::Behind { room }, Effect::Nothing) => {
                if let Some(number) = self.room_by_name.folded(room) {
                    let gate = &mut self.rooms[number as usize].gate;
                    gate.fall_behind_elsewhere(out.now() + BEHIND_FOR);
                }
            }
            (_, Effect::Reset(_)) => self.recount_all(out),
            (_, Effect::Said(target)) => self.said_elsewhere(entry, target, out),
            (body, Effect::Unheard) if body.is_line() => self.say_without_state(entry, true, out),
            _ => {}
        }
    }

    /// The name of a member of the server that has appended an entry, and the name of its room.
    fn known(&self, entry: &Entry<'_>, number: u64) -> Option<(Arc<str>, Arc<str>)> {
        let origin = entry.stamp.origin;
        let state = self.replica.as_ref()?.membership();
        let member = state.member(MemberId { origin, number })?;
        Some((
            member.name.shown.as_ref().into(),
            member.room.shown.as_ref().into(),
        ))
    }

    fn author_elsewhere(&mut self, entry: &Entry<'_>, number: u64) -> Option<Author> {
        let (name, room) = self.known(entry, number)?;
        let (id, room) = (None, self.room(&room));
        Some(Author { id, name, room })
    }

    fn said_elsewhere(&mut self, entry: &Entry<'_>, target: Option<MemberId>, out: &mut Outbox) {
        match &entry.body {
            Body::Line {
                member,
                manner,
                text,
                ..
            } => match self.author_elsewhere(entry, *member) {
                Some(author) => self.said(&author, *manner, text, entry.at, out),
                None => self.say_without_state(entry, true, out),
            },
            Body::Notice { room, text } => self.proclaimed(*room, text, entry.at, false, out),
            Body::Whisper { .. } => {
                if let Some(target) = target {
                    self.whispered_to(entry, target, out);
                }
            }
            _ => {}
        }
    }

    /// A member of this server or another has whispered to a member of this server or another.
    pub(super) fn whispered_to(&mut self, entry: &Entry<'_>, target: MemberId, out: &mut Outbox) {
        let Body::Whisper {
            member, name, text, ..
        } = &entry.body
        else {
            return;
        };
        let state = self.replica.as_ref().map(|replica| replica.membership());
        let to = state.and_then(|state| state.member(target));
        let to: Arc<str> = to.map_or_else(Arc::default, |to| to.name.shown.as_ref().into());
        let origin = entry.stamp.origin;
        let author = MemberId {
            origin,
            number: *member,
        };
        let is_own = self.serves(author);
        let from = self.known(entry, *member);
        let from = from.map_or_else(|| (*name).into(), |(name, _)| name);
        if let Some(target) = self.here(target) {
            self.hear_whisper(target, &from, text, out);
        }
        if is_own && let Some(id) = self.landed(*member) {
            self.confirm_whisper(id, &to, text, out);
        }
    }

    /// The connection of a member, if this server serves it and it has not left.
    pub(super) fn here(&self, member: MemberId) -> Option<ConnId> {
        match self.serves(member) {
            true => self.served(member.number),
            false => None,
        }
    }

    /// The name of a member of any server, if there is one with this name.
    pub(super) fn name_elsewhere(&self, name: &str) -> Option<String> {
        let state = self.replica.as_ref()?.membership();
        let member = state.named(&self.name_rules.fold(name))?;
        Some(member.name.shown.to_string())
    }

    pub(super) fn is_known_elsewhere(&self, name: &str) -> bool {
        self.name_elsewhere(name).is_some()
    }

    fn stepped_in(&mut self, name: Arc<str>, room: &str, out: &mut Outbox) {
        let (id, room) = (None, self.room(room));
        self.announce(&Author { id, name, room }, Step::In, b"", out);
        // The room may have ended by now: after a gap the state is ahead of what is told.
        self.recount(room, out);
    }

    /// A member has left the room with this fold.
    fn stepped_out(&mut self, name: Arc<str>, fold: &str, farewell: &[u8], out: &mut Outbox) {
        if let Some(room) = self.room_by_name.folded(fold) {
            let id = None;
            self.announce(&Author { id, name, room }, Step::Out, farewell, out);
            self.recount(room, out);
        }
    }

    /// A member of another server has left.
    pub(super) fn left_elsewhere(&mut self, member: &Member, farewell: &[u8], out: &mut Outbox) {
        let name = member.name.shown.as_ref().into();
        self.stepped_out(name, &member.room.fold, farewell, out);
    }

    /// The members of a server have left with it, but for those of this one, which are announced again.
    pub(super) fn left_together(&mut self, left: &[Member], why: &str, out: &mut Outbox) {
        let mut rooms = BTreeMap::<u32, Vec<&str>>::new();
        for member in left.iter().filter(|member| !self.serves(member.id)) {
            if let Some(room) = self.room_by_name.folded(&member.room.fold) {
                rooms.entry(room).or_default().push(&member.name.shown);
            }
        }
        for (room, names) in rooms {
            let (names, many) = together(&names);
            let have = if many { "have" } else { "has" };
            self.tell_group(room, &format!("{names} {have} left the room: {why}"), out);
            self.recount(room, out);
        }
    }

    /// The members of another server have been announced again.
    /// If they have not left for the members here (`returns` is false), these are told nothing.
    fn announced_elsewhere(&mut self, back: &[MemberId], returns: bool, out: &mut Outbox) {
        let Some(replica) = &self.replica else {
            return;
        };
        let state = replica.membership();
        let mut rooms = BTreeMap::<Box<str>, Vec<Box<str>>>::new();
        for member in back.iter().filter_map(|id| state.member(*id)) {
            let names = rooms.entry(member.room.shown.clone()).or_default();
            names.push(member.name.shown.clone());
        }
        for (room, names) in rooms {
            let room = self.room(&room);
            let (names, many) = together(&names);
            let are = if many { "are" } else { "is" };
            if returns {
                self.tell_group(room, &format!("{names} {are} back"), out);
            }
            self.recount(room, out);
        }
    }

    fn tell_group(&mut self, room: u32, words: &str, out: &mut Outbox) {
        let name = &self.rooms[room as usize].name;
        let entry = format!("{name}: {words}");
        self.note(&entry, out);
        self.page.clear();
        for part in ["* ", words, "\n"] {
            self.page.extend_from_slice(part.as_bytes());
        }
        self.tell_room(room, out);
        self.show_step(room, false, out);
    }

    /// A room is behind on this server. Talkers on other servers must not tell it more than its members
    /// here can take, so all are told, and told again as long as that lasts.
    pub(super) fn fall_behind(&mut self, number: u32, out: &mut Outbox) {
        if self.replica.is_some() && !self.behind.contains(&number) {
            self.behind.push(number);
            self.tell_behind(number, out);
        }
    }

    fn tell_behind(&mut self, number: u32, out: &mut Outbox) {
        let room = &self.rooms[number as usize];
        if room.count > room.members().len() {
            let name = Arc::clone(&room.name);
            let room = &self.name_rules.fold(&name);
            self.append(Body::Behind { room }, out);
        }
        self.tick(out);
    }

    /// Tells again which rooms are behind.
    pub(super) fn tell_all_behind(&mut self, out: &mut Outbox) {
        for number in std::mem::take(&mut self.behind) {
            let room = self.rooms.get(number as usize);
            if room.is_some_and(|room| room.gate.is_behind_here()) {
                self.behind.push(number);
                self.tell_behind(number, out);
            }
        }
    }

    /// Notes how many members each room has.
    pub(super) fn recount_all(&mut self, out: &mut Outbox) {
        let rooms: Vec<u32> = self.rooms.iter().map(|(number, _)| number as u32).collect();
        rooms.into_iter().for_each(|room| self.recount(room, out));
    }
}

/// Some members as the subject of a sentence, and whether they are many.
fn together(names: &[impl AsRef<str>]) -> (String, bool) {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match &names[..] {
        [name] => ((*name).to_owned(), false),
        [names @ .., last] if names.len() < TOLD_BY_NAME => {
            (format!("{} and {last}", names.join(", ")), true)
        }
        names => (format!("{} people", names.len()), true),
    }
}
