//! The words that protocols and the reactor have in common: a connection's name, and its bytes.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::poll::Token;

/// The name of a connection: a slot in the reactor's table, and a generation that tells the slot's
/// tenants apart.
///
/// Slots are reused, ids are not: an id that a protocol keeps after its connection has closed names
/// no connection, and bytes that are sent to it are dropped. The generation counts all connections
/// of the reactor, so ids repeat after 2³² of them at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    /// Never 0, which marks the tokens of the reactor's own descriptors.
    pub(crate) generation: u32,
}

impl ConnId {
    /// The slot: an index that is unique among the connections open at one time. It is smaller than
    /// the largest number of connections that were ever open at once, and is reused afterwards.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The id as the 64 bits that epoll carries: the generation in the upper half.
    pub(crate) fn token(self) -> Token {
        Token(u64::from(self.generation) << 32 | u64::from(self.slot))
    }

    pub(crate) fn from_token(token: Token) -> ConnId {
        ConnId {
            slot: token.0 as u32,
            generation: (token.0 >> 32) as u32,
        }
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.slot, self.generation)
    }
}

/// Bytes that were received, lent to a protocol for one callback; it may change them in place.
///
/// The bytes lie in the one read buffer that all connections share. A protocol copies the bytes
/// that it wants to keep. Bytes that go back to their sender need no copy: see
/// [`Outbox::send_back`](crate::Outbox::send_back).
#[derive(Debug)]
pub struct Data<'a>(pub(crate) &'a mut [u8]);

impl Deref for Data<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl DerefMut for Data<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_trip_through_a_token() {
        for (slot, generation) in [(0, 1), (u32::MAX, u32::MAX), (7, 0x8000_0000)] {
            let id = ConnId { slot, generation };
            assert_eq!(ConnId::from_token(id.token()), id);
        }
    }
}
