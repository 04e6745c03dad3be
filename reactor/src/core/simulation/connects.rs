//! Connects, whatever the network and the protocol do.
//!
//! The protocol here connects, ends, sends and sets timers at random, from any callback, to any id that
//! it has ever had. The network answers each attempt at random: at once, later or never. Then each id
//! must have had exactly one of `on_open` and `on_connect_error`, each open connection one `on_close`,
//! and nothing may be left: no connection, no race, no timer, no id that was not given back.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::kernel::{Fake, Wire};
use crate::core::Core;
use crate::core::conn::State;
use crate::core::limits::Limits;
use crate::core::timers::TimerKey;
use crate::core::work::{CALLBACK, Part};
use crate::id::{ConnId, Data};
use crate::outbox::{Command, Outbox};
use crate::protocol::{Closed, Opened, Protocol};
use crate::sources::address::{Address, HostPort, Peer};

/// A byte that is sent to an open connection, and one that is sent before.
const OPEN: u8 = 1;
const EARLY: u8 = 2;
/// Longer than the delay between two attempts, in ms.
const CONNECT_TIMEOUT: u64 = 600;

/// How the network answers an attempt, in ms from its start.
#[derive(Clone, Copy, Debug)]
enum Answer {
    AcceptsAtOnce,
    RefusesAtOnce,
    Accepts(u64),
    Refuses(u64),
    Never,
}

/// A request of the protocol. A number is the place of an id among all that it has had.
#[derive(Clone, Debug)]
enum Act {
    /// To a name with so many addresses.
    Connect(Vec<Answer>),
    Abort(usize),
    Close(usize),
    Finish(usize),
    HalfClose(usize),
    Send(usize),
    Pause(usize),
    Hold(usize),
    Release(usize),
    Timer(usize),
}

#[derive(Clone, Debug)]
enum Step {
    /// The program calls the protocol, which acts.
    Call,
    Turn,
    /// The clock moves on by so many ms.
    Sleep(u64),
    /// The peer of a connection ends its side, or resets it.
    Fin(usize),
    Rst(usize),
    Stop,
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::AcceptsAtOnce),
        2 => Just(Answer::RefusesAtOnce),
        3 => (0u64..700).prop_map(Answer::Accepts),
        3 => (0u64..700).prop_map(Answer::Refuses),
        2 => Just(Answer::Never),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let place = || 0usize..8;
    prop_oneof![
        6 => prop::collection::vec(answer(), 1..4).prop_map(Act::Connect),
        2 => place().prop_map(Act::Abort),
        1 => place().prop_map(Act::Close),
        1 => place().prop_map(Act::Finish),
        1 => place().prop_map(Act::HalfClose),
        3 => place().prop_map(Act::Send),
        1 => place().prop_map(Act::Pause),
        1 => place().prop_map(Act::Hold),
        1 => place().prop_map(Act::Release),
        2 => place().prop_map(Act::Timer),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => Just(Step::Call),
        40 => Just(Step::Turn),
        30 => (1u64..400).prop_map(Step::Sleep),
        10 => (0usize..8).prop_map(Step::Fin),
        10 => (0usize..8).prop_map(Step::Rst),
        1 => Just(Step::Stop),
    ]
}

/// The protocol's knowledge of one of its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Connecting,
    /// It was ended before it was open.
    Cancelled,
    Open,
    Failed,
    Closed,
}

/// Acts twice in each callback, until it has acted as often as it should.
struct Caller {
    acts: VecDeque<Act>,
    /// All ids, in the order of their connects.
    ids: Vec<ConnId>,
    known: BTreeMap<ConnId, Known>,
}

impl Caller {
    fn act(&mut self, out: &mut Outbox) {
        for _ in 0..2 {
            match self.acts.pop_front() {
                Some(Act::Connect(answers)) => self.connect(&answers, out),
                Some(act) => self.act_on_one(&act, out),
                None => {}
            }
        }
    }

    fn connect(&mut self, answers: &[Answer], out: &mut Outbox) {
        let id = out.connect(name(answers), self.ids.len() as u64);
        let before = self.known.insert(id, Known::Connecting);
        assert_eq!(before, None, "{id:?} was given out twice");
        self.ids.push(id);
    }

