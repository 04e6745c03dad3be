//! The checks that must hold after the faults have ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::person::Person;
use super::reference::{Reference, sorted};
use super::server::Server;
use super::{Faults, Habits, Sum, World};
use crate::backplane::entry::{Body, MemberId, Origin, Position};
use crate::backplane::membership::Membership;
use crate::chat::{Chat, Member};

/// Lines that some member has to have been told in some run.
pub(super) const FEATURES: [&str; 8] = [
    "left the room: a server is gone",
    "left the room: a server has stopped",
    "are back",
    "is back",
    "* your name was taken while this server was away: choose another one",
    "* what you say waits: this server cannot reach the others",
    "* this name is taken",
    "* some lines may be missing here",
];
/// Most times in a second that the log is seen to while nothing happens: it is looked at every 20 ms.
const CALLS_MAX: u64 = 60;

impl Server {
    fn state(&self) -> &Membership {
        let replica = self.chat().replica.as_ref().expect("a replica");
        replica.membership()
    }

    fn closed(&self, person: &Person) -> bool {
        self.script.closed(person.id).is_some()
    }

    /// The room and the name of a person that is a member.
    fn member(&self, person: &Person) -> Option<(&str, &str)> {
        let chat = self.chat();
        let member = chat.members.get(person.id)?;
        let joined = member.has_joined() && !self.closed(person);
        joined.then(|| (&*chat.rooms[member.room as usize].name, member.name()))
    }
}

impl World {
    fn context(&self) -> String {
        format!("seed {}, {:?}, {:?}", self.seed, self.faults, self.habits)
    }

    pub(super) fn check(&mut self, sum: &mut Sum) {
        self.check_rest();
        self.check_states();
        self.check_lists();
        self.check_hearing();
        self.check_exactness(sum);
        self.check_words();
        self.check_transcripts();
        self.sum_up(sum);
    }

    fn sum_up(&self, sum: &mut Sum) {
        for server in &self.servers {
            let replica = server.chat().replica.as_ref().expect("a replica");
            sum.gaps += replica.counters().gaps;
            sum.duplicates += replica.counters().duplicates;
            sum.reconnects += server.log.borrow().reconnects() as u64;
        }
        for person in &self.persons {
            sum.lines += person.lines.len();
            let told = FEATURES.iter().filter(|feature| person.was_told(feature));
            sum.features.extend(told);
        }
    }

    /// No timer is busy, and nobody waits.
    fn check_rest(&mut self) {
        let context = self.context();
        let calls = |world: &World| -> Vec<u64> {
            let calls = world.servers.iter();
            calls.map(|server| *server.calls.borrow()).collect()
        };
        let before = calls(self);
        (0..50).for_each(|_| self.turn(Duration::from_millis(100)));
        for (before, after) in before.into_iter().zip(calls(self)) {
            let calls = after - before;
            assert!(calls <= 5 * CALLS_MAX, "{context}: {calls} calls in 5 s");
        }
        for server in &self.servers {
            let (me, chat) = (server.origin, server.chat());
            assert!(chat.synced().is_some(), "{context}: {me:?} is not in sync");
            assert_eq!(server.log.borrow().pending(), 0, "{context}");
            assert!(chat.leaving.is_empty(), "{context}");
            for (id, member) in chat.members.iter() {
                let extra = member.extra();
                let is_busy = extra.is_some_and(|extra| {
                    extra.kept.is_some()
                        || extra.awaits.is_some()
                        || extra.in_flight > 0
                        || !extra.held.is_empty()
                });
                assert!(!is_busy, "{context}: {me:?}: {member:?}");
                assert!(
                    !server.script.is_paused(id),
                    "{context}: {me:?}: {member:?}"
                );
            }
            check_chat(chat, &context);
        }
    }

