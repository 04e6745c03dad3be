//! Memberships that are kept without a connection, and their bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgeloop_reactor::{Admission, ConnId, Limits, Peer, PerAddress};

use super::seat::Seat;

/// Time for which a membership is kept without a connection.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(30);

/// A membership without a connection.
#[derive(Debug)]
struct Absence {
    seat: Box<Seat>,
    until: Duration,
    admission: Admission,
    /// The end of the connection, in words.
    why: &'static str,
}

/// The memberships without a connection, by the connection that was lost. There are no more of them than there may be
/// connections, neither in all nor from one address: a peer that comes and goes holds twice as many
/// names as one that stays.
#[derive(Debug)]
pub(super) struct Absences {
    most: usize,
    per_address: PerAddress,
    all: BTreeMap<ConnId, Absence>,
    ends: BTreeSet<(Duration, ConnId)>,
}

impl Absences {
    /// An empty table, with bounds that follow from the limits of a server.
    pub(super) fn new(limits: &Limits) -> Absences {
        Absences {
            most: limits.max_connections,
            per_address: PerAddress::new(limits.max_per_address, limits.max_connections),
            all: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Whether the membership of a peer may be kept; if so, it is to be [added](Absences::add).
    pub(super) fn admit(&mut self, peer: &Peer) -> Option<Admission> {
        if self.all.len() >= self.most {
            return None;
        }
        let admission = match peer {
            Peer::Inet(at) => self.per_address.admit(at.ip()),
            _ => Admission::Uncounted,
        };
        (!matches!(admission, Admission::Refused(_))).then_some(admission)
    }

    pub(super) fn add(
        &mut self,
        id: ConnId,
        seat: Box<Seat>,
        admission: Admission,
        why: &'static str,
        now: Duration,
    ) {
        let until = now + KEPT_FOR;
        self.ends.insert((until, id));
        let absence = Absence {
            seat,
            until,
            admission,
            why,
        };
        self.all.insert(id, absence);
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Seat>> {
        let absence = self.all.remove(&id)?;
        self.ends.remove(&(absence.until, id));
        if let Some(key) = absence.admission.counted() {
            self.per_address.release(key);
        }
        Some(absence.seat)
    }

    pub(super) fn seat(&self, id: ConnId) -> Option<&Seat> {
        self.all.get(&id).map(|absence| &*absence.seat)
    }

    pub(super) fn seat_mut(&mut self, id: ConnId) -> Option<&mut Seat> {
        self.all.get_mut(&id).map(|absence| &mut *absence.seat)
    }

    pub(super) fn peer(&self, id: ConnId) -> Option<Peer> {
        self.all.get(&id).map(|absence| absence.seat.peer)
    }

    /// A membership that is kept no longer, and how its connection ended.
    pub(super) fn due(&self, now: Duration) -> Option<(ConnId, &'static str)> {
        let (until, id) = *self.ends.first()?;
        let why = self.all.get(&id)?.why;
        (until <= now).then_some((id, why))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Admits no membership from now on. Returns those that are kept: they are to be ended.
    pub(super) fn stop(&mut self) -> Vec<ConnId> {
        self.most = 0;
        self.all.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::super::seat::Visit;
    use super::*;
    use crate::echo::Echo;

    #[test]
    fn as_many_are_kept_as_there_may_be_connections() {
        let mut script = Script::new(Echo {
            answers_low_ports: false,
        });
        let mut absences = Absences::new(&Limits {
            max_connections: 3,
            max_per_address: Some(2),
            ..Limits::default()
        });
        let peer = |text: &str| Peer::Inet(text.parse().unwrap());
        let mut add = |absences: &mut Absences, from: &str| {
            let (id, peer) = (script.open(), peer(from));
            let admission = absences.admit(&peer)?;
            let token = Visit::parse("token=0123456789abcdef").unwrap().token;
            let seat = Box::new(Seat::new(token, peer));
            absences.add(id, seat, admission, "lost", Duration::ZERO);
            Some(id)
        };
        let first = add(&mut absences, "192.0.2.1:1").unwrap();
        add(&mut absences, "192.0.2.1:2").unwrap();
        assert_eq!(add(&mut absences, "192.0.2.1:3"), None, "two of an address");
        add(&mut absences, "192.0.2.2:1").unwrap();
        assert_eq!(add(&mut absences, "192.0.2.3:1"), None, "three in all");
        assert_eq!(absences.due(KEPT_FOR / 2), None);
        assert_eq!(absences.due(KEPT_FOR), Some((first, "lost")));
        assert!(absences.remove(first).is_some() && absences.remove(first).is_none());
        assert!(add(&mut absences, "192.0.2.1:4").is_some());
        assert_eq!(absences.stop().len(), 3);
        assert_eq!(add(&mut absences, "192.0.2.3:1"), None);
    }
}
