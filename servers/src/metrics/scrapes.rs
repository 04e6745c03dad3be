//! HTTP for scrapers: GET and HEAD of two paths, on connections that are kept for the next request.
//!
//! A connection has one request at a time. Input that follows a request before its answer is ignored, and that
//! answer is the connection's last: a client that sent more asks again on another one (RFC 9112, section
//! 9.3.2).

use std::mem;
use std::time::Duration;

use edgeloop_reactor::{
    Closed, ConnId, ConnMap, Data, Opened, Outbox, Peer, Protocol, RateLimitedLog,
};

use super::text::MEDIA_TYPE;
use crate::web::{Answered, Head, Policy, Refusal, Request};

/// The time for the whole head of a request: from its first byte, or from the start of the connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait of a connection for its next request: scrapers come every minute or more often.
const NEXT_TIMEOUT: Duration = Duration::from_secs(150);
const PLAIN: &str = "text/plain; charset=utf-8";

/// The connections of scrapers.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    sessions: ConnMap<Session>,
    /// Connections that wait for the metrics.
    waiting: Vec<ConnId>,
    /// The server is stopping: it is healthy no more.
    pub(super) is_stopping: bool,
    refusals: RateLimitedLog,
}

#[derive(Debug)]
struct Session {
    peer: Peer,
    head: Head,
    /// The manner of the answer that it waits for.
    asked: Option<Answered>,
}

impl Scrapes {
    /// Whether a connection waits for the metrics.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends the metrics to the connections that wait for them.
    pub(super) fn answer(&mut self, metrics: &str, out: &mut Outbox) {
        for id in mem::take(&mut self.waiting) {
            let asked = self.sessions.get_mut(id).and_then(|it| it.asked.take());
            if let Some(asked) = asked {
                self.send(id, &asked.page("200 OK", MEDIA_TYPE, metrics), asked, out);
            }
        }
    }

    /// Sends an answer, after which the connection waits for its next request or ends.
    fn send(&mut self, id: ConnId, answer: &[u8], asked: Answered, out: &mut Outbox) {
        out.send(id, answer);
        match self.sessions.get_mut(id) {
            Some(session) if asked.keeps_alive => {
                session.head = Head::default();
                out.set_timer(id, NEXT_TIMEOUT);
            }
            _ => out.finish(id),
        }
    }

    /// Sees to a request. An error is its refusal.
    fn request(&mut self, id: ConnId, is_last: bool, out: &mut Outbox) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        let request = session.head.parse_as(&["GET", "HEAD"]);
        let request = request.map_err(|refusal| match refusal {
            Refusal::NotGet => Refusal::NotGetOrHead,
            other => other,
        })?;
        check(&request, &session.peer)?;
        let mut asked = request.answered();
        asked.keeps_alive &= !is_last;
        match request.path {
            "/metrics" => {
                session.asked = Some(asked);
                out.clear_timer(id);
                self.waiting.push(id);
            }
            "/healthz" => {
                let (status, word) = match self.is_stopping {
                    true => ("503 Service Unavailable", "stopping\n"),
                    false => ("200 OK", "ok\n"),
                };
                self.send(id, &asked.page(status, PLAIN, word), asked, out);
            }
            _ => return Err(Refusal::NotFound),
        }
        Ok(())
    }

    fn refuse(&mut self, id: ConnId, refusal: Refusal, out: &mut Outbox) {
        if let Some(session) = self.sessions.get(id) {
            let (peer, why) = (session.peer, refusal.reason());
            let now_ms = out.now().as_millis() as u64;
            let line = format_args!("refused a request for metrics from {peer}: {why}");
            self.refusals.log(now_ms, line);
        }
        out.send(id, &refusal.answer());
        out.finish(id);
    }
}

/// A browser on this machine may run the page of a stranger, who has pointed a name of theirs here or sends
/// the request across sites. An operator's scraper on another machine knows this one by any name.
fn check(request: &Request<'_>, peer: &Peer) -> Result<(), Refusal> {
    match peer {
        Peer::Inet(at) if at.ip().to_canonical().is_loopback() => Policy::default()
            .check(request)
            .map_err(|refusal| match refusal {
                Refusal::Host | Refusal::Origin => Refusal::Foreign,
                other => other,
            }),
        _ => Ok(()),
    }
}

impl Protocol for Scrapes {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        let session = Session {
            peer: opened.peer,
            head: Head::default(),
            asked: None,
        };
        self.sessions.insert(id, session);
        out.set_timer(id, HEAD_TIMEOUT);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let Some(asked) = &mut session.asked {
            asked.keeps_alive = false;
            return;
        }
        if session.head.is_empty() {
            out.set_timer(id, HEAD_TIMEOUT);
        }
        let done = match session.head.push(&data) {
            Ok(None) => Ok(()),
            Ok(Some(len)) => self.request(id, len < data.len(), out),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(id, refusal, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        match self.sessions.get_mut(id).and_then(|it| it.asked.as_mut()) {
            // Its answer is still to come.
            Some(asked) => asked.keeps_alive = false,
            None => out.finish(id),
        }
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        match self.sessions.get(id) {
            Some(session) if !session.head.is_empty() => self.refuse(id, Refusal::TooSlow, out),
            _ => out.finish(id),
        }
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.sessions.remove(id);
    }
}
