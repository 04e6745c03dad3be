//! Streams of lines to a server that answers nothing.
//!
//! A stream is fed a chunk of lines at a time. If the kernel refuses some of it, the reactor tells
//! when there is room again, and the stream is fed then. If the kernel refuses nothing, no event
//! follows, so the worker wakes itself for the next turn: the other streams have their turn first,
//! and a stream never rests. To feed all takes longer than from one tick of a plan to the next, so a
//! tick wakes the worker for the next turn too: were it acted upon at once, there would be another
//! tick to read afterwards, and the turn would not end as long as the load is behind its plan.
//!
//! The server has read everything when it ends the stream after the load has.

use std::mem;

use edgeloop_reactor::{Closed, Data, Limits, Outbox};

use super::clock::Nanos;
use super::pace::Turn;
use super::plan::Plan;
use super::tally::Mismatch;
use super::worker::{Load, Worker};

/// Bytes that a stream is fed at a time: enough to be worth a system call, and little enough to stay
/// in the processor's cache.
const CHUNK: usize = 64 * 1024;

/// The load.
#[derive(Debug)]
pub(super) struct Sink {
    /// The open connections, by their places.
    streams: Vec<Option<Stream>>,
    /// Places of streams that were fed and, as far as is known, refused nothing.
    hungry: Vec<u32>,
    /// The bytes that a stream is fed: whole lines.
    chunk: Vec<u8>,
}

/// One connection.
#[derive(Debug, Default)]
struct Stream {
    turn: Turn,
    /// Lines that it was fed last and do not count yet: the kernel may not have taken them.
    fed: u64,
    /// The kernel has refused some of these.
    is_refused: bool,
    /// It is in the list of the hungry.
    is_hungry: bool,
}

impl Sink {
    fn stream(&mut self, place: u32) -> Option<&mut Stream> {
        self.streams[place as usize].as_mut()
    }

    /// Notes that a stream is fed a chunk, or as much as the plan has for it. Returns the bytes.
    fn take_portion(&mut self, place: u32, now: Nanos, worker: &Worker) -> usize {
        let size = worker.plan().size;
        let most = (self.chunk.len() / size) as u64;
        let Some(stream) = self.stream(place).filter(|_| worker.is_sending()) else {
            return 0;
        };
        stream.fed = worker.to_send(stream.turn, most);
        for _ in 0..stream.fed {
            worker.turns.take(&mut stream.turn, now);
        }
        stream.fed as usize * size
    }

    fn feed(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let portion = self.take_portion(place, now, worker);
        if let Some(id) = worker.connections.at(place) {
            out.send(id, &self.chunk[..portion]);
        }
        if !worker.turns.is_closed_loop() {
            // Lines sent in time count, and the next ones are sent at the next tick.
            self.count_fed(place, now, worker);
        } else if let Some(stream) = self.stream(place).filter(|_| portion > 0)
            && !mem::replace(&mut stream.is_hungry, true)
        {
            self.hungry.push(place);
            worker.wake();
        }
    }

    /// The lines that a stream was fed count from now on.
    fn count_fed(&mut self, place: u32, now: Nanos, worker: &mut Worker) {
        if let Some(stream) = self.stream(place) {
            worker.taken(mem::take(&mut stream.fed), now);
        }
    }

    /// Feeds those streams again that refused nothing; the others are fed when there is room.
    fn feed_hungry(&mut self, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        let mut hungry = mem::take(&mut self.hungry);
        hungry.retain(|&place| self.is_fed_again(place, now, worker));
        if !hungry.is_empty() {
            // All get the same chunk, which is stored once.
            let ids = hungry
                .iter()
                .filter_map(|&place| worker.connections.at(place));
            out.broadcast(ids, &self.chunk);
            worker.wake();
        }
        self.hungry = hungry;
    }

    /// Whether a hungry stream gets another chunk; otherwise it is hungry no more.
    fn is_fed_again(&mut self, place: u32, now: Nanos, worker: &mut Worker) -> bool {
        if self.stream(place).is_some_and(|it| !it.is_refused) {
            self.count_fed(place, now, worker);
            if self.take_portion(place, now, worker) > 0 {
                return true;
            }
        }
        if let Some(stream) = self.stream(place) {
            stream.is_hungry = false;
        }
        false
    }
}

impl Load for Sink {
    const SERVER_ENDS: bool = true;

    fn new(worker: &Worker) -> Sink {
        let size = worker.plan().size;
        Sink {
            streams: (0..worker.share()).map(|_| None).collect(),
            hungry: Vec::new(),
            chunk: chunk(size, CHUNK.div_ceil(size)),
        }
    }

    /// The load is to hear whenever the kernel takes no more, and when it does again.
    fn limits(_: &Plan, limits: Limits) -> Limits {
        Limits {
            high_water: 0,
            ..limits
        }
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        let streams = (0..).zip(&mut self.streams);
        streams.filter_map(|(place, stream)| Some((place, &mut stream.as_mut()?.turn)))
    }

    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let has_room = |stream: &mut Stream| stream.fed == 0 && !stream.is_refused;
        if self.stream(place).is_some_and(has_room) {
            self.feed(place, now, worker, out);
        }
    }

    fn on_tick(&mut self, worker: &mut Worker, _: &mut Outbox) {
        worker.wake();
    }

    /// The lines that the kernel refused are still to be sent.
    fn is_settled(&self, _: &Worker) -> bool {
        !self
            .streams
            .iter()
            .flatten()
            .any(|stream| stream.is_refused)
    }

    /// Ends all streams after the lines that are still to be sent.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox) {
        worker
            .connections
            .iter()
            .for_each(|(id, _)| out.half_close(id));
    }

    fn on_open(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        self.streams[place as usize] = Some(Stream::default());
        worker.opening_ended(None, out);
    }

    fn on_high_water(&mut self, place: u32) {
        if let Some(stream) = self.stream(place) {
            stream.is_refused = true;
        }
    }

    fn on_low_water(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        if let Some(stream) = self.stream(place) {
            stream.is_refused = false;
        }
        let now = worker.now(out);
        self.count_fed(place, now, worker);
        self.feed(place, now, worker, out);
    }

    fn on_data(&mut self, place: u32, data: Data<'_>, worker: &mut Worker, out: &mut Outbox) {
        worker.received(data.len(), worker.now(out));
        worker.reject(place, Mismatch::Unasked, out);
    }

    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, _: &mut Outbox) {
        self.streams[place as usize] = None;
        worker.closed(why);
    }

    fn on_wake(&mut self, worker: &mut Worker, out: &mut Outbox) {
        match worker.turns.is_closed_loop() {
            true => self.feed_hungry(worker, out),
            false => self.send_due(worker, out),
        }
    }
}

/// Lines of `size` bytes.
fn chunk(size: usize, lines: usize) -> Vec<u8> {
    let mut chunk = vec![b'\n'; size * lines];
    for (number, line) in chunk.chunks_exact_mut(size).enumerate() {
        Plan::question(0, number as u64).write(0, &mut line[..size - 1]);
    }
    chunk
}

#[cfg(test)]
mod tests;
