//! Datagrams to a server that answers each one, as it is or in capitals.
//!
//! They may get lost, come twice or overtake one another, so an answer is compared with every
//! message that is under way. One that has not come in time counts as an error, and makes room for
//! the next message. As over streams, the next message is written over the answer and goes back
//! from where that lies.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Data, Datagram, Opened, Outbox, Protocol};

use super::clock::{Nanos, nanos};
use super::pace::{Pace, TICKS};
use super::phase::{Load, Phase};
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::turns::{Turn, Turns};
use super::worker::Worker;

/// How often it is looked whose answer is late.
const INTERVAL: Duration = Duration::from_millis(10);
/// How many messages back one is looked for that comes again, or too late.
const NEIGHBOURS: u64 = 64;

/// The protocol.
#[derive(Debug)]
pub(super) struct Datagrams {
    worker: Worker,
    turns: Turns,
    /// The server, as it is reached from each source.
    servers: Vec<SocketAddr>,
    /// The sockets, whose tags are their places.
    sockets: Vec<Socket>,
    /// Where messages are put together, kept for its memory.
    page: Vec<u8>,
}

/// One socket with one peer.
#[derive(Clone, Debug)]
struct Socket {
    number: u32,
    is_open: bool,
    turn: Turn,
    sent: u64,
    /// Messages that are not answered, the oldest first.
    under_way: VecDeque<Asked>,
}

/// A message under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    sequence: u64,
    /// When it was sent, or planned: since then it counts.
    time: Nanos,
    /// When it was sent: since then the server has had time to answer.
    sent: Nanos,
}

impl Datagrams {
    pub(super) fn new(worker: Worker, pace: Option<Pace>) -> Datagrams {
        let plan = worker.plan();
        let count = plan.share(worker.index());
        let socket = |place| Socket {
            number: plan.number(worker.index(), place),
            is_open: true,
            turn: Turn::default(),
            sent: 0,
            under_way: VecDeque::new(),
        };
        Datagrams {
            turns: Turns::new(count, pace),
            // They are resolved, so this asks nobody.
            servers: plan
                .ways
                .iter()
                .filter_map(|way| way.resolve().ok()?.into_iter().next())
                .collect(),
            sockets: (0..count).map(socket).collect(),
            page: vec![0; plan.size],
            worker,
        }
    }

    /// How many messages a socket is to send now.
    fn to_send(&self, socket: &Socket) -> u64 {
        if !socket.is_open || !self.worker.is_sending() {
            return 0;
        }
        let room = self.worker.plan().depth as usize - socket.under_way.len();
        self.turns.to_send(socket.turn, room as u64)
    }

    /// Notes the next message of a socket as sent, and writes it.
    fn write_next(&mut self, place: usize, now: Nanos, to: &mut [u8]) {
        let socket = &mut self.sockets[place];
        let sequence = socket.sent;
        socket.sent += 1;
        socket.under_way.push_back(Asked {
            sequence,
            time: self.turns.take(&mut socket.turn, now),
            sent: now,
        });
        Plan::question(socket.number, sequence).write(0, to);
    }

    fn send(&mut self, place: usize, now: Nanos, out: &mut Outbox) {
        let mut page = std::mem::take(&mut self.page);
        for _ in 0..self.to_send(&self.sockets[place]) {
            self.write_next(place, now, &mut page);
            let server = self.servers[self.sockets[place].number as usize % self.servers.len()];
            out.send_to(place as u32, server, &page);
        }
        self.page = page;
    }

    /// The time of the message that this answers; or what is wrong with it.
    fn check(&mut self, place: usize, data: &[u8]) -> Result<Nanos, Mismatch> {
        let plan = self.worker.plan();
        let socket = &mut self.sockets[place];
        let is =
            |number, sequence| data.len() == plan.size && plan.answer(number, sequence).is(0, data);
        let is_asked = |asked: &Asked| is(socket.number, asked.sequence);
        if let Some(at) = socket.under_way.iter().position(is_asked) {
            let asked = socket.under_way.remove(at);
            return asked.map(|asked| asked.time).ok_or(Mismatch::Unasked);
        }
        let mut before = socket.sent.saturating_sub(NEIGHBOURS)..socket.sent;
        if before.any(|sequence| is(socket.number, sequence)) {
            return Err(Mismatch::Repeated);
        }
        let is_foreign = |socket: &Socket| {
            let mut under_way = socket.under_way.iter();
            under_way.any(|asked| is(socket.number, asked.sequence))
        };
        match self.sockets.iter().any(is_foreign) {
            true => Err(Mismatch::Foreign),
            false => Err(Mismatch::Garbled),
        }
    }

