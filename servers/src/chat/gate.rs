//! Flow control of a room: how much it may be told, so that no member is told more than it can take.
//!
//! A member is *above* while its pending output exceeds the high-water mark, and a room is *behind*
//! while one of its members is above. The chat learns that only at the end of a turn, when the output
//! of the turn has been offered to the kernel. So a room that is not behind is told at most
//! [`Allowance::at_once`] bytes and one line in a turn, and a room that is behind is told
//! [`Allowance::behind`] bytes a second, a rate that each member must be able to take.
//!
//! A room may also be behind on another server, which says so about once a second.

use std::time::Duration;

use super::pace::{Bucket, Rate};

/// Wait for the next turn, in a room that has been told its allowance.
const NEXT_TURN: Duration = Duration::from_millis(1);

/// The rule for all rooms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Bytes that a room which is not behind is told in one turn.
    pub(super) at_once: usize,
    /// Bytes a second that a room which is behind is told.
    pub(super) behind: Rate,
}

/// The state of one room's flow control.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Number of members that are above.
    above: usize,
    /// The room is behind on another server until then.
    behind_elsewhere: Duration,
    /// Bytes that the room may be told while it is behind.
    bucket: Bucket,
    /// Time of the last turn in which the room was told something.
    turn: Duration,
    /// Bytes that the room was told in that turn.
    told: usize,
}

impl Gate {
    pub(super) fn is_behind(&self, now: Duration) -> bool {
        self.is_behind_here() || now < self.behind_elsewhere
    }

    /// Whether members that this server serves are above.
    pub(super) fn is_behind_here(&self) -> bool {
        self.above > 0
    }

    /// Notes that the room is behind on another server.
    pub(super) fn fall_behind_elsewhere(&mut self, until: Duration) {
        self.behind_elsewhere = until;
    }

    /// Counts a member that rises above the high-water mark, or enters the room above it. Returns whether
    /// it is the first.
    pub(super) fn rise(&mut self) -> bool {
        self.above += 1;
        self.above == 1
    }

    /// Discounts a member that falls below the high-water mark, or leaves the room above it. Returns
    /// whether the room is no longer behind.
    pub(super) fn fall(&mut self) -> bool {
        self.above -= 1;
        self.above == 0
    }

    /// Sets whether a gate that counts no members, the operator's, is behind.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.above = usize::from(is_behind);
    }

    /// Wait of the next line; zero if it may be told now.
    pub(super) fn wait(&self, allowance: &Allowance, now: Duration) -> Duration {
        if self.is_behind(now) {
            self.bucket.wait(allowance.behind, 0, now)
        } else if self.turn == now && self.told >= allowance.at_once {
            NEXT_TURN
        } else {
            Duration::ZERO
        }
    }

    /// Counts bytes that the room is told.
    pub(super) fn spend(&mut self, allowance: &Allowance, bytes: usize, now: Duration) {
        if self.turn != now {
            (self.turn, self.told) = (now, 0);
        }
        self.told += bytes;
        if self.is_behind(now) {
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
    fn in_one_turn_a_room_is_told_its_allowance_and_one_line() {
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
        gate.fall_behind_elsewhere(now + Duration::from_secs(2));
        gate.spend(&allowance, 1000, now);
        assert!(!gate.is_behind_here() && !gate.wait(&allowance, now).is_zero());
        now += Duration::from_secs(2);
        assert!(gate.wait(&allowance, now).is_zero());
    }
}
