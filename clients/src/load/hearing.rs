//! The lines that members have heard: of one worker, and of all workers together.
//!
//! Each worker counts for itself which of its members have heard a line ([`Hearing`]). Only when all
//! of them have, it makes a note in the [`Ledger`] that the workers share. So threads write to common
//! memory once a line each, not once a listener.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::flow::Slots;
use super::options::Kind;
use super::plan::Plan;
use super::tally::Mismatch;

/// The members of one worker as listeners.
#[derive(Debug)]
pub(super) struct Hearing {
    talkers: u32,
    depth: u32,
    slots: Slots,
    /// For each member and each talker, the number of the line that is to be heard next.
    expected: Vec<u32>,
    /// For each line under way, the number of members that have not heard it yet.
    waiting: Vec<u32>,
    /// For each talker, the number of members that are to hear it.
    audiences: Vec<u32>,
    /// Lines that all members have heard, by author and number, in the order in which they were said:
    /// no more than can be under way, however many a server makes up.
    heard: VecDeque<(u32, u32)>,
}

/// How a line fits in with the lines heard before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    InTurn,
    /// This number of lines before it is missing.
    After(u32),
    Not(Mismatch),
}

impl Hearing {
    pub(super) fn new(plan: &Plan, worker: u32) -> Hearing {
        let slots = Slots::new(plan.depth);
        let audiences: Vec<u32> = (0..plan.talkers)
            .map(|author| audience(plan, worker, author))
            .collect();
        let waiting = |&members: &u32| std::iter::repeat_n(members, slots.of_each());
        Hearing {
            talkers: plan.talkers,
            depth: plan.depth,
            slots,
            expected: vec![0; plan.share(worker) as usize * plan.talkers as usize],
            waiting: audiences.iter().flat_map(waiting).collect(),
            audiences,
            heard: VecDeque::new(),
        }
    }

    /// A member hears a line.
    pub(super) fn hear(&mut self, place: u32, author: u32, number: u32) -> Verdict {
        let Some(expected) = self.expected(place, author) else {
            // This member does not talk.
            return Verdict::Not(Mismatch::Foreign);
        };
        match number.wrapping_sub(*expected) {
            0 => {
                *expected = number.wrapping_add(1);
                self.count(author, number);
                Verdict::InTurn
            }
            missing if missing < self.depth => {
                (0..=missing).for_each(|_| self.pass_over(place, author));
                Verdict::After(missing)
            }
            _ => Verdict::Not(Mismatch::Repeated),
        }
    }

    /// A member gives up waiting for the line that it was to hear next.
    pub(super) fn pass_over(&mut self, place: u32, author: u32) {
        if let Some(expected) = self.expected(place, author) {
            let number = *expected;
            *expected = number.wrapping_add(1);
            self.count(author, number);
        }
    }

    /// The next line that all members have heard, by author and number.
    pub(super) fn next_heard(&mut self) -> Option<(u32, u32)> {
        self.heard.pop_front()
    }

    fn expected(&mut self, place: u32, author: u32) -> Option<&mut u32> {
        if author >= self.talkers {
            return None;
        }
        let index = place as usize * self.talkers as usize + author as usize;
        self.expected.get_mut(index)
    }

    /// One member more has heard a line.
    fn count(&mut self, author: u32, number: u32) {
        let waiting = &mut self.waiting[self.slots.index(author, number.into())];
        *waiting -= 1;
        if *waiting == 0 {
            *waiting = self.audiences[author as usize];
            if self.heard.len() < self.waiting.len() {
                self.heard.push_back((author, number));
            }
        }
    }
}

/// The lines under way, for all workers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// For each line under way, the number of workers with members that have not heard it.
    waiting: Vec<AtomicU32>,
    /// For each talker, the number of workers with members that are to hear it.
    audiences: Vec<u32>,
    slots: Slots,
    /// For each worker: those of its talkers a line of which all members have heard. No more than
    /// lines can be under way: a server may make up others, for a worker that has ended.
    mail: Vec<Mutex<Vec<u32>>>,
}

