//! A chat, some members of which talk: every line must reach all other members once and in order.
//!
//! The server is a chat of the Budget kind (<https://protohackers.com/problem/3>): it asks for a
//! name, lists the members, and then each line goes to the other members with its author in brackets.

use std::mem;

use edgeloop::harmless::harmless;
use edgeloop::line::{Line, LineAssembler};
use edgeloop_reactor::{Closed, Data, Limits, Outbox};

use super::clock::Nanos;
use super::content::{Heard, Said, Speech};
use super::crew::Phase;
use super::flow::{Flow, Flows};
use super::hearing::{Hearing, Verdict};
use super::pace::Turn;
use super::plan::Plan;
use super::probe::{self, Probe};
use super::tally::{Mismatch, Problem};
use super::web::Spoken;
use super::worker::{Load, Worker};

/// Bytes that may wait for the server besides lines under way: names, probes.
const SPARE: usize = 64 * 1024;
/// Bytes of the server's reply that an error quotes when a member is not let in.
const ANSWER_MAX: usize = 100;

/// The load.
#[derive(Debug)]
pub(super) struct Chat {
    flows: Flows,
    members: Vec<Member>,
    /// The lines of those of this worker's members that talk, by their places.
    talkers: Vec<Flow>,
    hearing: Hearing,
    speech: Speech,
    probe: Probe,
    /// Buffer for one line.
    page: Vec<u8>,
}

/// One connection, open or not.
#[derive(Debug)]
struct Member {
    stage: Stage,
    lines: LineAssembler,
}

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The server will ask for a name.
    Asked,
    /// The name is given; the server will list the members.
    Named,
    /// From now on this member hears the others.
    Joined,
}

impl Chat {
    fn take_line(
        &mut self,
        place: u32,
        text: &[u8],
        now: Nanos,
        worker: &mut Worker,
        out: &mut Outbox,
    ) {
        // A member that was not let in has lost its place.
        let Some(id) = worker.connections.at(place) else {
            return;
        };
        let member = &mut self.members[place as usize];
        match member.stage {
            Stage::Asked => {
                member.stage = Stage::Named;
                self.page.clear();
                self.speech.name(worker.number(place), &mut self.page);
                self.page.push(b'\n');
                worker.send_line(place, &self.page, out);
            }
            // Too late to take part: the run was cut short while this member joined.
            Stage::Named if text.starts_with(b"*") && worker.phase() > Self::OPENS_UNTIL => {
                worker.forget(place, out);
            }
            Stage::Named if text.starts_with(b"*") => {
                member.stage = Stage::Joined;
                out.clear_timer(id);
                worker.opening_ended(None, out);
            }
            Stage::Named => {
                let answer = harmless(&text[..text.len().min(ANSWER_MAX)]);
                fail_to_join(place, Problem::NotJoined(answer), worker, out);
            }
            Stage::Joined => self.hear(place, text, now, worker),
        }
    }

    /// A member hears a line.
    fn hear(&mut self, place: u32, text: &[u8], now: Nanos, worker: &mut Worker) {
        let said = match self.speech.read(text) {
            Heard::Line(said) => said,
            // Members that enter and leave, and the lines of strangers.
            Heard::Others => return,
            Heard::Garbled(author) => {
                // A member is not to hear its own lines.
                if author != worker.number(place) {
                    self.hearing.pass_over(place, author);
                }
                return worker.mismatch(Mismatch::Garbled, 1);
            }
        };
        if said.author == worker.number(place) {
            return worker.mismatch(Mismatch::Unasked, 1);
        }
        let plan = worker.plan();
        let (owner, at) = (said.author % plan.workers, said.author / plan.workers);
        let own = (owner == worker.index()).then_some(at);
        if (plan.talkers..plan.connections).contains(&said.author) {
            return self.probe.hear(place, own, said.number);
        }
        if let Some(talker) = own {
            let order = &mut worker.tally.order;
            self.probe.hear_talker(place, talker, said.number, order);
        }
        match self.hearing.hear(place, said.author, said.number) {
            Verdict::InTurn => worker.delivered(said.sent, now),
            Verdict::After(missing) => {
                worker.mismatch(Mismatch::Skipped, missing.into());
                worker.delivered(said.sent, now);
            }
            Verdict::Not(mismatch) => worker.mismatch(mismatch, 1),
        }
    }

    /// Lets talkers go on after lines that all members have heard.
    fn settle_heard(&mut self, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        while let Some((author, number)) = self.hearing.next_heard() {
            let crew = &worker.crew;
            if !crew.ledger.note(author, number) {
                continue;
            }
            let owner = author % crew.plan.workers;
            if owner == worker.index() {
                self.talk_on(author, now, worker, out);
            } else {
                crew.ledger.post(owner, author);
                crew.wake(owner);
            }
        }
    }

    /// All members have heard a line of one of this worker's talkers.
    fn talk_on(&mut self, author: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let place = author / worker.plan().workers;
        let Some(flow) = self.talkers.get_mut(place as usize) else {
            return;
        };
        if let Some(said) = self.flows.answer(flow) {
            worker.took_place(said);
        }
        self.send(place, now, worker, out);
    }

    /// Lets a silent member say a line, if it is time for that.
    fn say_probe(&mut self, worker: &mut Worker, out: &mut Outbox) {
        if worker.phase() != Phase::Measuring {
            return;
        }
        out.set_service_timer(probe::INTERVAL);
        let Some(place) = self.probe.author().filter(|&place| self.has_joined(place)) else {
            return;
        };
        let said = self.talkers.iter().map(Flow::sent);
        if let Some(number) = self.probe.begin(said) {
            let now = worker.now(out);
            self.say(place, number, now, worker, out);
        }
    }

