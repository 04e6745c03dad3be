//! The accepted connections by address; `crowding.rs` decides by them.

use crate::conn_map::ConnMap;
use crate::id::ConnId;
use crate::per_address::{AddressKey, PerAddress};

/// Accepted connections by address.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) addresses: PerAddress,
    /// The address of each connection that is counted.
    pub(super) counted: ConnMap<AddressKey>,
    /// The slot at which the next search begins.
    pub(super) cursor: usize,
}

impl Crowd {
    pub(super) fn new(limit: Option<usize>, max_connections: usize) -> Crowd {
        Crowd {
            addresses: PerAddress::new(limit, max_connections),
            counted: ConnMap::new(),
            cursor: 0,
        }
    }

    /// Discounts a connection that is closed, if it was counted.
    #[inline]
    pub(super) fn forget(&mut self, id: ConnId) {
        if let Some(key) = self.counted.remove(id) {
            self.addresses.release(key);
        }
    }
}