impl Ledger {
    /// A ledger for a chat; empty for another kind of load.
    pub(super) fn new(plan: &Plan) -> Ledger {
        if plan.kind != Kind::Chat {
            return Ledger::default();
        }
        let slots = Slots::new(plan.depth);
        let hear = |author| {
            let hears = |worker: &u32| audience(plan, *worker, author) > 0;
            (0..plan.workers).filter(hears).count() as u32
        };
        let audiences: Vec<u32> = (0..plan.talkers).map(hear).collect();
        let waiting = |&workers: &u32| (0..slots.of_each()).map(move |_| AtomicU32::new(workers));
        Ledger {
            waiting: audiences.iter().flat_map(waiting).collect(),
            audiences,
            slots,
            mail: (0..plan.workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// All members of one worker more have heard a line. Returns whether those of all workers have.
    pub(super) fn note(&self, author: u32, number: u32) -> bool {
        let waiting = &self.waiting[self.slots.index(author, number.into())];
        let is_last = waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            // For the next line in this slot. Its author does not say it before it learns that this one
            // was heard: every worker notes the lines of one author in their order.
            waiting.store(self.audiences[author as usize], Ordering::Release);
        }
        is_last
    }

    /// Tells another worker that all members have heard a line of its talker.
    pub(super) fn post(&self, worker: u32, author: u32) {
        let mut mail = self.box_of(worker);
        if mail.len() < self.waiting.len() {
            mail.push(author);
        }
    }

    /// The talkers of a worker, once for each of their lines that all members have heard since the
    /// last call.
    pub(super) fn collect(&self, worker: u32) -> Vec<u32> {
        std::mem::take(&mut *self.box_of(worker))
    }

    fn box_of(&self, worker: u32) -> MutexGuard<'_, Vec<u32>> {
        let mail = &self.mail[worker as usize];
        mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a worker's members that are to hear a talker: all but the talker.
fn audience(plan: &Plan, worker: u32, author: u32) -> u32 {
    plan.share(worker) - u32::from(author % plan.workers == worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::Kind;

    fn hearing(members: u32, depth: u32) -> Hearing {
        Hearing::new(&Plan::of(Kind::Chat, members, 64, depth), 0)
    }

    #[test]
    fn a_line_is_heard_when_all_but_its_author_have_heard_it() {
        let mut hearing = hearing(3, 2);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 0, 1), Verdict::InTurn);
        assert_eq!(hearing.next_heard(), None);
        assert_eq!(hearing.hear(2, 0, 0), Verdict::InTurn);
        assert_eq!(
            (hearing.next_heard(), hearing.next_heard()),
            (Some((0, 0)), None)
        );
        assert_eq!(hearing.hear(2, 0, 1), Verdict::InTurn);
        assert_eq!(hearing.next_heard(), Some((0, 1)));
    }

    /// Regression: the last line came first. So its author said one more, in the slot of a line that
    /// another worker was just noting, and a note was lost: the talker waited until its timeout.
    #[test]
    fn lines_that_are_heard_together_come_in_the_order_in_which_they_were_said() {
        let mut hearing = hearing(2, 4);
        for number in 0..4 {
            assert_eq!(hearing.hear(1, 0, number), Verdict::InTurn);
        }
        let heard: Vec<_> = std::iter::from_fn(|| hearing.next_heard()).collect();
        assert_eq!(heard, [(0, 0), (0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn what_is_missing_or_comes_again_is_noticed() {
        let mut hearing = hearing(2, 4);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::Not(Mismatch::Repeated));
        assert_eq!(hearing.hear(1, 0, 3), Verdict::After(2));
        assert_eq!(hearing.hear(1, 0, 1), Verdict::Not(Mismatch::Repeated));
        assert_eq!(hearing.hear(1, 0, 4), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 7, 0), Verdict::Not(Mismatch::Foreign));
        // The missing lines are not waited for.
        assert_eq!(std::iter::from_fn(|| hearing.next_heard()).count(), 5);
    }

    #[test]
    fn numbers_may_run_over() {
        let mut hearing = hearing(2, 1);
        hearing.expected.fill(u32::MAX);
        assert_eq!(hearing.hear(1, 0, u32::MAX), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::InTurn);
    }

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

    /// Regression: a server that skipped numbers, or went on talking to a worker that had ended,
    /// filled the memory.
    #[test]
    fn what_a_server_makes_up_takes_no_more_room_than_lines_under_way() {
        let depth = 1000;
        let mut hearing = hearing(2, depth);
        for line in 1..=1000 {
            let verdict = hearing.hear(1, 0, line * depth - 1);
            assert_eq!(verdict, Verdict::After(depth - 1));
        }
        let heard = std::iter::from_fn(|| hearing.next_heard()).count();
        assert_eq!(heard, 2 * depth.next_power_of_two() as usize);

        let plan = Plan {
            workers: 2,
            ..Plan::of(Kind::Chat, 2, 64, 4)
        };
        let ledger = Ledger::new(&plan);
        (0..1_000_000).for_each(|_| ledger.post(1, 1));
        assert_eq!(ledger.collect(1).len(), 4 * plan.talkers as usize);
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
