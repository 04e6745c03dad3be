//! The words that protocols and the reactor have in common: which connection, and its bytes.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::poll::Token;

/// A connection: its slot in the reactor's table, and which of the slot's tenants it is.
///
/// Slots are reused, ids are not: an id kept after its connection has closed names nobody, and what
/// is sent to it is dropped. Ids repeat after 2³² connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    /// Never 0, which marks the tokens of the reactor's own descriptors.
    pub(crate) generation: u32,
}

impl ConnId {
    /// The slot: a small number, unique among the connections that are open at one time, and reused
    /// afterwards.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

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

/// Bytes that were received and the right to change them in place, lent for one callback.
///
/// They lie in the buffer that all connections share. What is to be kept must be copied; what is to
/// go straight back to where it came from need not be: see [`Outbox::send_back`](crate::Outbox::send_back).
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
    fn ids_survive_the_trip_through_a_token() {
        for (slot, generation) in [(0, 1), (u32::MAX, u32::MAX), (7, 0x8000_0000)] {
            let id = ConnId { slot, generation };
            assert_eq!(ConnId::from_token(id.token()), id);
        }
    }
}
