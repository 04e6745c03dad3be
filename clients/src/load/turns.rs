//! Whose turn it is to send: everybody's at any time, or as planned, each message by the next one.
//!
//! Whoever has no room when the time of its message has come sends it as soon as it has, and the
//! planned time is what counts.

use edgeloop_reactor::ConnId;

use super::clock::Nanos;
use super::pace::Pace;

/// The turns of all who send.
#[derive(Debug)]
pub(super) struct Turns {
    count: u64,
    /// The plan; none in a closed loop.
    pace: Option<Pace>,
    /// Whence its ticks come.
    ticks: Option<ConnId>,
}

/// The part of one who sends: the next message of the plan that is its to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn(u64);

impl Turns {
    /// For so many who send; in a closed loop if there is no pace.
    pub(super) fn new(count: u32, pace: Option<Pace>) -> Turns {
        Turns {
            count: count.into(),
            pace,
            ticks: None,
        }
    }

    /// The ticks of the plan come from this connection.
    pub(super) fn listen_to(&mut self, ticks: ConnId) {
        self.ticks = Some(ticks);
    }

    pub(super) fn is_tick(&self, id: ConnId) -> bool {
        self.ticks == Some(id)
    }

    pub(super) fn is_closed_loop(&self) -> bool {
        self.pace.is_none()
    }

    /// The plan begins at this time, perhaps anew.
    pub(super) fn begin(&mut self, from: Nanos) {
        self.pace.iter_mut().for_each(|pace| pace.begin(from));
    }

    /// Gives whoever is at this place its part in the plan that has begun: its first turn that it
    /// has not taken.
    pub(super) fn take_part(&self, place: u32, turn: &mut Turn) {
        if let Some(pace) = &self.pace {
            turn.0 = turn.0.max(pace.first_of(place, self.count));
        }
    }

    /// The places of those whose turn has come since the last call; in a closed loop, of all.
    pub(super) fn due(&mut self, now: Nanos) -> impl Iterator<Item = usize> + use<> {
        let count = self.count;
        let numbers = match &mut self.pace {
            None => 0..count,
            Some(pace) => pace.advance(now),
        };
        let end = numbers.end.min(numbers.start + count);
        (numbers.start..end).map(move |number| (number % count) as usize)
    }

    /// How many messages somebody who has room for so many is to send now.
    pub(super) fn to_send(&self, turn: Turn, room: u64) -> u64 {
        let due = |pace: &Pace| pace.count_due(turn.0, self.count);
        self.pace.as_ref().map_or(room, |pace| room.min(due(pace)))
    }

    /// Somebody sends its next message: the time that counts.
    pub(super) fn take(&self, turn: &mut Turn, now: Nanos) -> Nanos {
        self.pace.as_ref().map_or(now, |pace| {
            let planned = pace.planned(turn.0);
            turn.0 += self.count;
            planned
        })
    }

    /// The planned times of the messages that were due and somebody has not sent.
    pub(super) fn behind(&self, turn: Turn) -> impl Iterator<Item = Nanos> {
        self.pace.iter().flat_map(move |pace| {
            let due = pace.due(turn.0, self.count);
            due.map(|number| pace.planned(number))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_closed_loop_everybody_may_send_at_any_time() {
        let mut turns = Turns::new(3, None);
        let mut turn = Turn::default();
        turns.take_part(1, &mut turn);
        assert!(turns.due(5).eq([0, 1, 2]) && turns.due(5).eq([0, 1, 2]));
        assert_eq!((turns.to_send(turn, 4), turns.take(&mut turn, 5)), (4, 5));
        assert_eq!(turns.behind(turn).count(), 0);
    }

    #[test]
    fn in_an_open_loop_turns_come_as_planned() {
        let mut turns = Turns::new(2, Some(Pace::new(0, 1000.0)));
        turns.begin(1_000_000);
        let [mut even, mut odd] = [Turn::default(); 2];
        turns.take_part(0, &mut even);
        turns.take_part(1, &mut odd);
        assert!(turns.due(1_000_000).eq([1]));
        assert_eq!(turns.due(1_000_000).count(), 0);
        assert_eq!((turns.to_send(even, 9), turns.to_send(odd, 9)), (0, 1));
        assert_eq!(turns.take(&mut odd, 1_000_001), 1_000_000);
        // At 5 ms two more of each are due, and each is told once.
        assert!(turns.due(5_000_000).eq([0, 1]));
        assert_eq!((turns.to_send(even, 1), turns.to_send(odd, 0)), (1, 0));
        assert_eq!(turns.take(&mut even, 5_000_000), 2_000_000);
        assert!(turns.behind(even).eq([4_000_000]));
        assert!(turns.behind(odd).eq([3_000_000, 5_000_000]));
        // Nobody has a turn again that it has taken, nor one of before.
        turns.begin(4_500_000);
        assert!(turns.due(5_000_000).eq([1]));
        turns.take_part(0, &mut even);
        turns.take_part(1, &mut odd);
        assert!(turns.behind(even).next().is_none() && turns.behind(odd).eq([5_000_000]));
    }
}
