//! The log between what members want and what happens.
//!
//! A command, or the end of a connection, that others are to see has two halves. The first checks what
//! the member wants, answers it if it cannot be, and otherwise [appends](Chat::append) an entry to the
//! log (`commands.rs`, `operator_commands.rs`, `chat.rs`). The second, here and in `judging.rs`, is what
//! happens when that entry is read: on a server that is the only reader of its
//! [`Local`](crate::backplane::local::Local) log, at once; otherwise the
//! [`Replica`](crate::backplane::replica::Replica) tells what the entry means. This file is about the
//! members that this server serves, `others.rs` about those of other servers.
//!
//! The second half takes from the entry what the member wanted, and everything else from the state as it
//! is when the entry is read. So a claim of a name is decided then: entries of others may have been read
//! meanwhile. Until its first entry is read, a newcomer's further input waits; a member that leaves
//! has its name until its last entry is read.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::ENTRY;
use super::member::{Awaited, Member};
use super::name::Illegal;
use super::room::Step;
use super::telling::Author;
use super::{Chat, NOBODY, text};
use crate::backplane::entry::{Body, Entry, Position, Present};
use crate::backplane::membership::{Effect, Member as Known, Refusal};
use crate::backplane::replica::Told;

impl Chat {
    /// Appends an entry to the log. If the log returns it, it happens now, and the result is true.
    pub(super) fn append(&mut self, body: Body<'_>, out: &mut Outbox) -> bool {
        let now = self.clock(out);
        let entry = self.log.append(body, now);
        match &entry {
            // It was checked just now, and nothing can have come between.
            Some(entry) => self.happen(entry, Ok(()), out),
            None => self.serve_log_soon(out),
        }
        entry.is_some()
    }

    /// Lets happen what can be read from the log, as far as one callback may; true if that is all.
    pub(super) fn read_log(&mut self, out: &mut Outbox) -> bool {
        let Some(mut replica) = self.replica.take() else {
            return true;
        };
        // All may be for one room, which is told its allowance in one turn.
        if self.read_at != out.now() {
            (self.read_at, self.read_bytes) = (out.now(), 0);
        }
        let is_all = loop {
            if Chat::has_worked(out) || self.read_bytes > self.bounds.allowance.at_once {
                break false;
            }
            let told = replica.tell_next();
            if told.is_none() {
                out.charge(ENTRY);
                match self.log.next() {
                    Some(read) => replica.read(read),
                    None => break true,
                }
            }
            if let Some(Told::Entry { record, .. }) = &told {
                self.read_bytes += record.bytes.len();
            }
            // The code that follows asks the replica for the state.
            self.replica = Some(replica);
            if let Some(told) = told {
                self.hear(told, out);
            }
            let Some(back) = self.replica.take() else {
                return true;
            };
            replica = back;
        };
        let now = self.clock(out);
        let has_appended = replica.perform(&mut *self.log, now);
        self.replica = Some(replica);
        if has_appended {
            self.serve_log_soon(out);
        }
        is_all
    }

    fn hear(&mut self, told: Told, out: &mut Outbox) {
        match told {
            Told::Gap => self.tell_gap(out),
            Told::Synced => self.compare(out),
            Told::Entry {
                record,
                effect,
                is_old,
            } => {
                let Ok(entry) = record.entry() else {
                    return;
                };
                let is_own = self.is_own(&entry);
                match effect {
                    _ if is_old => self.remember(&entry, out),
                    effect if matches!(entry.body, Body::Takeover { .. } | Body::Resume { .. }) => {
                        self.hear_of_takeover(&entry, effect, out);
                    }
                    Some(effect) if is_own => self.happen_as_told(&entry, effect, out),
                    Some(effect) => self.happen_elsewhere(&entry, effect, out),
                    None => self.say_without_state(&entry, false, out),
                }
            }
        }
    }

    fn is_own(&self, entry: &Entry<'_>) -> bool {
        let replica = self.replica.as_ref();
        replica.is_none_or(|replica| replica.is_own(entry.stamp.origin))
    }

    /// An entry of this server has had its effect on the state of all.
    fn happen_as_told(&mut self, entry: &Entry<'_>, effect: Effect, out: &mut Outbox) {
        let decision = match effect {
            // The replica appends the entry again if its server lives, which it does.
            Effect::Unheard if !entry.body.is_line() => return,
            Effect::Unheard => return self.say_without_state(entry, true, out),
            Effect::Announced { back, refused } => return self.announced(&back, &refused, out),
            Effect::Left(_) if !matches!(entry.body, Body::Leave { .. } | Body::Ban { .. }) => {
                return self.happen_elsewhere(entry, effect, out);
            }
            Effect::Reset(_) => return self.happen_elsewhere(entry, effect, out),
            Effect::Left(ref left) if matches!(entry.body, Body::Ban { .. }) => {
                return self.judged(entry, left, true, out);
            }
            // The newcomer has gone. Others see it come and go, and so do the members here.
            Effect::Joined(id) if self.served(id.number).is_none() => {
                self.happen_elsewhere(entry, effect, out);
                return self.take_back(id.number, out);
            }
            Effect::Left(ref left) => return self.left_as_told(entry, left, out),
            Effect::Moved(_) | Effect::Renamed(_) if self.is_of_nobody(entry) => {
                return self.happen_elsewhere(entry, effect, out);
            }
            // It is in the state: the join was appended twice.
            Effect::Refused(Refusal::Same) if matches!(entry.body, Body::Join(_)) => Ok(()),
            Effect::Refused(why) => Err(why),
            Effect::Said(Some(target)) => return self.whispered_to(entry, target, out),
            Effect::Unbanned(name) => {
                return self.print(&format!("{} may come in\n", name.shown), out);
            }
            _ => Ok(()),
        };
        self.happen(entry, decision, out);
    }

