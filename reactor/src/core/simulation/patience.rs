//! How long a connection is kept: slow peers, vanished peers, ends that a pause would hide, and
//! peers that go on sending after the end.

use std::time::Duration;

use super::kernel::{Fake, Fault};
use super::{HIGH_WATER, QUIT, Step, World, run};
use crate::core::conn::Conn;
use crate::core::timers::TimerKey;
use crate::id::ConnId;
use crate::outbox::Asked;
use crate::protocol::Closed;

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// A world with one peer and no stall timeout.
    fn one() -> (World, ConnId) {
        let mut world = World::new(1);
        world.core.limits.stall_timeout = Duration::ZERO;
        let id = world.wires[0].0;
        (world, id)
    }

    /// The cause of the first close, if there was one.
    fn end(&self) -> Option<Closed> {
        self.core.voice.protocol.closed.first().map(|(_, why)| *why)
    }

    fn pause(&mut self, id: ConnId) {
        self.core.tell(|_, out| out.pause(id));
    }

    /// Calls `each`, lets a second pass, and so on for at most `seconds`, until the connection
    /// closes. Returns the seconds that have passed.
    fn seconds(&mut self, seconds: usize, mut each: impl FnMut(&mut World)) -> usize {
        let mut passed = 0;
        while passed < seconds && self.end().is_none() {
            each(self);
            self.run(&[Step::Sleep(1_000), Step::Turn]);
            passed += 1;
        }
        passed
    }
}

#[test]
fn a_peer_that_drains_the_send_queue_is_not_stalled_though_there_is_no_edge() {
    let (mut world, _) = World::one();
    world.core.limits.stall_timeout = 3 * SECOND;
    world.run(&[Step::Arrive(0, 60), Step::Turn, Step::Turn]);
    let reads = |world: &mut World| {
        world
            .wire(0)
            .in_flight
            .pop_front()
            .expect("bytes are under way");
    };
    assert_eq!(world.seconds(20, reads), 20, "closed: {:?}", world.end());
    world.seconds(20, |_| ());
    assert_eq!(world.end(), Some(Closed::Stalled));
}

/// A peer over the high-water mark reads this many bytes in every four seconds, under a minimum
/// rate of one byte a second. Returns the cause of its close, if it was closed.
fn take_in(bytes_in_four_seconds: usize) -> Option<Closed> {
    let (mut world, id) = World::one();
    world.core.limits.min_rate = 1;
    world.core.tell(|_, out| out.send(id, &[1; 100]));
    let mut second = 0;
    world.seconds(70, |world| {
        let due = (second + 1) * bytes_in_four_seconds / 4 - second * bytes_in_four_seconds / 4;
        world.run(&[Step::Fetch(0, due)]);
        second += 1;
    });
    world.end()
}

#[test]
fn above_the_high_water_mark_a_peer_must_keep_to_the_minimum_rate() {
    assert_eq!(take_in(5), None);
    assert_eq!(take_in(3), Some(Closed::SlowConsumer));
}

#[test]
fn more_output_above_the_high_water_mark_is_not_told_and_begins_no_new_window() {
    let (mut world, id) = World::one();
    world.core.limits.min_rate = 1;
    world.core.tell(|_, out| out.send(id, &[1; 60]));
    world.take(&Step::Turn);
    let says_more = |world: &mut World| world.core.tell(|_, out| out.send(id, &[1]));
    assert_eq!(world.seconds(60, says_more), 30);
    assert_eq!(world.end(), Some(Closed::SlowConsumer));
    assert_eq!(world.core.voice.protocol.over_high_water, 1);
    assert_eq!(world.core.shared.stats.paused, 1);
}

#[test]
fn below_the_high_water_mark_a_peer_may_be_as_slow_as_it_likes() {
    let (mut world, id) = World::one();
    world.core.limits.min_rate = 1;
    world.core.tell(|_, out| out.send(id, &[1; HIGH_WATER]));
    world.seconds(100, |_| ());
    assert_eq!(world.end(), None);
}

