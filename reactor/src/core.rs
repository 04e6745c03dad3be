//! Everything about connections that is neither a descriptor nor a clock.
//!
//! The core holds the connections, the protocol that serves them and what that says, the timers, the
//! limits and the counters. Two drivers turn it: [`Reactor`](crate::Reactor) with epoll and the
//! system's clock, [`Script`](crate::Script) from memory with a clock moved by hand. Both drive this
//! code, so a protocol that was tested with the one is tested on the other.
//!
//! A protocol is called in one place, `Voice::tell`, and what it asked for is seen to as soon as it
//! has returned: no callback interrupts another.
//!
//! | file | subject |
//! |---|---|
//! | `core.rs`, `core/table.rs` | the tables; telling the protocol; seeing to what it asks for |
//! | `core/conn.rs` | one stream: the rules of edge-triggered I/O, with their reasons |
//! | `core/visit.rs` | bytes in: one connection's turn |
//! | `core/send.rs` | bytes out |
//! | `core/end.rs` | how a connection ends |
//! | `core/shedding.rs` | the bound of pending output of all peers together |
//! | `core/patience.rs` | how long a connection is kept: its deadlines |
//! | `core/admitted.rs`, `core/admission.rs` | which peers are admitted, and which make room in a full server |
//! | `core/race.rs`, `core/racing.rs` | how one begins to a name with several addresses |
//! | `core/lists.rs` | sources that go on without an event: the ready list, the starved list |
//! | `core/work.rs` | the budget of a turn |
//! | `core/buffer.rs`, `core/timers.rs`, `core/limits.rs`, `core/stats.rs` | their subjects |
//! | `core/simulation.rs` | the core against a kernel as nasty as a kernel may be |

pub(crate) mod admission;
mod admitted;
pub(crate) mod buffer;
pub(crate) mod conn;
mod end;
pub(crate) mod limits;
mod lists;
mod patience;
mod race;
mod racing;
mod send;
mod shedding;
#[cfg(test)]
mod simulation;
pub(crate) mod stats;
mod table;
pub(crate) mod timers;
mod visit;
pub(crate) mod work;

use std::collections::BTreeMap;

use self::admitted::Admitted;
use self::buffer::ReadBuffer;
use self::conn::{Conn, Phase, Shared, State, Stream};
use self::limits::{Limits, READ_BUFFER};
use self::lists::Lists;
use self::race::{Connecting, Race};
use self::table::Table;
use self::timers::{MAX_SLOTS, Millis, TimerKey, Timers};
use self::work::Work;
use crate::conn_map::ConnMap;
use crate::id::{ConnId, Ids};
use crate::outbox::{Asked, Current, End, Outbox, Request, Said, Timer};
use crate::poll::{Ready, Token};
use crate::protocol::{Closed, Datagram, Opened, Protocol};
use crate::rate_limited_log::RateLimitedLog;

/// Connections for which tables need never be moved to grow: 3 MiB of address space, which becomes
/// memory page by page as they come.
const EXPECTED_CONNECTIONS: usize = 64 * 1024;
/// How soon a source tries again that the kernel refused memory or descriptors, in ms; at once when
/// a connection closes.
const RETRY_INTERVAL: Millis = 100;

/// A protocol, and the outbox that it speaks through.
pub(crate) struct Voice<P> {
    pub(crate) protocol: P,
    pub(crate) outbox: Outbox,
}

impl<P> Voice<P> {
    /// The one place where a protocol is called, with so many bytes of data. The caller sees to what it
    /// leaves to be done.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        current: Current,
        bytes: usize,
        callback: impl FnOnce(&mut P, &mut Outbox),
    ) -> Said {
        self.outbox.begin(current, bytes);
        callback(&mut self.protocol, &mut self.outbox);
        self.outbox.said()
    }
}

