//! What commands do.

use edgeloop_reactor::{ConnId, Outbox};

use super::command::{Command, HELP};
use super::{Chat, LOBBY, name, text};

/// More people than this nobody ignores.
const IGNORED_MAX: usize = 100;
/// Rooms that `/rooms` lists; the others are counted.
const ROOMS_LISTED_MAX: usize = 100;

impl Chat {
    pub(super) fn command(&mut self, id: ConnId, command: Command<'_>, out: &mut Outbox) {
        match command {
            Command::Join(room) => self.go_to(id, room, out),
            Command::Rooms => self.list_rooms(id, out),
            Command::Who => self.list_room(id, out),
            Command::Msg { to, text } => self.whisper(id, to, text, out),
            Command::Me(text) => self.emote(id, text, out),
            Command::Nick(name) => self.rename(id, name, out),
            Command::Help => out.send(id, HELP.as_bytes()),
            Command::Quit(farewell) => self.quit(id, farewell, out),
            Command::Ignore(name) => self.ignore(id, name, out),
            Command::Say(line) => self.say(id, line, out),
            Command::Usage(usage) => reply(id, &format!("write {usage}"), out),
            Command::Unknown => reply(id, "unknown command: /help lists them", out),
        }
    }

    fn go_to(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let room = match name::legal_room(wanted, self.settings.unicode_names) {
            Ok(room) => room,
            Err(illegal) => return reply(id, illegal.reason(), out),
        };
        let Some(member) = self.members.get(id) else {
            return;
        };
        if &*self.rooms[member.room as usize].name == room {
            return reply(id, &format!("you are in {room}"), out);
        }
        self.leave(id, b"", out);
        reply(id, &format!("you are in {room} now"), out);
        self.enter(id, room, out);
    }

    fn list_rooms(&mut self, id: ConnId, out: &mut Outbox) {
        let mut rooms: Vec<(usize, &str)> = self
            .rooms
            .iter()
            .map(|(_, room)| (room.members().len(), &*room.name))
            .collect();
        rooms.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        let shown: Vec<String> = rooms
            .iter()
            .take(ROOMS_LISTED_MAX)
            .map(|(count, name)| format!("{name} ({count})"))
            .collect();
        let more = match rooms.len().saturating_sub(ROOMS_LISTED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        reply(id, &format!("rooms: {}{more}", shown.join(", ")), out);
    }

    fn list_room(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &self.rooms[member.room as usize];
        self.page.clear();
        let head = format!("* in {} ({}): ", room.name, room.members().len());
        self.page.extend_from_slice(head.as_bytes());
        room.list(&self.members, false, &mut self.page);
        self.page.push(b'\n');
        out.send(id, &self.page);
    }

    fn whisper(&mut self, id: ConnId, to: &str, words: &[u8], out: &mut Outbox) {
        let (Some(member), Some(&other)) = (self.members.get(id), self.names.get(to)) else {
            return reply(id, "nobody has this name", out);
        };
        if other == id {
            return reply(id, "that is you", out);
        }
        // Who is ignored does not learn of it.
        if self
            .members
            .get(other)
            .is_some_and(|other| !other.ignores(id))
        {
            let from = member.name();
            write_whisper(&mut self.page, from, "you", words);
            out.send(other, &self.page);
        }
        write_whisper(&mut self.page, "you", to, words);
        out.send(id, &self.page);
    }

    fn emote(&mut self, id: ConnId, words: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        self.page.extend_from_slice(b"* ");
        self.page.extend_from_slice(member.name().as_bytes());
        self.page.push(b' ');
        text::clean(words, &mut self.page);
        self.page.push(b'\n');
        self.publish(id, out);
    }

    fn rename(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let new = match self.free_name(wanted.as_bytes()) {
            Ok(name) => name,
            Err(illegal) => return reply(id, illegal.reason(), out),
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let old = self.names.remove_entry(member.name());
        let old = old.map(|(old, _)| old).unwrap_or_default();
        member.set_name(new);
        self.names.insert(new.into(), id);
        log::info!("{old} is now {new}");
        self.page.clear();
        let line = format!("* {old} is now known as {new}\n");
        self.page.extend_from_slice(line.as_bytes());
        self.publish(id, out);
        reply(id, &format!("you are now known as {new}"), out);
    }

    fn quit(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        out.finish(id);
        self.part(id, "quit", farewell, out);
    }

    fn ignore(&mut self, id: ConnId, name: &str, out: &mut Outbox) {
        let (Some(member), Some(&other)) = (self.members.get_mut(id), self.names.get(name)) else {
            return reply(id, "nobody has this name", out);
        };
        let before = member.ignores_some();
        // Ids of those who have left are never used again.
        let (names, ignored) = (&self.names, &mut member.extra_mut().ignored);
        let told = match ignored.iter().position(|&known| known == other) {
            _ if other == id => "that is you".into(),
            Some(position) => {
                ignored.swap_remove(position);
                format!("you hear {name} again")
            }
            None => {
                if ignored.len() >= IGNORED_MAX {
                    ignored.retain(|known| names.values().any(|id| id == known));
                }
                if ignored.len() >= IGNORED_MAX {
                    format!("you ignore {IGNORED_MAX} people already")
                } else {
                    ignored.push(other);
                    format!("you do not hear {name} any more")
                }
            }
        };
        let room = &mut self.rooms[member.room as usize];
        room.ignoring += usize::from(member.ignores_some());
        room.ignoring -= usize::from(before);
        reply(id, &told, out);
    }

    /// Ends somebody's presence from outside; false if nobody has this name.
    pub(super) fn kick(&mut self, name: &str, out: &mut Outbox) -> bool {
        let Some(&id) = self.names.get(name) else {
            return false;
        };
        reply(id, "you were asked to leave", out);
        out.finish(id);
        self.part(id, "kicked by the operator", b"", out);
        true
    }

    /// Everybody, room by room.
    pub(super) fn everybody(&self) -> Vec<u8> {
        let mut page = Vec::new();
        let rooms = self.rooms.iter().map(|(_, room)| room);
        for room in rooms.filter(|room| !room.members().is_empty() || &*room.name == LOBBY) {
            page.extend_from_slice(
                format!("{} ({}): ", room.name, room.members().len()).as_bytes(),
            );
            room.list(&self.members, false, &mut page);
            page.push(b'\n');
        }
        page
    }
}

/// A word of the server to one person.
pub(super) fn reply(id: ConnId, words: &str, out: &mut Outbox) {
    out.send(id, format!("* {words}\n").as_bytes());
}

fn write_whisper(page: &mut Vec<u8>, from: &str, to: &str, words: &[u8]) {
    page.clear();
    page.extend_from_slice(format!("[{from} to {to}] ").as_bytes());
    text::clean(words, page);
    page.push(b'\n');
}
