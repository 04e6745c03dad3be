//! All connections of a reactor, and the protocol that serves them; everything but epoll.
//!
//! [`Conn`] knows one stream. This file knows them all: which is whose, whose turn it is, what the
//! protocol wants of them, and who is to be closed. It sees no descriptor and no clock either, so
//! the tests run it on sockets and with a time of their own making.

mod racing;
mod sending;

use std::mem;
use std::ops::Range;

use slab::Slab;

use crate::buffer::{BufferPool, ReadBuffer};
use crate::conn::{Conn, Deadline, HiddenEnd, Read, Shared, State, Stream};
use crate::conn_map::ConnMap;
use crate::limits::{Limits, READ_BUFFER};
use crate::outbox::{Current, Outbox, Request, SendBack};
use crate::poll::Ready;
use crate::protocol::{Closed, ConnId, Data, Opened, Protocol};
use crate::stats::Stats;
use crate::timers::{MAX_SLOTS, Millis, TimerKey, Timers, millis};
use racing::{Connecting, Race};

pub(crate) use racing::RaceId;

/// Connections for which tables need never be moved to grow: 3 MiB of address space, which becomes
/// memory page by page as they come.
const EXPECTED_CONNECTIONS: usize = 64 * 1024;

/// Events in one turn from which on short answers wait for one another. With fewer, they are worth
/// more to clients that work while we do; and if both sides wait like this, nobody works.
const CROWD: usize = 16;

/// Reads of one connection in a turn, at the most, however little each brings: a peer that sends
/// single bytes without end must not have all the time either.
const READS_A_TURN: usize = 64;

/// Connections that the search for vanished peers looks at in one turn.
const SEARCHED_A_TURN: usize = 256;

pub(crate) struct Connections<S, P> {
    pub(crate) protocol: P,
    pub(crate) outbox: Outbox,
    pub(crate) stats: Stats,
    pub(crate) timers: Timers,
    pub(crate) limits: Limits,
    pub(crate) now: Millis,
    slots: Slab<Conn<S>>,
    /// The last generation given out.
    generation: u32,
    /// What was read last, for the length of one callback.
    received: ReadBuffer,
    /// What is to go back to where it came from, and waits in there.
    returns: Vec<(ConnId, Range<u32>)>,
    /// Whether this turn is one in which short answers wait for one another.
    crowded: bool,
    pool: BufferPool,
    /// What is known of connects under way.
    connecting: ConnMap<Connecting>,
    races: Slab<Race>,
    /// Who has more to do than the budget allowed, for the next turn.
    ready: Vec<ConnId>,
    /// The same, from the last turn: a list for each, so that nobody has two budgets in one turn.
    ready_now: Vec<ConnId>,
    /// Who was finished in this turn and may be ready to be closed.
    finished: Vec<ConnId>,
    /// Who has risen above the high-water mark, and the protocol does not know it yet.
    risen: Vec<ConnId>,
    /// Who is to be closed at the end of this turn.
    doomed: Vec<(ConnId, Closed)>,
    /// Connections that the search for vanished peers has yet to look at.
    searched: Vec<ConnId>,
    /// After `stop`, the cause of every regular end is the stop.
    stopping: bool,
}

impl<S: Stream, P: Protocol> Connections<S, P> {
    pub(crate) fn new(protocol: P, mut limits: Limits) -> Self {
        // With a budget of nothing nobody would ever have had its turn.
        limits.read_budget = limits.read_budget.max(1);
        limits.accept_budget = limits.accept_budget.max(1);
        limits.max_connections = limits.max_connections.min(MAX_SLOTS);
        let expected = limits.max_connections.min(EXPECTED_CONNECTIONS);
        Connections {
            protocol,
            outbox: Outbox::new(),
            stats: Stats::default(),
            timers: Timers::with_capacity(expected),
            limits,
            now: 0,
            slots: Slab::with_capacity(expected),
            generation: 0,
            received: ReadBuffer::new(READ_BUFFER),
            returns: Vec::new(),
            crowded: false,
            pool: BufferPool::default(),
            connecting: ConnMap::new(),
            races: Slab::new(),
            ready: Vec::new(),
            ready_now: Vec::new(),
            finished: Vec::new(),
            risen: Vec::new(),
            doomed: Vec::new(),
            searched: Vec::new(),
            stopping: false,
        }
    }

    pub(crate) fn set_now(&mut self, now: Millis) {
        self.now = now;
        self.outbox.set_now(now);
    }

    /// A turn begins: this is its time, it brings so many events, and who was listed in the last
    /// one has its turn in this one.
    pub(crate) fn begin_turn(&mut self, now: Millis, events: usize) {
        self.set_now(now);
        self.crowded = events >= CROWD;
        mem::swap(&mut self.ready, &mut self.ready_now);
    }

