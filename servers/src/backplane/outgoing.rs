//! Entries on their way to the log: each gets there once, whatever happens to the connection.
//!
//! An entry is kept until it is read back. At most one *batch* is under way: all entries that were
//! waiting when the last one was acknowledged. A batch is appended as a whole or not at all, so entries
//! cannot overtake each other, and while a batch is under way the next one grows: the rate does not
//! suffer.
//!
//! A connection that is lost leaves a *doubt*: a batch under way may be in the log, or get there later,
//! and if the log itself was the cause, it may have lost what it had acknowledged. A gap leaves the same
//! doubt. So nothing is sent until the log was read to its end; what came back by then is done, and the
//! rest is sent again. A batch that arrives even later makes duplicates, which readers drop by their
//! stamps: its entries are the same, in the same order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Body, Entry, Origin, Position, Stamp};

/// Bytes of a batch, unless its first entry alone is longer.
const BATCH_MAX: usize = 64 * 1024;
/// Bytes that wait, above which the author should append no more.
const WAITING_MAX: usize = 1024 * 1024;

/// Entries that were not read back, the oldest first.
#[derive(Debug)]
pub(super) struct Outgoing {
    origin: Origin,
    /// The last sequence that was given out.
    seq: u64,
    waiting: VecDeque<Waiting>,
    /// Bytes of `waiting`.
    bytes: usize,
    /// So many of the first were sent.
    sent: usize,
    /// So many of the last of these belong to a batch that is not acknowledged.
    under_way: usize,
    /// A batch is not acknowledged, though its entries may have been read back.
    is_under_way: bool,
    /// It is not known whether those that were sent are in the log.
    is_doubtful: bool,
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    is_line: bool,
    /// Its place in the log, or that of a later entry of its batch, once it is acknowledged.
    at: Option<Position>,
    bytes: Arc<[u8]>,
    /// Time of the append, by the caller's clock; `None` until [`Outgoing::note_time`].
    since: Option<Duration>,
}

impl Outgoing {
    pub(super) fn new(origin: Origin) -> Outgoing {
        Outgoing {
            origin,
            seq: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            sent: 0,
            under_way: 0,
            is_under_way: false,
            is_doubtful: false,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Adds an entry behind the others.
    pub(super) fn push(&mut self, body: &Body<'_>) {
        self.seq += 1;
        let stamp = Stamp {
            origin: self.origin,
            seq: self.seq,
        };
        let bytes = Arc::<[u8]>::from(Entry::encode(stamp, body));
        self.bytes += bytes.len();
        self.waiting.push_back(Waiting {
            seq: self.seq,
            is_line: body.is_line(),
            at: None,
            bytes,
            since: None,
        });
    }

    /// Tells the time, soon after entries were added.
    pub(super) fn note_time(&mut self, now: Duration) {
        let new = self.waiting.iter_mut().rev();
        new.take_while(|waiting| waiting.since.is_none())
            .for_each(|waiting| waiting.since = Some(now));
    }

    /// Whether there is a batch to be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sent < self.waiting.len() && !self.is_under_way && !self.is_doubtful
    }

    /// The next batch, which is under way from now on. Call it only if there is one ready.
    pub(super) fn send(&mut self) -> impl ExactSizeIterator<Item = &[u8]> {
        debug_assert!(self.is_ready());
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let is_first = bytes == 0;
            bytes += waiting.bytes.len();
            is_first || bytes <= BATCH_MAX
        };
        let from = self.sent;
        self.is_under_way = true;
        self.under_way = self.waiting.range(from..).take_while(fits).count();
        self.sent += self.under_way;
        let batch = self.waiting.range(from..self.sent);
        batch.map(|waiting| &*waiting.bytes)
    }

    /// The batch under way is in the log, up to this place.
    pub(super) fn acknowledged(&mut self, at: Position) {
        let from = self.sent - self.under_way;
        for waiting in self.waiting.range_mut(from..self.sent) {
            waiting.at = Some(at);
        }
        (self.under_way, self.is_under_way) = (0, false);
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self) {
        self.gap();
        self.is_under_way = false;
    }

    /// The log may have lost entries.
    pub(super) fn gap(&mut self) {
        self.is_doubtful |= self.sent > 0;
    }

    /// Whether the log must be read to its end before a batch may be sent.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// After a gap the log begins at this place. Entries that were acknowledged at an earlier one have
    /// been trimmed; they have had their effect on other servers. If the log was restarted empty it begins
    /// before all others, and nothing is dropped. Returns as [`Outgoing::read_back`] does.
    pub(super) fn begins_at(&mut self, at: Position) -> Vec<Arc<[u8]>> {
        let is_trimmed = |waiting: &Waiting| waiting.at.is_some_and(|there| there < at);
        let trimmed = self.waiting.partition_point(is_trimmed);
        self.drop_first(trimmed, u64::MAX)
    }

    /// An entry was read from the log. If it is of this origin, all before it are in the log too. Returns
    /// those of them that were not read, since they were trimmed before, but for lines: these are missing
    /// here as those of others are.
    pub(super) fn read_back(&mut self, stamp: Stamp) -> Vec<Arc<[u8]>> {
        if stamp.origin != self.origin {
            return Vec::new();
        }
        let known = |waiting: &Waiting| waiting.seq <= stamp.seq;
        let known = self.waiting.partition_point(known);
        self.drop_first(known, stamp.seq)
    }

