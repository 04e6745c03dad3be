//! Members that wait for a room to take their line.
//!
//! A line that may not be said yet is kept, the input of its author is paused, and the author stands
//! in the queue of the room that is to hear the line: its own room, or that of the member to whom the
//! line is said. The room calls its queue up in order, one line of each member at a time, as its
//! [`Gate`] allows. Only the first member of a queue has a timer, so thousands of waiting members cost
//! nothing until their turn.
//!
//! `rise` and `fall` are here too: a member that crosses the high-water mark shuts or opens the gate
//! of its room, and thereby moves the queue.
//!
//! [`Gate`]: super::gate::Gate

use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::bounds::{OTHERS_TURN, WORK_MAX};
use super::command::Command;
use super::member::Kept;

impl Chat {
    /// The room that hears a command; `None` if only its author does. Announcements do not count: they
    /// are summed up where the room may not be told.
    pub(super) fn audience(&self, id: ConnId, command: &Command<'_>) -> Option<u32> {
        let member = self.members.get(id)?;
        match command {
            Command::Say(_) | Command::Me(_) | Command::Nick(_) => Some(member.room),
            Command::Quit(farewell) if !farewell.is_empty() => Some(member.room),
            Command::Msg { to, .. } => {
                let other = self.names.get(to)?;
                let target = self.members.get(other)?;
                (other != id && !self.ignores(other, member.name())).then_some(target.room)
            }
            _ => None,
        }
    }

    /// Whether a room may be told a line now. While its queue is not empty, only the member that it
    /// has called up (`called`) may tell it one.
    pub(super) fn is_open(&self, number: u32, called: Option<u32>, now: Duration) -> bool {
        let room = &self.rooms[number as usize];
        let is_next = room.queue.is_empty() || called == Some(number);
        is_next && room.gate.wait(&self.bounds.allowance, now).is_zero()
    }

    /// Keeps a member's line until the room calls the member up.
    pub(super) fn stand_in_queue(
        &mut self,
        id: ConnId,
        number: u32,
        line: &[u8],
        out: &mut Outbox,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (line, room) = (line.into(), Some(number));
        member.extra_mut().kept = Some(Kept { line, room });
        let queue = &mut self.rooms[number as usize].queue;
        queue.push_back(id);
        if queue.len() == 1 {
            self.set_queue_timer(number, out);
        }
    }

    /// Takes a member that is about to leave out of the queue, and drops its line.
    pub(super) fn leave_queue(&mut self, id: ConnId, out: &mut Outbox) {
        let kept = self
            .members
            .get_mut(id)
            .and_then(|member| member.take_kept());
        let Some(number) = kept.and_then(|kept| kept.room) else {
            return;
        };
        let queue = &mut self.rooms[number as usize].queue;
        out.charge(queue.len());
        let was_first = queue.front() == Some(&id);
        queue.retain(|&waiting| waiting != id);
        if was_first {
            self.set_queue_timer(number, out);
        }
    }

    /// Empties the queue of a room that ends. Each line in it has lost its hearer, so a timer makes
    /// its author attempt it again.
    pub(super) fn dissolve_queue(&mut self, number: u32, out: &mut Outbox) {
        for id in std::mem::take(&mut self.rooms[number as usize].queue) {
            if let Some(member) = self.members.get_mut(id)
                && let Some(kept) = &mut member.extra_mut().kept
            {
                kept.room = None;
                out.set_timer(id, Duration::ZERO);
            }
        }
    }

    /// Sets the timer of the first member of a queue to when its line may be said.
    pub(super) fn set_queue_timer(&self, number: u32, out: &mut Outbox) {
        let room = &self.rooms[number as usize];
        if let Some(&first) = room.queue.front() {
            out.set_timer(first, room.gate.wait(&self.bounds.allowance, out.now()));
        }
    }

    /// Resumes the members of a queue one after another, as far as the room allows.
    pub(super) fn call_up(&mut self, number: u32, out: &mut Outbox) {
        while let Some(room) = self.rooms.get_mut(number as usize)
            && let Some(&first) = room.queue.front()
        {
            let wait = room.gate.wait(&self.bounds.allowance, out.now());
            let wait = match out.charged() > WORK_MAX {
                true => wait.max(OTHERS_TURN),
                false => wait,
            };
            if !wait.is_zero() {
                return out.set_timer(first, wait);
            }
            room.queue.pop_front();
            self.go_on(first, Some(number), out);
        }
    }

    /// Notes that a member has risen above the high-water mark: its room is behind from now on, and
    /// its own input, which may ask for more output, is paused.
    pub(super) fn rise(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(member) = self.members.get_mut(id)
            && member.set_above(true)
        {
            out.pause(id);
            if let Some(reading) = &mut member.extra_mut().reading {
                reading.rise(out.now());
            }
            if member.has_joined() {
                let number = member.room;
                if self.rooms[number as usize].gate.rise() {
                    self.fall_behind(number, out);
                }
            }
        }
    }

    /// Resumes a member that has fallen below the high-water mark: its message of the day, or its
    /// input.
    pub(super) fn catch_up(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        match member.kept() {
            // The room will call it up.
            Some(_) => {}
            None if member.is_reading() => self.read_on(id, out),
            None => self.go_on(id, None, out),
        }
    }

    /// Notes that a member has fallen below the high-water mark or is about to leave. Returns whether
    /// it was above.
    pub(super) fn fall(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let was_above = member.set_above(false);
        if was_above && member.has_joined() {
            let number = member.room;
            if self.rooms[number as usize].gate.fall() {
                self.set_queue_timer(number, out);
            }
        }
        was_above
    }
}
