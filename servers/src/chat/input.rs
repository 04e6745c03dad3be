//! From bytes to lines, no faster than a member may talk.
//!
//! The input of a member is paused, and so TCP pauses the member, while
//!
//! - the member is ahead of its pace, or has caused much in this callback: a timer resumes it;
//! - one of its lines waits for a room (`queue.rs`): the room calls it up;
//! - its pending output is above the high-water mark, so that its own commands do not add to it;
//! - it is being shown a long message of the day;
//! - it is a newcomer whose claim of a name is not read back from the log;
//! - it is a page that waits for its membership on another server.
//!
//! Bytes that were read before the pause are *held*, at most one read of them, and are processed
//! later, in order, so nothing is dropped. If a paused member disconnects, its held lines are
//! dropped.
//!
//! A line goes through `read`, `take_in`, `take_line` and `attempt`; `go_on` enters the same path
//! when a pause ends, and `wait` is the one place that decides whether the next line may be taken.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Outbox};

use super::bounds::{ENTRY, OTHERS_TURN, REPLIES_MAX, WORK_MAX};
use super::command::Command;
use super::keys::Key;
use super::member::Member;
use super::name::Illegal;
use super::text::{is_blank, whole_characters};
use super::{Chat, LOBBY_NUMBER};
use crate::line::Line;

/// The first bytes of a client that speaks TLS (a handshake record of its version 3). It waits for an
/// answer, and no newline may come; no name begins so.
const TLS: &[u8] = &[0x16, 0x03];

/// The wait of a member's next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For a time, which may be zero.
    For(Duration),
    /// For an event whose handler calls `go_on`: a call of the room, output that was taken, or an entry
    /// of the log.
    Event,
}

impl Chat {
    /// Processes bytes that a member has sent, and holds those whose lines have to wait.
    pub(super) fn read(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) {
        // Bytes that are held come first.
        let waits = |member: &Member| member.is_held() || member.is_above();
        let waited = self.members.get(id).is_some_and(waits);
        let mut rest = bytes;
        if !waited {
            self.replied = 0;
            rest = self.take_in(id, bytes, out);
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !rest.is_empty() {
            member.extra_mut().held.push(rest);
        }
        if !waited && member.is_held() {
            self.rest(id, out);
        }
    }

    /// Processes the kept line of a member and then its held bytes, as far as its pace and the rooms
    /// allow. `called`: the room that has called the member up.
    pub(super) fn go_on(&mut self, id: ConnId, called: Option<u32>, out: &mut Outbox) {
        self.replied = 0;
        let kept = self.members.get_mut(id).and_then(Member::take_kept);
        if let Some(kept) = kept {
            self.attempt(id, &kept.line, called, out);
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let mut held = member.take_held();
        let left = self.take_in(id, held.rest(), out).len();
        held.keep_last(left);
        // One of these lines may have been `/quit`.
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !held.is_empty() {
            member.extra_mut().held = held;
        }
        if member.is_held() || member.is_above() {
            self.rest(id, out);
        } else if member.has_ended() {
            self.end(id, out);
        } else {
            out.resume(id);
        }
    }

    /// Pauses the input of a member until its next line may be taken.
    fn rest(&self, id: ConnId, out: &mut Outbox) {
        if self.members.is_away(id) {
            return;
        }
        out.pause(id);
        if let Some(Wait::For(wait)) = self.wait(id, out) {
            out.set_timer(id, wait);
        }
    }

    /// Handles the end of a member's stream, which waits for bytes that are held.
    pub(super) fn read_end(&mut self, id: ConnId, out: &mut Outbox) {
        match self.members.get_mut(id).filter(|member| member.is_held()) {
            Some(member) => member.extra_mut().ended = true,
            None => self.end(id, out),
        }
    }

    /// Ends a member whose input has been processed, but for a last line that lacks its newline.
    fn end(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id) {
            let mut lines = member.take_input().lines;
            let max = self.settings.max_line;
            lines.finish(max, |line| self.take_line(id, line, out));
        }
        // That line may have to wait; so may a newcomer whose name it was, for the message of the day.
        if let Some(member) = self.members.get_mut(id).filter(|member| member.is_held()) {
            member.extra_mut().ended = true;
        } else {
            out.finish(id);
            self.depart(id, Closed::Eof.reason(), out);
        }
    }

    /// Splits bytes into lines and takes one line after another until one has to wait. Returns the
    /// bytes that are left.
    fn take_in<'a>(&mut self, id: ConnId, mut bytes: &'a [u8], out: &mut Outbox) -> &'a [u8] {
        let Some(member) = self.members.get_mut(id) else {
            return &[];
        };
        // `take_line` borrows the whole chat, so the assembler cannot stay in the member meanwhile.
        let mut input = member.take_input();
        let max = self.settings.max_line;
        let plain = self.settings.plain;
        while self.wait(id, out) == Some(Wait::For(Duration::ZERO))
            && let Some(key) = input.next(&mut bytes, plain)
        {
            out.charge(ENTRY);
            let lines = &mut input.lines;
            let each = |line: Line<'_>| self.take_line(id, line, out);
            match key {
                Key::Answer(answer) => out.send(id, &answer),
                Key::Raw(text) => lines.feed(text, max, each),
                Key::Text(text) => lines.push(text, max, each),
                Key::End(text) => lines.end(text, max, each),
                Key::Erase(count) => lines.erase(count),
            }
            if input.lines.begins_with(TLS) && self.is_newcomer(id) {
                self.refuse(id, TLS, Illegal::Characters, out);
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.put_input(input);
        }
        bytes
    }

