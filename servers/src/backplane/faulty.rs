//! A log with faults, in memory, for simulations.
//!
//! [`Engine`] plays the database, [`Faulty`] the connections of one server to it. Everything follows
//! from a seed and from the clock that the caller moves:
//!
//! - each batch and each read takes a random time;
//! - connections are lost: a batch under way was executed, is never executed, or is executed after the
//!   server has connected again and looked for it, so that the log has it twice;
//! - the log is trimmed behind a reader, loses its last entries, or is restarted empty, with a clock that
//!   has stepped back ([`Engine::trim`], [`Engine::lose`], [`Engine::restart_empty`],
//!   [`Engine::set_clock`]).
//!
//! How appends and reads recover is the code of the Redis client: `outgoing.rs`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::Outbox;

use super::entry::{Body, Entry, Origin, Position, Stamp};
use super::log::{Beat, Health, Log, Read, Record};
use super::outgoing::Outgoing;
use super::presence::INTERVAL;
use super::random::Random;

/// Time between two looks at the database, in milliseconds, at the least.
const LOOK: u64 = 20;
/// Heartbeats that the log keeps.
const BEATS_MAX: usize = 100;

/// The database. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Engine(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// Its clock, in milliseconds since 1970.
    millis: u64,
    log: VecDeque<Record>,
    /// The largest id so far.
    last: Position,
    beats: VecDeque<(Position, Beat)>,
    last_beat: Position,
    /// Number of restarts, each of which cuts all connections.
    restarts: usize,
    /// Batches whose connections are lost, and the times at which they are executed.
    late: Vec<(u64, Vec<Arc<[u8]>>)>,
}

impl Engine {
    /// Moves the clock.
    pub fn advance(&self, time: Duration) {
        let mut state = self.0.borrow_mut();
        state.millis += time.as_millis() as u64;
        let now = state.millis;
        let late = std::mem::take(&mut state.late).into_iter();
        let (due, late) = late.partition(|(at, _)| *at <= now);
        state.late = late;
        let due: Vec<(u64, Vec<Arc<[u8]>>)> = due;
        due.into_iter().for_each(|(_, batch)| state.append(batch));
    }

    /// Drops all but the last entries.
    pub fn trim(&self, keep: usize) {
        let mut state = self.0.borrow_mut();
        let passed = state.log.len().saturating_sub(keep);
        state.log.drain(..passed);
    }

    /// The engine crashes, and loses so many of its last entries.
    pub fn lose(&self, count: usize) {
        let mut state = self.0.borrow_mut();
        let left = state.log.len().saturating_sub(count);
        state.log.truncate(left);
        state.last = state.log.back().map(|record| record.at).unwrap_or_default();
        state.restart();
    }

    /// The engine crashes, and has nothing when it is back.
    pub fn restart_empty(&self) {
        let mut state = self.0.borrow_mut();
        state.log.clear();
        state.beats.clear();
        (state.last, state.last_beat) = (Position::START, Position::START);
        state.restart();
    }

    /// The clock steps, in milliseconds since 1970.
    pub fn set_clock(&self, millis: u64) {
        self.0.borrow_mut().millis = millis;
    }

