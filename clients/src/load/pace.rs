//! When to send: as soon as a reply is there (a closed loop), or at planned times (an open loop).
//!
//! In an open loop, message after message falls due whatever becomes of those before, and the
//! senders take them in turn. A sender without room at the planned time sends the message as soon
//! as it has room, and the planned time is the one that counts.
//!
//! The reactor's timers tick in milliseconds, so a worker that has a rate adopts a timer of its own
//! (timerfd_create(2)): a descriptor like any other, whose bytes are the ticks. The plan is made of
//! these ticks. Up to 20,000 messages a second there is one for each message; above that a tick has
//! several, planned for the same moment, since to wake up for each would be most of the work.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use edgeloop_reactor::ConnId;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::clock::{Clock, Nanos, nanos};

/// The tag of the connection whose data are the ticks; no place is that high.
pub(super) const TICKS: u64 = u64::MAX;

/// The shortest time between two ticks, in nanoseconds.
const TICK_MIN: u64 = 50_000;
/// From the making of the plan to its first tick.
const LEAD: Duration = Duration::from_millis(1);

/// The plan of an open loop: message number 0 at the start, the others at even distances.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    start: Nanos,
    /// Nanoseconds from one message to the next.
    interval: f64,
    /// Nanoseconds from one tick to the next.
    tick: u64,
    /// The number of the first message that is to be sent at all.
    first: u64,
    /// The number of the first message that is not due yet.
    next: u64,
}

impl Pace {
    /// `rate` messages a second, planned from `start` on.
    pub(super) fn new(start: Nanos, rate: f64) -> Pace {
        let interval = 1e9 / rate;
        Pace {
            start,
            interval,
            tick: (interval as u64).max(TICK_MIN),
            first: 0,
            next: 0,
        }
    }

    /// The time of a message: a tick.
    fn planned(&self, number: u64) -> Nanos {
        let ticks = (number as f64 * self.interval / self.tick as f64) as u64;
        self.start + ticks * self.tick
    }

    /// Leaves out the messages that were planned for the time before this.
    fn begin(&mut self, from: Nanos) {
        let passed = from.saturating_sub(self.start) as f64 / self.interval;
        self.first = passed as u64;
        while self.planned(self.first) < from {
            self.first += 1;
        }
        // `advance` may have passed over messages before the beginning was known: they are due anew.
        self.next = self.first;
    }

    /// The numbers of the messages that fell due since the last call. The effort does not grow with
    /// their number.
    fn advance(&mut self, now: Nanos) -> Range<u64> {
        let first = self.next;
        let last_tick = now.saturating_sub(self.start) / self.tick * self.tick;
        self.next = first.max((last_tick as f64 / self.interval) as u64);
        while self.planned(self.next) <= now {
            self.next += 1;
        }
        first..self.next
    }

    /// The numbers of the messages due, as of the last `advance`, for a sender that has every
    /// `stride`-th one from `first` on.
    fn due(&self, first: u64, stride: u64) -> impl Iterator<Item = u64> + use<> {
        (first..self.next).step_by(stride as usize)
    }

    /// The number of these messages.
    fn count_due(&self, first: u64, stride: u64) -> u64 {
        self.next.saturating_sub(first).div_ceil(stride)
    }

    /// The first message of the sender at this place, of `of` senders.
    fn first_of(&self, place: u32, of: u64) -> u64 {
        let place = u64::from(place);
        let ahead = (place + of - self.first % of) % of;
        self.first + ahead
    }
}

/// The timer, and the plan that is made for it.
#[derive(Debug)]
pub(super) struct Ticks {
    timer: TimerFd,
    pace: Pace,
}

impl Ticks {
    /// A timer for `rate` messages a second. Errors: those of timerfd_create(2).
    pub(super) fn open(clock: Clock, rate: f64) -> nix::Result<Ticks> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        // The clock is read before the timer is set: a tick may come late, never before its time.
        let pace = Pace::new(clock.elapsed() + nanos(LEAD), rate);
        let interval = Duration::from_nanos(pace.tick);
        let expiration = Expiration::IntervalDelayed(LEAD.into(), interval.into());
        timer.set(expiration, TimerSetTimeFlags::empty())?;
        Ok(Ticks { timer, pace })
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace.clone()
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.timer.into()
    }
}

/// The turns of all senders of a worker: at any time in a closed loop; in an open loop each message
/// of the plan is the next sender's.
#[derive(Debug)]
pub(super) struct Turns {
    count: u64,
    /// The plan; none in a closed loop.
    pace: Option<Pace>,
    /// The connection whose data are the plan's ticks.
    ticks: Option<ConnId>,
}

/// One sender's part: the number of the next message of the plan that it has to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn(u64);

impl Turns {
    /// The turns of `count` senders; in a closed loop if there is no pace.
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

    /// Gives the sender at this place its part in the plan that has begun: its first turn that it
    /// has not taken.
    pub(super) fn take_part(&self, place: u32, turn: &mut Turn) {
        if let Some(pace) = &self.pace {
            turn.0 = turn.0.max(pace.first_of(place, self.count));
        }
    }

