//! HTTP and WebSocket (RFC 6455) in front of a protocol that knows of neither.
//!
//! [`Web`] is a [`Protocol`] around another. Connections of a web listener speak HTTP with it; one that
//! becomes a WebSocket is from then on an ordinary connection for the protocol behind, which hears
//! `on_open` after the handshake, messages as `on_data`, and a close frame as `on_eof`. A server that
//! overrides `Server::on_visit` and `Server::on_lost` learns of a WebSocket's query and of how it ended.
//! The output is encoded by a [`Framing`](edgeloop_reactor::Framing), so a broadcast reaches browsers and
//! others alike, and its line is encoded once. All other connections pass through as they are.
//!
//! Extensions (RFC 7692, compression) and subprotocols are not offered. A request is a GET without a body,
//! and its answer ends the connection.
//!
//! | file | subject |
//! |---|---|
//! | `web.rs` | connections: the request, the handshake, the messages, the close |
//! | `web/session.rs` | how far one connection has come |
//! | `web/site.rs` | what is served where |
//! | `web/policy.rs` | which hosts and origins are allowed |
//! | `web/handshake.rs` | the handshake of a WebSocket: the server's part, and a client's |
//! | `web/request.rs`, `web/response.rs` | HTTP: the head of a request, and answers |
//! | `web/lines.rs` | lines as text messages |
//! | `web/frame.rs`, `web/utf8.rs` | frames: decoded and encoded |

pub mod frame;
pub mod handshake;
mod lines;
mod policy;
mod request;
mod response;
mod session;
mod site;
#[cfg(test)]
mod tests;
mod utf8;

use std::time::Duration;

use edgeloop_reactor::{
    Address, Closed, ConnId, ConnMap, Data, Datagram, Limits, Opened, Outbox, Protocol,
    RateLimitedLog, Waker,
};

pub use self::policy::Policy;
pub(crate) use self::request::{Head, Request};
pub use self::response::Page;
pub(crate) use self::response::{Answered, Refusal};
pub use self::site::Site;
pub use crate::place::WEB;

use self::frame::{Code, Event, Failure, push_close, push_part_header, push_pong};
use self::lines::{LINES, SILENCE};
use self::session::{Knock, Session};
use self::site::{Answer, Speech};
use crate::figures::Figure;
use crate::server::{CLIENT, Server, StandardStreams, forward};

/// The time within which the whole head of a request must come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings are not answered while so many bytes wait for the peer: a reply to a later one will do (RFC
/// 6455, section 5.5.3), and a peer that does not read must not make a queue of pongs.
const PONG_QUEUE_MAX: usize = 64 * 1024;

/// Units of work of a frame (see [`Outbox::charge`]).
const FRAME: usize = 64;

/// A protocol, and what browsers need in front of it.
#[derive(Debug)]
pub struct Web<P> {
    protocol: P,
    site: Site,
    /// The connections of web listeners.
    sessions: ConnMap<Session>,
    refusals: RateLimitedLog,
    /// Lines that one read has brought. It is a field so that its memory is reused.
    lines: Vec<u8>,
    /// A frame, or the header of one, on its way into the outbox, likewise.
    frame: Vec<u8>,
}

/// The end of a WebSocket that its peer has brought about.
enum End {
    /// By a close frame.
    Close(Option<Code>),
    /// By a close frame within a message, which has not been said then.
    Cut(Option<Code>),
    Failure(Failure),
}

impl<P: Server> Web<P> {
    /// The tag of the connections that speak HTTP.
    pub const TAG: u64 = WEB;

