//! A load in memory: one worker on a script, and its crew.

use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use edgeloop_reactor::{ConnId, Opened, Peer, Script};

use super::clock::{Clock, Nanos};
use super::crew::Crew;
use super::crew::Phase;
use super::pace::{Pace, TICKS};
use super::plan::Plan;
#[cfg(test)]
use super::tally::Mismatch;
use super::tally::Tally;
use super::worker::{Driver, Load, Worker};

/// A load whose server is played by the test.
pub(super) struct Rig<L> {
    pub(super) script: Script<Driver<L>>,
    pub(super) crew: Arc<Crew>,
    /// The connections by their places.
    pub(super) ids: Vec<ConnId>,
    /// The connection with the ticks of an open loop.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the tests tick"))]
    ticks: Option<ConnId>,
    now: Nanos,
}

impl<L: Load> Rig<L> {
    /// A load that has begun to open its connections.
    pub(super) fn new(plan: Plan) -> Rig<L> {
        let pace = plan.rate.map(|rate| Pace::new(0, rate));
        let crew = Arc::new(Crew::new(plan, Clock::of_script()));
        let is_paced = pace.is_some();
        let mut script = Script::new(Driver::new(Worker::new(Arc::clone(&crew), 0, pace)));
        let ticks = is_paced.then(|| script.open_as(Opened::new(Peer::Stream, TICKS)));
        script.call(Driver::start);
        Rig {
            script,
            crew,
            ids: Vec::new(),
            ticks,
            now: 0,
        }
    }

    /// Opens all connections that the load asks for.
    pub(super) fn open(mut self) -> Self {
        while let connects @ [_, ..] = &self.script.take_connects()[..] {
            for &(id, ..) in connects {
                self.script.connected(id);
                self.ids.push(id);
            }
        }
        self
    }

    /// Opens all connections, and begins all phases up to this one.
    pub(super) fn in_phase(self, phase: Phase) -> Self {
        let mut rig = self.open();
        let phases = [
            Phase::Warming,
            Phase::Measuring,
            Phase::Settling,
            Phase::Ending,
        ];
        for next in phases.into_iter().filter(|next| *next <= phase) {
            rig.tell(next);
        }
        rig
    }

    pub(super) fn tell(&mut self, phase: Phase) {
        self.crew.tell(phase, self.now);
        self.script.wake();
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.script.protocol().worker.tally
    }
}

/// Time, and a closer look at the counts, for the tests of all kinds of load.
#[cfg(test)]
impl<L: Load> Rig<L> {
    /// Lets the plan's timer tick.
    pub(super) fn tick(&mut self) {
        if let Some(ticks) = self.ticks {
            self.script.data(ticks, &1u64.to_ne_bytes());
        }
    }

    /// Lets time pass, with a tick each millisecond if there is a plan.
    pub(super) fn pass(&mut self, milliseconds: u32) {
        for _ in 0..milliseconds {
            self.pass_one_unnoticed();
            self.tick();
            if self.ticks.is_some() {
                // A script has no waker, and to wake a load that has not asked does no harm.
                self.script.wake();
            }
        }
    }

    /// Lets a millisecond pass without its tick.
    pub(super) fn pass_one_unnoticed(&mut self) {
        self.script.advance(Duration::from_millis(1));
        self.now += 1_000_000;
    }

    /// The mismatches counted.
    pub(super) fn mismatches(&self) -> Vec<(Mismatch, u64)> {
        let found = self.tally().mismatches.iter();
        found.map(|(mismatch, count)| (*mismatch, *count)).collect()
    }

    /// The problems counted.
    pub(super) fn problems(&self) -> Vec<(&str, u64)> {
        let found = self.tally().problems.iter();
        found
            .map(|(problem, count)| (problem.as_str(), *count))
            .collect()
    }

    /// The latencies that were recorded, in milliseconds.
    pub(super) fn latencies(&self) -> Vec<u64> {
        let recorded = self.tally().latency.iter_recorded();
        let each = recorded.flat_map(|step| {
            // The histogram keeps three digits.
            let milliseconds = (step.value_iterated_to() as f64 / 1e6).round() as u64;
            std::iter::repeat_n(milliseconds, step.count_at_value() as usize)
        });
        each.collect()
    }
}
