//! The actions of clients, each at its time.

use super::World;
use super::client::{Client, End};
use super::conn::{Conn, Family};
use super::objects::Object;
use super::words::MS;
use crate::plan::{Door, Fault, Reader, Step};

/// Time after which a client tries to connect again whose handshake was dropped.
const RETRY_NS: u64 = 1_000 * MS;
/// Time between two reads of a client that reads all there is.
const LATENCY_NS: u64 = 10_000;
/// A client may act so much before its time within a turn of the server.
const EARLY_NS: u64 = 50 * MS;
/// Time after which the kernel gives up bytes that are not acknowledged (tcp(7), `tcp_retries2`).
const RETRANSMISSION_NS: u64 = 924_000 * MS;
/// Datagrams that fit into the receive buffer.
const LETTERS_MAX: usize = 24;

/// The next action of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Connect,
    Read,
    Write,
    Step,
}

impl World {
    /// The time of the next thing that happens by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        let clients = (0..self.clients.len()).filter_map(|index| self.due(index));
        let clients = clients.map(|(at, _)| at).min();
        let signal = self.signals.front().map(|(at, _)| *at);
        let vanished = self.vanished.iter().map(|(at, _)| *at).min();
        let room = self.objects.iter().filter_map(|object| match object {
            Object::Udp(udp) => udp.room_at_ns,
            _ => None,
        });
        let answer = self.next_answer();
        let others = [
            Some(self.stage_ends()),
            signal,
            vanished,
            room.min(),
            answer,
        ];
        others.into_iter().chain([clients]).flatten().min()
    }

    /// All that is due happens, in the order of its times.
    pub(super) fn act_on_all_due(&mut self) {
        while self.failure.is_none() {
            let due = (0..self.clients.len()).filter_map(|index| {
                let (at, act) = self.due(index)?;
                Some((at, index, act))
            });
            match due.min_by_key(|(at, index, _)| (*at, *index)) {
                Some((at, index, act)) if at <= self.now => self.act(index, act),
                _ => break,
            }
        }
        while self.signals.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, signal)) = self.signals.pop_front() {
                self.count(Fault::Signal);
                match signal {
                    libc::SIGTERM | libc::SIGINT => self.stop_server(signal),
                    signal => self.send_signal(signal),
                }
            }
        }
        self.answer_calls();
        self.give_up_vanished();
        self.give_room_to_datagrams();
        if self.stage_ends() <= self.now {
            self.go_to_next_stage("it is time");
        }
    }

    /// A client acts between two calls of the server, now and then, a little before its time.
    pub(super) fn act_within_turn(&mut self) {
        if !self.is_running || !self.draw(Fault::MidTurn) {
            return;
        }
        let soon = self.now + EARLY_NS;
        let due = (0..self.clients.len()).filter_map(|index| {
            let (at, act) = self.due(index)?;
            (at <= soon).then_some((index, act))
        });
        let due: Vec<(usize, Act)> = due.collect();
        if !due.is_empty() {
            let (index, act) = due[self.below(due.len())];
            self.act(index, act);
        }
    }

    fn conn(&self, index: usize) -> Option<&Conn> {
        match &self.objects[self.clients[index].conn?] {
            Object::Conn(conn) => Some(conn),
            _ => None,
        }
    }

    fn conn_mut(&mut self, index: usize) -> Option<(usize, &mut Conn)> {
        let object = self.clients[index].conn?;
        match &mut self.objects[object] {
            Object::Conn(conn) => Some((object, conn)),
            _ => None,
        }
    }

    /// The next action of a client, and its time.
    fn due(&self, index: usize) -> Option<(u64, Act)> {
        let client = &self.clients[index];
        if client.end.is_some() {
            return None;
        }
        let has_steps = client.step < client.plan.steps.len();
        let step = has_steps.then_some((client.step_ns, Act::Step));
        let Some(conn) = self.conn(index) else {
            return match client.plan.door {
                Door::Udp => step,
                Door::Tcp | Door::Unix => Some((client.step_ns, Act::Connect)),
                Door::Stdin | Door::Stdout | Door::Called(..) => None,
            };
        };
        let has_news = !conn.out.is_empty() || conn.end_for_client().is_some();
        let reads = client.reader != Reader::Stopped && has_news;
        let read = reads.then_some((client.read_ns, Act::Read));
        let can_push = conn.inbound.len() < conn.room_in || conn.closed || conn.dead;
        let writes = match client.outgoing.is_empty() {
            true => client.fin_follows,
            false => can_push,
        };
        let write = writes.then_some((client.write_ns, Act::Write));
        let step = step.filter(|_| client.outgoing.is_empty() && !client.fin_follows);
        let acts = [read, write, step].into_iter().flatten();
        acts.min_by_key(|(at, _)| *at)
    }

    fn act(&mut self, index: usize, act: Act) {
        match act {
            Act::Connect => self.connect(index),
            Act::Read => self.read(index),
            Act::Write => self.write(index),
            Act::Step => self.step(index),
        }
    }

    fn connect(&mut self, index: usize) {
        let family = match self.clients[index].plan.door {
            Door::Unix => Family::Unix,
            _ => Family::Tcp,
        };
        let found = self
            .objects
            .iter()
            .enumerate()
            .find_map(|(object, it)| match it {
                Object::Listener(it) if it.family == family && self.is_open(object) => Some(object),
                _ => None,
            });
        let (room_in, room_out) = (self.knobs.room_in, self.knobs.room_out);
        let mut conn = Conn::new(family, index, room_in, room_out);
        conn.heard_ns = self.now;
        let (next, now) = (self.objects.len(), self.now);
        let Some(object) = found else {
            let client = &mut self.clients[index];
            (client.end, client.end_ns) = (Some(End::Refused), now);
            return client.excuse("no listener");
        };
        let Object::Listener(listener) = &mut self.objects[object] else {
            return;
        };
        if listener.queue.len() >= listener.backlog {
            self.count(Fault::Backlog);
            self.clients[index].step_ns = now + RETRY_NS;
            return;
        }
        listener.queue.push_back(next);
        self.objects.push(Object::Conn(conn));
        let client = &mut self.clients[index];
        client.conn = Some(next);
        client.step_ns = now;
        self.note(|| format!("client {index} connects: object {next}"));
        self.raise(object, libc::EPOLLIN as u32);
    }

    pub(super) fn is_open(&self, object: usize) -> bool {
        self.table.contains(&Some(object))
    }

    fn read(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        let (most, pause) = match client.reader {
            Reader::Slow(most, ms) => (most.max(1), ms * MS),
            _ => (usize::MAX, LATENCY_NS),
        };
        client.read_ns = now + pause;
        let mut received = Vec::new();
        let Some((object, conn)) = self.conn_mut(index) else {
            return;
        };
        let mut bits = conn.pull(most, &mut received);
        conn.heard_ns = now;
        let end = conn.end_for_client();
        if end == Some(false) {
            // A client that hears the end closes its side.
            bits |= conn.close_by_client();
        }
        let count = received.len();
        let client = &mut self.clients[index];
        let text = Client::text_of(received, &mut client.command_in);
        client.received.extend(text);
        client.received_at.push((client.received.len(), now));
        if let Some(is_reset) = end {
            client.end = Some(if is_reset { End::Reset } else { End::Fin });
            client.end_ns = now;
            client.outgoing.clear();
            client.fin_follows = false;
        }
        self.note(|| format!("client {index} reads {count} bytes; end: {end:?}"));
        self.raise(object, bits);
    }

    fn write(&mut self, index: usize) {
        let most = 1 + self.below(self.knobs.piece);
        let gap_us = self.below(self.knobs.gap_us as usize + 1) as u64;
        let now = self.now;
        let Some(object) = self.clients[index].conn else {
            return;
        };
        let (Object::Conn(conn), client) = (&mut self.objects[object], &mut self.clients[index])
        else {
            return;
        };
        client.write_ns = now + gap_us * 1_000;
        if conn.closed || conn.dead {
            // The answer to these bytes is a reset.
            conn.reset_by_server |= !client.outgoing.is_empty();
            client.outgoing.clear();
            client.fin_follows = false;
            return;
        }
        let count = most.min(client.outgoing.len());
        let bytes = client.outgoing.iter().copied().take(count);
        let (pushed, mut bits) = conn.push(bytes);
        conn.heard_ns = now;
        let gone = client.outgoing.drain(..pushed);
        let text = Client::text_of(gone, &mut client.command_out);
        client.sent.extend(text);
        client.sent_at.push((client.sent.len(), now));
        let ends = client.outgoing.is_empty() && client.fin_follows;
        if ends {
            client.fin_follows = false;
            client.has_ended = true;
            bits |= conn.end();
        }
        self.note(|| format!("client {index} sends {pushed} bytes; FIN: {ends}"));
        self.raise(object, bits);
    }

    fn step(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        let step = client.plan.steps[client.step].clone();
        client.step += 1;
        client.step_ns = now;
        match step {
            Step::Wait(ms) => client.step_ns = now + ms * MS,
            Step::Send(text) if client.plan.door == Door::Udp => self.post_letter(index, text),
            Step::Send(text) => client.outgoing.extend(text.bytes()),
            Step::Flood(count) => {
                client
                    .outgoing
                    .extend((0..count).map(|at| (at % 251) as u8));
            }
            Step::Telnet(verb, option) => client.outgoing.extend([255, verb, option]),
            Step::Fin => client.fin_follows = !client.has_ended,
            Step::Read(reader) => {
                client.reader = reader;
                client.read_ns = now;
                if reader != Reader::Fast {
                    client.excuse("slow");
                }
                match reader {
                    Reader::Fast => {}
                    Reader::Slow(..) => self.count(Fault::Dripped),
                    Reader::Stopped => self.count(Fault::Stalled),
                }
            }
            Step::Urgent => self.send_urgent(index),
            Step::Close | Step::Rst | Step::Vanish => self.cut(index, &step),
        }
    }

    fn send_urgent(&mut self, index: usize) {
        if let Some((object, conn)) = self.conn_mut(index)
            && conn.family == Family::Tcp
            && !(conn.closed || conn.dead)
            && conn.inbound.len() < conn.room_in
        {
            let (_, bits) = conn.push([b'!'].into_iter());
            conn.urgent = true;
            self.clients[index].sent.push(b'!');
            let sent = self.clients[index].sent.len();
            self.clients[index].sent_at.push((sent, self.now));
            self.count(Fault::Urgent);
            self.raise(object, bits | libc::EPOLLPRI as u32);
        }
    }

    /// The client makes an end that is none.
    fn cut(&mut self, index: usize, step: &Step) {
        let now = self.now;
        let Some((object, conn)) = self.conn_mut(index) else {
            return;
        };
        let is_tcp = conn.family == Family::Tcp;
        let (bits, why) = match step {
            Step::Rst if is_tcp => {
                conn.deaf = true;
                (conn.reset(libc::ECONNRESET), "reset")
            }
            Step::Vanish if is_tcp => (0, "vanished"),
            _ => (conn.close_by_client(), "closed"),
        };
        let patience = match conn.out.is_empty() && conn.keepalive_ns > 0 {
            true => conn.keepalive_ns,
            false => RETRANSMISSION_NS,
        };
        match why {
            "reset" => self.count(Fault::Reset),
            "vanished" => {
                self.count(Fault::Vanished);
                self.vanished.push((now + patience, object));
            }
            _ => {}
        }
        let client = &mut self.clients[index];
        (client.end, client.end_ns) = (Some(End::Own), now);
        client.excuse(why);
        self.note(|| format!("client {index}: {why}"));
        self.raise(object, bits);
    }

    fn give_up_vanished(&mut self) {
        while let Some(place) = self.vanished.iter().position(|(at, _)| *at <= self.now) {
            let (_, object) = self.vanished.swap_remove(place);
            if let Object::Conn(conn) = &mut self.objects[object] {
                let bits = conn.reset(libc::ETIMEDOUT);
                self.raise(object, bits);
            }
        }
    }

    fn post_letter(&mut self, index: usize, text: String) {
        let found = self
            .objects
            .iter()
            .enumerate()
            .find_map(|(object, it)| match it {
                Object::Udp(_) if self.is_open(object) => Some(object),
                _ => None,
            });
        let Some(object) = found else {
            return;
        };
        let Object::Udp(udp) = &mut self.objects[object] else {
            return;
        };
        let bytes = text.into_bytes();
        if udp.inbound.len() == LETTERS_MAX {
            udp.dropped += 1;
            self.tally.datagrams_dropped += 1;
            self.count(Fault::Dropped);
            return;
        }
        udp.inbound.push_back((index, bytes.clone()));
        self.clients[index].letters_out.push(bytes);
        self.raise(object, libc::EPOLLIN as u32);
    }

    /// After the end of the server: clients read what is still on its way to them.
    pub(crate) fn read_what_is_left(&mut self) {
        for index in 0..self.clients.len() {
            let client = &self.clients[index];
            if client.end.is_none() && client.conn.is_some() {
                self.clients[index].reader = Reader::Fast;
                self.read(index);
            }
        }
    }

    fn give_room_to_datagrams(&mut self) {
        for object in 0..self.objects.len() {
            if let Object::Udp(udp) = &mut self.objects[object]
                && udp.room_at_ns.is_some_and(|at| at <= self.now)
            {
                udp.room_at_ns = None;
                self.raise(object, libc::EPOLLOUT as u32);
            }
        }
    }
}
