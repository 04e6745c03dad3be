//! What each command does; `command.rs` has the syntax.
//!
//! A command that concerns its author only is answered with [`Chat::reply`], or with a page of lines
//! and `Chat::answer`. A command that others see is checked here, and appended to the log; its effect is
//! in `applying.rs`. When commands may run has been decided in `input.rs` and `queue.rs` before they get
//! here.

use std::io::Write;
use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::ENTRY;
use super::command::{Command, HELP};
use super::ignored::{NAMES_MAX, Toggled};
use super::name::Illegal;
use super::{Chat, NOBODY, ranking};
use crate::backplane::entry::{Body, Manner};

impl Chat {
    pub(super) fn command(&mut self, id: ConnId, command: Command<'_>, out: &mut Outbox) {
        match command {
            Command::Join(room) => self.go_to(id, room, out),
            Command::Rooms => self.list_rooms(id, out),
            Command::Who => self.list_room(id, out),
            Command::Msg { to, text } => self.whisper(id, to, text, out),
            Command::Me(text) => self.say(id, Manner::Act, text, out),
            Command::Nick(name) => self.rename(id, name, out),
            Command::Help => self.help(id, out),
            Command::Quit(farewell) => self.quit(id, farewell, out),
            Command::Ignore(name) => self.ignore(id, name, out),
            Command::Say(line) => self.say(id, Manner::Say, line, out),
            Command::Usage(usage) => self.reply(id, &format!("write {usage}"), out),
            Command::Unknown => self.reply(id, "unknown command: /help lists them", out),
        }
    }

    fn say(&mut self, id: ConnId, manner: Manner, text: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = Arc::clone(&self.rooms[member.room as usize].name);
        let line = Body::Line {
            member: self.numbers.of(id),
            manner,
            name: &member.shared_name(),
            room: &room,
            text,
        };
        self.append(line, out);
    }

    fn help(&mut self, id: ConnId, out: &mut Outbox) {
        self.page.clear();
        self.page.extend_from_slice(HELP.as_bytes());
        self.answer(id, out);
    }

    fn go_to(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let room = match self.name_rules.legal_room(wanted) {
            Ok(room) => room,
            Err(illegal) => return self.reply(id, illegal.reason(), out),
        };
        if let Err(told) = self.check_move(id, &room) {
            return self.reply(id, &told, out);
        }
        let member = self.numbers.of(id);
        let room = self.name_rules.forms(&room);
        let room = room.lent();
        self.append(Body::Move { member, room }, out);
    }

    /// Checks that a member may go to a room. The error is the reply to the member.
    pub(super) fn check_move(&self, id: ConnId, room: &str) -> Result<(), String> {
        let known = self.room_by_name.get(room);
        let is_free = self.room_by_name.check(room, known);
        is_free.map_err(|illegal| illegal.reason().to_owned())?;
        let own = self.members.get(id).map(|member| member.room);
        match own.filter(|own| known == Some(*own)) {
            Some(own) => Err(format!("you are in {}", self.rooms[own as usize].name)),
            None => Ok(()),
        }
    }

    fn list_rooms(&mut self, id: ConnId, out: &mut Outbox) {
        self.page.clear();
        self.ranking.list(&mut self.page);
        out.charge(self.rooms.len().min(ranking::LISTED_MAX) * ENTRY);
        self.answer(id, out);
    }

    fn list_room(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &self.rooms[member.room as usize];
        self.page.clear();
        let _ = write!(self.page, "* in {} ({}): ", room.name, room.members().len());
        let listed = room.list(&self.members, false, &mut self.page);
        out.charge(listed * ENTRY);
        self.page.push(b'\n');
        self.answer(id, out);
    }

    fn whisper(&mut self, id: ConnId, to: &str, text: &[u8], out: &mut Outbox) {
        let Some(other) = self.names.get(to) else {
            return self.reply(id, NOBODY, out);
        };
        if other == id {
            return self.reply(id, "that is you", out);
        }
        let Some(target) = self.members.get(other) else {
            return;
        };
        if self.members.is_away(other) {
            let told = format!("{} has lost its connection: try again later", target.name());
            return self.reply(id, &told, out);
        }
        let (member, to) = (self.numbers.of(id), &self.name_rules.fold(to));
        self.append(Body::Whisper { member, to, text }, out);
    }

    fn rename(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let new = match self.free_name(wanted.as_bytes(), id, None, out) {
            Ok(name) => name,
            Err(illegal) => return self.reply(id, illegal.reason(), out),
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.name() == new {
            return self.reply(id, Illegal::Taken.reason(), out);
        }
        let wait = self.rates.map(|rates| member.may_rename(rates, out.now()));
        if let Some(wait @ 1..) = wait {
            let told = format!("you may change your name again in {wait} s");
            return self.reply(id, &told, out);
        }
        let member = self.numbers.of(id);
        let name = self.name_rules.forms(&new);
        let name = name.lent();
        self.append(Body::Rename { member, name }, out);
    }

    /// Adds the new name of a member to each ignore list that has its old name.
    pub(super) fn follow(&mut self, old: u32, new: &str, out: &mut Outbox) {
        let ignoring = self.members.iter();
        let ignoring = ignoring.filter(|(_, member)| member.ignores(old).is_some());
        let ignoring: Vec<ConnId> = ignoring.map(|(id, _)| id).collect();
        out.charge(self.members.len() * ENTRY);
        let fold = self.name_rules.fold(new);
        let names = &self.names;
        for id in ignoring {
            if let Some(member) = self.members.get_mut(id) {
                let mut list = member.take_ignored();
                let is_free = |name: &str| names.get(name).is_none();
                list.follow(old, (new, &fold), &mut self.ignored, is_free);
                member.put_ignored(list);
            }
        }
    }

    fn quit(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        out.finish(id);
        self.part(id, "quit", farewell, out);
    }

    /// Puts a name on the member's ignore list, or takes it off. The name need not be in use: the
    /// member that had it may have left, and may come back.
    fn ignore(&mut self, id: ConnId, wanted: &str, out: &mut Outbox) {
        let name = match self.name_rules.legal(wanted.as_bytes()) {
            Ok(name) => name,
            Err(illegal) => return self.reply(id, illegal.reason(), out),
        };
        let other = self.names.get(&name);
        if other == Some(id) {
            return self.reply(id, "that is you", out);
        }
        let other = other.and_then(|other| self.members.get(other));
        let (name, absent) = match other {
            Some(other) => (other.name().to_owned(), ""),
            None => (name.into_owned(), " (nobody has this name now)"),
        };
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let before = member.ignores_some();
        let mut list = member.take_ignored();
        let fold = self.name_rules.fold(&name);
        out.charge(list.len());
        let toggled = list.toggle(&name, &fold, &mut self.ignored);
        member.put_ignored(list);
        let room = &mut self.rooms[member.room as usize];
        room.ignoring += usize::from(member.ignores_some());
        room.ignoring -= usize::from(before);
        let told = match toggled {
            Some(Toggled::On) => format!("you do not hear {name} any more{absent}"),
            Some(Toggled::Off) => format!("you hear {name} again{absent}"),
            None => format!("you ignore {NAMES_MAX} people already"),
        };
        self.reply(id, &told, out);
    }

    /// A list of all members, one line for each room.
    pub(super) fn all_members(&self) -> Vec<u8> {
        let mut page = Vec::new();
        for (_, room) in &self.rooms {
            let _ = write!(page, "{} ({}): ", room.name, room.members().len());
            room.list(&self.members, false, &mut page);
            page.push(b'\n');
        }
        page
    }
}
