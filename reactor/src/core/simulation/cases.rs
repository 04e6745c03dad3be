//! Orders of events written by hand, one case each. A test that fails here names the rule that is broken.

use std::time::Duration;

use super::kernel::{Fake, Fault, Wire};
use super::{HIGH_WATER, Step, World, run};
use crate::core::RETRY_INTERVAL;
use crate::core::conn::{Phase, State};
use crate::core::timers::TimerKey;
use crate::poll::Ready;
use crate::protocol::{Closed, Opened};
use crate::sources::address::Peer;

#[test]
fn data_and_fin_in_one_edge_are_both_told() {
    let world = run(&[Step::Arrive(0, 3), Step::Fin(0), Step::Turn]);
    assert_eq!(
        world.core.voice.protocol.closed,
        [(world.wires[0].0, Closed::Eof)]
    );
    world.wire(0).fetch(usize::MAX);
    assert_eq!(world.wire(0).delivered, [0, 1, 2]);
}

#[test]
fn data_before_a_reset_is_read_first() {
    let world = run(&[Step::Arrive(0, 3), Step::Rst(0), Step::Turn]);
    assert_eq!(world.core.shared.stats.bytes_in, 3);
    assert_eq!(
        world.core.voice.protocol.closed,
        [(world.wires[0].0, Closed::Reset)]
    );
}

#[test]
fn a_paused_peer_goes_on_without_a_new_read_edge() {
    let mut world = run(&[
        Step::Arrive(0, 200),
        Step::Turn,
        Step::Turn,
        Step::Turn,
        Step::Turn,
        Step::Turn,
    ]);
    assert!(world.core.live(world.wires[0].0).unwrap().unsent_bytes() > HIGH_WATER);
    assert_eq!(world.core.voice.protocol.over_high_water, 1);
    let reads = world.core.shared.stats.reads;
    world.take(&Step::Turn);
    assert_eq!(
        world.core.shared.stats.reads, reads,
        "a paused connection is not read"
    );
    // All input has arrived before, so from here on there are write edges only.
    for _ in 0..100 {
        world.take(&Step::Fetch(0, 10));
        world.take(&Step::Turn);
    }
    world.wire(0).fetch(usize::MAX);
    assert_eq!(world.wire(0).delivered, world.sent[0]);
}

#[test]
fn a_firehose_delays_other_connections_by_one_budget_only() {
    let mut world = World::new(21);
    (0..20).for_each(|peer| world.take(&Step::Arrive(peer, 25)));
    world.take(&Step::Arrive(20, 1));
    world.take(&Step::Turn);
    assert_eq!(
        world.wire(20).in_flight,
        [0],
        "answered in the first turn, though twenty others have more to read"
    );
    assert!(
        world.wires[..20]
            .iter()
            .all(|(_, wire)| !wire.borrow().inbound.is_empty())
    );
    assert_eq!(world.core.shared.stats.budget_spent, 20);
    assert!(world.core.has_work(), "the next wait does not wait");
    world.take(&Step::Turn);
    assert!(
        world
            .wires
            .iter()
            .all(|(_, wire)| wire.borrow().inbound.is_empty())
    );
}

#[test]
fn events_for_a_former_tenant_of_a_slot_are_dropped() {
    let mut world = run(&[Step::Rst(0), Step::Turn]);
    let gone = world.wires[0].0;
    let wire = Wire::new();
    let id = world.core.ids().take();
    world.core.insert(id, Fake(wire.clone()), State::empty());
    world.core.opened(id, Opened::new(Peer::Unix, 0));
    assert_eq!(gone.slot(), id.slot(), "the slot has a new tenant");
    wire.borrow_mut().inbound.extend(b"x");
    world
        .core
        .deliver(gone, Ready::IN | Ready::HUP | Ready::ERR);
    world.core.tell(|_, out| {
        out.send(gone, b"to a closed connection");
        out.abort(gone);
    });
    world.core.settle(|_, _, _| ());
    let wire = wire.borrow();
    assert_eq!(
        (wire.inbound.len(), wire.in_flight.len(), wire.closed),
        (1, 0, false)
    );
    assert_eq!(world.core.shared.stats.stale, 1);
    assert_eq!(world.core.len(), 1);
}

