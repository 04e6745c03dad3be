//! Deadlines: a heap that knows where each entry lies.
//!
//! The loop asks one question before each wait: which deadline is the earliest? Each connection may
//! have a deadline, and most deadlines move or are cancelled before they come due.
//!
//! # The structure
//!
//! A binary heap answers the question in O(1), but it cannot find the entry of a given connection.
//! A program that only pushes entries, and skips the outdated ones when they come up, collects an
//! entry for each time a timer was set: with a timeout of a minute and a thousand messages a
//! second, sixty thousand for one connection. So this heap keeps a table beside it with the place
//! of each key's entry. Every key has at most one entry, and setting it again moves the entry.
//! Setting and cancelling are O(log n); setting a deadline later than all others, as the idle
//! timeout of a new connection is, is O(1).
//!
//! A timing wheel would be O(1) throughout, but must be turned through empty slots, or be searched
//! for the next deadline, and rounds deadlines to its slots. With the lazy deadlines below the heap
//! is touched so rarely that O(log n) does not show.
//!
//! # Lazy deadlines
//!
//! The trick that makes idle timeouts nearly free is not here but in `core/patience.rs`: traffic on
//! a connection does not set its timer, but only notes the time. When the timer fires, the deadline
//! is computed again from that note, and if it has moved, the timer is set anew. A connection that
//! moves a million messages a minute touches the heap once a minute.
//!
//! # What could go wrong
//!
//! A timer must not fire early, so durations are rounded up to whole milliseconds. Additions must
//! not overflow for [`Duration::MAX`], so they saturate. And the timer of a connection must not
//! fire for the next tenant of its slot: a key names a slot, not a connection. The deadline of
//! [`TimerKey::Conn`] is computed from the tenant's own state whenever it fires, so a stale one
//! does no harm; [`TimerKey::Protocol`] is cancelled when its connection closes.

use std::time::Duration;

/// Milliseconds since the reactor was made, on the monotonic clock.
pub(crate) type Millis = u64;

/// A duration in whole milliseconds, rounded up so that no timer fires early. Saturates.
pub(crate) fn millis(duration: Duration) -> Millis {
    let rest = duration.subsec_nanos().div_ceil(1_000_000);
    duration
        .as_secs()
        .saturating_mul(1_000)
        .saturating_add(rest.into())
}

/// The owner of a deadline, of which it has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// The protocol's service timer, which belongs to no connection.
    Service,
    /// Starved sources, for which the kernel lacked memory or descriptors, try again.
    Retry,
    /// The periodic report of the counters is due.
    Stats,
    /// The grace period of a stop ends.
    Grace,
    /// The search for vanished peers goes on.
    Search,
    /// A connect to a name with several addresses tries the next one.
    NextAddress,
    /// The nested loop has a deadline of its own.
    Nested,
    /// The reactor's own deadline of the connection in this slot: connect, idle, stall or linger
    /// timeout.
    Conn(u32),
    /// The protocol's timer for the connection in this slot.
    Protocol(u32),
}

/// Indices below this belong to the keys without a slot; from here on each slot has two. It is
/// even, so that `Conn` has even indices and `Protocol` odd ones.
const FIRST_SLOT: u32 = 8;

impl TimerKey {
    /// The key as a number, which fits the low bits of an [`Entry`].
    fn index(self) -> u32 {
        match self {
            TimerKey::Service => 0,
            TimerKey::Retry => 1,
            TimerKey::Stats => 2,
            TimerKey::Grace => 3,
            TimerKey::Search => 4,
            TimerKey::NextAddress => 5,
            TimerKey::Nested => 6,
            TimerKey::Conn(slot) => FIRST_SLOT + 2 * slot,
            TimerKey::Protocol(slot) => FIRST_SLOT + 2 * slot + 1,
        }
    }

