//! Connections that are opened, exchange one message with an echo server, and are closed.
//!
//! A *lane* does one after the other; there are as many lanes as connections may be under way. We
//! end the stream first, as clients do, and the cycle is over when the server has ended it too. So
//! the port stays in `TIME_WAIT` on our side (tcp(7)), and ports are what such a load can run out
//! of: Linux takes one again after a second, on the loopback device.

use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Opened, Outbox, Protocol};

use super::clock::Nanos;
use super::pace::{Pace, TICKS};
use super::phase::{Load, Phase};
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::turns::{Turn, Turns};
use super::worker::{QUEUE_FULL, Worker};

/// How soon a lane tries again that found the server's queue full.
const INTERVAL: Duration = Duration::from_millis(1);
/// Messages are put together in pieces of this size at the most, in bytes.
const PIECE: usize = 4096;

/// The protocol.
#[derive(Debug)]
pub(super) struct Connect {
    worker: Worker,
    /// All lanes have them together: whichever is free takes the next.
    turns: Turns,
    turn: Turn,
    lanes: Vec<Lane>,
    /// Lanes with nothing to do.
    free: Vec<u32>,
    /// Lanes that found the server's queue full, and try again.
    waiting: Vec<u32>,
    /// Which lane a connection belongs to.
    lane_of: ConnMap<u32>,
    /// Where messages are put together, kept for its memory.
    page: Vec<u8>,
}

/// One cycle after the other.
#[derive(Clone, Debug)]
struct Lane {
    cycle: u64,
    /// When the present cycle began, or was to begin.
    began: Nanos,
    /// Bytes of the answer that are here.
    received: usize,
    /// The lane's number of all lanes.
    number: u32,
}

impl Connect {
    pub(super) fn new(worker: Worker, pace: Option<Pace>) -> Connect {
        let plan = worker.plan();
        let count = plan.share(worker.index());
        let lane = |place| Lane {
            cycle: 0,
            began: 0,
            received: 0,
            number: plan.number(worker.index(), place),
        };
        Connect {
            turns: Turns::new(1, pace),
            turn: Turn::default(),
            lanes: (0..count).map(lane).collect(),
            free: (0..count).rev().collect(),
            waiting: Vec::new(),
            lane_of: ConnMap::new(),
            page: vec![0; PIECE.min(plan.size)],
            worker,
        }
    }

    /// Begins as many cycles as there are free lanes, and turns.
    fn begin_cycles(&mut self, now: Nanos, out: &mut Outbox) {
        if !self.worker.is_sending() {
            return;
        }
        for _ in 0..self.turns.to_send(self.turn, self.free.len() as u64) {
            if let Some(place) = self.free.pop() {
                let began = self.turns.take(&mut self.turn, now);
                self.begin_cycle(place, began, out);
            }
        }
    }

    fn begin_cycle(&mut self, place: u32, began: Nanos, out: &mut Outbox) {
        let lane = &mut self.lanes[place as usize];
        lane.began = began;
        lane.received = 0;
        self.open(place, out);
    }

    fn open(&self, place: u32, out: &mut Outbox) {
        let plan = self.worker.plan();
        let lane = &self.lanes[place as usize];
        // A lane takes all sources in turn.
        let source = lane.number.wrapping_add(lane.cycle as u32);
        out.connect(plan.way(source).clone(), place);
    }

    fn ask(&mut self, id: ConnId, place: u32, out: &mut Outbox) {
        let size = self.worker.plan().size;
        let lane = &self.lanes[place as usize];
        let text = Plan::question(lane.number, lane.cycle);
        for offset in (0..size).step_by(PIECE) {
            let piece = &mut self.page[..PIECE.min(size - offset)];
            text.write(offset, piece);
            out.send(id, piece);
        }
    }