/// No step of the core takes an id for that of the connection which has its slot now, be that open or
/// connecting.
#[test]
fn the_id_of_a_former_tenant_of_a_slot_names_no_connection() {
    for phase in [Phase::Open, Phase::Connecting] {
        let mut world = run(&[Step::Rst(0), Step::Turn]);
        let gone = world.wires[0].0;
        let core = &mut world.core;
        let id = core.ids().take();
        core.insert(id, Fake(Wire::new()), State::empty());
        let conn = core.slots.get_mut(id.slot()).unwrap();
        conn.phase = phase;
        let state = conn.state;
        core.deliver(gone, Ready::OUT);
        core.note_only(gone, Ready::OUT);
        core.resume(gone);
        core.doom(gone, Closed::Aborted);
        core.tell(|_, out| {
            out.pause(gone);
            out.set_timer(gone, Duration::ZERO);
            out.half_close(gone);
            out.finish(gone);
        });
        assert!(!core.is(gone, |_| true) && core.is(id, |_| true));
        assert!(core.stream_mut(gone).is_none() && core.slots.remove(gone).is_none());
        assert!(!core.has_work() && !core.timers.is_armed(TimerKey::Protocol(id.slot)));
        assert_eq!((core.shared.stats.stale, core.len()), (2, 1));
        let conn = core.slots.remove(id).unwrap();
        assert_eq!((conn.phase, conn.state), (phase, state));
        assert!(conn.asked.is_empty());
    }
}

/// Regression: output for a former tenant of a slot displaced that of the new one, and what was said
/// before a finish was lost.
#[test]
fn output_for_a_former_tenant_of_a_slot_displaces_none() {
    let mut world = run(&[Step::Rst(0), Step::Turn]);
    let gone = world.wires[0].0;
    let (id, wire) = (world.core.ids().take(), Wire::new());
    assert!(gone.is_predecessor_of(id) && !id.is_predecessor_of(gone));
    world.core.insert(id, Fake(wire.clone()), State::empty());
    world.core.opened(id, Opened::new(Peer::Unix, 0));
    world.core.tell(|_, out| {
        out.send(id, b"hello");
        out.send(gone, b"to a closed connection");
        out.finish(id);
    });
    world.core.settle(|_, _, _| ());
    assert_eq!(wire.borrow().in_flight, b"hello");
}

#[test]
fn bytes_sent_before_an_abort_are_offered_to_the_kernel() {
    let mut world = run(&[]);
    let id = world.wires[0].0;
    world.core.tell(|_, out| {
        out.send(id, b"bye");
        out.abort(id);
    });
    world.take(&Step::Turn);
    assert_eq!(world.wire(0).in_flight, b"bye");
    assert_eq!(world.core.voice.protocol.closed, [(id, Closed::Aborted)]);
}

#[test]
fn a_write_that_takes_nothing_is_tried_again_later() {
    let mut world = run(&[
        Step::Fault(0, Fault::None),
        Step::Fault(0, Fault::Nothing),
        Step::Arrive(0, 20),
        Step::Turn,
    ]);
    assert!(world.wire(0).in_flight.is_empty());
    world.take(&Step::Sleep(RETRY_INTERVAL));
    (0..3).for_each(|_| world.take(&Step::Turn));
    assert_eq!(world.wire(0).in_flight.len(), 20);
}

#[test]
fn a_finished_peer_that_goes_on_sending_is_read_until_it_ends() {
    let mut world = run(&[Step::Quit(0), Step::Arrive(0, 50), Step::Turn]);
    assert!(world.wire(0).we_shut && !world.wire(0).closed);
    (0..10).for_each(|_| world.take(&Step::Turn));
    assert!(
        world.wire(0).inbound.is_empty(),
        "the input of a finished connection is discarded"
    );
    world.take(&Step::Fin(0));
    world.take(&Step::Turn);
    assert!(world.wire(0).closed && !world.wire(0).destroyed);
    assert_eq!(
        world.core.voice.protocol.closed,
        [(world.wires[0].0, Closed::Finished)]
    );
}

