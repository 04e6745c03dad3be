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
//! | `core.rs` | the tables; telling the protocol; seeing to what it asks for |
//! | `core/conn.rs` | one stream: the rules of edge-triggered I/O, with their reasons |
//! | `core/visit.rs` | bytes in: one connection's turn |
//! | `core/send.rs` | bytes out |
//! | `core/end.rs` | how a connection ends |
//! | `core/racing.rs` | how one begins to a name with several addresses |
//! | `core/buffer.rs`, `core/timers.rs`, `core/limits.rs`, `core/stats.rs` | their subjects |
//! | `core/simulation.rs` | the core against a kernel as nasty as a kernel may be |

pub(crate) mod buffer;
pub(crate) mod conn;
mod end;
pub(crate) mod limits;
mod racing;
mod send;
#[cfg(test)]
mod simulation;
pub(crate) mod stats;
pub(crate) mod timers;
mod visit;

use slab::Slab;

use self::buffer::{BufferPool, ReadBuffer};
use self::conn::{Conn, Deadline, State, Stream};
use self::limits::{Limits, READ_BUFFER};
pub(crate) use self::racing::RaceId;
use self::racing::{Connecting, Race};
use self::stats::Stats;
use self::timers::{MAX_SLOTS, Millis, TimerKey, Timers, millis};
use crate::conn_map::ConnMap;
use crate::id::ConnId;
use crate::outbox::{Current, Outbox, Request, Said};
use crate::protocol::{Closed, Datagram, Opened, Protocol};

/// Connections for which tables need never be moved to grow: 3 MiB of address space, which becomes
/// memory page by page as they come.
const EXPECTED_CONNECTIONS: usize = 64 * 1024;
/// Connections that the search for vanished peers looks at in one turn.
const SEARCHED_A_TURN: usize = 256;

/// A protocol, and what it says.
pub(crate) struct Voice<P> {
    pub(crate) protocol: P,
    pub(crate) outbox: Outbox,
}

impl<P> Voice<P> {
    /// The one place where a protocol is called. The caller sees to what it leaves to be done.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        current: Current,
        callback: impl FnOnce(&mut P, &mut Outbox),
    ) -> Said {
        self.outbox.begin(current);
        callback(&mut self.protocol, &mut self.outbox);
        self.outbox.said()
    }
}

