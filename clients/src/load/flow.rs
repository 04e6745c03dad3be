//! Messages that are answered in order: as many under way as the depth allows.

use super::clock::Nanos;
use super::pace::Pace;
use super::times::Times;
use super::turns::{Turn, Turns};

/// The messages of one who sends and is answered.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    place: u32,
    turn: Turn,
    sent: u64,
    answered: u64,
}

impl Flow {
    /// One that has not sent yet.
    pub(super) fn new(place: u32) -> Flow {
        Flow {
            place,
            turn: Turn::default(),
            sent: 0,
            answered: 0,
        }
    }

    pub(super) fn place(&self) -> u32 {
        self.place
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    pub(super) fn under_way(&self) -> u64 {
        self.sent - self.answered
    }
}

/// What all who send have in common: the depth, whose turn it is, and the times of the messages
/// under way.
#[derive(Debug)]
pub(super) struct Flows {
    pub(super) turns: Turns,
    depth: u64,
    times: Times,
    under_way: u64,
}

impl Flows {
    /// For so many who send; in a closed loop if there is no pace.
    pub(super) fn new(count: u32, depth: u32, pace: Option<Pace>) -> Flows {
        Flows {
            turns: Turns::new(count, pace),
            depth: depth.into(),
            times: Times::new(count, depth),
            under_way: 0,
        }
    }

    /// Gives one who sends its part in the plan that has begun.
    pub(super) fn take_part(&self, flow: &mut Flow) {
        self.turns.take_part(flow.place, &mut flow.turn);
    }

    /// How many messages somebody is to send now.
    pub(super) fn to_send(&self, flow: &Flow) -> u64 {
        self.turns.to_send(flow.turn, self.depth - flow.under_way())
    }

    /// Somebody sends the next message: its number, and the time that counts.
    pub(super) fn send(&mut self, flow: &mut Flow, now: Nanos) -> (u64, Nanos) {
        let time = self.turns.take(&mut flow.turn, now);
        let sequence = flow.sent;
        self.times.set(flow.place, sequence, time);
        flow.sent += 1;
        self.under_way += 1;
        (sequence, time)
    }

    /// Somebody's oldest message under way is answered: the time at which it was sent, or planned.
    /// `None` if there is none under way.
    pub(super) fn answer(&mut self, flow: &mut Flow) -> Option<Nanos> {
        (flow.under_way() > 0).then(|| {
            let time = self.times.get(flow.place, flow.answered);
            flow.answered += 1;
            self.under_way -= 1;
            time
        })
    }

    /// Somebody is gone, with what was under way.
    pub(super) fn forget(&mut self, flow: &Flow) {
        self.under_way -= flow.under_way();
    }

    /// Whether no message is under way.
    pub(super) fn are_settled(&self) -> bool {
        self.under_way == 0
    }

    /// The planned times of the messages that were due and somebody has not sent.
    pub(super) fn behind(&self, flow: &Flow) -> impl Iterator<Item = Nanos> {
        self.turns.behind(flow.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_filled_and_no_more() {
        let mut flows = Flows::new(1, 2, None);
        let mut flow = Flow::new(0);
        assert_eq!(flows.to_send(&flow), 2);
        assert_eq!(flows.send(&mut flow, 10), (0, 10));
        assert_eq!(flows.send(&mut flow, 11), (1, 11));
        assert_eq!((flows.to_send(&flow), flows.are_settled()), (0, false));
        assert_eq!(flows.answer(&mut flow), Some(10));
        assert_eq!(flows.to_send(&flow), 1);
        flows.forget(&flow);
        assert!(flows.are_settled());
    }

    #[test]
    fn what_is_due_and_has_no_room_waits() {
        let mut flows = Flows::new(1, 1, Some(Pace::new(0, 1000.0)));
        flows.turns.begin(1_000_000);
        let mut flow = Flow::new(0);
        flows.take_part(&mut flow);
        assert_eq!(flows.turns.due(2_000_000).count(), 1);
        assert_eq!(flows.send(&mut flow, 2_000_000), (0, 1_000_000));
        assert_eq!(flows.to_send(&flow), 0);
        assert!(flows.behind(&flow).eq([2_000_000]));
        assert_eq!(flows.answer(&mut flow), Some(1_000_000));
        assert_eq!(flows.answer(&mut flow), None);
        assert_eq!(flows.send(&mut flow, 3_000_000), (1, 2_000_000));
        assert_eq!(flows.behind(&flow).count(), 0);
    }
}