#[test]
fn a_stop_waits_for_what_is_pending_and_for_nothing_else() {
    let mut world = World::new(2);
    world.run(&[Step::Arrive(1, 60), Step::Turn, Step::Turn]);
    world.core.stop();
    world.take(&Step::Turn);
    assert!(
        world.wire(0).closed,
        "a connection without pending output is closed at once"
    );
    assert!(!world.wire(1).closed && !world.wire(1).we_shut);
    for _ in 0..5 {
        world.run(&[Step::Fetch(1, 30), Step::Turn]);
    }
    assert!(world.wire(1).we_shut);
    world.run(&[Step::Fin(1), Step::Turn]);
    assert!(world.wire(1).closed);
    assert!(
        world
            .core
            .voice
            .protocol
            .closed
            .iter()
            .all(|(_, why)| *why == Closed::Shutdown)
    );
}

#[test]
fn a_protocol_sees_what_is_pending_and_what_it_has_said_in_this_turn() {
    let mut world = World::new(1);
    let id = world.wires[0].0;
    let mut say = |count: usize| {
        let queued = world.core.call(|_, out| {
            out.send(id, &vec![1; count]);
            out.queued(id)
        });
        world.take(&Step::Turn);
        queued
    };
    // The kernel takes 30 bytes.
    assert_eq!([40, 5, 0].map(&mut say), [40, 15, 15]);
    say(0);
    world.take(&Step::Fetch(0, 30));
    world.take(&Step::Turn);
    assert_eq!(world.core.call(|_, out| out.queued(id)), 0);
}

#[test]
fn an_abort_of_all_counts_those_that_were_not_doomed() {
    let mut world = World::new(3);
    world.core.doom(world.wires[0].0, Closed::Aborted);
    assert_eq!(world.core.abort_all(), 2);
    world.take(&Step::Turn);
    let why = world.core.voice.protocol.closed.iter().map(|(_, why)| *why);
    assert!(why.eq([Closed::Aborted, Closed::Shutdown, Closed::Shutdown]));
}

#[test]
fn a_peer_over_the_queue_limit_is_closed_as_a_slow_consumer() {
    let mut world = World::new(1);
    world.core.limits.queue_limit = Some(100);
    let id = world.wires[0].0;
    // The first bytes fit into the send buffer.
    for count in [30, 40, 40, 20, 1] {
        assert_eq!(world.core.voice.protocol.closed, []);
        world.core.tell(|_, out| out.send(id, &vec![1; count]));
        world.turn(|_| true);
    }
    assert_eq!(
        world.core.voice.protocol.closed,
        [(id, Closed::SlowConsumer)]
    );
}

#[test]
fn the_end_of_a_finished_peer_is_not_told() {
    let mut world = run(&[Step::Quit(0), Step::Turn]);
    world.run(&[Step::Arrive(0, 3), Step::Fin(0), Step::Turn]);
    let protocol = &world.core.voice.protocol;
    assert_eq!(protocol.ends, 0);
    assert_eq!(protocol.closed, [(world.wires[0].0, Closed::Finished)]);
}

/// The pause outlives the finish, which waits for room for the output.
#[test]
fn the_end_of_a_peer_that_was_paused_and_then_finished_is_not_told() {
    let mut world = World::new(1);
    let id = world.wires[0].0;
    world.core.tell(|_, out| out.pause(id));
    world.core.tell(|_, out| out.send(id, &[1; 60]));
    world.take(&Step::Turn);
    world.core.tell(|_, out| out.finish(id));
    world.run(&[Step::Fin(0), Step::Turn, Step::Turn]);
    assert_eq!(world.core.voice.protocol.ends, 0);
    assert!(world.core.is(id, |conn| conn.unsent_bytes() > 0));
}

#[test]
fn a_protocol_goes_on_once_half_of_the_high_water_mark_is_pending_and_not_after_an_end() {
    for finishes in [false, true] {
        let mut world = World::new(1);
        let id = world.wires[0].0;
        // The kernel takes 30 bytes, and 30 are pending.
        world.core.tell(|_, out| out.send(id, &[1; 60]));
        world.take(&Step::Turn);
        world.core.tell(|_, out| out.again(id));
        if finishes {
            world.core.tell(|_, out| out.finish(id));
        }
        let told = [0, 30 - HIGH_WATER / 2 - 1, 1, 1].map(|count| {
            world.run(&[Step::Fetch(0, count), Step::Turn]);
            let protocol = &world.core.voice.protocol;
            (protocol.again, protocol.under_low_water)
        });
        let once = usize::from(!finishes);
        assert_eq!(told, [0, 0, once, once].map(|times| (times, times)));
        assert_eq!(world.core.voice.protocol.over_high_water, 1);
    }
}
