//! Which servers live, by their heartbeats.
//!
//! A server appends a heartbeat every [`INTERVAL`]. Time is that of the heartbeats' ids, so one clock,
//! the log's, decides for all. Should that clock step forward, all servers seem to have been silent
//! for long until their next heartbeats; so a server counts as silent only if the observer has also
//! read some heartbeats of its own since.

use std::collections::HashMap;
use std::time::Duration;

use super::entry::Origin;
use super::log::Beat;

/// Time between two heartbeats of a server.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Time without a heartbeat, in milliseconds, after which a server is declared gone.
const SILENT: u64 = 15_000;
/// Heartbeats of the observer in this time.
const OWN_BEATS: u32 = 3;
/// Most servers whose heartbeats are kept: a bound for nonsense in the stream.
const SERVERS_MAX: usize = 256;

/// The last heartbeats of the servers.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    me: Origin,
    others: HashMap<Origin, Life>,
    /// Time of the last heartbeat, in milliseconds since 1970.
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    /// Time of the last heartbeat.
    millis: u64,
    /// Heartbeats of the observer since then.
    own_beats: u32,
}

impl Presence {
    pub(super) fn new(me: Origin) -> Presence {
        Presence {
            me,
            others: HashMap::new(),
            now: 0,
        }
    }

    /// The time by the log's clock, as far as heartbeats tell.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether a server is silent. A server that was never heard counts from now on.
    pub(super) fn is_silent(&mut self, origin: Origin) -> bool {
        let now = self.now;
        let life = self.others.entry(origin).or_insert(Life::at(now));
        life.is_silent(now)
    }

    /// The other servers that have been heard, and are not silent.
    pub(super) fn living(&self) -> impl Iterator<Item = Origin> {
        let living = self
            .others
            .iter()
            .filter(|(_, life)| !life.is_silent(self.now));
        living.map(|(origin, _)| *origin)
    }

    /// A heartbeat was read. Returns whether it is the observer's own.
    pub(super) fn beat(&mut self, beat: Beat) -> bool {
        self.now = self.now.max(beat.millis);
        if beat.origin == self.me {
            self.others
                .values_mut()
                .for_each(|life| life.own_beats += 1);
            return true;
        }
        if self.others.len() >= SERVERS_MAX {
            let now = self.now;
            self.others.retain(|_, life| !life.is_silent(now));
        }
        if self.others.len() < SERVERS_MAX || self.others.contains_key(&beat.origin) {
            self.others.insert(beat.origin, Life::at(self.now));
        }
        false
    }

    /// The stream of heartbeats is read from its beginning again, and it may be another one.
    pub(super) fn clear(&mut self) {
        *self = Presence::new(self.me);
    }
}

impl Life {
    fn at(millis: u64) -> Life {
        Life {
            millis,
            own_beats: 0,
        }
    }

    fn is_silent(&self, now: u64) -> bool {
        now.saturating_sub(self.millis) >= SILENT && self.own_beats >= OWN_BEATS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Origin = Origin { server: 1, boot: 1 };
    const OTHER: Origin = Origin { server: 2, boot: 1 };

    fn beat(origin: Origin, seconds: u64) -> Beat {
        let millis = seconds * 1000;
        Beat { origin, millis }
    }

    #[test]
    fn a_server_is_silent_after_three_beats_of_the_observer_and_15_s() {
        let mut presence = Presence::new(ME);
        presence.beat(beat(OTHER, 100));
        for (seconds, silent) in [(101, false), (106, false), (111, false), (116, true)] {
            assert!(presence.beat(beat(ME, seconds)));
            assert_eq!(presence.is_silent(OTHER), silent, "{seconds}");
        }
        assert_eq!(presence.living().count(), 0);
        assert!(!presence.beat(beat(OTHER, 117)));
        assert!(!presence.is_silent(OTHER));
        assert!(presence.living().eq([OTHER]));
    }

    #[test]
    fn a_step_of_the_clock_makes_no_server_silent() {
        let mut presence = Presence::new(ME);
        presence.beat(beat(OTHER, 100));
        presence.beat(beat(ME, 5000));
        assert!(!presence.is_silent(OTHER));
        presence.beat(beat(OTHER, 5001));
        presence.beat(beat(ME, 5005));
        assert!(!presence.is_silent(OTHER));
    }

    #[test]
    fn a_server_that_never_beat_counts_from_the_first_look() {
        let mut presence = Presence::new(ME);
        presence.beat(beat(ME, 100));
        assert!(!presence.is_silent(OTHER));
        for seconds in [105, 110, 115] {
            presence.beat(beat(ME, seconds));
        }
        assert!(presence.is_silent(OTHER));
    }

    #[test]
    fn nonsense_in_the_stream_has_a_bound() {
        let mut presence = Presence::new(ME);
        for boot in 0..10_000 {
            presence.beat(beat(Origin { server: 3, boot }, boot));
        }
        assert!(presence.others.len() <= SERVERS_MAX);
    }
}
