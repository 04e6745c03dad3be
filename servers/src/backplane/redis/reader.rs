//! The connection that reads both streams.
//!
//! On each connection the reader first asks where the log ends at the moment, so that it is known when
//! all of it was read. From then on one XREAD waits for new entries at a time. Before each of them, in
//! the same packet, the reader asks for the entry that it has read last. If that is not there, or
//! another one is in its place, the log has lost entries which were not read: it was trimmed, restarted
//! empty, or has lost its end. That is a gap, after which the reader begins at the start of the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::link::{Link, PATIENCE};
use super::resp::Value;
use super::target::Target;
use crate::backplane::entry::{Origin, Position};
use crate::backplane::log::{Beat, Read, Record};

/// Milliseconds for which an XREAD waits for entries.
const BLOCK: u64 = 5000;
/// Most entries of one reply.
const COUNT: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// AUTH or SELECT.
    Greeting,
    /// The entry that was read last.
    Last,
    /// The end of the log.
    End,
    Entries,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) link: Link<Request>,
    log_key: Vec<u8>,
    beat_key: Vec<u8>,
    greeting: Vec<Vec<Vec<u8>>>,
    /// The entry that was read last.
    last: Option<Record>,
    at: Position,
    beat_at: Position,
    /// The end of the log when the connection was made.
    end: Position,
    /// All was read that the log had when the connection was made.
    is_at_end: bool,
    /// There was no request for entries on this connection.
    is_connected_anew: bool,
    /// The last request for entries was one of several that follow each other up to the end of the log.
    is_behind: bool,
    /// There was a gap since the last request for entries.
    is_anew: bool,
    /// The caller was told so since the start or the last gap.
    has_caught_up: bool,
    count: u64,
    /// More is to be asked for.
    is_due: bool,
    /// Entries of the reply that is being looked at.
    pub(super) reads: VecDeque<Read>,
}

/// The reason why a connection is of no use.
pub(super) type Trouble = String;

impl Reader {
    pub(super) fn new(target: &Target, tag: u64) -> Reader {
        Reader {
            link: Link::new(target.address.clone(), tag),
            log_key: target.log_key(),
            beat_key: target.beat_key(),
            greeting: target.greeting(),
            last: None,
            at: Position::START,
            beat_at: Position::START,
            end: Position::START,
            is_at_end: false,
            is_connected_anew: false,
            is_behind: false,
            is_anew: false,
            has_caught_up: false,
            count: COUNT,
            is_due: false,
            reads: VecDeque::new(),
        }
    }