/// The connections of a reactor, and the protocol that serves them.
pub(crate) struct Core<S, P> {
    pub(crate) voice: Voice<P>,
    pub(crate) shared: Shared,
    pub(crate) timers: Timers,
    pub(crate) limits: Limits,
    slots: Table<S>,
    /// The bytes read last, for the length of one callback.
    received: ReadBuffer,
    /// Bytes that the connection whose turn it is may still read in it.
    budget: usize,
    /// Units of work beside its bytes that cost a connection one byte of that budget.
    units_a_byte: usize,
    admitted: Admitted,
    /// The attempts to connect, by their own ids.
    connecting: ConnMap<Connecting>,
    /// Connects under way, by the ids that were promised for their connections.
    races: BTreeMap<ConnId, Race>,
    /// Failed connects of which the protocol has not been told: id, tag and cause.
    failed: Vec<(ConnId, u64, Closed)>,
    pub(crate) lists: Lists,
    /// Connections over the high-water mark whose protocol has not been told.
    risen: Vec<ConnId>,
    /// Connections to be closed at the end of this turn, and why.
    doomed: Vec<(ConnId, Closed)>,
    /// Connections that the search for vanished peers has yet to look at.
    searched: Vec<ConnId>,
    /// The log of peers that were closed because too much output was pending for all peers together.
    shed_log: RateLimitedLog,
    /// Added to each timer, in ms: the clock of a driver may show a millisecond that has begun already,
    /// and a timer must not fire early.
    pub(crate) slack: Millis,
    /// After `stop`, the cause of every regular end is the stop.
    stopping: bool,
}

impl<S: Stream, P: Protocol> Core<S, P> {
    pub(crate) fn new(protocol: P, mut limits: Limits) -> Self {
        // A budget of nothing would never let a connection have its turn.
        limits.read_budget = limits.read_budget.max(1);
        limits.accept_budget = limits.accept_budget.max(1);
        limits.turn_budget = limits.turn_budget.max(1);
        limits.max_connections = limits.max_connections.min(MAX_SLOTS);
        let expected = limits.max_connections.min(EXPECTED_CONNECTIONS);
        Core {
            voice: Voice {
                protocol,
                outbox: Outbox::new(limits.queue_bound(), limits.turn_budget),
            },
            shared: Shared::default(),
            timers: Timers::with_capacity(expected),
            slots: Table::with_capacity(expected),
            received: ReadBuffer::new(READ_BUFFER.min(limits.read_budget)),
            budget: 0,
            units_a_byte: limits.units_a_byte(),
            admitted: Admitted::new(&limits),
            connecting: ConnMap::new(),
            races: BTreeMap::new(),
            failed: Vec::new(),
            limits,
            lists: Lists::default(),
            risen: Vec::new(),
            doomed: Vec::new(),
            searched: Vec::new(),
            shed_log: RateLimitedLog::default(),
            slack: 0,
            stopping: false,
        }
    }

    pub(crate) fn set_now(&mut self, now: Millis) {
        self.shared.now = now;
        self.voice.outbox.set_now(now);
    }

    /// Open connections, those still connecting included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the next wait must not wait.
    pub(crate) fn has_work(&self) -> bool {
        self.lists.is_ready()
            || !self.doomed.is_empty()
            || !self.failed.is_empty()
            || self.timers.has_turn()
            || self.voice.outbox.is_busy()
    }

    /// The ids that are free.
    pub(crate) fn ids(&mut self) -> &mut Ids {
        &mut self.voice.outbox.ids
    }

    /// Makes a connection of a stream. The protocol hears of it with [`Core::opened`].
    pub(crate) fn insert(&mut self, id: ConnId, stream: S, state: State) {
        let conn = Conn::new(stream, id.generation, state, self.shared.now);
        self.slots.insert(id.slot(), conn);
    }

    pub(crate) fn stream_mut(&mut self, id: ConnId) -> Option<&mut S> {
        live(&mut self.slots, id).map(|conn| &mut conn.stream)
    }

    /// Whether this is so of a connection, also of one that is doomed.
    pub(crate) fn is(&self, id: ConnId, is_so: impl FnOnce(&Conn<S>) -> bool) -> bool {
        let conn = self.slots.get(id.slot());
        conn.is_some_and(|conn| conn.generation == id.generation && is_so(conn))
    }

    pub(crate) fn opened(&mut self, id: ConnId, opened: Opened) {
        match self.is(id, |conn| conn.stream.is_peer()) {
            true => self.shared.stats.count_opened(),
            false => self.voice.outbox.output.set_unlimited(id),
        }
        self.arm_opened(id);
        self.tell(|protocol, out| protocol.on_open(id, opened, out));
        // A stream that is always ready, as files are, has no edge to start it.
        if self.is(id, |conn| conn.state.contains(State::READABLE)) {
            self.list(id);
        }
    }

