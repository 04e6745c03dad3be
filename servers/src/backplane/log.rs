//! The log, as a chat sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::encoding::Unreadable;
use super::entry::{Body, Entry, Origin, Position};

/// An ordered log of all that happens, shared with other servers or not.
///
/// A server does what it reads, its own entries included: whatever it wants to happen it appends, and
/// nothing happens before the entry is read back. All servers read the same entries in one order.
pub trait Log: fmt::Debug {
    /// Appends an entry.
    ///
    /// If it is returned, it is the next one in the log: it happens now. `None`: it happens when
    /// [`Log::next`] returns it. Entries of one server stay in the order in which they were appended,
    /// and each is read once, whatever happens to the way to the log; they are lost only with their
    /// server. `now` is the time since 1970; a log with a clock of its own does not use it.
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>>;

    /// What is read next; `None` if there is nothing at the moment.
    fn next(&mut self) -> Option<Read>;
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
    /// What the log still has is read, so entries that were read before may come again.
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
