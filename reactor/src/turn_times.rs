//! The durations of turns: a histogram that one reactor writes and any thread reads.
//!
//! Every cell has one writer, so an addition is a load and a store, and needs no locked instruction.
//! A reader may see a turn in one cell and not yet in another.

use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of bounds between the buckets.
const BOUNDS: usize = 19;

/// The times of the turns of a reactor (see [`Reactor::time_turns`](crate::Reactor::time_turns)). Clones
/// refer to the same reactor.
#[derive(Clone, Debug, Default)]
pub struct TurnClock {
    cells: Arc<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    counts: [AtomicU64; BOUNDS + 1],
    busy_ns: AtomicU64,
}

/// A histogram of turns by how long they took, from the end of a wait to the end of the turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    /// Turns of each bucket: those that took no longer than the bound of the same index in
    /// [`TurnTimes::BOUNDS`], and longer than the one before it. The last bucket has no bound.
    pub counts: [u64; BOUNDS + 1],
    /// All turns together: the time in which the reactor did not wait.
    pub busy: Duration,
}

impl TurnClock {
    /// The turns so far.
    #[must_use]
    pub fn read(&self) -> TurnTimes {
        let Cells { counts, busy_ns } = &*self.cells;
        TurnTimes {
            counts: counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            busy: Duration::from_nanos(busy_ns.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn record(&self, turn: Duration) {
        let Cells { counts, busy_ns } = &*self.cells;
        add(&counts[bucket(turn)], 1);
        add(busy_ns, turn.as_nanos() as u64);
    }
}

/// Adds to a cell that no other thread writes.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

fn bucket(turn: Duration) -> usize {
    TurnTimes::BOUNDS.partition_point(|bound| *bound < turn)
}

impl TurnTimes {
    /// Upper bounds of all buckets but the last, from 10 µs to 10 s.
    pub const BOUNDS: [Duration; BOUNDS] = [
        Duration::from_micros(10),
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
    ];

    /// Adds the turns of another reactor.
    pub fn merge(&mut self, other: &TurnTimes) {
        for (count, more) in zip(&mut self.counts, other.counts) {
            *count += more;
        }
        self.busy += other.busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let clock = TurnClock::default();
        let turns = [0, 10_000, 10_001, 25_000, 10_000_000_000, 10_000_000_001];
        for ns in turns {
            clock.record(Duration::from_nanos(ns));
        }
        let mut times = clock.read();
        let filled = |times: &TurnTimes| {
            (
                times.counts[0],
                times.counts[1],
                times.counts[18..].to_vec(),
            )
        };
        assert_eq!(filled(&times), (2, 2, vec![1, 1]));
        assert_eq!(times.busy, Duration::from_nanos(turns.iter().sum()));
        times.merge(&clock.read());
        assert_eq!(filled(&times), (4, 4, vec![2, 2]));
    }

    #[test]
    fn bounds_rise() {
        assert!(TurnTimes::BOUNDS.is_sorted_by(|before, after| before < after));
    }
}