/// Regression: pending output rose above the high-water mark, and sank below it in a timer of the
/// same turn. The protocol heard of the low water first and of the high water then, and paused its
/// peer for ever.
#[test]
fn high_water_that_is_over_before_the_protocol_was_told_is_not_told() {
    let mut world = World::new(2);
    world.run(&[
        Step::TurnOf(0),
        Step::Fault(0, Fault::None),
        Step::Fault(0, Fault::NoMemory),
        Step::Arrive(0, 28),
        Step::Fault(0, Fault::NoMemory),
        Step::Turn,
        Step::TurnOf(0),
        Step::Arrive(0, 37),
        Step::TurnOf(0),
        Step::Sleep(100),
        Step::Fetch(0, 14),
        Step::TurnOf(1),
    ]);
    world.come_to_an_end();
    world.check();
}

/// Two heartbeats find no room, and one of the peers reads before the protocol is told.
#[test]
fn of_two_risen_connections_the_one_that_has_sunk_is_not_told() {
    let mut world = World::new(2);
    let ids = [world.wires[0].0, world.wires[1].0];
    ids.iter()
        .for_each(|id| world.core.send_as_is(*id, &[1; 60]));
    assert_eq!(world.core.risen, ids);
    world.run(&[Step::Fetch(0, 30), Step::TurnOf(0)]);
    let throttled = ids.map(|id| {
        let is_throttled = |conn: &Conn<Fake>| conn.asked.contains(Asked::THROTTLE);
        world.core.is(id, is_throttled)
    });
    assert_eq!(throttled, [false, true]);
    assert_eq!(world.core.voice.protocol.under_low_water, 0);
}

#[test]
fn without_a_minimum_rate_no_timer_judges_a_slow_peer() {
    let (mut world, id) = World::one();
    world.core.tell(|_, out| out.send(id, &[1; 100]));
    world.run(&[Step::Turn]);
    assert_eq!(world.core.voice.protocol.over_high_water, 1);
    assert!(!world.core.timers.is_armed(TimerKey::Conn(id.slot)));
}

#[test]
fn a_peer_whose_reply_was_computed_is_not_idle_before_the_timeout_has_passed_again() {
    let (mut world, id) = World::one();
    world.core.limits.idle_timeout = 10 * SECOND;
    world.core.tell(|_, out| out.hold(id));
    assert_eq!(world.seconds(30, |_| ()), 30, "held");
    world.core.tell(|_, out| out.release(id));
    assert_eq!(world.seconds(30, |_| ()), 10);
    assert_eq!(world.end(), Some(Closed::Idle));
}

#[test]
fn the_end_of_a_paused_connection_is_told_once_nothing_is_unread() {
    for (step, why) in [(Step::Fin(0), Closed::Eof), (Step::Rst(0), Closed::Reset)] {
        let (mut world, id) = World::one();
        world.pause(id);
        world.run(&[step, Step::Turn]);
        assert_eq!(world.end(), Some(why));
    }
}

#[test]
fn unread_bytes_keep_a_paused_connection_unless_the_reset_may_drop_them() {
    for (keeps_unread, end) in [(true, None), (false, Some(Closed::Reset))] {
        let (mut world, id) = World::one();
        world.core.limits.keeps_unread = keeps_unread;
        world.pause(id);
        world.run(&[Step::Arrive(0, 5), Step::Fin(0), Step::Turn]);
        assert_eq!(world.end(), None, "an end of the stream is regular");
        world.run(&[Step::Rst(0), Step::Turn]);
        assert_eq!(world.end(), end);
        world.core.tell(|_, out| out.resume(id));
        world.run(&[Step::Turn, Step::Turn]);
        assert!(world.end().is_some());
    }
}

#[test]
fn bytes_after_the_end_use_up_the_linger_timeout() {
    let (mut world, _) = World::one();
    world.core.limits.linger_timeout = 100 * SECOND;
    world.core.limits.linger_bytes = 50;
    world.run(&[Step::Arrive(0, 3), Step::Quit(0), Step::Turn]);
    world.run(&[
        Step::Arrive(0, 40),
        Step::Turn,
        Step::Turn,
        Step::Turn,
        Step::Turn,
    ]);
    assert_eq!(
        world.end(),
        None,
        "{QUIT:#x} ended our side, and the peer may still send 10 bytes"
    );
    world.run(&[Step::Arrive(0, 20), Step::Turn, Step::Turn]);
    assert_eq!(world.end(), Some(Closed::Finished));
}

