//! WebSocket (RFC 6455) between the connections and a kind of load.
//!
//! [`Web`] is a [`Load`] around another one, as the servers' `Web` is a protocol around another. The load
//! hears of a connection after its handshake, and then the parts of messages as they come. What it sends
//! becomes frames in the [`Worker`]. Pings are answered here, and at the end of a run each side sends a
//! close frame before the server ends the stream.
//!
//! However a server misbehaves, a connection keeps the head of an answer, the header of a frame or the
//! payload of a control frame, which all have bounds.

use std::mem;

use edgeloop::web::frame::{Code, Decoder, Event, Rules};
use edgeloop::web::handshake::Handshake;
use edgeloop_reactor::{Closed, Data, Datagram, Limits, Outbox};

use super::clock::Nanos;
use super::crew::Phase;
use super::pace::Turn;
use super::plan::Plan;
use super::tally::Problem;
use super::worker::{Load, Worker};

/// The frames that a load takes. The load itself judges the lengths of messages.
const RULES: Rules = Rules {
    masked: false,
    max_message: u32::MAX,
    binary: false,
};
/// Pings are not answered while so many bytes wait for the server: a reply to a later one will do (RFC
/// 6455, section 5.5.3).
const PONG_QUEUE_MAX: usize = 16 * 1024;

/// A kind of load whose messages can be those of a WebSocket.
pub(super) trait Spoken: Load {
    /// A part of a text message, which may be empty.
    fn on_part(
        &mut self,
        place: u32,
        part: &[u8],
        is_last: bool,
        worker: &mut Worker,
        out: &mut Outbox,
    );

    /// A connection is lost, of which the load may have heard or not. Its place is free.
    fn on_lost(&mut self, place: u32, problem: Problem, worker: &mut Worker, out: &mut Outbox);
}

/// A kind of load, over WebSocket.
#[derive(Debug)]
pub(super) struct Web<L> {
    load: L,
    /// The WebSockets, by their places.
    sessions: Vec<Session>,
}

/// The state of a connection.
#[derive(Debug, Default)]
enum Session {
    /// It is not open, or not known here any more.
    #[default]
    None,
    /// The answer to the request is awaited.
    Handshake(Box<Handshake>),
    Open(Decoder),
    /// The server's close frame has come, after the load's: its end of the stream is awaited.
    Closed,
}

impl<L: Spoken> Web<L> {
    /// Takes in bytes of the answer to the handshake. Returns how many, if the WebSocket is open.
    fn shake_hands(
        &mut self,
        place: u32,
        data: &[u8],
        worker: &mut Worker,
        out: &mut Outbox,
    ) -> Option<usize> {
        let session = &mut self.sessions[place as usize];
        let Session::Handshake(handshake) = session else {
            return Some(0);
        };
        match handshake.push(data) {
            Ok(None) => return None,
            // Too late to take part, like a connect that succeeds after that phase.
            Ok(Some(_)) if worker.phase() > L::OPENS_UNTIL => {
                *session = Session::None;
                worker.forget(place, out);
            }
            Ok(len @ Some(_)) => {
                *session = Session::Open(Decoder::default());
                let id = worker.connections.at(place);
                id.into_iter().for_each(|id| out.clear_timer(id));
                self.load.on_open(place, worker, out);
                return len;
            }
            Err(why) => self.fail(place, Problem::Handshake(why), worker, out),
        }
        None
    }

    /// Decodes input up to its end, or until the connection is given up.
    fn read_frames(&mut self, place: u32, data: &mut [u8], worker: &mut Worker, out: &mut Outbox) {
        let mut at = 0;
        loop {
            let id = worker.connections.at(place);
            let Some(id) = id.filter(|id| !out.has_ended(*id)) else {
                return;
            };
            let Session::Open(decoder) = &mut self.sessions[place as usize] else {
                return;
            };
            match decoder.next(data, &mut at, RULES) {
                Ok(None) => return,
                Ok(Some(Event::Part(part))) => {
                    let bytes = &data[part.bytes];
                    self.load.on_part(place, bytes, part.is_last, worker, out);
                }
                Ok(Some(Event::Ping(payload))) => {
                    // The close frame is the last one that is sent.
                    let may_answer =
                        worker.phase() < Phase::Ending && out.queued(id) < PONG_QUEUE_MAX;
                    if let Some(frames) = worker.frames.as_mut().filter(|_| may_answer) {
                        out.send(id, frames.pong(&payload));
                    }
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    return self.on_close_frame(place, code, worker, out);
                }
                Err(failure) => return self.fail(place, Problem::Frame(failure.why), worker, out),
            }
        }
    }

