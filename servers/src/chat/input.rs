//! From bytes to lines, no faster than one may talk.
//!
//! The input of a member rests, and TCP makes the member wait, while
//!
//! - it is ahead of its pace, or has caused much in this callback: a timer lets it go on;
//! - a line of it waits for its room (`queue.rs`), until the room calls it up;
//! - more than the high-water mark waits for it, so that its own questions do not make that more;
//! - it is being shown a long message of the day.
//!
//! Bytes that were read already are held as they came and have their turn later, in their order, so
//! nothing is dropped; they are no more than one read. A member that is lost meanwhile is silent at
//! once: what is still held, or with the kernel, is not said.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Outbox};

use super::bounds::{EFFORT_MAX, OTHERS_TURN};
use super::command::Command;
use super::keys::Key;
use super::member::Member;
use super::name::Illegal;
use super::text::{is_blank, whole_characters};
use super::{Chat, LOBBY_NUMBER};
use crate::line::Line;

/// What a member's next line has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For so long, which may be no time.
    For(Duration),
    /// For something to happen, which will let it go on.
    Event,
}

impl Chat {
    pub(super) fn read(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) {
        // What came before has its turn first.
        let waits = |member: &Member| member.is_held() || member.is_above();
        let waited = self.members.get(id).is_some_and(waits);
        let mut rest = bytes;
        if !waited {
            self.effort = 0;
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

    /// A line that was kept and what was held have their turn, as far as the pace and the rooms
    /// allow. `called`: the room that has called the member up.
    pub(super) fn go_on(&mut self, id: ConnId, called: Option<u32>, out: &mut Outbox) {
        self.effort = 0;
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
        // It may have left meanwhile.
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

    /// Lets the input of a member rest until its next line may be taken.
    fn rest(&self, id: ConnId, out: &mut Outbox) {
        out.pause(id);
        if let Some(Wait::For(wait)) = self.wait(id, out.now()) {
            out.set_timer(id, wait);
        }
    }

    /// The stream has ended.
    pub(super) fn read_end(&mut self, id: ConnId, out: &mut Outbox) {
        match self.members.get_mut(id).filter(|member| member.is_held()) {
            Some(member) => member.extra_mut().ended = true,
            None => self.end(id, out),
        }
    }

    /// Everything that was sent has had its turn, but for a last line that lacks its newline.
    fn end(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id) {
            let mut lines = member.take_input().lines;
            let max = self.settings.max_line;
            lines.finish(max, |line| self.take_line(id, line, out));
        }
        // That line, or the message of the day for a newcomer whose name it was, may have to wait.
        if let Some(member) = self.members.get_mut(id).filter(|member| member.is_held()) {
            member.extra_mut().ended = true;
        } else {
            out.finish(id);
            self.part(id, Closed::Eof.reason(), b"", out);
        }
    }

    /// Takes bytes apart into lines, and these one after another, until one has to wait. Returns
    /// what is left.
    fn take_in<'a>(&mut self, id: ConnId, mut bytes: &'a [u8], out: &mut Outbox) -> &'a [u8] {
        let Some(member) = self.members.get_mut(id) else {
            return &[];
        };
        // Taken out of the member, so that both can be used at once.
        let mut input = member.take_input();
        let max = self.settings.max_line;
        let plain = self.settings.plain;
        while self.wait(id, out.now()) == Some(Wait::For(Duration::ZERO))
            && let Some(key) = input.next(&mut bytes, plain)
        {
            let lines = &mut input.lines;
            let each = |line: Line<'_>| self.take_line(id, line, out);
            match key {
                Key::Answer(answer) => out.send(id, &answer),
                Key::Raw(text) => lines.feed(text, max, each),
                Key::Text(text) => lines.push(text, max, each),
                Key::End(text) => lines.end(text, max, each),
                Key::Erase => lines.erase(),
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.put_input(input);
        }
        bytes
    }

    /// What the next line of a member has to wait for; `None` if the member is gone.
    fn wait(&self, id: ConnId, now: Duration) -> Option<Wait> {
        let member = self.members.get(id)?;
        if member.rests() {
            return Some(Wait::Event);
        }
        let wait = self.rates.map(|rates| member.pace.wait(rates, now));
        let wait = wait.unwrap_or_default();
        match self.effort > EFFORT_MAX {
            true => Some(Wait::For(wait.max(OTHERS_TURN))),
            false => Some(Wait::For(wait)),
        }
    }

    fn take_line(&mut self, id: ConnId, line: Line<'_>, out: &mut Outbox) {
        // What follows the leave is heard by nobody.
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !member.has_joined() {
            return match line.cut {
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

    /// A line does what it does, or has to wait for the room that hears it. `called`: the room that
    /// has called its author up.
    fn attempt(&mut self, id: ConnId, line: &[u8], called: Option<u32>, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let is_name = !member.has_joined();
        let command = match line.starts_with(b"/") && !self.settings.plain {
            true => Command::parse(line),
            false => Command::Say(line),
        };
        let audience = match is_name {
            // Where each step is announced by itself, a newcomer waits as a line does.
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
