//! The numbers by which the log knows the members of this server.
//!
//! The number of a member is that of its first connection, so a member without a token costs no memory
//! here. Only members that came back on another connection stand in a table.

use std::collections::HashMap;

use edgeloop_reactor::ConnId;

/// The members that have another connection than their first.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    by_id: HashMap<ConnId, u64>,
    ids: HashMap<u64, ConnId>,
}

impl Numbers {
    /// The number of the member that has this connection.
    pub(super) fn of(&self, id: ConnId) -> u64 {
        match self.by_id.is_empty() {
            true => id.to_bits(),
            false => self.by_id.get(&id).copied().unwrap_or(id.to_bits()),
        }
    }

    /// The connection of the member with this number. The member may have left.
    pub(super) fn id(&self, number: u64) -> ConnId {
        let first = ConnId::from_bits(number);
        match self.ids.is_empty() {
            true => first,
            false => self.ids.get(&number).copied().unwrap_or(first),
        }
    }

    /// The member that had the connection `old` has another one now.
    pub(super) fn replace(&mut self, old: ConnId, id: ConnId) {
        let number = self.of(old);
        self.by_id.remove(&old);
        self.by_id.insert(id, number);
        self.ids.insert(number, id);
    }

    /// The member that has this connection has left.
    pub(super) fn forget(&mut self, id: ConnId) {
        if let Some(number) = self.by_id.remove(&id) {
            self.ids.remove(&number);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;
    use crate::echo::Echo;

    #[test]
    fn a_member_keeps_its_number_on_another_connection() {
        let mut script = Script::new(Echo {
            answers_low_ports: false,
        });
        let [first, second, third, other] = [(); 4].map(|()| script.open());
        let mut numbers = Numbers::default();
        let number = numbers.of(first);
        assert_eq!(numbers.id(number), first);
        for (old, id) in [(first, second), (second, third)] {
            numbers.replace(old, id);
            assert_eq!((numbers.of(id), numbers.id(number)), (number, id));
            assert_eq!(numbers.id(numbers.of(other)), other);
        }
        assert_ne!(numbers.of(second), number, "it has lost this connection");
        numbers.forget(third);
        assert!(numbers.is_empty());
    }
}
