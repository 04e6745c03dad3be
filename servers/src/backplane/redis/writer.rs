//! The connection that appends: entries to the log, one batch at a time, and heartbeats.
//!
//! A batch of more than one entry is a transaction (MULTI, EXEC): Redis appends all of it or nothing.
//! Any error but one is a reason to connect again after a while, since nothing is known of the batch
//! then. The exception is the first entry of the log, which each connection tries to append: Redis
//! takes it only if the log is empty.

use std::time::Duration;

use super::link::{Link, PATIENCE};
use super::reader::{Trouble, beat_content, first_record};
use super::resp::Value;
use super::target::Target;
use crate::backplane::entry::{Body, Entry, Origin, Position, Stamp};
use crate::backplane::outgoing::Outgoing;
use crate::backplane::presence::INTERVAL;

/// Heartbeats that are kept.
const BEATS_MAX: &[u8] = b"100";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// AUTH or SELECT.
    Greeting,
    /// The first entry of the log.
    Genesis,
    /// The end of the log.
    End,
    /// A command of a batch but for the last.
    Part,
    /// The last command of a batch.
    Batch,
    Beat,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) link: Link<Request>,
    pub(super) outgoing: Outgoing,
    log_key: Vec<u8>,
    beat_key: Vec<u8>,
    greeting: Vec<Vec<Vec<u8>>>,
    /// Entries of the log that are kept, about.
    entries_max: String,
    /// After a doubt, the end of the log as it was on this connection, once it is known.
    end: Option<Position>,
    /// The greeting of this connection was answered.
    is_ready: bool,
    beats_at: Duration,
}

impl Writer {
    pub(super) fn new(target: &Target, tag: u64, origin: Origin, entries_max: u64) -> Writer {
        Writer {
            link: Link::new(target.address.clone(), tag),
            outgoing: Outgoing::new(origin),
            log_key: target.log_key(),
            beat_key: target.beat_key(),
            greeting: target.greeting(),
            entries_max: entries_max.to_string(),
            end: None,
            is_ready: false,
            beats_at: Duration::ZERO,
        }
    }

    pub(super) fn greet(&mut self, now: Duration) {
        (self.is_ready, self.end, self.beats_at) = (false, None, now);
        for words in &self.greeting {
            let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            self.link.ask(Request::Greeting, &words, PATIENCE, now);
        }
        let stamp = Stamp {
            origin: self.outgoing.origin(),
            seq: 0,
        };
        let (id, entry) = (
            Position::GENESIS.to_string(),
            Entry::encode(stamp, &Body::Reset),
        );
        let words = [b"XADD", &*self.log_key, id.as_bytes(), b"e", &entry];
        self.link.ask(Request::Genesis, &words, PATIENCE, now);
        let words = [b"XREVRANGE", &*self.log_key, b"+", b"-", b"COUNT", b"1"];
        self.link.ask(Request::End, &words, PATIENCE, now);
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self) {
        self.is_ready = false;
        self.outgoing.lost();
    }

    /// Takes a reply in.
    pub(super) fn take(&mut self, request: Request, reply: &Value) -> Result<(), Trouble> {
        match (request, reply) {
            (Request::Genesis, Value::Error(error)) if is_older_id(error) => {}
            (_, Value::Error(error)) => return Err(String::from_utf8_lossy(error).into_owned()),
            (Request::End, Value::Array(_)) => {
                self.end = Some(
                    first_record(reply)
                        .map(|record| record.at)
                        .unwrap_or_default(),
                );
                self.is_ready = true;
                self.link.note_well();
            }
            (Request::Batch, reply) => self.acknowledged(reply)?,
            (Request::End, _) => return Err("a reply of another form".into()),
            _ => {}
        }
        Ok(())
    }

    /// A batch was appended: the reply is the id of its entry, or those of all.
    fn acknowledged(&mut self, reply: &Value) -> Result<(), Trouble> {
        let replies = match reply {
            Value::Array(replies) => replies,
            reply => std::slice::from_ref(reply),
        };
        let mut last = None;
        for reply in replies {
            last = match reply {
                Value::Bulk(id) => str::from_utf8(id).ok().and_then(|id| id.parse().ok()),
                Value::Error(error) => return Err(String::from_utf8_lossy(error).into_owned()),
                _ => None,
            };
        }
        self.outgoing
            .acknowledged(last.ok_or("a reply of another form")?);
        self.link.note_well();
        Ok(())
    }

    /// Asks for what is due: a heartbeat, a batch. `read_to`: the place up to which the log was read, if
    /// that was its end when the reader's connection was made.
    pub(super) fn go_on(&mut self, read_to: Option<Position>, now: Duration) {
        if !self.is_ready {
            return;
        }
        if now >= self.beats_at && !self.link.any_request(|request| request == Request::Beat) {
            self.beats_at = now + INTERVAL;
            let content = beat_content(self.outgoing.origin());
            let key = &*self.beat_key;
            let words = [b"XADD", key, b"MAXLEN", BEATS_MAX, b"*", b"o", &content];
            self.link.ask(Request::Beat, &words, PATIENCE, now);
        }
        let is_read = read_to.zip(self.end).is_some_and(|(read, end)| read >= end);
        if self.outgoing.is_doubtful() && is_read {
            self.outgoing.settled();
        }
        if self.outgoing.is_ready() {
            self.send(now);
        }
    }

    /// A stream from which nothing more comes has no entry up to the end that was found, if it is not
    /// read yet: it was trimmed.
    pub(super) fn nothing_is_left(&mut self) {
        if self.end.is_some() {
            self.end = Some(Position::START);
        }
    }

    fn send(&mut self, now: Duration) {
        let (key, max) = (&*self.log_key, self.entries_max.as_bytes());
        let batch = self.outgoing.send();
        let count = batch.len();
        if count > 1 {
            self.link.ask(Request::Part, &[b"MULTI"], PATIENCE, now);
        }
        let request = if count > 1 {
            Request::Part
        } else {
            Request::Batch
        };
        for entry in batch {
            let words = [b"XADD", key, b"MAXLEN", b"~", max, b"*", b"e", entry];
            self.link.ask(request, &words, PATIENCE, now);
        }
        if count > 1 {
            self.link.ask(Request::Batch, &[b"EXEC"], PATIENCE, now);
        }
    }

    /// The time at which a heartbeat is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.is_ready.then_some(self.beats_at)
    }
}

/// The error for an id that is not above the last one.
fn is_older_id(error: &[u8]) -> bool {
    error.starts_with(b"ERR The ID specified in XADD")
}
