//! The lines that each member has to be shown, computed from the entries of the log alone.
//!
//! The [`Membership`] says what each entry means; `backplane_simulation.rs` tests it. This file knows
//! nothing of connections, of time, or of how a chat keeps its members.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::backplane::entry::{Body, Entry, Manner, MemberId, Origin};
use crate::backplane::log::Record;
use crate::backplane::membership::{Effect, Member, Membership};

/// Number of members that are named in one line.
const NAMED_MAX: usize = 8;

/// A member as its own server shows it, which goes on while the state does not know it.
#[derive(Debug)]
struct Shown {
    name: String,
    room: String,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Reference {
    state: Membership,
    seen: HashMap<Origin, u64>,
    members: BTreeMap<MemberId, Shown>,
    /// Those that have been told that they are in a room. The others had gone before.
    greeted: BTreeSet<MemberId>,
    told: BTreeMap<MemberId, Vec<String>>,
    /// For each server, those whose members its own members know of.
    met: BTreeMap<Origin, BTreeSet<Origin>>,
    /// The server whose announcement is being read, and those whose members are told that it is back.
    returning: Option<(Origin, BTreeSet<Origin>)>,
    /// The state does not follow from the log alone any more.
    is_lost: bool,
}

impl Reference {
    pub(super) fn new(greeted: BTreeSet<MemberId>) -> Reference {
        Reference {
            greeted,
            ..Reference::default()
        }
    }

    /// Whether the log alone does not tell what members are shown.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The lines that a member is told, in small letters.
    pub(super) fn told(&self, member: MemberId) -> &[String] {
        self.told.get(&member).map_or(&[], Vec::as_slice)
    }

    pub(super) fn read(&mut self, record: &Record) {
        let entry = record.entry().expect("an entry");
        if self.is_lost {
            return;
        }
        let Ok(effect) = self.state.apply(&entry) else {
            // A `Reset` that came twice has emptied the state: all servers tell a gap, and ask each other.
            self.is_lost = true;
            return;
        };
        let is_new = self.is_new(&entry);
        self.meet(&entry, &effect);
        match effect {
            Effect::Joined(id) => self.joined(id),
            Effect::Moved(from) => self.moved(&entry, &from.fold),
            Effect::Renamed(old) => self.renamed(&entry, &old.shown),
            Effect::Left(left) => self.left(&entry, &left),
            Effect::Announced { back, refused } => {
                let refused: Vec<u64> = refused.iter().map(|(number, _)| *number).collect();
                self.announced(entry.stamp.origin, &back, &refused);
            }
            Effect::Said(target) if is_new => self.said(&entry, target),
            Effect::Unheard if is_new && entry.body.is_line() => self.said_without_state(&entry),
            _ => {}
        }
    }

    /// Notes which servers know of each other's members.
    fn meet(&mut self, entry: &Entry<'_>, effect: &Effect) {
        let origin = entry.stamp.origin;
        if !matches!(entry.body, Body::Announce { .. }) {
            self.returning
                .take_if(|(returning, _)| *returning == origin);
        }
        match (&entry.body, effect) {
            (Body::Start { .. }, Effect::Left(_)) => {
                let all: BTreeSet<Origin> = self
                    .state
                    .members()
                    .map(|member| member.id.origin)
                    .collect();
                for met in self.met.values_mut() {
                    met.retain(|known| known.server != origin.server);
                }
                self.met.insert(origin, all);
            }
            (Body::Join(_), Effect::Joined(_)) => {
                for met in self.met.values_mut() {
                    met.insert(origin);
                }
            }
            (Body::Stop, Effect::Left(_)) => {
                for met in self.met.values_mut() {
                    met.remove(&origin);
                }
            }
            (Body::Gone { origin, .. }, Effect::Left(_)) => {
                self.returning.take_if(|(returning, _)| returning == origin);
                for met in self.met.values_mut() {
                    met.remove(origin);
                }
            }
            (Body::Announce { .. }, Effect::Announced { .. }) => self.announces(origin),
            _ => {}
        }
    }

    /// A server announces its members, in this entry or others: those that do not know of them are told.
    fn announces(&mut self, origin: Origin) {
        let is_known = |(returning, _): &(Origin, BTreeSet<Origin>)| *returning == origin;
        if self.returning.as_ref().is_some_and(is_known) {
            return;
        }
        let met = self.met.iter_mut();
        let told = met.filter_map(|(server, met)| met.insert(origin).then_some(*server));
        self.returning = Some((origin, told.collect()));
    }

    fn is_new(&mut self, entry: &Entry<'_>) -> bool {
        let seen = self.seen.entry(entry.stamp.origin).or_default();
        let is_new = entry.stamp.seq > *seen;
        *seen = entry.stamp.seq.max(*seen);
        is_new
    }

