//! The edge rules against a kernel that does the worst that it may.
//!
//! The bugs of an event loop hide in orders of events that a test over real sockets meets once in a
//! million runs: a write that is refused while a FIN arrives, an interrupted read after a reset. So
//! the core is run against a kernel in memory. A [`Wire`] is a socket, the kernel and the peer in
//! one: it splits, delays, refuses and interrupts wherever the manual pages allow it, and raises an
//! edge *only* where they promise one. A connection that relies on an edge too many hangs here, and
//! is found.
//!
//! A test is a list of [`Step`]s, made at random (proptest shrinks a failing list to a short one)
//! or written by hand for one case. After a random list the peers become friendly, and then two
//! properties must hold, whatever happened: the echo has neither lost nor repeated a byte, and
//! every connection has come to its end, for a cause that fits its history.
//!
//! Buffers, budget and high-water mark are a few bytes large, so that a short list of steps reaches
//! every limit.

mod connects;
mod kernel;
mod patience;
mod turns;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use self::kernel::{Fake, Fault, Wire};
use super::Core;
use super::buffer::ReadBuffer;
use super::conn::State;
use super::limits::Limits;
use super::timers::TimerKey;
use super::work::{CALLBACK, Part};
use crate::conn_map::ConnMap;
use crate::id::{ConnId, Data};
use crate::outbox::Outbox;
use crate::poll::Ready;
use crate::protocol::{Closed, Opened, Protocol};
use crate::sources::address::Peer;

/// Bytes of the read buffer.
const BUFFER: usize = 8;
/// Bytes that a connection may read in one turn.
const BUDGET: usize = 20;
/// The least units of work of one turn: few callbacks, so that most turns leave something to the next.
const TURN_BUDGET: usize = 6 * CALLBACK;
/// Units of work in a millisecond.
const UNITS_A_MS: usize = 32 * CALLBACK;
/// Bytes of the high-water mark.
const HIGH_WATER: usize = 24;
/// The protocol finishes a connection when it reads this byte.
const QUIT: u8 = 0xff;
/// The protocol half-closes a connection when it reads this byte, and then only counts the input.
const HALF: u8 = 0xfe;

/// An echo that sends by one of the three ways, by the connection's slot: back from the read
/// buffer, as a copy, or half as a broadcast.
#[derive(Default)]
struct Echo {
    /// The half-closed connections, and the bytes that arrived on each since.
    listening: ConnMap<usize>,
    /// The closed connections, in order.
    closed: Vec<(ConnId, Closed)>,
    /// Calls of `on_high_water`.
    over_high_water: usize,
}

impl Protocol for Echo {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let half = data.iter().position(|&byte| byte == HALF);
        if let Some(heard) = self.listening.get_mut(id) {
            *heard += data.len();
            // Output after a half-close is ignored.
            out.send_back(data);
        } else if let Some(half) = half {
            out.send(id, &data[..=half]);
            out.half_close(id);
            self.listening.insert(id, data.len() - half - 1);
        } else if let Some(quit) = data.iter().position(|&byte| byte == QUIT) {
            out.send(id, &data[..=quit]);
            out.finish(id);
            out.send(id, b"after the end");
        } else if id.slot().is_multiple_of(3) {
            out.send_back(data);
        } else if id.slot() % 3 == 1 {
            out.send(id, &data);
        } else {
            let (first, rest) = data.split_at(data.len() / 2);
            out.broadcast([id], first);
            out.send(id, rest);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, _: &mut Outbox) {
        self.closed.push((id, why));
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.over_high_water += 1;
        out.throttle(id);
    }
}

/// One step of a test. The first number is the peer's.
#[derive(Clone, Debug)]
enum Step {
    /// This many bytes arrive from the peer.
    Arrive(usize, usize),
    /// Urgent data arrives.
    Urgent(usize),
    /// A QUIT arrives.
    Quit(usize),
    /// A HALF arrives.
    Half(usize),
    /// The peer ends its side.
    Fin(usize),
    /// The peer resets the connection.
    Rst(usize),
    /// The peer reads up to this many bytes.
    Fetch(usize, usize),
    /// The next event reports these flags too, although nothing happened.
    Spurious(usize, u32),
    /// One of the next calls on the socket meets this fault.
    Fault(usize, Fault),
    /// A turn in which only this peer's event is delivered; the others stay pending.
    TurnOf(usize),
    /// A turn in which all pending events are delivered.
    Turn,
    /// The clock moves on by this many milliseconds.
    Sleep(u64),
}

