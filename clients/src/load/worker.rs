//! A worker: the state and the protocol that all kinds of load share.
//!
//! [`Driver`] is the protocol. It follows the phases, opens and closes connections and passes on
//! what is left to the kind, a [`Load`]. Both work on the [`Worker`]: its connections, its turns to
//! send, its counts.

use std::sync::Arc;

use edgeloop::web::frame::{Code, HEADER_MAX};
use edgeloop_reactor::{
    Closed, ConnId, Data, Datagram, Limits, Opened, Outbox, Protocol, SystemError,
};
use nix::errno::Errno;

use super::clock::Nanos;
use super::connections::{Connections, Opening};
use super::crew::{Counters, Crew, Phase};
use super::frames::Frames;
use super::pace::{Pace, TICKS, Turn, Turns};
use super::plan::Plan;
use super::tally::{Mismatch, Problem, Tally};

/// The error of connect(2) for a Unix socket whose queue is full. A connect over TCP waits for room.
pub(super) const QUEUE_FULL: Closed = Closed::Error(SystemError::new(Errno::EAGAIN as i32));
/// A message is put together in pieces of up to this size, in bytes.
pub(super) const PIECE: usize = 4096;

/// A kind of load. Its connections are known by their places.
///
/// The defaults are those of a load on streams that are opened before anything is sent. Methods whose
/// names begin with `on_` are those of [`Protocol`], but for `on_tick`.
pub(super) trait Load {
    /// The last phase in which connections are opened.
    const OPENS_UNTIL: Phase = Phase::Connecting;
    /// Whether the server is to end each stream once the load has ended it.
    const SERVER_ENDS: bool = false;

    fn new(worker: &Worker) -> Self;

    /// The limits of a worker's reactor, if this kind needs others than these.
    fn limits(_: &Plan, limits: Limits) -> Limits {
        limits
    }

    /// [`Phase::Connecting`] begins, the first.
    fn start(&mut self, worker: &mut Worker, out: &mut Outbox) {
        worker.open_connections(out);
    }

    /// The senders: place and turn of each.
    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)>;

    /// Sends the messages that the sender at this place has to send now.
    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox);

    /// Sends all messages that are due by now.
    fn send_due(&mut self, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        for place in worker.turns.due(now) {
            self.send(place, now, worker, out);
        }
    }

    /// The plan's timer ticks.
    fn on_tick(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.send_due(worker, out);
    }

    /// [`Phase::Warming`] or [`Phase::Measuring`] has begun, and the messages due are sent.
    fn begun(&mut self, _: &mut Worker, _: &mut Outbox) {}

    /// Whether no message is under way.
    fn is_settled(&self, worker: &Worker) -> bool;

    /// [`Phase::Ending`] begins. It is over when no connection is open.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox);

    fn on_open(&mut self, _place: u32, worker: &mut Worker, out: &mut Outbox) {
        worker.opening_ended(None, out);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        worker.connect_failed(place, why, out);
    }

    fn on_data(&mut self, place: u32, data: Data<'_>, worker: &mut Worker, out: &mut Outbox);

    /// A connection that was open is closed. Its place is free.
    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox);

    fn on_datagram(&mut self, _: Datagram<'_>, _: &mut Worker, _: &mut Outbox) {}

    fn on_timer(&mut self, _place: u32, _: &mut Worker, _: &mut Outbox) {}

    fn on_service_timer(&mut self, worker: &mut Worker, out: &mut Outbox) {
        worker.go_on_opening(out);
    }

    fn on_high_water(&mut self, _place: u32) {}

    fn on_low_water(&mut self, _place: u32, _: &mut Worker, _: &mut Outbox) {}

    /// The worker was woken. A change of the phase has not been noticed yet.
    fn on_wake(&mut self, _: &mut Worker, _: &mut Outbox) {}
}

/// The protocol of a worker, which drives one load through the phases.
#[derive(Debug)]
pub(super) struct Driver<L> {
    pub(super) worker: Worker,
    pub(super) load: L,
}

impl<L: Load> Driver<L> {
    pub(super) fn new(worker: Worker) -> Driver<L> {
        Driver {
            load: L::new(&worker),
            worker,
        }
    }

    pub(super) fn start(&mut self, out: &mut Outbox) {
        self.load.start(&mut self.worker, out);
    }