    /// The places of the senders whose turn has come since the last call; in a closed loop, of all.
    pub(super) fn due(&mut self, now: Nanos) -> impl Iterator<Item = u32> + use<> {
        let count = self.count;
        let numbers = match &mut self.pace {
            None => 0..count,
            Some(pace) => pace.advance(now),
        };
        let end = numbers.end.min(numbers.start + count);
        (numbers.start..end).map(move |number| (number % count) as u32)
    }

    /// The number of messages that a sender with room for `room` has to send now.
    pub(super) fn to_send(&self, turn: Turn, room: u64) -> u64 {
        let due = |pace: &Pace| pace.count_due(turn.0, self.count);
        self.pace.as_ref().map_or(room, |pace| room.min(due(pace)))
    }

    /// A sender sends its next message: the time that counts.
    pub(super) fn take(&self, turn: &mut Turn, now: Nanos) -> Nanos {
        self.pace.as_ref().map_or(now, |pace| {
            let planned = pace.planned(turn.0);
            turn.0 += self.count;
            planned
        })
    }

    /// The planned times of the messages that were due and that a sender has not sent.
    pub(super) fn behind(&self, turn: Turn) -> impl Iterator<Item = Nanos> {
        self.pace.iter().flat_map(move |pace| {
            let due = pace.due(turn.0, self.count);
            due.map(|number| pace.planned(number))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The planned times of the first messages.
    fn times(pace: &Pace, count: u64) -> Vec<Nanos> {
        (0..count).map(|number| pace.planned(number)).collect()
    }

    #[test]
    fn a_slow_plan_has_a_tick_for_each_message() {
        let pace = Pace::new(7, 1000.0);
        assert_eq!(pace.tick, 1_000_000);
        assert_eq!(times(&pace, 3), [7, 1_000_007, 2_000_007]);
    }

    #[test]
    fn a_fast_plan_has_messages_share_ticks() {
        let pace = Pace::new(0, 40_000.0);
        assert_eq!(times(&pace, 5), [0, 0, 50_000, 50_000, 100_000]);
    }

    #[test]
    fn the_rate_is_kept_over_minutes_though_ticks_are_whole_nanoseconds() {
        for rate in [0.7, 3.0, 15_000.0, 19_999.0, 33_333.0, 1e6] {
            let pace = Pace::new(0, rate);
            let minutes = pace.planned((rate * 300.0) as u64) as f64 / 1e9;
            assert!(
                (minutes - 300.0).abs() < 2.0 / rate + 1e-4,
                "{rate}: {minutes}"
            );
        }
    }

    #[test]
    fn what_was_planned_before_the_beginning_is_left_out() {
        let mut pace = Pace::new(0, 1000.0);
        pace.begin(2_500_000);
        assert_eq!(pace.advance(2_900_000), 3..3);
        assert_eq!(pace.advance(4_000_000), 3..5);
        assert_eq!(pace.advance(4_000_000), 5..5);
        assert!(pace.due(3, 1).eq([3, 4]));
    }

    #[test]
    fn a_plan_that_begins_anew_leaves_out_what_was_due_before() {
        let mut pace = Pace::new(0, 1000.0);
        pace.advance(5_000_000);
        pace.begin(3_000_000);
        // 3 to 5 were advanced over, and are to be sent all the same.
        assert_eq!((pace.first_of(0, 2), pace.first_of(1, 2)), (4, 3));
        assert_eq!(pace.advance(6_000_000), 3..7);
        assert!(pace.due(4, 2).eq([4, 6]) && pace.due(3, 2).eq([3, 5]));
        pace.begin(8_500_000);
        assert_eq!((pace.first_of(0, 1), pace.count_due(9, 1)), (9, 0));
    }

    proptest! {
        #[test]
        fn nothing_is_left_out_or_too_early(rate in 0.001..1e7_f64, moments in prop::collection::vec(0..1_000_000_000_u64, 1..20)) {
            let mut pace = Pace::new(0, rate);
            let (mut now, mut next) = (0, 0);
            for pause in moments {
                now += pause;
                let due = pace.advance(now);
                prop_assert_eq!(due.start, next);
                next = due.end;
                prop_assert!(pace.planned(next) > now);
                prop_assert!(next == 0 || pace.planned(next - 1) <= now);
            }
        }
    }

    #[test]
    fn everybody_has_every_so_many_th_message() {
        let mut pace = Pace::new(0, 1000.0);
        pace.begin(4_000_000);
        let firsts: Vec<u64> = (0..3).map(|place| pace.first_of(place, 3)).collect();
        assert_eq!(firsts, [6, 4, 5]);
        pace.advance(11_000_000);
        assert!(pace.due(5, 3).eq([5, 8, 11]));
        for first in 4..15 {
            assert_eq!(pace.count_due(first, 3), pace.due(first, 3).count() as u64);
        }
    }

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
        // No sender has a turn again that it has taken, nor one of before.
        turns.begin(4_500_000);
        assert!(turns.due(5_000_000).eq([1]));
        turns.take_part(0, &mut even);
        turns.take_part(1, &mut odd);
        assert!(turns.behind(even).next().is_none() && turns.behind(odd).eq([5_000_000]));
    }
}