    /// A connect has come to nothing, or the datagrams of a socket with one peer are refused.
    pub(crate) fn connect_failed(&mut self, id: ConnId, tag: u64, why: Closed) {
        self.shared.stats.connect_errors += 1;
        self.tell(|protocol, out| protocol.on_connect_error(id, tag, why, out));
    }

    /// Like [`Core::tell`], for a callback of the program's own: returns its result.
    pub(crate) fn call<R>(&mut self, callback: impl FnOnce(&mut P, &mut Outbox) -> R) -> R {
        let mut result = None;
        self.tell(|protocol, out| result = Some(callback(protocol, out)));
        result.expect("tell calls back")
    }

    /// Tells the protocol something, and sees to what it asks for.
    pub(crate) fn tell(&mut self, callback: impl FnOnce(&mut P, &mut Outbox)) {
        if self.voice.tell(Current::Nobody, 0, callback) == Said::More {
            self.see_to();
        }
    }

    /// Tells the protocol of a datagram, and returns whether that goes back to its sender.
    pub(crate) fn tell_datagram(&mut self, datagram: Datagram<'_>) -> bool {
        let bytes = datagram.data.len();
        let said = self.voice.tell(Current::Datagram, bytes, |protocol, out| {
            protocol.on_datagram(datagram, out);
        });
        let back = self.voice.outbox.take_back().is_some();
        if said == Said::More {
            self.see_to();
        }
        back || matches!(said, Said::Back(_))
    }

    /// Sees to what a callback asked for, other than to send at the end of the turn.
    pub(crate) fn see_to(&mut self) {
        self.send_received();
        self.carry_out_requests();
        if !self.risen.is_empty() {
            self.tell_risen();
        }
        if self.voice.outbox.output.is_full() {
            self.flush_outbox();
        }
    }