    /// The clock, in milliseconds since 1970.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.0.borrow().millis
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().log.len()
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> Vec<Record> {
        self.0.borrow().log.iter().cloned().collect()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn restart(&mut self) {
        self.restarts += 1;
        self.late.clear();
    }

    fn append(&mut self, batch: Vec<Arc<[u8]>>) {
        for bytes in batch {
            self.last = self.last.next(Duration::from_millis(self.millis));
            let at = self.last;
            self.log.push_back(Record { at, bytes });
        }
    }

    fn beat(&mut self, origin: Origin) {
        let at = self.last_beat.next(Duration::from_millis(self.millis));
        self.last_beat = at;
        let millis = at.millis;
        self.beats.push_back((at, Beat { origin, millis }));
        if self.beats.len() > BEATS_MAX {
            self.beats.pop_front();
        }
    }

    /// The first entry of an empty log.
    fn begin(&mut self, origin: Origin) {
        if self.last == Position::START {
            let bytes = Entry::encode(Stamp { origin, seq: 0 }, &Body::Reset).into();
            self.last = Position::GENESIS;
            let at = self.last;
            self.log.push_back(Record { at, bytes });
        }
    }
}

/// The log of one server.
#[derive(Debug)]
pub struct Faulty {
    engine: Engine,
    random: Random,
    outgoing: Outgoing,
    /// One in so many steps loses the connection; 0: none does.
    losses: u64,
    /// Longest time that a batch or a read takes, in milliseconds.
    delay: u64,
    /// Own clock, in milliseconds: that of the engine may step.
    now: u64,
    link: Link,
    /// The last entry that was read.
    at: Position,
    last: Option<Record>,
    beat_at: Position,
    has_caught_up: bool,
    /// Nothing was read since a gap.
    is_anew: bool,
    incoming: VecDeque<Read>,
    reconnects: usize,
    /// The time since which there is no connection, if there is none.
    down_since: Option<u64>,
}

#[derive(Debug)]
enum Link {
    /// There is no connection until this time.
    Down(u64),
    Up(Up),
}

#[derive(Debug)]
struct Up {
    restarts: usize,
    batch: Option<Batch>,
    /// The end of the log when the connection was made.
    end: Position,
    reads_at: u64,
    beats_at: u64,
}

/// A batch under way.
#[derive(Debug)]
struct Batch {
    executed_at: u64,
    acknowledged_at: u64,
    /// The place of its last entry, once it is executed.
    at: Position,
    /// Empty once it is executed.
    entries: Vec<Arc<[u8]>>,
}

impl Faulty {
    /// The log of a server that has read nothing, with faults that follow from a seed. One in `losses`
    /// calls of [`Faulty::step`] loses the connection (0: none does); batches and reads take up to
    /// `delay`.
    #[must_use]
    pub fn new(engine: &Engine, origin: Origin, seed: u64, losses: u64, delay: Duration) -> Faulty {
        Faulty {
            engine: engine.clone(),
            random: Random::new(seed),
            outgoing: Outgoing::new(origin),
            losses,
            delay: delay.as_millis() as u64,
            now: 0,
            link: Link::Down(0),
            at: Position::START,
            last: None,
            beat_at: Position::START,
            has_caught_up: false,
            is_anew: false,
            incoming: VecDeque::new(),
            reconnects: 0,
            down_since: None,
        }
    }

    /// No connection is lost from now on.
    pub fn heal(&mut self) {
        self.losses = 0;
    }

    /// Number of entries that were not read back.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.outgoing.len()
    }

    /// Number of connections so far.
    #[must_use]
    pub fn reconnects(&self) -> usize {
        self.reconnects
    }