    /// Checks a part of the answer. Tells whether it is complete.
    fn check(&mut self, place: u32, data: &[u8]) -> Result<bool, Mismatch> {
        let plan = self.worker.plan();
        let lane = &mut self.lanes[place as usize];
        if lane.received + data.len() > plan.size {
            return Err(Mismatch::Unasked);
        }
        let is = |lane: &Lane, cycle, offset| plan.answer(lane.number, cycle).is(offset, data);
        let offset = lane.received;
        if is(lane, lane.cycle, offset) {
            lane.received += data.len();
            return Ok(lane.received == plan.size);
        }
        let before = lane.cycle.wrapping_sub(1);
        if is(lane, before, offset) {
            return Err(Mismatch::Repeated);
        }
        match self.lanes.iter().any(|lane| is(lane, lane.cycle, offset)) {
            true => Err(Mismatch::Foreign),
            false => Err(Mismatch::Garbled),
        }
    }

    /// A lane in which something went wrong is given up: it would only go wrong again.
    fn give_up(&mut self, problem: Option<Problem>) {
        if let Some(problem) = problem {
            self.worker.problem(problem, 1);
        }
        self.worker.closed(Closed::Aborted);
        self.look_whether_settled();
    }

    fn look_whether_settled(&self) {
        let is_settled = self.free.len() as u64 == self.worker.open();
        if self.worker.phase() == Phase::Settling && is_settled {
            self.worker.reached_goal();
        }
    }
}

impl Load for Connect {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn worker_mut(&mut self) -> &mut Worker {
        &mut self.worker
    }

    /// Nothing is open before it counts.
    fn start(&mut self, _: &mut Outbox) {
        self.lanes.iter().for_each(|_| self.worker.opened());
        self.worker.reached_goal();
    }

    fn begin(&mut self, from: Nanos) {
        self.turns.begin(from);
        self.turns.take_part(0, &mut self.turn);
    }

    fn send_due(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        if self.turns.due(now).next().is_some() {
            self.begin_cycles(now, out);
        }
    }

    fn settle(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        self.worker.behind(self.turns.behind(self.turn), 1, now);
        self.look_whether_settled();
    }

    /// Whoever owes an answer or an end is not waited for.
    fn end(&mut self, out: &mut Outbox) {
        let missing = self.worker.open() - self.free.len() as u64;
        self.worker.problem(Problem::NoAnswer, missing);
        self.lane_of.iter().for_each(|(id, _)| out.abort(id));
        self.worker.reached_goal();
    }
}

impl Protocol for Connect {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == TICKS {
            return self.turns.listen_to(id);
        }
        if self.worker.phase() >= Phase::Ending {
            return out.abort(id);
        }
        self.lane_of.insert(id, opened.tag);
        self.ask(id, opened.tag, out);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, out: &mut Outbox) {
        match why {
            _ if self.worker.phase() >= Phase::Ending => {}
            QUEUE_FULL => {
                self.waiting.push(place);
                out.set_service_timer(INTERVAL);
            }
            why => self.give_up(Some(Problem::Connect(why))),
        }
    }

    /// There may be room in the server's queue by now.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        for place in std::mem::take(&mut self.waiting) {
            self.open(place, out);
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.turns.is_tick(id) {
            return self.send_due(out);
        }
        let Some(&place) = self.lane_of.get(id) else {
            return;
        };
        match self.check(place, &data) {
            Ok(true) => out.half_close(id),
            Ok(false) => {}
            Err(mismatch) => {
                self.worker.mismatch(mismatch, 1);
                out.abort(id);
            }
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        let Some(place) = self.lane_of.remove(id) else {
            return;
        };
        let is_complete = self.lanes[place as usize].received == self.worker.plan().size;
        match why {
            Closed::Eof if is_complete => {
                let now = self.worker.now(out);
                let lane = &mut self.lanes[place as usize];
                lane.cycle += 1;
                self.worker.answered(lane.began, now);
                self.free.push(place);
                self.begin_cycles(now, out);
                self.look_whether_settled();
            }
            // Why it was aborted was told before.
            Closed::Aborted | Closed::Shutdown if self.worker.phase() >= Phase::Ending => {}
            Closed::Aborted => self.give_up(None),
            why => self.give_up(Some(Problem::Closed(why))),
        }
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.follow(out);
    }
}

#[cfg(test)]
mod tests;
