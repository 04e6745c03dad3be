//! Which lines everybody has heard, for all workers.
//!
//! A worker counts for itself who of its members has heard a line, and only when all have, it makes
//! a note here. So threads write to common memory once a line each, not once a listener.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::load::options::Kind;
use crate::load::plan::Plan;

/// The lines under way.
#[derive(Debug, Default)]
pub(in crate::load) struct Ledger {
    /// For each line under way of each talker: how many workers have members who have not heard it.
    waiting: Vec<AtomicU32>,
    /// How many workers have members who are to hear a talker.
    audiences: Vec<u32>,
    shift: u32,
    /// For each worker: talkers of its own of whom a line was heard by everybody.
    mail: Vec<Mutex<Vec<u32>>>,
}

impl Ledger {
    /// A ledger for a chat; for another kind of load there is nothing in it.
    pub(in crate::load) fn new(plan: &Plan) -> Ledger {
        if plan.kind != Kind::Chat {
            return Ledger::default();
        }
        let shift = slots_shift(plan.depth);
        let hear = |author| {
            let hears = |worker: &u32| audience(plan, *worker, author) > 0;
            (0..plan.workers).filter(hears).count() as u32
        };
        let audiences: Vec<u32> = (0..plan.talkers).map(hear).collect();
        let slots = |&workers: &u32| (0..1 << shift).map(move |_| AtomicU32::new(workers));
        Ledger {
            waiting: audiences.iter().flat_map(slots).collect(),
            audiences,
            shift,
            mail: (0..plan.workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// A line was heard by all members of one worker more. Tells whether that is everybody.
    pub(super) fn note(&self, author: u32, number: u32) -> bool {
        let waiting = &self.waiting[slot(self.shift, author, number)];
        let is_last = waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            // For the line that will be here next, which is not said before this one is known to be
            // heard.
            waiting.store(self.audiences[author as usize], Ordering::Release);
        }
        is_last
    }

    /// Lets another worker know that a line of its talker was heard by everybody.
    pub(super) fn post(&self, worker: u32, author: u32) {
        self.box_of(worker).push(author);
    }

    /// The talkers of a worker, once for each line that was heard by everybody since the last call.
    pub(super) fn collect(&self, worker: u32) -> Vec<u32> {
        std::mem::take(&mut *self.box_of(worker))
    }

    fn box_of(&self, worker: u32) -> std::sync::MutexGuard<'_, Vec<u32>> {
        let mail = &self.mail[worker as usize];
        mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of a worker's members are to hear a talker: all but itself.
pub(super) fn audience(plan: &Plan, worker: u32, author: u32) -> u32 {
    plan.share(worker) - u32::from(author % plan.workers == worker)
}

/// The logarithm to base 2 of how many lines of a talker there is room for.
pub(super) fn slots_shift(depth: u32) -> u32 {
    depth.next_power_of_two().trailing_zeros()
}

/// Where a line is counted as long as it is under way.
pub(super) fn slot(shift: u32, author: u32, number: u32) -> usize {
    let within = number as usize & ((1 << shift) - 1);
    (author as usize) << shift | within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_all_workers_with_somebody_who_listens() {
        // Members 0, 1 and 2 of workers 0, 1 and 0; the only one of worker 1 does not hear itself.
        let plan = Plan {
            workers: 2,
            ..Plan::of(Kind::Chat, 3, 64, 1)
        };
        let ledger = Ledger::new(&plan);
        for number in 0..3 {
            assert!(!ledger.note(0, number));
            assert!(ledger.note(0, number));
            assert!(ledger.note(1, number));
        }
    }

    #[test]
    fn mail_is_fetched_once() {
        let plan = Plan {
            workers: 2,
            ..Plan::of(Kind::Chat, 3, 64, 1)
        };
        let ledger = Ledger::new(&plan);
        ledger.post(1, 1);
        ledger.post(1, 1);
        assert!(ledger.collect(0).is_empty());
        assert_eq!(ledger.collect(1), [1, 1]);
        assert!(ledger.collect(1).is_empty());
    }
}
