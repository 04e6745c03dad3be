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
//! # Ids
//!
//! The id of the connection was promised to the protocol before the first attempt began, and names the
//! race until then. An attempt is known by an id of its own, because several may be under way; the one
//! that wins is moved to the promised slot, and gets its new token by a second epoll_ctl(2). An event
//! that was fetched with the old token is stale then. An attempt that no other can overtake, as the
//! only one of most races, has the promised id from the start.
//!
//! The core only decides whose turn it is. The reactor makes the sockets, because an attempt is a
//! descriptor.

use std::mem;

use super::Core;
use super::conn::{Phase, Stream};
use super::race::{Connecting, Race};
use super::timers::{Millis, TimerKey, millis};
use crate::id::ConnId;
use crate::outbox::End;
use crate::protocol::{Closed, Opened, Protocol};
use crate::sources::address::Address;

/// Milliseconds from one attempt to the next (RFC 8305, section 5). Less if the connect timeout
/// would otherwise be over before the last address is tried.
const ATTEMPT_DELAY: Millis = 250;

impl<S: Stream, P: Protocol> Core<S, P> {
    /// Records a connect that was asked for: from now on its id can be cancelled and have a timer.
    pub(crate) fn promise(&mut self, id: ConnId, tag: u64) {
        let race = Race {
            tag,
            rest: None,
            under_way: Vec::new(),
            began: self.shared.now,
            delay: ATTEMPT_DELAY,
            next_at: self.shared.now,
        };
        self.races.insert(id, race);
    }

    /// The tag of a connect that is under way.
    pub(crate) fn promised_tag(&self, id: ConnId) -> Option<u64> {
        self.races.get(&id).map(|race| race.tag)
    }

    /// The connect under way that has this tag; of several, the one that was asked for first.
    pub(crate) fn promised_to(&self, tag: u64) -> Option<ConnId> {
        let ids = self.races.iter().filter(|(_, race)| race.tag == tag);
        ids.map(|(id, _)| *id).min_by_key(|id| id.generation)
    }

    /// Forgets a connect that makes no connection, and of which the protocol is told otherwise.
    pub(crate) fn withdraw(&mut self, id: ConnId) {
        self.timers.cancel(TimerKey::Protocol(id.slot));
        self.races.remove(&id);
    }

    /// The id that was promised for a connection in this slot.
    pub(super) fn promised(&self, slot: u32) -> Option<ConnId> {
        let id = |generation| ConnId { slot, generation };
        let mut races = self.races.range(id(0)..=id(u32::MAX));
        races.next().map(|(id, _)| *id)
    }

    /// Begins the race between the numbers of `to`, in their order.
    pub(crate) fn begin_race(&mut self, id: ConnId, to: Address) {
        let attempts = to.numbers().len().max(1) as Millis;
        let timeout = millis(self.limits.connect_timeout);
        if let Some(race) = self.races.get_mut(&id) {
            if timeout > 0 {
                race.delay = ATTEMPT_DELAY.min(timeout / attempts);
            }
            race.began = self.shared.now;
            race.rest = Some(to);
        }
    }

    /// Takes the next address to be tried, and the tag for the connection. `None` if all were tried
    /// or the race is decided. Sets the timer for the address after it.
    pub(crate) fn next_address(&mut self, race: ConnId) -> Option<(Address, u64)> {
        let race = self.races.get_mut(&race)?;
        let next = race.rest.take()?;
        race.rest = next.clone().rest();
        race.next_at = self.shared.now.saturating_add(race.delay);
        if race.rest.is_some() {
            self.timers
                .arm_no_later(TimerKey::NextAddress, race.next_at);
        }
        Some((next, race.tag))
    }

    /// Whether a connect is under way: it may have to go on without an event.
    pub(crate) fn has_races(&self) -> bool {
        !self.races.is_empty()
    }

    /// Whether an attempt of this race is under way, or has won.
    pub(crate) fn is_answered(&self, race: ConnId) -> bool {
        let race = self.races.get(&race);
        race.is_none_or(|race| !race.under_way.is_empty())
    }

    /// The races whose next address is due. Sets the timer for the others.
    pub(crate) fn due_races(&mut self) -> Vec<ConnId> {
        let mut due = Vec::new();
        for (id, race) in &self.races {
            if race.rest.is_none() {
                continue;
            }
            if race.next_at <= self.shared.now {
                due.push(*id);
            } else {
                self.timers
                    .arm_no_later(TimerKey::NextAddress, race.next_at);
            }
        }
        due
    }

    /// The id of a race's next attempt: the promised one if no other attempt can win.
    pub(crate) fn attempt_id(&mut self, race: ConnId) -> ConnId {
        match self.races.get(&race) {
            Some(only) if only.rest.is_none() && only.under_way.is_empty() => race,
            _ => self.ids().take(),
        }
    }

