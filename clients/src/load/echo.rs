//! Streams to a server that answers each message, as it is or in capitals.
//!
//! An answer that was checked is of no more use, so the next message is written over it and sent
//! back from where it lies: to ask costs as little as to answer.

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Opened, Outbox, Protocol};

use super::clock::Nanos;
use super::flow::{Flow, Flows};
use super::pace::{Pace, TICKS};
use super::phase::{Load, Phase};
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::worker::Worker;

/// Messages are put together in pieces of this size at the most, in bytes.
const PIECE: usize = 4096;
/// How far from the message that is due another one is looked for.
const NEIGHBOURS: u64 = 64;

/// The protocol.
#[derive(Debug)]
pub(super) struct Echo {
    worker: Worker,
    flows: Flows,
    talks: ConnMap<Talk>,
    /// The connections by their places.
    ids: Vec<Option<ConnId>>,
    /// Where messages are put together, kept for its memory.
    page: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
struct Talk {
    number: u32,
    flow: Flow,
    /// Bytes of the next answer that are here.
    received: usize,
}

impl Echo {
    pub(super) fn new(worker: Worker, pace: Option<Pace>) -> Echo {
        let plan = worker.plan();
        let count = plan.share(worker.index());
        Echo {
            flows: Flows::new(count, plan.depth, pace),
            talks: ConnMap::new(),
            ids: vec![None; count as usize],
            page: vec![0; PIECE.min(plan.size)],
            worker,
        }
    }

    /// Checks what has arrived. Tells how many answers are complete by it.
    fn check(&mut self, id: ConnId, mut data: &[u8]) -> Result<u64, Mismatch> {
        let plan = self.worker.plan();
        let Some(talk) = self.talks.get_mut(id) else {
            return Ok(0);
        };
        let mut due = talk.flow.answered();
        while !data.is_empty() {
            if due == talk.flow.sent() {
                return Err(Mismatch::Unasked);
            }
            let (piece, rest) = data.split_at(data.len().min(plan.size - talk.received));
            if !plan.answer(talk.number, due).is(talk.received, piece) {
                let (number, offset) = (talk.number, talk.received);
                return Err(self.recognise(number, due, offset, piece));
            }
            talk.received += piece.len();
            if talk.received == plan.size {
                talk.received = 0;
                due += 1;
            }
            data = rest;
        }
        Ok(due - talk.flow.answered())
    }

    /// What it is that came in place of a part of the answer that is due.
    fn recognise(&self, number: u32, due: u64, offset: usize, piece: &[u8]) -> Mismatch {
        let plan = self.worker.plan();
        let is = |number, sequence| plan.answer(number, sequence).is(offset, piece);
        let under_way_elsewhere = |talk: &Talk| {
            let mut under_way = talk.flow.answered()..=talk.flow.sent();
            under_way.any(|sequence| is(talk.number, sequence))
        };
        if (due.saturating_sub(NEIGHBOURS)..due).any(|sequence| is(number, sequence)) {
            Mismatch::Repeated
        } else if (due + 1..due + NEIGHBOURS).any(|sequence| is(number, sequence)) {
            Mismatch::Skipped
        } else if self.talks.iter().any(|(_, talk)| under_way_elsewhere(talk)) {
            Mismatch::Foreign
        } else {
            Mismatch::Garbled
        }
    }

    /// So many answers of a connection are complete.
    fn take_answers(&mut self, id: ConnId, count: u64, now: Nanos) {
        if let Some(talk) = self.talks.get_mut(id) {
            for _ in 0..count {
                if let Some(sent) = self.flows.answer(&mut talk.flow) {
                    self.worker.answered(sent, now);
                }
            }
        }
    }

