//! A server that is full: which peers are refused, and which make room.
//!
//! The limit of connections from one address (`per_address.rs`) alone would let two addresses hold all
//! connections, for as long as they like and without a byte sent. So a newcomer to a full server
//! displaces a connection that has never sent a byte, is older than [`DISPLACED_AFTER_MS`] and comes
//! from the address with most connections, or nearly so (`PerAddress::has_most`). A peer that has sent
//! anything is displaced by no other.
//!
//! The search looks at [`LOOKS`] connections for each newcomer and goes on where the last one ended,
//! so that a full server costs a newcomer, and the other peers' time, a bounded number of steps.

use super::conn::{Phase, State, Stream};
use super::timers::Millis;
use super::{Core, live};
use crate::id::ConnId;
use crate::per_address::{AddressKey, Admission};
use crate::protocol::{Closed, Protocol};
use crate::sources::address::Peer;

/// Age below which a silent connection is not displaced, in ms: the time that a slow peer has for its
/// first byte.
const DISPLACED_AFTER_MS: Millis = 10_000;
/// Connections that are looked at for each newcomer.
const LOOKS: usize = 64;

/// Why a peer is refused: a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This many connections are open.
    Full(usize),
    /// Its address has this many connections.
    Address(usize),
}

/// A place for a connection that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    key: Option<AddressKey>,
    /// Another connection was displaced. It counts until it is closed at the end of the turn.
    pub(crate) displaces: bool,
}

impl<S: Stream, P: Protocol> Core<S, P> {
    /// A place for a peer that was accepted, or why there is none. A place is to be taken
    /// ([`Core::take_place`]) or given back ([`Core::give_back`]).
    pub(crate) fn place(&mut self, peer: &Peer) -> Result<Place, Refusal> {
        let admission = match peer {
            Peer::Inet(at) => self.crowd.addresses.admit(at.ip()),
            Peer::Unix | Peer::Stream => Admission::Uncounted,
        };
        if let Admission::Refused(most) = admission {
            return Err(Refusal::Address(most));
        }
        let key = admission.counted();
        let limit = self.limits.max_connections;
        let is_full = self.shared.stats.connections >= limit as u64;
        let displaces = is_full && self.displace();
        let place = Place { key, displaces };
        if is_full && !displaces {
            self.give_back(place);
            return Err(Refusal::Full(limit));
        }
        Ok(place)
    }

    /// The connection that a place was for is open.
    pub(crate) fn take_place(&mut self, place: Place, id: ConnId) {
        if let Some(key) = place.key {
            self.crowd.counted.insert(id, key);
        }
    }

    /// The connection that a place was for has not come about.
    pub(crate) fn give_back(&mut self, place: Place) {
        if let Some(key) = place.key {
            self.crowd.addresses.release(key);
        }
    }

    /// Makes room for a newcomer, if the search finds a connection to be closed.
    fn displace(&mut self) -> bool {
        let slots = self.crowd.counted.slots();
        for _ in 0..LOOKS.min(slots) {
            let slot = self.crowd.cursor % slots;
            self.crowd.cursor = slot + 1;
            if let Some((id, key)) = self.crowd.counted.at(slot)
                && self.crowd.addresses.has_most(*key)
                && self.was_always_silent(id)
            {
                self.doom(id, Closed::Displaced);
                return true;
            }
        }
        false
    }