    fn has_joined(&self, place: u32) -> bool {
        self.members[place as usize].stage == Stage::Joined
    }

    fn say(&mut self, place: u32, number: u32, sent: Nanos, worker: &mut Worker, out: &mut Outbox) {
        let said = Said {
            author: worker.number(place),
            number,
            sent,
        };
        self.page.clear();
        self.speech.write(said, &mut self.page);
        worker.send_line(place, &self.page, out);
    }
}

/// A member is gone. Without all its members the run is pointless.
fn do_without(worker: &Worker) {
    if worker.phase() < Phase::Ending {
        worker.crew.give_up();
    }
}

/// A member cannot join.
fn fail_to_join(place: u32, problem: Problem, worker: &mut Worker, out: &mut Outbox) {
    worker.forget(place, out);
    worker.opening_ended(Some(problem), out);
    worker.crew.give_up();
}

impl Load for Chat {
    fn new(worker: &Worker) -> Chat {
        let (plan, index) = (worker.plan(), worker.index());
        let talkers = plan.talking_share(index);
        let member = |_| Member {
            stage: Stage::Asked,
            lines: LineAssembler::default(),
        };
        Chat {
            flows: Flows::new(talkers, plan.depth),
            members: (0..worker.share()).map(member).collect(),
            talkers: (0..talkers).map(Flow::new).collect(),
            hearing: Hearing::new(plan, index),
            speech: Speech::new(std::process::id(), plan.size),
            probe: Probe::new(plan, index),
            page: Vec::new(),
        }
    }

    /// A talker whose lines the server garbles talks on, though the server may not read them.
    fn limits(plan: &Plan, limits: Limits) -> Limits {
        let under_way = plan.size * plan.depth as usize;
        Limits {
            queue_limit: Some(2 * under_way + SPARE),
            ..limits
        }
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        let talkers = (0..).zip(&mut self.talkers);
        talkers.map(|(place, flow)| (place, &mut flow.turn))
    }

    /// Says as many lines as are to be said.
    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        if !self.has_joined(place) || worker.connections.at(place).is_none() {
            return;
        }
        let flow = &self.talkers[place as usize];
        for _ in 0..worker.to_send(flow.turn, self.flows.room(flow)) {
            let flow = &mut self.talkers[place as usize];
            let (number, sent) = self.flows.send(flow, &worker.turns, now);
            self.say(place, number as u32, sent, worker, out);
        }
    }

    fn begun(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.say_probe(worker, out);
    }

    fn is_settled(&self, _: &Worker) -> bool {
        self.flows.are_settled()
    }

    /// All members leave at once: there is nothing more to hear but the others' leaving. A WebSocket is
    /// closed in good order all the same, since a server counts how it ends.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox) {
        for flow in &self.talkers {
            worker.problem(Problem::NoAnswer, flow.under_way());
        }
        match worker.plan().is_web() {
            true => worker.end_all(out),
            false => worker.abort_all(out),
        }
    }

    /// The member takes part once it has joined.
    fn on_open(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        let timeout = worker.plan().timeout;
        let id = worker.connections.at(place);
        id.into_iter().for_each(|id| out.set_timer(id, timeout));
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        if worker.connect_failed(place, why, out) {
            worker.crew.give_up();
        }
    }

    /// The member has not joined in time.
    fn on_timer(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        let problem = match self.members[place as usize].stage {
            Stage::Asked => Problem::NotAsked,
            _ => Problem::NotJoined(String::new()),
        };
        fail_to_join(place, problem, worker, out);
    }

    /// The timer first serves to open connections, then for probes.
    fn on_service_timer(&mut self, worker: &mut Worker, out: &mut Outbox) {
        worker.go_on_opening(out);
        self.say_probe(worker, out);
    }

    fn on_data(&mut self, place: u32, data: Data<'_>, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        worker.received(data.len(), now);
        let mut lines = mem::take(&mut self.members[place as usize].lines);
        lines.feed(&data, self.speech.longest(), |line| {
            self.take_line(place, line.text, now, worker, out);
        });
        self.members[place as usize].lines = lines;
        self.settle_heard(now, worker, out);
    }

    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        match self.has_joined(place) {
            true => worker.closed(why),
            false => worker.opening_ended(Some(Problem::Closed(why)), out),
        }
        do_without(worker);
    }

    /// Other workers may have noticed that all members have heard lines of this worker's talkers.
    fn on_wake(&mut self, worker: &mut Worker, out: &mut Outbox) {
        let now = worker.now(out);
        for author in worker.crew.ledger.collect(worker.index()) {
            self.talk_on(author, now, worker, out);
        }
    }
}

impl Spoken for Chat {
    fn on_part(
        &mut self,
        place: u32,
        part: &[u8],
        is_last: bool,
        worker: &mut Worker,
        out: &mut Outbox,
    ) {
        let now = worker.now(out);
        worker.received(part.len() + usize::from(is_last), now);
        let mut lines = mem::take(&mut self.members[place as usize].lines);
        let longest = self.speech.longest();
        // A newline within a message is no end of a line: the line is garbled.
        let each = |line: Line<'_>| self.take_line(place, line.text, now, worker, out);
        match is_last {
            true => lines.end(part, longest, each),
            false => lines.push(part, longest, each),
        }
        self.members[place as usize].lines = lines;
        self.settle_heard(now, worker, out);
    }

    fn on_lost(&mut self, place: u32, problem: Problem, worker: &mut Worker, out: &mut Outbox) {
        match self.has_joined(place) {
            true => worker.lost(problem),
            false => worker.opening_ended(Some(problem), out),
        }
        do_without(worker);
    }
}

#[cfg(test)]
mod tests;
