//! A question for each line; the next line waits for the reply.
//!
//! Datagrams get lost, so a question without a reply in time is sent again; and they are delayed and
//! duplicated, so the reply to a copy may arrive when the next question is under way. It must not be
//! taken for that question's reply. Datagrams carry no number, but the service of the server is
//! known:
//!
//! - A datagram that is the right reply to an earlier question, and not to this one, is late. The
//!   last [`REMEMBERED`] right replies are remembered.
//! - The server may be of another kind, with unknown replies. Then, after a question that was sent
//!   more than once, the replies to its copies are awaited first, for one timeout at the most. If
//!   such a server replies even later, or twice, that cannot be told from a reply to a later question.
//!
//! A reply that is longer than its question comes from no server of these kinds, and is an error.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Data, Datagram, Opened, Outbox, Protocol, SystemError};
use nix::errno::Errno;

use super::{Lines, Next, Peers, Traffic};
use crate::client::{Call, Client, Service, longer};
use crate::dial::{PAUSE, cannot_reach};
use crate::output::{Output, STDOUT};
use crate::progress::Progress;

/// Earlier replies that are recognised when they come again.
const REMEMBERED: usize = 1024;

/// The client of a server that replies: stop and wait.
pub(crate) struct Ask {
    call: Call,
    peers: Peers,
    lines: Lines,
    stdin: Option<ConnId>,
    output: Output,
    progress: Progress,
    awaited: Awaited,
    earlier: Earlier,
    /// The address in use has replied.
    proven: bool,
    traffic: Traffic,
    failure: Option<String>,
}

/// The event that is waited for.
#[derive(Debug)]
enum Awaited {
    /// The next line.
    Line,
    Answer(Question),
    /// This many replies to copies of a question that has had one reply.
    Others(u32),
}

/// A question without a reply so far.
#[derive(Debug)]
struct Question {
    bytes: Vec<u8>,
    /// Number of times that it was sent.
    copies: u32,
    /// The error that the network reported for the last copy.
    trouble: Option<Closed>,
}

/// The right replies to earlier questions, as hashes.
#[derive(Debug, Default)]
struct Earlier {
    hasher: RandomState,
    fingerprints: VecDeque<u64>,
}

impl Earlier {
    fn remember(&mut self, answer: &[u8]) {
        if self.fingerprints.len() == REMEMBERED {
            self.fingerprints.pop_front();
        }
        self.fingerprints.push_back(self.hasher.hash_one(answer));
    }

    fn contains(&self, answer: &[u8]) -> bool {
        self.fingerprints.contains(&self.hasher.hash_one(answer))
    }
}

impl Service {
    /// The reply of a server of this kind.
    fn answer_to(self, question: &[u8]) -> Vec<u8> {
        match self {
            Service::Echo => question.to_vec(),
            Service::Upper => question.to_ascii_uppercase(),
            Service::Sink => Vec::new(),
        }
    }
}

impl Ask {
    pub(crate) fn new(call: &Call, output: Output, progress: Progress) -> Self {
        Ask {
            lines: Lines::new(call.message.clone()),
            call: call.clone(),
            peers: Peers::default(),
            stdin: None,
            output,
            progress,
            awaited: Awaited::Line,
            earlier: Earlier::default(),
            proven: false,
            traffic: Traffic::default(),
            failure: None,
        }
    }

    /// Sends the next question, unless a reply is awaited or the output is full.
    fn go_on(&mut self, out: &mut Outbox) {
        if !matches!(self.awaited, Awaited::Line) || self.output.is_full() {
            return;
        }
        match self.lines.next() {
            Next::Datagram(bytes) => {
                let (copies, trouble) = (0, None);
                self.ask(
                    Question {
                        bytes,
                        copies,
                        trouble,
                    },
                    out,
                );
            }
            Next::Read => self.stdin.into_iter().for_each(|stdin| out.resume(stdin)),
            Next::End(end) => {
                self.failure = end.result().err();
                self.end(out);
            }
        }
    }

    /// Sends a question, for the first time or again.
    fn ask(&mut self, mut question: Question, out: &mut Outbox) {
        question.copies += 1;
        question.trouble = None;
        self.peers.send(&question.bytes, out);
        self.traffic.count_sent(&question.bytes);
        self.awaited = Awaited::Answer(question);
        if self.call.timeout.is_zero() {
            out.clear_service_timer();
        } else {
            out.set_service_timer(self.call.timeout);
        }
    }

    /// The timeout is over: the awaited datagram has not come.
    fn time_is_up(&mut self, out: &mut Outbox) {
        match mem::replace(&mut self.awaited, Awaited::Line) {
            Awaited::Answer(question) if question.copies <= self.call.retries => {
                self.traffic.again += 1;
                // Datagrams to this address may be dropped without a report.
                if !self.proven && question.trouble.is_none() {
                    self.peers.advance("no answer");
                }
                self.ask(question, out);
            }
            Awaited::Answer(question) => self.fail(self.no_answer(&question), out),
            Awaited::Others(_) | Awaited::Line => self.go_on(out),
        }
    }

    fn no_answer(&self, question: &Question) -> String {
        let server = &self.call.server;
        match question.trouble {
            Some(why) => cannot_reach(server, why),
            None => format!("no answer from {server} in time"),
        }
    }