    /// Sends as many messages on a connection as are to be sent.
    fn send(&mut self, id: ConnId, now: Nanos, out: &mut Outbox) {
        let size = self.worker.plan().size;
        let Some(talk) = self.talks.get_mut(id).filter(|_| self.worker.is_sending()) else {
            return;
        };
        for _ in 0..self.flows.to_send(&talk.flow) {
            let (sequence, _) = self.flows.send(&mut talk.flow, now);
            let text = Plan::question(talk.number, sequence);
            for offset in (0..size).step_by(PIECE) {
                let piece = &mut self.page[..PIECE.min(size - offset)];
                text.write(offset, piece);
                out.send(id, piece);
            }
        }
    }

    /// The same, in the place of what was received if these are just as many bytes.
    fn send_in_place(&mut self, id: ConnId, mut data: Data<'_>, now: Nanos, out: &mut Outbox) {
        let size = self.worker.plan().size;
        let Some(talk) = self.talks.get_mut(id).filter(|_| self.worker.is_sending()) else {
            return;
        };
        if self.flows.to_send(&talk.flow) * size as u64 != data.len() as u64 {
            return self.send(id, now, out);
        }
        for message in data.chunks_exact_mut(size) {
            let (sequence, _) = self.flows.send(&mut talk.flow, now);
            Plan::question(talk.number, sequence).write(0, message);
        }
        out.send_back(data);
    }

    fn look_whether_settled(&self) {
        if self.worker.phase() == Phase::Settling && self.flows.are_settled() {
            self.worker.reached_goal();
        }
    }
}

impl Load for Echo {
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
        self.flows.turns.begin(from);
        for id in self.ids.iter().flatten() {
            if let Some(talk) = self.talks.get_mut(*id) {
                self.flows.take_part(&mut talk.flow);
            }
        }
    }

    fn send_due(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for place in self.flows.turns.due(now) {
            if let Some(id) = self.ids[place] {
                self.send(id, now, out);
            }
        }
    }

    fn settle(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for (_, talk) in self.talks.iter() {
            self.worker.behind(self.flows.behind(&talk.flow), 1, now);
        }
        self.look_whether_settled();
    }

    /// Ends all streams. Who still owes an answer is not waited for.
    fn end(&mut self, out: &mut Outbox) {
        for (id, talk) in self.talks.iter() {
            match talk.flow.under_way() {
                0 => out.half_close(id),
                missing => {
                    self.worker.problem(Problem::NoAnswer, missing);
                    out.abort(id);
                }
            }
        }
        if self.talks.is_empty() {
            self.worker.reached_goal();
        }
    }

    /// Whoever has not ended by now is not waited for either.
    fn stop(&mut self, out: &mut Outbox) {
        self.worker.problem(Problem::NoEnd, self.talks.len() as u64);
        self.talks.iter().for_each(|(id, _)| out.abort(id));
        out.stop();
    }
}

impl Protocol for Echo {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == TICKS {
            return self.flows.turns.listen_to(id);
        }
        if self.worker.phase() > Phase::Connecting {
            return out.abort(id);
        }
        let place = opened.tag;
        let talk = Talk {
            number: self.worker.plan().number(self.worker.index(), place),
            flow: Flow::new(place),
            received: 0,
        };
        self.talks.insert(id, talk);
        self.ids[place as usize] = Some(id);
        self.worker.opening_ended(None, out);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, out: &mut Outbox) {
        self.worker.connect_failed(place, why, out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.worker.go_on_opening(out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.flows.turns.is_tick(id) {
            return self.send_due(out);
        }
        let now = self.worker.now(out);
        match self.check(id, &data) {
            Ok(count) => {
                self.take_answers(id, count, now);
                self.send_in_place(id, data, now, out);
                self.look_whether_settled();
            }
            // Where the next message begins is not known any more.
            Err(mismatch) => {
                self.worker.mismatch(mismatch, 1);
                out.abort(id);
            }
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, _: &mut Outbox) {
        let Some(talk) = self.talks.remove(id) else {
            return;
        };
        self.ids[talk.flow.place() as usize] = None;
        self.flows.forget(&talk.flow);
        self.worker.closed(why);
        self.look_whether_settled();
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.follow(out);
    }
}

#[cfg(test)]
mod tests;
