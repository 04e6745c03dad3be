//! Messages that are answered in order: as many under way as the depth allows.

use super::clock::Nanos;
use super::pace::{Turn, Turns};

/// The messages of one sender.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    place: u32,
    pub(super) turn: Turn,
    sent: u64,
    answered: u64,
}

impl Flow {
    /// A sender that has not sent yet.
    pub(super) fn new(place: u32) -> Flow {
        Flow {
            place,
            turn: Turn::default(),
            sent: 0,
            answered: 0,
        }
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

/// The state that all senders share: the depth, and the times of the messages under way.
#[derive(Debug)]
pub(super) struct Flows {
    depth: u64,
    slots: Slots,
    /// When each message under way was sent, or planned.
    times: Vec<Nanos>,
    under_way: u64,
}

impl Flows {
    /// For `count` senders, each with up to `depth` messages under way.
    pub(super) fn new(count: u32, depth: u32) -> Flows {
        let slots = Slots::new(depth);
        Flows {
            depth: depth.into(),
            slots,
            times: vec![0; count as usize * slots.of_each()],
            under_way: 0,
        }
    }

    /// The number of messages for which a sender has room.
    pub(super) fn room(&self, flow: &Flow) -> u64 {
        self.depth - flow.under_way()
    }

    /// A sender sends its next message: the number, and the time that counts.
    pub(super) fn send(&mut self, flow: &mut Flow, turns: &Turns, now: Nanos) -> (u64, Nanos) {
        let time = turns.take(&mut flow.turn, now);
        let sequence = flow.sent;
        self.times[self.slots.index(flow.place, sequence)] = time;
        flow.sent += 1;
        self.under_way += 1;
        (sequence, time)
    }

    /// A sender's oldest message under way is answered: the time at which it was sent, or planned.
    /// `None` if there is none under way.
    pub(super) fn answer(&mut self, flow: &mut Flow) -> Option<Nanos> {
        (flow.under_way() > 0).then(|| {
            let time = self.times[self.slots.index(flow.place, flow.answered)];
            flow.answered += 1;
            self.under_way -= 1;
            time
        })
    }

    /// A sender is gone: its messages under way will not be answered.
    pub(super) fn forget(&mut self, flow: &Flow) {
        self.under_way -= flow.under_way();
    }

    /// Whether no message is under way.
    pub(super) fn are_settled(&self) -> bool {
        self.under_way == 0
    }
}

/// Where the messages under way of several senders are noted, in one allocation for all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    /// The logarithm to base 2 of the number of slots of each sender.
    shift: u32,
}

impl Slots {
    /// Slots for up to `depth` messages of each sender.
    pub(super) fn new(depth: u32) -> Slots {
        Slots {
            shift: depth.next_power_of_two().trailing_zeros(),
        }
    }

    /// The number of slots of each sender.
    pub(super) fn of_each(self) -> usize {
        1 << self.shift
    }

    /// The slot of a message, as long as that is under way.
    pub(super) fn index(self, sender: u32, sequence: u64) -> usize {
        let within = sequence as usize & (self.of_each() - 1);
        (sender as usize) << self.shift | within
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::*;

    #[test]
    fn the_depth_is_filled_and_no_more() {
        let (mut flows, turns) = (Flows::new(1, 2), Turns::new(1, None));
        let mut flow = Flow::new(0);
        assert_eq!(flows.room(&flow), 2);
        assert_eq!(flows.send(&mut flow, &turns, 10), (0, 10));
        assert_eq!(flows.send(&mut flow, &turns, 11), (1, 11));
        assert_eq!((flows.room(&flow), flows.are_settled()), (0, false));
        assert_eq!(flows.answer(&mut flow), Some(10));
        assert_eq!(flows.room(&flow), 1);
        flows.forget(&flow);
        assert!(flows.are_settled());
    }

    #[test]
    fn what_is_due_and_has_no_room_waits() {
        let mut turns = Turns::new(1, Some(Pace::new(0, 1000.0)));
        let mut flows = Flows::new(1, 1);
        turns.begin(1_000_000);
        let mut flow = Flow::new(0);
        turns.take_part(0, &mut flow.turn);
        assert_eq!(turns.due(2_000_000).count(), 1);
        assert_eq!(flows.send(&mut flow, &turns, 2_000_000), (0, 1_000_000));
        assert_eq!(turns.to_send(flow.turn, flows.room(&flow)), 0);
        assert!(turns.behind(flow.turn).eq([2_000_000]));
        assert_eq!(flows.answer(&mut flow), Some(1_000_000));
        assert_eq!(flows.answer(&mut flow), None);
        assert_eq!(flows.send(&mut flow, &turns, 3_000_000), (1, 2_000_000));
        assert_eq!(turns.behind(flow.turn).count(), 0);
    }

    #[test]
    fn each_message_under_way_has_a_slot_of_its_own() {
        for depth in [1, 2, 3, 8] {
            let slots = Slots::new(depth);
            let under_way =
                (0..3).flat_map(|sender| (5..5 + u64::from(depth)).map(move |at| (sender, at)));
            let taken: Vec<usize> = under_way
                .map(|(sender, at)| slots.index(sender, at))
                .collect();
            let distinct: std::collections::HashSet<_> = taken.iter().collect();
            assert_eq!(distinct.len(), taken.len());
            assert!(taken.iter().all(|slot| *slot < 3 * slots.of_each()));
        }
    }
}