    fn answered(&mut self, question: &Question, answer: &[u8], out: &mut Outbox) {
        let (server, lengths) = (
            &self.call.server,
            [answer, &question.bytes].map(<[u8]>::len),
        );
        if lengths[0] > lengths[1] {
            let [answer, question] = lengths.map(|length| length as u64);
            return self.fail(longer(server, answer, question), out);
        }
        self.proven = true;
        self.print(answer, out);
        let expected = self.call.service.answer_to(&question.bytes);
        self.earlier.remember(&expected);
        let others = question.copies - 1;
        if others > 0 && answer != expected {
            self.awaited = Awaited::Others(others);
            out.set_service_timer(self.patience());
        } else {
            self.awaited = Awaited::Line;
            out.clear_service_timer();
        }
        self.go_on(out);
    }

    fn print(&mut self, answer: &[u8], out: &mut Outbox) {
        self.output.print(answer, out);
        if self.call.message.is_some() {
            self.output.end_line(out);
        } else {
            self.output.end_text(out);
            self.output.print(b"\n", out);
        }
    }

    /// Whether this is the reply to an earlier question, and not to this one.
    fn is_late(&self, question: &Question, answer: &[u8]) -> bool {
        self.call.service.answer_to(&question.bytes) != answer && self.earlier.contains(answer)
    }

    /// The timeout, or a second if the timeout is for ever.
    fn patience(&self) -> Duration {
        match self.call.timeout {
            Duration::ZERO => PAUSE,
            timeout => timeout,
        }
    }

    /// The network reports that a datagram did not arrive. The next attempt waits a little: the
    /// server may be about to start.
    fn not_delivered(&mut self, why: Closed, out: &mut Outbox) {
        let patience = self.patience().min(PAUSE);
        let Awaited::Answer(question) = &mut self.awaited else {
            return;
        };
        question.trouble = Some(why);
        if question.copies <= self.call.retries {
            out.set_service_timer(patience);
        } else {
            self.time_is_up(out);
        }
    }

    /// Stops, with this failure unless there is one already.
    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        self.end(out);
    }

    fn end(&mut self, out: &mut Outbox) {
        self.stdin
            .take()
            .into_iter()
            .for_each(|stdin| out.abort(stdin));
        out.clear_service_timer();
        out.stop();
    }
}

impl Client for Ask {
    fn start(&mut self, peers: Vec<SocketAddr>, out: &mut Outbox) {
        self.peers = Peers::new(peers, &self.call.server);
        self.go_on(out);
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn summary(&self) -> String {
        self.traffic.to_string()
    }
}

impl Protocol for Ask {
    fn on_open(&mut self, id: ConnId, opened: Opened, _: &mut Outbox) {
        match opened.tag {
            STDOUT => self.output.open(id),
            _ => self.stdin = Some(id),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.lines.feed(&data);
        self.progress.add(data.len());
        // The input goes on when all of these lines are sent.
        out.pause(id);
        self.go_on(out);
    }

    fn on_eof(&mut self, _: ConnId, out: &mut Outbox) {
        // The connection may close now, as a pipe does, or later.
        self.stdin = None;
        self.lines.finish();
        self.go_on(out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        let answer = &datagram.data;
        self.traffic.count_received(answer);
        match mem::replace(&mut self.awaited, Awaited::Line) {
            Awaited::Answer(question) if !self.is_late(&question, answer) => {
                return self.answered(&question, answer, out);
            }
            Awaited::Others(count) if count > 1 => self.awaited = Awaited::Others(count - 1),
            Awaited::Others(_) => out.clear_service_timer(),
            awaited => self.awaited = awaited,
        }
        self.traffic.late += 1;
        self.go_on(out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.time_is_up(out);
    }

    fn on_connect_error(&mut self, _: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        if !self.peers.is_current(tag) {
            return;
        }
        if !self.proven && self.peers.advance(why) {
            if let Awaited::Answer(question) = mem::replace(&mut self.awaited, Awaited::Line) {
                self.ask(
                    Question {
                        copies: 0,
                        ..question
                    },
                    out,
                );
            }
            return;
        }
        self.not_delivered(why, out);
    }

    fn on_unsent(&mut self, _: u64, datagram: Vec<u8>, out: &mut Outbox) {
        self.traffic.count_unsent(&datagram);
        self.not_delivered(Closed::Error(SystemError::new(Errno::ENOBUFS as i32)), out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.stdin {
            self.fail(format!("cannot read standard input: {why}"), out);
        } else if self.output.is(id) {
            match why {
                Closed::Finished | Closed::Shutdown => {}
                // The reader is gone, as in `edgecall echo | head`: a quiet end.
                Closed::Reset => self.end(out),
                why => self.fail(format!("cannot write the answer: {why}"), out),
            }
        }
    }

    fn on_high_water(&mut self, _: ConnId, _: &mut Outbox) {
        // Standard output: the next question waits until it has room.
        self.output.set_full(true);
    }

    fn on_low_water(&mut self, _: ConnId, out: &mut Outbox) {
        self.output.set_full(false);
        self.go_on(out);
    }
}

#[cfg(test)]
mod tests;
