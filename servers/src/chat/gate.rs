//! How much a room may be told at a time, so that none of its members is told more than it can take.
//!
//! A member is *above* while more than the high-water mark waits for it, and a room is *behind* while
//! one of its members is. The chat learns that at the end of a turn only, when the kernel was offered
//! what the turn has said. So a room that is not behind is told so much in a turn and no more; one
//! that is behind is told as many bytes a second as a member must be able to take.

use std::time::Duration;

use super::pace::{Bucket, Rate};

/// How long a room waits that has been told as much as it may be in one turn.
const NEXT_TURN: Duration = Duration::from_millis(1);

/// The rule for all rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Bytes that a room which is not behind is told in one turn.
    pub(super) at_once: usize,
    /// Bytes a second that a room which is behind is told.
    pub(super) behind: Rate,
}

/// What one room has been told lately.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Members that are above.
    above: usize,
    /// What it may be told while it is behind.
    bucket: Bucket,
    /// The time of the turn in which it was told something last, and so many bytes in that turn.
    turn: Duration,
    told: usize,
}

impl Gate {
    pub(super) fn is_behind(&self) -> bool {
        self.above > 0
    }

    /// A member rises above the high-water mark, or one that is above enters.
    pub(super) fn rise(&mut self) {
        self.above += 1;
    }

    /// A member has caught up, or one that is above leaves. Returns whether the room is not behind
    /// any more.
    pub(super) fn fall(&mut self) -> bool {
        self.above -= 1;
        self.above == 0
    }

    /// Sets whether it is behind, where no members are counted.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.above = usize::from(is_behind);
    }

    /// How long the next line has to wait; zero if not at all.
    pub(super) fn wait(&self, allowance: &Allowance, now: Duration) -> Duration {
        if self.is_behind() {
            self.bucket.wait(allowance.behind, 0, now)
        } else if self.turn == now && self.told >= allowance.at_once {
            NEXT_TURN
        } else {
            Duration::ZERO
        }
    }

    /// The room is told so many bytes.
    pub(super) fn spend(&mut self, allowance: &Allowance, bytes: usize, now: Duration) {
        if self.turn != now {
            (self.turn, self.told) = (now, 0);
        }
        self.told += bytes;
        if self.is_behind() {
            self.bucket.spend(allowance.behind, bytes as u64, now);
        }
    }

    #[cfg(test)]
    pub(super) fn above(&self) -> usize {
        self.above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: fn() -> Allowance = || Allowance {
        at_once: 1000,
        behind: Rate::new(100, 50),
    };

    #[test]
    fn in_one_turn_a_room_is_told_so_much_and_one_line() {
        let (mut gate, allowance) = (Gate::default(), ALLOWANCE());
        let now = Duration::from_secs(7);
        for _ in 0..2 {
            assert!(gate.wait(&allowance, now).is_zero());
            gate.spend(&allowance, 999, now);
        }
        assert_eq!(gate.wait(&allowance, now), NEXT_TURN);
        assert!(gate.wait(&allowance, now + NEXT_TURN).is_zero());
    }

    #[test]
    fn a_room_that_is_behind_is_told_its_rate_and_never_less() {
        let (mut gate, allowance) = (Gate::default(), ALLOWANCE());
        let start = Duration::from_secs(7);
        let (mut now, mut told) = (start, 0);
        gate.rise();
        while now < start + Duration::from_secs(100) {
            match gate.wait(&allowance, now) {
                Duration::ZERO => {
                    gate.spend(&allowance, 7, now);
                    told += 7;
                }
                // A timer may be late.
                wait => now += wait + Duration::from_millis(3),
            }
        }
        assert!((9_990..10_100).contains(&told), "{told}");
        assert!(gate.fall() && gate.wait(&allowance, now).is_zero());
    }
}
