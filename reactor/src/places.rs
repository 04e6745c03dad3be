//! Places for the connections of several reactors.
//!
//! The reactors of a process that serve one address share its clients, and the kernel deals these out
//! unevenly. So the limits of all connections, and of those from one address, cannot be divided among
//! the reactors: one of them would be full while others have room. Instead each connection that any of
//! them accepts has a place in one table. A reactor locks it when it accepts a connection, and when it
//! closes one, and never in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::per_address::{AddressKey, PerAddress};

/// The table of several reactors. Clones refer to the same table.
///
/// Reactors whose [`Limits::places`](crate::Limits::places) are clones of one table have no more
/// connections together than [`Limits::max_connections`](crate::Limits::max_connections), and no more
/// from one address than [`Limits::max_per_address`](crate::Limits::max_per_address). Only connections
/// that were accepted have a place.
///
/// ```
/// use edgeloop_reactor::{Limits, Places};
///
/// let limits = Limits {
///     max_connections: 1000,
///     places: Some(Places::new(None, 1000)),
///     ..Limits::default()
/// };
/// // Each of several reactors is made with a clone of these limits.
/// let [one, two] = [limits.clone(), limits];
/// assert_eq!(one.places, two.places);
/// ```
#[derive(Clone, Debug)]
pub struct Places {
    table: Arc<Mutex<Table>>,
}

/// The places that are taken.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) taken: usize,
    pub(crate) addresses: PerAddress,
}

impl Places {
    /// A table in which no place is taken. `limit` and `max_connections` are those of the reactors that
    /// use it, see [`PerAddress::new`].
    #[must_use]
    pub fn new(limit: Option<usize>, max_connections: usize) -> Places {
        let table = Table {
            taken: 0,
            addresses: PerAddress::new(limit, max_connections),
        };
        Places {
            table: Arc::new(Mutex::new(table)),
        }
    }

    /// The number of places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        // A thread that has panicked left the table whole: each change of it is complete.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Frees a place.
    pub(crate) fn release(&mut self, key: AddressKey) {
        self.taken -= 1;
        self.addresses.release(key);
    }
}

/// Tables are equal if they are one.
impl PartialEq for Places {
    fn eq(&self, other: &Places) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }
}

impl Eq for Places {}
