//! A chat, of whose members some talk: every line must reach everybody else once and in order.
//!
//! | file | subject |
//! |---|---|
//! | `chat.rs` | connections: the prompt, the name, lines to and fro |
//! | `speech.rs` | what is in a line: whose it is, which one, when it was sent |
//! | `hearing.rs` | who has heard what, as far as it is this worker's affair |
//! | `ledger.rs` | which lines everybody has heard, for all workers |
//! | `probe.rs` | whether the server holds the talkers back |
//!
//! The server is a chat of the Budget kind (<https://protohackers.com/problem/3>): it asks for a
//! name, tells who is there, and then each line goes to the others with its author in brackets.

mod hearing;
mod ledger;
mod probe;
pub(super) mod speech;

use edgeloop::harmless::harmless;
use edgeloop::line::LineAssembler;
use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Opened, Outbox, Protocol};

use self::hearing::{Hearing, Verdict};
pub(super) use self::ledger::Ledger;
use self::probe::Probe;

use self::speech::{Heard, Said, Speech};
use super::clock::Nanos;
use super::flow::{Flow, Flows};
use super::pace::{Pace, TICKS};
use super::phase::{Load, Phase};
use super::tally::{Mismatch, Problem};
use super::worker::Worker;

/// The protocol.
#[derive(Debug)]
pub(super) struct Chat {
    worker: Worker,
    flows: Flows,
    members: ConnMap<Member>,
    /// Those of this worker's members who talk, by their places.
    talkers: Vec<Talker>,
    hearing: Hearing,
    speech: Speech,
    probe: Probe,
    /// Where a line is put together, kept for its memory.
    page: Vec<u8>,
}

#[derive(Debug)]
struct Member {
    place: u32,
    stage: Stage,
    lines: LineAssembler,
}

/// Bytes of the server's answer that are told when it does not let a member in.
const ANSWER_MAX: usize = 100;

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The server will ask for a name.
    Asked,
    /// The name is given; the server will tell who is there.
    Named,
    /// From now on it hears the others.
    Joined,
}

#[derive(Debug)]
struct Talker {
    id: Option<ConnId>,
    flow: Flow,
}

impl Chat {
    pub(super) fn new(worker: Worker, pace: Option<Pace>) -> Chat {
        let plan = worker.plan();
        let talkers = plan.talking_share(worker.index());
        let talker = |place| Talker {
            id: None,
            flow: Flow::new(place),
        };
        Chat {
            flows: Flows::new(talkers, plan.depth, pace),
            members: ConnMap::new(),
            talkers: (0..talkers).map(talker).collect(),
            hearing: Hearing::new(plan, worker.index()),
            speech: Speech::new(std::process::id(), plan.size),
            probe: Probe::new(plan, worker.index()),
            page: Vec::new(),
            worker,
        }
    }

    /// The number of the member at one of this worker's places.
    fn number(&self, place: u32) -> u32 {
        self.worker.plan().number(self.worker.index(), place)
    }

    fn take_line(&mut self, id: ConnId, text: &[u8], now: Nanos, out: &mut Outbox) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let place = member.place;
        match member.stage {
            Stage::Asked => {
                member.stage = Stage::Named;
                self.page.clear();
                let number = self.number(place);
                self.speech.name(number, &mut self.page);
                self.page.push(b'\n');
                out.send(id, &self.page);
            }
            Stage::Named if text.starts_with(b"*") => {
                member.stage = Stage::Joined;
                self.join(id, place, out);
            }
            Stage::Named => {
                let answer = harmless(&text[..text.len().min(ANSWER_MAX)]);
                self.fail_to_join(id, Problem::NotJoined(answer), out);
            }
            Stage::Joined => self.hear(place, text, now),
        }
    }

    fn join(&mut self, id: ConnId, place: u32, out: &mut Outbox) {
        out.clear_timer(id);
        if let Some(talker) = self.talkers.get_mut(place as usize) {
            talker.id = Some(id);
        }
        self.probe.joined(place, id);
        self.worker.opening_ended(None, out);
    }

    /// Without all its members the chat is not what was asked for.
    fn fail_to_join(&mut self, id: ConnId, problem: Problem, out: &mut Outbox) {
        self.members.remove(id);
        out.abort(id);
        self.worker.opening_ended(Some(problem), out);
        self.worker.crew.give_up();
    }

    /// A member hears a line.
    fn hear(&mut self, place: u32, text: &[u8], now: Nanos) {
        let said = match self.speech.read(text) {
            Heard::Line(said) => said,
            // Who comes and who goes, and what strangers say.
            Heard::Others => return,
            Heard::Garbled(author) => {
                // Nobody waits for its own lines.
                if author != self.number(place) {
                    self.hearing.pass_over(place, author);
                }
                return self.worker.mismatch(Mismatch::Garbled, 1);
            }
        };
        if said.author == self.number(place) {
            return self.worker.mismatch(Mismatch::Unasked, 1);
        }
        let plan = self.worker.plan();
        let (owner, at) = (said.author % plan.workers, said.author / plan.workers);
        let own = (owner == self.worker.index()).then_some(at);
        if (plan.talkers..plan.connections).contains(&said.author) {
            return self.probe.hear(place, own, said.number);
        }
        if let Some(talker) = own {
            let order = &mut self.worker.tally.order;
            self.probe.hear_talker(place, talker, said.number, order);
        }
        match self.hearing.hear(place, said.author, said.number) {
            Verdict::InTurn => self.worker.delivered(said.sent, now),
            Verdict::After(missing) => {
                self.worker.mismatch(Mismatch::Skipped, missing.into());
                self.worker.delivered(said.sent, now);
            }
            Verdict::Not(mismatch) => self.worker.mismatch(mismatch, 1),
        }
    }

    /// Lets those talk on whose lines everybody has heard.
    fn settle_heard(&mut self, now: Nanos, out: &mut Outbox) {
        while let Some((author, number)) = self.hearing.next_heard() {
            let crew = &self.worker.crew;
            if !crew.ledger.note(author, number) {
                continue;
            }
            let owner = author % crew.plan.workers;
            if owner == self.worker.index() {
                self.talk_on(author, now, out);
            } else {
                crew.ledger.post(owner, author);
                crew.wake(owner);
            }
        }
    }

    /// A line of one of this worker's talkers was heard by everybody.
    fn talk_on(&mut self, author: u32, now: Nanos, out: &mut Outbox) {
        let place = (author / self.worker.plan().workers) as usize;
        let Some(talker) = self.talkers.get_mut(place) else {
            return;
        };
        if let Some(said) = self.flows.answer(&mut talker.flow) {
            self.worker.took_place(said);
        }
        self.talk(place, now, out);
        self.look_whether_settled();
    }

    /// Says as many lines as are to be said.
    fn talk(&mut self, place: usize, now: Nanos, out: &mut Outbox) {
        let author = self.number(place as u32);
        let talker = &mut self.talkers[place];
        let Some(id) = talker.id.filter(|_| self.worker.is_sending()) else {
            return;
        };
        for _ in 0..self.flows.to_send(&talker.flow) {
            let (number, sent) = self.flows.send(&mut talker.flow, now);
            let number = number as u32;
            let said = Said {
                author,
                number,
                sent,
            };
            self.page.clear();
            self.speech.write(said, &mut self.page);
            out.send(id, &self.page);
        }
    }

    /// Lets a silent member say a line, if it is time for that.
    fn say_probe(&mut self, out: &mut Outbox) {
        if self.worker.phase() != Phase::Measuring {
            return;
        }
        out.set_service_timer(probe::INTERVAL);
        let said = self.talkers.iter().map(|talker| talker.flow.sent());
        let Some((id, number)) = self.probe.begin(said) else {
            return;
        };
        let Some(member) = self.members.get(id) else {
            return;
        };
        let said = Said {
            author: self.number(member.place),
            number,
            sent: self.worker.now(out),
        };
        self.page.clear();
        self.speech.write(said, &mut self.page);
        out.send(id, &self.page);
    }

    fn look_whether_settled(&self) {
        if self.worker.phase() == Phase::Settling && self.flows.are_settled() {
            self.worker.reached_goal();
        }
    }
}

