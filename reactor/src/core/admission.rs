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
pub(super) const LOOKS: usize = 64;

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
            Peer::Inet(at) => self.admitted.addresses.admit(at.ip()),
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
            self.admitted.counted.insert(id, key);
        }
    }

    /// The connection that a place was for has not come about.
    pub(crate) fn give_back(&mut self, place: Place) {
        if let Some(key) = place.key {
            self.admitted.addresses.release(key);
        }
    }

    /// Makes room for a newcomer, if the search finds a connection to be closed.
    fn displace(&mut self) -> bool {
        let slots = self.admitted.counted.slots();
        for _ in 0..LOOKS.min(slots) {
            let slot = self.admitted.cursor % slots;
            self.admitted.cursor = slot + 1;
            if let Some((id, key)) = self.admitted.counted.at(slot)
                && self.admitted.addresses.has_most(*key)
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