    fn from_index(index: u32) -> TimerKey {
        match index {
            0 => TimerKey::Service,
            1 => TimerKey::Retry,
            2 => TimerKey::Stats,
            3 => TimerKey::Grace,
            4 => TimerKey::Search,
            5 => TimerKey::NextAddress,
            6 => TimerKey::Nested,
            _ if index.is_multiple_of(2) => TimerKey::Conn((index - FIRST_SLOT) / 2),
            _ => TimerKey::Protocol((index - FIRST_SLOT) / 2),
        }
    }
}

/// A deadline and its key in one word: 40 bits of milliseconds (34 years) above 24 bits of key (8
/// million connections). Comparing two words compares the deadlines first, and the whole heap is
/// half as large as one of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

const KEY_BITS: u32 = 24;
/// The most connections that have keys of their own, and so the most that a reactor may have.
pub(crate) const MAX_SLOTS: usize = ((1 << KEY_BITS) - FIRST_SLOT as usize) / 2;
/// The latest deadline that an entry can hold. A later one is taken as this.
const LAST_MILLIS: Millis = (1 << (64 - KEY_BITS)) - 1;

impl Entry {
    fn new(at: Millis, index: u32) -> Entry {
        debug_assert!(index < 1 << KEY_BITS, "more connections than timer keys");
        Entry(at.min(LAST_MILLIS) << KEY_BITS | u64::from(index))
    }

    fn at(self) -> Millis {
        self.0 >> KEY_BITS
    }

    fn index(self) -> u32 {
        self.0 as u32 & ((1 << KEY_BITS) - 1)
    }
}

/// Children of a node. Four make the heap half as deep as two would, and their 32 bytes lie in one
/// cache line or two.
const ARITY: usize = 4;
/// The position of a key without an entry.
const ABSENT: u32 = u32::MAX;

/// The table and the row in which the position of a key is kept.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize % 2, index as usize / 2)
}

/// All deadlines of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// A heap in array form: the children of entry `n` are entries `4n + 1` to `4n + 4`, and no
    /// entry is less than its parent.
    heap: Vec<Entry>,
    /// The place of each key's entry in the heap. Even keys are in the first table and odd ones in
    /// the second, which stays short as long as the protocol sets no timer for a connection.
    position: [Vec<u32>; 2],
    /// Keys that are due in the next turn, whatever its time, and when they were set.
    next_turn: Vec<(TimerKey, Millis)>,
    /// Keys of that kind that are due in this turn, the last first.
    this_turn: Vec<(TimerKey, Millis)>,
}

impl Timers {
    /// No deadlines, with room for those of `connections` connections. The room is address space,
    /// which becomes memory when it is used.
    pub(crate) fn with_capacity(connections: usize) -> Timers {
        let keys = FIRST_SLOT as usize / 2 + connections;
        Timers {
            heap: Vec::with_capacity(keys),
            position: [Vec::with_capacity(keys), Vec::new()],
            next_turn: Vec::new(),
            this_turn: Vec::new(),
        }
    }

    /// Sets the deadline of `key`, in place of an earlier setting.
    pub(crate) fn arm(&mut self, key: TimerKey, at: Millis) {
        self.forget_turns(key);
        let entry = Entry::new(at, key.index());
        let (table, row) = place_of(key.index());
        if self.position[table].len() <= row {
            self.position[table].resize(row + 1, ABSENT);
        }
        match self.position[table][row] {
            ABSENT => {
                self.heap.push(entry);
                self.sift_up(self.heap.len() - 1);
            }
            place => self.replace(place as usize, entry),
        }
    }

    /// Sets the deadline of `key`, unless an earlier one is set. An earlier deadline stays; when it
    /// fires, its owner computes the deadline again.
    pub(crate) fn arm_no_later(&mut self, key: TimerKey, at: Millis) {
        if self.deadline(key).is_none_or(|armed| at < armed) {
            self.arm(key, at);
        }
    }

    /// Makes `key` due in the next turn, replacing its deadline. `now`: the time of this turn.
    pub(crate) fn arm_next_turn(&mut self, key: TimerKey, now: Millis) {
        self.cancel(key);
        self.next_turn.push((key, now));
    }