impl Load for Chat {
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
        for talker in &mut self.talkers {
            self.flows.take_part(&mut talker.flow);
        }
    }

    fn send_due(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        for place in self.flows.turns.due(now) {
            self.talk(place, now, out);
        }
    }

    fn settle(&mut self, out: &mut Outbox) {
        let now = self.worker.now(out);
        let listeners = u64::from(self.worker.plan().connections - 1);
        for talker in &self.talkers {
            let behind = self.flows.behind(&talker.flow);
            self.worker.behind(behind, listeners, now);
        }
        self.look_whether_settled();
    }

    /// Leaves all at once: there is nothing more to hear but who leaves.
    fn end(&mut self, out: &mut Outbox) {
        for talker in &self.talkers {
            let missing = talker.flow.under_way();
            self.worker.problem(Problem::NoAnswer, missing);
        }
        self.members.iter().for_each(|(id, _)| out.abort(id));
        if self.members.is_empty() {
            self.worker.reached_goal();
        }
    }

    fn stop(&mut self, out: &mut Outbox) {
        self.members.iter().for_each(|(id, _)| out.abort(id));
        out.stop();
    }
}

impl Protocol for Chat {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == TICKS {
            return self.flows.turns.listen_to(id);
        }
        if self.worker.phase() > Phase::Connecting {
            return out.abort(id);
        }
        let member = Member {
            place: opened.tag,
            stage: Stage::Asked,
            lines: LineAssembler::default(),
        };
        self.members.insert(id, member);
        out.set_timer(id, self.worker.plan().timeout);
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, out: &mut Outbox) {
        if self.worker.connect_failed(place, why, out) {
            self.worker.crew.give_up();
        }
    }

    /// It has not joined in time.
    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        let problem = match self.members.get(id).map(|member| member.stage) {
            Some(Stage::Asked) => Problem::NotAsked,
            _ => Problem::NotJoined(String::new()),
        };
        self.fail_to_join(id, problem, out);
    }

    /// First to open connections, then for probes.
    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.worker.go_on_opening(out);
        self.say_probe(out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if self.flows.turns.is_tick(id) {
            return self.send_due(out);
        }
        let now = self.worker.now(out);
        self.worker.received(data.len(), now);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let mut lines = std::mem::take(&mut member.lines);
        lines.feed(&data, self.speech.longest(), |line| {
            self.take_line(id, line.text, now, out);
        });
        if let Some(member) = self.members.get_mut(id) {
            member.lines = lines;
        }
        self.settle_heard(now, out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        match self.members.remove(id).map(|member| member.stage) {
            None => return,
            Some(Stage::Joined) => self.worker.closed(why),
            Some(_) => self.worker.opening_ended(Some(Problem::Closed(why)), out),
        }
        if self.worker.phase() < Phase::Ending {
            self.worker.crew.give_up();
        }
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        let before = self.worker.phase();
        self.follow(out);
        if before != Phase::Measuring {
            self.say_probe(out);
        }
        let now = self.worker.now(out);
        for author in self.worker.crew.ledger.collect(self.worker.index()) {
            self.talk_on(author, now, out);
        }
    }
}

#[cfg(test)]
mod tests;
