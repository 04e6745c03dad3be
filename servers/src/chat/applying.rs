//! The log between what members want and what happens.
//!
//! A command, or the end of a connection, that others are to see has two halves. The first checks what
//! the member wants, answers it if it cannot be, and otherwise [appends](Chat::append) an entry to the
//! log (`commands.rs`, `operator_commands.rs`, `chat.rs`). The second, here and in `judging.rs`, is what
//! happens when that entry is read: on this server, which is the only reader of its
//! [`Local`](crate::backplane::local::Local) log, at once.
//!
//! The second half takes from the entry what the member wanted, and everything else from the state as it
//! is when the entry is read. So it checks a claim of a name again: entries of others may have been
//! read meanwhile. Until its first entry is read, a newcomer's further input waits; a member that leaves
//! has its name until its last entry is read.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::room::Step;
use super::{Chat, LOBBY, NOBODY, text};
use crate::backplane::entry::{Body, Entry, Present};
use crate::backplane::log::Read;

impl Chat {
    /// Appends an entry to the log. If the log returns it, it happens now, and the result is true.
    pub(super) fn append(&mut self, body: Body<'_>, out: &mut Outbox) -> bool {
        let entry = self.log.append(body, self.started_at + out.now());
        match &entry {
            Some(entry) => self.apply(entry, out),
            None => self.serve_log_soon(out),
        }
        entry.is_some()
    }

    /// Lets happen what can be read from the log, as far as one callback may; true if that is all.
    pub(super) fn read_log(&mut self, out: &mut Outbox) -> bool {
        while !Chat::has_worked(out) {
            let Some(read) = self.log.next() else {
                return true;
            };
            if let Some(replica) = &mut self.replica {
                replica.read(read.clone());
                replica.perform(&mut *self.log, self.started_at + out.now());
                self.serve_log_soon(out);
            }
            if let Read::Record(record) = read
                && let Ok(entry) = record.entry()
            {
                self.apply(&entry, out);
            }
        }
        false
    }

    /// What an entry is about happens.
    fn apply(&mut self, entry: &Entry<'_>, out: &mut Outbox) {
        match &entry.body {
            Body::Join(present) => match self.served(present.number) {
                Some(id) => self.joined(id, present, out),
                None => self.take_back(present.number, out),
            },
            Body::Leave { members, farewell } => {
                for number in members.iter() {
                    if let Some(id) = self.served(*number) {
                        self.left(id, farewell, out);
                    }
                }
            }
            Body::Move { member, room } => {
                if let Some(id) = self.served(*member) {
                    self.moved(id, room.shown, out);
                }
            }
            Body::Rename { member, name } => {
                if let Some(id) = self.served(*member) {
                    self.renamed(id, name.shown, out);
                }
            }
            Body::Line {
                member,
                manner,
                text,
                ..
            } => {
                if let Some(id) = self.served(*member) {
                    self.said(id, *manner, text, entry.at, out);
                }
            }
            Body::Whisper { member, to, text } => {
                if let Some(id) = self.served(*member) {
                    self.whispered(id, to, text, out);
                }
            }
            Body::Notice { room, text } => self.proclaimed(*room, text, out),
            Body::Ban {
                name,
                millis,
                is_kick,
            } => self.banned(name, *millis, *is_kick, out),
            Body::Unban { name } => self.unbanned(name, out),
            // The others are about servers, of which there is one.
            _ => {}
        }
    }

    /// The connection of the member with this number, if the member has not left.
    fn served(&self, number: u64) -> Option<ConnId> {
        let id = self.numbers.id(number);
        self.members.get(id).map(|_| id)
    }

    /// A newcomer has gone before its claim was read: its member leaves at once.
    fn take_back(&mut self, number: u64, out: &mut Outbox) {
        let leave = Body::Leave {
            members: Cow::Borrowed(&[number]),
            farewell: b"",
        };
        self.append(leave, out);
    }

    fn joined(&mut self, id: ConnId, present: &Present<'_>, out: &mut Outbox) {
        let name = present.name.shown;
        // Another claim may have been read first.
        let claim = self.check_claim(name, id, present.address, out);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let has_waited = member.has_awaited();
        if let Err(illegal) = claim {
            return self.refuse(id, name.as_bytes(), illegal, out);
        }
        member.set_name(name);
        let peer = member.take_peer();
        self.names.insert(name, id);
        let from = peer.map(|peer| peer.to_string()).unwrap_or_default();
        self.note(&format!("{name} has joined from {from}"), out);
        self.enter(id, LOBBY, out);
        self.show_motd(id, out);
        if has_waited {
            self.go_on(id, None, out);
        }
    }

    pub(super) fn left(&mut self, id: ConnId, farewell: &[u8], out: &mut Outbox) {
        self.announce(id, Step::Out, farewell, out);
        self.forget(id, out);
    }

    fn moved(&mut self, id: ConnId, room: &str, out: &mut Outbox) {
        if let Err(told) = self.check_move(id, room) {
            return self.reply(id, &told, out);
        }
        // The first member of a room decides how its name is spelt.
        let room = match self.room_by_name.get(room) {
            Some(number) => Arc::clone(&self.rooms[number as usize].name),
            None => room.into(),
        };
        self.announce(id, Step::Out, b"", out);
        self.leave(id, out);
        self.reply(id, &format!("you are in {room} now"), out);
        self.enter(id, &room, out);
    }

    /// A member has said something to the one whose name has this fold.
    fn whispered(&mut self, id: ConnId, to: &str, words: &[u8], out: &mut Outbox) {
        let other = self.names.folded(to);
        let target = other.and_then(|other| self.members.get(other));
        let (Some(member), Some(other), Some(target)) = (self.members.get(id), other, target)
        else {
            return self.reply(id, NOBODY, out);
        };
        let to = target.shared_name();
        // The author gets the normal reply, so an ignored member does not learn that it is ignored.
        if !self.ignores(other, id) {
            write_whisper(&mut self.page, member.name(), "you", words);
            out.send(other, &self.page);
            let gate = &mut self.rooms[target.room as usize].gate;
            gate.spend(
                &self.bounds.allowance,
                self.bounds.sent(self.page.len()),
                out.now(),
            );
            self.count(other, 1);
        }
        write_whisper(&mut self.page, "you", &to, words);
        self.answer(id, out);
    }

    fn renamed(&mut self, id: ConnId, new: &str, out: &mut Outbox) {
        if let Err(illegal) = self.check_claim(new, id, None, out) {
            return self.reply(id, illegal.reason(), out);
        }
        let number = self.ignored_number(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (old, room) = (member.set_name(new), member.room);
        self.names.remove(&old);
        self.names.insert(new, id);
        self.note(&format!("{old} is now {new}"), out);
        self.page.clear();
        let _ = writeln!(self.page, "* {old} is now known as {new}");
        self.tell_who_cares(id, number, false, out);
        self.record(room, out);
        self.show_step(room, false, out);
        if let Some(number) = number {
            self.follow(number, new, out);
        }
        self.reply(id, &format!("you are now known as {new}"), out);
    }
}

fn write_whisper(page: &mut Vec<u8>, from: &str, to: &str, words: &[u8]) {
    page.clear();
    let _ = write!(page, "[{from} to {to}] ");
    text::clean(words, page);
    page.push(b'\n');
}