    /// Open connections, those still connecting included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the next wait must not wait.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || !self.finished.is_empty()
            || !self.doomed.is_empty()
            || self.outbox.is_busy()
            || !self.returns.is_empty()
    }

    /// Gives a stream a slot. The protocol hears of it with [`Connections::opened`].
    pub(crate) fn insert(&mut self, stream: S, state: State) -> ConnId {
        // Generation 0 marks the tokens of the reactor's own descriptors.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let slot = self
            .slots
            .insert(Conn::new(stream, self.generation, state, self.now)) as u32;
        ConnId {
            slot,
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

    /// This stream has no edges: it can be read and written at any time.
    pub(crate) fn always_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.live(id) {
            conn.state |= State::READABLE | State::WRITABLE | State::HANGUP;
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
        self.protocol.on_open(id, opened, &mut self.outbox);
        self.after_callback();
        // What is always ready, as files are, has no edge to start it.
        if self
            .live(id)
            .is_some_and(|conn| conn.state.contains(State::READABLE))
        {
            self.list(id);
        }
    }

    /// A connect has come to nothing, or nobody takes the datagrams of a socket with one peer.
    pub(crate) fn connect_failed(&mut self, tag: u32, why: Closed) {
        self.stats.connect_errors += 1;
        self.call(|protocol, out| protocol.on_connect_error(tag, why, out));
    }

    /// Takes in an event.
    pub(crate) fn deliver(&mut self, id: ConnId, ready: Ready) {
        let Some(conn) = self.live(id) else {
            self.stats.stale += 1;
            return;
        };
        conn.note(ready);
        // Who is on the ready list has its turn later in this one.
        if !conn.state.contains(State::LISTED) {
            self.visit(id);
        }
    }

    /// Those whose budget was spent in the last turn go on with a new one.
    pub(crate) fn run_ready(&mut self) {
        let mut ready = mem::take(&mut self.ready_now);
        for id in ready.drain(..) {
            if let Some(conn) = self.live(id) {
                conn.state -= State::LISTED;
                self.visit(id);
            }
        }
        self.ready_now = ready;
        self.write_returns();
    }

    /// One deadline that is due.
    pub(crate) fn run_timer(&mut self, key: TimerKey) {
        match key {
            TimerKey::Service => self.call(Protocol::on_service_timer),
            TimerKey::Protocol(slot) => {
                let Some(conn) = self.slots.get(slot as usize) else {
                    return;
                };
                let id = ConnId {
                    slot,
                    generation: conn.generation,
                };
                if self.live(id).is_some() {
                    self.call(|protocol, out| protocol.on_timer(id, out));
                }
            }
            TimerKey::Conn(slot) => self.run_deadline(slot),
            TimerKey::Search => self.search_for_vanished(),
            TimerKey::Retry | TimerKey::Stats | TimerKey::Grace | TimerKey::NextAddress => {}
        }
    }

    /// Lets the protocol speak outside of any connection.
    pub(crate) fn call(&mut self, callback: impl FnOnce(&mut P, &mut Outbox)) {
        self.outbox.set_current(Current::Nobody);
        callback(&mut self.protocol, &mut self.outbox);
        self.after_callback();
    }

    /// Carries out all that was said in this turn, and closes who is to be closed, until there is
    /// nothing more to do: last words in `on_close` may doom others, but each round closes
    /// somebody.
    pub(crate) fn settle(&mut self, mut closing: impl FnMut(S)) {
        loop {
            self.flush_outbox();
            self.end_finished();
            if self.doomed.is_empty() {
                return;
            }
            self.reap(&mut closing);
        }
    }

    /// Begins to end all connections: who has nothing pending is closed at once, the others when it
    /// is sent.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        // What the peers still send is taken for as long as the grace period lasts: to close before
        // would destroy replies that are under way.
        self.limits.linger_timeout = self.limits.linger_timeout.max(self.limits.grace);
        self.limits.linger_bytes = usize::MAX;
        self.flush_outbox();
        let ids: Vec<ConnId> = self.ids().collect();
        for id in ids {
            let Some(conn) = self.live(id) else { continue };
            conn.state |= State::FINISHED;
            if conn.state.contains(State::CONNECTING)
                || conn.unsent_bytes() == 0 && conn.is_settled()
            {
                self.doom(id, Closed::Shutdown);
            } else {
                self.timers.cancel(TimerKey::Protocol(id.slot));
                self.finished.push(id);
            }
        }
        self.end_races();
    }

    /// While stopping: closes those that were ended and whose bytes have all arrived by now.
    pub(crate) fn close_settled(&mut self) {
        let ids: Vec<ConnId> = self.ids().collect();
        for id in ids {
            if self
                .live(id)
                .is_some_and(|conn| conn.state.contains(State::LINGERING) && conn.is_settled())
            {
                self.doom(id, Closed::Shutdown);
            }
        }
    }

    /// Ends all connections at once, and tells how many there were to end.
    pub(crate) fn abort_all(&mut self) -> usize {
        let ids: Vec<ConnId> = self.ids().collect();
        let doomed_before = self.doomed.len();
        for id in ids {
            self.doom(id, Closed::Shutdown);
        }
        self.doomed.len() - doomed_before
    }

    fn ids(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.slots.iter().map(|(slot, conn)| ConnId {
            slot: slot as u32,
            generation: conn.generation,
        })
    }

    fn live(&mut self, id: ConnId) -> Option<&mut Conn<S>> {
        live(&mut self.slots, id)
    }

    /// The same, with what its methods need.
    fn at_work(&mut self, id: ConnId) -> Option<(&mut Conn<S>, Shared<'_>)> {
        let conn = live(&mut self.slots, id)?;
        let shared = Shared {
            pool: &mut self.pool,
            stats: &mut self.stats,
            now: self.now,
        };
        Some((conn, shared))
    }

    /// One connection's turn: flush, read, end. Flushing comes first, since it may be what reading
    /// waits for.
    fn visit(&mut self, id: ConnId) {
        let Some(conn) = self.live(id) else { return };
        let has_waited = conn.unsent_bytes() > 0;
        if conn.state.contains(State::CONNECTING) && !self.finish_connect(id) {
            return;
        }
        if has_waited {
            self.flush(id);
        }
        let mut budget = self.limits.read_budget;
        let least = budget / READS_A_TURN;
        let most = self.received.len().min(budget);
        while let Some(conn) = live(&mut self.slots, id) {
            let discard = conn.wants_discard();
            if !discard && !conn.wants_read() {
                match conn.hidden_end(self.limits.keeps_unread) {
                    Some(HiddenEnd::Read) => {}
                    Some(HiddenEnd::Failed(why)) => return self.doom(id, why),
                    None if conn.is_steady() => return,
                    None => return self.conclude(id),
                }
            }
            if budget == 0 {
                self.stats.budget_spent += 1;
                return self.list(id);
            }
            match conn.read(&mut self.received[..most], &mut self.stats, self.now) {
                Ok(Read::Data(count)) => {
                    budget = budget.saturating_sub(count.max(least));
                    if !discard {
                        self.hand_over(id, count);
                    } else if conn.state.contains(State::LINGERING)
                        && conn.charge_linger(count, &self.limits, self.now)
                    {
                        return self.doom(id, Closed::Finished);
                    }
                }
                Ok(Read::Eof) if !discard => {
                    self.outbox.set_current(Current::Conn(id));
                    self.protocol.on_eof(id, &mut self.outbox);
                    self.after_callback();
                }
                Ok(Read::Eof | Read::Drained) => {}
                Err(errno) => {
                    let why = conn.closed_by(errno);
                    self.doom(id, why);
                }
            }
        }
    }

    /// Gives the protocol what was read, and sees to what it sends back: the buffer is needed for
    /// the next read.
    fn hand_over(&mut self, id: ConnId, count: usize) {
        self.outbox.set_current(Current::Conn(id));
        self.protocol
            .on_data(id, Data(&mut self.received[..count]), &mut self.outbox);
        match self.outbox.take_send_back() {
            SendBack::No => {}
            SendBack::Alone(len) => self.send_back(id, len),
            SendBack::InParcel => {
                self.write_returns();
                if let Some(parcel) = self.outbox.take_parcel_of(id) {
                    self.deliver_parcel(parcel);
                }
            }
        }
        if !self.risen.is_empty() {
            self.tell_of_high_water();
        }
        if self.outbox.is_pressing() {
            self.after_callback();
        }
    }

    /// Whether a connect has ended well.
    fn finish_connect(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.live(id) else {
            return false;
        };
        // Only the end of the attempt, good or bad, makes the socket writable.
        if !conn.state.contains(State::WRITABLE) {
            return false;
        }
        if let Err(errno) = conn.stream.connect_result() {
            self.doom(id, Closed::Error(errno));
            return false;
        }
        conn.state -= State::CONNECTING;
        if let Some(Connecting { opened, race }) = self.connecting.remove(id) {
            self.connected(id, opened, race);
        }
        true
    }

    /// Carries out what a callback asked for, other than to send. That is done at the end of the
    /// turn.
    pub(crate) fn after_callback(&mut self) {
        if self.outbox.has_requests() {
            self.carry_out_requests();
        }
        if self.outbox.is_full() {
            self.flush_outbox();
        }
    }

    fn carry_out_requests(&mut self) {
        self.write_returns();
        let mut requests = self.outbox.take_requests();
        requests
            .drain(..)
            .for_each(|request| self.carry_out(request));
        self.outbox.return_requests(requests);
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Finish(id) => {
                self.begin_end(id, State::FINISHED);
                self.set_conn_timer(id, None);
            }
            Request::HalfClose(id) => self.begin_end(id, State::HALF_CLOSED),
            Request::Abort(id) => {
                if let Some(last_words) = self.outbox.take_parcel_of(id) {
                    self.deliver_parcel(last_words);
                }
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
                // Nothing is heard any more of who has finished.
                let hears = |conn: &mut Conn<S>| !conn.state.contains(State::FINISHED);
                if self.live(id).is_some_and(hears) {
                    self.set_conn_timer(id, after);
                }
            }
            Request::ServiceTimer(after) => self.set_timer(TimerKey::Service, after),
        }
    }

    fn begin_end(&mut self, id: ConnId, how: State) {
        if let Some(conn) = self.live(id) {
            conn.state |= how;
            self.finished.push(id);
        }
    }

    fn set_conn_timer(&mut self, id: ConnId, after: Option<Millis>) {
        if self.live(id).is_some() {
            self.set_timer(TimerKey::Protocol(id.slot), after);
        }
    }

    fn set_timer(&mut self, key: TimerKey, after: Option<Millis>) {
        match after {
            // The present millisecond has begun already: one more, so that nothing fires early.
            Some(after) => self
                .timers
                .arm(key, self.now.saturating_add(after).saturating_add(1)),
            None => self.timers.cancel(key),
        }
    }

    /// Connections that were finished in this turn and have all their bytes with the kernel go on
    /// towards their end.
    fn end_finished(&mut self) {
        let mut finished = mem::take(&mut self.finished);
        for id in finished.drain(..) {
            self.end(id);
        }
        self.finished = finished;
    }

    /// After the visit of a connection that is on its way to the end, or short of memory.
    fn conclude(&mut self, id: ConnId) {
        if self
            .live(id)
            .is_some_and(|conn| conn.state.contains(State::STARVED))
        {
            self.arm(id);
        }
        self.end(id);
    }

    /// Takes the next step towards the end, if the connection is on its way there.
    fn end(&mut self, id: ConnId) {
        // Something that was finished in this turn may still have words in the outbox.
        let waits = self.outbox.has_words_for(id);
        let (now, stopping) = (self.now, self.stopping);
        let Some(conn) = self.live(id).filter(|_| !waits) else {
            return;
        };
        let lingered = conn.state.contains(State::LINGERING);
        match conn.end(now) {
            Some(_) if stopping => self.doom(id, Closed::Shutdown),
            Some(why) => self.doom(id, why),
            None if !lingered && conn.state.contains(State::LINGERING) => {
                self.arm(id);
                self.list(id);
            }
            None => {}
        }
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

    pub(crate) fn doom(&mut self, id: ConnId, why: Closed) {
        if let Some(conn) = self.live(id) {
            conn.state |= State::DOOMED;
            self.doomed.push((id, why));
        }
    }

    /// The one place where connections are closed: nothing else of this turn will touch them.
    fn reap(&mut self, closing: &mut impl FnMut(S)) {
        let mut doomed = mem::take(&mut self.doomed);
        for (id, why) in doomed.drain(..) {
            self.timers.cancel(TimerKey::Conn(id.slot));
            self.timers.cancel(TimerKey::Protocol(id.slot));
            let conn = self.slots.remove(id.slot());
            let was_peer = conn.stream.is_peer();
            closing(conn.stream);
            self.outbox.set_current(Current::Nobody);
            if let Some(connecting) = self.connecting.remove(id) {
                self.attempt_failed(id, &connecting, why);
            } else {
                if was_peer {
                    self.stats.count_closed(why);
                }
                self.protocol.on_close(id, why, &mut self.outbox);
            }
            self.after_callback();
        }
        if self.doomed.is_empty() {
            self.doomed = doomed;
        }
        if self.slots.is_empty() {
            self.timers.cancel(TimerKey::Search);
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
        let Some(conn) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let id = ConnId {
            slot,
            generation: conn.generation,
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

/// The connection that an id names, unless it is gone or as good as gone.
fn live<S>(slots: &mut Slab<Conn<S>>, id: ConnId) -> Option<&mut Conn<S>> {
    let conn = slots.get_mut(id.slot())?;
    (conn.generation == id.generation && !conn.state.contains(State::DOOMED)).then_some(conn)
}

#[cfg(test)]
mod returning;
#[cfg(test)]
mod simulation;