    /// The server has sent a close frame. Before the load has, that is a problem.
    fn on_close_frame(
        &mut self,
        place: u32,
        code: Option<Code>,
        worker: &mut Worker,
        out: &mut Outbox,
    ) {
        if worker.phase() < Phase::Ending {
            return self.fail(place, Problem::CloseFrame(code), worker, out);
        }
        self.sessions[place as usize] = Session::Closed;
        if code.is_some_and(|code| code != Code::NORMAL) {
            worker.problem(Problem::CloseFrame(code), 1);
        }
    }

    /// Gives up a connection.
    fn fail(&mut self, place: u32, problem: Problem, worker: &mut Worker, out: &mut Outbox) {
        self.sessions[place as usize] = Session::None;
        worker.forget(place, out);
        self.load.on_lost(place, problem, worker, out);
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a callback that is left out here would not reach the load"
)]
impl<L: Spoken> Load for Web<L> {
    const OPENS_UNTIL: Phase = L::OPENS_UNTIL;
    /// The server has the last word: it answers the close frame, and ends the stream.
    const SERVER_ENDS: bool = true;

    fn new(worker: &Worker) -> Web<L> {
        Web {
            load: L::new(worker),
            sessions: (0..worker.share()).map(|_| Session::None).collect(),
        }
    }

    fn limits(plan: &Plan, limits: Limits) -> Limits {
        L::limits(plan, limits)
    }

    fn start(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.start(worker, out);
    }

    fn turns(&mut self) -> impl Iterator<Item = (u32, &mut Turn)> {
        self.load.turns()
    }

    fn send(&mut self, place: u32, now: Nanos, worker: &mut Worker, out: &mut Outbox) {
        self.load.send(place, now, worker, out);
    }

    fn send_due(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.send_due(worker, out);
    }

    fn on_tick(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_tick(worker, out);
    }

    fn begun(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.begun(worker, out);
    }

    fn is_settled(&self, worker: &Worker) -> bool {
        self.load.is_settled(worker)
    }

    /// A run that is cut short may end before all handshakes have.
    fn end(&mut self, worker: &mut Worker, out: &mut Outbox) {
        for (place, session) in (0..).zip(&mut self.sessions) {
            if matches!(session, Session::Handshake(_)) {
                *session = Session::None;
                worker.forget(place, out);
            }
        }
        self.load.end(worker, out);
    }

    fn on_open(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        let timeout = worker.plan().timeout;
        let server = &worker.crew.plan.server;
        if let (Some(id), Some(frames), Some(path)) = (
            worker.connections.at(place),
            &mut worker.frames,
            &server.socket,
        ) {
            let handshake = Handshake::new(frames.key());
            let request = handshake.request(&server.host(), path);
            out.send(id, request.as_bytes());
            out.set_timer(id, timeout);
            self.sessions[place as usize] = Session::Handshake(Box::new(handshake));
        }
    }

    fn on_connect_error(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_connect_error(place, why, worker, out);
    }

    fn on_data(&mut self, place: u32, mut data: Data<'_>, worker: &mut Worker, out: &mut Outbox) {
        if let Some(at) = self.shake_hands(place, &data, worker, out) {
            self.read_frames(place, &mut data[at..], worker, out);
        }
    }

    fn on_close(&mut self, place: u32, why: Closed, worker: &mut Worker, out: &mut Outbox) {
        let is_over = worker.phase() >= Phase::Ending;
        match mem::take(&mut self.sessions[place as usize]) {
            Session::Handshake(_) => self.load.on_lost(place, Problem::Closed(why), worker, out),
            Session::Open(_) if is_over && matches!(why, Closed::Eof | Closed::Finished) => {
                worker.problem(Problem::NoCloseFrame, 1);
                self.load.on_close(place, why, worker, out);
            }
            Session::Open(_) | Session::Closed | Session::None => {
                self.load.on_close(place, why, worker, out);
            }
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_datagram(datagram, worker, out);
    }

    fn on_timer(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        match self.sessions[place as usize] {
            Session::Handshake(_) => {
                let problem = Problem::Handshake("no answer in time".into());
                self.fail(place, problem, worker, out);
            }
            _ => self.load.on_timer(place, worker, out),
        }
    }

    fn on_service_timer(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_service_timer(worker, out);
    }

    fn on_high_water(&mut self, place: u32) {
        self.load.on_high_water(place);
    }

    fn on_low_water(&mut self, place: u32, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_low_water(place, worker, out);
    }

    fn on_wake(&mut self, worker: &mut Worker, out: &mut Outbox) {
        self.load.on_wake(worker, out);
    }
}

#[cfg(test)]
mod tests;