/// Random steps. Bytes, reads and faults are the most frequent; an end is rare, so that much
/// happens before it.
fn step(peers: usize) -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::Interrupted),
        Just(Fault::NoMemory),
        Just(Fault::Short),
        Just(Fault::Refused)
    ];
    prop_oneof![
        6 => (0..peers, 1usize..60).prop_map(|(peer, count)| Step::Arrive(peer, count)),
        1 => (0..peers).prop_map(Step::Urgent),
        1 => (0..peers).prop_map(Step::Quit),
        1 => (0..peers).prop_map(Step::Half),
        1 => (0..peers).prop_map(Step::Fin),
        1 => (0..peers).prop_map(Step::Rst),
        4 => (0..peers, 1usize..40).prop_map(|(peer, count)| Step::Fetch(peer, count)),
        1 => (0..peers, any::<u32>()).prop_map(|(peer, bits)| Step::Spurious(peer, bits)),
        6 => (0..peers, fault).prop_map(|(peer, fault)| Step::Fault(peer, fault)),
        3 => (0..peers).prop_map(Step::TurnOf),
        3 => Just(Step::Turn),
        1 => (1u64..300).prop_map(Step::Sleep),
    ]
}

/// The third driver of the core: the reactor's loop with wires in place of epoll.
struct World {
    core: Core<Fake, Echo>,
    /// Each peer's connection and wire.
    wires: Vec<(ConnId, Rc<RefCell<Wire>>)>,
    /// The bytes that each peer has sent, and expects back.
    sent: Vec<Vec<u8>>,
    /// Milliseconds.
    now: u64,
}

impl World {
    fn new(peers: usize) -> World {
        World::with_turns_of(Limits::default().turn_budget, peers)
    }

    /// A world whose turns have so many units of work.
    fn with_turns_of(turn_budget: usize, peers: usize) -> World {
        let limits = Limits {
            high_water: HIGH_WATER,
            read_budget: BUDGET,
            turn_budget,
            ..Limits::default()
        };
        let mut core = Core::new(Echo::default(), limits);
        core.received = ReadBuffer::new(BUFFER);
        let wires = (0..peers).map(|_| {
            let wire = Wire::new();
            let id = core.ids().take();
            core.insert(id, Fake(wire.clone()), State::empty());
            core.opened(id, Opened::new(Peer::Unix, 0));
            (id, wire)
        });
        World {
            wires: wires.collect(),
            sent: vec![Vec::new(); peers],
            now: 0,
            core,
        }
    }

