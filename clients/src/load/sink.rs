//! Streams of lines to a server that answers nothing.
//!
//! A stream is fed a chunk of lines at a time. If the kernel refuses some of it, the reactor tells
//! when there is room again, and the stream is fed then. If it refuses nothing, nobody tells
//! anything, so we wake ourselves for the next turn: the others have their turn first, and a stream
//! never rests. To feed all takes longer than from one tick of a plan to the next, so a tick wakes
//! us for the next turn too: were it acted upon at once, there would be another one to read
//! afterwards, and the turn would not end as long as somebody is behind.
//!
//! That the server has read everything is known when it ends the stream after we have.

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Opened, Outbox, Protocol};

use super::clock::Nanos;
use super::pace::{Pace, TICKS};
use super::phase::{Load, Phase};
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::turns::{Turn, Turns};
use super::worker::Worker;

/// What a stream is fed at a time, in bytes: enough that a system call has its worth, and little
/// enough to stay in the processor's cache.
const CHUNK: usize = 64 * 1024;

/// The protocol.
#[derive(Debug)]
pub(super) struct Sink {
    worker: Worker,
    turns: Turns,
    streams: ConnMap<Stream>,
    /// The connections by their places.
    ids: Vec<Option<ConnId>>,
    /// Streams that were fed and, as far as is known, refused nothing.
    hungry: Vec<ConnId>,
    /// What a stream is fed: whole lines.
    chunk: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
struct Stream {
    place: u32,
    turn: Turn,
    /// Lines that it was fed last and do not count yet: the kernel may not have taken them.
    fed: u64,
    /// The kernel has refused some of these.
    is_refused: bool,
    /// It is in the list of the hungry.
    is_hungry: bool,
}

impl Sink {
    pub(super) fn new(worker: Worker, pace: Option<Pace>) -> Sink {
        let plan = worker.plan();
        let count = plan.share(worker.index());
        Sink {
            turns: Turns::new(count, pace),
            streams: ConnMap::new(),
            ids: vec![None; count as usize],
            hungry: Vec::new(),
            chunk: chunk(plan.size, CHUNK.div_ceil(plan.size)),
            worker,
        }
    }

    /// Notes that a stream is fed a chunk, or what the plan has for it: so many bytes.
    fn take_portion(&mut self, id: ConnId, now: Nanos) -> usize {
        let size = self.worker.plan().size;
        let most = (self.chunk.len() / size) as u64;
        let is_sending = self.worker.is_sending();
        let Some(stream) = self.streams.get_mut(id).filter(|_| is_sending) else {
            return 0;
        };
        stream.fed = self.turns.to_send(stream.turn, most);
        for _ in 0..stream.fed {
            self.turns.take(&mut stream.turn, now);
        }
        stream.fed as usize * size
    }

    fn feed(&mut self, id: ConnId, now: Nanos, out: &mut Outbox) {
        let portion = self.take_portion(id, now);
        out.send(id, &self.chunk[..portion]);
        if !self.turns.is_closed_loop() {
            // What is sent in time counts, and the next tick is the time of what comes next.
            self.count_fed(id, now);
        } else if let Some(stream) = self.streams.get_mut(id).filter(|_| portion > 0)
            && !std::mem::replace(&mut stream.is_hungry, true)
        {
            self.hungry.push(id);
            self.worker.wake();
        }
    }

    /// What a stream was fed counts from now on.
    fn count_fed(&mut self, id: ConnId, now: Nanos) {
        if let Some(stream) = self.streams.get_mut(id) {
            self.worker.taken(std::mem::take(&mut stream.fed), now);
        }
    }

    /// Feeds those again who were refused nothing; the others are fed when there is room.
    fn feed_hungry(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        let mut hungry = std::mem::take(&mut self.hungry);
        hungry.retain(|&id| self.is_fed_again(id, now));
        if !hungry.is_empty() {
            // All get the same, which is stored once.
            out.broadcast(hungry.iter().copied(), &self.chunk);
            self.worker.wake();
        }
        self.hungry = hungry;
    }