    /// Drops the first entries, and returns those before `seq` that are no lines.
    fn drop_first(&mut self, count: usize, seq: u64) -> Vec<Arc<[u8]>> {
        let mut unread = Vec::new();
        for waiting in self.waiting.drain(..count) {
            self.bytes -= waiting.bytes.len();
            if waiting.seq < seq && !waiting.is_line {
                unread.push(waiting.bytes);
            }
        }
        self.sent = self.sent.saturating_sub(count);
        self.under_way = self.under_way.min(self.sent);
        unread
    }

    /// The log was read to its end: what was not read back is sent again.
    pub(super) fn settled(&mut self) {
        (self.sent, self.under_way, self.is_doubtful) = (0, 0, false);
    }

    /// Number of entries that were not read back.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether entries are not acknowledged.
    pub(super) fn is_unsent(&self) -> bool {
        self.is_under_way || self.is_doubtful || self.sent < self.waiting.len()
    }

    /// Whether the author should append no more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > WAITING_MAX
    }

    /// The time at which the oldest entry was appended.
    pub(super) fn since(&self) -> Option<Duration> {
        self.waiting.front()?.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { server: 1, boot: 2 };

    fn with(count: usize) -> Outgoing {
        let mut outgoing = Outgoing::new(ORIGIN);
        (0..count).for_each(|_| outgoing.push(&Body::Stop));
        outgoing
    }

    /// Sends a batch, and returns its sequences.
    fn sent(outgoing: &mut Outgoing) -> Vec<u64> {
        assert!(outgoing.is_ready());
        let batch = outgoing.send();
        let seq = |bytes| {
            Entry::decode(Position::START, bytes)
                .expect("an entry")
                .stamp
                .seq
        };
        batch.map(seq).collect()
    }

    /// Reads an entry back, and returns how many before it were not.
    fn read_back(outgoing: &mut Outgoing, seq: u64) -> usize {
        let origin = outgoing.origin();
        outgoing.read_back(Stamp { origin, seq }).len()
    }

    #[test]
    fn a_batch_follows_when_the_last_one_is_acknowledged() {
        let mut outgoing = with(2);
        assert_eq!(sent(&mut outgoing), [1, 2]);
        outgoing.push(&Body::Stop);
        assert!(!outgoing.is_ready());
        outgoing.acknowledged(Position::START);
        assert_eq!(outgoing.len(), 3, "none was read back");
        assert_eq!(sent(&mut outgoing), [3]);
        assert_eq!(read_back(&mut outgoing, 1), 0);
        // It is read back before its acknowledgement; the second was trimmed.
        assert_eq!(read_back(&mut outgoing, 3), 1);
        outgoing.push(&Body::Stop);
        assert!(
            !outgoing.is_ready(),
            "the acknowledgement is for the former batch"
        );
        outgoing.acknowledged(Position::START);
        assert_eq!(sent(&mut outgoing), [4]);
    }

    #[test]
    fn a_doubtful_batch_is_sent_again_as_far_as_it_did_not_come_back() {
        let mut outgoing = with(3);
        sent(&mut outgoing);
        outgoing.lost();
        outgoing.push(&Body::Stop);
        assert!(outgoing.is_doubtful() && !outgoing.is_ready());
        read_back(&mut outgoing, 2);
        outgoing.settled();
        assert_eq!(sent(&mut outgoing), [3, 4]);
        outgoing.lost();
        read_back(&mut outgoing, 4);
        outgoing.settled();
        assert!(!outgoing.is_ready() && outgoing.len() == 0 && outgoing.bytes == 0);
        outgoing.lost();
        assert!(!outgoing.is_doubtful(), "nothing was under way");
    }

    #[test]
    fn what_the_log_has_lost_is_sent_again() {
        let mut outgoing = with(3);
        sent(&mut outgoing);
        outgoing.acknowledged(Position::START);
        read_back(&mut outgoing, 1);
        outgoing.gap();
        assert!(outgoing.is_doubtful());
        outgoing.settled();
        assert_eq!(sent(&mut outgoing), [2, 3]);
        outgoing.acknowledged(Position::START);
        read_back(&mut outgoing, 3);
        outgoing.gap();
        assert!(!outgoing.is_doubtful(), "all was read back");
    }

    #[test]
    fn what_was_trimmed_is_not_sent_again() {
        let at = |millis| Position { millis, index: 0 };
        let mut outgoing = with(2);
        sent(&mut outgoing);
        outgoing.acknowledged(at(5));
        outgoing.push(&Body::Ask);
        sent(&mut outgoing);
        outgoing.acknowledged(at(7));
        outgoing.gap();
        assert_eq!(outgoing.begins_at(Position::GENESIS).len(), 0);
        assert_eq!(outgoing.begins_at(at(6)).len(), 2);
        outgoing.settled();
        assert_eq!(sent(&mut outgoing), [3]);
    }

    #[test]
    fn a_batch_has_a_bound_but_for_its_first_entry() {
        let mut outgoing = Outgoing::new(ORIGIN);
        for bytes in [BATCH_MAX, BATCH_MAX - 80, 10, 10] {
            let body = Body::Notice {
                room: None,
                text: &vec![b'x'; bytes],
            };
            outgoing.push(&body);
        }
        for expected in [&[1][..], &[2, 3], &[4]] {
            assert_eq!(sent(&mut outgoing), expected);
            outgoing.acknowledged(Position::START);
        }
        assert!(!outgoing.is_full());
    }
}
