//! What the workers have in common: the plan, the phase, and a bell.
//!
//! Each worker is a thread with a reactor, which shares nothing with the others but a [`Crew`]. The
//! conductor tells the [`Phase`] to all, and each says when it has reached the phase's goal.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use edgeloop_reactor::Waker;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::chat::Ledger;
use super::clock::{Clock, Nanos};
use super::phase::Phase;
use super::plan::Plan;
use super::window::Window;

/// What all workers of a run and its conductor share.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) plan: Plan,
    pub(super) clock: Clock,
    phase: AtomicU8,
    counters: Vec<Counters>,
    pub(super) window: Window,
    /// Rung for the conductor when something may have changed.
    bell: EventFd,
    /// A worker's way to the others, once all have started.
    wakers: OnceLock<Vec<Waker>>,
    /// Nothing more can come of this run.
    is_broken: AtomicBool,
    pub(super) ledger: Ledger,
}

/// What the others may see of a worker at any time. Each has a cache line of its own, so that to
/// count costs no more than to write to memory.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    /// Messages answered since the beginning; of chat, lines heard by everybody.
    pub(super) answered: AtomicU64,
    /// Of chat: lines times those who heard them.
    pub(super) delivered: AtomicU64,
    /// Connections that are open.
    pub(super) open: AtomicU64,
    /// Mismatches and problems.
    pub(super) wrong: AtomicU64,
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
    pub(super) fn new(plan: Plan, clock: Clock) -> nix::Result<Crew> {
        let counters = (0..plan.workers).map(|_| Counters::default()).collect();
        Ok(Crew {
            ledger: Ledger::new(&plan),
            plan,
            clock,
            phase: AtomicU8::new(Phase::Connecting as u8),
            counters,
            window: Window::new(),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            wakers: OnceLock::new(),
            is_broken: AtomicBool::new(false),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Acquire))
    }

    /// Tells everybody that the next phase begins now.
    pub(super) fn tell(&self, phase: Phase, now: Nanos) {
        match phase {
            Phase::Measuring => self.window.open(now),
            Phase::Connecting | Phase::Warming => {}
            Phase::Settling | Phase::Ending | Phase::Over => self.window.close(now),
        }
        self.phase.store(phase as u8, Ordering::Release);
        (0..self.plan.workers).for_each(|worker| self.wake(worker));
    }

    /// The ways to all workers, in their order, once all have started.
    pub(super) fn set_wakers(&self, wakers: Vec<Waker>) {
        // They start once.
        let _ = self.wakers.set(wakers);
    }

    pub(super) fn wake(&self, worker: u32) {
        let waker = self.wakers.get().and_then(|all| all.get(worker as usize));
        if let Some(Err(errno)) = waker.map(Waker::wake) {
            log::debug!("a worker cannot be woken: {}", errno.desc());
        }
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

    /// Whether all workers have.
    pub(super) fn have_reached(&self, phase: Phase) -> bool {
        let reached = |counters: &Counters| counters.reached.load(Ordering::Acquire) > phase as u8;
        self.counters.iter().all(reached)
    }

    /// Nothing more can come of it.
    pub(super) fn give_up(&self) {
        self.is_broken.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Whether there is no sense in going on: given up, or no connection is left.
    pub(super) fn is_hopeless(&self) -> bool {
        self.has_given_up() || self.count().open == 0
    }

    /// Lets the conductor look at it.
    pub(super) fn ring(&self) {
        // It can only fail by being full of rings.
        let _ = self.bell.write(1);
    }

    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    pub(super) fn count(&self) -> Count {
        let mut sum = Count::default();
        for counters in &self.counters {
            sum.answered += counters.answered.load(Ordering::Relaxed);
            sum.delivered += counters.delivered.load(Ordering::Relaxed);
            sum.open += counters.open.load(Ordering::Relaxed);
            sum.wrong += counters.wrong.load(Ordering::Relaxed);
        }
        sum
    }
}