    fn act_on_one(&mut self, act: &Act, out: &mut Outbox) {
        let (Act::Abort(place)
        | Act::Close(place)
        | Act::Finish(place)
        | Act::HalfClose(place)
        | Act::Send(place)
        | Act::Pause(place)
        | Act::Hold(place)
        | Act::Release(place)
        | Act::Timer(place)) = act
        else {
            return;
        };
        // The latest ids come first: most of them are still connecting.
        let Some(id) = self.ids.iter().rev().nth(*place).copied() else {
            return;
        };
        let known = self.known[&id];
        match act {
            Act::Abort(_) => out.abort(id),
            Act::Close(_) => out.close(id),
            Act::Finish(_) => out.finish(id),
            Act::HalfClose(_) => out.half_close(id),
            Act::Send(_) if known == Known::Open => out.send(id, &[OPEN]),
            Act::Send(_) => out.send(id, &[EARLY]),
            Act::Pause(_) => out.pause(id),
            Act::Hold(_) => out.hold(id),
            Act::Release(_) => out.release(id),
            Act::Timer(_) => out.set_timer(id, Duration::from_millis(50)),
            Act::Connect(_) => {}
        }
        let is_end = matches!(act, Act::Abort(_) | Act::Close(_) | Act::Finish(_));
        if is_end && known == Known::Connecting {
            self.known.insert(id, Known::Cancelled);
        }
    }

    /// The protocol is told of an id, and knows this of it from now on.
    fn told(&mut self, id: ConnId, from: &[Known], to: Known) {
        let before = self.known.insert(id, to);
        assert!(
            before.is_some_and(|before| from.contains(&before)),
            "{id:?} was {before:?} and is {to:?}"
        );
    }
}

impl Protocol for Caller {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        assert_eq!(self.ids[opened.tag as usize], id, "another connect's tag");
        self.told(id, &[Known::Connecting], Known::Open);
        self.act(out);
    }

    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

    fn on_connect_error(&mut self, id: ConnId, tag: u64, _: Closed, out: &mut Outbox) {
        assert_eq!(self.ids[tag as usize], id, "another connect's tag");
        self.told(id, &[Known::Connecting, Known::Cancelled], Known::Failed);
        self.act(out);
    }

    fn on_close(&mut self, id: ConnId, _: Closed, out: &mut Outbox) {
        self.told(id, &[Known::Open], Known::Closed);
        self.act(out);
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let known = self.known[&id];
        assert!(
            matches!(known, Known::Connecting | Known::Open),
            "a timer of {id:?}, which is {known:?}"
        );
        self.act(out);
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.act(out);
    }
}

/// A name whose addresses answer so: each answer is written into its port.
fn name(answers: &[Answer]) -> Address {
    let port = |answer: &Answer| match *answer {
        Answer::AcceptsAtOnce => 1,
        Answer::RefusesAtOnce => 2,
        Answer::Never => 3,
        Answer::Accepts(after) => 1_000 + after as u16,
        Answer::Refuses(after) => 2_000 + after as u16,
    };
    let at = |answer| SocketAddr::from(([127, 0, 0, 1], port(answer)));
    let host: HostPort = "several.example:1".parse().unwrap();
    Address::Tcp(host.with_numbers(answers.iter().map(at).collect()))
}

fn answer_of(address: &Address) -> Answer {
    match address.numbers()[0].port() {
        1 => Answer::AcceptsAtOnce,
        2 => Answer::RefusesAtOnce,
        3 => Answer::Never,
        port @ 1_000..2_000 => Answer::Accepts(u64::from(port) - 1_000),
        port => Answer::Refuses(u64::from(port) - 2_000),
    }
}

/// A socket: what epoll knows of it, and what the network will answer.
struct Socket {
    wire: Rc<RefCell<Wire>>,
    token: ConnId,
    /// When the attempt succeeds (true) or fails.
    answer: Option<(u64, bool)>,
    is_connected: bool,
}

/// The reactor's loop, with a network in memory.
struct Network {
    core: Core<Fake, Caller>,
    sockets: Vec<Socket>,
    now: u64,
    stopped: bool,
}

impl Network {
    fn new(acts: Vec<Act>) -> Network {
        Network::with_turns_of(Limits::default().turn_budget, acts)
    }

    /// A network whose turns have so many units of work.
    fn with_turns_of(turn_budget: usize, acts: Vec<Act>) -> Network {
        let limits = Limits {
            connect_timeout: Duration::from_millis(CONNECT_TIMEOUT),
            turn_budget,
            ..Limits::default()
        };
        let caller = Caller {
            acts: acts.into(),
            ids: Vec::new(),
            known: BTreeMap::new(),
        };
        Network {
            core: Core::new(caller, limits),
            sockets: Vec::new(),
            now: 0,
            stopped: false,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Call => self.core.tell(Caller::act),
            Step::Turn => self.turn(),
            Step::Sleep(ms) => self.now += ms,
            Step::Fin(place) => self.end(place, false),
            Step::Rst(place) => self.end(place, true),
            Step::Stop => self.stop(),
        }
    }