#[test]
fn a_peer_that_acknowledges_nothing_is_found_within_two_stall_timeouts() {
    for (hears, expected) in [(true, None), (false, Some(Closed::Stalled))] {
        let (mut world, _) = World::one();
        world.core.limits.stall_timeout = 4 * SECOND;
        world.core.timers.cancel(TimerKey::Search);
        world.core.arm_search();
        // The kernel takes all of these bytes, so no output is pending and the stall timeout does
        // not count.
        world.run(&[Step::Arrive(0, 5), Step::Turn]);
        let mut unheard_ms = 0;
        world.seconds(8, |world| {
            unheard_ms = if hears { 500 } else { unheard_ms + 1_000 };
            world.wire(0).unheard_ms = Some(unheard_ms);
        });
        assert_eq!(world.end(), expected);
    }
}

#[test]
fn lingering_ends_after_silence_and_after_the_linger_timeout() {
    let mut quiet = run(&[Step::Quit(0), Step::Turn, Step::Sleep(4_999), Step::Turn]);
    assert!(!quiet.wire(0).closed);
    quiet.take(&Step::Sleep(1));
    quiet.take(&Step::Turn);
    assert!(quiet.wire(0).closed);
    let mut noisy = run(&[Step::Quit(0), Step::Turn]);
    for _ in 0..29 {
        noisy.run(&[Step::Sleep(1_000), Step::Arrive(0, 1), Step::Turn]);
    }
    assert!(!noisy.wire(0).closed);
    noisy.run(&[Step::Sleep(1_000), Step::Arrive(0, 1), Step::Turn]);
    assert!(noisy.wire(0).closed);
}

#[test]
fn idle_and_stalled_peers_are_closed_on_time_and_busy_ones_are_not() {
    let mut world = World::new(3);
    world.core.limits.idle_timeout = Duration::from_secs(10);
    world.core.limits.stall_timeout = Duration::from_secs(3);
    world.wires.iter().for_each(|(id, _)| world.core.arm(*id));
    // The first peer is silent, the second reads nothing, the third gets an answer each second.
    world.take(&Step::Arrive(1, 60));
    (0..10).for_each(|_| world.take(&Step::Turn));
    let closed_at = |world: &mut World| {
        for second in 1..30 {
            world.run(&[
                Step::Sleep(1_000),
                Step::Arrive(2, 1),
                Step::Fetch(2, 1),
                Step::Turn,
            ]);
            if let Some((id, why)) = world.core.voice.protocol.closed.pop() {
                return (second, id, why);
            }
        }
        panic!("no connection was closed")
    };
    assert_eq!(
        closed_at(&mut world),
        (4, world.wires[1].0, Closed::Stalled),
        "the timeout counts from the first look, after a quarter of it"
    );
    assert_eq!(closed_at(&mut world), (6, world.wires[0].0, Closed::Idle));
    assert_eq!(world.core.len(), 1);
}

/// The timer is set when the connection opens, and no traffic has to remind the core of it.
#[test]
fn a_peer_that_never_sends_is_closed_on_time() {
    for idle_seconds in [10, 0] {
        let mut world = World::new(0);
        world.core.limits.idle_timeout = Duration::from_secs(idle_seconds);
        world.core.limits.stall_timeout = Duration::ZERO;
        world.open();
        let due = world.core.timers.is_armed(TimerKey::Conn(0));
        assert_eq!(due, idle_seconds > 0);
        for (millis, closed) in [(9_999, false), (1, idle_seconds > 0)] {
            world.run(&[Step::Sleep(millis), Step::Turn]);
            assert_eq!(world.wire(0).closed, closed);
        }
    }
}

#[test]
fn the_32_bit_clocks_of_a_connection_may_wrap() {
    let mut world = World::new(1);
    world.core.limits.idle_timeout = Duration::from_secs(10);
    world.now = u64::from(u32::MAX) - 2_000;
    world.run(&[Step::Arrive(0, 1), Step::Turn]);
    world.core.arm(world.wires[0].0);
    for (millis, closed) in [(5_000, false), (4_999, false), (1, true)] {
        world.run(&[Step::Sleep(millis), Step::Turn]);
        assert_eq!(world.wire(0).closed, closed, "at {}", world.now);
    }
}
