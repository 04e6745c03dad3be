//! The work of a turn: how long the sources of one turn may keep all others waiting.
//!
//! Each source has a budget of its own, but thousands of sources with a budget each make a turn of
//! seconds, in which no signal is heard and no timer fires. So a turn has one budget for all of them,
//! [`Limits::turn_budget`](crate::Limits::turn_budget). It is counted in units, not in time: a count
//! gives the same turns each time, in a test as in a server. A unit is the work on one byte, from the
//! read to the last write, which is less than a nanosecond. The other weights follow from that:
//!
//! | work | units | charged in |
//! |---|---:|---|
//! | a byte received, queued for one recipient, or flushed | 1 | `visit.rs`, `parcels.rs`, `send.rs` |
//! | a callback, or a visit without one | [`CALLBACK`] | `Voice::tell`, `visit.rs` |
//! | a recipient of a piece of output | [`RECIPIENT`] | `parcels.rs` |
//! | a recipient's first piece, which a system call will write | [`WRITE`] | `parcels.rs` |
//! | anything else that a protocol looks at | what it says | [`Outbox::charge`](crate::Outbox::charge) |
//!
//! A turn has three phases, and none of them can keep the next one from its share: events may use half
//! of the budget, events and timers three quarters, and the ready list has the rest. When the share of
//! the events is spent, the remaining events are noted only, and their connections go to the end of the
//! ready list; timers that are due stay due; sources stay on the list, in their order. The next turn
//! comes at once.

/// Units of a callback, with the system call that leads to it.
pub(crate) const CALLBACK: usize = 1024;
/// Units of one recipient of a piece of output.
pub(crate) const RECIPIENT: usize = 32;
/// Units of a recipient's first piece in a turn.
pub(crate) const WRITE: usize = 512;
/// Units after which a driver with a clock looks at it: for a protocol that does more than it is charged
/// for.
const LOOK_INTERVAL: usize = 80 * CALLBACK;

/// The parts of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Events, if no source has been waiting since an earlier turn.
    Events,
    /// Events that wait behind the ready list.
    NoEvents,
    Timers,
    ReadyList,
}

/// The units of this turn.
#[derive(Debug)]
pub(crate) struct Work {
    budget: usize,
    /// Units of this turn so far.
    spent: usize,
    /// Units at which this part of the turn ends.
    end: usize,
    /// Units at which the driver looks at the clock, or at which this part ends if that comes first.
    look_at: usize,
    /// Units when the current callback began.
    callback: usize,
}

impl Work {
    pub(crate) fn new(budget: usize) -> Work {
        Work {
            budget,
            spent: 0,
            end: budget,
            look_at: LOOK_INTERVAL,
            callback: 0,
        }
    }

    pub(crate) fn begin_turn(&mut self) {
        self.spent = 0;
    }

    /// A part of the turn begins, with its share.
    pub(crate) fn begin(&mut self, part: Part) {
        self.end = match part {
            Part::NoEvents => 0,
            Part::Events => self.budget.div_ceil(2),
            Part::Timers => self.budget - self.budget / 4,
            Part::ReadyList => self.budget,
        };
        // No part is cut off before it has had a share, however late it begins.
        self.look_at = self.end.min(self.spent + LOOK_INTERVAL);
    }

    /// A callback begins, with so many bytes for the protocol.
    #[inline]
    pub(crate) fn begin_callback(&mut self, bytes: usize) {
        self.spent += CALLBACK + bytes;
        self.callback = self.spent;
    }

    /// Charges units to this turn.
    #[inline]
    pub(crate) fn charge(&mut self, units: usize) {
        // Far from where sums would overflow, and beyond every budget.
        self.spent += units.min(usize::MAX >> 8);
    }

    /// Units of this turn so far.
    #[inline]
    pub(crate) fn spent(&self) -> usize {
        self.spent
    }

    /// Units that the current callback has been charged since it began.
    pub(crate) fn of_callback(&self) -> usize {
        self.spent - self.callback
    }

    /// Whether this part of the turn is over.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= self.end
    }

    /// Whether this part of the turn is over, for a driver that has a clock: `is_late` looks at it.
    #[inline]
    pub(crate) fn is_over(&mut self, is_late: impl FnOnce() -> bool) -> bool {
        if self.spent < self.look_at {
            return false;
        }
        if self.spent < self.end {
            if is_late() {
                self.end = 0;
            }
            self.look_at = self.end.min(self.spent + LOOK_INTERVAL);
        }
        self.is_spent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_turn_can_spend_the_share_of_the_next() {
        for budget in [1, 2, 3, 1000] {
            let mut work = Work::new(budget);
            work.begin_turn();
            let shares = [Part::Events, Part::Timers, Part::ReadyList].map(|part| {
                work.begin(part);
                let before = work.spent();
                while !work.is_spent() {
                    work.charge(1);
                }
                work.spent() - before
            });
            assert_eq!(shares.iter().sum::<usize>(), budget);
            assert!(budget < 4 || shares == [budget / 2, budget / 4, budget / 4]);
            work.begin(Part::NoEvents);
            assert!(work.is_spent());
        }
    }

    #[test]
    fn the_clock_is_looked_at_by_work_and_each_part_has_a_share_first() {
        let mut work = Work::new(usize::MAX);
        let not_looked_at = || -> bool { panic!("the clock is looked at") };
        work.begin(Part::Events);
        assert!(!work.is_over(not_looked_at));
        work.charge(LOOK_INTERVAL);
        assert!(!work.is_over(|| false) && !work.is_over(not_looked_at));
        work.charge(LOOK_INTERVAL);
        assert!(work.is_over(|| true) && work.is_over(not_looked_at));
        work.begin(Part::Timers);
        assert!(!work.is_spent() && !work.is_over(not_looked_at));
        work.charge(usize::MAX);
        work.charge(usize::MAX);
        work.begin(Part::NoEvents);
        assert!(work.is_over(not_looked_at));
    }

    #[test]
    fn a_part_is_over_at_its_end_without_a_look_at_the_clock() {
        let mut work = Work::new(1000);
        let not_looked_at = || -> bool { panic!("the clock is looked at") };
        work.begin(Part::NoEvents);
        assert!(work.is_over(not_looked_at));
        work.begin(Part::ReadyList);
        work.charge(999);
        assert!(!work.is_over(not_looked_at));
        work.charge(1);
        assert!(work.is_over(not_looked_at));
    }

    #[test]
    fn a_callback_knows_its_own_units() {
        let mut work = Work::new(1000);
        work.charge(5);
        work.begin_callback(3);
        assert_eq!(work.of_callback(), 0);
        work.charge(7);
        assert_eq!(
            (work.of_callback(), work.spent()),
            (7, 5 + CALLBACK + 3 + 7)
        );
    }
}