    fn end(&mut self, place: usize, resets: bool) {
        let mut sockets = self.sockets.iter().rev();
        if let Some(socket) = sockets.nth(place).filter(|socket| socket.is_connected) {
            let mut wire = socket.wire.borrow_mut();
            wire.edge = true;
            match resets {
                true => wire.rst = true,
                false => wire.fin = true,
            }
        }
    }

    fn stop(&mut self) {
        if !mem::replace(&mut self.stopped, true) {
            self.core.tell(Protocol::on_stop);
            self.run_commands();
            self.core.stop();
        }
    }

    /// As `Reactor::turn`. All events are fetched before the first is delivered, so one may be stale by
    /// its turn.
    fn turn(&mut self) {
        self.core.begin_turn(self.now);
        for (token, ready) in self.events() {
            match self.core.work().is_spent() {
                true => self.core.note_only(token, ready),
                false => self.core.deliver(token, ready),
            }
        }
        self.core.work().begin(Part::Timers);
        while let Some(key) = self.core.next_timer() {
            match key {
                TimerKey::NextAddress => self.try_next_addresses(),
                key => self.core.run_timer(key),
            }
        }
        self.core.work().begin(Part::ReadyList);
        while let Some(token) = self.core.next_ready() {
            self.core.resume(ConnId::from_token(token));
        }
        self.run_commands();
        self.core
            .settle(|_, _, Fake(wire)| wire.borrow_mut().closed = true);
        self.run_commands();
        self.core.tell_failed();
    }

    fn events(&mut self) -> Vec<(ConnId, crate::poll::Ready)> {
        let mut events = Vec::new();
        for socket in &mut self.sockets {
            let mut wire = socket.wire.borrow_mut();
            if let Some((_, accepts)) = socket.answer.take_if(|(at, _)| *at <= self.now) {
                (socket.is_connected, wire.rst, wire.edge) = (accepts, !accepts, true);
            }
            if !wire.closed && mem::take(&mut wire.edge) {
                events.push((socket.token, wire.ready()));
            }
        }
        events
    }

    fn run_commands(&mut self) {
        let (commands, _) = self.core.voice.outbox.take_commands();
        for command in commands {
            match command {
                Command::Connect(id, _) if self.core.promised_tag(id).is_none() => {}
                Command::Connect(id, _) if self.stopped => {
                    self.core.end_race(id, Closed::Shutdown);
                }
                Command::Connect(id, to) => {
                    self.core.begin_race(id, to);
                    self.go_on_connecting(id);
                }
                Command::WatchAnew(id) => self.watch_anew(id),
                other => unreachable!("{other:?}"),
            }
        }
    }

    fn try_next_addresses(&mut self) {
        for race in self.core.due_races() {
            self.go_on_connecting(race);
        }
    }

    fn go_on_connecting(&mut self, race: ConnId) {
        while let Some((to, tag)) = self.core.next_address(race) {
            let answer = answer_of(&to);
            if !matches!(answer, Answer::RefusesAtOnce) {
                return self.begin_attempt(answer, race, tag);
            }
        }
        if !self.core.is_answered(race) {
            self.core.end_race(race, Closed::Reset);
        }
    }

    fn begin_attempt(&mut self, answer: Answer, race: ConnId, tag: u64) {
        let (token, wire) = (self.core.attempt_id(race), Wire::new());
        let opened = Opened::new(Peer::Unix, tag);
        self.core.insert(token, Fake(wire.clone()), State::empty());
        self.sockets.push(Socket {
            wire,
            token,
            answer: match answer {
                Answer::Accepts(after) => Some((self.now + after, true)),
                Answer::Refuses(after) => Some((self.now + after, false)),
                _ => None,
            },
            is_connected: matches!(answer, Answer::AcceptsAtOnce),
        });
        match answer {
            Answer::AcceptsAtOnce => self.core.connected(token, opened, race),
            _ => self.core.connecting(token, opened, race),
        }
    }

    /// As epoll_ctl(2) does: if the socket is ready, that is an event with the new token.
    fn watch_anew(&mut self, id: ConnId) {
        let Some(Fake(wire)) = self.core.stream_mut(id) else {
            return;
        };
        let is_its = |socket: &&mut Socket| Rc::ptr_eq(&socket.wire, wire);
        let socket = self.sockets.iter_mut().find(is_its).unwrap();
        socket.token = id;
        wire.borrow_mut().edge = true;
    }

