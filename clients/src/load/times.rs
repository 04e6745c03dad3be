//! When messages that are under way were sent.

use super::clock::Nanos;

/// A time for each of the last few messages of each connection, in one allocation.
#[derive(Debug)]
pub(super) struct Times {
    times: Vec<Nanos>,
    /// The logarithm to base 2 of how many there are for each.
    shift: u32,
}

impl Times {
    /// For so many connections, each with no more than `depth` messages under way.
    pub(super) fn new(connections: u32, depth: u32) -> Times {
        let shift = depth.next_power_of_two().trailing_zeros();
        Times {
            times: vec![0; (connections as usize) << shift],
            shift,
        }
    }

    pub(super) fn set(&mut self, place: u32, sequence: u64, time: Nanos) {
        let index = self.index(place, sequence);
        self.times[index] = time;
    }

    /// The time that was set for a message, as long as it is under way.
    pub(super) fn get(&self, place: u32, sequence: u64) -> Nanos {
        self.times[self.index(place, sequence)]
    }

    fn index(&self, place: u32, sequence: u64) -> usize {
        let within = sequence as usize & ((1 << self.shift) - 1);
        (place as usize) << self.shift | within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_times_of_its_own() {
        for depth in [1, 2, 3, 8] {
            let mut times = Times::new(3, depth);
            let under_way =
                || (0..3).flat_map(|place| (5..5 + u64::from(depth)).map(move |at| (place, at)));
            for (place, sequence) in under_way() {
                times.set(place, sequence, u64::from(place) * 100 + sequence);
            }
            for (place, sequence) in under_way() {
                let expected = u64::from(place) * 100 + sequence;
                assert_eq!(times.get(place, sequence), expected);
            }
        }
    }
}