    /// Whether the author of a step or of a new name is in the state only: it has left this server, or
    /// has lost its name here.
    fn is_of_nobody(&self, entry: &Entry<'_>) -> bool {
        match entry.body {
            Body::Move { member, .. } | Body::Rename { member, .. } => {
                let id = self.served(member);
                id.is_none_or(|id| !self.is_member(id))
            }
            _ => false,
        }
    }

    /// Members of this server leave: those that it serves, and those that were in the state only.
    fn left_as_told(&mut self, entry: &Entry<'_>, left: &[Known], out: &mut Outbox) {
        let Body::Leave { members, farewell } = &entry.body else {
            return;
        };
        // They are in the same order.
        let mut left = left.iter().peekable();
        for number in members.iter() {
            let known = left.next_if(|member| member.id.number == *number);
            match (self.served(*number), known) {
                (Some(id), _) => self.left(id, farewell, out),
                (None, Some(known)) => self.left_elsewhere(known, b"", out),
                (None, None) => {}
            }
        }
    }

    /// An entry of this server happens, or is refused.
    fn happen(&mut self, entry: &Entry<'_>, decision: Result<(), Refusal>, out: &mut Outbox) {
        match &entry.body {
            Body::Join(present) => match self.served(present.number) {
                Some(id) => self.joined(id, present, decision, out),
                None if decision.is_ok() => self.take_back(present.number, out),
                None => {}
            },
            Body::Leave { members, farewell } => {
                for number in members.iter() {
                    if let Some(id) = self.served(*number) {
                        self.left(id, farewell, out);
                    }
                }
            }
            Body::Move { member, room } => {
                if let Some(id) = self.landed(*member) {
                    self.moved(id, room.shown, decision, out);
                    self.step_on(id, out);
                }
            }
            Body::Rename { member, name } => {
                if let Some(id) = self.landed(*member) {
                    self.renamed(id, name.shown, decision, entry.at, out);
                    self.step_on(id, out);
                }
            }
            Body::Line {
                member,
                manner,
                text,
                ..
            } => {
                if let Some(author) = self.landed(*member).and_then(|id| self.author(id))
                    && decision.is_ok()
                {
                    self.said(&author, *manner, text, entry.at, out);
                }
            }
            Body::Whisper {
                member, to, text, ..
            } => {
                if let Some(id) = self.landed(*member) {
                    match decision {
                        Ok(()) => self.whispered(id, to, text, out),
                        Err(_) => self.reply(id, NOBODY, out),
                    }
                }
            }
            Body::Notice { room, text } => self.proclaimed(*room, text, entry.at, true, out),
            Body::Ban { .. } | Body::Unban { .. } => self.judge(entry, decision, out),
            // The others are about servers.
            _ => {}
        }
    }

    /// The connection of the member with this number, if the member has not left.
    pub(super) fn served(&self, number: u64) -> Option<ConnId> {
        let id = self.numbers.id(number);
        self.members.get(id).map(|_| id)
    }

    /// As `served`, when an entry of the member was read, which it may have waited for.
    /// A member that has lost its name has no answer to what it wanted before.
    pub(super) fn landed(&mut self, number: u64) -> Option<ConnId> {
        let id = self.served(number)?;
        if self.replica.is_some() {
            self.has_landed(id);
        }
        self.is_member(id).then_some(id)
    }

    /// A member that has waited for its step to be read goes on.
    pub(super) fn step_on(&mut self, id: ConnId, out: &mut Outbox) {
        let member = self.members.get_mut(id);
        if member.is_some_and(|member| member.has_awaited(Awaited::Step)) {
            self.go_on(id, None, out);
        }
    }

    /// A newcomer has gone before its claim was read: its member leaves at once.
    pub(super) fn take_back(&mut self, number: u64, out: &mut Outbox) {
        let leave = Body::Leave {
            members: Cow::Borrowed(&[number]),
            farewell: b"",
        };
        self.append(leave, out);
    }