    /// The protocol acts until it has nothing left to do, then all peers end their side.
    fn come_to_an_end(&mut self) {
        for _ in 0..1_000 {
            self.now += 100;
            self.core.tell(Caller::act);
            self.turn();
            let is_acting = !self.core.voice.protocol.acts.is_empty();
            if is_acting || self.core.has_races() {
                continue;
            }
            if self.core.len() == 0 && !self.core.has_work() {
                return;
            }
            let ids = self.core.voice.protocol.ids.clone();
            self.core.tell(|_, out| {
                for id in ids {
                    out.release(id);
                    out.resume(id);
                }
            });
            for socket in &self.sockets {
                let mut wire = socket.wire.borrow_mut();
                wire.fetch(usize::MAX);
                (wire.fin, wire.edge) = (true, true);
            }
        }
        panic!("it never ends");
    }

    fn check(&mut self) {
        let caller = &self.core.voice.protocol;
        for (id, known) in &caller.known {
            assert!(
                matches!(known, Known::Failed | Known::Closed),
                "{id:?} is left {known:?}"
            );
        }
        let ends = caller.known.values();
        let count = |end| ends.clone().filter(|known| **known == end).count() as u64;
        let stats = self.core.shared.stats;
        assert_eq!(
            (stats.connected, stats.connect_errors, stats.closed),
            (
                count(Known::Closed),
                count(Known::Failed),
                count(Known::Closed)
            )
        );
        for socket in &self.sockets {
            let wire = socket.wire.borrow();
            assert!(wire.closed, "a socket is left open");
            let written = wire.delivered.iter().chain(&wire.in_flight);
            assert!(written.copied().all(|byte| byte == OPEN), "sent too early");
        }
        assert!(self.core.connecting.is_empty() && self.core.races.is_empty());
        assert!(self.core.ids().are_all_free(), "an id is not given back");
        while let Some(key) = self.core.timers.expire(u64::MAX) {
            assert!(
                !matches!(key, TimerKey::Protocol(_)),
                "{key:?} outlived its connection"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn each_connect_has_one_answer_whatever_happens(
        acts in prop::collection::vec(act(), 1..60),
        steps in prop::collection::vec(step(), 1..60),
        turn_budget in prop_oneof![Just(2 * CALLBACK), Just(Limits::default().turn_budget)],
    ) {
        let mut network = Network::with_turns_of(turn_budget, acts);
        steps.iter().for_each(|step| network.take(step));
        network.come_to_an_end();
        network.check();
    }
}

/// The event of one that connects is noted as any other, in a turn that has no room for it.
#[test]
fn all_connects_that_answer_in_one_full_turn_are_opened() {
    let connects = vec![Act::Connect(vec![Answer::Accepts(100)]); 8];
    let mut network = Network::with_turns_of(2 * CALLBACK, connects);
    (0..4).for_each(|_| network.core.tell(Caller::act));
    network.turn();
    network.now = 100;
    (0..8).for_each(|_| network.turn());
    let caller = &network.core.voice.protocol;
    assert_eq!(caller.known.len(), 8);
    assert!(caller.known.values().all(|known| *known == Known::Open));
    let stats = network.core.shared.stats;
    assert!(stats.turns_cut > 0 && stats.stale == 0, "{stats:?}");
}

/// The first address answers once the second has won. Its answer, fetched in the same batch, is stale,
/// and so is a later event with the winner's old token.
#[test]
fn a_winner_has_the_promised_id_and_the_loser_s_event_reaches_nothing() {
    let answers = [Answer::Accepts(300), Answer::Accepts(50)];
    let mut network = Network::new(vec![Act::Connect(answers.to_vec())]);
    network.core.tell(Caller::act);
    network.turn();
    network.now = 250;
    network.turn();
    assert_eq!(network.sockets.len(), 2, "both are under way");
    let old = network.sockets[1].token;
    // The winner is delivered first.
    network.sockets.swap(0, 1);
    network.now = 300;
    network.turn();
    let caller = &network.core.voice.protocol;
    let id = caller.ids[0];
    assert_eq!(caller.known[&id], Known::Open);
    assert_eq!(network.core.shared.stats.stale, 1);
    assert_eq!((network.sockets[0].token, network.core.len()), (id, 1));
    assert_ne!(old, id);
    assert!(network.sockets[1].wire.borrow().closed);
    network.come_to_an_end();
    network.check();
}
