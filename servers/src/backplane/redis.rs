//! The log in a Redis stream, with which several machines share a chat.
//!
//! [`RedisLog`] is a part of the protocol that owns it, since the reactor has one protocol for all
//! connections. It makes two connections of its own, with two tags that the owner gives it. The owner
//! hands it the callbacks of these ([`RedisLog::on_open`] and so on return whether they were meant for
//! it), and calls [`RedisLog::go_on`] at the end of each callback that appends, and at the time that
//! this returns.
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

use edgeloop_reactor::{Closed, ConnId, Outbox};

use self::reader::Reader;
use self::resp::Nonsense;
pub use self::target::Target;
use self::writer::Writer;
use super::entry::{Body, Entry, Origin};
use super::log::{Log, Read};

/// A log in Redis.
#[derive(Debug)]
pub struct RedisLog {
    reader: Reader,
    writer: Writer,
    reads: VecDeque<Read>,
    /// No entry was read since a gap.
    is_anew: bool,
    /// The time since which there is no way to read or append.
    down_since: Option<Duration>,
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
            reader: Reader::new(target, tags[0]),
            writer: Writer::new(target, tags[1], origin, entries_max),
            reads: VecDeque::new(),
            is_anew: false,
            down_since: Some(Duration::ZERO),
            is_stopping: false,
            now: Duration::ZERO,
        }
    }

    /// Whether a connection is one of this log.
    #[must_use]
    pub fn owns(&self, id: ConnId) -> bool {
        self.reader.link.id() == Some(id) || self.writer.link.id() == Some(id)
    }

    /// A connection is open. Returns whether it is one of this log.
    pub fn on_open(&mut self, id: ConnId, out: &mut Outbox) -> bool {
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
        self.go_on(out);
        true
    }

    /// A connect has failed. Returns whether it is one of this log.
    pub fn on_connect_error(
        &mut self,
        id: ConnId,
        tag: u64,
        why: Closed,
        out: &mut Outbox,
    ) -> bool {
        let now = out.now();
        if self.reader.link.id() == Some(id) {
            self.reader.link.connect_failed(why, now);
        } else if self.writer.link.id() == Some(id) {
            self.writer.link.connect_failed(why, now);
        }
        self.go_on(out);
        tag == self.reader.link.tag() || tag == self.writer.link.tag()
    }

    /// Bytes arrived. Returns whether they are for this log. [`Log::next`] may have something then.
    pub fn on_data(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) -> bool {
        if self.reader.link.id() == Some(id) {
            self.read(bytes, out);
        } else if self.writer.link.id() == Some(id) {
            self.hear(bytes, out);
        } else {
            return false;
        }
        self.go_on(out);
        true
    }

    /// A connection is gone, or its peer has ended. Returns whether it is one of this log.
    pub fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) -> bool {
        if self.reader.link.id() == Some(id) {
            self.reader.link.lost(why.reason(), out.now());
            self.reader.lost();
        } else if self.writer.link.id() == Some(id) {
            self.writer.link.lost(why.reason(), out.now());
            self.writer.lost();
        } else {
            return false;
        }
        self.go_on(out);
        true
    }

    /// Sends what waits, connects, and sees to deadlines. Returns the time, on the clock of
    /// [`Outbox::now`], at which it has to be called again if it was not called before. It is called at
    /// the start, after appends, at the end of the callback, and at that time.
    pub fn go_on(&mut self, out: &mut Outbox) -> Duration {
        self.now = out.now();
        self.reader.link.go_on(out);
        if !self.is_stopping || self.writer.outgoing.len() > 0 {
            let read_to = self.reader.is_at_end().then(|| self.reader.at());
            self.writer.go_on(read_to, self.now);
        }
        if self.writer.link.go_on(out) {
            self.writer.lost();
        }
        self.note_down();
        self.let_go(out);
        let deadlines = [
            self.reader.link.deadline(),
            self.writer.link.deadline(),
            self.writer.deadline(),
        ];
        // Without a connection there is always a deadline.
        deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// The reactor stops: the connections are held until all entries are acknowledged, within the grace
    /// period. Append [`Body::Stop`] before.
    pub fn stop(&mut self, out: &mut Outbox) {
        self.is_stopping = true;
        if let Some(id) = self.writer.link.id() {
            out.hold(id);
        }
        self.go_on(out);
    }

    fn let_go(&self, out: &mut Outbox) {
        if self.is_stopping
            && !self.writer.outgoing.is_unsent()
            && let Some(id) = self.writer.link.id()
        {
            out.release(id);
        }
    }

    /// The time, on the clock of [`Outbox::now`], since which the log is not of use: since there is no
    /// connection, or since the oldest entry was appended that was not read back. That is a short while
    /// ago if all is well: compare it with a patience of seconds.
    #[must_use]
    pub fn paused_since(&self) -> Option<Duration> {
        let waiting = self.writer.outgoing.since();
        self.down_since.into_iter().chain(waiting).min()
    }

    /// Whether so much waits that members who talk have to be paused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.writer.outgoing.is_full()
    }

    /// Number of appended entries that were not read back.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.writer.outgoing.len()
    }

    /// Age of the oldest entry that was appended and not read back: how far this server is behind.
    #[must_use]
    pub fn lag(&self, now: Duration) -> Duration {
        let since = self.writer.outgoing.since();
        since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// The time of the last call of [`RedisLog::go_on`], on the clock of [`Outbox::now`].
    #[must_use]
    pub fn clock(&self) -> Duration {
        self.now
    }

    /// Number of connections that were made after the first two.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        (self.reader.link.connects + self.writer.link.connects).saturating_sub(2)
    }

    fn note_down(&mut self) {
        match self.reader.link.is_open() && self.writer.link.is_open() {
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
                    self.reader.take(request, reply, out)
                }
                Err(Nonsense) => Err("this is not RESP".into()),
            };
            self.take_reads();
            if let Err(why) = taken {
                return self.reader.link.fail(&why, out);
            }
        }
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
                    self.reads.extend(unread.into_iter().map(Read::Unread));
                }
                Read::Unread(_) | Read::Beat(_) | Read::CaughtUp => {}
            }
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

impl Log for RedisLog {
    /// `now` is not used: the time of an entry is that of Redis.
    fn append<'a>(&mut self, body: Body<'a>, _now: Duration) -> Option<Entry<'a>> {
        self.writer.outgoing.push(&body, self.now);
        None
    }

    fn next(&mut self) -> Option<Read> {
        self.reads.pop_front()
    }
}