    fn check_states(&self) {
        let context = self.context();
        let state = self.servers[0].state();
        let expected = state.snapshot(Position::START);
        let living: BTreeSet<Origin> = self.servers.iter().map(|server| server.origin).collect();
        let known: BTreeSet<Origin> = state.servers().collect();
        assert_eq!(known, living, "{context}");
        for server in &self.servers {
            let (me, chat) = (server.origin, server.chat());
            let state = server.state();
            assert_eq!(state.snapshot(Position::START), expected, "{context}");
            let own: BTreeMap<u64, (&str, &str)> = state
                .members_of(me)
                .map(|member| (member.id.number, (&*member.name.shown, &*member.room.shown)))
                .collect();
            let served = chat.members.iter();
            let served = served.filter(|(_, member)| member.has_joined());
            let served: BTreeMap<u64, (&str, &str)> = served
                .map(|(id, member)| {
                    let room = &*chat.rooms[member.room as usize].name;
                    (chat.numbers.of(id), (member.name(), room))
                })
                .collect();
            assert_eq!(own, served, "{context}: members of {me:?}");
        }
    }

    /// `/who` and `/rooms` are the same for all.
    fn check_lists(&mut self) {
        let context = self.context();
        let mut rooms: Vec<(usize, String)> = self.servers[0]
            .state()
            .rooms()
            .map(|(name, count)| (count, name.shown.to_string()))
            .collect();
        if !rooms.iter().any(|(_, name)| name == "lobby") {
            rooms.push((0, "lobby".into()));
        }
        rooms.sort_by_key(|(count, name)| (Reverse(*count), name.clone()));
        let rooms: Vec<String> = rooms
            .into_iter()
            .map(|(count, name)| format!("{name} ({count})"))
            .collect();
        let rooms = format!("* rooms: {}", rooms.join(", "));
        for server in &mut self.servers {
            let (origin, persons) = (server.origin, self.persons.iter_mut());
            for person in persons.filter(|person| person.origin == origin) {
                let Some((room, _)) = server.member(person) else {
                    continue;
                };
                let fold = room.to_lowercase();
                let names = server.state().members_in(&fold);
                let names: Vec<&str> = names.map(|member| &*member.name.shown).collect();
                let who = format!("* in {room} ({}): {}", names.len(), names.join(", "));
                server.says(person.id, "/who\n/rooms");
                let before = person.lines.len();
                person.listen(&mut server.script);
                let told: Vec<String> = person.lines[before..]
                    .iter()
                    .map(|line| match line.starts_with("* in ") {
                        true => sorted(line),
                        false => line.clone(),
                    })
                    .collect();
                assert_eq!(told, [sorted(&who), rooms.clone()], "{context}");
            }
        }
    }

    /// A line of each member is heard by all others in its room, and by no one else.
    fn check_hearing(&mut self) {
        let context = self.context();
        let mut said = Vec::new();
        for at in 0..self.persons.len() {
            let origin = self.persons[at].origin;
            let server = self.servers.iter();
            let server = server.filter(|server| server.origin == origin);
            let spoken = server.filter_map(|server| server.member(&self.persons[at]));
            let room = spoken.map(|(room, _)| room.to_lowercase()).next();
            if let Some(room) = room {
                let token = self.token('f');
                said.push((at, room, token));
            }
        }
        for (at, _, token) in &said {
            let person = &self.persons[*at];
            let server = self.servers.iter_mut();
            for server in server.filter(|server| server.origin == person.origin) {
                server.says(person.id, token);
            }
        }
        (0..50).for_each(|_| self.turn(Duration::from_millis(100)));
        for (author, room, token) in &said {
            for (hearer, its_room, _) in &said {
                let person = &self.persons[*hearer];
                let expected = usize::from(author != hearer && room == its_room);
                let word = format!("] {token}");
                let heard = person.lines.iter().filter(|line| line.ends_with(&word));
                if !person.has_ignored {
                    assert_eq!(heard.count(), expected, "{context}: {token}");
                }
            }
        }
    }

