//! Streams to a server that answers each message, as it is or in capitals.
//!
//! A reply that was checked is of no more use, so the next message is written over it and sent from
//! where it lies: to ask costs as little as to answer.

use edgeloop_reactor::{Closed, Data, Outbox};

use super::clock::Nanos;
use super::flow::{Flow, Flows};
use super::pace::Turn;
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::web::Spoken;
use super::worker::{Load, Worker};

/// Distance from the message that is due at which a mismatch is looked for among its neighbours.
const NEIGHBOURS: u64 = 64;

/// The load.
#[derive(Debug)]
pub(super) struct Echo {
    flows: Flows,
    /// The open connections, by their places.
    talks: Vec<Option<Talk>>,
}

/// One connection.
#[derive(Debug)]
struct Talk {
    number: u32,
    flow: Flow,
    /// Bytes of the next reply that are here.
    received: usize,
    /// Bytes of the message that is arriving, over WebSocket.
    message: usize,
}

impl Echo {
    /// Checks bytes that have arrived. Returns the number of replies that they complete.
    fn check(&mut self, place: u32, mut data: &[u8], plan: &Plan) -> Result<u64, Mismatch> {
        let Some(talk) = &mut self.talks[place as usize] else {
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
                let is = |number, sequence| plan.answer(number, sequence).is(offset, piece);
                return Err(self.recognise(number, due, is));
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

    /// Checks a part of a message, which is to be one reply.
    fn check_part(
        &mut self,
        place: u32,
        part: &[u8],
        is_last: bool,
        plan: &Plan,
    ) -> Result<u64, Mismatch> {
        let count = self.check(place, part, plan)?;
        let Some(talk) = &mut self.talks[place as usize] else {
            return Ok(0);
        };
        talk.message += part.len();
        if talk.message > plan.size || is_last && talk.message < plan.size {
            return Err(Mismatch::Garbled);
        }
        if is_last {
            talk.message = 0;
        }
        Ok(count)
    }

    /// Classifies bytes that came in place of the reply that is due. `is` compares them with the reply
    /// to a message, by number of the connection and of the message.
    fn recognise(&self, number: u32, due: u64, is: impl Fn(u32, u64) -> bool) -> Mismatch {
        let under_way_elsewhere = |talk: &Talk| {
            let mut under_way = talk.flow.answered()..=talk.flow.sent();
            under_way.any(|sequence| is(talk.number, sequence))
        };
        if (due.saturating_sub(NEIGHBOURS)..due).any(|sequence| is(number, sequence)) {
            Mismatch::Repeated
        } else if (due + 1..due + NEIGHBOURS).any(|sequence| is(number, sequence)) {
            Mismatch::Skipped
        } else if self.talks.iter().flatten().any(under_way_elsewhere) {
            Mismatch::Foreign
        } else {
            Mismatch::Garbled
        }
    }

    /// `count` replies on a connection are complete.
    fn take_answers(&mut self, place: u32, count: u64, now: Nanos, worker: &mut Worker) {
        if let Some(talk) = &mut self.talks[place as usize] {
            for _ in 0..count {
                if let Some(sent) = self.flows.answer(&mut talk.flow) {
                    worker.answered(sent, now);
                }
            }
        }
    }

    /// Sends the next messages in the place of the received bytes, if they are just as many.
    fn send_in_place(
        &mut self,
        place: u32,
        mut data: Data<'_>,
        now: Nanos,
        worker: &mut Worker,
        out: &mut Outbox,
    ) {
        let size = worker.plan().size;
        let Some(talk) = &mut self.talks[place as usize] else {
            return;
        };
        let count = worker.to_send(talk.flow.turn, self.flows.room(&talk.flow));
        if count * size as u64 != data.len() as u64 {
            return self.send(place, now, worker, out);
        }
        for message in data.chunks_exact_mut(size) {
            let (sequence, _) = self.flows.send(&mut talk.flow, &worker.turns, now);
            Plan::question(talk.number, sequence).write(0, message);
        }
        out.send_back(data);
    }
}

impl Load for Echo {
    const SERVER_ENDS: bool = true;

    fn new(worker: &Worker) -> Echo {
        Echo {
            flows: Flows::new(worker.share(), worker.plan().depth),
            talks: (0..worker.share()).map(|_| None).collect(),
        }
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        let talks = (0..).zip(&mut self.talks);
        talks.filter_map(|(place, talk)| Some((place, &mut talk.as_mut()?.flow.turn)))
    }

    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let Some(talk) = &mut self.talks[place as usize] else {
            return;
        };
        for _ in 0..worker.to_send(talk.flow.turn, self.flows.room(&talk.flow)) {
            let (sequence, _) = self.flows.send(&mut talk.flow, &worker.turns, now);
            worker.ask(place, sequence, out);
        }
    }

    fn is_settled(&self, _: &Worker) -> bool {
        self.flows.are_settled()
    }

    /// Ends all streams. One on which a reply is missing is aborted.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox) {
        for (place, talk) in (0..).zip(&self.talks) {
            match (worker.connections.at(place), talk) {
                (Some(id), Some(talk)) if talk.flow.under_way() == 0 => worker.end(id, out),
                (Some(id), Some(talk)) => {
                    worker.problem(Problem::NoAnswer, talk.flow.under_way());
                    out.abort(id);
                }
                _ => {}
            }
        }
    }

    fn on_open(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        self.talks[place as usize] = Some(Talk {
            number: worker.number(place),
            flow: Flow::new(place),
            received: 0,
            message: 0,
        });
        worker.opening_ended(None, out);
    }

    fn on_data(&mut self, place: u32, data: Data<'_>, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        match self.check(place, &data, worker.plan()) {
            Ok(count) => {
                self.take_answers(place, count, now, worker);
                self.send_in_place(place, data, now, worker, out);
            }
            Err(mismatch) => worker.reject(place, mismatch, out),
        }
    }

    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, _: &mut Outbox) {
        if let Some(talk) = self.talks[place as usize].take() {
            self.flows.forget(&talk.flow);
        }
        worker.closed(why);
    }
}

impl Spoken for Echo {
    fn on_part(
        &mut self,
        place: u32,
        part: &[u8],
        is_last: bool,
        worker: &mut Worker,
        out: &mut Outbox,
    ) {
        let now = worker.now(out);
        match self.check_part(place, part, is_last, worker.plan()) {
            Ok(count) => {
                self.take_answers(place, count, now, worker);
                self.send(place, now, worker, out);
            }
            Err(mismatch) => worker.reject(place, mismatch, out),
        }
    }

    fn on_lost(&mut self, place: u32, problem: Problem, worker: &mut Worker, out: &mut Outbox) {
        match self.talks[place as usize].take() {
            Some(talk) => {
                self.flows.forget(&talk.flow);
                worker.lost(problem);
            }
            None => worker.opening_ended(Some(problem), out),
        }
    }
}

#[cfg(test)]
mod tests;
