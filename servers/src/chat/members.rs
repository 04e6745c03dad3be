//! The table of members: those with a connection, and those that have lost theirs.

use std::collections::BTreeMap;

use edgeloop_reactor::{ConnId, ConnMap};

use super::member::Member;

/// The members by their connection. A member that is *away* stays under the id of the connection that
/// it has lost, which no other connection will ever have; its slot may have another tenant.
#[derive(Debug, Default)]
pub(super) struct Members {
    here: ConnMap<Member>,
    away: BTreeMap<ConnId, Member>,
}

impl Members {
    pub(super) fn get(&self, id: ConnId) -> Option<&Member> {
        self.here.get(id).or_else(|| self.away.get(&id))
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Member> {
        match self.here.get_mut(id) {
            None => self.away.get_mut(&id),
            member => member,
        }
    }

    pub(super) fn insert(&mut self, id: ConnId, member: Member) {
        self.here.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Member> {
        self.here.remove(id).or_else(|| self.away.remove(&id))
    }

    /// Adds a member that has no connection any more.
    pub(super) fn insert_away(&mut self, id: ConnId, member: Member) {
        self.away.insert(id, member);
    }

    /// A member has lost its connection.
    pub(super) fn set_away(&mut self, id: ConnId) {
        let member = self.here.remove(id);
        self.away.extend(member.map(|member| (id, member)));
    }

    pub(super) fn is_away(&self, id: ConnId) -> bool {
        self.away.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.here.len() + self.away.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Member)> {
        let away = self.away.iter().map(|(id, member)| (*id, member));
        self.here.iter().chain(away)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.away.is_empty()
    }
}