    fn has_gap(&self, origin: Origin) -> bool {
        let server = self.servers.iter().find(|server| server.origin == origin);
        self.with_gaps.contains(&origin) || server.is_some_and(|server| server.gaps() > 0)
    }

    fn check_exactness(&self, sum: &mut Sum) {
        if self.faults == Faults::Forgetful {
            return;
        }
        let context = self.context();
        let greeted = self.persons.iter();
        let greeted = greeted.filter(|person| person.was_told("* The room "));
        let greeted: BTreeSet<MemberId> = greeted.map(Person::member).collect();
        let mut reference = Reference::new(greeted);
        self.journal
            .iter()
            .for_each(|record| reference.read(record));
        if reference.is_lost() {
            return;
        }
        let resets = self.journal.iter().filter(|record| {
            let entry = record.entry().expect("an entry");
            entry.body == Body::Reset
        });
        let has_reset = resets.count() > 1;
        for person in &self.persons {
            if person.has_ignored || self.has_gap(person.origin) {
                continue;
            }
            let (mut heard, mut told) = (person.heard(), reference.told(person.member()).to_vec());
            if self.habits == Habits::Slow {
                // Steps may be summed up.
                let is_said = |line: &String| line.starts_with('[') || line.starts_with("** ");
                heard.retain(is_said);
                told.retain(is_said);
            }
            if has_reset {
                // The hearers depend on what its server knew then, which the log does not say.
                let is_return = |line: &String| line.ends_with(" back");
                heard.retain(|line| !is_return(line));
                told.retain(|line| !is_return(line));
            }
            let server = self.servers.iter();
            let mut server = server.filter(|server| server.origin == person.origin);
            if server.next().is_none_or(|server| server.closed(person)) {
                // It has not heard the end.
                told.truncate(heard.len());
            }
            sum.exact += heard.len();
            if heard != told {
                let at = heard.iter().zip(&told).take_while(|(a, b)| a == b).count();
                let from = at.saturating_sub(3);
                panic!(
                    "{context}: {person:?}\nheard {:#?}\ninstead of {:#?}",
                    &heard[from..heard.len().min(at + 4)],
                    &told[from..told.len().min(at + 4)]
                );
            }
        }
    }

    /// No word is heard twice, and those that are heard by two are in one order. What is whispered is
    /// heard by one, and confirmed to one.
    fn check_words(&self) {
        let context = self.context();
        let mut places: Vec<HashMap<String, usize>> = Vec::new();
        let mut whispered = BTreeMap::<String, (usize, usize)>::new();
        for person in &self.persons {
            let mut place = HashMap::new();
            for (line, at) in person.lines.iter().zip(0..) {
                let Some(word) = word(line) else { continue };
                // A member that whispers to a name that is its own by then hears itself.
                let twice = place.insert(word.to_owned(), at).is_some() && !word.starts_with('w');
                assert!(!twice, "{context}: {line} twice, {person:?}");
                if word.starts_with('w') {
                    let (to, from) = whispered.entry(word.to_owned()).or_default();
                    match (line.contains(" to you] "), line.starts_with("[you to ")) {
                        (true, false) => *to += 1,
                        (false, true) => *from += 1,
                        _ => panic!("{context}: {line}"),
                    }
                }
            }
            places.push(place);
        }
        let once = |(word, (to, from)): (&String, &(usize, usize))| {
            // Two members of servers that the state has lost may have one name until they are announced again.
            let is_sure = self.faults != Faults::Forgetful;
            let is_heard_once = *to <= 2 || !is_sure;
            assert!(is_heard_once && *from <= 1, "{context}: {word}");
        };
        whispered.iter().for_each(once);
        let persons =
            || (0..self.persons.len()).filter(|at| !self.has_gap(self.persons[*at].origin));
        if self.faults == Faults::Forgetful {
            return;
        }
        for one in persons() {
            for other in persons().filter(|other| *other > one) {
                let common = places[one].iter();
                let common = common.filter_map(|(word, at)| Some((at, places[other].get(word)?)));
                let mut common: Vec<_> = common.collect();
                common.sort_unstable();
                let is_one_order = common.is_sorted_by_key(|(_, at)| *at);
                assert!(is_one_order, "{context}: two orders");
            }
        }
    }

