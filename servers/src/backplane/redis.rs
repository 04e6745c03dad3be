//! The log in a Redis stream, with which several machines share a chat.
//!
//! [`RedisLog`] makes two connections of its own, with two tags that its owner gives it: one that
//! reads, and one that appends. The owner offers it their callbacks, as [`Log`] says.
//!
//! | file | subject |
//! |---|---|
//! | `redis.rs` | the log, as its owner sees it |
//! | `redis/reader.rs` | the connection that reads: gaps, the end of the log |
//! | `redis/writer.rs` | the connection that appends: batches, heartbeats |
//! | `redis/link.rs` | what both have in common: connecting again, deadlines |
//! | `redis/resp.rs` | RESP2 |
//! | `redis/target.rs` | the URL |

mod link;
mod reader;
mod resp;
mod target;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Outbox, RateLimitedLog};

use self::reader::Reader;
use self::resp::Nonsense;
pub use self::target::Target;
use self::writer::Writer;
use super::entry::{Body, Entry, Origin};
use super::log::{Health, Log, Read};
use crate::harmless::harmless;

/// Bytes of entries that were read and not taken, from which on no more are asked for.
const READS_MAX: usize = 4 * 1024 * 1024;
/// Bytes that one of them counts besides its own.
const OVERHEAD: usize = 64;
/// Time after which room for more is looked for.
const ROOM_INTERVAL: Duration = Duration::from_millis(1);

/// A log in Redis.
#[derive(Debug)]
pub struct RedisLog {
    /// The address of Redis, for people.
    place: String,
    reader: Reader,
    writer: Writer,
    /// Reads that were not taken.
    reads: VecDeque<Read>,
    /// Bytes of `reads`.
    bytes: usize,
    /// No entry was read since a gap.
    is_anew: bool,
    /// The time since which there is no way to read or append.
    down_since: Option<Duration>,
    /// The state of which the log of the server tells: Redis can be used, or cannot; `None`: nothing yet.
    told_well: Option<bool>,
    losses: RateLimitedLog,
    is_stopping: bool,
    now: Duration,
}

impl RedisLog {
    /// The log of this server, which has read nothing. The host of `target` must be
    /// [resolved](edgeloop_reactor::Address::resolved). `tags`: those of the two connections.
    /// `entries_max`: about how many entries Redis keeps.
    #[must_use]
    pub fn new(target: &Target, origin: Origin, tags: [u64; 2], entries_max: u64) -> RedisLog {
        RedisLog {
            place: target.address.to_string(),
            reader: Reader::new(target, tags[0]),
            writer: Writer::new(target, tags[1], origin, entries_max),
            reads: VecDeque::new(),
            bytes: 0,
            is_anew: false,
            down_since: Some(Duration::ZERO),
            told_well: None,
            losses: RateLimitedLog::default(),
            is_stopping: false,
            now: Duration::ZERO,
        }
    }

    /// Once the reactor stops: ends the connections if all entries are acknowledged, or cannot be.
    fn let_go(&self, out: &mut Outbox) {
        let outgoing = &self.writer.outgoing;
        // Nothing is connected any more during a stop.
        let is_lost = outgoing.is_doubtful() && !self.reader.link.is_open();
        if self.is_stopping && (is_lost || !outgoing.is_unsent()) {
            let ids = [self.reader.link.id(), self.writer.link.id()];
            ids.into_iter().flatten().for_each(|id| out.release(id));
        }
    }

    /// Tells the log of the server that Redis cannot be used, or can be again: one line for both
    /// connections.
    fn tell(&mut self) {
        let troubles = [
            self.reader.link.trouble.take(),
            self.writer.link.trouble.take(),
        ];
        let now_ms = self.now.as_millis() as u64;
        if let Some(why) = troubles.into_iter().flatten().next()
            && self.told_well != Some(false)
            && !self.is_stopping
            && self.losses.is_open(now_ms)
        {
            let (at, why) = (&self.place, harmless(why.as_bytes()));
            self.losses
                .log(now_ms, format_args!("cannot use redis at {at}: {why}"));
            self.told_well = Some(false);
        }
        let is_well = self.reader.link.is_well() && self.writer.link.is_well();
        if is_well && self.told_well.replace(true) != Some(true) {
            log::info!("connected to redis at {}", self.place);
        }
    }

    /// A connection that is open may be of no use: the kernel accepts it for a Redis that is stopped.
    fn note_down(&mut self) {
        match self.reader.link.is_well() && self.writer.link.is_well() {
            true => self.down_since = None,
            false => self.down_since = self.down_since.or(Some(self.now)),
        }
    }

    fn read(&mut self, mut bytes: &[u8], out: &mut Outbox) {
        loop {
            let taken = match self.reader.link.reply(&mut bytes) {
                Ok(None) => return,
                Ok(Some((request, reply))) => {
                    let is_idle = request == reader::Request::Entries && reply == resp::Value::Nil;
                    if is_idle {
                        self.writer.nothing_is_left();
                    }
                    self.reader.take(request, reply)
                }
                Err(Nonsense) => Err("this is not RESP".into()),
            };
            self.take_reads();
            if let Err(why) = taken {
                return self.reader.link.fail(&why, out);
            }
            self.ask_for_more(out.now());
        }
    }

    /// Asks for more entries if there is room for them, and returns whether there is.
    fn ask_for_more(&mut self, now: Duration) -> bool {
        let has_room = self.bytes < READS_MAX;
        if has_room {
            self.reader.ask(now);
        }
        has_room
    }

