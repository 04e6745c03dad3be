//! The state that workers share: the plan, the phase, and a way to wake one another.
//!
//! Each worker is a thread with a reactor, which shares nothing with the others but a [`Crew`]. The
//! conductor, a reactor of its own, sets the [`Phase`] for all, and each worker reports when it has
//! reached the phase's goal.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use edgeloop_reactor::Waker;
use edgeloop_reactor::process::reason;

use super::clock::{Clock, Nanos, Window};
use super::hearing::Ledger;
use super::plan::Plan;

/// How far a run has come. A phase may be left out, and none comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Connections are opened. The goal: each is open, or has failed.
    Connecting,
    /// Messages go to and fro, and do not count yet.
    Warming,
    /// Messages count.
    Measuring,
    /// No more are sent. The goal: none is under way.
    Settling,
    /// Streams are ended. The goal: the server has ended them too.
    Ending,
    /// Connections still open are aborted.
    Over,
}

impl Phase {
    fn from_number(number: u8) -> Phase {
        use Phase::{Connecting, Ending, Measuring, Over, Settling, Warming};
        let phases = [Connecting, Warming, Measuring, Settling, Ending, Over];
        phases[usize::from(number).min(phases.len() - 1)]
    }
}

/// The state that all workers of a run share with its conductor.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) plan: Plan,
    pub(super) clock: Clock,
    phase: AtomicU8,
    counters: Vec<Counters>,
    pub(super) window: Window,
    /// Wakes the conductor.
    bell: OnceLock<Waker>,
    /// Wake the workers, once all have started.
    wakers: OnceLock<Vec<Waker>>,
    /// The run is pointless from here on.
    is_broken: AtomicBool,
    pub(super) ledger: Ledger,
}

/// A count that one worker writes, and others may read at any time: no addition needs to be atomic.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    pub(super) fn add(&self, count: u64) {
        self.set(self.get() + count);
    }
}

/// A worker's counts. Each worker has a cache line of its own, so that to count costs no more than a
/// write to memory.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    /// Messages answered since the beginning; of chat, lines that all members have heard.
    pub(super) answered: Counter,
    /// Of chat: lines times their listeners.
    pub(super) delivered: Counter,
    /// Connections that are open, and take part.
    pub(super) open: Counter,
    /// Mismatches and problems.
    pub(super) wrong: Counter,
    /// The last phase whose goal is reached, counted from 1; 0 before.
    reached: AtomicU8,
}

/// The counters of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) answered: u64,
    pub(super) delivered: u64,
    pub(super) open: u64,
    pub(super) wrong: u64,
}

impl Crew {
    pub(super) fn new(plan: Plan, clock: Clock) -> Crew {
        Crew {
            ledger: Ledger::new(&plan),
            phase: AtomicU8::new(Phase::Connecting as u8),
            counters: (0..plan.workers).map(|_| Counters::default()).collect(),
            plan,
            clock,
            window: Window::new(),
            bell: OnceLock::new(),
            wakers: OnceLock::new(),
            is_broken: AtomicBool::new(false),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Acquire))
    }

    /// Begins the next phase now, for all workers.
    pub(super) fn tell(&self, phase: Phase, now: Nanos) {
        match phase {
            Phase::Measuring => self.window.open(now),
            Phase::Connecting | Phase::Warming => {}
            Phase::Settling | Phase::Ending | Phase::Over => self.window.close(now),
        }
        self.phase.store(phase as u8, Ordering::Release);
        (0..self.plan.workers).for_each(|worker| self.wake(worker));
    }

    /// Sets the conductor's waker, before workers start.
    pub(super) fn set_bell(&self, bell: Waker) {
        // There is one conductor.
        let _ = self.bell.set(bell);
    }

    /// Sets the wakers of all workers, in their order, once all have started.
    pub(super) fn set_wakers(&self, wakers: Vec<Waker>) {
        // The workers start once.
        let _ = self.wakers.set(wakers);
    }

    pub(super) fn wake(&self, worker: u32) {
        wake(self.wakers.get().and_then(|all| all.get(worker as usize)));
    }

    /// Lets the conductor look at the crew.
    pub(super) fn ring(&self) {
        wake(self.bell.get());
    }

    pub(super) fn counters(&self, worker: u32) -> &Counters {
        &self.counters[worker as usize]
    }

    /// A worker has reached the goal of this phase.
    pub(super) fn reached(&self, worker: u32, phase: Phase) {
        let reached = &self.counters(worker).reached;
        reached.fetch_max(phase as u8 + 1, Ordering::AcqRel);
        self.ring();
    }

    /// Whether all workers have reached the goal of this phase.
    pub(super) fn have_reached(&self, phase: Phase) -> bool {
        let reached = |counters: &Counters| counters.reached.load(Ordering::Acquire) > phase as u8;
        self.counters.iter().all(reached)
    }

    /// The run cannot become what was asked for: it is to end early.
    pub(super) fn give_up(&self) {
        self.is_broken.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Whether it is pointless to go on: given up, or no connection is open.
    pub(super) fn is_hopeless(&self) -> bool {
        self.has_given_up() || self.count().open == 0
    }

    pub(super) fn count(&self) -> Count {
        let mut sum = Count::default();
        for counters in &self.counters {
            sum.answered += counters.answered.get();
            sum.delivered += counters.delivered.get();
            sum.open += counters.open.get();
            sum.wrong += counters.wrong.get();
        }
        sum
    }
}

fn wake(waker: Option<&Waker>) {
    if let Some(Err(error)) = waker.map(Waker::wake) {
        log::debug!("a reactor cannot be woken: {}", reason(&error));
    }
}