    /// The transcripts of servers that had no gap end alike: one that has started later has less.
    fn check_transcripts(&self) {
        if self.faults == Faults::Forgetful {
            return;
        }
        // One that has not read the log from its beginning shows the first lines by what they say themselves.
        let is_first = |server: &&Server| server.origin.boot <= super::SERVERS;
        let has_all = |server: &&Server| self.faults == Faults::Faithful || is_first(server);
        let faithful = self.servers.iter().filter(has_all);
        let faithful = faithful.filter(|server| server.gaps() == 0);
        // A room that is in no state, since its members are yet to be announced, may be spelt in two ways.
        let transcripts = faithful.filter_map(Server::transcript);
        let in_small_letters =
            |lines: Vec<String>| lines.iter().map(|line| line.to_lowercase()).collect();
        let transcripts: Vec<Vec<String>> = transcripts.map(in_small_letters).collect();
        let longest = transcripts.iter().max_by_key(|lines| lines.len());
        for transcript in &transcripts {
            let longest = longest.expect("one");
            let same = &longest[longest.len() - transcript.len()..];
            assert_eq!(transcript, same, "{}", self.context());
        }
    }
}

/// The word that nobody else says, at the end of a line.
fn word(line: &str) -> Option<&str> {
    let is_said = line.starts_with('[') || line.starts_with("** ");
    let word = line.rsplit(' ').next()?;
    let is_numbered = word.len() > 1 && word[1..].bytes().all(|byte| byte.is_ascii_digit());
    (is_said && is_numbered).then_some(word)
}

/// Checks that state which is kept in two places is equal in both.
pub(super) fn check_chat(chat: &Chat, context: &str) {
    let joined = chat.members.iter();
    let joined: Vec<_> = joined.filter(|(_, member)| member.has_joined()).collect();
    for (id, member) in &joined {
        assert_eq!(chat.names.get(member.name()), Some(*id), "{context}");
        let room = &chat.rooms[member.room as usize];
        assert_eq!(room.members()[member.place as usize], *id, "{context}");
    }
    let state = chat.replica.as_ref().expect("a replica").membership();
    let mut present = 0;
    for (number, room) in &chat.rooms {
        present += room.members().len();
        assert_eq!(chat.room_by_name.get(&room.name), Some(number as u32));
        let count = |is_so: fn(&Member) -> bool| {
            let members = room.members().iter();
            members
                .filter(|&&id| is_so(chat.members.get(id).expect("a member")))
                .count()
        };
        assert_eq!(room.ignoring, count(Member::ignores_some), "{context}");
        assert_eq!(room.gate.above(), count(Member::is_above), "{context}");
        assert!(room.queue.is_empty(), "{context}");
        let known = state.room(&room.name.to_lowercase());
        let (name, count) = known.map_or(("lobby", 0), |(name, count)| (&*name.shown, count));
        assert_eq!((&*room.name, room.count), (name, count), "{context}");
    }
    let lobby = usize::from(state.room("lobby").is_none());
    assert_eq!(chat.rooms.len(), state.rooms().count() + lobby, "{context}");
    assert_eq!(
        (chat.names.len(), present),
        (joined.len(), joined.len()),
        "{context}"
    );
    let mut rooms: Vec<(usize, &str)> = chat
        .rooms
        .iter()
        .map(|(_, room)| (room.count, &*room.name))
        .collect();
    rooms.sort_by_key(|&(members, name)| (Reverse(members), name));
    assert!(chat.ranking.iter().eq(rooms), "{context}");
    assert_eq!(chat.room_by_name.len(), chat.rooms.len(), "{context}");
    assert!(chat.crowded.is_empty(), "{context}");
}
