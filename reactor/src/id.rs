//! The words that protocols and the reactor have in common: a connection's name, and its bytes.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::poll::Token;

/// The name of a connection: a slot in the reactor's table, and a generation that tells the slot's
/// tenants apart. A connect has the name of its connection from the start, see
/// [`Outbox::connect`](crate::Outbox::connect).
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
    /// The slot: an index that is unique among the connections open or connecting at one time. It is
    /// reused afterwards, so it stays about as small as the largest number of them at once.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The id as a number, by which a protocol may tell other programs of a connection.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.token().0
    }

    /// The id that has this number.
    #[must_use]
    pub fn from_bits(bits: u64) -> ConnId {
        ConnId::from_token(Token(bits))
    }

    /// Whether another id has the same slot and was given out later, which means that this one is gone.
    pub(crate) fn is_predecessor_of(self, other: ConnId) -> bool {
        // Generations run over, after 2³² of them.
        let later_by = other.generation.wrapping_sub(self.generation) as i32;
        self.slot == other.slot && later_by > 0
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

/// The ids that are free. A connect takes one within a callback, while the core holds its tables, so
/// the ids have a place of their own.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// Slots that were given back; the last one is taken first. A slot in use takes no place here.
    free: Vec<u32>,
    /// The slots from here on were never taken.
    unused: u32,
    /// The last generation given out.
    generation: u32,
}

impl Ids {
    /// An id that no other connection has or had.
    pub(crate) fn take(&mut self) -> ConnId {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.unused += 1;
            self.unused - 1
        });
        ConnId {
            slot,
            generation: self.generation,
        }
    }

    /// Whether all ids that were taken were given back, each once.
    #[cfg(test)]
    pub(crate) fn are_all_free(&self) -> bool {
        let free: std::collections::BTreeSet<_> = self.free.iter().collect();
        free.len() == self.free.len() && free.len() == self.unused as usize
    }

    /// The slot of an id is free: nothing will be told of the id any more.
    pub(crate) fn give_back(&mut self, id: ConnId) {
        self.free.push(id.slot);
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