    /// Records an attempt that is under way. Its end is `Core::connected` or
    /// `Core::attempt_failed`.
    pub(crate) fn connecting(&mut self, id: ConnId, opened: Opened, race: ConnId) {
        let Some(Race {
            under_way, began, ..
        }) = self.races.get_mut(&race)
        else {
            return;
        };
        under_way.push(id);
        let began = *began;
        self.connecting.insert(id, Connecting { opened, race });
        if let Some(conn) = self.live(id) {
            conn.phase = Phase::Connecting;
            conn.wait_since(began);
        }
        self.arm(id);
    }

    /// An attempt has succeeded: the race is decided, and its other attempts are closed.
    pub(crate) fn connected(&mut self, attempt: ConnId, opened: Opened, id: ConnId) {
        let race = self.races.remove(&id);
        let others = race.into_iter().flat_map(|race| race.under_way);
        for other in others.filter(|other| *other != attempt) {
            self.doom(other, Closed::Aborted);
        }
        if attempt != id {
            self.rename(attempt, id);
        }
        // Output from before `on_open` is not sent, and this turn's is still in the outbox.
        self.voice.outbox.output.take_until(id, usize::MAX);
        self.shared.stats.connected += 1;
        self.opened(id, opened);
    }

    /// Moves the attempt that has won to the slot that was promised.
    fn rename(&mut self, attempt: ConnId, id: ConnId) {
        if let Some(mut conn) = self.slots.remove(attempt) {
            conn.generation = id.generation;
            self.slots.insert(id.slot(), conn);
            self.ids().give_back(attempt);
            self.voice.outbox.watch_anew(id);
        }
    }

    /// An attempt has failed: the next address is due at once. If this was the last attempt, the
    /// race ends with its error.
    pub(super) fn attempt_failed(&mut self, attempt: ConnId, id: ConnId, why: Closed) {
        if attempt != id {
            self.ids().give_back(attempt);
        }
        let timeout = millis(self.limits.connect_timeout);
        let Some(race) = self.races.get_mut(&id) else {
            return;
        };
        race.under_way.retain(|other| *other != attempt);
        let is_over = timeout > 0 && self.shared.now >= race.began.saturating_add(timeout);
        if race.rest.is_some() && !is_over {
            race.next_at = self.shared.now;
            self.timers
                .arm_no_later(TimerKey::NextAddress, self.shared.now);
        } else if race.under_way.is_empty() {
            self.end_race(id, why);
        }
    }

    /// Ends a race without a connection. The protocol is told at the end of the turn.
    pub(crate) fn end_race(&mut self, id: ConnId, why: Closed) {
        let Some(race) = self.races.remove(&id) else {
            return;
        };
        for attempt in race.under_way {
            self.doom(attempt, Closed::Aborted);
        }
        self.failed.push((id, race.tag, why));
    }

    /// The protocol has ended something that is not open: a connect under way is cancelled. There is no
    /// output whose end a half-close could be, nor any that could be too much.
    pub(super) fn cancel(&mut self, id: ConnId, end: End) {
        match end {
            End::Finish | End::Close => self.end_race(id, Closed::Finished),
            End::Abort => self.end_race(id, Closed::Aborted),
            End::HalfClose | End::Overflow => {}
        }
    }

    /// The reactor stops: addresses that were not tried yet are not tried any more.
    pub(super) fn end_races(&mut self) {
        let races: Vec<ConnId> = self.races.keys().copied().collect();
        for race in races {
            self.end_race(race, Closed::Shutdown);
        }
    }

    /// Tells the protocol of the connects that came to nothing, unless connections are still to be
    /// closed: one of them may be an attempt that has the slot. Connects that it asks for and cancels
    /// meanwhile have their turn in the next one.
    pub(crate) fn tell_failed(&mut self) {
        if !self.doomed.is_empty() {
            return;
        }
        for (id, tag, why) in mem::take(&mut self.failed) {
            self.timers.cancel(TimerKey::Protocol(id.slot));
            self.connect_failed(id, tag, why);
            self.ids().give_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::core::limits::Limits;
    use crate::sources::fd::Fd;

    struct Nothing;

    impl Protocol for Nothing {}

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
        let race = connections.ids().take();
        connections.promise(race, 7);
        connections.begin_race(race, name(count));
        let mut turns = Vec::new();
        let (mut now, mut due) = (0, vec![race]);
        while !due.is_empty() || connections.timers.next().is_some() {
            for race in due {
                let (at, tag) = connections.next_address(race).unwrap();
                assert_eq!(tag, 7);
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

    #[test]
    fn after_a_failure_the_next_address_is_due_unless_the_timeout_is_over() {
        for (timeout, at, is_tried) in [(1, 999, true), (1, 1000, false), (0, 100_000, true)] {
            let limits = Limits {
                connect_timeout: Duration::from_secs(timeout),
                ..Limits::default()
            };
            let mut core: Core<Fd, _> = Core::new(Nothing, limits);
            let [race, attempt] = [(); 2].map(|()| core.ids().take());
            core.promise(race, 7);
            core.begin_race(race, name(2));
            core.next_address(race).unwrap();
            core.set_now(at);
            core.attempt_failed(attempt, race, Closed::TimedOut);
            assert_eq!(core.due_races() == [race], is_tried);
            assert_eq!(core.failed.is_empty(), is_tried);
        }
    }
}