    /// Begins the next phase, if the conductor has set one.
    fn follow(&mut self, out: &mut Outbox) {
        let Driver { worker, load } = self;
        if worker.is_sending() && worker.crew.phase() >= Phase::Settling {
            // The news of the end may come before the last tick: messages due in time are still sent.
            load.send_due(worker, out);
        }
        let before = worker.phase();
        match worker.next_phase() {
            Some(Phase::Warming) => self.begin(self.worker.now(out), out),
            // From the true beginning on, however late this worker learns of it.
            Some(Phase::Measuring) => self.begin(self.worker.crew.window.from(), out),
            Some(Phase::Settling) => self.settle(out),
            Some(Phase::Ending) => load.end(worker, out),
            Some(Phase::Over) => self.stop(before, out),
            Some(Phase::Connecting) | None => {}
        }
    }

    /// Every sender takes part in the plan from this time on. Messages that were due before and are
    /// not sent are left out: a queue that has grown while warming up would be all that is measured.
    fn begin(&mut self, from: Nanos, out: &mut Outbox) {
        let Driver { worker, load } = self;
        worker.turns.begin(from);
        for (place, turn) in load.turns() {
            worker.turns.take_part(place, turn);
        }
        load.send_due(worker, out);
        load.begun(worker, out);
    }

    fn settle(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for (_, turn) in self.load.turns() {
            self.worker.behind(*turn, now);
        }
    }

    /// The run is over after this phase.
    fn stop(&mut self, phase: Phase, out: &mut Outbox) {
        if L::SERVER_ENDS && phase == Phase::Ending {
            let missing = self.worker.connections.count();
            self.worker.problem(Problem::NoEnd, missing);
        }
        self.worker.abort_all(out);
        out.stop();
    }

    /// Reports the goal of the phase, if it is reached.
    fn look_at_goal(&self) {
        let is_reached = match self.worker.phase {
            Phase::Settling => self.load.is_settled(&self.worker),
            Phase::Ending => self.worker.connections.count() == 0,
            _ => false,
        };
        if is_reached {
            self.worker.reached_goal();
        }
    }
}