    /// A turn begins: keys that were to wait for it are due, behind those that an earlier turn has left.
    pub(crate) fn begin_turn(&mut self) {
        self.this_turn.splice(0..0, self.next_turn.drain(..).rev());
    }

    /// Whether a key waits for the next turn, or was left over by this one.
    pub(crate) fn has_turn(&self) -> bool {
        !self.next_turn.is_empty() || !self.this_turn.is_empty()
    }

    fn forget_turns(&mut self, key: TimerKey) {
        if self.next_turn.len() + self.this_turn.len() > 0 {
            self.next_turn.retain(|(other, _)| *other != key);
            self.this_turn.retain(|(other, _)| *other != key);
        }
    }

    /// Removes the deadline of `key`, if there is one. The last entry of the heap takes its place.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.forget_turns(key);
        let Some(place) = self.find(key) else { return };
        let (table, row) = place_of(key.index());
        self.position[table][row] = ABSENT;
        let last = self
            .heap
            .pop()
            .expect("an entry that has a position is in the heap");
        if place < self.heap.len() {
            self.replace(place, last);
        }
    }

    /// Whether `key` has a deadline.
    pub(crate) fn is_armed(&self, key: TimerKey) -> bool {
        self.deadline(key).is_some() || self.turns().any(|(other, _)| *other == key)
    }

    /// The earliest deadline, `None` without any.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.heap.first().map(|entry| entry.at())
    }

    /// Removes the earliest deadline and returns its key, if the deadline is `now` or earlier.
    pub(crate) fn expire(&mut self, now: Millis) -> Option<TimerKey> {
        let first = self.heap.first().filter(|entry| entry.at() <= now);
        // A deadline that an earlier turn has left comes before what was set after it had passed.
        let is_older = |set_at| first.is_some_and(|entry| entry.at() < set_at);
        if let Some((key, _)) = self.this_turn.pop_if(|(_, set_at)| !is_older(*set_at)) {
            return Some(key);
        }
        let key = TimerKey::from_index(first?.index());
        self.cancel(key);
        Some(key)
    }

    /// The keys that are due in a turn, whatever its time.
    fn turns(&self) -> impl Iterator<Item = &(TimerKey, Millis)> {
        self.next_turn.iter().chain(&self.this_turn)
    }

    fn deadline(&self, key: TimerKey) -> Option<Millis> {
        self.find(key).map(|place| self.heap[place].at())
    }

    /// The place of the entry of `key` in the heap.
    fn find(&self, key: TimerKey) -> Option<usize> {
        let (table, row) = place_of(key.index());
        self.position[table]
            .get(row)
            .filter(|&&place| place != ABSENT)
            .map(|&place| place as usize)
    }

    /// Replaces the entry at `place`, then moves the new one to where it belongs.
    fn replace(&mut self, place: usize, entry: Entry) {
        let before = std::mem::replace(&mut self.heap[place], entry);
        if entry < before {
            self.sift_up(place);
        } else {
            self.sift_down(place);
        }
    }

    /// Moves the entry at `place` towards the root until its parent is no later.
    fn sift_up(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent] <= entry {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    /// Moves the entry at `place` away from the root until none of its children is earlier.
    fn sift_down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child]) else {
                break;
            };
            if self.heap[least] >= entry {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, entry);
    }

    /// Writes an entry, and its position into the table: the only way an entry moves.
    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        let (table, row) = place_of(entry.index());
        self.position[table][row] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_the_trip_through_a_number() {
        let own = [
            TimerKey::Service,
            TimerKey::Retry,
            TimerKey::Stats,
            TimerKey::Grace,
            TimerKey::Search,
            TimerKey::NextAddress,
            TimerKey::Nested,
        ];
        let slots = (0..100).flat_map(|slot| [TimerKey::Conn(slot), TimerKey::Protocol(slot)]);
        let slots = (FIRST_SLOT..).zip(slots);
        for (expected, key) in (0..).zip(own).chain(slots) {
            assert_eq!(key.index(), expected);
            assert_eq!(TimerKey::from_index(key.index()), key);
        }
    }

    #[test]
    fn an_entry_has_room_for_the_last_key_and_the_last_deadline() {
        let last = TimerKey::Protocol(MAX_SLOTS as u32 - 1).index();
        assert_eq!(last, (1 << 24) - 1);
        let entry = Entry::new(Millis::MAX, last);
        assert_eq!((entry.at(), entry.index()), ((1 << 40) - 1, last));
    }

    #[test]
    fn durations_are_rounded_up_and_far_deadlines_do_not_overflow() {
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(2)), 2);
        let mut timers = Timers::default();
        timers.arm(TimerKey::Service, millis(Duration::MAX));
        timers.arm(TimerKey::Stats, 5);
        assert_eq!(timers.next(), Some(5));
    }

    #[test]
    fn keys_of_a_turn_are_cancelled_alone_and_older_deadlines_come_before_them() {
        let mut timers = Timers::with_capacity(0);
        for key in [TimerKey::Retry, TimerKey::Search, TimerKey::Service] {
            timers.arm_next_turn(key, 10);
        }
        timers.cancel(TimerKey::Search);
        assert!(!timers.is_armed(TimerKey::Search) && timers.is_armed(TimerKey::Retry));
        timers.begin_turn();
        timers.cancel(TimerKey::Service);
        assert!(!timers.is_armed(TimerKey::Service) && timers.is_armed(TimerKey::Retry));
        timers.arm(TimerKey::Conn(0), 9);
        timers.arm(TimerKey::Conn(1), 11);
        timers.arm(TimerKey::Conn(2), 10);
        let order = [
            TimerKey::Conn(0),
            TimerKey::Retry,
            TimerKey::Conn(2),
            TimerKey::Conn(1),
        ];
        assert_eq!(order.map(|_| timers.expire(20)), order.map(Some));
        assert_eq!(timers.expire(20), None);
    }

    #[test]
    fn a_hundred_thousand_rearms_leave_one_entry() {
        let mut timers = Timers::default();
        for at in 0..100_000 {
            timers.arm(TimerKey::Conn(3), at);
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(timers.next(), Some(99_999));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arm(u32, Millis),
        NoLater(u32, Millis),
        Cancel(u32),
        Expire(Millis),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (slot, at) = (0u32..20, 0u64..1000);
        prop_oneof![
            (slot.clone(), at.clone()).prop_map(|(slot, at)| Step::Arm(slot, at)),
            (slot.clone(), at.clone()).prop_map(|(slot, at)| Step::NoLater(slot, at)),
            slot.prop_map(Step::Cancel),
            at.prop_map(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn the_heap_agrees_with_a_table(steps in prop::collection::vec(step(), 1..300)) {
            let (mut timers, mut table) = (Timers::default(), HashMap::<u32, Millis>::new());
            for step in steps {
                match step {
                    Step::Arm(slot, at) => {
                        timers.arm(TimerKey::Conn(slot), at);
                        table.insert(slot, at);
                    }
                    Step::NoLater(slot, at) => {
                        timers.arm_no_later(TimerKey::Conn(slot), at);
                        table.entry(slot).and_modify(|armed| *armed = at.min(*armed)).or_insert(at);
                    }
                    Step::Cancel(slot) => {
                        timers.cancel(TimerKey::Conn(slot));
                        table.remove(&slot);
                    }
                    Step::Expire(now) => while let Some(key) = timers.expire(now) {
                        let TimerKey::Conn(slot) = key else { panic!("{key:?} was never armed") };
                        let earliest = *table.values().min().unwrap();
                        prop_assert_eq!(table.remove(&slot), Some(earliest));
                        prop_assert!(earliest <= now);
                    },
                }
                prop_assert_eq!(timers.next(), table.values().min().copied());
                prop_assert_eq!(timers.heap.len(), table.len());
            }
            while timers.expire(Millis::MAX).is_some() {}
            prop_assert!(timers.position.iter().flatten().all(|&place| place == ABSENT));
        }
    }
}