    fn wire(&self, peer: usize) -> std::cell::RefMut<'_, Wire> {
        self.wires[peer].1.borrow_mut()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Arrive(peer, count) => {
                let bytes: Vec<u8> = (0..count)
                    .map(|index| ((self.sent[peer].len() + index) % 251) as u8)
                    .collect();
                self.arrive(peer, &bytes);
            }
            Step::Quit(peer) => self.arrive(peer, &[QUIT]),
            Step::Half(peer) => self.arrive(peer, &[HALF]),
            Step::Urgent(peer) => {
                let mut wire = self.wire(peer);
                (wire.urgent, wire.edge) = (true, true);
            }
            Step::Fin(peer) => {
                let mut wire = self.wire(peer);
                (wire.fin, wire.edge) = (true, true);
            }
            Step::Rst(peer) => {
                let mut wire = self.wire(peer);
                (wire.rst, wire.edge) = (true, true);
            }
            Step::Fetch(peer, count) => self.wire(peer).fetch(count),
            Step::Spurious(peer, bits) => {
                let mut wire = self.wire(peer);
                wire.spurious = Ready::from_bits_truncate(bits) & (Ready::IN | Ready::OUT);
                wire.edge = true;
            }
            Step::Fault(peer, fault) => self.wire(peer).faults.push_back(fault),
            Step::TurnOf(peer) => self.turn(|candidate| candidate == peer),
            Step::Turn => self.turn(|_| true),
            Step::Sleep(millis) => self.now += millis,
        }
        let mut pending = 0;
        for (id, wire) in &self.wires {
            pending += match self.core.slots.get(id.slot()) {
                Some(conn) if conn.generation == id.generation => conn.unsent_bytes(),
                _ => 0,
            };
            let unsent = self.core.live(*id).map_or(0, |conn| conn.unsent_bytes());
            // Output other than `send_back` stays in the outbox until the end of the turn. A turn
            // may read two budgets: one for an event, and one for a timer.
            assert!(
                unsent <= HIGH_WATER + 2 * (BUDGET + BUFFER),
                "{unsent} bytes are queued for {id:?}: {wire:?}"
            );
        }
        assert_eq!(self.core.shared.pending, pending, "the sum of all queues");
    }

    /// Bytes arrive, unless the peer or the connection has ended.
    fn arrive(&mut self, peer: usize, bytes: &[u8]) {
        let mut wire = self.wires[peer].1.borrow_mut();
        if !wire.fin && !wire.rst && !wire.closed {
            wire.inbound.extend(bytes);
            wire.edge = true;
            self.sent[peer].extend(bytes);
        }
    }

    /// One turn of the loop: events of the chosen peers, the ready list, timers, flush and close.
    fn turn(&mut self, chosen: impl Fn(usize) -> bool) {
        self.core.begin_turn(self.now);
        for (peer, (id, wire)) in self.wires.iter().enumerate() {
            let ready = {
                let mut wire = wire.borrow_mut();
                if !chosen(peer) || !std::mem::take(&mut wire.edge) {
                    continue;
                }
                wire.warned |= wire.urgent || wire.fin || wire.rst;
                let spurious = std::mem::replace(&mut wire.spurious, Ready::empty());
                wire.ready() | spurious
            };
            match self.core.work().is_spent() {
                true => self.core.note_only(*id, ready),
                false => self.core.deliver(*id, ready),
            }
        }
        self.core.work().begin(Part::Timers);
        while let Some(key) = self.core.next_timer() {
            self.core.run_timer(key);
        }
        self.core.work().begin(Part::ReadyList);
        while let Some(token) = self.core.next_ready() {
            self.core.resume(ConnId::from_token(token));
        }
        // A part of the turn ends after the visit that spends its share: a look, and a few reads.
        let spent = self.core.work().spent();
        let budget = self.core.limits.turn_budget;
        assert!(spent <= budget + 8 * CALLBACK, "{spent} units in a turn");
        self.now += (spent / UNITS_A_MS) as u64;
        self.core.settle(|_, _, Fake(wire)| {
            let mut wire = wire.borrow_mut();
            wire.closed = true;
            wire.destroyed = !wire.inbound.is_empty() && !wire.in_flight.is_empty();
        });
    }

    /// The peers become friendly: they read everything and end their side. Turns follow until all
    /// connections are closed, or too many have passed.
    fn come_to_an_end(&mut self) {
        for round in 0..2_000 {
            for peer in 0..self.wires.len() {
                let mut wire = self.wire(peer);
                wire.fetch(usize::MAX);
                if round == 0 && !wire.fin {
                    (wire.fin, wire.edge) = (true, true);
                }
            }
            self.now += 50;
            self.turn(|_| true);
            if self.core.len() == 0 {
                break;
            }
        }
        for peer in 0..self.wires.len() {
            self.wire(peer).fetch(usize::MAX);
        }
    }

    /// Fires the timers that are left. The timer of a slot and an entry of a list may outlive their
    /// connection, and do nothing then.
    fn fire_what_is_left(&mut self) {
        let mut left = 0;
        while let Some(key) = self.core.timers.expire(u64::MAX) {
            assert!(
                matches!(key, TimerKey::Conn(_) | TimerKey::Retry),
                "{key:?} outlived its connection"
            );
            left += 1;
            assert!(left <= self.wires.len() + 1, "timers are armed for nothing");
            self.core.run_timer(key);
        }
        // As many turns as it takes to look at every entry.
        (0..=self.wires.len()).for_each(|_| self.turn(|_| true));
        assert!(
            !self.core.has_work(),
            "a connection that is gone stays listed"
        );
    }

    /// Checks that every connection has ended, and that no echoed byte was lost or repeated.
    fn check(&mut self) {
        assert_eq!(
            self.core.len(),
            0,
            "a connection never ended: {:?}",
            self.wires
        );
        self.fire_what_is_left();
        for (peer, (id, wire)) in self.wires.iter().enumerate() {
            let (wire, sent) = (wire.borrow(), &self.sent[peer]);
            let why = self
                .core
                .voice
                .protocol
                .closed
                .iter()
                .filter(|(closed, _)| closed == id);
            let [(_, why)] = why.collect::<Vec<_>>()[..] else {
                panic!("{id:?} was not closed once")
            };
            // The protocol looks for a HALF first, even if a QUIT stands before it in the same
            // read.
            let quit = |byte| sent.iter().position(|&sent| sent == byte);
            let heard = self.core.voice.protocol.listening.get(*id);
            let end = if heard.is_some() {
                quit(HALF)
            } else {
                quit(QUIT)
            };
            let expected = &sent[..end.map_or(sent.len(), |end| end + 1)];
            if let (Some(heard), false) = (heard, wire.rst) {
                assert_eq!(
                    expected.len() + heard,
                    sent.len(),
                    "bytes of {id:?} after its HALF were lost"
                );
            }
            if wire.rst {
                assert!(
                    expected.starts_with(&wire.delivered),
                    "{id:?} received bytes that it did not send"
                );
            } else {
                assert_eq!(wire.delivered, expected, "{id:?} closed by {why}");
                assert!(
                    matches!(why, Closed::Eof | Closed::Finished),
                    "{id:?} closed by {why}"
                );
                assert!(
                    !wire.destroyed,
                    "{id:?}: a close destroyed what was in flight"
                );
            }
        }
        let stats = self.core.shared.stats;
        assert_eq!(
            (stats.connections, stats.closed, stats.peak),
            (0, stats.peak, self.wires.len() as u64)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_kernel_does_nothing_is_lost_or_repeated(
        steps in prop::collection::vec(step(3), 1..120),
        turn_budget in prop_oneof![Just(TURN_BUDGET), Just(Limits::default().turn_budget)],
    ) {
        let mut world = World::with_turns_of(turn_budget, 3);
        steps.iter().for_each(|step| world.take(step));
        world.come_to_an_end();
        world.check();
    }
}

/// Runs steps with one peer.
fn run(steps: &[Step]) -> World {
    let mut world = World::new(1);
    steps.iter().for_each(|step| world.take(step));
    world
}

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
fn lingering_ends_after_silence_and_after_the_linger_timeout() {
    let mut quiet = run(&[Step::Quit(0), Step::Turn, Step::Sleep(4_999), Step::Turn]);
    assert!(!quiet.wire(0).closed);
    quiet.take(&Step::Sleep(1));
    quiet.take(&Step::Turn);
    assert!(quiet.wire(0).closed);
    let mut noisy = run(&[Step::Quit(0), Step::Turn]);
    for _ in 0..29 {
        [Step::Sleep(1_000), Step::Arrive(0, 1), Step::Turn]
            .iter()
            .for_each(|step| noisy.take(step));
    }
    assert!(!noisy.wire(0).closed);
    [Step::Sleep(1_000), Step::Arrive(0, 1), Step::Turn]
        .iter()
        .for_each(|step| noisy.take(step));
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
            [
                Step::Sleep(1_000),
                Step::Arrive(2, 1),
                Step::Fetch(2, 1),
                Step::Turn,
            ]
            .iter()
            .for_each(|step| world.take(step));
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

#[test]
fn the_32_bit_clocks_of_a_connection_may_wrap() {
    let mut world = World::new(1);
    world.core.limits.idle_timeout = Duration::from_secs(10);
    world.now = u64::from(u32::MAX) - 2_000;
    [Step::Arrive(0, 1), Step::Turn]
        .iter()
        .for_each(|step| world.take(step));
    world.core.arm(world.wires[0].0);
    for (millis, closed) in [(5_000, false), (4_999, false), (1, true)] {
        [Step::Sleep(millis), Step::Turn]
            .iter()
            .for_each(|step| world.take(step));
        assert_eq!(world.wire(0).closed, closed, "at {}", world.now);
    }
}

#[test]
fn a_stop_waits_for_what_is_pending_and_for_nothing_else() {
    let mut world = World::new(2);
    [Step::Arrive(1, 60), Step::Turn, Step::Turn]
        .iter()
        .for_each(|step| world.take(step));
    world.core.stop();
    world.take(&Step::Turn);
    assert!(
        world.wire(0).closed,
        "a connection without pending output is closed at once"
    );
    assert!(!world.wire(1).closed && !world.wire(1).we_shut);
    for _ in 0..5 {
        [Step::Fetch(1, 30), Step::Turn]
            .iter()
            .for_each(|step| world.take(step));
    }
    assert!(world.wire(1).we_shut);
    [Step::Fin(1), Step::Turn]
        .iter()
        .for_each(|step| world.take(step));
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
fn a_peer_over_the_queue_limit_is_closed_as_a_slow_consumer() {
    let mut world = World::new(1);
    world.core.limits.queue_limit = Some(100);
    let id = world.wires[0].0;
    for _ in 0..4 {
        world.core.tell(|_, out| out.send(id, &[1; 40]));
        world.turn(|_| true);
    }
    assert_eq!(
        world.core.voice.protocol.closed,
        [(id, Closed::SlowConsumer)]
    );
}

#[test]
fn an_idle_connection_is_small() {
    type Slot = Option<crate::core::conn::Conn<crate::sources::fd::Fd>>;
    assert!(
        size_of::<Slot>() <= 32,
        "{} bytes a slot",
        size_of::<Slot>()
    );
}