impl<L: Load> Protocol for Driver<L> {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == TICKS {
            return self.worker.turns.listen_to(id);
        }
        if self.worker.phase > L::OPENS_UNTIL {
            return out.abort(id);
        }
        let place = opened.tag as u32;
        self.worker.connections.insert(id, place);
        self.load.on_open(place, &mut self.worker, out);
    }

    fn on_connect_error(&mut self, _: ConnId, place: u64, why: Closed, out: &mut Outbox) {
        let place = place as u32;
        self.load
            .on_connect_error(place, why, &mut self.worker, out);
        self.look_at_goal();
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.worker.turns.is_tick(id) {
            return self.load.on_tick(&mut self.worker, out);
        }
        if let Some(place) = self.worker.connections.place(id) {
            self.load.on_data(place, data, &mut self.worker, out);
            self.look_at_goal();
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if let Some(place) = self.worker.connections.remove(id) {
            self.load.on_close(place, why, &mut self.worker, out);
            self.look_at_goal();
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        self.load.on_datagram(datagram, &mut self.worker, out);
        self.look_at_goal();
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(place) = self.worker.connections.place(id) {
            self.load.on_timer(place, &mut self.worker, out);
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.load.on_service_timer(&mut self.worker, out);
        self.look_at_goal();
    }

    fn on_high_water(&mut self, id: ConnId, _: &mut Outbox) {
        if let Some(place) = self.worker.connections.place(id) {
            self.load.on_high_water(place);
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(place) = self.worker.connections.place(id) {
            self.load.on_low_water(place, &mut self.worker, out);
            self.look_at_goal();
        }
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.load.on_wake(&mut self.worker, out);
        self.follow(out);
        self.look_at_goal();
    }
}

/// The state that a worker has whatever the kind of load.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) crew: Arc<Crew>,
    index: u32,
    phase: Phase,
    opening: Opening,
    pub(super) connections: Connections,
    pub(super) turns: Turns,
    pub(super) tally: Tally,
    /// Of WebSockets: what frames are made with.
    pub(super) frames: Option<Frames>,
    /// Buffer for the pieces of a message, with room for the header of a frame before it.
    page: Vec<u8>,
}

impl Worker {
    /// Worker number `index`; in an open loop if there is a pace.
    pub(super) fn new(crew: Arc<Crew>, index: u32, pace: Option<Pace>) -> Worker {
        let plan = &crew.plan;
        Worker {
            opening: Opening::new(plan, index),
            connections: Connections::new(plan.share(index)),
            turns: Turns::new(plan.senders(index), pace),
            frames: plan.is_web().then(Frames::new),
            page: vec![0; HEADER_MAX + PIECE.min(plan.size)],
            crew,
            index,
            phase: Phase::Connecting,
            tally: Tally::default(),
        }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.crew.plan
    }

    /// This worker's part of the connections.
    pub(super) fn share(&self) -> u32 {
        self.plan().share(self.index)
    }

    /// The number, among those of all workers, of the connection at one of this worker's places.
    pub(super) fn number(&self, place: u32) -> u32 {
        self.plan().number(self.index, place)
    }

    pub(super) fn now(&self, out: &Outbox) -> Nanos {
        self.crew.clock.now(out)
    }

    /// Asks for `on_wake` in the next turn.
    pub(super) fn wake(&self) {
        self.crew.wake(self.index);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether messages are to be sent.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Warming | Phase::Measuring)
    }

    /// The number of messages that a sender with room for `room` has to send now.
    pub(super) fn to_send(&self, turn: Turn, room: u64) -> u64 {
        match self.is_sending() {
            true => self.turns.to_send(turn, room),
            false => 0,
        }
    }

    /// Sends the question with this number of its author, on the connection at a place.
    pub(super) fn ask(&mut self, place: u32, sequence: u64, out: &mut Outbox) {
        let Some(id) = self.connections.at(place) else {
            return;
        };
        let size = self.plan().size;
        let text = Plan::question(self.number(place), sequence);
        let (mut from, mut mask) = (HEADER_MAX, None);
        if let Some(frames) = &mut self.frames {
            let (header, of_text) = frames.text_header(size);
            from -= header.len();
            self.page[from..HEADER_MAX].copy_from_slice(header);
            mask = Some(of_text);
        }
        for offset in (0..size).step_by(PIECE) {
            let end = HEADER_MAX + PIECE.min(size - offset);
            let piece = &mut self.page[HEADER_MAX..end];
            text.write(offset, piece);
            mask.iter_mut().for_each(|mask| mask.apply(piece));
            out.send(id, &self.page[from..end]);
            from = HEADER_MAX;
        }
    }

    /// Sends a line, which ends with a newline, on the connection at a place. As a text message it goes
    /// without that.
    pub(super) fn send_line(&mut self, place: u32, line: &[u8], out: &mut Outbox) {
        let Some(id) = self.connections.at(place) else {
            return;
        };
        match (&mut self.frames, line.split_last()) {
            (Some(frames), Some((_, text))) => out.send(id, frames.text(text)),
            _ => out.send(id, line),
        }
    }

    /// Ends the load's side of a stream: with a close frame if it is a WebSocket.
    pub(super) fn end(&mut self, id: ConnId, out: &mut Outbox) {
        match &mut self.frames {
            Some(frames) => out.send(id, frames.close(Code::NORMAL)),
            None => out.half_close(id),
        }
    }

    /// Ends the load's side of all streams.
    pub(super) fn end_all(&mut self, out: &mut Outbox) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.end(id, out));
    }

    /// Gives up the connection at a place, of which the load hears no more.
    pub(super) fn forget(&mut self, place: u32, out: &mut Outbox) {
        if let Some(id) = self.connections.at(place) {
            self.connections.remove(id);
            out.abort(id);
        }
    }

    /// Counts a mismatch, and aborts the connection: where its next message begins is not known.
    pub(super) fn reject(&mut self, place: u32, mismatch: Mismatch, out: &mut Outbox) {
        self.mismatch(mismatch, 1);
        self.abort(place, out);
    }

    pub(super) fn abort(&self, place: u32, out: &mut Outbox) {
        self.connections
            .at(place)
            .iter()
            .for_each(|id| out.abort(*id));
    }

    pub(super) fn abort_all(&self, out: &mut Outbox) {
        self.connections.iter().for_each(|(id, _)| out.abort(id));
    }

    /// The next phase, if it has begun.
    fn next_phase(&mut self) -> Option<Phase> {
        let phase = self.crew.phase();
        if phase == self.phase {
            return None;
        }
        self.phase = phase;
        Some(phase)
    }

    /// The goal of this phase is reached.
    pub(super) fn reached_goal(&self) {
        self.crew.reached(self.index, self.phase);
    }

    /// Begins to open this worker's connections, whose tags are their places. The service timer is
    /// in use until all are open.
    pub(super) fn open_connections(&mut self, out: &mut Outbox) {
        let now = self.now(out);
        self.opening.start(&self.crew.plan, now, out);
    }

    /// Begins the connects that have fallen due; called by the service timer.
    pub(super) fn go_on_opening(&mut self, out: &mut Outbox) {
        let now = self.now(out);
        if self.phase == Phase::Connecting {
            self.opening.go_on(&self.crew.plan, now, out);
        }
    }

    /// A connect failed. Returns whether for good: it is tried again if the server's queue is full.
    pub(super) fn connect_failed(&mut self, place: u32, why: Closed, out: &mut Outbox) -> bool {
        let now = self.now(out);
        let is_full = why == QUEUE_FULL && self.phase == Phase::Connecting;
        let is_final = !is_full || !self.opening.try_again(place, &self.crew.plan, now, out);
        if is_final {
            self.opening_ended(Some(Problem::Connect(why)), out);
        }
        is_final
    }

    /// A connection takes part from now on, or never will, for this reason. The goal is reached
    /// when this is so of all.
    pub(super) fn opening_ended(&mut self, failed: Option<Problem>, out: &mut Outbox) {
        if self.phase != Phase::Connecting {
            return;
        }
        match failed {
            Some(problem) => self.problem(problem, 1),
            None => self.opened(),
        }
        self.opening.ended(self.now(out));
        self.go_on_opening(out);
        if self.opening.is_over() {
            self.reached_goal();
        }
    }

    /// A connection is open, and takes part.
    pub(super) fn opened(&mut self) {
        self.tally.connected += 1;
        self.counters().open.add(1);
    }

    /// Connections that are open, and take part.
    pub(super) fn open(&self) -> u64 {
        self.counters().open.get()
    }

    /// A connection that took part is closed. Before [`Phase::Ending`] that is a problem, unless
    /// this worker has aborted it: the reason for that is counted already.
    pub(super) fn closed(&mut self, why: Closed) {
        let expected = match why {
            Closed::Aborted | Closed::Shutdown => true,
            Closed::Eof | Closed::Finished => self.phase >= Phase::Ending,
            _ => false,
        };
        match expected {
            true => self.left(),
            false => self.lost(Problem::Closed(why)),
        }
    }

    /// A connection that took part is lost.
    pub(super) fn lost(&mut self, problem: Problem) {
        self.problem(problem, 1);
        self.left();
    }

    fn left(&self) {
        self.counters().open.set(self.open() - 1);
        if self.open() == 0 {
            // It may be pointless to go on.
            self.crew.ring();
        }
    }

    /// Whether a message counts that was sent, or planned, at that time.
    fn counts(&self, sent: Nanos) -> bool {
        self.crew.window.holds(sent)
    }

    /// A message that was sent, or planned, at that time is answered by as many bytes.
    pub(super) fn answered(&mut self, sent: Nanos, now: Nanos) {
        if self.took_place(sent) {
            self.tally.bytes_received += self.crew.plan.size as u64;
            self.latency(sent, now);
        }
    }

    /// A message took place whose latency is recorded elsewhere. Returns whether it counts.
    pub(super) fn took_place(&mut self, sent: Nanos) -> bool {
        self.taken(1, sent);
        self.counts(sent)
    }

    /// The kernel has taken lines at this time; their arrival is not known.
    pub(super) fn taken(&mut self, lines: u64, now: Nanos) {
        self.counters().answered.add(lines);
        if self.counts(now) {
            self.tally.messages += lines;
            self.tally.bytes_sent += lines * self.crew.plan.size as u64;
        }
    }

    /// A line of a chat has reached one member more.
    pub(super) fn delivered(&mut self, sent: Nanos, now: Nanos) {
        self.counters().delivered.add(1);
        if self.counts(sent) {
            self.tally.delivered += 1;
            self.latency(sent, now);
        }
    }

    /// Counts the messages that were due and that a sender has not sent until the end. Each counts
    /// with the time for which each of its listeners has waited so far.
    fn behind(&mut self, turn: Turn, now: Nanos) {
        let listeners = self.crew.plan.listeners();
        for planned in self.turns.behind(turn) {
            if !self.crew.window.holds(planned) {
                continue;
            }
            self.tally.behind += 1;
            if listeners > 0 {
                let waited = now.saturating_sub(planned);
                self.tally.latency.saturating_record_n(waited, listeners);
            }
        }
    }

    fn latency(&mut self, sent: Nanos, now: Nanos) {
        self.tally
            .latency
            .saturating_record(now.saturating_sub(sent));
    }

    /// Bytes have arrived, of a kind of load that does not count them by the message.
    pub(super) fn received(&mut self, bytes: usize, now: Nanos) {
        if self.counts(now) {
            self.tally.bytes_received += bytes as u64;
        }
    }

    pub(super) fn mismatch(&mut self, mismatch: Mismatch, count: u64) {
        *self.tally.mismatches.entry(mismatch).or_default() += count;
        self.counters().wrong.add(count);
    }

    pub(super) fn problem(&mut self, problem: Problem, count: u64) {
        self.tally.problem(problem, count);
        self.counters().wrong.add(count);
    }

    fn counters(&self) -> &Counters {
        self.crew.counters(self.index)
    }
}
