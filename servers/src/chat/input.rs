//! From bytes to lines, no faster than one may talk.
//!
//! Who talks too fast is not read from for a while, and TCP makes it wait. What was read already is
//! held as it came and has its turn later, in its order, so nothing is dropped; it is no more than
//! one read. Who is lost meanwhile is silent at once: what is still held, or with the kernel, is
//! not said.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Outbox};

use super::Chat;
use super::command::Command;
use super::member::Member;
use super::text::whole_characters;
use crate::line::Line;
use crate::telnet::Part;

/// What one member may cause in one callback, in bytes of answers and lines times hearers, before
/// the others have their turn and what was said is sent.
pub(super) const EFFORT_MAX: usize = 256 * 1024;
/// How long it waits then.
const OTHERS_TURN: Duration = Duration::from_millis(1);

impl Chat {
    pub(super) fn read(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) {
        // What came before has its turn first.
        let waits = self.members.get(id).is_some_and(Member::is_held);
        let rest = if waits {
            bytes
        } else {
            self.take_in(id, bytes, out)
        };
        if rest.is_empty() {
            return;
        }
        let wait = self.wait(id, out.now());
        if let Some(member) = self.members.get_mut(id) {
            member.extra_mut().held.push(rest);
            if let (false, Some(wait)) = (waits, wait) {
                out.pause(id);
                out.set_timer(id, wait);
            }
        }
    }

    /// What was held has its turn, as far as the pace allows.
    pub(super) fn go_on(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let mut held = member.take_held();
        let left = self.take_in(id, held.rest(), out).len();
        held.keep_last(left);
        let wait = self.wait(id, out.now());
        // It may have left meanwhile.
        let (Some(wait), Some(member)) = (wait, self.members.get_mut(id)) else {
            return;
        };
        if !held.is_empty() {
            member.extra_mut().held = held;
            out.set_timer(id, wait);
        } else if member.has_ended() {
            self.end(id, out);
        } else {
            out.resume(id);
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
        out.finish(id);
        self.part(id, Closed::Eof.reason(), b"", out);
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
        self.effort = 0;
        while self.wait(id, out.now()) == Some(Duration::ZERO)
            && let Some(part) = input.telnet.next(&mut bytes)
        {
            match part {
                Part::Answer(answer) => out.send(id, &answer),
                Part::Text(text) => input
                    .lines
                    .feed(text, max, |line| self.take_line(id, line, out)),
            }
        }
        if let Some(member) = self.members.get_mut(id) {
            member.put_input(input);
        }
        bytes
    }

    /// How long somebody's next line has to wait; `None` if nobody is there any more.
    fn wait(&self, id: ConnId, now: Duration) -> Option<Duration> {
        let member = self.members.get(id)?;
        let wait = self.rate.map(|rate| member.pace.wait(rate, now));
        let wait = wait.unwrap_or_default();
        match self.effort > EFFORT_MAX {
            true => Some(wait.max(OTHERS_TURN)),
            false => Some(wait),
        }
    }

    fn take_line(&mut self, id: ConnId, line: Line<'_>, out: &mut Outbox) {
        // What follows the leave is heard by nobody.
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !member.has_joined() {
            return self.log_in(id, line, out);
        }
        if let Some(rate) = self.rate {
            member.pace.spend(rate, out.now());
        }
        let mut text = line.text;
        if line.cut {
            text = whole_characters(text);
            let max = self.settings.max_line;
            let told = format!("your line was cut after {max} bytes");
            self.reply(id, &told, out);
        }
        self.act(id, text, out);
    }

    /// A line of somebody who has joined.
    fn act(&mut self, id: ConnId, line: &[u8], out: &mut Outbox) {
        if line.starts_with(b"/") && !self.settings.plain {
            self.command(id, Command::parse(line), out);
        } else {
            self.say(id, line, out);
        }
    }
}
