//! How far a run has come, and what a load does about it.

use edgeloop_reactor::{Outbox, Protocol};

use super::clock::Nanos;
use super::worker::Worker;

/// How far a run has come. Phases follow upon one another, and some may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Connections are opened. The goal: all are, or have failed.
    Connecting,
    /// Messages go to and fro, and do not count yet.
    Warming,
    /// They count.
    Measuring,
    /// No more are sent. The goal: none is under way.
    Settling,
    /// Streams are ended. The goal: the server has ended them too.
    Ending,
    /// What is still open is not waited for.
    Over,
}

impl Phase {
    pub(super) fn from_number(number: u8) -> Phase {
        use Phase::{Connecting, Ending, Measuring, Over, Settling, Warming};
        let phases = [Connecting, Warming, Measuring, Settling, Ending, Over];
        phases[usize::from(number).min(phases.len() - 1)]
    }
}

/// A protocol that is a load: what it does when the next phase begins.
pub(super) trait Load: Protocol {
    /// What it has in common with the other kinds.
    fn worker(&self) -> &Worker;

    /// The same, to be changed.
    fn worker_mut(&mut self) -> &mut Worker;

    /// [`Phase::Connecting`] begins, the first.
    fn start(&mut self, out: &mut Outbox);

    /// Whoever is to send takes part in the plan from this time on. What was due before and is not
    /// sent is left out: a queue that has grown while warming up would be all that is measured.
    fn begin(&mut self, from: Nanos);

    /// Sends what is due by now.
    fn send_due(&mut self, out: &mut Outbox);

    /// [`Phase::Settling`] begins.
    fn settle(&mut self, out: &mut Outbox);

    /// [`Phase::Ending`] begins.
    fn end(&mut self, out: &mut Outbox);

    /// [`Phase::Over`] begins.
    fn stop(&mut self, out: &mut Outbox) {
        out.stop();
    }

    /// Begins the next phase, if the conductor has told it.
    fn follow(&mut self, out: &mut Outbox) {
        let was_sending = self.worker().is_sending();
        if was_sending && self.worker().crew.phase() >= Phase::Settling {
            // We may be told before the last tick is: what was due in time is still sent.
            self.send_due(out);
        }
        match self.worker_mut().next_phase() {
            Some(phase @ (Phase::Warming | Phase::Measuring)) => {
                let from = match phase {
                    // However late we notice.
                    Phase::Measuring => self.worker().crew.window.from(),
                    _ => self.worker().now(out),
                };
                self.begin(from);
                self.send_due(out);
            }
            Some(Phase::Settling) => self.settle(out),
            Some(Phase::Ending) => self.end(out),
            Some(Phase::Over) => self.stop(out),
            Some(_) | None => {}
        }
    }
}