/// The connections of a reactor, and the protocol that serves them.
pub(crate) struct Core<S, P> {
    pub(crate) voice: Voice<P>,
    pub(crate) stats: Stats,
    pub(crate) timers: Timers,
    pub(crate) limits: Limits,
    pub(crate) now: Millis,
    slots: Slab<Conn<S>>,
    /// The last generation given out.
    generation: u32,
    /// The bytes read last, for the length of one callback.
    received: ReadBuffer,
    pool: BufferPool,
    connecting: ConnMap<Connecting>,
    races: Slab<Race>,
    /// Connections with more to do than their budget allowed, for the next turn.
    ready: Vec<ConnId>,
    /// Those of the last turn: a list of its own, so that no connection has two budgets in one turn.
    ready_now: Vec<ConnId>,
    /// Connections over the high-water mark whose protocol has not been told.
    risen: Vec<ConnId>,
    /// Connections to be closed at the end of this turn, and why.
    doomed: Vec<(ConnId, Closed)>,
    /// Connections that the search for vanished peers has yet to look at.
    searched: Vec<ConnId>,
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
        limits.max_connections = limits.max_connections.min(MAX_SLOTS);
        let expected = limits.max_connections.min(EXPECTED_CONNECTIONS);
        Core {
            voice: Voice {
                protocol,
                outbox: Outbox::new(),
            },
            stats: Stats::default(),
            timers: Timers::with_capacity(expected),
            limits,
            now: 0,
            slots: Slab::with_capacity(expected),
            generation: 0,
            received: ReadBuffer::new(READ_BUFFER),
            pool: BufferPool::default(),
            connecting: ConnMap::new(),
            races: Slab::new(),
            ready: Vec::new(),
            ready_now: Vec::new(),
            risen: Vec::new(),
            doomed: Vec::new(),
            searched: Vec::new(),
            slack: 0,
            stopping: false,
        }
    }

    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
        self.voice.outbox.set_now(now);
    }

    /// Open connections, those still connecting included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the next wait must not wait.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.doomed.is_empty() || self.voice.outbox.is_busy()
    }

    /// Gives a stream a slot. The protocol hears of it with [`Core::opened`].
    pub(crate) fn insert(&mut self, stream: S, state: State) -> ConnId {
        // Generation 0 marks the tokens of the reactor's own descriptors.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let conn = Conn::new(stream, self.generation, state, self.now);
        ConnId {
            slot: self.slots.insert(conn) as u32,
            generation: self.generation,
        }
    }

    /// Takes a stream back that the protocol has not heard of.
    pub(crate) fn remove(&mut self, id: ConnId) -> S {
        self.timers.cancel(TimerKey::Conn(id.slot));
        self.slots.remove(id.slot()).stream
    }

    pub(crate) fn stream(&self, id: ConnId) -> Option<&S> {
        self.slots
            .get(id.slot())
            .filter(|conn| conn.generation == id.generation)
            .map(|conn| &conn.stream)
    }

    pub(crate) fn stream_mut(&mut self, id: ConnId) -> Option<&mut S> {
        live(&mut self.slots, id).map(|conn| &mut conn.stream)
    }

    /// Whether this is so of a connection.
    pub(crate) fn is(&self, id: ConnId, state: State) -> bool {
        let conn = self.slots.get(id.slot());
        conn.is_some_and(|conn| conn.generation == id.generation && conn.state.contains(state))
    }

    /// This stream has no edges: it can be read and written at any time.
    pub(crate) fn always_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.live(id) {
            conn.state |= State::READABLE | State::WRITABLE | State::STICKY;
        }
    }

    pub(crate) fn opened(&mut self, id: ConnId, opened: Opened) {
        if self.stream(id).is_some_and(|stream| stream.is_peer()) {
            self.stats.count_opened();
        }
        if !self.limits.idle_timeout.is_zero() {
            self.arm(id);
        }
        self.arm_search();
        self.tell(|protocol, out| protocol.on_open(id, opened, out));
        // A stream that is always ready, as files are, has no edge to start it.
        if self
            .live(id)
            .is_some_and(|conn| conn.state.contains(State::READABLE))
        {
            self.list(id);
        }
    }

    /// A connect has come to nothing, or the datagrams of a socket with one peer are refused.
    pub(crate) fn connect_failed(&mut self, tag: u32, why: Closed) {
        self.stats.connect_errors += 1;
        self.tell(|protocol, out| protocol.on_connect_error(tag, why, out));
    }

    /// Tells the protocol something, and sees to what it asks for.
    pub(crate) fn tell(&mut self, callback: impl FnOnce(&mut P, &mut Outbox)) {
        if self.voice.tell(Current::Nobody, callback) == Said::More {
            self.see_to();
        }
    }

    /// Tells the protocol of a datagram, and returns whether that goes back to its sender.
    pub(crate) fn tell_datagram(&mut self, datagram: Datagram<'_>) -> bool {
        let said = self.voice.tell(Current::Datagram, |protocol, out| {
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
        self.tell_risen();
        if self.voice.outbox.is_full() {
            self.flush_outbox();
        }
    }

    fn carry_out_requests(&mut self) {
        let mut requests = self.voice.outbox.take_requests();
        requests
            .drain(..)
            .for_each(|request| self.carry_out(request));
        self.voice.outbox.return_requests(requests);
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Finish(id) => {
                self.begin_end(id, State::FINISHED);
                self.set_conn_timer(id, None);
            }
            Request::HalfClose(id) => self.begin_end(id, State::HALF_CLOSED),
            Request::Abort(id) => {
                self.send_parcel_of(id);
                self.doom(id, Closed::Aborted);
            }
            Request::Pause(id) => {
                if let Some(conn) = self.live(id) {
                    conn.state |= State::PAUSED;
                }
            }
            Request::Resume(id) => {
                if let Some(conn) = self.live(id) {
                    conn.state -= State::PAUSED;
                    self.list(id);
                }
            }
            Request::Timer(id, after) => {
                // Nothing more is heard of a connection that has finished.
                let hears = |conn: &mut Conn<S>| !conn.state.contains(State::FINISHED);
                if self.live(id).is_some_and(hears) {
                    self.set_conn_timer(id, after);
                }
            }
            Request::ServiceTimer(after) => self.set_timer(TimerKey::Service, after),
        }
    }

    /// Sends all that was said in this turn and closes all that is doomed, until nothing is left to
    /// be done: last words in `on_close` may doom others, but each round closes a connection.
    pub(crate) fn settle(&mut self, mut closing: impl FnMut(ConnId, Closed, S)) {
        loop {
            self.flush_outbox();
            if self.doomed.is_empty() {
                return;
            }
            self.reap(&mut closing);
        }
    }

    fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.slots.iter().map(id_of)
    }

    fn live(&mut self, id: ConnId) -> Option<&mut Conn<S>> {
        live(&mut self.slots, id)
    }

    /// Puts a connection on the ready list.
    fn list(&mut self, id: ConnId) {
        if let Some(conn) = self.live(id)
            && !conn.state.contains(State::LISTED)
        {
            conn.state |= State::LISTED;
            self.ready.push(id);
        }
    }

    /// Runs one deadline that is due.
    pub(crate) fn run_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Service => self.tell(Protocol::on_service_timer),
            TimerKey::Protocol(slot) => {
                if let Some(id) = self.tenant(slot)
                    && self.live(id).is_some()
                {
                    self.tell(|protocol, out| protocol.on_timer(id, out));
                }
            }
            TimerKey::Conn(slot) => self.run_deadline(slot),
            TimerKey::Search => self.search_for_vanished(),
            TimerKey::Retry | TimerKey::Stats | TimerKey::Grace | TimerKey::NextAddress => {}
        }
    }

    /// The connection in a slot.
    fn tenant(&self, slot: u32) -> Option<ConnId> {
        let conn = self.slots.get(slot as usize)?;
        Some(id_of((slot as usize, conn)))
    }

    fn set_conn_timer(&mut self, id: ConnId, after: Option<Millis>) {
        if self.live(id).is_some() {
            self.set_timer(TimerKey::Protocol(id.slot), after);
        }
    }

    fn set_timer(&mut self, key: TimerKey, after: Option<Millis>) {
        match after {
            Some(after) => {
                let at = self.now.saturating_add(after).saturating_add(self.slack);
                self.timers.arm(key, at);
            }
            None => self.timers.cancel(key),
        }
    }

    /// Sets the connection's timer to what its state calls for, unless an earlier one is set: that
    /// one will find out.
    fn arm(&mut self, id: ConnId) {
        let (now, limits) = (self.now, &self.limits);
        if let Some(conn) = self.slots.get(id.slot())
            && let Some((left, _)) = conn.deadline(limits, now)
        {
            self.timers
                .arm_no_later(TimerKey::Conn(id.slot), now.saturating_add(left.into()));
        }
    }

    /// Lets the search for vanished peers begin, unless it is off, under way or about to.
    fn arm_search(&mut self) {
        let Limits {
            keepalive,
            stall_timeout,
            ..
        } = self.limits;
        let is_off = keepalive.is_zero() || stall_timeout.is_zero();
        if !is_off && !self.timers.is_armed(TimerKey::Search) {
            let at = self.now.saturating_add(millis(stall_timeout));
            self.timers.arm(TimerKey::Search, at);
        }
    }

    /// Closes peers that vanished while something was under way to them: a part of all connections
    /// in each turn, so that thousands of them are no long turn.
    fn search_for_vanished(&mut self) {
        if self.searched.is_empty() {
            self.searched = self.ids().collect();
        }
        let rest = self.searched.len().saturating_sub(SEARCHED_A_TURN);
        for id in self.searched.split_off(rest) {
            let (now, limits) = (self.now, &self.limits);
            if live(&mut self.slots, id).is_some_and(|conn| conn.has_vanished(limits, now)) {
                self.doom(id, Closed::Stalled);
            }
        }
        if rest > 0 {
            self.timers.arm(TimerKey::Search, self.now + 1);
        } else if !self.slots.is_empty() {
            self.arm_search();
        }
    }

    /// A connection's timer is due; whether its deadline is, or has moved since, the connection
    /// knows.
    fn run_deadline(&mut self, slot: u32) {
        let Some(id) = self.tenant(slot) else { return };
        let Some(conn) = live(&mut self.slots, id) else {
            return;
        };
        match conn.deadline(&self.limits, self.now) {
            Some((0, Deadline::Close(why))) => self.doom(id, why),
            Some((0, Deadline::Look)) => match conn.look(&self.limits, self.now) {
                true => self.doom(id, Closed::Stalled),
                false => self.arm(id),
            },
            Some((0, Deadline::Judge)) => match conn.fell_short(&self.limits, self.now) {
                true => self.doom(id, Closed::SlowConsumer),
                false => self.arm(id),
            },
            Some((0, Deadline::Retry)) => {
                conn.state -= State::STARVED;
                conn.state |= State::READABLE | State::WRITABLE;
                self.visit(id);
                self.arm(id);
            }
            Some(_) => self.arm(id),
            None => {}
        }
    }
}

/// The id of the connection in a slot.
fn id_of<S>((slot, conn): (usize, &Conn<S>)) -> ConnId {
    ConnId {
        slot: slot as u32,
        generation: conn.generation,
    }
}

/// The connection that an id names, unless it is gone or as good as gone.
fn live<S>(slots: &mut Slab<Conn<S>>, id: ConnId) -> Option<&mut Conn<S>> {
    let conn = slots.get_mut(id.slot())?;
    (conn.generation == id.generation && !conn.state.contains(State::DOOMED)).then_some(conn)
}
