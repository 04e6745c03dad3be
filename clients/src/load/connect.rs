//! Connections that are opened, exchange one message with an echo server, and are closed.
//!
//! A *lane* has one cycle after the other; there are as many lanes as connections may be under way.
//! The load ends the stream first, as clients do, and the cycle is over when the server has ended it
//! too. So the port stays in `TIME_WAIT` on the load's side (tcp(7)), and ports are what such a load
//! can run out of: Linux takes one again after a second, on the loopback device.

use std::time::Duration;

use edgeloop_reactor::{Closed, Data, Outbox};

use super::clock::Nanos;
use super::crew::Phase;
use super::pace::Turn;
use super::tally::{Mismatch, Problem};
use super::worker::{Load, QUEUE_FULL, Worker};

/// Time until a lane tries again that found the server's queue full.
const INTERVAL: Duration = Duration::from_millis(1);

/// The load.
#[derive(Debug)]
pub(super) struct Connect {
    /// All lanes are one sender: whichever is free takes the next turn.
    turn: Turn,
    lanes: Vec<Lane>,
    /// Places of lanes without a cycle.
    free: Vec<u32>,
    /// Places of lanes that found the server's queue full, and try again.
    waiting: Vec<u32>,
}

/// One cycle after the other.
#[derive(Clone, Debug)]
struct Lane {
    cycle: u64,
    /// The time at which the present cycle began, or was to begin.
    began: Nanos,
    /// Bytes of the reply that are here.
    received: usize,
    /// The lane's number of all lanes.
    number: u32,
}

impl Connect {
    fn begin_cycle(&mut self, place: u32, began: Nanos, worker: &Worker, out: &mut Outbox) {
        let lane = &mut self.lanes[place as usize];
        lane.began = began;
        lane.received = 0;
        self.open(place, worker, out);
    }

    fn open(&self, place: u32, worker: &Worker, out: &mut Outbox) {
        let lane = &self.lanes[place as usize];
        // A lane takes all sources in turn.
        let source = lane.number.wrapping_add(lane.cycle as u32);
        out.connect(worker.plan().way(source).clone(), place.into());
    }

    /// Checks a part of the reply. Returns whether the reply is complete.
    fn check(&mut self, place: u32, data: &[u8], worker: &Worker) -> Result<bool, Mismatch> {
        let plan = worker.plan();
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
}

impl Load for Connect {
    const OPENS_UNTIL: Phase = Phase::Settling;

    fn new(worker: &Worker) -> Connect {
        let count = worker.share();
        let lane = |place| Lane {
            cycle: 0,
            began: 0,
            received: 0,
            number: worker.number(place),
        };
        Connect {
            turn: Turn::default(),
            lanes: (0..count).map(lane).collect(),
            free: (0..count).rev().collect(),
            waiting: Vec::new(),
        }
    }

    /// No connection is open before it counts.
    fn start(&mut self, worker: &mut Worker, _: &mut Outbox) {
        self.lanes.iter().for_each(|_| worker.opened());
        worker.reached_goal();
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        [(0, &mut self.turn)].into_iter()
    }

    /// Begins as many cycles as there are free lanes, and turns.
    fn send(&mut self, _: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        for _ in 0..worker.to_send(self.turn, self.free.len() as u64) {
            if let Some(place) = self.free.pop() {
                let began = worker.turns.take(&mut self.turn, now);
                self.begin_cycle(place, began, worker, out);
            }
        }
    }

    fn is_settled(&self, worker: &Worker) -> bool {
        self.free.len() as u64 == worker.open()
    }

    /// Aborts the cycles in which a reply or the server's end is missing.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox) {
        let missing = worker.open() - self.free.len() as u64;
        worker.problem(Problem::NoAnswer, missing);
        worker.abort_all(out);
    }

    fn on_open(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        worker.ask(place, self.lanes[place as usize].cycle, out);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        match why {
            _ if worker.phase() >= Phase::Ending => {}
            QUEUE_FULL => {
                self.waiting.push(place);
                out.set_service_timer(INTERVAL);
            }
            why => give_up(Some(Problem::Connect(why)), worker),
        }
    }

    /// There may be room in the server's queue by now.
    fn on_service_timer(&mut self, worker: &mut Worker, out: &mut Outbox) {
        for place in std::mem::take(&mut self.waiting) {
            self.open(place, worker, out);
        }
    }

    fn on_data(&mut self, place: u32, data: Data<'_>, worker: &mut Worker, out: &mut Outbox) {
        match self.check(place, &data, worker) {
            Ok(true) => worker
                .connections
                .at(place)
                .iter()
                .for_each(|id| out.half_close(*id)),
            Ok(false) => {}
            Err(mismatch) => worker.reject(place, mismatch, out),
        }
    }

    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        let lane = &mut self.lanes[place as usize];
        match why {
            Closed::Eof if lane.received == worker.plan().size => {
                let now = worker.now(out);
                lane.cycle += 1;
                worker.answered(lane.began, now);
                self.free.push(place);
                self.send(0, now, worker, out);
            }
            // Why it was aborted is counted already.
            Closed::Aborted | Closed::Shutdown if worker.phase() >= Phase::Ending => {}
            Closed::Aborted => give_up(None, worker),
            why => give_up(Some(Problem::Closed(why)), worker),
        }
    }
}

/// A lane in which something went wrong begins no more cycles: they would only go wrong again.
fn give_up(problem: Option<Problem>, worker: &mut Worker) {
    if let Some(problem) = problem {
        worker.problem(problem, 1);
    }
    worker.closed(Closed::Aborted);
}

#[cfg(test)]
mod tests;
