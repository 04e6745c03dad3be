//! What every kind of load has: its place in the crew, the phase, and its counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use edgeloop_reactor::{Closed, Errno, Outbox};

use super::clock::Nanos;
use super::crew::{Counters, Crew};
use super::opening::Opening;
use super::phase::Phase;
use super::plan::Plan;
use super::tally::{Mismatch, Problem, Tally};

/// What connect(2) says of a Unix socket whose queue is full; those of TCP wait for room.
pub(super) const QUEUE_FULL: Closed = Closed::Error(Errno::EAGAIN);

/// A worker, as its protocol knows it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) crew: Arc<Crew>,
    index: u32,
    phase: Phase,
    opening: Opening,
    answered: u64,
    delivered: u64,
    open: u64,
    wrong: u64,
    pub(super) tally: Tally,
}

impl Worker {
    pub(super) fn new(crew: Arc<Crew>, index: u32) -> Worker {
        Worker {
            opening: Opening::new(&crew.plan, index),
            crew,
            index,
            phase: Phase::Connecting,
            answered: 0,
            delivered: 0,
            open: 0,
            wrong: 0,
            tally: Tally::new(),
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.crew.plan
    }

    pub(super) fn now(&self, out: &Outbox) -> Nanos {
        self.crew.clock.now(out)
    }

    /// Asks to be woken in the next turn.
    pub(super) fn wake(&self) {
        self.crew.wake(self.index);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether messages are to be sent.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Warming | Phase::Measuring)
    }

    /// The next phase, if it has begun.
    pub(super) fn next_phase(&mut self) -> Option<Phase> {
        let phase = self.crew.phase();
        if phase == self.phase {
            return None;
        }
        self.phase = phase;
        Some(phase)
    }

    /// The goal of this phase is reached.
    pub(super) fn reached_goal(&self) {
        self.crew.reached(self.index, self.phase);
    }

    /// Begins to open this worker's connections, whose tags are their places. The service timer is
    /// in use until all are open.
    pub(super) fn open_connections(&mut self, out: &mut Outbox) {
        let now = self.now(out);
        self.opening.start(&self.crew.plan, now, out);
    }

    /// Opens the connections whose time has come; to be called by the service timer.
    pub(super) fn go_on_opening(&mut self, out: &mut Outbox) {
        let now = self.now(out);
        if self.phase == Phase::Connecting {
            self.opening.go_on(&self.crew.plan, now, out);
        }
    }

    /// The connection at this place cannot be opened; not now, or for good, which is told.
    pub(super) fn connect_failed(&mut self, place: u32, why: Closed, out: &mut Outbox) -> bool {
        let now = self.now(out);
        let is_full = why == QUEUE_FULL && self.phase == Phase::Connecting;
        let is_final = !is_full || !self.opening.try_again(place, &self.crew.plan, now, out);
        if is_final {
            self.opening_ended(Some(Problem::Connect(why)), out);
        }
        is_final
    }

    /// A connection takes part from now on, or never will, for this reason. The goal is reached
    /// when this is so of all.
    pub(super) fn opening_ended(&mut self, failed: Option<Problem>, out: &mut Outbox) {
        if self.phase != Phase::Connecting {
            return;
        }
        match failed {
            Some(problem) => self.problem(problem, 1),
            None => self.opened(),
        }
        self.opening.ended(self.now(out));
        self.go_on_opening(out);
        if self.opening.is_over() {
            self.reached_goal();
        }
    }

    /// A connection is open, and takes part.
    pub(super) fn opened(&mut self) {
        self.tally.connected += 1;
        self.open += 1;
        self.show_open();
    }

