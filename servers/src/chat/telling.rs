//! Output: lines of members to their rooms, replies to one member, and announcements.
//!
//! Every text is formatted into `Chat::page` first and sent from there, so a line for a thousand
//! hearers is formatted once. A member's line is counted three times: against the room's gate
//! (`gate.rs`), against the author's pace (`pace.rs`), once for each of a number of hearers, and in the
//! work of the callback.
//!
//! Announcements of steps are the one kind of output that may be replaced by less: above
//! `ANNOUNCED_MAX`, and while the room is behind, a room is told sums once per [`WINDOW`].

use std::ops::Range;
use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::{ENTRY, HEARERS};
use super::room::{Room, Step, WINDOW};
use super::seat::messages;
use super::{Chat, text};
use crate::backplane::entry::{Manner, Position};

/// The author of what a room is told, on this server or another.
#[derive(Debug)]
pub(super) struct Author {
    /// Its connection, if this server serves it.
    pub(super) id: Option<ConnId>,
    pub(super) name: Arc<str>,
    /// Number of its room.
    pub(super) room: u32,
}

impl Chat {
    /// A member that this server serves, as an author.
    pub(super) fn author(&self, id: ConnId) -> Option<Author> {
        self.members.get(id).map(|member| Author {
            id: Some(id),
            name: member.shared_name(),
            room: member.room,
        })
    }

    /// Sends a line to the room of its author, the history, the transcript and the operator.
    pub(super) fn said(
        &mut self,
        author: &Author,
        manner: Manner,
        words: &[u8],
        at: Position,
        out: &mut Outbox,
    ) {
        let (room, name) = (
            author.room,
            write_line(&mut self.page, manner, &author.name, words),
        );
        // A page that may come back shows its own lines where the room has them.
        let is_echoed = author.id.is_some_and(|id| self.seats.contains(id));
        self.tell_who_cares(author, self.ignored_number(&author.name), is_echoed, out);
        let Room { history, told, .. } = &mut self.rooms[room as usize];
        history.keep(*told, at, &self.page, name, self.settings.history);
        self.record(room, at, out);
        if self.operator.stdout.is_some() {
            self.show_said(room, out);
        }
    }

    /// The number of a name, if some member ignores it.
    pub(super) fn ignored_number(&self, name: &str) -> Option<u32> {
        match self.ignored.is_empty() {
            true => None,
            false => self.ignored.number(&self.name_rules.fold(name)),
        }
    }

    /// Whether member `hearer` ignores a name.
    pub(super) fn ignores(&self, hearer: ConnId, name: &str) -> bool {
        let number = self.ignored_number(name);
        let hearer = self.members.get(hearer).zip(number);
        hearer.is_some_and(|(hearer, number)| hearer.ignores(number).is_some())
    }