    fn take_reads(&mut self) {
        let outgoing = &mut self.writer.outgoing;
        for read in self.reader.reads.drain(..) {
            match &read {
                Read::Gap => {
                    outgoing.gap();
                    self.is_anew = true;
                }
                Read::Record(record) => {
                    let mut unread = match mem::take(&mut self.is_anew) {
                        true => outgoing.begins_at(record.at),
                        false => Vec::new(),
                    };
                    if let Ok(entry) = record.entry() {
                        unread.extend(outgoing.read_back(entry.stamp));
                    }
                    self.bytes += unread.iter().map(|bytes| cost(bytes)).sum::<usize>();
                    self.reads.extend(unread.into_iter().map(Read::Unread));
                }
                Read::Unread(_) | Read::Beat(_) | Read::CaughtUp => {}
            }
            self.bytes += size(&read);
            self.reads.push_back(read);
        }
    }

    fn hear(&mut self, mut bytes: &[u8], out: &mut Outbox) {
        loop {
            let taken = match self.writer.link.reply(&mut bytes) {
                Ok(None) => return,
                Ok(Some((request, reply))) => self.writer.take(request, &reply),
                Err(Nonsense) => Err("this is not RESP".into()),
            };
            if let Err(why) = taken {
                self.writer.link.fail(&why, out);
                return self.writer.lost();
            }
        }
    }
}

/// Bytes that an entry counts.
fn cost(bytes: &[u8]) -> usize {
    OVERHEAD + bytes.len()
}

/// Bytes that a read counts.
fn size(read: &Read) -> usize {
    match read {
        Read::Record(record) => cost(&record.bytes),
        Read::Unread(bytes) => cost(bytes),
        Read::Beat(_) | Read::Gap | Read::CaughtUp => cost(&[]),
    }
}

impl Log for RedisLog {
    /// `now` is not used: the time of an entry is that of Redis.
    fn append<'a>(&mut self, body: Body<'a>, _now: Duration) -> Option<Entry<'a>> {
        self.writer.outgoing.push(&body);
        None
    }

    fn next(&mut self) -> Option<Read> {
        let read = self.reads.pop_front()?;
        self.bytes -= size(&read);
        Some(read)
    }

    fn go_on(&mut self, out: &mut Outbox) -> Option<Duration> {
        self.now = out.now();
        self.writer.outgoing.note_time(self.now);
        let has_room = self.ask_for_more(self.now);
        if !self.is_stopping {
            self.reader.link.connect(out);
            self.writer.link.connect(out);
        }
        if self.reader.link.go_on(out) {
            self.reader.lost();
        }
        if !self.is_stopping || self.writer.outgoing.len() > 0 {
            let read_to = self.reader.is_at_end().then(|| self.reader.at());
            self.writer.go_on(read_to, self.now);
        }
        if self.writer.link.go_on(out) {
            self.writer.lost();
        }
        self.note_down();
        self.tell();
        self.let_go(out);
        let room = (!has_room).then(|| self.now + ROOM_INTERVAL);
        let [reader, writer] = [self.reader.link.deadline(), self.writer.link.deadline()];
        let deadlines = match self.is_stopping {
            // A connection that is lost is not made again.
            true => [
                room,
                reader.filter(|_| self.reader.link.is_open()),
                writer.filter(|_| self.writer.link.is_open()),
                None,
            ],
            false => [room, reader, writer, self.writer.deadline()],
        };
        deadlines.into_iter().flatten().min()
    }

    fn stop(&mut self, out: &mut Outbox) {
        self.is_stopping = true;
        let ids = [self.reader.link.id(), self.writer.link.id()];
        ids.into_iter().flatten().for_each(|id| out.hold(id));
        self.go_on(out);
    }

    fn health(&self) -> Health {
        let outgoing = &self.writer.outgoing;
        let connects = self.reader.link.connects + self.writer.link.connects;
        Health {
            is_full: outgoing.is_full(),
            paused_since: self.down_since.into_iter().chain(outgoing.since()).min(),
            unread_since: outgoing.since(),
            pending: outgoing.len(),
            reconnects: connects.saturating_sub(2),
        }
    }

    fn on_open(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let now = out.now();
        if self.reader.link.id() == Some(id) {
            self.reader.link.opened(id);
            self.reader.greet(now);
        } else if self.writer.link.id() == Some(id) {
            self.writer.link.opened(id);
            self.writer.greet(now);
        } else {
            return false;
        }
        true
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) -> bool {
        let now = out.now();
        if self.reader.link.id() == Some(id) {
            self.reader.link.lost(why.reason(), now);
        } else if self.writer.link.id() == Some(id) {
            self.writer.link.lost(why.reason(), now);
        }
        tag == self.reader.link.tag() || tag == self.writer.link.tag()
    }

    fn on_data(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) -> bool {
        if self.reader.link.id() == Some(id) {
            self.read(bytes, out);
        } else if self.writer.link.id() == Some(id) {
            self.hear(bytes, out);
        } else {
            return false;
        }
        true
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) -> bool {
        if self.reader.link.id() == Some(id) {
            self.reader.link.lost(why.reason(), out.now());
            self.reader.lost();
        } else if self.writer.link.id() == Some(id) {
            self.writer.link.lost(why.reason(), out.now());
            self.writer.lost();
        } else {
            return false;
        }
        true
    }
}