    pub(super) fn joined(
        &mut self,
        id: ConnId,
        present: &Present<'_>,
        decision: Result<(), Refusal>,
        out: &mut Outbox,
    ) {
        let name = present.name.shown;
        if self.is_member(id) {
            // It has claimed its name again, and to other servers it enters only now.
            return match (decision, self.author(id)) {
                (Ok(()), Some(author)) => {
                    self.recount(author.room, out);
                    self.announce(&author, Step::In, b"", out);
                }
                _ => self.ask_for_another_name(id, out),
            };
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let has_waited = member.has_awaited(Awaited::Join);
        if let Err(why) = decision {
            self.refuse(id, name.as_bytes(), why.into(), out);
            // One that had a name before may try another one.
            return self.go_on(id, None, out);
        }
        if has_waited {
            // The message of the day has the timer from now on.
            out.clear_timer(id);
        }
        member.set_name(name);
        member.extra_mut().has_lost_name = false;
        let peer = member.take_peer();
        self.names.insert(name, id);
        let from = peer.map(|peer| format!(" from {peer}")).unwrap_or_default();
        self.note(&format!("{name} has joined{from}"), out);
        self.enter(id, present.room.shown, out);
        self.show_motd(id, out);
        if has_waited {
            self.go_on(id, None, out);
        }
    }

    pub(super) fn left(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        self.arrivals.withdraw(id);
        let author = self.author(id);
        if let Some(author) = author.filter(|author| !author.name.is_empty()) {
            self.announce(&author, Step::Out, farewell, out);
        }
        self.forget(id, out);
    }

    pub(super) fn moved(
        &mut self,
        id: ConnId,
        room: &str,
        decision: Result<(), Refusal>,
        out: &mut Outbox,
    ) {
        if let Err(why) = decision {
            let told = self.move_refused(id, why);
            return self.reply(id, &told, out);
        }
        let Some(author) = self.author(id) else {
            return;
        };
        let room = self.spelling(room);
        self.announce(&author, Step::Out, b"", out);
        self.leave(id, out);
        self.reply(id, &format!("you are in {room} now"), out);
        self.enter(id, &room, out);
    }

    /// Without other servers: a member has said something to the one whose name has this fold.
    fn whispered(&mut self, id: ConnId, to: &str, words: &[u8], out: &mut Outbox) {
        let other = self.names.folded(to);
        let target = other.and_then(|other| self.members.get(other));
        let (Some(from), Some(other), Some(target)) = (self.author(id), other, target) else {
            return self.reply(id, NOBODY, out);
        };
        let to = target.shared_name();
        self.hear_whisper(other, &from.name, words, out);
        self.confirm_whisper(id, &to, words, out);
    }

    /// A whisper reaches its target, unless that ignores the author.
    pub(super) fn hear_whisper(
        &mut self,
        target: ConnId,
        from: &str,
        words: &[u8],
        out: &mut Outbox,
    ) {
        if self.ignores(target, from) {
            return;
        }
        write_whisper(&mut self.page, from, "you", words);
        if self.arrivals.keep(target, &self.page) {
            return;
        }
        out.send(target, &self.page);
        let bytes = self.bounds.sent(self.page.len());
        let room = self.members.get(target).map(|target| target.room as usize);
        if let Some(room) = room.and_then(|room| self.rooms.get_mut(room)) {
            room.gate.spend(&self.bounds.allowance, bytes, out.now());
        }
        self.count(target, 1);
    }

    /// The author of a whisper gets the same reply whether it is ignored or not.
    pub(super) fn confirm_whisper(&mut self, id: ConnId, to: &str, words: &[u8], out: &mut Outbox) {
        write_whisper(&mut self.page, "you", to, words);
        self.answer(id, out);
    }

    pub(super) fn renamed(
        &mut self,
        id: ConnId,
        new: &str,
        decision: Result<(), Refusal>,
        at: Position,
        out: &mut Outbox,
    ) {
        if let Err(why) = decision {
            return self.reply(id, Illegal::from(why).reason(), out);
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let old = member.set_name(new);
        self.free(&old, id);
        self.names.insert(new, id);
        self.note(&format!("{old} is now {new}"), out);
        if let Some(author) = self.author(id) {
            self.tell_rename(&author, &old, at, out);
        }
        self.reply(id, &format!("you are now known as {new}"), out);
    }

    /// The others in the room of a member are told of its new name, which `author` has.
    pub(super) fn tell_rename(
        &mut self,
        author: &Author,
        old: &str,
        at: Position,
        out: &mut Outbox,
    ) {
        let (number, new) = (self.ignored_number(old), Arc::clone(&author.name));
        self.page.clear();
        let _ = writeln!(self.page, "* {old} is now known as {new}");
        self.tell_who_cares(author, number, false, out);
        self.record(author.room, at, out);
        self.show_step(author.room, false, out);
        if let Some(number) = number {
            self.follow(number, &new, out);
        }
    }

    /// The name of a member that this server serves and that is in a room.
    pub(super) fn is_member(&self, id: ConnId) -> bool {
        self.members.get(id).is_some_and(Member::has_joined)
    }
}

fn write_whisper(page: &mut Vec<u8>, from: &str, to: &str, words: &[u8]) {
    page.clear();
    let _ = write!(page, "[{from} to {to}] ");
    text::clean(words, page);
    page.push(b'\n');
}
