//! The accepted connections by address; `admission.rs` decides by them.

use super::limits::Limits;
use crate::conn_map::ConnMap;
use crate::id::ConnId;
use crate::per_address::{AddressKey, PerAddress};
use crate::places::Places;

/// Accepted connections by address.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The table of several reactors, if this one has its connections in there.
    pub(super) places: Option<Places>,
    /// The connections of a reactor that has no such table.
    pub(super) addresses: PerAddress,
    /// The address of each connection that is counted in one of the two.
    pub(super) counted: ConnMap<AddressKey>,
    /// The slot at which the next search for a connection to be displaced begins.
    pub(super) cursor: usize,
}

impl Admitted {
    pub(super) fn new(limits: &Limits) -> Admitted {
        Admitted {
            places: limits.places.clone(),
            addresses: PerAddress::new(limits.max_per_address, limits.max_connections),
            counted: ConnMap::new(),
            cursor: 0,
        }
    }

    /// Discounts a connection that is closed, if it was counted.
    #[inline]
    pub(super) fn forget(&mut self, id: ConnId) {
        if let Some(key) = self.counted.remove(id) {
            self.release(key);
        }
    }

    pub(super) fn release(&mut self, key: AddressKey) {
        match &self.places {
            None => self.addresses.release(key),
            Some(places) => release_among(places, key),
        }
    }
}

#[cold]
fn release_among(places: &Places, key: AddressKey) {
    places.lock().release(key);
}

/// A reactor that has ended with open connections leaves its places to the others.
impl Drop for Admitted {
    fn drop(&mut self) {
        let Some(places) = &self.places else { return };
        let mut table = places.lock();
        let keys = (0..self.counted.slots()).filter_map(|slot| self.counted.at(slot));
        keys.for_each(|(_, key)| table.release(*key));
    }
}
