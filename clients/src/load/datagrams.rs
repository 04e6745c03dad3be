//! Datagrams to a server that answers each one, as it is or in capitals.
//!
//! They may get lost, come twice or overtake one another, so a reply is compared with every message
//! that is under way. One that has not come in time counts as an error, and makes room for the next
//! message. As over streams, the next message is written over the reply and goes back from where
//! that lies.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, Data, Datagram, Outbox};

use super::clock::{Nanos, nanos};
use super::crew::Phase;
use super::pace::{Turn, Turns};
use super::plan::Plan;
use super::tally::{Mismatch, Problem};
use super::worker::{Load, Worker};

/// Time between two looks for replies that are late.
const INTERVAL: Duration = Duration::from_millis(10);
/// Messages back to which a reply is compared that comes again, or too late.
const NEIGHBOURS: u64 = 64;

/// The load.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// The server, as it is reached from each source.
    servers: Vec<SocketAddr>,
    /// The sockets, whose tags are their places.
    sockets: Vec<Socket>,
    /// Buffer for one message.
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
    /// The time at which it was sent, or planned: the latency counts from there.
    time: Nanos,
    /// The time at which it was sent: the timeout counts from there.
    sent: Nanos,
}

impl Socket {
    /// The number of messages to send now.
    fn to_send(&self, worker: &Worker) -> u64 {
        let room = worker.plan().depth as usize - self.under_way.len();
        match self.is_open {
            true => worker.to_send(self.turn, room as u64),
            false => 0,
        }
    }

    /// Notes the next message as sent, and writes it.
    fn write_next(&mut self, turns: &Turns, now: Nanos, to: &mut [u8]) {
        let sequence = self.sent;
        self.sent += 1;
        self.under_way.push_back(Asked {
            sequence,
            time: turns.take(&mut self.turn, now),
            sent: now,
        });
        Plan::question(self.number, sequence).write(0, to);
    }
}

impl Datagrams {
    /// Returns the time of the message that this answers; or the mismatch.
    fn check(&mut self, place: u32, data: &[u8], plan: &Plan) -> Result<Nanos, Mismatch> {
        let socket = &mut self.sockets[place as usize];
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

    /// Gives up messages that were not answered in time, and sends others in their place.
    fn give_up_late(&mut self, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        let timeout = nanos(worker.plan().timeout);
        let mut late = 0;
        for socket in &mut self.sockets {
            let is_late = |asked: &Asked| now.saturating_sub(asked.sent) > timeout;
            while socket.under_way.front().is_some_and(is_late) {
                socket.under_way.pop_front();
                late += 1;
            }
        }
        if late > 0 {
            worker.problem(Problem::NoAnswer, late);
            (0..worker.share()).for_each(|place| self.send(place, now, worker, out));
        }
    }

    fn under_way(&self) -> u64 {
        let under_way = |socket: &Socket| socket.under_way.len() as u64;
        self.sockets.iter().map(under_way).sum()
    }
}

impl Load for Datagrams {
    fn new(worker: &Worker) -> Datagrams {
        let plan = worker.plan();
        let socket = |place| Socket {
            number: worker.number(place),
            is_open: true,
            turn: Turn::default(),
            sent: 0,
            under_way: VecDeque::new(),
        };
        Datagrams {
            // The ways are resolved, so this is no query of a name.
            servers: plan
                .ways
                .iter()
                .filter_map(|way| way.resolve().ok()?.into_iter().next())
                .collect(),
            sockets: (0..worker.share()).map(socket).collect(),
            page: vec![0; plan.size],
        }
    }

    fn start(&mut self, worker: &mut Worker, out: &mut Outbox) {
        for (place, socket) in (0..).zip(&self.sockets) {
            out.connect(worker.plan().way(socket.number).clone(), place);
            worker.opened();
        }
        // In the turn after this one it is known which sockets could not be opened.
        out.set_service_timer(Duration::ZERO);
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        let sockets = (0..).zip(&mut self.sockets);
        let open = sockets.filter(|(_, socket)| socket.is_open);
        open.map(|(place, socket)| (place, &mut socket.turn))
    }

    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let socket = &mut self.sockets[place as usize];
        let server = self.servers[socket.number as usize % self.servers.len()];
        for _ in 0..socket.to_send(worker) {
            socket.write_next(&worker.turns, now, &mut self.page);
            out.send_to(place.into(), server, &self.page);
        }
    }

    fn is_settled(&self, _: &Worker) -> bool {
        self.under_way() == 0
    }

    /// There is nothing to end, and missing replies are not waited for.
    fn end(&mut self, worker: &mut Worker, _: &mut Outbox) {
        worker.problem(Problem::NoAnswer, self.under_way());
    }

    /// A socket could not be opened, or the server's port is closed (ICMP).
    fn on_connect_error(&mut self, place: u32, why: Closed, worker: &mut Worker, _: &mut Outbox) {
        let socket = &mut self.sockets[place as usize];
        if !std::mem::replace(&mut socket.is_open, false) {
            return;
        }
        socket.under_way.clear();
        worker.problem(Problem::Refused(why), 1);
        worker.closed(Closed::Aborted);
    }

    fn on_datagram(&mut self, mut datagram: Datagram<'_>, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        let place = datagram.tag as u32;
        match self.check(place, &datagram.data, worker.plan()) {
            Ok(sent) => worker.answered(sent, now),
            Err(mismatch) => return worker.mismatch(mismatch, 1),
        }
        let socket = &mut self.sockets[place as usize];
        if socket.to_send(worker) == 1 {
            socket.write_next(&worker.turns, now, &mut datagram.data);
            out.send_back(datagram.data);
        } else {
            self.send(place, now, worker, out);
        }
    }

    fn on_service_timer(&mut self, worker: &mut Worker, out: &mut Outbox) {
        match worker.phase() {
            Phase::Connecting => worker.reached_goal(),
            _ => self.give_up_late(worker, out),
        }
        out.set_service_timer(INTERVAL);
    }

    /// There are no streams.
    fn on_data(&mut self, _: u32, _: Data<'_>, _: &mut Worker, _: &mut Outbox) {}

    fn on_close(&mut self, _: u32, _: Closed, _: &mut Worker, _: &mut Outbox) {}
}

#[cfg(test)]
mod tests;