    fn carry_out_requests(&mut self) {
        let mut index = 0;
        while let Some(request) = self.voice.outbox.request(index) {
            self.carry_out(request);
            index += 1;
        }
        self.voice.outbox.clear_requests();
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Connect(id, tag) => self.promise(id, tag),
            Request::End(id, end, until) => self.begin_end(id, end, until),
            Request::Ask(id, asked) => {
                if let Some(conn) = self.live(id) {
                    conn.asked |= asked;
                }
                if asked == Asked::AGAIN {
                    self.list(id);
                }
            }
            Request::TakeBack(id, asked) => self.take_back(id, asked),
            Request::Timer(id, timer) => {
                if self.hears(id) {
                    self.set_timer(TimerKey::Protocol(id.slot), timer);
                }
            }
            Request::ServiceTimer(timer) => self.set_timer(TimerKey::Service, timer),
            Request::Framed(id) => match self.live(id) {
                Some(_) => self.arm(id),
                None => self.voice.outbox.output.forget(id),
            },
        }
    }

    /// A pause or a hold is over: the connection goes on, with the finish that waited for it.
    fn take_back(&mut self, id: ConnId, asked: Asked) {
        let now = self.shared.now;
        let Some(conn) = self.live(id) else { return };
        let was_held = conn.asked.contains(Asked::HOLD);
        conn.asked -= asked;
        if was_held && asked == Asked::HOLD {
            conn.released(now);
            if conn.asked.contains(Asked::FINISH) {
                return self.begin_end(id, End::Finish, usize::MAX);
            }
            self.arm(id);
        }
        self.list(id);
    }

    /// Sends all that was said in this turn and closes all that is doomed, until nothing is left to
    /// be done: last words in `on_close` may doom others, but each round closes a connection. Then
    /// tells of failed connects.
    pub(crate) fn settle(&mut self, mut closing: impl FnMut(ConnId, Closed, S)) {
        loop {
            self.flush_outbox();
            if self.doomed.is_empty() {
                break;
            }
            self.reap(&mut closing);
        }
        self.tell_failed();
    }

    fn all_ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.slots.iter().map(|(id, _)| id)
    }

    fn live(&mut self, id: ConnId) -> Option<&mut Conn<S>> {
        live(&mut self.slots, id)
    }

    /// Whether the protocol still hears of a connection or a connect, other than of its end.
    fn hears(&mut self, id: ConnId) -> bool {
        self.live(id).is_some_and(|conn| conn.phase <= Phase::Open) || self.races.contains_key(&id)
    }

    /// Puts a connection on the ready list.
    fn list(&mut self, id: ConnId) {
        if let Some(conn) = live(&mut self.slots, id)
            && !conn.state.contains(State::LISTED)
        {
            conn.state |= State::LISTED;
            self.lists.add_ready(id.token());
        }
    }

    /// Notes an event of a connection that has to wait behind the ready list.
    pub(crate) fn note_only(&mut self, id: ConnId, ready: Ready) {
        let Some(conn) = present(&mut self.slots, id) else {
            self.shared.stats.stale += 1;
            return;
        };
        conn.note(ready);
        if !conn.state.contains(State::LISTED) {
            conn.state |= State::LISTED;
            self.lists.add_waiting(id.token());
        }
    }

    /// Puts a connection on the starved list, if a call has failed for want of memory.
    fn list_if_starved(&mut self, id: ConnId) {
        if let Some(conn) = live(&mut self.slots, id)
            && conn.state & (State::STARVED | State::LISTED) == State::STARVED
        {
            conn.state |= State::LISTED;
            self.starve(id.token());
        }
    }

    /// Puts a source on the starved list: it tries again soon.
    pub(crate) fn starve(&mut self, source: Token) {
        self.lists.add_starved(source);
        let at = self.shared.now + RETRY_INTERVAL;
        self.timers.arm_no_later(TimerKey::Retry, at);
    }

    /// The work of this turn.
    #[inline]
    pub(crate) fn work(&mut self) -> &mut Work {
        &mut self.voice.outbox.work
    }

    /// The next deadline that is due, while the share of the timers lasts.
    pub(crate) fn next_timer(&mut self) -> Option<TimerKey> {
        match self.work().is_spent() {
            true => None,
            false => self.timers.expire(self.shared.now),
        }
    }

    /// The next source of the ready list whose turn it is, while the budget of the turn lasts.
    pub(crate) fn next_ready(&mut self) -> Option<Token> {
        match self.work().is_spent() {
            true => None,
            false => self.lists.next(),
        }
    }

    /// Runs one deadline that is due.
    pub(crate) fn run_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Service => self.tell(Protocol::on_service_timer),
            TimerKey::Protocol(slot) => {
                if let Some(id) = self.tenant(slot).or_else(|| self.promised(slot))
                    && self.hears(id)
                {
                    self.tell(|protocol, out| protocol.on_timer(id, out));
                }
            }
            TimerKey::Conn(slot) => self.run_deadline(slot),
            TimerKey::Search => self.search_for_vanished(),
            TimerKey::Retry => self.lists.feed(),
            TimerKey::Stats | TimerKey::Grace | TimerKey::NextAddress | TimerKey::Nested => {}
        }
    }

    /// The connection in a slot.
    fn tenant(&self, slot: u32) -> Option<ConnId> {
        let generation = self.slots.get(slot as usize)?.generation;
        Some(ConnId { slot, generation })
    }

    fn set_timer(&mut self, key: TimerKey, timer: Timer) {
        match timer {
            Timer::Never => self.timers.cancel(key),
            Timer::After(0) => self.timers.arm_next_turn(key, self.shared.now),
            Timer::After(after) => {
                let at = self.shared.now.saturating_add(after);
                self.timers.arm(key, at.saturating_add(self.slack));
            }
            // Due already: it would fire again and again in this turn if its callback sets it again.
            Timer::At(at) if at <= self.shared.now => {
                self.timers.arm_next_turn(key, self.shared.now);
            }
            Timer::At(at) => self.timers.arm(key, at),
        }
    }
}

/// The connection that an id names, unless it is not open yet, gone or as good as gone.
fn live<S>(slots: &mut Table<S>, id: ConnId) -> Option<&mut Conn<S>> {
    let conn = slots.get_mut(id.slot())?;
    (conn.generation == id.generation && conn.phase < Phase::Connecting).then_some(conn)
}

/// The connection that an id names, open or connecting, unless it is gone or as good as gone.
fn present<S>(slots: &mut Table<S>, id: ConnId) -> Option<&mut Conn<S>> {
    let conn = slots.get_mut(id.slot())?;
    (conn.generation == id.generation && conn.phase < Phase::Doomed).then_some(conn)
}