    fn is_newcomer(&self, id: ConnId) -> bool {
        let member = self.members.get(id);
        member.is_some_and(|member| !member.has_joined())
    }

    /// The wait of a member's next line; `None` if the member has left.
    fn wait(&self, id: ConnId, out: &Outbox) -> Option<Wait> {
        let member = self.members.get(id)?;
        if member.rests() {
            return Some(Wait::Event);
        }
        let wait = self.rates.map(|rates| member.pace.wait(rates, out.now()));
        let wait = wait.unwrap_or_default();
        match self.replied > REPLIES_MAX || out.charged() > WORK_MAX {
            true => Some(Wait::For(wait.max(OTHERS_TURN))),
            false => Some(Wait::For(wait)),
        }
    }

    fn take_line(&mut self, id: ConnId, line: Line<'_>, out: &mut Outbox) {
        // Lines after `/quit` are dropped.
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !member.has_joined() {
            return match line.cut && !line.text.starts_with(TLS) {
                true => self.refuse(id, line.text, Illegal::TooLong, out),
                false => self.attempt(id, line.text, None, out),
            };
        }
        if let Some(rates) = self.rates {
            member.pace.spend_line(rates, out.now());
        }
        let mut text = line.text;
        if line.cut {
            text = whole_characters(text);
            let max = self.settings.max_line;
            let told = format!("your line was cut after {max} bytes");
            self.reply(id, &told, out);
        }
        if !self.settings.plain && is_blank(text) {
            return;
        }
        self.attempt(id, text, None, out);
    }

    /// Executes a line, or puts its author into the queue of the room that hears it. `called`: the
    /// room that has called the author up.
    fn attempt(&mut self, id: ConnId, line: &[u8], called: Option<u32>, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let is_name = !member.has_joined();
        let command = match line.starts_with(b"/") && !self.settings.plain {
            true => Command::parse(line),
            false => Command::Say(line),
        };
        if self.waits_for_log(id, &command, out) {
            return self.stand_by(id, line, out);
        }
        let audience = match is_name {
            // With `--plain` each step is announced, so a newcomer waits for the lobby as a line does.
            true => self.settings.plain.then_some(LOBBY_NUMBER),
            false => self.audience(id, &command),
        };
        match audience.filter(|&room| !self.is_open(room, called, out.now())) {
            Some(room) => self.stand_in_queue(id, room, line, out),
            None if is_name => self.log_in(id, line, out),
            None => self.command(id, command, out),
        }
    }
}