    /// Whether a hungry stream gets another chunk; otherwise it is hungry no more.
    fn is_fed_again(&mut self, id: ConnId, now: Nanos) -> bool {
        if self.streams.get(id).is_some_and(|it| !it.is_refused) {
            self.count_fed(id, now);
            if self.take_portion(id, now) > 0 {
                return true;
            }
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.is_hungry = false;
        }
        false
    }

    fn look_whether_settled(&self) {
        let is_settled = || self.streams.iter().all(|(_, stream)| !stream.is_refused);
        if self.worker.phase() == Phase::Settling && is_settled() {
            self.worker.reached_goal();
        }
    }
}

impl Load for Sink {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn worker_mut(&mut self) -> &mut Worker {
        &mut self.worker
    }

    fn start(&mut self, out: &mut Outbox) {
        self.worker.open_connections(out);
    }

    fn begin(&mut self, from: Nanos) {
        self.turns.begin(from);
        for id in self.ids.iter().flatten() {
            if let Some(stream) = self.streams.get_mut(*id) {
                self.turns.take_part(stream.place, &mut stream.turn);
            }
        }
    }

    fn send_due(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for place in self.turns.due(now) {
            let stream = self.ids[place].and_then(|id| Some((id, self.streams.get(id)?)));
            if let Some((id, stream)) = stream
                && stream.fed == 0
                && !stream.is_refused
            {
                self.feed(id, now, out);
            }
        }
    }

    /// No more is fed. What the kernel refused is still to be sent.
    fn settle(&mut self, _: &mut Outbox) {
        for (_, stream) in self.streams.iter() {
            self.worker.not_sent(self.turns.behind(stream.turn));
        }
        self.look_whether_settled();
    }

    /// Ends all streams after what is still to be sent.
    fn end(&mut self, out: &mut Outbox) {
        self.streams.iter().for_each(|(id, _)| out.half_close(id));
        if self.streams.is_empty() {
            self.worker.reached_goal();
        }
    }

    /// Whoever has not read to the end by now is not waited for.
    fn stop(&mut self, out: &mut Outbox) {
        let missing = self.streams.len() as u64;
        self.worker.problem(Problem::NoEnd, missing);
        self.streams.iter().for_each(|(id, _)| out.abort(id));
        out.stop();
    }
}

impl Protocol for Sink {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == TICKS {
            return self.turns.listen_to(id);
        }
        if self.worker.phase() > Phase::Connecting {
            return out.abort(id);
        }
        let stream = Stream {
            place: opened.tag,
            turn: Turn::default(),
            fed: 0,
            is_refused: false,
            is_hungry: false,
        };
        self.streams.insert(id, stream);
        self.ids[opened.tag as usize] = Some(id);
        self.worker.opening_ended(None, out);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, out: &mut Outbox) {
        self.worker.connect_failed(place, why, out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.worker.go_on_opening(out);
    }

    fn on_high_water(&mut self, id: ConnId, _: &mut Outbox) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.is_refused = true;
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.is_refused = false;
        }
        let now = self.worker.now(out);
        self.count_fed(id, now);
        self.feed(id, now, out);
        self.look_whether_settled();
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.turns.is_tick(id) {
            return self.worker.wake();
        }
        self.worker.received(data.len(), self.worker.now(out));
        self.worker.mismatch(Mismatch::Unasked, 1);
        out.abort(id);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, _: &mut Outbox) {
        let Some(stream) = self.streams.remove(id) else {
            return;
        };
        self.ids[stream.place as usize] = None;
        self.worker.closed(why);
        self.look_whether_settled();
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        match self.turns.is_closed_loop() {
            true => self.feed_hungry(out),
            false => self.send_due(out),
        }
        self.follow(out);
    }
}

/// So many lines of `size` bytes.
fn chunk(size: usize, lines: usize) -> Vec<u8> {
    let mut chunk = vec![b'\n'; size * lines];
    for (number, line) in chunk.chunks_exact_mut(size).enumerate() {
        Plan::question(0, number as u64).write(0, &mut line[..size - 1]);
    }
    chunk
}

#[cfg(test)]
mod tests;
