//! Who of a worker's members has heard what.

use super::ledger::{audience, slot, slots_shift};
use crate::load::plan::Plan;
use crate::load::tally::Mismatch;

/// What is known of a worker's members as listeners.
#[derive(Debug)]
pub(super) struct Hearing {
    talkers: u32,
    depth: u32,
    shift: u32,
    /// For each member and each talker, the number of the line that is to be heard next.
    expected: Vec<u32>,
    /// For each line under way, how many members have not heard it yet.
    waiting: Vec<u32>,
    /// For each talker, how many members there are to hear it.
    audiences: Vec<u32>,
    /// Lines that all members have heard, by author and number.
    heard: Vec<(u32, u32)>,
}

/// How a line fits in with what was heard before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    InTurn,
    /// So many before it are missing.
    After(u32),
    Not(Mismatch),
}

impl Hearing {
    pub(super) fn new(plan: &Plan, worker: u32) -> Hearing {
        let shift = slots_shift(plan.depth);
        let audiences: Vec<u32> = (0..plan.talkers)
            .map(|author| audience(plan, worker, author))
            .collect();
        let slots = |&members: &u32| std::iter::repeat_n(members, 1 << shift);
        Hearing {
            talkers: plan.talkers,
            depth: plan.depth,
            shift,
            expected: vec![0; plan.share(worker) as usize * plan.talkers as usize],
            waiting: audiences.iter().flat_map(slots).collect(),
            audiences,
            heard: Vec::new(),
        }
    }

    /// A member hears a line.
    pub(super) fn hear(&mut self, place: u32, author: u32, number: u32) -> Verdict {
        let Some(expected) = self.expected(place, author) else {
            // It does not talk.
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

    /// A member does not wait any more for the line that it was to hear next.
    pub(super) fn pass_over(&mut self, place: u32, author: u32) {
        if let Some(expected) = self.expected(place, author) {
            let number = *expected;
            *expected = number.wrapping_add(1);
            self.count(author, number);
        }
    }

    /// The next line that all members have heard, by author and number.
    pub(super) fn next_heard(&mut self) -> Option<(u32, u32)> {
        self.heard.pop()
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
        let waiting = &mut self.waiting[slot(self.shift, author, number)];
        *waiting -= 1;
        if *waiting == 0 {
            *waiting = self.audiences[author as usize];
            self.heard.push((author, number));
        }
    }
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

    #[test]
    fn what_is_missing_or_comes_again_is_noticed() {
        let mut hearing = hearing(2, 4);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::Not(Mismatch::Repeated));
        assert_eq!(hearing.hear(1, 0, 3), Verdict::After(2));
        assert_eq!(hearing.hear(1, 0, 1), Verdict::Not(Mismatch::Repeated));
        assert_eq!(hearing.hear(1, 0, 4), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 7, 0), Verdict::Not(Mismatch::Foreign));
        // Nobody waits for what is missing.
        assert_eq!(std::iter::from_fn(|| hearing.next_heard()).count(), 5);
    }

    #[test]
    fn numbers_may_run_over() {
        let mut hearing = hearing(2, 1);
        hearing.expected.fill(u32::MAX);
        assert_eq!(hearing.hear(1, 0, u32::MAX), Verdict::InTurn);
        assert_eq!(hearing.hear(1, 0, 0), Verdict::InTurn);
    }
}