    /// The connection is lost, and comes back after a time.
    pub fn cut(&mut self, time: Duration) {
        let until = self.now + time.as_millis() as u64;
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down(until)) {
            self.lose(up);
        }
    }

    /// Time passes, and whatever is due happens.
    pub fn step(&mut self, time: Duration) {
        self.now += time.as_millis() as u64;
        self.outgoing.note_time(Duration::from_millis(self.now));
        self.look();
        self.down_since = match self.link {
            Link::Down(_) => self.down_since.or(Some(self.now)),
            Link::Up(_) => None,
        };
    }

    /// The time of the next step that can change something, in milliseconds.
    fn due(&self) -> u64 {
        let due = match &self.link {
            Link::Down(until) => *until,
            Link::Up(up) => {
                let batch = up.batch.iter();
                let batch = batch.flat_map(|batch| [batch.executed_at, batch.acknowledged_at]);
                // Deadlines that are past were met.
                let later = batch.filter(|at| *at > self.now);
                later.fold(up.reads_at.min(up.beats_at), u64::min)
            }
        };
        due.max(self.now + LOOK)
    }

    fn look(&mut self) {
        let engine = Rc::clone(&self.engine.0);
        let state = &mut *engine.borrow_mut();
        match std::mem::replace(&mut self.link, Link::Down(0)) {
            Link::Down(until) if self.now < until => self.link = Link::Down(until),
            Link::Down(_) => self.link = Link::Up(self.connect(state)),
            Link::Up(up) if up.restarts != state.restarts => {
                // A batch under way is lost with the engine, or was executed before.
                self.outgoing.lost();
                self.link = Link::Down(self.now + self.random.below(1000));
            }
            Link::Up(up) if self.losses > 0 && self.random.one_in(self.losses) => {
                self.link = Link::Down(self.now + self.random.below(3000));
                self.lose_in(up, state);
            }
            Link::Up(mut up) => {
                self.write(&mut up, state);
                self.read(&mut up, state);
                self.link = Link::Up(up);
            }
        }
    }

    fn connect(&mut self, state: &mut State) -> Up {
        self.reconnects += 1;
        self.look_for_last(state, false);
        state.begin(self.outgoing.origin());
        Up {
            restarts: state.restarts,
            batch: None,
            end: state.last,
            reads_at: self.now,
            beats_at: self.now,
        }
    }

    /// Notes a gap if the entry that was read last is not there. A reader that is not behind begins at the
    /// start of the log then.
    fn look_for_last(&mut self, state: &State, is_behind: bool) {
        let find = |at| {
            state
                .log
                .binary_search_by_key(&at, |record: &Record| record.at)
        };
        // Another entry may have the id of one that was lost.
        let is_there = |last: &Record| find(last.at).is_ok_and(|at| state.log[at] == *last);
        if self.last.as_ref().is_some_and(|last| !is_there(last)) {
            self.last = None;
            self.incoming.push_back(Read::Gap);
            self.outgoing.gap();
            self.is_anew = true;
            self.has_caught_up = false;
            if !is_behind {
                (self.at, self.beat_at) = (Position::START, Position::START);
            }
        }
    }

    fn lose(&mut self, up: Up) {
        let engine = Rc::clone(&self.engine.0);
        self.lose_in(up, &mut engine.borrow_mut());
    }

    /// A connection is lost: a batch under way is executed now, later or never.
    fn lose_in(&mut self, up: Up, state: &mut State) {
        self.outgoing.lost();
        let batch = up.batch.filter(|_| up.restarts == state.restarts);
        let Some(Batch { entries: batch, .. }) = batch else {
            return;
        };
        match self.random.below(3) {
            0 => state.append(batch),
            1 => {
                let at = state.millis + self.random.below(4000);
                state.late.push((at, batch));
            }
            _ => {}
        }
    }

    fn write(&mut self, up: &mut Up, state: &mut State) {
        if self.now >= up.beats_at {
            state.beat(self.outgoing.origin());
            up.beats_at = self.now + INTERVAL.as_millis() as u64;
        }
        if let Some(batch) = &mut up.batch {
            if batch.executed_at <= self.now && !batch.entries.is_empty() {
                state.append(std::mem::take(&mut batch.entries));
                batch.at = state.last;
            }
            if batch.acknowledged_at <= self.now {
                self.outgoing.acknowledged(batch.at);
                up.batch = None;
            }
        }
        if self.outgoing.is_doubtful() && self.at >= up.end {
            self.outgoing.settled();
        }
        if up.batch.is_none() && self.outgoing.is_ready() {
            let executed_at = self.now + self.random.below(self.delay + 1);
            up.batch = Some(Batch {
                executed_at,
                acknowledged_at: executed_at + self.random.below(self.delay + 1),
                at: Position::START,
                entries: self.outgoing.send().map(Arc::from).collect(),
            });
        }
    }

    fn read(&mut self, up: &mut Up, state: &State) {
        if self.now < up.reads_at {
            return;
        }
        up.reads_at = self.now + self.random.below(self.delay + 1);
        self.look_for_last(state, !self.has_caught_up);
        let from = state.log.partition_point(|record| record.at <= self.at);
        let count = 1 + self.random.below(20) as usize;
        let new = state.log.range(from..).take(count);
        for record in new {
            self.at = record.at;
            self.last = Some(record.clone());
            let stamp = record.entry().map(|entry| entry.stamp);
            let mut unread = match std::mem::take(&mut self.is_anew) {
                true => self.outgoing.begins_at(record.at),
                false => Vec::new(),
            };
            if let Ok(stamp) = stamp {
                unread.extend(self.outgoing.read_back(stamp));
            }
            self.incoming.extend(unread.into_iter().map(Read::Unread));
            self.incoming.push_back(Read::Record(record.clone()));
        }
        let from_beat = state.beats.partition_point(|(at, _)| *at <= self.beat_at);
        for (at, beat) in state.beats.range(from_beat..) {
            self.beat_at = *at;
            self.incoming.push_back(Read::Beat(*beat));
        }
        // Entries up to that end may have been trimmed meanwhile.
        let is_at_end = self.at >= up.end || from + count >= state.log.len();
        if is_at_end {
            up.end = Position::START;
        }
        if is_at_end && !std::mem::replace(&mut self.has_caught_up, true) {
            self.incoming.push_back(Read::CaughtUp);
        }
    }
}

impl Log for Faulty {
    fn append<'a>(&mut self, body: Body<'a>, _now: Duration) -> Option<Entry<'a>> {
        self.outgoing.push(&body);
        None
    }

    fn next(&mut self) -> Option<Read> {
        self.incoming.pop_front()
    }

    fn go_on(&mut self, out: &mut Outbox) -> Option<Duration> {
        self.step(out.now().saturating_sub(Duration::from_millis(self.now)));
        Some(Duration::from_millis(self.due()))
    }

    fn health(&self) -> Health {
        let down = self.down_since.map(Duration::from_millis);
        let unread_since = self.outgoing.since();
        Health {
            is_full: self.outgoing.is_full(),
            paused_since: down.into_iter().chain(unread_since).min(),
            unread_since,
            pending: self.outgoing.len(),
            reconnects: self.reconnects as u64,
        }
    }
}
