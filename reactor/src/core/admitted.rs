//! The accepted connections by address; `admission.rs` decides by them.

use crate::conn_map::ConnMap;
use crate::id::ConnId;
use crate::per_address::{AddressKey, PerAddress};

/// Accepted connections by address.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) addresses: PerAddress,
    /// The address of each connection that is counted.
    pub(super) counted: ConnMap<AddressKey>,
}

impl Admitted {
    pub(super) fn new(limit: Option<usize>, max_connections: usize) -> Admitted {
        Admitted {
            addresses: PerAddress::new(limit, max_connections),
            counted: ConnMap::new(),
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