    /// Sends the page, a line, to the others in the room of its author, but for those that ignore the
    /// name with this number, and to the author itself if it `is_echoed`.
    pub(super) fn tell_who_cares(
        &mut self,
        author: &Author,
        number: Option<u32>,
        is_echoed: bool,
        out: &mut Outbox,
    ) {
        let room = &mut self.rooms[author.room as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        room.gate
            .spend(allowance, self.bounds.sent(self.page.len()), now);
        room.told += 1;
        let told = room.told;
        let hearers = room.count.saturating_sub(1);
        if let Some(id) = author.id {
            self.charge(id, hearers, out);
            if !is_echoed && let Some(seat) = self.seats.get_mut(id) {
                seat.skip(told);
            }
        }
        let room = &self.rooms[author.room as usize];
        let Some(number) = number.filter(|_| room.ignoring > 0) else {
            return match author.id.filter(|_| !is_echoed) {
                Some(id) => out.broadcast(room.others(id), &self.page),
                None => out.broadcast(room.members().iter().copied(), &self.page),
            };
        };
        out.charge(room.members().len() * ENTRY);
        let ignored = |other: &ConnId| self.members.get(*other)?.ignores(number);
        let cares = |other: &ConnId| ignored(other).is_none();
        let others = || {
            let members = room.members().iter().copied();
            members.filter(|other| Some(*other) != author.id)
        };
        let echo = author.id.filter(|_| is_echoed);
        out.broadcast(others().filter(cares).chain(echo), &self.page);
        for other in others().filter(|other| !cares(other)) {
            if let Some(seat) = self.seats.get_mut(other) {
                seat.skip(told);
            }
        }
    }

    /// Sends the page, the announcement of a step, to the others in the room. Members that ignore its
    /// author are told of the step too, but without its farewell, and by the name that is on
    /// their list.
    fn tell_step(&mut self, author: &Author, step: Step, out: &mut Outbox) {
        let number = self.ignored_number(&author.name);
        self.tell_who_cares(author, number, false, out);
        let Some(number) = number else {
            return;
        };
        let room = &self.rooms[author.room as usize];
        if room.ignoring > 0 {
            out.charge(room.members().len() * ENTRY);
            let known = |other| {
                let known = self.members.get(other)?.ignores(number)?;
                Some((other, known))
            };
            let others = room.members().iter().copied();
            let others = others.filter(|other| Some(*other) != author.id);
            let known: Vec<(ConnId, u32)> = others.filter_map(known).collect();
            for (other, known) in known {
                let name = self.ignored.name(known);
                let line = format!("* {name}{}\n", step.told());
                self.send(other, line.as_bytes(), out);
            }
        }
    }

    /// Counts the page against the pace of its author, by the number of its hearers.
    fn charge(&mut self, id: ConnId, hearers: usize, out: &Outbox) {
        if let (Some(rates), Some(member)) = (self.rates, self.members.get_mut(id)) {
            let bytes = self.page.len() * hearers.max(HEARERS) / HEARERS;
            member.pace.spend_bytes(rates, bytes, out.now());
        }
    }

    /// Sends a line of the server to one member.
    pub(super) fn reply(&mut self, id: ConnId, words: &str, out: &mut Outbox) {
        self.page.clear();
        for part in ["* ", words, "\n"] {
            self.page.extend_from_slice(part.as_bytes());
        }
        self.answer(id, out);
    }

    /// Sends the page to one member as a reply.
    pub(super) fn answer(&mut self, id: ConnId, out: &mut Outbox) {
        self.replied += self.page.len();
        self.charge(id, 1, out);
        self.count(id, messages(&self.page));
        out.send(id, &self.page);
    }

    /// Sends lines to one member.
    pub(super) fn send(&mut self, id: ConnId, lines: &[u8], out: &mut Outbox) {
        self.count(id, messages(lines));
        out.send(id, lines);
    }

    /// Counts messages that one member is sent, and no other, for a page that may come back.
    pub(super) fn count(&mut self, id: ConnId, messages: u64) {
        let Some(seat) = self.seats.get_mut(id) else {
            return;
        };
        let room = self.members.get(id).map(|member| member.room as usize);
        let room = room.and_then(|room| self.rooms.get(room));
        seat.send(room.map_or(0, |room| room.told), messages);
    }

    /// Appends the page to the transcript, if there is one.
    pub(super) fn record(&mut self, room: u32, at: Position, out: &mut Outbox) {
        if self.transcript.is_some() {
            let room = Arc::clone(&self.rooms[room as usize].name);
            self.record_as(&room, at, out);
        }
    }

    /// Appends the page to the transcript, if there is one, as a line of what is named here.
    pub(super) fn record_as(&mut self, room: &str, at: Position, out: &mut Outbox) {
        if let Some(transcript) = &mut self.transcript {
            transcript.note(at.millis, room, &self.page);
            self.tick(out);
        }
    }

    /// Sends the page to all members in a room.
    pub(super) fn tell_room(&mut self, number: u32, out: &mut Outbox) {
        let room = &mut self.rooms[number as usize];
        let bytes = self.bounds.sent(self.page.len());
        room.gate.spend(&self.bounds.allowance, bytes, out.now());
        room.told += 1;
        out.broadcast(room.members().iter().copied(), &self.page);
    }

    /// Announces a step of a member to the others in its room, or counts it for the next summary if the
    /// room may not be told now. A step with a farewell is announced in any case: it has
    /// waited in the room's queue.
    pub(super) fn announce(
        &mut self,
        author: &Author,
        step: Step,
        farewell: &[u8],
        out: &mut Outbox,
    ) {
        self.page.clear();
        self.page.extend_from_slice(b"* ");
        self.page.extend_from_slice(author.name.as_bytes());
        self.page.extend_from_slice(step.told().as_bytes());
        if !farewell.is_empty() {
            self.page.extend_from_slice(b" (");
            text::clean(farewell, &mut self.page);
            self.page.push(b')');
        }
        self.page.push(b'\n');
        let number = author.room;
        self.show_step(number, !farewell.is_empty(), out);
        // A summary is one text for all hearers, so it must not contain the line of a member that
        // some of them ignore.
        let is_ignored = self.ignored_number(&author.name).is_some();
        let line = (!is_ignored).then_some(&*self.page);
        let room = &mut self.rooms[number as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        let has_room = !room.gate.is_behind(now) && room.gate.wait(allowance, now).is_zero();
        let has_room = has_room || !farewell.is_empty();
        if self.settings.plain || room.may_announce(author.id, step, line, has_room, now) {
            return self.tell_step(author, step, out);
        }
        if !self.crowded.contains(&number) {
            self.crowded.push(number);
        }
        self.tick(out);
    }

    /// Tells each crowded room of the steps that were not announced.
    pub(super) fn sum_up(&mut self, out: &mut Outbox) {
        if self.crowded.is_empty() {
            return;
        }
        // The service timer may have been set for the transcript, which needs it more often.
        if out.now().saturating_sub(self.summed_up_at) < WINDOW {
            return self.tick(out);
        }
        self.summed_up_at = out.now();
        for number in std::mem::take(&mut self.crowded) {
            if let Some(room) = self.rooms.get_mut(number as usize) {
                out.charge(room.members().len() * ENTRY);
                let crowd = room.take_crowd();
                let (before, meanwhile): (Vec<ConnId>, Vec<ConnId>) =
                    room.members().iter().partition(|&&id| crowd.hears_all(id));
                if let Some(&one) = before.first() {
                    let (summary, now) = (crowd.summary_for(one), out.now());
                    room.gate
                        .spend(&self.bounds.allowance, self.bounds.sent(summary.len()), now);
                    let messages = messages(&summary);
                    before.iter().for_each(|id| self.count(*id, messages));
                    out.broadcast(before, &summary);
                }
                for id in meanwhile {
                    self.send(id, &crowd.summary_for(id), out);
                }
            }
        }
    }
}

/// Writes a line, and returns the range of its author's name there.
pub(super) fn write_line(
    page: &mut Vec<u8>,
    manner: Manner,
    name: &str,
    words: &[u8],
) -> Range<usize> {
    let (before, after): (&[u8], &[u8]) = match manner {
        Manner::Say => (b"[", b"] "),
        // After `* ` a name that is an ordinary word could forge a sentence of the server.
        Manner::Act => (b"** ", b" "),
    };
    page.clear();
    for part in [before, name.as_bytes(), after] {
        page.extend_from_slice(part);
    }
    text::clean(words, page);
    page.push(b'\n');
    before.len()..before.len() + name.len()
}
