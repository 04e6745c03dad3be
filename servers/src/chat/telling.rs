//! Output: lines of members to their rooms, replies to one member, and announcements.
//!
//! Every text is formatted into `Chat::page` first and sent from there, so a line for a thousand
//! hearers is formatted once. A member's line is counted three times: against the room's gate
//! (`gate.rs`), against the author's pace (`pace.rs`), once for each of a number of hearers, and in the
//! work of the callback.
//!
//! Announcements of steps are the one kind of output that may be replaced by less: above
//! `ANNOUNCED_MAX`, and while the room is behind, a room is told sums once per [`WINDOW`].

use std::sync::Arc;

use edgeloop_reactor::{ConnId, Outbox};

use super::bounds::{ENTRY, HEARERS};
use super::room::{Room, Step, WINDOW};
use super::seat::messages;
use super::{Chat, text};
use crate::backplane::entry::{Manner, Position};

impl Chat {
    /// Sends a line of member `id` to its room, the history, the transcript and the operator.
    pub(super) fn said(
        &mut self,
        id: ConnId,
        manner: Manner,
        words: &[u8],
        at: Position,
        out: &mut Outbox,
    ) {
        let (before, after): (&[u8], &[u8]) = match manner {
            Manner::Say => (b"[", b"] "),
            // After `* ` a name that is an ordinary word could forge a sentence of the server.
            Manner::Act => (b"** ", b" "),
        };
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        for part in [before, member.name().as_bytes(), after] {
            self.page.extend_from_slice(part);
        }
        text::clean(words, &mut self.page);
        self.page.push(b'\n');
        let (room, name) = (
            member.room,
            before.len()..before.len() + member.name().len(),
        );
        // A page that may come back shows its own lines where the room has them.
        let is_echoed = self.seats.contains(id);
        self.tell_who_cares(id, self.ignored_number(id), is_echoed, out);
        let Room { history, told, .. } = &mut self.rooms[room as usize];
        history.keep(*told, at, &self.page, name, self.settings.history);
        self.record(room, out);
        if self.operator.stdout.is_some() {
            self.show_said(room, out);
        }
    }

    /// The number of a member's name, if some member ignores it.
    pub(super) fn ignored_number(&self, id: ConnId) -> Option<u32> {
        if self.ignored.is_empty() {
            return None;
        }
        let member = self.members.get(id)?;
        self.ignored.number(&self.name_rules.fold(member.name()))
    }

    /// Whether member `hearer` ignores member `id`.
    pub(super) fn ignores(&self, hearer: ConnId, id: ConnId) -> bool {
        let number = self.ignored_number(id);
        let hearer = self.members.get(hearer).zip(number);
        hearer.is_some_and(|(hearer, number)| hearer.ignores(number).is_some())
    }

    /// Sends the page, a line, to the others in the room of its author `id`, but for those that ignore the
    /// name with this number, and to the author itself if it `is_echoed`.
    pub(super) fn tell_who_cares(
        &mut self,
        id: ConnId,
        number: Option<u32>,
        is_echoed: bool,
        out: &mut Outbox,
    ) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room_number = member.room;
        let room = &mut self.rooms[room_number as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        room.gate
            .spend(allowance, self.bounds.sent(self.page.len()), now);
        room.told += 1;
        let told = room.told;
        let hearers = room.members().len() - 1;
        self.charge(id, hearers, out);
        if !is_echoed && let Some(seat) = self.seats.get_mut(id) {
            seat.skip(told);
        }
        let room = &self.rooms[room_number as usize];
        let Some(number) = number.filter(|_| room.ignoring > 0) else {
            return match is_echoed {
                true => out.broadcast(room.members().iter().copied(), &self.page),
                false => out.broadcast(room.others(id), &self.page),
            };
        };
        out.charge(hearers * ENTRY);
        let ignored = |other: &ConnId| self.members.get(*other)?.ignores(number);
        let cares = |other: &ConnId| ignored(other).is_none();
        let echo = is_echoed.then_some(id);
        out.broadcast(room.others(id).filter(cares).chain(echo), &self.page);
        for other in room.others(id).filter(|other| !cares(other)) {
            if let Some(seat) = self.seats.get_mut(other) {
                seat.skip(told);
            }
        }
    }

    /// Sends the page, the announcement of a step of member `id`, to the others in its room. Members
    /// that ignore `id` are told of the step too, but without its farewell, and by the name that is on
    /// their list.
    fn tell_step(&mut self, id: ConnId, step: Step, out: &mut Outbox) {
        let number = self.ignored_number(id);
        self.tell_who_cares(id, number, false, out);
        let room = self.members.get(id).map(|member| member.room);
        let (Some(number), Some(room)) = (number, room) else {
            return;
        };
        let room = &self.rooms[room as usize];
        if room.ignoring > 0 {
            out.charge(room.members().len() * ENTRY);
            let known = |other| {
                let known = self.members.get(other)?.ignores(number)?;
                Some((other, known))
            };
            let known: Vec<(ConnId, u32)> = room.others(id).filter_map(known).collect();
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
    pub(super) fn record(&mut self, room: u32, out: &mut Outbox) {
        if self.transcript.is_some() {
            let room = Arc::clone(&self.rooms[room as usize].name);
            self.record_as(&room, out);
        }
    }

    /// Appends the page to the transcript, if there is one, as a line of what is named here.
    pub(super) fn record_as(&mut self, room: &str, out: &mut Outbox) {
        if let Some(transcript) = &mut self.transcript {
            transcript.note(room, &self.page);
            self.tick(out);
        }
    }

    /// Announces a step of member `id` to the others in its room, or counts it for the next summary
    /// if the room may not be told now. A step with a farewell is announced in any case: it has
    /// waited in the room's queue.
    pub(super) fn announce(&mut self, id: ConnId, step: Step, farewell: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        self.page.extend_from_slice(b"* ");
        self.page.extend_from_slice(member.name().as_bytes());
        self.page.extend_from_slice(step.told().as_bytes());
        if !farewell.is_empty() {
            self.page.extend_from_slice(b" (");
            text::clean(farewell, &mut self.page);
            self.page.push(b')');
        }
        self.page.push(b'\n');
        let number = member.room;
        self.show_step(number, !farewell.is_empty(), out);
        // A summary is one text for all hearers, so it must not contain the line of a member that
        // some of them ignore.
        let line = self.ignored_number(id).is_none().then_some(&*self.page);
        let room = &mut self.rooms[number as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        let has_room = !room.gate.is_behind() && room.gate.wait(allowance, now).is_zero();
        let has_room = has_room || !farewell.is_empty();
        if self.settings.plain || room.may_announce(id, step, line, has_room, now) {
            return self.tell_step(id, step, out);
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
