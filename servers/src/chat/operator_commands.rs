//! The server's own terminal: its input. A line is told to all members, or to those of one room; lines
//! that begin with `/` are commands. What members notice of it is appended to the log; `judging.rs` has
//! its effect.
//!
//! The operator does not stand in the queue of a room, since a line for all rooms would need all of
//! them open at one time. Instead it has a gate of its own, and standard input is paused while that
//! gate is shut or standard output is full.

use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::OPERATOR_LINE_MAX;
use super::command::split_word;
use super::text::is_blank;
use super::{Chat, NOBODY, bans};
use crate::backplane::entry::Body;
use crate::values::duration;

const HELP: &str = "\
TEXT                   is said to all, or to the room that was joined
//TEXT                 the same, with a slash in front
/join ROOM             speak to one room, and see that one only
/join                  speak to all, and see all
/who                   everybody, room by room, and who is banned
/kick NAME             end a visit, for 5 minutes
/ban NAME [DURATION]   end a visit, for so long or for good
/unban NAME            let NAME in again
";
/// How long a kick keeps a member out.
const KICKED_FOR: Duration = Duration::from_secs(5 * 60);

impl Chat {
    /// Processes bytes that were typed at the server's terminal.
    pub(super) fn operate(&mut self, bytes: &[u8], out: &mut Outbox) {
        let (mut echo, mut words) = (Vec::new(), Vec::new());
        let ended = self.operator.screen.typed(bytes, &mut echo, &mut words);
        self.operator.put(&echo, out);
        let mut lines = std::mem::take(&mut self.operator.lines);
        lines.feed(&words, OPERATOR_LINE_MAX, |line| self.obey(line.text, out));
        self.operator.lines = lines;
        match ended {
            true => self.operator_has_ended(out),
            false => self.let_operator_go_on(out),
        }
        self.tell_operator_what_is_missing(out);
    }

    /// Notes that standard output takes no more for now, or has caught up.
    pub(super) fn operator_is_full(&mut self, id: ConnId, is_full: bool, out: &mut Outbox) {
        if self.operator.stdout == Some(id) {
            self.operator.is_full = is_full;
            self.tell_operator_what_is_missing(out);
            self.let_operator_go_on(out);
        }
    }

    /// Pauses standard input while a room that is behind was told enough or standard output is full,
    /// and resumes it otherwise.
    pub(super) fn let_operator_go_on(&mut self, out: &mut Outbox) {
        let Some(stdin) = self.operator.stdin else {
            return;
        };
        let allowance = &self.bounds.allowance;
        let wait = self.operator.gate.wait(allowance, out.now());
        if !wait.is_zero() {
            out.set_timer(stdin, wait);
        }
        match self.operator.is_full || !wait.is_zero() {
            true => out.pause(stdin),
            false => out.resume(stdin),
        }
    }

    /// Handles the end of standard input: executes a last line without newline, and leaves the
    /// terminal's line mode. Lines are still shown.
    pub(super) fn operator_has_ended(&mut self, out: &mut Outbox) {
        let mut lines = std::mem::take(&mut self.operator.lines);
        lines.finish(OPERATOR_LINE_MAX, |line| self.obey(line.text, out));
        self.operator.gets_up(out);
        if let Some(stdin) = self.operator.stdin {
            out.finish(stdin);
        }
    }

    fn obey(&mut self, line: &[u8], out: &mut Outbox) {
        if is_blank(line) {
            return;
        }
        let (verb, rest) = split_word(line);
        let rest = String::from_utf8_lossy(rest);
        let (word, more) = rest.split_once([' ', '\t']).unwrap_or((&rest, ""));
        match verb {
            b"/who" => self.show_all_members(out),
            b"/join" => self.operator_joins(word, out),
            b"/kick" => self.kick(word, out),
            b"/ban" => self.ban(word, more.trim(), out),
            b"/unban" => self.unban(word, out),
            [b'/', b'/', ..] => self.proclaim(&line[1..], out),
            [b'/', ..] => self.print(HELP, out),
            _ => self.proclaim(line, out),
        }
    }

    fn show_all_members(&mut self, out: &mut Outbox) {
        let mut page = self.all_members();
        if let Some(banned) = bans::describe(self.bans(), self.millis(out)) {
            page.extend_from_slice(format!("banned: {banned}\n").as_bytes());
        }
        self.print(&String::from_utf8_lossy(&page), out);
    }

    /// Makes the operator speak to one room, which need not exist yet, or to all rooms.
    fn operator_joins(&mut self, wanted: &str, out: &mut Outbox) {
        if wanted.is_empty() {
            self.operator.room = None;
            return self.print("you speak to all\n", out);
        }
        let name = match self.name_rules.legal_room(wanted) {
            Ok(name) => name,
            Err(illegal) => return self.print(&format!("{}\n", illegal.reason()), out),
        };
        let (mut told, mut count) = (Vec::new(), 0);
        if let Some(number) = self.room_by_name.get(&name) {
            self.list(number, None, false, &mut told);
            count = self.rooms[number as usize].count;
        }
        let told = String::from_utf8_lossy(&told);
        self.print(&format!("you speak to {name} ({count}): {told}\n"), out);
        self.operator.room = Some(name.into_owned());
    }

    fn kick(&mut self, name: &str, out: &mut Outbox) {
        if self.names.get(name).is_none() && !self.is_known_elsewhere(name) {
            return self.print(&format!("{NOBODY}\n"), out);
        }
        self.keep_out(name, Some(KICKED_FOR), true, out);
    }

    fn ban(&mut self, wanted: &str, how_long: &str, out: &mut Outbox) {
        let name = match self.name_rules.legal(wanted.as_bytes()) {
            Ok(name) => name,
            Err(illegal) => return self.print(&format!("{}\n", illegal.reason()), out),
        };
        match how_long {
            "" | "0" => self.keep_out(&name, None, false, out),
            how_long => match duration(how_long) {
                Ok(duration) => self.keep_out(&name, Some(duration), false, out),
                Err(error) => self.print(&format!("{error}\n"), out),
            },
        }
    }

    fn keep_out(&mut self, name: &str, time: Option<Duration>, is_kick: bool, out: &mut Outbox) {
        let name = self.name_rules.forms(name);
        let ban = Body::Ban {
            name: name.lent(),
            // A ban that would end beyond the range of the clock is for good.
            millis: time.and_then(|time| time.as_millis().try_into().ok()),
            is_kick,
        };
        self.append(ban, out);
    }

    fn unban(&mut self, name: &str, out: &mut Outbox) {
        let fold = self.name_rules.fold(name);
        if !self.bans().has(&fold) {
            return self.print(&format!("{name} is not banned\n"), out);
        }
        self.append(Body::Unban { name: &fold }, out);
    }

    /// Tells a line to the members of all rooms, or of the room that the operator has joined.
    fn proclaim(&mut self, text: &[u8], out: &mut Outbox) {
        let name = self.operator.room.clone();
        let room = name.as_deref().map(|name| self.name_rules.fold(name));
        let room = room.as_deref();
        if let Some(name) = &name
            && self.room_by_name.get(name).is_none()
        {
            return self.print(&format!("nobody is in {name}\n"), out);
        }
        self.append(Body::Notice { room, text }, out);
    }
}
