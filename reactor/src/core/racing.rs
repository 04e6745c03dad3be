//! Connecting to a name that stands for several addresses (RFC 8305, "Happy Eyeballs").
//!
//! A name often has an IPv6 and an IPv4 address, and one of the two may lead nowhere: a router on
//! the way drops the packets, and the resolver cannot know. A connect to such an address is silence
//! until its timeout. A client that tried one address after the other would let its user wait for
//! 30 s.
//!
//! So the next attempt does not wait for the end of the last one. It begins a quarter of a second
//! later, or at once when the last one fails. The first attempt that succeeds is the connection;
//! the others are closed, and the protocol hears nothing of them. If all fail, the protocol hears
//! of one error, the last one's. One connect timeout bounds them all, counted from the start of the
//! first. A connect to a single address is a race of one.
//!
//! The core only decides whose turn it is. The reactor makes the sockets, because an attempt is a
//! descriptor.

use super::Core;
use super::conn::{Phase, Stream};
use super::race::{Connecting, Race, RaceId};
use super::timers::{Millis, TimerKey, millis};
use crate::id::ConnId;
use crate::protocol::{Closed, Opened, Protocol};
use crate::sources::address::Address;

/// Milliseconds from one attempt to the next (RFC 8305, section 5). Less if the connect timeout
/// would otherwise be over before the last address is tried.
const ATTEMPT_DELAY: Millis = 250;

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Begins a race between the numbers of `to`, in their order.
    pub(crate) fn begin_race(&mut self, to: Address, tag: u64) -> RaceId {
        let attempts = to.numbers().len().max(1) as Millis;
        let delay = match millis(self.limits.connect_timeout) {
            0 => ATTEMPT_DELAY,
            timeout => ATTEMPT_DELAY.min(timeout / attempts),
        };
        RaceId(self.races.insert(Race {
            tag,
            rest: Some(to),
            under_way: Vec::new(),
            began: self.shared.now,
            delay,
            next_at: self.shared.now,
        }))
    }

    /// Takes the next address to be tried, and the tag for the connection. `None` if all were tried
    /// or the race is decided. Sets the timer for the address after it.
    pub(crate) fn next_address(&mut self, race: RaceId) -> Option<(Address, u64)> {
        let race = self.races.get_mut(race.0)?;
        let next = race.rest.take()?;
        race.rest = next.clone().rest();
        race.next_at = self.shared.now.saturating_add(race.delay);
        if race.rest.is_some() {
            self.timers
                .arm_no_later(TimerKey::NextAddress, race.next_at);
        }
        Some((next, race.tag))
    }

    /// Whether a race is undecided: a connect may have to go on without an event.
    pub(crate) fn has_races(&self) -> bool {
        !self.races.is_empty()
    }

    /// The races whose next address is due, with the tags of their connections. Sets the timer for
    /// the others.
    pub(crate) fn due_races(&mut self) -> Vec<(RaceId, u64)> {
        let mut due = Vec::new();
        for (index, race) in &self.races {
            if race.rest.is_none() || self.stopping {
                continue;
            }
            if race.next_at <= self.shared.now {
                due.push((RaceId(index), race.tag));
            } else {
                self.timers
                    .arm_no_later(TimerKey::NextAddress, race.next_at);
            }
        }
        due
    }

    /// Records an attempt that is under way. Its end is `Core::connected` or
    /// `Core::attempt_failed`.
    pub(crate) fn connecting(&mut self, id: ConnId, opened: Opened, race: RaceId) {
        let Some(Race {
            under_way, began, ..
        }) = self.races.get_mut(race.0)
        else {
            return;
        };
        under_way.push(id);
        let (began, race) = (*began, Some(race));
        self.connecting.insert(id, Connecting { opened, race });
        if let Some(conn) = self.live(id) {
            conn.phase = Phase::Connecting;
            conn.wait_since(began);
        }
        self.arm(id);
    }

    /// An attempt has succeeded: the race is decided, and its other attempts are closed.
    pub(crate) fn connected(&mut self, id: ConnId, opened: Opened, race: Option<RaceId>) {
        let race = race.and_then(|race| self.races.try_remove(race.0));
        for other in race.into_iter().flat_map(|race| race.under_way) {
            self.lose(other);
        }
        self.shared.stats.connected += 1;
        self.opened(id, opened);
    }

    /// An attempt has failed: the next address is due at once. If this was the last attempt, the
    /// protocol is told of its error.
    pub(super) fn attempt_failed(&mut self, id: ConnId, connecting: &Connecting, why: Closed) {
        let timeout = millis(self.limits.connect_timeout);
        let Some(index) = connecting.race else { return };
        let Some(race) = self.races.get_mut(index.0) else {
            return;
        };
        race.under_way.retain(|other| *other != id);
        let is_over = timeout > 0 && self.shared.now >= race.began.saturating_add(timeout);
        match &race.rest {
            Some(_) if self.stopping => self.end_race(index, Closed::Shutdown),
            Some(_) if !is_over => {
                race.next_at = self.shared.now;
                self.timers
                    .arm_no_later(TimerKey::NextAddress, self.shared.now);
            }
            _ => self.end_race(index, why),
        }
    }

    /// Ends a race and tells the protocol that there will be no connection, unless attempts are
    /// under way.
    fn end_race(&mut self, race: RaceId, why: Closed) {
        if let Some(tag) = self.give_up(race) {
            self.connect_failed(tag, why);
        }
    }

    /// Removes a race and returns the tag of its connection, unless attempts are under way.
    pub(crate) fn give_up(&mut self, race: RaceId) -> Option<u64> {
        let is_idle = self.races.get(race.0)?.under_way.is_empty();
        is_idle.then(|| self.races.remove(race.0).tag)
    }

    /// The races with this tag end without a connection.
    pub(crate) fn cancel_races(&mut self, tag: u64) {
        let all = self.races.iter();
        let cancelled: Vec<usize> = all
            .filter(|(_, race)| race.tag == tag)
            .map(|(index, _)| index)
            .collect();
        for index in cancelled {
            for attempt in self.races.remove(index).under_way {
                self.lose(attempt);
            }
            self.connect_failed(tag, Closed::Aborted);
        }
    }

    /// An attempt is of no more use.
    fn lose(&mut self, attempt: ConnId) {
        if let Some(lost) = self.connecting.get_mut(attempt) {
            lost.race = None;
            self.doom(attempt, Closed::Aborted);
        }
    }

    /// The reactor stops: addresses that were not tried yet are not tried any more.
    pub(super) fn end_races(&mut self) {
        let races: Vec<RaceId> = self.races.iter().map(|(index, _)| RaceId(index)).collect();
        for race in races {
            self.end_race(race, Closed::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::core::limits::Limits;
    use crate::id::Data;
    use crate::outbox::Outbox;
    use crate::sources::fd::Fd;

    struct Nothing;

    impl Protocol for Nothing {
        fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
    }

    /// A name with `count` addresses. The port of each is its place in the list.
    fn name(count: u16) -> Address {
        let host = "several.example:1".parse::<crate::HostPort>().unwrap();
        let at = |place| SocketAddr::from(([127, 0, 0, 1], place));
        Address::Tcp(host.with_numbers((0..count).map(at).collect()))
    }

    /// The port of each address of a name and the time at which it is tried, if none answers.
    fn turns(count: u16, connect_timeout: Duration) -> Vec<(u16, Millis)> {
        let limits = Limits {
            connect_timeout,
            ..Limits::default()
        };
        let mut connections: Core<Fd, _> = Core::new(Nothing, limits);
        let race = connections.begin_race(name(count), 7);
        let mut turns = Vec::new();
        let (mut now, mut due) = (0, vec![(race, 7)]);
        while !due.is_empty() || connections.timers.next().is_some() {
            for (race, tag) in due {
                let (at, of) = connections.next_address(race).unwrap();
                assert_eq!(of, tag);
                turns.push((at.numbers()[0].port(), now));
            }
            now = connections.timers.next().unwrap_or(now);
            connections.set_now(now);
            while connections.timers.expire(now).is_some() {}
            due = connections.due_races();
        }
        turns
    }

    #[test]
    fn each_address_is_tried_within_the_connect_timeout() {
        let seconds = Duration::from_secs;
        assert_eq!(turns(1, seconds(30)), [(0, 0)]);
        assert_eq!(turns(3, seconds(30)), [(0, 0), (1, 250), (2, 500)]);
        assert_eq!(turns(2, Duration::ZERO), [(0, 0), (1, 250)]);
        let hurried = turns(4, seconds(1) / 5);
        assert_eq!(hurried, [(0, 0), (1, 50), (2, 100), (3, 150)]);
    }
}
