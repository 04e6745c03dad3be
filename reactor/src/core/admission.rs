//! A server that is full: which peers are refused, and which make room.
//!
//! `per_address.rs` has the rules, which other servers share; here they meet the connections. Reactors
//! that share their places (`places.rs`) count in one table, and each displaces its own connections only.

use super::admitted::Admitted;
use super::conn::{Conn, Phase, State, Stream};
use super::timers::Millis;
use super::{Core, live};
use crate::id::ConnId;
use crate::per_address::{AddressKey, Admission, DISPLACED_AFTER, PerAddress};
use crate::places::Places;
use crate::protocol::{Closed, Protocol};
use crate::sources::address::Peer;

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
        if let Some(places) = &self.admitted.places {
            let places = places.clone();
            return self.place_among(&places, peer);
        }
        let key = admit(&mut self.admitted.addresses, peer)?;
        let limit = self.limits.max_connections;
        let is_full = self.shared.stats.connections >= limit as u64;
        let displaces = is_full && self.displace(None);
        let place = Place { key, displaces };
        if is_full && !displaces {
            self.give_back(place);
            return Err(Refusal::Full(limit));
        }
        Ok(place)
    }

    /// As `place`, in the table of several reactors.
    #[cold]
    fn place_among(&mut self, places: &Places, peer: &Peer) -> Result<Place, Refusal> {
        let mut table = places.lock();
        let key = admit(&mut table.addresses, peer)?;
        let limit = self.limits.max_connections;
        let is_full = table.taken >= limit;
        let displaces = is_full && self.displace(Some(&table.addresses));
        if is_full && !displaces {
            key.into_iter().for_each(|key| table.addresses.release(key));
            return Err(Refusal::Full(limit));
        }
        table.taken += 1;
        let key = key.or(Some(AddressKey::ANY));
        Ok(Place { key, displaces })
    }

    /// Makes room for a newcomer, if the search finds a connection of this reactor to be closed. `among`:
    /// the addresses of several reactors, if they are counted together.
    fn displace(&mut self, among: Option<&PerAddress>) -> bool {
        let (slots, now) = (&mut self.slots, self.shared.now);
        let Admitted {
            addresses,
            counted,
            cursor,
            ..
        } = &mut self.admitted;
        let addresses = among.unwrap_or(addresses);
        let found = addresses.find_displaced(cursor, counted.slots(), |slot| {
            let (id, key) = counted.at(slot)?;
            was_always_silent(live(slots, id)?, now).then_some((*key, id))
        });
        if let Some(id) = found {
            self.doom(id, Closed::Displaced);
        }
        found.is_some()
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
            self.admitted.release(key);
        }
    }
}

/// Counts a peer by its address, if that is limited.
#[inline]
fn admit(addresses: &mut PerAddress, peer: &Peer) -> Result<Option<AddressKey>, Refusal> {
    match peer {
        Peer::Inet(at) => match addresses.admit(at.ip()) {
            Admission::Refused(most) => Err(Refusal::Address(most)),
            admission => Ok(admission.counted()),
        },
        Peer::Unix | Peer::Stream => Ok(None),
    }
}

/// Whether a connection is old and has never sent a byte.
fn was_always_silent<S: Stream>(conn: &Conn<S>, now: Millis) -> bool {
    conn.state.contains(State::SILENT)
        && conn.phase == Phase::Open
        && Millis::from(conn.waited_ms(now)) >= DISPLACED_AFTER.as_millis() as Millis
}
