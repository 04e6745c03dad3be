//! Deadlines: a heap that knows where each entry lies.
//!
//! Every key has at most one entry, so re-arming moves it and nothing piles up. All operations are
//! O(log n), and arming later than everything else, which is what a new connection's idle timeout
//! does, is O(1).
//!
//! The trick that makes idle timeouts nearly free is not here but in the users: a connection that
//! is busy only notes the time ("lazily"). When its entry comes due, the deadline is computed again
//! from that note, and if it has moved, the entry is armed anew. A connection that moves a million
//! messages a minute touches the heap once a minute.

use std::time::Duration;

/// Milliseconds since the reactor was made, on the monotonic clock.
pub(crate) type Millis = u64;

/// A duration in whole milliseconds, rounded up, so that nothing fires before its time.
pub(crate) fn millis(duration: Duration) -> Millis {
    let rest = duration.subsec_nanos().div_ceil(1_000_000);
    duration
        .as_secs()
        .saturating_mul(1_000)
        .saturating_add(rest.into())
}

/// The owner of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// The protocol's own timer, of no connection.
    Service,
    /// Sources that ran out of a resource try again.
    Retry,
    /// A line of counters is due.
    Stats,
    /// The patience of a graceful stop ends.
    Grace,
    /// Peers are looked for that vanished.
    Search,
    /// The next address of a name has its turn.
    NextAddress,
    /// The reactor's own deadline of the connection in this slot: idle, stalled, lingering,
    /// connecting.
    Conn(u32),
    /// The protocol's timer of the connection in this slot.
    Protocol(u32),
}

/// Keys below this are the reactor's own; then two for each slot. It is even, so that connections
/// have the even keys.
const FIRST_SLOT: u32 = 6;

impl TimerKey {
    fn index(self) -> u32 {
        match self {
            TimerKey::Service => 0,
            TimerKey::Retry => 1,
            TimerKey::Stats => 2,
            TimerKey::Grace => 3,
            TimerKey::Search => 4,
            TimerKey::NextAddress => 5,
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
            _ if index.is_multiple_of(2) => TimerKey::Conn((index - FIRST_SLOT) / 2),
            _ => TimerKey::Protocol((index - FIRST_SLOT) / 2),
        }
    }
}

/// A deadline and its key in one word, so that comparing entries compares deadlines first: 40 bits
/// of milliseconds (34 years) and 24 bits of key (8 million connections).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

const KEY_BITS: u32 = 24;
/// So many connections have keys of their own.
pub(crate) const MAX_SLOTS: usize = ((1 << KEY_BITS) - FIRST_SLOT as usize) / 2;
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

/// Children per node: four make the heap half as deep as two.
const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;

/// In which table, and in which row of it, the position of a key is kept.
fn place_of(index: u32) -> (usize, usize) {
    (index as usize % 2, index as usize / 2)
}

/// All deadlines of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// A heap in the usual array form: no entry is before its parent.
    heap: Vec<Entry>,
    /// Where in the heap each key's entry is: even keys in the first table, odd ones in the second,
    /// which stays empty as long as no protocol sets a timer.
    position: [Vec<u32>; 2],
    /// Keys that are due in the next turn, whatever its time.
    next_turn: Vec<TimerKey>,
    /// Keys of that kind that are due in this turn, the last first.
    this_turn: Vec<TimerKey>,
}

impl Timers {
    /// Room for the deadlines of so many connections. It is address space, not memory, until used.
    pub(crate) fn with_capacity(connections: usize) -> Timers {
        let keys = FIRST_SLOT as usize / 2 + connections;
        Timers {
            heap: Vec::with_capacity(keys),
            position: [Vec::with_capacity(keys), Vec::new()],
            next_turn: Vec::new(),
            this_turn: Vec::new(),
        }
    }

    /// Sets the deadline of `key`, moving it if there was one.
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

    /// Like [`Timers::arm`], but keeps an earlier deadline: it will be looked at again when that
    /// one comes due.
    pub(crate) fn arm_no_later(&mut self, key: TimerKey, at: Millis) {
        if self.deadline(key).is_none_or(|armed| at < armed) {
            self.arm(key, at);
        }
    }

    /// Makes `key` due in the next turn, replacing its deadline.
    pub(crate) fn arm_next_turn(&mut self, key: TimerKey) {
        self.cancel(key);
        self.next_turn.push(key);
    }

    /// A turn begins: keys that were to wait for it are due.
    pub(crate) fn begin_turn(&mut self) {
        self.this_turn.splice(0..0, self.next_turn.drain(..).rev());
    }

    /// Whether a key waits for the next turn.
    pub(crate) fn has_next_turn(&self) -> bool {
        !self.next_turn.is_empty()
    }

    fn forget_turns(&mut self, key: TimerKey) {
        if self.next_turn.len() + self.this_turn.len() > 0 {
            self.next_turn.retain(|other| *other != key);
            self.this_turn.retain(|other| *other != key);
        }
    }

    /// Forgets the deadline of `key`, if there is one.
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
        self.deadline(key).is_some() || self.next_turn.contains(&key)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.heap.first().map(|entry| entry.at())
    }

    /// Takes out one key whose deadline is `now` or earlier, the earliest first.
    pub(crate) fn expire(&mut self, now: Millis) -> Option<TimerKey> {
        if let Some(key) = self.this_turn.pop() {
            return Some(key);
        }
        let entry = *self.heap.first().filter(|entry| entry.at() <= now)?;
        let key = TimerKey::from_index(entry.index());
        self.cancel(key);
        Some(key)
    }

    fn deadline(&self, key: TimerKey) -> Option<Millis> {
        self.find(key).map(|place| self.heap[place].at())
    }

    /// Where in the heap the entry of `key` is.
    fn find(&self, key: TimerKey) -> Option<usize> {
        let (table, row) = place_of(key.index());
        self.position[table]
            .get(row)
            .filter(|&&place| place != ABSENT)
            .map(|&place| place as usize)
    }

    /// Puts `entry` where another was, and moves it to where it belongs.
    fn replace(&mut self, place: usize, entry: Entry) {
        let before = std::mem::replace(&mut self.heap[place], entry);
        if entry < before {
            self.sift_up(place);
        } else {
            self.sift_down(place);
        }
    }

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
    fn keys_survive_the_trip_through_a_number() {
        let own = [
            TimerKey::Service,
            TimerKey::Retry,
            TimerKey::Stats,
            TimerKey::Grace,
            TimerKey::Search,
        ];
        let slots = (0..100).flat_map(|slot| [TimerKey::Conn(slot), TimerKey::Protocol(slot)]);
        let slots = (FIRST_SLOT..).zip(slots);
        for (expected, key) in (0..).zip(own).chain(slots) {
            assert_eq!(key.index(), expected);
            assert_eq!(TimerKey::from_index(key.index()), key);
        }
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
