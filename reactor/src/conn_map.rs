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
        let before = self.place(id).replace(value);
        self.count += usize::from(before.is_none());
        before
    }

    /// The place of a connection's value, in which there is no other connection's.
    fn place(&mut self, id: ConnId) -> &mut Option<T> {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || (0, None));
        }
        let (generation, value) = &mut self.slots[id.slot()];
        if std::mem::replace(generation, id.generation) != id.generation {
            self.count -= usize::from(value.take().is_some());
        }
        value
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

    /// Whether a connection has a value.
    #[must_use]
    pub fn contains(&self, id: ConnId) -> bool {
        self.get(id).is_some()
    }

    /// The value of a connection, to be changed; if it has none, `make` makes it one.
    pub fn get_or_insert_with(&mut self, id: ConnId, make: impl FnOnce() -> T) -> &mut T {
        self.count += usize::from(!self.contains(id));
        self.place(id).get_or_insert_with(make)
    }

    /// Removes the value of a connection and returns it, as a protocol does in `on_close`.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let (generation, value) = self.slots.get_mut(id.slot())?;
        let value = value.take_if(|_| *generation == id.generation);
        self.count -= usize::from(value.is_some());
        value
    }

    /// Keeps the values for which `keep` returns true, and drops the others.
    pub fn retain(&mut self, mut keep: impl FnMut(ConnId, &mut T) -> bool) {
        for (slot, (generation, value)) in self.slots.iter_mut().enumerate() {
            let id = id(slot, *generation);
            if value.as_mut().is_some_and(|value| !keep(id, value)) {
                *value = None;
                self.count -= 1;
            }
        }
    }

    /// The number of slots up to the highest that was ever used.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The connection in a slot, if it has a value.
    pub(crate) fn at(&self, slot: usize) -> Option<(ConnId, &T)> {
        let (generation, value) = self.slots.get(slot)?;
        Some((id(slot, *generation), value.as_ref()?))
    }

    /// All connections that have a value, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, (generation, value))| {
            Some((id(slot, *generation), value.as_ref()?))
        })
    }

    /// All connections that have a value, which can be changed, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(slot, (generation, value))| {
            Some((id(slot, *generation), value.as_mut()?))
        })
    }

    /// All values, in the order of their connections' slots.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|(_, value)| value.as_ref())
    }

    /// All values, which can be changed, in the order of their connections' slots.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots
            .iter_mut()
            .filter_map(|(_, value)| value.as_mut())
    }
}

/// The connection with this place in a table.
fn id(slot: usize, generation: u32) -> ConnId {
    ConnId {
        slot: slot as u32,
        generation,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_tenant_of_a_slot_does_not_see_its_predecessor() {
        let (first, second) = (id(3, 1), id(3, 2));
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

    /// A step of a history: what is done, a connection, and a value.
    fn step() -> impl Strategy<Value = (u8, ConnId, u8)> {
        let conn = (0..4_usize, 1..4_u32).prop_map(|(slot, generation)| id(slot, generation));
        (0..5_u8, conn, any::<u8>())
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_table_of_slots(steps in prop::collection::vec(step(), 1..100)) {
            let (mut map, mut table) = (ConnMap::new(), BTreeMap::<usize, (ConnId, u8)>::new());
            for (what, id, value) in steps {
                let has = table.get(&id.slot()).filter(|(tenant, _)| *tenant == id);
                let has = has.map(|(_, value)| *value);
                let keeps = |at: ConnId, value: u8| at.generation != id.generation || value.is_multiple_of(2);
                match what {
                    0 => {
                        table.insert(id.slot(), (id, value));
                        prop_assert_eq!(map.insert(id, value), has);
                    }
                    1 => {
                        has.and_then(|_| table.remove(&id.slot()));
                        prop_assert_eq!(map.remove(id), has);
                    }
                    2 => {
                        let value = has.unwrap_or(value);
                        table.insert(id.slot(), (id, value));
                        prop_assert_eq!(*map.get_or_insert_with(id, || value), value);
                    }
                    3 => {
                        table.retain(|_, (id, value)| keeps(*id, *value));
                        map.retain(|id, value| keeps(id, *value));
                    }
                    _ => {
                        let slot = |id: ConnId| id.slot() as u8;
                        table.values_mut().for_each(|(id, has)| *has ^= value ^ slot(*id));
                        map.iter_mut().for_each(|(id, has)| *has ^= slot(id));
                        map.values_mut().for_each(|has| *has ^= value);
                    }
                }
                let expected: Vec<_> = table.values().copied().collect();
                let found: Vec<_> = map.iter().map(|(id, value)| (id, *value)).collect();
                prop_assert_eq!(map.len(), expected.len());
                prop_assert!(map.values().eq(expected.iter().map(|(_, value)| value)));
                prop_assert!(found.iter().all(|(id, value)| map.get(*id) == Some(value)));
                prop_assert_eq!(map.contains(id), found.iter().any(|(other, _)| *other == id));
                prop_assert_eq!(found, expected);
            }
        }
    }
}