    /// Connections that are open, and take part.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// A connection that was open is no longer. Before the end this should not happen; what we have
    /// aborted ourselves is accounted for already.
    pub(super) fn closed(&mut self, why: Closed) {
        let expected = match why {
            Closed::Aborted | Closed::Shutdown => true,
            Closed::Eof | Closed::Finished => self.phase >= Phase::Ending,
            _ => false,
        };
        if !expected {
            self.problem(Problem::Closed(why), 1);
        }
        self.open -= 1;
        self.show_open();
        match (self.open, self.phase) {
            (0, Phase::Ending) => self.reached_goal(),
            // There may be no sense in going on.
            (0, _) => self.crew.ring(),
            _ => {}
        }
    }

    fn show_open(&self) {
        self.counters(|counters| counters.open.store(self.open, Ordering::Relaxed));
    }

    /// Whether what was sent at that time counts.
    pub(super) fn counts(&self, sent: Nanos) -> bool {
        self.crew.window.holds(sent)
    }

    /// A message that was sent, or planned, at that time is answered by as many bytes.
    pub(super) fn answered(&mut self, sent: Nanos, now: Nanos) {
        if self.took_place(sent) {
            self.tally.bytes_received += self.crew.plan.size as u64;
            self.latency(sent, now);
        }
    }

    /// A message took place whose latency is recorded elsewhere, or has none. Tells whether it
    /// counts.
    pub(super) fn took_place(&mut self, sent: Nanos) -> bool {
        self.answered += 1;
        self.counters(|counters| counters.answered.store(self.answered, Ordering::Relaxed));
        let counts = self.counts(sent);
        if counts {
            self.tally.messages += 1;
            self.tally.bytes_sent += self.crew.plan.size as u64;
        }
        counts
    }

    /// The kernel has taken so many lines, of which nobody says when they arrive.
    pub(super) fn taken(&mut self, lines: u64, now: Nanos) {
        self.answered += lines;
        self.counters(|counters| counters.answered.store(self.answered, Ordering::Relaxed));
        if self.counts(now) {
            self.tally.messages += lines;
            self.tally.bytes_sent += lines * self.crew.plan.size as u64;
        }
    }

    /// A line of a chat has reached one member more.
    pub(super) fn delivered(&mut self, sent: Nanos, now: Nanos) {
        self.delivered += 1;
        self.counters(|counters| counters.delivered.store(self.delivered, Ordering::Relaxed));
        if self.counts(sent) {
            self.tally.delivered += 1;
            self.latency(sent, now);
        }
    }

    /// Messages that were due at these times were not sent until the end: they count with the time
    /// for which each of those who are to hear them has waited so far.
    pub(super) fn behind(
        &mut self,
        planned: impl Iterator<Item = Nanos>,
        listeners: u64,
        now: Nanos,
    ) {
        for planned in planned {
            if self.counts(planned) {
                self.tally.behind += 1;
                let waited = now.saturating_sub(planned);
                self.tally.latency.saturating_record_n(waited, listeners);
            }
        }
    }

    /// The same for messages whose latency nobody knows.
    pub(super) fn not_sent(&mut self, planned: impl Iterator<Item = Nanos>) {
        let count = planned.filter(|planned| self.counts(*planned)).count();
        self.tally.behind += count as u64;
    }

    fn latency(&mut self, sent: Nanos, now: Nanos) {
        self.tally
            .latency
            .saturating_record(now.saturating_sub(sent));
    }

    /// So many bytes have come, of a kind of load that does not count them by the message.
    pub(super) fn received(&mut self, bytes: usize, now: Nanos) {
        if self.counts(now) {
            self.tally.bytes_received += bytes as u64;
        }
    }

    pub(super) fn mismatch(&mut self, mismatch: Mismatch, count: u64) {
        *self.tally.mismatches.entry(mismatch).or_default() += count;
        self.went_wrong(count);
    }

    pub(super) fn problem(&mut self, problem: Problem, count: u64) {
        self.tally.problem(problem, count);
        self.went_wrong(count);
    }

    fn went_wrong(&mut self, count: u64) {
        self.wrong += count;
        self.counters(|counters| counters.wrong.store(self.wrong, Ordering::Relaxed));
    }

    fn counters(&self, change: impl FnOnce(&Counters)) {
        change(self.crew.counters(self.index));
    }
}