    /// A protocol with this site in front of it.
    #[must_use]
    pub fn new(protocol: P, site: Site) -> Web<P> {
        Web {
            protocol,
            site,
            sessions: ConnMap::new(),
            refusals: RateLimitedLog::default(),
            lines: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// Whether the protocol hears of this connection: one of another listener, or a WebSocket.
    fn is_known(&self, id: ConnId) -> bool {
        self.sessions.get(id).is_none_or(Session::is_known)
    }

    /// Takes in bytes of a request.
    fn read_head(&mut self, id: ConnId, mut data: Data<'_>, out: &mut Outbox) {
        let Some(Session::Head(knock)) = self.sessions.get_mut(id) else {
            return;
        };
        let Knock { opened, head } = &mut **knock;
        let takes_query = |query: &str| self.protocol.takes_query(query);
        let answer = match head.push(&data) {
            Ok(None) => return,
            Ok(Some(len)) => head
                .parse()
                .and_then(|request| self.site.answer(&request, takes_query))
                .map(|answer| (answer, len)),
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok((Answer::Handshake { answer, query }, len)) => {
                let opened = *opened;
                out.send(id, &answer);
                self.open(id, opened, &query, out);
                if !out.has_ended(id) {
                    self.read_frames(id, &mut data[len..], out);
                }
            }
            Ok((Answer::Page(answer), _)) => self.answer(id, &answer, out),
            Err(refusal) => self.refuse(id, refusal, out),
        }
    }

    /// A connection has become a WebSocket. A query may be a secret, and is not logged.
    fn open(&mut self, id: ConnId, mut opened: Opened, query: &str, out: &mut Outbox) {
        log::debug!("connection {id:?} is a WebSocket");
        out.clear_timer(id);
        out.set_framing(id, &LINES);
        self.sessions.insert(id, Session::Open(None));
        opened.tag = CLIENT;
        self.protocol.on_visit(id, opened, query, out);
        self.close_replaced(out);
    }

    fn close_replaced(&mut self, out: &mut Outbox) {
        for replaced in self.protocol.take_replaced() {
            if let Some(Session::Open(_)) = self.sessions.get(replaced) {
                self.close(replaced, Some(Code::POLICY), out);
            }
            // The protocol has forgotten it, even if its peer has closed it and the protocol was to end it.
            out.finish(replaced);
        }
    }

    fn answer(&mut self, id: ConnId, answer: &[u8], out: &mut Outbox) {
        out.send(id, answer);
        out.finish(id);
        self.sessions.insert(id, Session::Answered);
    }

    fn refuse(&mut self, id: ConnId, refusal: Refusal, out: &mut Outbox) {
        if let Some(Session::Head(knock)) = self.sessions.get(id) {
            let (peer, why) = (knock.opened.peer, refusal.reason());
            let now_ms = out.now().as_millis() as u64;
            let line = format_args!("refused a request from {peer}: {why}");
            self.refusals.log(now_ms, line);
        }
        self.answer(id, &refusal.answer(), out);
    }

    /// Takes in bytes of a WebSocket. The protocol hears of all that they bring in one call, as of any
    /// read: it may pause the connection in it.
    fn read_frames(&mut self, id: ConnId, input: &mut [u8], out: &mut Outbox) {
        self.lines.clear();
        let end = self.decode(id, input, out);
        if !self.lines.is_empty() {
            let lines = out.lend(&mut self.lines);
            self.protocol.on_data(id, lines, out);
        }
        if out.has_ended(id) {
            return;
        }
        match end {
            Some(End::Close(code)) => {
                self.close(id, code, out);
                match code {
                    Some(Code::NORMAL) => self.protocol.on_eof(id, out),
                    _ => self.protocol.on_lost(id, out),
                }
            }
            Some(End::Cut(code)) => {
                self.close(id, code, out);
                out.finish(id);
            }
            Some(End::Failure(failure)) => {
                let (code, why) = (failure.code, failure.why);
                log::debug!("connection {id:?} breaks the rules of WebSocket: {why}");
                self.close(id, Some(code), out);
                out.finish(id);
            }
            None => {}
        }
    }

    /// Decodes input up to its end or the WebSocket's: collects lines for the protocol, and sends the
    /// frames that need none of it.
    fn decode(&mut self, id: ConnId, input: &mut [u8], out: &mut Outbox) -> Option<End> {
        let Some(Session::Open(kept)) = self.sessions.get_mut(id) else {
            return None;
        };
        let mut decoder = kept.take().map(|kept| *kept).unwrap_or_default();
        let mut at = 0;
        loop {
            self.frame.clear();
            // A frame costs more than its bytes, and may have none.
            out.charge(FRAME);
            match decoder.next(input, &mut at, self.site.rules) {
                Ok(None) => {
                    *kept = (!decoder.is_between_messages()).then(|| Box::new(decoder));
                    return None;
                }
                Ok(Some(Event::Part(part))) => {
                    let bytes = &input[part.bytes.clone()];
                    match self.site.speech {
                        Speech::Echo => {
                            push_part_header(&part, &mut self.frame);
                            out.send_unframed(id, &self.frame);
                            out.send_unframed(id, bytes);
                        }
                        Speech::Lines => {
                            self.lines.extend_from_slice(bytes);
                            self.lines.extend(part.is_last.then_some(b'\n'));
                        }
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    if out.queued(id) < PONG_QUEUE_MAX {
                        push_pong(&payload, None, &mut self.frame);
                        out.send_unframed(id, &self.frame);
                    }
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(code))) => {
                    return Some(match decoder.is_between_messages() {
                        true => End::Close(code),
                        false => End::Cut(code),
                    });
                }
                Err(failure) => return Some(End::Failure(failure)),
            }
        }
    }

    /// Sends a close frame, the last of this WebSocket.
    fn close(&mut self, id: ConnId, code: Option<Code>, out: &mut Outbox) {
        self.frame.clear();
        push_close(code, None, &mut self.frame);
        out.send_unframed(id, &self.frame);
        out.set_framing(id, &SILENCE);
        self.sessions.insert(id, Session::Closed);
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a callback that is left out here would not reach the protocol"
)]
impl<P: Server> Protocol for Web<P> {
    forward! {
        on_connect_error(id: ConnId, tag: u64, why: Closed);
        on_datagram(datagram: Datagram<'_>);
        on_unsent(tag: u64, datagram: Vec<u8>);
        on_wake();
        on_reload();
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.protocol.on_service_timer(out);
        self.close_replaced(out);
    }

    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag != WEB {
            return self.protocol.on_open(id, opened, out);
        }
        self.sessions.insert(id, Session::new(opened));
        out.set_timer(id, HEAD_TIMEOUT);
    }

    fn on_data(&mut self, id: ConnId, mut data: Data<'_>, out: &mut Outbox) {
        match self.sessions.get(id) {
            None => self.protocol.on_data(id, data, out),
            Some(Session::Head(_)) => self.read_head(id, data, out),
            Some(Session::Open(_)) => self.read_frames(id, &mut data, out),
            Some(Session::Answered | Session::Closed) => {}
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        match self.sessions.get(id) {
            None => self.protocol.on_eof(id, out),
            Some(Session::Open(None)) => self.protocol.on_lost(id, out),
            // A peer that ends within a message has not said it.
            Some(Session::Head(_) | Session::Answered | Session::Open(Some(_))) => out.finish(id),
            // The protocol was told when the close frame came, and ends the connection in its time.
            Some(Session::Closed) => {}
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if self
            .sessions
            .remove(id)
            .is_none_or(|session| session.is_known())
        {
            self.protocol.on_close(id, why, out);
        }
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        match self.sessions.get(id) {
            // Browsers connect in advance, and may have nothing to ask.
            Some(Session::Head(knock)) if knock.head.is_empty() => out.finish(id),
            Some(Session::Head(_)) => self.refuse(id, Refusal::TooSlow, out),
            _ => self.protocol.on_timer(id, out),
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if self.is_known(id) {
            self.protocol.on_high_water(id, out);
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if self.is_known(id) {
            self.protocol.on_low_water(id, out);
        }
    }

    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        if self.is_known(id) {
            self.protocol.on_again(id, out);
        }
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.protocol.on_stop(out);
        let is_open = |session: &Session| matches!(session, Session::Open(_));
        let open = self.sessions.iter().filter(|(_, session)| is_open(session));
        let open: Vec<ConnId> = open.map(|(id, _)| id).collect();
        for id in open {
            self.close(id, Some(Code::GOING_AWAY), out);
        }
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "the protocol's own answer would be lost"
)]
impl<P: Server> Server for Web<P> {
    fn streams(&self) -> StandardStreams {
        self.protocol.streams()
    }

    fn on_listening(&mut self, at: &[Address], out: &mut Outbox) {
        self.protocol.on_listening(at, out);
    }

    fn figures(&self, now: Duration) -> Vec<Figure> {
        self.protocol.figures(now)
    }

    fn adjust(&mut self, limits: &mut Limits) {
        self.protocol.adjust(limits);
        // The protocol's words to a peer that is refused are no answer to a browser.
        limits.refusals.push((WEB, response::TOO_MANY));
    }

    fn takes_query(&self, query: &str) -> bool {
        self.protocol.takes_query(query)
    }

    fn on_visit(&mut self, id: ConnId, opened: Opened, query: &str, out: &mut Outbox) {
        self.protocol.on_visit(id, opened, query, out);
    }

    fn take_replaced(&mut self) -> Vec<ConnId> {
        self.protocol.take_replaced()
    }

    fn on_lost(&mut self, id: ConnId, out: &mut Outbox) {
        self.protocol.on_lost(id, out);
    }

    fn on_served(&mut self, out: &mut Outbox) {
        self.protocol.on_served(out);
    }

    fn on_start(&mut self, waker: Waker, out: &mut Outbox) {
        self.protocol.on_start(waker, out);
    }

    fn on_redraw(&mut self, out: &mut Outbox) {
        self.protocol.on_redraw(out);
    }

    fn reloads(&self) -> bool {
        self.protocol.reloads()
    }

    fn failure(&self) -> Option<String> {
        self.protocol.failure()
    }
}
