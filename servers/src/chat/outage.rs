//! When the log is out of reach, or takes no more.
//!
//! The members stay. Those that talk are paused: a line that may not be appended now is kept, as one that
//! waits for a room is (`queue.rs`), and attempted again as soon as the log is of use. What was appended
//! before waits in the log. After [`TOLD_AFTER`] those with lines that wait are told so, once in each
//! outage. A newcomer, whose name only the log can give to it, is told to wait, and dismissed after
//! [`NEWCOMER_WAIT`].

use std::time::Duration;

use edgeloop_reactor::{ConnId, Outbox};

use super::Chat;
use super::bounds::OTHERS_TURN;
use super::command::Command;
use super::member::{Awaited, Kept, Member};
use super::waits::NEWCOMER_WAIT;
use crate::backplane::entry::Body;

/// Time for which the log may be out of reach before talkers are paused. What they say meanwhile waits in
/// the log.
const PAUSED_AFTER: Duration = Duration::from_secs(1);
/// Time after which they are told.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// Most lines of one member that are on their way through the log.
const IN_FLIGHT_MAX: u32 = 1000;

impl Chat {
    /// Appends an entry of a member, which counts as in flight until it is read.
    pub(super) fn append_for(&mut self, id: ConnId, body: Body<'_>, out: &mut Outbox) {
        let is_step = matches!(body, Body::Move { .. } | Body::Rename { .. });
        if !self.append(body, out)
            && let Some(member) = self.members.get_mut(id)
        {
            let extra = member.extra_mut();
            extra.in_flight += 1;
            extra.awaits = is_step.then_some(Awaited::Step).or(extra.awaits);
        }
    }

    /// An entry of a member was read.
    pub(super) fn has_landed(&mut self, id: ConnId) {
        if let Some(member) = self.members.get_mut(id) {
            member.land();
        }
    }

    /// Whether a line has to wait, since the log cannot be appended to.
    pub(super) fn waits_for_log(&self, id: ConnId, command: &Command<'_>, out: &Outbox) -> bool {
        if self.replica.is_none() {
            return false;
        }
        let Some(member) = self.members.get(id) else {
            return false;
        };
        match command {
            _ if !member.has_joined() => !self.takes_names(out),
            Command::Say(_)
            | Command::Me(_)
            | Command::Msg { .. }
            | Command::Nick(_)
            | Command::Join(_) => {
                let in_flight = member.extra().map_or(0, |extra| extra.in_flight);
                in_flight >= IN_FLIGHT_MAX || self.is_paused(out)
            }
            _ => false,
        }
    }

    fn is_paused(&self, out: &Outbox) -> bool {
        self.log.health().is_full || self.paused_for(out) > PAUSED_AFTER
    }

    /// Time for which the log has been out of reach.
    fn paused_for(&self, out: &Outbox) -> Duration {
        let since = self.log.health().paused_since;
        since.map_or(Duration::ZERO, |since| out.now().saturating_sub(since))
    }

    /// Keeps a member's line until the log is of use.
    pub(super) fn stand_by(&mut self, id: ConnId, line: &[u8], out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let (line, room) = (line.into(), None);
        let is_newcomer = !member.has_joined();
        member.extra_mut().kept = Some(Kept { line, room });
        self.outage.waiting.push(id);
        // Those that have left are not looked for at each leave.
        if self.outage.waiting.len() > 2 * self.members.len() {
            let members = &self.members;
            let is_there = |id: &ConnId| members.get(*id).is_some_and(stands_by);
            self.outage.waiting.retain(is_there);
        }
        if is_newcomer {
            out.set_timer(id, NEWCOMER_WAIT);
        }
        if self.outage.is_told {
            self.tell_to_wait(id, out);
        }
        self.serve_log_soon(out);
    }

    /// The time of a newcomer is over, or the log is of use again.
    pub(super) fn has_waited(&mut self, id: ConnId, out: &mut Outbox) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        match (member.kept().is_some(), member.is_awaiting()) {
            (true, _) if self.takes_names(out) => self.go_on(id, None, out),
            (false, false) => self.out_of_patience(id, out),
            _ => self.out_of_reach(id, out),
        }
    }

    pub(super) fn takes_names(&self, out: &Outbox) -> bool {
        self.synced().is_some() && !self.is_paused(out)
    }

    fn out_of_reach(&mut self, id: ConnId, out: &mut Outbox) {
        self.note("refused a newcomer: the log cannot be reached", out);
        self.dismiss(
            id,
            "this server cannot reach the others: try again later",
            out,
        );
    }

    /// Sees to those that wait for the log. Returns the time at which this has to be done again.
    pub(super) fn see_to_outage(&mut self, out: &mut Outbox) -> Option<Duration> {
        if self.is_paused(out) {
            let since = self.log.health().paused_since?;
            if self.paused_for(out) >= TOLD_AFTER {
                self.tell_of_outage(out);
                return None;
            }
            return Some(since + TOLD_AFTER);
        }
        self.outage.is_told = false;
        if !self.let_go_on(out) {
            return Some(out.now() + OTHERS_TURN);
        }
        let since = self.log.health().paused_since;
        since.map(|since| since + PAUSED_AFTER + Duration::from_millis(1))
    }

    /// The log is of use: the lines that wait for it are attempted, as far as one callback may. The result
    /// is true if that is all.
    fn let_go_on(&mut self, out: &mut Outbox) -> bool {
        let mut waiting = std::mem::take(&mut self.outage.waiting).into_iter();
        for id in waiting.by_ref() {
            let Some(member) = self.members.get(id).filter(|member| stands_by(member)) else {
                continue;
            };
            let may = match member.has_joined() {
                true => member
                    .extra()
                    .is_none_or(|extra| extra.in_flight < IN_FLIGHT_MAX),
                false => self.synced().is_some(),
            };
            match may {
                true => self.go_on(id, None, out),
                false => self.outage.waiting.push(id),
            }
            if Chat::has_worked(out) {
                break;
            }
        }
        let is_all = waiting.len() == 0;
        self.outage.waiting.extend(waiting);
        is_all
    }

    fn tell_of_outage(&mut self, out: &mut Outbox) {
        if std::mem::replace(&mut self.outage.is_told, true) {
            return;
        }
        self.outage.number += 1;
        log::warn!("the log cannot be reached: what members say waits");
        let waits = |member: &Member| {
            !member.is_arriving()
                && member.extra().is_some_and(|extra| {
                    extra.in_flight > 0 || extra.kept.is_some() || extra.awaits.is_some()
                })
        };
        let waiting = self.members.iter().filter(|(_, member)| waits(member));
        let waiting: Vec<ConnId> = waiting.map(|(id, _)| id).collect();
        for id in waiting {
            self.tell_to_wait(id, out);
        }
    }

    fn tell_to_wait(&mut self, id: ConnId, out: &mut Outbox) {
        let number = self.outage.number;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let has_joined = member.has_joined();
        if std::mem::replace(&mut member.extra_mut().outage, number) != number {
            let told = match has_joined {
                true => "what you say waits: this server cannot reach the others",
                false => "please wait: this server cannot reach the others",
            };
            self.reply(id, told, out);
        }
    }
}

fn stands_by(member: &Member) -> bool {
    member.kept().is_some_and(|kept| kept.room.is_none())
}
