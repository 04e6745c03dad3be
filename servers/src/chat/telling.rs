//! What the others hear.

use edgeloop_reactor::{ConnId, Outbox};

use super::room::{Step, WINDOW};
use super::{Chat, text};

impl Chat {
    pub(super) fn say(&mut self, id: ConnId, words: &[u8], out: &mut Outbox) {
        self.speak(id, b"[", b"] ", words, out);
    }

    /// What somebody does rather than says. It begins unlike anything that the server says: a name
    /// may be any word, and so make a sentence of the server's.
    pub(super) fn emote(&mut self, id: ConnId, words: &[u8], out: &mut Outbox) {
        self.speak(id, b"** ", b" ", words, out);
    }

    /// A line of somebody's that the others in the room hear, and those who come later.
    fn speak(&mut self, id: ConnId, before: &[u8], after: &[u8], words: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        for part in [before, member.name().as_bytes(), after] {
            self.page.extend_from_slice(part);
        }
        text::clean(words, &mut self.page);
        self.page.push(b'\n');
        let room = member.room;
        self.tell_who_cares(id, out);
        self.charge(id, out);
        let history = &mut self.rooms[room as usize].history;
        history.keep(out.now(), &self.page, self.settings.history);
        self.record(room, out);
    }

    /// What stands on the page goes to all others in the room who do not ignore its author.
    fn tell_who_cares(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &mut self.rooms[member.room as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        room.gate.spend(allowance, self.page.len(), now);
        self.effort += room.members().len();
        if room.ignoring == 0 {
            return out.broadcast(room.others(id), &self.page);
        }
        let members = &self.members;
        let cares = |&other: &ConnId| members.get(other).is_some_and(|member| !member.ignores(id));
        out.broadcast(room.others(id).filter(cares), &self.page);
    }

    /// What stands on the page goes to all others in the room.
    pub(super) fn tell_others(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let room = &mut self.rooms[member.room as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        room.gate.spend(allowance, self.page.len(), now);
        self.effort += room.members().len();
        out.broadcast(room.others(id), &self.page);
    }

    /// What stands on the page counts as said by its author.
    pub(super) fn charge(&mut self, id: ConnId, out: &Outbox) {
        if let (Some(rates), Some(member)) = (self.rates, self.members.get_mut(id)) {
            let bytes = self.page.len();
            member.pace.spend_bytes(rates, bytes, out.now());
        }
    }

    /// A word of the server to one person.
    pub(super) fn reply(&mut self, id: ConnId, words: &str, out: &mut Outbox) {
        self.page.clear();
        for part in ["* ", words, "\n"] {
            self.page.extend_from_slice(part.as_bytes());
        }
        self.answer(id, out);
    }

    /// What stands on the page is an answer to somebody.
    pub(super) fn answer(&mut self, id: ConnId, out: &mut Outbox) {
        self.effort += self.page.len();
        out.send(id, &self.page);
    }

    /// What stands on the page is taken down, if there is a transcript.
    pub(super) fn record(&mut self, room: u32, out: &mut Outbox) {
        if let Some(transcript) = &mut self.transcript {
            transcript.note(&self.rooms[room as usize].name, &self.page);
            self.tick(out);
        }
    }

    /// Tells the others in the room, or keeps it for later if they hear too much already. A farewell
    /// has waited for its room, and needs no more of it.
    pub(super) fn announce(&mut self, id: ConnId, step: Step, farewell: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        self.page.clear();
        self.page.extend_from_slice(b"* ");
        self.page.extend_from_slice(member.name().as_bytes());
        self.page.extend_from_slice(match step {
            Step::In => b" has entered the room",
            Step::Out => b" has left the room",
        });
        if !farewell.is_empty() {
            self.page.extend_from_slice(b" (");
            text::clean(farewell, &mut self.page);
            self.page.push(b')');
        }
        self.page.push(b'\n');
        let room = &mut self.rooms[member.room as usize];
        let (allowance, now) = (&self.bounds.allowance, out.now());
        let has_room = !room.gate.is_behind() && room.gate.wait(allowance, now).is_zero();
        let has_room = has_room || !farewell.is_empty();
        if self.settings.plain || room.may_announce(id, step, &self.page, has_room, now) {
            return self.tell_others(id, out);
        }
        if !self.crowded.contains(&member.room) {
            self.crowded.push(member.room);
        }
        self.tick(out);
    }

    /// Lets the service timer run, if it does not.
    pub(super) fn tick(&mut self, out: &mut Outbox) {
        if !std::mem::replace(&mut self.ticking, true) {
            out.set_service_timer(WINDOW);
        }
    }

    /// Tells rooms how many have come and gone without being announced.
    pub(super) fn sum_up(&mut self, out: &mut Outbox) {
        if self.crowded.is_empty() {
            return;
        }
        // The timer may have been the transcript's, which may be set more often.
        if out.now().saturating_sub(self.summed_up_at) < WINDOW {
            return self.tick(out);
        }
        self.summed_up_at = out.now();
        for number in std::mem::take(&mut self.crowded) {
            if let Some(room) = self.rooms.get_mut(number as usize) {
                let crowd = room.take_crowd();
                let (before, meanwhile): (Vec<ConnId>, Vec<ConnId>) =
                    room.members().iter().partition(|&&id| crowd.hears_all(id));
                if let Some(&one) = before.first() {
                    let (summary, now) = (crowd.summary_for(one), out.now());
                    room.gate.spend(&self.bounds.allowance, summary.len(), now);
                    out.broadcast(before, &summary);
                }
                for id in meanwhile {
                    out.send(id, &crowd.summary_for(id));
                }
            }
        }
    }
}
