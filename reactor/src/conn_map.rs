//! What a protocol knows of each connection, found without hashing.

use crate::id::ConnId;

/// A table from connections to values: O(1), by the slot in the [`ConnId`].
///
/// A value is found only under the id it was inserted with: the next tenant of a slot never sees
/// its predecessor's. Memory is that of the values up to the highest slot in use, plus 4 bytes
/// each.
#[derive(Debug)]
pub struct ConnMap<T> {
    slots: Vec<(u32, Option<T>)>,
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
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sets the value of a connection, and returns the one it had. A value left by a closed
    /// connection is dropped.
    pub fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || (0, None));
        }
        let slot = &mut self.slots[id.slot()];
        let before = std::mem::replace(slot, (id.generation, Some(value)));
        self.count += usize::from(before.1.is_none());
        before.1.filter(|_| before.0 == id.generation)
    }

    /// The value of a connection.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot())?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    /// The value of a connection, to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot())?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    /// Takes the value of a connection out, as one does in `on_close`.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let (generation, value) = self.slots.get_mut(id.slot())?;
        let value = if *generation == id.generation {
            value.take()
        } else {
            None
        };
        self.count -= usize::from(value.is_some());
        value
    }

    /// All connections that have a value, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, (generation, value))| {
                let id = ConnId {
                    slot: slot as u32,
                    generation: *generation,
                };
                value.as_ref().map(|value| (id, value))
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
