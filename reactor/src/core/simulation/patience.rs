//! How long a connection is kept: slow peers, peers that vanish, ends that hide behind a pause, and
//! peers that go on sending after the end.

use std::time::Duration;

use super::kernel::Fault;
use super::{HIGH_WATER, QUIT, Step, World};
use crate::core::timers::TimerKey;
use crate::id::ConnId;
use crate::protocol::Closed;

const SECOND: Duration = Duration::from_secs(1);

impl World {
    fn one() -> (World, ConnId) {
        let mut world = World::new(1);
        world.core.limits.stall_timeout = Duration::ZERO;
        let id = world.wires[0].0;
        (world, id)
    }

    fn run(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.take(step));
    }

    /// Why the only connection was closed, if it was.
    fn end(&self) -> Option<Closed> {
        self.core.voice.protocol.closed.first().map(|(_, why)| *why)
    }

    fn pause(&mut self, id: ConnId) {
        self.core.tell(|_, out| out.pause(id));
    }

    /// Seconds pass, in each of which this happens first; ends with the connection.
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
fn a_peer_that_takes_from_the_kernel_is_not_stalled_though_there_is_no_edge() {
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

/// A peer above the high-water mark takes so many bytes a second, and the rate is one byte a second.
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
fn below_the_high_water_mark_a_peer_may_be_as_slow_as_it_likes() {
    let (mut world, id) = World::one();
    world.core.limits.min_rate = 1;
    world.core.tell(|_, out| out.send(id, &[1; HIGH_WATER]));
    world.seconds(100, |_| ());
    assert_eq!(world.end(), None);
}

/// A queue that rose above the high-water mark while answers waited for one another sank below it
/// again in a timer of the same turn: the protocol heard of the low water first, then of the high
/// one, and paused its peer for ever.
#[test]
fn high_water_that_is_over_before_it_was_told_is_not_told() {
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

#[test]
fn a_paused_connection_hears_of_its_end_once_nothing_is_unread() {
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
fn bytes_that_come_after_the_end_use_up_the_time_to_linger() {
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
        // Few enough for the kernel to take them all: no byte waits with us.
        world.run(&[Step::Arrive(0, 5), Step::Turn]);
        let mut unheard_ms = 0;
        world.seconds(8, |world| {
            unheard_ms = if hears { 500 } else { unheard_ms + 1_000 };
            world.wire(0).unheard_ms = Some(unheard_ms);
        });
        assert_eq!(world.end(), expected);
    }
}
