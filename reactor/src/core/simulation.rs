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
//! or written by hand for one case (`cases.rs`). After a random list the peers become friendly, and
//! then two properties must hold, whatever happened: the echo has neither lost nor repeated a byte,
//! and every connection has come to its end, for a cause that fits its history.
//!
//! Buffers, budget and high-water mark are a few bytes large, so that a short list of steps reaches
//! every limit.

mod admission;
mod cases;
mod connects;
mod kernel;
mod patience;
mod places;
mod turns;

use std::cell::RefCell;
use std::rc::Rc;

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
/// The time at which a test begins, in ms: not 0, for which a time that was never set could be taken.
const START: u64 = 1_000_000;
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
    /// Calls of `on_eof`.
    ends: usize,
    /// Calls of `on_high_water`.
    over_high_water: usize,
    /// Calls of `on_low_water`.
    under_low_water: usize,
    /// Calls of `on_again`.
    again: usize,
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

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        self.ends += 1;
        out.finish(id);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, _: &mut Outbox) {
        self.closed.push((id, why));
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.over_high_water += 1;
        out.throttle(id);
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        self.under_low_water += 1;
        out.unthrottle(id);
    }

    fn on_again(&mut self, _: ConnId, _: &mut Outbox) {
        self.again += 1;
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
        Just(Fault::Nothing),
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
        core.set_now(START);
        let mut world = World {
            wires: Vec::new(),
            sent: Vec::new(),
            now: START,
            core,
        };
        (0..peers).for_each(|_| world.open());
        world
    }

    /// One more peer connects.
    fn open(&mut self) {
        let (id, wire) = (self.core.ids().take(), Wire::new());
        self.core.insert(id, Fake(wire.clone()), State::empty());
        self.core.opened(id, Opened::new(Peer::Unix, 0));
        self.wires.push((id, wire));
        self.sent.push(Vec::new());
    }

    fn wire(&self, peer: usize) -> std::cell::RefMut<'_, Wire> {
        self.wires[peer].1.borrow_mut()
    }

    /// Takes steps, one after the other.
    fn run(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.take(step));
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

/// Runs steps with one peer.
fn run(steps: &[Step]) -> World {
    let mut world = World::new(1);
    world.run(steps);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_kernel_does_nothing_is_lost_or_repeated(
        steps in prop::collection::vec(step(3), 1..120),
        turn_budget in prop_oneof![Just(TURN_BUDGET), Just(Limits::default().turn_budget)],
    ) {
        let mut world = World::with_turns_of(turn_budget, 3);
        world.run(&steps);
        world.come_to_an_end();
        world.check();
    }
}
