//! A server that is full: which peers are refused, and which make room.
//!
//! `per_address.rs` has the rules, which other servers share; here they meet the connections. Reactors
//! that share their places (`places.rs`) count in one table, and each displaces its own connections only.

use super::admitted::Admitted;
use super::conn::{Conn, Phase, State, Stream};
use super::timers::Millis;
use super::{Core, live};
use crate::id::ConnId;
use crate::per_address::{AddressKey, Admission, DISPLACED_AFTER};
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
        let (slots, limit, now) = (
            &mut self.slots,
            self.limits.max_connections,
            self.shared.now,
        );
        let Admitted {
            places,
            addresses,
            counted,
            cursor,
        } = &mut self.admitted;
        let mut table = places.as_ref().map(Places::lock);
        let (open, addresses) = match &mut table {
            None => (self.shared.stats.connections as usize, addresses),
            Some(table) => (table.taken, &mut table.addresses),
        };
        let admission = match peer {
            Peer::Inet(at) => addresses.admit(at.ip()),
            Peer::Unix | Peer::Stream => Admission::Uncounted,
        };
        if let Admission::Refused(most) = admission {
            return Err(Refusal::Address(most));
        }
        let key = admission.counted();
        let mut displaced = None;
        if open >= limit {
            // Room is made by one of this reactor's own connections.
            displaced = addresses.find_displaced(cursor, counted.slots(), |slot| {
                let (id, key) = counted.at(slot)?;
                was_always_silent(live(slots, id)?, now).then_some((*key, id))
            });
            if displaced.is_none() {
                key.into_iter().for_each(|key| addresses.release(key));
                return Err(Refusal::Full(limit));
            }
        }
        let is_shared = table.is_some();
        table.into_iter().for_each(|mut table| table.taken += 1);
        if let Some(id) = displaced {
            self.doom(id, Closed::Displaced);
        }
        Ok(Place {
            key: key.or(is_shared.then_some(AddressKey::ANY)),
            displaces: displaced.is_some(),
        })
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

/// Whether a connection is old and has never sent a byte.
fn was_always_silent<S: Stream>(conn: &Conn<S>, now: Millis) -> bool {
    conn.state.contains(State::SILENT)
        && conn.phase == Phase::Open
        && Millis::from(conn.waited_ms(now)) >= DISPLACED_AFTER.as_millis() as Millis
}
