//! The service timer, which serves two: what the chat does about once a second, and its log.

use std::time::Duration;

use edgeloop_reactor::Outbox;

use super::Chat;
use super::bounds::{OTHERS_TURN, WORK_MAX};
use super::room::WINDOW;

impl Chat {
    /// Looks after rooms, transcript and absent members within a second.
    pub(super) fn tick(&mut self, out: &mut Outbox) {
        if self.service.tick.is_none() {
            self.tick_in(WINDOW, out);
        }
    }

    /// Looks after them after this time.
    pub(super) fn tick_in(&mut self, wait: Duration, out: &mut Outbox) {
        self.service.tick = Some(out.now() + wait);
        self.set_service_timer(out);
    }

    /// Publishes what was appended to the log once all callbacks of this turn have run.
    pub(super) fn serve_log_soon(&mut self, out: &mut Outbox) {
        let now = out.now();
        if self.service.log.is_none_or(|at| at > now) {
            self.service.log = Some(now);
            self.set_service_timer(out);
        }
    }

    /// Publishes what was appended to the log, and lets happen what can be read there.
    pub(super) fn serve_log(&mut self, out: &mut Outbox) {
        let leaving = std::mem::take(&mut self.leaving);
        self.take_leave_of(&leaving, out);
        self.service.log = None;
        let next = self.log.go_on(out);
        let is_read = self.read_log(out);
        let arrivals = self.see_to_arrivals(out);
        // Entries that were appended meanwhile are due in the next turn already.
        let waiting = (!is_read).then(|| out.now() + OTHERS_TURN);
        let outage = self.see_to_outage(out);
        let due = [self.service.log, next, waiting, outage, arrivals];
        self.service.log = due.into_iter().flatten().min();
        self.set_service_timer(out);
    }

    pub(super) fn serve(&mut self, out: &mut Outbox) {
        let now = out.now();
        let is_due = |at: &mut Duration| *at <= now;
        if self.service.log.take_if(is_due).is_some() {
            self.serve_log(out);
        }
        if self.service.tick.take_if(is_due).is_some() {
            self.look_after(out);
        }
        self.set_service_timer(out);
    }

    /// Whether this callback has caused so much work that the rest has to wait.
    pub(super) fn has_worked(out: &Outbox) -> bool {
        out.charged() > WORK_MAX
    }

    fn set_service_timer(&self, out: &mut Outbox) {
        let due = [self.service.tick, self.service.log];
        if let Some(at) = due.into_iter().flatten().min() {
            out.set_service_timer(at.saturating_sub(out.now()));
        }
    }
}