    /// Whether a connection is old and has never sent a byte.
    fn was_always_silent(&mut self, id: ConnId) -> bool {
        let now = self.shared.now;
        live(&mut self.slots, id).is_some_and(|conn| {
            conn.state.contains(State::SILENT)
                && conn.phase == Phase::Open
                && Millis::from(conn.waited_ms(now)) >= DISPLACED_AFTER_MS
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::Result;
    use nix::errno::Errno;

    use super::*;
    use crate::core::limits::Limits;
    use crate::id::Data;
    use crate::outbox::Outbox;
    use crate::poll::Ready;
    use crate::protocol::Opened;

    /// A peer that sends one byte, if at all.
    struct Talker {
        has_said: bool,
    }

    impl Stream for Talker {
        fn recv(&mut self, _: &mut [u8]) -> Result<usize> {
            match std::mem::replace(&mut self.has_said, true) {
                false => Ok(1),
                true => Err(Errno::EAGAIN),
            }
        }

        fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn reset(&mut self) {}

        fn shutdown_write(&mut self) -> Result<()> {
            Ok(())
        }

        fn connect_result(&mut self) -> Result<()> {
            Ok(())
        }

        fn is_peer(&self) -> bool {
            true
        }

        fn unread(&self) -> Result<usize> {
            Ok(0)
        }

        fn unacknowledged(&self) -> Result<usize> {
            Ok(0)
        }

        fn unheard_ms(&self) -> Option<u32> {
            None
        }
    }

    /// A greeting, as the chat has one: what is sent to a peer does not count as its own.
    struct Greeter;

    impl Protocol for Greeter {
        fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
            out.send(id, b"hello\n");
        }

        fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
    }

    struct Server {
        core: Core<Talker, Greeter>,
        closed: Vec<(ConnId, Closed)>,
    }

    impl Server {
        fn new(max_connections: usize, max_per_address: Option<usize>) -> Server {
            let limits = Limits {
                max_connections,
                max_per_address,
                ..Limits::default()
            };
            Server {
                core: Core::new(Greeter, limits),
                closed: Vec::new(),
            }
        }

        /// A client connects, and the turn ends.
        fn connect(&mut self, from: &str) -> std::result::Result<ConnId, Refusal> {
            let peer = Peer::Inet((from.parse::<std::net::IpAddr>().unwrap(), 5000).into());
            let opened = Opened::new(peer, 0);
            let place = self.core.place(&opened.peer)?;
            let id = self.core.ids().take();
            self.core
                .insert(id, Talker { has_said: false }, State::empty());
            self.core.take_place(place, id);
            self.core.opened(id, opened);
            let closed = &mut self.closed;
            self.core.settle(|id, why, _| closed.push((id, why)));
            Ok(id)
        }

        /// As many clients as are let in.
        fn crowd(&mut self, from: &str) -> usize {
            std::iter::from_fn(|| self.connect(from).ok()).count()
        }

        fn says_a_byte(&mut self, id: ConnId) {
            self.core.deliver(id, Ready::IN);
        }

        fn seconds_pass(&mut self, seconds: u64) {
            let now = self.core.shared.now;
            self.core.begin_turn(now + seconds * 1000);
        }
    }

    #[test]
    fn two_silent_addresses_do_not_keep_a_server_full() {
        let mut server = Server::new(100, None);
        assert_eq!(server.crowd("192.0.2.1"), 50);
        assert_eq!(server.connect("192.0.2.1"), Err(Refusal::Address(50)));
        assert_eq!(server.crowd("192.0.2.2"), 50);
        assert_eq!(server.connect("192.0.2.3"), Err(Refusal::Full(100)));
        server.seconds_pass(11);
        assert_eq!(server.connect("192.0.2.2"), Err(Refusal::Address(50)));
        // They make room for others, until others have as many connections as each of them.
        for _ in 0..33 {
            server.connect("192.0.2.3").expect("a place");
        }
        assert_eq!(server.closed.len(), 33);
        assert!(server.closed.iter().all(|it| it.1 == Closed::Displaced));
        assert_eq!(server.core.shared.stats.closed_displaced, 33);
        assert_eq!(server.core.shared.stats.connections, 100);
    }

    #[test]
    fn a_peer_that_has_sent_a_byte_or_is_young_or_of_a_smaller_crowd_stays() {
        let mut server = Server::new(4, None);
        let [one, two] = [(); 2].map(|()| server.connect("192.0.2.1").unwrap());
        let alone = server.connect("192.0.2.2").unwrap();
        let local = server.connect("127.0.0.1").unwrap();
        server.seconds_pass(9);
        assert_eq!(server.connect("192.0.2.3"), Err(Refusal::Full(4)), "young");
        server.says_a_byte(one);
        server.seconds_pass(1);
        server.connect("192.0.2.3").expect("the place of `two`");
        assert_eq!(server.closed, [(two, Closed::Displaced)]);
        // Now each address has one connection, but only two of them are old and silent.
        server.connect("192.0.2.4").expect("the place of `alone`");
        assert_eq!(server.closed.last(), Some(&(alone, Closed::Displaced)));
        assert_eq!(server.connect("192.0.2.5"), Err(Refusal::Full(4)));
        assert!(server.core.is(local, |_| true) && server.core.is(one, |_| true));
    }

    #[test]
    fn a_newcomer_costs_64_looks_and_the_next_one_goes_on_from_there() {
        let mut server = Server::new(1000, None);
        for host in 0..500 {
            let [high, low] = [host / 250, host % 250];
            for _ in 0..2 {
                let id = server.connect(&format!("198.51.{high}.{low}")).unwrap();
                server.says_a_byte(id);
            }
        }
        server.seconds_pass(20);
        // The only silent connection lies behind 999 others.
        let last = server.closed.len();
        assert_eq!(server.core.len(), 1000);
        let victim = 999;
        let (id, _) = server.core.crowd.counted.at(victim).unwrap();
        server.core.live(id).unwrap().state |= State::SILENT;
        let refused = std::iter::from_fn(|| server.connect("203.0.113.1").err()).count();
        assert_eq!(refused, victim / LOOKS);
        assert_eq!(server.closed.len(), last + 1);
    }

    #[test]
    fn without_a_limit_no_peer_is_counted_or_displaced() {
        let mut server = Server::new(10, Some(0));
        assert_eq!(server.crowd("192.0.2.1"), 10);
        server.seconds_pass(60);
        assert_eq!(server.connect("192.0.2.2"), Err(Refusal::Full(10)));
    }

    #[test]
    fn a_limit_that_is_given_counts_loopback_too_and_a_place_that_is_not_taken_is_given_back() {
        let mut server = Server::new(10, Some(3));
        assert_eq!(server.crowd("127.0.0.1"), 3);
        let peer = Peer::Inet("192.0.2.1:1".parse().unwrap());
        for _ in 0..10 {
            let place = server.core.place(&peer).expect("a place");
            server.core.give_back(place);
        }
        assert_eq!(server.crowd("192.0.2.1"), 3);
        assert_eq!(server.crowd("2001:db8::1"), 3);
        assert_eq!(server.crowd("2001:db8::2"), 0);
        for _ in 0..100 {
            assert!(server.core.place(&Peer::Unix).is_ok(), "not counted");
        }
    }
}
