//! The connections of a reactor, each in the slot that its id names.
//!
//! Ids are given out elsewhere ([`Ids`](crate::id::Ids)), because a connect has one before there is a
//! connection. So a slot here may be empty although its id is taken.

use super::conn::Conn;
use crate::id::ConnId;

/// Connections by slot.
pub(super) struct Table<S> {
    slots: Vec<Option<Conn<S>>>,
    /// Slots that are not empty.
    count: usize,
}

impl<S> Table<S> {
    pub(super) fn with_capacity(count: usize) -> Self {
        Table {
            slots: Vec::with_capacity(count),
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The connection in a slot, whatever its generation.
    pub(super) fn get(&self, slot: usize) -> Option<&Conn<S>> {
        self.slots.get(slot)?.as_ref()
    }

    /// The connection in a slot, whatever its generation, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Conn<S>> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Puts a connection into its slot, which is empty.
    pub(super) fn insert(&mut self, slot: usize, conn: Conn<S>) {
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        let before = self.slots[slot].replace(conn);
        debug_assert!(before.is_none(), "two connections have one slot");
        self.count += 1;
    }

    /// Takes the connection with this id out of its slot.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn<S>> {
        let slot = self.slots.get_mut(id.slot())?;
        let conn = slot.take_if(|conn| conn.generation == id.generation)?;
        self.count -= 1;
        Some(conn)
    }

    /// All connections, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn<S>)> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(slot, conn)| {
            let conn = conn.as_ref()?;
            let generation = conn.generation;
            Some((ConnId { slot, generation }, conn))
        })
    }
}
