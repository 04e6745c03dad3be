//! What commands do.

use std::cmp::Reverse;
use std::io::Write;

use edgeloop_reactor::{ConnId, Outbox};

use super::command::{Command, HELP};
use super::room::Step;
use super::{Chat, name, text};

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
            Command::Help => self.help(id, out),
            Command::Quit(farewell) => self.quit(id, farewell, out),
            Command::Ignore(name) => self.ignore(id, name, out),
            Command::Say(line) => self.say(id, line, out),
            Command::Usage(usage) => self.reply(id, &format!("write {usage}"), out),
            Command::Unknown => self.reply(id, "unknown command: /help lists them", out),
        }
    }

    fn help(&mut self, id: ConnId, out: &mut Outbox) {
        self.page.clear();
        self.page.extend_from_slice(HELP.as_bytes());
        self.answer(id, out);
    }

    fn go_to(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let room = match name::legal_room(wanted, self.settings.unicode_names) {
            Ok(room) => room,
            Err(illegal) => return self.reply(id, illegal.reason(), out),
        };
        let Some(member) = self.members.get(id) else {
            return;
        };
        if &*self.rooms[member.room as usize].name == room {
            return self.reply(id, &format!("you are in {room}"), out);
        }
        self.announce(id, Step::Out, b"", out);
        self.leave(id, out);
        self.reply(id, &format!("you are in {room} now"), out);
        self.enter(id, room, out);
    }

    fn list_rooms(&mut self, id: ConnId, out: &mut Outbox) {
        let rooms = self.rooms.iter().map(|(_, room)| room);
        let mut rooms: Vec<(Reverse<usize>, &str)> = rooms
            .map(|room| (Reverse(room.members().len()), &*room.name))
            .collect();
        let count = rooms.len();
        if count > ROOMS_LISTED_MAX {
            // To sort thousands for the sake of a hundred would take its time.
            rooms.select_nth_unstable(ROOMS_LISTED_MAX);
            rooms.truncate(ROOMS_LISTED_MAX);
        }
        rooms.sort_unstable();
        self.page.clear();
        for (Reverse(members), name) in &rooms {
            let before = if self.page.is_empty() {
                "* rooms:"
            } else {
                ","
            };
            let _ = write!(self.page, "{before} {name} ({members})");
        }
        if let more @ 1.. = count - rooms.len() {
            let _ = write!(self.page, ", and {more} more");
        }
        self.page.push(b'\n');
        self.answer(id, out);
    }

    fn list_room(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &self.rooms[member.room as usize];
        self.page.clear();
        let _ = write!(self.page, "* in {} ({}): ", room.name, room.members().len());
        room.list(&self.members, false, &mut self.page);
        self.page.push(b'\n');
        self.answer(id, out);
    }

    fn whisper(&mut self, id: ConnId, to: &str, words: &[u8], out: &mut Outbox) {
        let (Some(member), Some(&other)) = (self.members.get(id), self.names.get(to)) else {
            return self.reply(id, "nobody has this name", out);
        };
        if other == id {
            return self.reply(id, "that is you", out);
        }
        // Who is ignored does not learn of it.
        if let Some(target) = self.members.get(other).filter(|other| !other.ignores(id)) {
            write_whisper(&mut self.page, member.name(), "you", words);
            out.send(other, &self.page);
            let gate = &mut self.rooms[target.room as usize].gate;
            gate.spend(&self.bounds.allowance, self.page.len(), out.now());
        }
        write_whisper(&mut self.page, "you", to, words);
        self.charge(id, out);
        self.answer(id, out);
    }

    fn rename(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let new = match self.free_name(wanted.as_bytes()) {
            Ok(name) => name,
            Err(illegal) => return self.reply(id, illegal.reason(), out),
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (old, room) = (member.set_name(new), member.room);
        self.names.remove(&old);
        self.names.insert(new.into(), id);
        log::info!("{old} is now {new}");
        self.page.clear();
        let _ = writeln!(self.page, "* {old} is now known as {new}");
        self.tell_others(id, out);
        self.charge(id, out);
        self.record(room, out);
        self.reply(id, &format!("you are now known as {new}"), out);
    }

    fn quit(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        out.finish(id);
        self.part(id, "quit", farewell, out);
    }

    fn ignore(&mut self, id: ConnId, name: &str, out: &mut Outbox) {
        let Some(&other) = self.names.get(name) else {
            return self.reply(id, "nobody has this name", out);
        };
        if other == id {
            return self.reply(id, "that is you", out);
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let before = member.ignores_some();
        let mut ignored = std::mem::take(&mut member.extra_mut().ignored);
        // Who has left will not come back under the same id.
        if ignored.len() >= IGNORED_MAX {
            ignored.retain(|&known| self.members.get(known).is_some());
        }
        let told = if let Some(position) = ignored.iter().position(|&known| known == other) {
            ignored.swap_remove(position);
            format!("you hear {name} again")
        } else if ignored.len() < IGNORED_MAX {
            ignored.push(other);
            format!("you do not hear {name} any more")
        } else {
            format!("you ignore {IGNORED_MAX} people already")
        };
        self.set_ignored(id, before, ignored);
        self.reply(id, &told, out);
    }

    fn set_ignored(&mut self, id: ConnId, before: bool, ignored: Vec<ConnId>) {
        if let Some(member) = self.members.get_mut(id) {
            member.extra_mut().ignored = ignored;
            let room = &mut self.rooms[member.room as usize];
            room.ignoring += usize::from(member.ignores_some());
            room.ignoring -= usize::from(before);
        }
    }

    /// Ends somebody's presence from outside; false if nobody has this name.
    pub(super) fn kick(&mut self, name: &str, out: &mut Outbox) -> bool {
        let Some(&id) = self.names.get(name) else {
            return false;
        };
        self.reply(id, "you were asked to leave", out);
        out.finish(id);
        self.part(id, "kicked by the operator", b"", out);
        true
    }

    /// Everybody, room by room.
    pub(super) fn everybody(&self) -> Vec<u8> {
        let mut page = Vec::new();
        for (_, room) in &self.rooms {
            let _ = write!(page, "{} ({}): ", room.name, room.members().len());
            room.list(&self.members, false, &mut page);
            page.push(b'\n');
        }
        page
    }
}

fn write_whisper(page: &mut Vec<u8>, from: &str, to: &str, words: &[u8]) {
    page.clear();
    let _ = write!(page, "[{from} to {to}] ");
    text::clean(words, page);
    page.push(b'\n');
}
