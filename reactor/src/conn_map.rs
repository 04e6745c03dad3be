//! A protocol's own data for each connection, found without hashing.

use crate::id::ConnId;

/// A map from connections to values. Each operation is an array access by the slot in the
/// [`ConnId`], O(1) and without hashing.
///
/// A value is found only under the id that it was inserted with: the next tenant of a slot never
/// sees its predecessor's value. The map has an entry for each slot up to the highest that was ever
/// used, of the size of `Option<T>` plus 4 bytes, and does not shrink.
#[derive(Debug)]
pub struct ConnMap<T> {
    /// For each slot the generation of the connection that a value was last inserted for, and the
    /// value.
    slots: Vec<(u32, Option<T>)>,
    /// Entries that hold a value.
    count: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        ConnMap {
            slots: Vec::new(),
            count: 0,
        }
    }
}

impl<T> ConnMap<T> {
    /// An empty map, which allocates nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of connections that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no connection has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sets the value of a connection, and returns its previous one. A value that a closed
    /// connection left in the slot is dropped.
    pub fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || (0, None));
        }
        let slot = &mut self.slots[id.slot()];
        let before = std::mem::replace(slot, (id.generation, Some(value)));
        self.count += usize::from(before.1.is_none());
        before.1.filter(|_| before.0 == id.generation)
    }

    /// The value of a connection, if it has one.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot())?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    /// The value of a connection, if it has one, to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot())?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    /// Removes the value of a connection and returns it, as a protocol does in `on_close`.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let (generation, value) = self.slots.get_mut(id.slot())?;
        let value = value.take_if(|_| *generation == id.generation);
        self.count -= usize::from(value.is_some());
        value
    }

    /// All connections that have a value, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(slot, &(generation, ref value))| {
            Some((ConnId { slot, generation }, value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tenant_of_a_slot_does_not_see_its_predecessor() {
        let (first, second) = (
            ConnId {
                slot: 3,
                generation: 1,
            },
            ConnId {
                slot: 3,
                generation: 2,
            },
        );
        let mut map = ConnMap::new();
        assert_eq!(map.insert(first, "a"), None);
        assert_eq!(map.insert(first, "b"), Some("a"));
        assert_eq!(
            (map.get(first), map.get(second), map.len()),
            (Some(&"b"), None, 1)
        );
        assert_eq!(map.remove(second), None);
        assert_eq!(
            map.insert(second, "c"),
            None,
            "the first tenant's value is not the second's"
        );
        assert_eq!(map.get_mut(second).copied(), Some("c"));
        assert_eq!((map.get(first), map.len()), (None, 1));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(second, &"c")]);
        assert_eq!((map.remove(second), map.is_empty()), (Some("c"), true));
    }
}