    fn tell(&mut self, member: MemberId, line: &str) {
        let told = self.told.entry(member).or_default();
        told.push(line.to_lowercase());
    }

    /// Tells a line to those in a room for whom `hears` is true.
    fn tell_room(&mut self, room: &str, line: &str, hears: impl Fn(MemberId) -> bool) {
        let hearers = self.members.iter();
        let hearers = hearers.filter(|(id, shown)| shown.room == room && hears(**id));
        let hearers: Vec<MemberId> = hearers.map(|(id, _)| *id).collect();
        for id in hearers {
            self.tell(id, line);
        }
    }

    fn named(&self, member: MemberId) -> (String, String) {
        let member = self.state.member(member).expect("it is there");
        (member.name.shown.to_string(), member.room.fold.to_string())
    }

    fn greet(&mut self, id: MemberId, room: &str) {
        let others = self.state.members_in(room);
        let others = others.filter(|member| member.id != id);
        let names: Vec<&str> = others.map(|member| &*member.name.shown).collect();
        let line = match names.is_empty() {
            true => "* The room is empty".to_owned(),
            false => sorted(&format!("* The room contains: {}", names.join(", "))),
        };
        self.tell(id, &line);
    }

    fn joined(&mut self, id: MemberId) {
        let (name, room) = self.named(id);
        self.tell_room(&room, &format!("* {name} has entered the room"), |_| true);
        if self.greeted.contains(&id) {
            self.greet(id, &room);
            self.members.insert(id, Shown { name, room });
        }
    }

    fn moved(&mut self, entry: &Entry<'_>, from: &str) {
        let Body::Move { member, .. } = entry.body else {
            return;
        };
        let id = own(entry, member);
        let (name, room) = self.named(id);
        let others = |other| other != id;
        self.tell_room(from, &format!("* {name} has left the room"), others);
        self.tell_room(&room, &format!("* {name} has entered the room"), others);
        self.greet(id, &room);
        if let Some(shown) = self.members.get_mut(&id) {
            shown.room = room;
        }
    }

    fn renamed(&mut self, entry: &Entry<'_>, old: &str) {
        let Body::Rename { member, .. } = entry.body else {
            return;
        };
        let id = own(entry, member);
        let (name, room) = self.named(id);
        let line = format!("* {old} is now known as {name}");
        self.tell_room(&room, &line, |other| other != id);
        if let Some(shown) = self.members.get_mut(&id) {
            shown.name = name;
        }
    }

    fn left(&mut self, entry: &Entry<'_>, left: &[Member]) {
        let why = match &entry.body {
            Body::Leave { farewell, .. } => {
                let farewell = String::from_utf8_lossy(farewell);
                return self.left_one_by_one(entry, left, &farewell);
            }
            Body::Ban { .. } => return self.left_one_by_one(entry, left, ""),
            Body::Stop => "a server has stopped",
            _ => "a server is gone",
        };
        let group: Vec<MemberId> = left.iter().map(|member| member.id).collect();
        let known = left.iter();
        let known = known.map(|member| (&*member.room.fold, &*member.name.shown));
        self.tell_group(&group, &known.collect::<Vec<_>>(), None, |names, many| {
            let have = if many { "have" } else { "has" };
            format!("* {names} {have} left the room: {why}")
        });
    }

    fn left_one_by_one(&mut self, entry: &Entry<'_>, left: &[Member], farewell: &str) {
        let farewell = match farewell {
            "" => String::new(),
            farewell => format!(" ({farewell})"),
        };
        let leaving: Vec<MemberId> = match &entry.body {
            Body::Leave { members, .. } => members.iter().map(|it| own(entry, *it)).collect(),
            _ => left.iter().map(|member| member.id).collect(),
        };
        for id in leaving {
            let Some(member) = left.iter().find(|member| member.id == id) else {
                self.leaves_at_home(id);
                continue;
            };
            self.members.remove(&id);
            let line = format!("* {} has left the room{farewell}", member.name.shown);
            self.tell_room(&member.room.fold, &line, |_| true);
        }
    }

    /// A member whom only its own server knows leaves.
    fn leaves_at_home(&mut self, id: MemberId) {
        if let Some(Shown { name, room }) = self.members.remove(&id) {
            let at_home = |other: MemberId| other.origin == id.origin;
            self.tell_room(&room, &format!("* {name} has left the room"), at_home);
        }
    }