    /// The place of the entry that was read last.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Whether all was read that the log had when the connection was made.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end && self.link.is_open()
    }

    pub(super) fn greet(&mut self, now: Duration) {
        (self.is_at_end, self.is_connected_anew) = (false, true);
        for words in &self.greeting {
            let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            self.link.ask(Request::Greeting, &words, PATIENCE, now);
        }
        let words = [b"XREVRANGE", &*self.log_key, b"+", b"-", b"COUNT", b"1"];
        self.link.ask(Request::End, &words, PATIENCE, now);
    }

    /// The connection is lost. On one that is often cut, long replies never arrive.
    pub(super) fn lost(&mut self) {
        self.is_due = false;
        self.count = (self.count / 2).max(1);
    }

    /// Takes a reply in. What it has for the caller is in `reads`.
    pub(super) fn take(&mut self, request: Request, reply: Value) -> Result<(), Trouble> {
        if let Value::Error(error) = &reply {
            return Err(String::from_utf8_lossy(error).into_owned());
        }
        let is_list = matches!(reply, Value::Array(_));
        if matches!(request, Request::Last | Request::End) && !is_list {
            return Err("a reply of another form".into());
        }
        match request {
            Request::Greeting => return Ok(()),
            Request::Last => {
                if first_record(&reply) != self.last {
                    self.note_gap();
                }
                return Ok(());
            }
            Request::End => {
                self.end = first_record(&reply)
                    .map(|record| record.at)
                    .unwrap_or_default();
            }
            // These follow a place that is none any more.
            Request::Entries if self.is_anew => {}
            Request::Entries => self.take_entries(reply)?,
        }
        self.link.note_well();
        self.look_for_end();
        self.is_due = true;
        Ok(())
    }

    /// The log has lost entries. It is read from its start; but if the reader is behind, the log was
    /// trimmed, and what is left follows anyway. A log that is trimmed as fast as it is read would be read
    /// from its start for ever.
    fn note_gap(&mut self) {
        self.reads.push_back(Read::Gap);
        self.has_caught_up = false;
        if self.is_behind {
            self.last = None;
            return;
        }
        (self.last, self.is_at_end) = (None, false);
        (self.at, self.beat_at) = (Position::START, Position::START);
        self.is_anew = true;
    }

    fn look_for_end(&mut self) {
        self.is_at_end |= self.at >= self.end && !self.is_anew;
        if self.is_at_end && !std::mem::replace(&mut self.has_caught_up, true) {
            self.reads.push_back(Read::CaughtUp);
        }
    }

    /// Asks for more entries, unless the last request for some has no reply yet. The caller has room for
    /// a reply.
    pub(super) fn ask(&mut self, now: Duration) {
        if !std::mem::take(&mut self.is_due) {
            return;
        }
        self.is_anew = false;
        self.is_behind = !self.is_at_end && !std::mem::take(&mut self.is_connected_anew);
        if self.last.is_some() {
            let id = self.at.to_string();
            let words = [b"XRANGE", &*self.log_key, id.as_bytes(), id.as_bytes()];
            self.link.ask(Request::Last, &words, PATIENCE, now);
        }
        let (count, block) = (self.count.to_string(), BLOCK.to_string());
        let (at, beat_at) = (self.at.to_string(), self.beat_at.to_string());
        let mut words = vec![&b"XREAD"[..], b"COUNT", count.as_bytes()];
        let mut patience = PATIENCE;
        if self.is_at_end {
            words.extend([&b"BLOCK"[..], block.as_bytes()]);
            patience += Duration::from_millis(BLOCK);
        }
        words.extend([&b"STREAMS"[..], &self.log_key, &self.beat_key]);
        words.extend([at.as_bytes(), beat_at.as_bytes()]);
        self.link.ask(Request::Entries, &words, patience, now);
    }

    fn take_entries(&mut self, reply: Value) -> Result<(), Trouble> {
        let streams = match reply {
            // There is nothing more, whatever was trimmed before the end that was found.
            Value::Nil => {
                self.is_at_end = true;
                return Ok(());
            }
            Value::Array(streams) => streams,
            _ => return Err("a reply of another form".into()),
        };
        let before = (self.at, self.beat_at);
        for stream in streams {
            let Value::Array(mut stream) = stream else {
                break;
            };
            let (Some(Value::Array(entries)), Some(Value::Bulk(key))) =
                (stream.pop(), stream.pop())
            else {
                break;
            };
            match key == self.log_key {
                true => self.take_records(&entries),
                false => self.take_beats(&entries),
            }
        }
        if before != (self.at, self.beat_at) {
            self.count = (2 * self.count).min(COUNT);
            return Ok(());
        }
        // Entries that are too large for one reply come one by one; the id of the first always comes.
        match std::mem::replace(&mut self.count, 1) {
            1 => Err("entries of another form".into()),
            _ => Ok(()),
        }
    }

    fn take_records(&mut self, entries: &[Value]) {
        for entry in entries {
            let Some(record) = record(entry).filter(|record| record.at > self.at) else {
                return;
            };
            self.at = record.at;
            self.last = Some(record.clone());
            self.reads.push_back(Read::Record(record));
        }
    }

    fn take_beats(&mut self, entries: &[Value]) {
        for entry in entries {
            let Some((at, content)) = id_and_content(entry).filter(|(at, _)| *at > self.beat_at)
            else {
                return;
            };
            self.beat_at = at;
            if let Some(origin) = content.and_then(beat_origin) {
                let millis = at.millis;
                self.reads.push_back(Read::Beat(Beat { origin, millis }));
            }
        }
    }
}

/// The first entry of a list.
pub(super) fn first_record(reply: &Value) -> Option<Record> {
    match reply {
        Value::Array(entries) => record(entries.first()?),
        _ => None,
    }
}

/// An entry of the log. One of another form than ours has no bytes, and so is unreadable.
fn record(entry: &Value) -> Option<Record> {
    let (at, content) = id_and_content(entry)?;
    let bytes = Arc::from(content.unwrap_or_default());
    Some(Record { at, bytes })
}

/// The id of an entry of a stream, and its content if it has one field only.
fn id_and_content(entry: &Value) -> Option<(Position, Option<&[u8]>)> {
    let Value::Array(parts) = entry else {
        return None;
    };
    let Value::Bulk(id) = parts.first()? else {
        return None;
    };
    let at = str::from_utf8(id).ok()?.parse().ok()?;
    let content = match parts.get(1) {
        Some(Value::Array(fields)) => match &fields[..] {
            [Value::Bulk(_), Value::Bulk(content)] => Some(&content[..]),
            _ => None,
        },
        _ => None,
    };
    Some((at, content))
}

/// The server of a heartbeat: its number and that of its run.
fn beat_origin(content: &[u8]) -> Option<Origin> {
    let (server, boot) = content.split_at_checked(size_of::<u64>())?;
    Some(Origin {
        server: u64::from_le_bytes(server.try_into().ok()?),
        boot: u64::from_le_bytes(boot.try_into().ok()?),
    })
}

/// The content of a heartbeat.
pub(super) fn beat_content(origin: Origin) -> Vec<u8> {
    [origin.server.to_le_bytes(), origin.boot.to_le_bytes()].concat()
}
