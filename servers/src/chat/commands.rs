//! The effect of each command; `command.rs` has the syntax.
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
use crate::backplane::membership::Refusal;

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
        self.append_for(id, line, out);
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
        if let Err(why) = self.check_move(id, &room) {
            let told = self.move_refused(id, why);
            return self.reply(id, &told, out);
        }
        let member = self.numbers.of(id);
        let room = self.name_rules.forms(&room);
        let room = room.lent();
        self.append_for(id, Body::Move { member, room }, out);
    }

    /// Checks that a member may go to a room.
    fn check_move(&self, id: ConnId, room: &str) -> Result<(), Refusal> {
        let known = self.room_by_name.get(room);
        self.room_by_name.check(room, known)?;
        let own = self.members.get(id).map(|member| member.room);
        match own.is_some() && known == own {
            true => Err(Refusal::Same),
            false => Ok(()),
        }
    }

    /// The reply to a member that may not go to a room.
    pub(super) fn move_refused(&self, id: ConnId, why: Refusal) -> String {
        let own = self.members.get(id).map(|member| member.room as usize);
        match own.and_then(|own| self.rooms.get(own)) {
            Some(own) if why == Refusal::Same => format!("you are in {}", own.name),
            _ => Illegal::from(why).reason().to_owned(),
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
        let (number, mut page) = (member.room, std::mem::take(&mut self.page));
        page.clear();
        page.extend_from_slice(b"* in ");
        let listed = self.describe_room(number, &mut page);
        out.charge(listed * ENTRY);
        self.page = page;
        self.answer(id, out);
    }

    fn whisper(&mut self, id: ConnId, to: &str, text: &[u8], out: &mut Outbox) {
        let other = self.names.get(to);
        if other.is_none() && !self.is_known_elsewhere(to) {
            return self.reply(id, NOBODY, out);
        }
        if other == Some(id) {
            return self.reply(id, "that is you", out);
        }
        if let Some(other) = other.filter(|other| self.members.is_away(*other))
            && let Some(target) = self.members.get(other)
        {
            let told = format!("{} has lost its connection: try again later", target.name());
            return self.reply(id, &told, out);
        }
        let Some(author) = self.members.get(id) else {
            return;
        };
        let whisper = Body::Whisper {
            member: self.numbers.of(id),
            name: &author.shared_name(),
            to: &self.name_rules.fold(to),
            text,
        };
        self.append_for(id, whisper, out);
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
        self.append_for(id, Body::Rename { member, name }, out);
    }

    /// Adds the new name of a member to each ignore list that has its old name.
    pub(super) fn follow(&mut self, old: u32, new: &str, out: &mut Outbox) {
        let ignoring = self.members.iter();
        let ignoring = ignoring.filter(|(_, member)| member.ignores(old).is_some());
        let ignoring: Vec<ConnId> = ignoring.map(|(id, _)| id).collect();
        out.charge(self.members.len() * ENTRY);
        let fold = self.name_rules.fold(new);
        let (names, replica) = (&self.names, &self.replica);
        let is_elsewhere = |name: &str| {
            let fold = self.name_rules.fold(name);
            let state = replica.as_ref().map(|replica| replica.membership());
            state.is_some_and(|state| state.named(&fold).is_some())
        };
        for id in ignoring {
            if let Some(member) = self.members.get_mut(id) {
                let mut list = member.take_ignored();
                let is_free = |name: &str| names.get(name).is_none() && !is_elsewhere(name);
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
        let known = match other.and_then(|other| self.members.get(other)) {
            Some(other) => Some(other.name().to_owned()),
            None => self.name_elsewhere(&name),
        };
        let (name, absent) = match known {
            Some(known) => (known, ""),
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
        for (number, _) in &self.rooms {
            self.describe_room(number as u32, &mut page);
        }
        page
    }

    /// Appends a room with its number of members and the first of their names, and returns how many.
    fn describe_room(&self, number: u32, page: &mut Vec<u8>) -> usize {
        let room = &self.rooms[number as usize];
        let _ = write!(page, "{} ({}): ", room.name, room.count);
        let listed = self.list(number, None, false, page);
        page.push(b'\n');
        listed
    }
}