    /// Tells members of other servers of some that leave or are back together: each given by its room
    /// and its name. `hearers`: the servers whose members are told; `None` is all.
    fn tell_group(
        &mut self,
        group: &[MemberId],
        known: &[(&str, &str)],
        hearers: Option<&BTreeSet<Origin>>,
        line: impl Fn(&str, bool) -> String,
    ) {
        let rooms: BTreeSet<&str> = known.iter().map(|(room, _)| *room).collect();
        let origins: BTreeSet<Origin> = self.members.keys().map(|id| id.origin).collect();
        for room in rooms {
            let hears = |origin: &&Origin| hearers.is_none_or(|hearers| hearers.contains(*origin));
            for origin in origins.iter().filter(hears) {
                let told = group.iter().zip(known);
                let told = told.filter(|(id, (its, _))| id.origin != *origin && *its == room);
                let names: Vec<&str> = told.map(|(_, (_, name))| *name).collect();
                let (names, many) = match &names[..] {
                    [] => continue,
                    [name] => ((*name).to_owned(), false),
                    [names @ .., last] if names.len() < NAMED_MAX => {
                        (format!("{} and {last}", names.join(", ")), true)
                    }
                    names => (format!("{} people", names.len()), true),
                };
                self.tell_room(room, &line(&names, many), |id| id.origin == *origin);
            }
        }
    }

    fn announced(&mut self, origin: Origin, back: &[MemberId], refused: &[u64]) {
        let known: Vec<(String, String)> = back.iter().map(|id| self.named(*id)).collect();
        let known = known.iter().map(|(name, room)| (&**room, &**name));
        let hearers = self.returning.as_ref().map(|(_, hearers)| hearers.clone());
        let hearers = hearers.unwrap_or_default();
        let known: Vec<_> = known.collect();
        self.tell_group(back, &known, Some(&hearers), |names, many| {
            let are = if many { "are" } else { "is" };
            format!("* {names} {are} back")
        });
        for &number in refused {
            self.leaves_at_home(MemberId { origin, number });
        }
    }

    fn said(&mut self, entry: &Entry<'_>, target: Option<MemberId>) {
        match &entry.body {
            Body::Line {
                member,
                manner,
                text,
                ..
            } => {
                let id = own(entry, *member);
                let (name, room) = self.named(id);
                let line = written(*manner, &name, text);
                self.tell_room(&room, &line, |other| other != id);
            }
            Body::Whisper { member, text, .. } => {
                let (from, to) = (own(entry, *member), target.expect("its target"));
                let text = String::from_utf8_lossy(text);
                let (its_name, name) = (self.named(to).0, self.named(from).0);
                self.tell_present(to, &format!("[{name} to you] {text}"));
                self.tell_present(from, &format!("[you to {its_name}] {text}"));
            }
            _ => self.noticed(entry),
        }
    }

    fn noticed(&mut self, entry: &Entry<'_>) {
        if let Body::Notice { room: None, text } = &entry.body {
            let line = format!("* operator: {}", String::from_utf8_lossy(text));
            let all: Vec<MemberId> = self.members.keys().copied().collect();
            all.into_iter().for_each(|id| self.tell(id, &line));
        }
    }

    fn tell_present(&mut self, id: MemberId, line: &str) {
        if self.members.contains_key(&id) {
            self.tell(id, line);
        }
    }

    /// The server of a line's author is not in the state.
    fn said_without_state(&mut self, entry: &Entry<'_>) {
        match &entry.body {
            Body::Line {
                member,
                manner,
                name,
                room,
                text,
            } => {
                let id = own(entry, *member);
                let line = written(*manner, name, text);
                self.tell_room(&room.to_lowercase(), &line, |other| other != id);
            }
            Body::Whisper {
                member,
                name,
                to,
                text,
            } => {
                let text = String::from_utf8_lossy(text);
                let in_state = self.state.named(to).map(|target| target.id);
                let named = self.members.iter();
                let named = named.filter(|(_, shown)| shown.name.to_lowercase() == *to);
                let hearers = || named.map(|(id, _)| *id).collect();
                let hearers: Vec<MemberId> = in_state.map_or_else(hearers, |id| vec![id]);
                for id in hearers {
                    self.tell_present(id, &format!("[{name} to you] {text}"));
                }
                self.tell_present(own(entry, *member), &format!("[you to {to}] {text}"));
            }
            _ => self.noticed(entry),
        }
    }
}

fn own(entry: &Entry<'_>, number: u64) -> MemberId {
    let origin = entry.stamp.origin;
    MemberId { origin, number }
}

fn written(manner: Manner, name: &str, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match manner {
        Manner::Say => format!("[{name}] {text}"),
        Manner::Act => format!("** {name} {text}"),
    }
}

/// A list of names in their order, which is that of no server.
pub(super) fn sorted(line: &str) -> String {
    match line.split_once(": ") {
        Some((before, names)) => {
            let mut names: Vec<String> = names.split(", ").map(str::to_lowercase).collect();
            names.sort_unstable();
            format!("{before}: {}", names.join(", "))
        }
        None => line.to_owned(),
    }
}
