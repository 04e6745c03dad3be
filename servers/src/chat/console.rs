//! The server's own terminal: its output.
//!
//! The operator sees the lines of all rooms, or of the one room that the operator has joined; whispers
//! are not shown. Members do not wait for the terminal: lines are left out and counted while standard
//! output takes no more, after its allowance of this turn, and while the terminal is another job's.

use edgeloop_reactor::Outbox;
use log::{Level, log_enabled};

use super::Chat;
use crate::screen::Screen;

impl Chat {
    /// Shows the page, a line that was said in a room.
    pub(super) fn show_said(&mut self, room: u32, out: &mut Outbox) {
        if self.operator.room.is_some() {
            return self.show_step(room, false, out);
        }
        let name = self.rooms[room as usize].name.as_bytes();
        let line = [name, b" ", &self.page].concat();
        self.show_line(&line, Screen::show, out);
    }

    /// Shows the page, a step of a member in its room. An operator that sees all rooms has the step
    /// in the log already, unless a farewell comes with it (`has_words`).
    pub(super) fn show_step(&mut self, room: u32, has_words: bool, out: &mut Outbox) {
        match &self.operator.room {
            Some(name) if self.room_by_name.get(name) == Some(room) => {
                let line = std::mem::take(&mut self.page);
                self.show_line(&line, Screen::show, out);
                self.page = line;
            }
            None if has_words => self.show_said(room, out),
            _ => {}
        }
    }

    /// Writes an entry to the log, of which a stranger can cause any number: see `Chat::entries`. If
    /// the log goes to the terminal where the operator's line is being edited, the entry is printed
    /// above that line instead, marked as no line of a member can be.
    pub(super) fn note(&mut self, entry: &str, out: &mut Outbox) {
        let is_edited = self.operator.screen.is_edited();
        if !is_edited || self.operator.has_log {
            let now_ms = out.now().as_millis() as u64;
            self.entries.log(now_ms, format_args!("{entry}"));
        }
        if is_edited && log_enabled!(Level::Info) {
            let notice = |screen: &mut Screen, _: &[u8], shown: &mut Vec<u8>| {
                screen.notice(entry, shown);
            };
            self.show_line(entry.as_bytes(), notice, out);
        }
    }

    /// Prints a reply to the operator, in whole lines.
    pub(super) fn print(&mut self, text: &str, out: &mut Outbox) {
        let mut shown = Vec::new();
        self.operator.screen.show(text.as_bytes(), &mut shown);
        self.operator.put(&shown, out);
    }

    /// Shows a line if standard output takes it now, and counts it as missing otherwise.
    fn show_line(
        &mut self,
        line: &[u8],
        show: impl FnOnce(&mut Screen, &[u8], &mut Vec<u8>),
        out: &mut Outbox,
    ) {
        let (operator, now) = (&mut self.operator, out.now());
        if operator.stdout.is_none() {
            return;
        }
        let wait = operator.shown.wait(&self.bounds.allowance, now);
        if !operator.may_show() || !wait.is_zero() {
            operator.missing += 1;
            return self.tick(out);
        }
        self.tell_operator_what_is_missing(out);
        let (operator, mut shown) = (&mut self.operator, Vec::new());
        show(&mut operator.screen, line, &mut shown);
        operator
            .shown
            .spend(&self.bounds.allowance, shown.len(), now);
        operator.put(&shown, out);
    }

    /// Prints the number of lines that were left out, once standard output takes more.
    pub(super) fn tell_operator_what_is_missing(&mut self, out: &mut Outbox) {
        if self.operator.may_show()
            && let lines @ 1.. = std::mem::take(&mut self.operator.missing)
        {
            self.print(&format!("lines that were not shown: {lines}\n"), out);
        }
    }
}
