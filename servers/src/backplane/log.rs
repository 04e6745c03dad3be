//! The log, as a chat sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Outbox, Waker};

use super::encoding::Unreadable;
use super::entry::{Body, Entry, Origin, Position};

/// An ordered log of all that happens, shared with other servers or not.
///
/// A server does what it reads, its own entries included: whatever it wants to happen it appends, and
/// nothing happens before the entry is read back. All servers read the same entries in one order.
///
/// A log may have connections of its own, since a reactor has one protocol for all connections: their
/// callbacks are offered to it first, and it returns whether they were meant for it. A log without
/// connections leaves these methods as they are.
pub trait Log: fmt::Debug {
    /// Appends an entry.
    ///
    /// If it is returned, it is the next one in the log: it happens now. `None`: it happens when
    /// [`Log::next`] returns it. Entries of one server stay in the order in which they were appended,
    /// and each is read once, whatever happens to the way to the log; they are lost only with their
    /// server. `now` is the time since 1970; a log with a clock of its own does not use it.
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>>;

    /// The next thing that is read; `None` if there is nothing at the moment.
    fn next(&mut self) -> Option<Read>;

    /// Publishes what was appended, and sees to connections and deadlines. It is called once at the
    /// start, soon after appends, and at the time, on the clock of [`Outbox::now`], that it has returned
    /// last; `None` is no time. There may be something to read then.
    fn go_on(&mut self, out: &mut Outbox) -> Option<Duration> {
        let _ = out;
        None
    }

    /// Wakes this server's reactor, whose protocol hears
    /// [`on_wake`](edgeloop_reactor::Protocol::on_wake), when another thread has something for it: there
    /// may be something to read then. Called once, at the start.
    fn wake_with(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// The reactor stops: the log holds its connections until all entries are acknowledged, within the
    /// grace period. [`Body::Stop`] was appended before.
    fn stop(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// How well it does.
    fn health(&self) -> Health {
        Health::default()
    }

    /// A connection is open.
    fn on_open(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let _ = (id, out);
        false
    }

    /// A connect has failed.
    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) -> bool {
        let _ = (id, tag, why, out);
        false
    }

    /// Bytes arrived. There may be something to read then.
    fn on_data(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox) -> bool {
        let _ = (id, bytes, out);
        false
    }

    /// A connection is gone, or its peer has ended.
    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) -> bool {
        let _ = (id, why, out);
        false
    }
}

/// How well a log does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// So much waits to be appended that members who talk have to be paused.
    pub is_full: bool,
    /// The time, on the clock of [`Outbox::now`], since which the log is not of use: there is no way to
    /// it, or the oldest entry that was appended is not read back. That is a short while ago if all is
    /// well: compare it with a patience of seconds.
    pub paused_since: Option<Duration>,
    /// The time, on that clock, at which the oldest entry was appended that is not read back.
    pub unread_since: Option<Duration>,
    /// Number of entries that were appended and not read back.
    pub pending: usize,
    /// Number of connections that were made after the first ones.
    pub reconnects: u64,
}

/// Something that was read from a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// An entry.
    Record(Record),
    /// An own entry, no line, that was trimmed before it was read: it has had its effect on others, at a
    /// place that is not known. It comes after a gap.
    Unread(Arc<[u8]>),
    /// A server is alive.
    Beat(Beat),
    /// Entries are missing, or may be: those that follow need not follow the last one that was read.
    /// All that the log still has is read, so entries that were read before may come again.
    Gap,
    /// The end of the log was reached, for the first time since the start or since a gap.
    CaughtUp,
}

/// An entry as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub at: Position,
    /// Its encoding. All readers within a process share it.
    pub bytes: Arc<[u8]>,
}

impl Record {
    /// The entry.
    pub fn entry(&self) -> Result<Entry<'_>, Unreadable> {
        Entry::decode(self.at, &self.bytes)
    }
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The server.
    pub origin: Origin,
    /// The time by the clock of the log, in milliseconds since 1970.
    pub millis: u64,
}