    /// Sends what there is room for again.
    fn send_again(&mut self, now: Nanos, out: &mut Outbox) {
        (0..self.sockets.len()).for_each(|place| self.send(place, now, out));
    }

    /// Gives up messages that were not answered in time.
    fn give_up_late(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        let timeout = nanos(self.worker.plan().timeout);
        let mut late = 0;
        for socket in &mut self.sockets {
            let is_late = |asked: &Asked| now.saturating_sub(asked.sent) > timeout;
            while socket.under_way.front().is_some_and(is_late) {
                socket.under_way.pop_front();
                late += 1;
            }
        }
        if late > 0 {
            self.worker.problem(Problem::NoAnswer, late);
            self.send_again(now, out);
            self.look_whether_settled();
        }
    }

    fn look_whether_settled(&self) {
        let is_settled = || {
            self.sockets
                .iter()
                .all(|socket| socket.under_way.is_empty())
        };
        if self.worker.phase() == Phase::Settling && is_settled() {
            self.worker.reached_goal();
        }
    }
}

impl Load for Datagrams {
    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn worker_mut(&mut self) -> &mut Worker {
        &mut self.worker
    }

    fn start(&mut self, out: &mut Outbox) {
        for place in 0..self.sockets.len() {
            let number = self.sockets[place].number;
            out.connect(self.worker.plan().way(number).clone(), place as u32);
            self.worker.opened();
        }
        // In the turn after this one it is known which of them cannot be had.
        out.set_service_timer(Duration::ZERO);
    }

    fn begin(&mut self, from: Nanos) {
        self.turns.begin(from);
        for (place, socket) in self.sockets.iter_mut().enumerate() {
            self.turns.take_part(place as u32, &mut socket.turn);
        }
    }

    fn send_due(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        self.turns
            .due(now)
            .for_each(|place| self.send(place, now, out));
    }

    fn settle(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for socket in self.sockets.iter().filter(|socket| socket.is_open) {
            self.worker.behind(self.turns.behind(socket.turn), 1, now);
        }
        self.look_whether_settled();
    }

    /// There is nothing to end; who still owes an answer is not waited for.
    fn end(&mut self, _: &mut Outbox) {
        let under_way = self.sockets.iter().map(|socket| socket.under_way.len());
        let missing: usize = under_way.sum();
        self.worker.problem(Problem::NoAnswer, missing as u64);
        self.worker.reached_goal();
    }
}

impl Protocol for Datagrams {
    fn on_open(&mut self, id: ConnId, opened: Opened, _: &mut Outbox) {
        if opened.tag == TICKS {
            self.turns.listen_to(id);
        }
    }

    /// The ticks of the plan.
    fn on_data(&mut self, _: ConnId, _: Data<'_>, out: &mut Outbox) {
        self.send_due(out);
    }

    fn on_datagram(&mut self, mut datagram: Datagram<'_>, out: &mut Outbox) {
        let now = self.worker.now(out);
        let place = datagram.tag as usize;
        match self.check(place, &datagram.data) {
            Ok(sent) => self.worker.answered(sent, now),
            Err(mismatch) => return self.worker.mismatch(mismatch, 1),
        }
        match self.to_send(&self.sockets[place]) {
            0 => self.look_whether_settled(),
            1 => {
                self.write_next(place, now, &mut datagram.data);
                out.send_back(datagram.data);
            }
            _ => self.send(place, now, out),
        }
    }

    /// A socket could not be had, or nobody takes its datagrams.
    fn on_connect_error(&mut self, place: u32, why: Closed, _: &mut Outbox) {
        let socket = &mut self.sockets[place as usize];
        if !std::mem::replace(&mut socket.is_open, false) {
            return;
        }
        socket.under_way.clear();
        self.worker.problem(Problem::Refused(why), 1);
        self.worker.closed(Closed::Aborted);
        self.look_whether_settled();
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        match self.worker.phase() {
            Phase::Connecting => self.worker.reached_goal(),
            _ => self.give_up_late(out),
        }
        out.set_service_timer(INTERVAL);
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        self.follow(out);
    }
}

#[cfg(test)]
mod tests;
